"""One optimizer for binary kernels, another for the rest."""

from __future__ import annotations

import warnings

import keras
from keras import ops

from keras_htaf.optimizers.bop import Bop
from keras_htaf.optimizers.kernels import BinaryKernel, binary_kernels
from keras_htaf.quantizers import Step


@keras.saving.register_keras_serializable(package="keras_htaf")
class SplitOptimizer(keras.optimizers.Optimizer):
    """Trains the binary kernels of a model with one optimizer, all other weights with another.

    Each part is a whole optimizer with its own state, schedule, weight decay and clipping (a global
    norm is that of its own gradients). Both are saved with the model.

    Its `learning_rate` is that of `rest`, so that is what callbacks see and change; for that of the
    binary kernels use a schedule, or `optimizer.binary.learning_rate`.

    Args:
        kernels: The built model that will be trained, whose binary kernels are those of one bit
            (`binary_kernels`). Make the optimizer after the last change of `trainable`. (In a saved
            config: the positions of these kernels among `model.trainable_variables`, and their
            shapes beside it.)
        binary: Optimizer, or its name, for the binary kernels, such as `Bop()`.
        rest: Optimizer, or its name, for all other trainable weights.
        name: Default `"split"`.

    Raises:
        ValueError: If the model has no binary kernel, a part cannot be one, or `Bop` would get no
            gradient, or one of the wrong sign, through a kernel's quantizer; when it is built, also
            if it is not given the variables that the model had.

    Example:

    >>> layers = [keras.Input((4,)), keras_htaf.layers.BinaryDense(3, kernel_quantizer="sign"),
    ...           keras.layers.BatchNormalization()]
    >>> model = keras.Sequential(layers)
    >>> model.compile(SplitOptimizer(model, keras.optimizers.Adam(1e-2), "sgd"), "mse")
    >>> [len(part.variables) for part in (model.optimizer.binary, model.optimizer.rest)]
    [2, 2]

    Reference: Helwegen et al. (2019), arXiv:1906.02107, who train binary kernels with Bop and the
    rest with Adam.
    """

    rest: keras.optimizers.Optimizer

    def __init__(self, kernels, binary, rest, name: str = "split"):
        # A function, so that Keras makes no variable of it.
        super().__init__(learning_rate=lambda: self.rest.learning_rate, name=name)
        self.binary = _part("binary", binary)
        self.rest = _part("rest", rest)
        if self.binary is self.rest:
            raise ValueError(
                f"Received one {type(self.rest).__name__} object as binary and as rest. Expected "
                "two: an optimizer has a state of its own."
            )
        self._expected = self._shapes = None
        if isinstance(kernels, keras.Model):
            kernels = self._positions_in(kernels)
        elif not (isinstance(kernels, (list, tuple)) and all(isinstance(i, int) for i in kernels)):
            raise ValueError(
                f"Received kernels={kernels!r}. Expected the built model that will be trained."
            )
        self.positions = tuple(kernels)

    def _positions_in(self, model):
        kernels = binary_kernels(model)
        if not kernels:
            raise ValueError(
                f"Model {model.name!r} has no trainable binary kernel. Expected binary layers with "
                "a kernel quantizer of one bit; else train it with an ordinary optimizer."
            )
        if isinstance(self.binary, Bop):
            for kernel in kernels:
                _check_slope(kernel)
        places = {id(variable): i for i, variable in enumerate(model.trainable_variables)}
        # Not the variables themselves, of which Keras would make variables of the optimizer.
        self._expected = tuple(id(kernel.variable) for kernel in kernels)
        self._shapes = tuple(tuple(kernel.variable.shape) for kernel in kernels)
        return [places[i] for i in self._expected]

    def build(self, variables):
        if self.built:
            return
        found = [variables[i] for i in self.positions if i < len(variables)]
        same = len(found) == len(self.positions)
        if self._expected:
            same = same and tuple(map(id, found)) == self._expected
        elif self._shapes:  # of a loaded model, whose variables are others
            same = same and tuple(tuple(kernel.shape) for kernel in found) == self._shapes
        if not same:
            raise ValueError(
                f"Optimizer {self.name!r} received {len(variables)} trainable variables, which are "
                "not those of the model that it was made for. Expected the same model with the "
                "same layers trainable: make a new SplitOptimizer after such a change."
            )
        super().build(variables)
        for part, chosen in self._parts(variables):
            part.build([variables[i] for i in chosen])

    def _parts(self, variables):
        """Each part with the indices in `variables` of those that it trains."""
        binary = [self._get_variable_index(variable) in self.positions for variable in variables]
        yield self.binary, [i for i, is_binary in enumerate(binary) if is_binary]
        yield self.rest, [i for i, is_binary in enumerate(binary) if not is_binary]

    @property
    def variables(self):
        return [*self._variables, *self.binary.variables, *self.rest.variables]

    @property
    def learning_rate(self):
        return self.rest.learning_rate

    @learning_rate.setter
    def learning_rate(self, value):
        self.rest.learning_rate = value

    def apply(self, grads, trainable_variables=None):
        if trainable_variables is None:
            trainable_variables = self._trainable_variables
        variables = list(trainable_variables)
        self.build(variables)
        self._check_variables_are_known(variables)
        for part, chosen in self._parts(variables):
            part.apply([grads[i] for i in chosen], [variables[i] for i in chosen])
        self._iterations.assign_add(1)

    def finalize_variable_values(self, var_list):
        for part, chosen in self._parts(var_list):
            part.finalize_variable_values([var_list[i] for i in chosen])

    # The parts are attributes, and Keras saves and loads them by itself.
    def save_own_variables(self, store):
        store["iterations"] = ops.convert_to_numpy(self._iterations)

    def load_own_variables(self, store):
        if "iterations" in store.keys():  # noqa: SIM118 (an H5 entry, no dict)
            self._iterations.assign(store["iterations"])
        else:  # As Keras's own optimizers do.
            warnings.warn(
                f"Optimizer {self.name!r} starts anew: the file holds the state of another kind of "
                "optimizer. (One that trained under the global dtype policy 'mixed_float16' was "
                "wrapped by Keras: set that policy before loading too.)",
                stacklevel=2,
            )

    def get_config(self):
        return {
            "kernels": list(self.positions),
            "shapes": self._shapes and [list(shape) for shape in self._shapes],
            "binary": keras.saving.serialize_keras_object(self.binary),
            "rest": keras.saving.serialize_keras_object(self.rest),
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config, custom_objects=None):
        parts = {
            key: keras.saving.deserialize_keras_object(config[key], custom_objects=custom_objects)
            for key in ("binary", "rest")
        }
        shapes = config.get("shapes")
        config = {key: value for key, value in config.items() if key != "shapes"}
        optimizer = cls(**{**config, **parts})
        optimizer._shapes = shapes and tuple(map(tuple, shapes))
        return optimizer


def _part(role: str, identifier) -> keras.optimizers.Optimizer:
    part = keras.optimizers.get(identifier)
    scaled = isinstance(part, keras.optimizers.LossScaleOptimizer) or part.loss_scale_factor
    if scaled or part.built:
        state = "which scales the loss" if scaled else "which has trained other variables already"
        raise ValueError(
            f"Received {role}={type(part).__name__}, {state}. Expected a new optimizer; to scale "
            "the loss, wrap the SplitOptimizer in a keras.optimizers.LossScaleOptimizer."
        )
    return part


def _check_slope(kernel: BinaryKernel):
    """Bop moves a kernel that is always -1 or +1, and sees the slope there only."""
    if not isinstance(kernel.quantizer, Step):
        return
    sharpness = ops.convert_to_tensor(kernel.quantizer.sharpness)  # one number, or per channel
    ends = ops.reshape(ops.convert_to_tensor([-1.0, 1.0]), (2, *[1] * len(sharpness.shape)))
    ends = ends / ops.convert_to_tensor(kernel.quantizer.scale)
    slope = float(ops.min(kernel.quantizer.surrogate.derivative(ends, sharpness)))
    if slope <= 0:
        raise ValueError(
            f"Layer {kernel.layer.name!r}: the quantizer of its {kernel.weight} has the slope "
            f"{slope:g} at -1 and +1, where Bop keeps the kernel. Expected a positive slope there: "
            "use kernel_quantizer='ste_sign'."
        )
