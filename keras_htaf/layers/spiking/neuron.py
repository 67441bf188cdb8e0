"""What the layers and the cells of spiking neurons share: constants, a spike, recurrence."""

from __future__ import annotations

import inspect
from dataclasses import asdict, fields
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_htaf.layers.penalty import ActivityPenalty
from keras_htaf.layers.spiking.spike import Spike

_EITHER = (("decay", "tau"), ("synaptic_decay", "synaptic_tau"))


class NeuronLayer(keras.layers.Layer):
    """Base of `OverTime` and `Cell`: dynamics with their constants as weights, and a spike.

    Constants and states are float32 under every dtype policy (float64 if it is that), since a sum
    that leaks loses small inputs in half precision; inputs and outputs are of the compute dtype.

    Args:
        constants: Dict from the names in `dynamics.constants` to `Constant`.
        spike: Arguments of `Spike`, or `None` for neurons that do not fire.
        trainable_decay: Whether the decays are trained. Default False.
        trainable_threshold: Whether the thresholds are trained. Default False.
        per_neuron: Whether each neuron has constants of its own. Default False.
        recurrent: `None`; `True` for a dense layer without bias, over the last axis; or a layer
            that keeps nothing from call to call. What it makes of the last spikes is added to the
            inputs.
        **kwargs: The options of `dynamics`, and of `keras.layers.Layer`.
    """

    dynamics: Any
    """A class of `keras_htaf.neurons`."""
    leading: int
    """How many axes of the input come before those of the neurons."""
    logit = False
    """Whether what is trained is the logit of the decay."""
    presets: dict[str, dict] = {}
    """By library: arguments, each a value or a function of all the arguments that are given."""

    def __init__(
        self,
        constants,
        spike=None,
        trainable_decay=False,
        trainable_threshold=False,
        per_neuron=False,
        recurrent=None,
        **kwargs,
    ):
        options = [f.name for f in fields(self.dynamics) if f.name in kwargs]
        neuron = self.dynamics(**{name: kwargs.pop(name) for name in options})
        super().__init__(**kwargs)
        self.autocast = False  # of initial states, which stay float32
        self.supports_masking = True
        self.neuron = neuron
        self.trainable_decay = trainable_decay
        self.trainable_threshold = trainable_threshold
        self.per_neuron = per_neuron
        self.constants = constants
        self._check_constants()
        self.spike = None
        if spike is not None:
            self.spike = Spike(**spike, name="spike", dtype=self.state_dtype)
        if not (recurrent in (None, True) or isinstance(recurrent, keras.layers.Layer)):
            raise ValueError(
                f"Received recurrent={recurrent!r}. Expected None, True, or a layer that maps the "
                "last spikes to what is added to the inputs."
            )
        self.is_recurrent = recurrent is not None
        self._makes_recurrent = recurrent is True
        self.recurrent = None if recurrent is True else recurrent

    @classmethod
    def like(cls, library: str, *args, **overrides):
        """Neurons with the conventions, and the defaults, of another library.

        Args:
            library: `"snntorch"`, `"spikingjelly"`, `"norse"` or `"spyx"`, of those that have such
                a neuron.
            *args, **overrides: Arguments of the class, which replace the preset ones. Two of these
                follow others, as they do there: in snnTorch the reset is detached if it is the next
                step's, and in SpikingJelly neurons rest at the `reset_value`.

        Raises:
            ValueError: If the library is unknown, or has no such neuron.

        Example:

        >>> keras_htaf.layers.LIF.like("snntorch", decay=0.9).neuron.reset_next_step
        True
        """
        if library not in cls.presets:
            raise ValueError(
                f"Received library={library!r}. Expected one of {sorted(cls.presets)}, whose "
                f"conventions {cls.__name__} knows."
            )
        given = inspect.signature(cls.__init__).bind_partial(None, *args, **overrides).arguments
        del given["self"]
        given = {**given.pop("kwargs", {}), **given}
        taken = set(given).union(*(pair for pair in _EITHER if set(pair) & set(given)))
        preset = {name: v for name, v in cls.presets[library].items() if name not in taken}
        follows = {name: follow for name, follow in preset.items() if callable(follow)}
        arguments = {**preset, **given}
        arguments |= {name: follow(arguments) for name, follow in follows.items()}
        return cls(**arguments)

    def _check_constants(self):
        apart = [name for name, constant in self.constants.items() if np.ndim(constant.value)]
        if apart and not self.per_neuron:
            raise ValueError(
                f"Received arrays as {' and '.join(apart)} with per_neuron=False. Expected single "
                "numbers, or per_neuron=True."
            )
        if self.neuron.scale_input and np.any(self.constants["decay"].value == 1):
            raise ValueError(
                "Received a decay of 1 with scale_input=True, which multiplies all inputs by "
                "1 - decay = 0. Expected a decay below 1, or scale_input=False."
            )

    @property
    def state_dtype(self) -> str:
        return "float64" if self.compute_dtype == "float64" else "float32"

    @property
    def state_names(self) -> tuple[str, ...]:
        """What the tensors of the state are, in their order."""
        return self.neuron.states + (("spikes",) if self.is_recurrent else ())

    def build(self, input_shape):
        features = tuple(input_shape[self.leading :])
        if self.per_neuron and None in features:
            raise ValueError(
                f"Layer {self.name!r} received an input of shape {tuple(input_shape)} with "
                "per_neuron=True. Expected neurons whose number is known."
            )
        for name, constant in self.constants.items():
            self._add_constant(name, constant, features if self.per_neuron else ())
        if self.spike is not None:
            self.spike.build((None, *features))
        if self.is_recurrent:
            self._build_recurrent(features)

    def _add_constant(self, name, constant, shape):
        value, trainable = constant.value, getattr(self, f"trainable_{constant.trained_with}")
        try:
            np.broadcast_to(value, shape)
        except ValueError as error:
            raise ValueError(
                f"Layer {self.name!r} has neurons of shape {shape}, and its {name} is an array of "
                f"shape {np.shape(value)}. Expected one that broadcasts to them."
            ) from error
        as_logit = self._as_logit(name)
        weight = self.add_weight(
            name=self._weight_name(name),
            shape=shape,
            initializer=keras.initializers.Constant(
                np.log(value / (1.0 - value)) if as_logit else value
            ),
            trainable=trainable,
            constraint=constant.bounds if trainable and not as_logit else None,
            dtype=self.state_dtype,
            autocast=False,
        )
        setattr(self, self._weight_name(name), weight)

    def _as_logit(self, name):
        return self.logit and name == "decay"

    def _weight_name(self, name):
        return f"{name}_logit" if self._as_logit(name) else name

    def _build_recurrent(self, features):
        if self.recurrent is None:
            self.recurrent = keras.layers.Dense(
                features[-1],
                use_bias=False,
                kernel_initializer="orthogonal",
                name="recurrent",
                dtype=self.dtype_policy,
            )
        if not self.recurrent.built:
            self.recurrent.build((None, *features))
        made = tuple(self.recurrent.compute_output_shape((None, *features)))[1:]
        if made != features:
            raise ValueError(
                f"Layer {self.name!r} has neurons of shape {features}, but its recurrent layer "
                f"{self.recurrent.name!r} makes {made} of that. Expected the same shape."
            )
        if changing := _what_changes(self.recurrent):
            raise ValueError(
                f"Layer {self.name!r} has the recurrent layer {self.recurrent.name!r}, whose calls "
                f"change {changing}. Expected one without dropout, batch normalisation, states or "
                "activity regularizers: only its outputs leave the loop over time."
            )

    def parameters(self) -> dict:
        """All that a turn depends on beside its input and state: what a loop must be given."""
        values = {}
        for name in self.constants:
            value = ops.convert_to_tensor(getattr(self, self._weight_name(name)))
            values[name] = ops.sigmoid(value) if self._as_logit(name) else value
        if self.spike is not None:
            values["spike"] = self.spike.numbers()
        if self.is_recurrent:
            kinds = self.recurrent.trainable_variables, self.recurrent.non_trainable_variables
            values["recurrent"] = [[ops.convert_to_tensor(v) for v in kind] for kind in kinds]
        return values

    def turn(self, x, state, parameters, spike):
        """One step in time of all neurons: `neuron.step` with recurrence.

        Args:
            x: Tensor (batch, ...).
            state: Tuple of tensors of its shape, in `state_dtype`.
            parameters: As `parameters` gives them.
            spike: Function of the distance from the threshold.

        Returns:
            `(output, state)`, both in `state_dtype`.
        """
        x = ops.cast(x, self.state_dtype)
        if not self.is_recurrent:
            return self.neuron.step(x, state, parameters, spike)
        *state, last = state
        trained, other = parameters["recurrent"]
        echo, _ = self.recurrent.stateless_call(trained, other, last)
        x = x + ops.cast(echo, x.dtype)
        y, state = self.neuron.step(x, tuple(state), parameters, spike)
        return y, (*state, y)

    def first_state(self, like) -> tuple:
        """The state that a run starts from, of the shape of `like`."""
        zeros = ops.zeros_like(like, dtype=self.state_dtype)
        return tuple(zeros + value if value else zeros for value in self._initial())

    def _initial(self):
        return self.neuron.initial() + ((0.0,) if self.is_recurrent else ())

    def in_compute_dtype(self, x):
        """Inputs, integers among them, as the layer is to compute with them."""
        dtype = keras.backend.standardize_dtype(x.dtype)
        return x if dtype == self.compute_dtype else ops.cast(x, self.compute_dtype)

    def get_config(self):
        config = {
            **super().get_config(),
            **asdict(self.neuron),
            **{name: np.asarray(c.value).tolist() for name, c in self.constants.items()},
            "trainable_decay": self.trainable_decay,
            "per_neuron": self.per_neuron,
        }
        if self.spike is None:
            return config
        recurrent = True if self._makes_recurrent else None
        if self.is_recurrent and not self._makes_recurrent:
            recurrent = keras.saving.serialize_keras_object(self.recurrent)
        return {
            **config,
            "trainable_threshold": self.trainable_threshold,
            "surrogate": keras.saving.serialize_keras_object(self.spike.surrogate),
            "forward": self.spike.forward_mode,
            "fires_at_threshold": self.spike.fires_at_zero,
            "recurrent": recurrent,
        }

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("recurrent"), dict):
            recurrent = keras.saving.deserialize_keras_object(config["recurrent"])
            config = {**config, "recurrent": recurrent}
        return super().from_config(config)


def _what_changes(layer) -> list[str]:
    """What a layer's calls change or add: seeds, moving statistics, states, losses."""
    weights = {id(weight) for weight in layer.weights}
    found = [variable.path for variable in layer.variables if id(variable) not in weights]
    moving = (keras.layers.BatchNormalization, keras.layers.SpectralNormalization)
    for inner in layer._flatten_layers():
        if (isinstance(inner, moving) and inner.trainable) or getattr(inner, "stateful", False):
            found += [weight.path for weight in inner.non_trainable_weights]
        if isinstance(inner, ActivityPenalty) or inner.activity_regularizer is not None:
            found.append(f"losses by {inner.name}")
    return found


def firing(constants: dict, kwargs: dict) -> dict:
    """The arguments of `NeuronLayer` for neurons that fire, from those of their layer."""
    kwargs = dict(kwargs)
    spike = {
        "surrogate": kwargs.pop("surrogate", "htaf"),
        "forward": kwargs.pop("forward", "hard"),
        "fires_at_zero": kwargs.pop("fires_at_threshold", False),
    }
    return dict(**kwargs, constants=constants, spike=spike)  # an error if they are given
