"""The binary optimizer, which flips signs."""

from __future__ import annotations

from numbers import Real

import keras
import numpy as np
from keras import ops

from keras_htaf import backend
from keras_htaf.ops.steps import signs


@keras.saving.register_keras_serializable(package="keras_htaf")
class Bop(keras.optimizers.Optimizer):
    """Flips the signs of kernels of -1 and +1 that a steady gradient speaks against.

        m <- (1 - gamma) m + gamma g
        w <- -w  where  w m > threshold,    +1  where  w m = threshold,    else  w

    There are no latent weights: the kernel *is* the signs, and m, the moving average of its
    gradient g, its only memory. Only the ratio of the threshold to the size of the gradients
    matters, so that a loss scaled by a number needs a threshold scaled by it. (At a tie w becomes
    +1, as in Larq.)

    All variables must be binary kernels. The other weights of a network (of normalisation, of the
    first and last layer) need another optimizer, which `SplitOptimizer` adds. A layer whose kernel
    Bop trains has `kernel_quantizer="ste_sign"`, which passes the gradient at -1 and +1 unchanged,
    `kernel_constraint=WeightClip()`, which then does nothing, and
    `kernel_initializer=keras_htaf.initializers.RandomSign()`.

    The learning rate of this optimizer is gamma: a schedule, or a callback that changes
    `learning_rate`, changes gamma.

    Args:
        threshold: Number >= 0: how large an average a flip needs. Default 1e-8.
        gamma: Number above 0 and at most 1, or a `keras.optimizers.schedules.LearningRateSchedule`:
            how fast the average forgets. Default 1e-4.
        name: Default `"bop"`.

    Raises:
        ValueError: If a number is out of range; when it is built, also if a variable is not a
            kernel (of two or more axes) of -1 and +1 only. An optimizer made from a config, as of a
            saved model, whose kernels are read after it is built, checks their values when it is
            first applied.

    Example:

    >>> w = keras.Variable([[1.0, 1.0, -1.0]])
    >>> Bop(threshold=0.25, gamma=0.5).apply([keras.ops.array([[1.0, -1.0, -1.0]])], [w])
    >>> keras.ops.convert_to_numpy(w).tolist()
    [[-1.0, 1.0, 1.0]]

    Reference: Helwegen et al. (2019), arXiv:1906.02107.
    """

    _restored = False
    _doubtful = False

    def __init__(self, threshold: float = 1e-8, gamma=1e-4, name: str = "bop"):
        if not _is_number(threshold) or not 0 <= threshold < float("inf"):
            raise ValueError(f"Received threshold={threshold!r}. Expected a finite number >= 0.")
        if not callable(gamma):
            if not _is_number(gamma) or not 0 < gamma <= 1:
                raise ValueError(
                    f"Received gamma={gamma!r}. Expected a number above 0 and at most 1, or a "
                    "learning-rate schedule."
                )
            gamma = float(gamma)
        super().__init__(learning_rate=gamma, name=name)
        self.threshold = float(threshold)

    def build(self, variables):
        if self.built:
            return
        # A model that is loaded builds its optimizer before its weights are read.
        wrong = _not_binary(variables)
        if wrong and self._restored and all(len(variable.shape) > 1 for variable in variables):
            self._doubtful = True
        elif wrong:
            raise _refusal(wrong)
        super().build(variables)
        # Never in half precision, in which 1 - gamma would be 1.
        self.momenta = [
            self.add_variable(
                variable.shape,
                dtype=keras.backend.result_type(variable.dtype, "float32"),
                name=f"{_path(variable).replace('/', '_')}_momentum",
            )
            for variable in variables
        ]

    def apply(self, grads, trainable_variables=None):
        if self._doubtful:
            if wrong := _not_binary(self._trainable_variables):
                raise _refusal(wrong)
            self._doubtful = False
        super().apply(grads, trainable_variables)

    def load_own_variables(self, store):
        super().load_own_variables(store)
        # The kernels come from the same file, and were checked before they were trained. (On JAX
        # they have no values within a compiled step, which is where Bop is first applied.)
        self._doubtful = False

    def update_step(self, gradient, variable, learning_rate):
        momentum = self.momenta[self._get_variable_index(variable)]
        gamma = ops.cast(learning_rate, momentum.dtype)
        average = (1 - gamma) * momentum + gamma * ops.cast(gradient, momentum.dtype)
        self.assign(momentum, average)
        # The signs, should other weights have been loaded since.
        kernel = signs(ops.cast(ops.convert_to_tensor(variable), momentum.dtype))
        against = kernel * average
        flipped = ops.where(against > self.threshold, -kernel, kernel)
        flipped = ops.where(against == self.threshold, ops.ones_like(kernel), flipped)
        self.assign(variable, ops.cast(flipped, variable.dtype))

    def get_config(self):
        config = super().get_config()
        gamma = config["learning_rate"]
        return {"threshold": self.threshold, "gamma": gamma, "name": self.name}

    @classmethod
    def from_config(cls, config, custom_objects=None):
        gamma = config["gamma"]
        if isinstance(gamma, dict):
            gamma = keras.saving.deserialize_keras_object(gamma, custom_objects=custom_objects)
        optimizer = cls(**{**config, "gamma": gamma})
        optimizer._restored = True
        return optimizer


def _is_number(value) -> bool:
    return isinstance(value, Real) and not isinstance(value, bool)


def _not_binary(variables) -> list[str]:
    """The paths of those that are no kernels of -1 and +1."""
    with backend.eager_scope():  # on TensorFlow `fit` builds in the graph of its training step
        return [_path(variable) for variable in variables if not _is_binary(variable)]


def _refusal(wrong: list[str]) -> ValueError:
    return ValueError(
        f"Bop received {wrong} to train. Expected kernels of -1 and +1 only, of two or more "
        "axes. Give binary layers kernel_initializer=keras_htaf.initializers.RandomSign(), or "
        "assign the signs of their latent kernels before the optimizer is built; give all other "
        "weights an optimizer of their own: keras_htaf.optimizers.SplitOptimizer(model, Bop(), "
        "'adam')."
    )


def _is_binary(variable) -> bool:
    try:
        values = ops.convert_to_numpy(ops.cast(ops.convert_to_tensor(variable), "float32"))
    except TypeError:  # of JAX, within a compiled step, where a variable has no values
        return False
    return values.ndim > 1 and bool(np.all(np.abs(values) == 1))


def _path(variable) -> str:
    return getattr(variable, "path", variable.name)
