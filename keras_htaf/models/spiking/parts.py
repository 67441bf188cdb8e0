"""What spiking networks are made of: coding, maps, normalisation over time, neurons, readout."""

from __future__ import annotations

from collections.abc import Callable

import keras
from keras import layers as stock

from keras_htaf import layers
from keras_htaf.models.checks import check_choice, check_sizes

NEURONS = {
    "if": layers.IF,
    "lif": layers.LIF,
    "plif": layers.PLIF,
    "cuba": layers.CubaLIF,
    "alif": layers.ALIF,
}
NORMALIZATIONS = ("threshold", "batch", None)
READOUTS = ("count", "membrane", "mean")


class Parts:
    """Builds one network, from (batch, ...) or (batch, time, ...) to its readout.

    What does not change with time, in direct coding all before the first neurons, is computed once:
    the time axis is made where neurons need it. Until then `timed` is false.
    """

    def __init__(
        self,
        num_steps: int | None,
        encoding,
        neuron: str | Callable,
        neuron_options: dict | None,
        normalization: str | None,
        *,
        default_steps: int,
    ):
        check_choice("normalization", normalization, NORMALIZATIONS)
        if encoding == "direct":
            num_steps = default_steps if num_steps is None else num_steps
            check_sizes(num_steps=num_steps)
        elif encoding is not None and not isinstance(encoding, stock.Layer):
            raise ValueError(
                f"Received encoding={encoding!r}. Expected 'direct', a layer that gives inputs a "
                "time axis, such as keras_htaf.layers.RateEncoding(8), or None for inputs that "
                "have one."
            )
        elif num_steps is not None:
            raise ValueError(
                f"Received num_steps={num_steps!r} and encoding={encoding!r}. Expected num_steps "
                "for direct coding only: it is the encoding layer, or the inputs, that have them."
            )
        self.num_steps = num_steps
        self.encoding = encoding
        self.normalization = normalization
        self._make, self._options = _neuron(neuron, neuron_options)
        self._constants = getattr(self._make(**self._options, name="probe"), "constants", {})
        self.timed = False

    def inputs(self, input_shape: tuple, check: Callable):
        """The input, encoded if a layer does that; `check` is for its shape without time."""
        if self.encoding is None:
            steps, features = _split(input_shape)
            shape = (steps, *check(features))
        else:
            shape = check(input_shape)
        x = inputs = keras.Input(shape, name="inputs")
        if isinstance(self.encoding, stock.Layer):
            x = self.encoding(x)
            if len(x.shape) != len(inputs.shape) + 1:
                raise ValueError(
                    f"Received the encoding {self.encoding.name!r}, which turns {inputs.shape} "
                    f"into {x.shape}. Expected one that puts a time axis behind the batch axis."
                )
        self.timed = self.encoding != "direct"
        return inputs, x

    def each(self, layer, x):
        """A layer without memory, for all steps at once if there are any."""
        if not self.timed:
            return layer(x)
        return layers.FoldTime(layer, name=layer.name)(x)

    def dense(self, x, units: int, name: str, *, bias: bool | None = None, dtype=None):
        bias = self.normalization is None if bias is None else bias
        return stock.Dense(units, use_bias=bias, name=name, dtype=dtype)(x)  # of the last axis

    def conv(self, x, filters: int, name: str, *, size: int = 3, strides: int = 1):
        layer = stock.Conv2D(
            filters,
            size,
            strides=strides,
            padding="same",
            use_bias=self.normalization is None,
            data_format="channels_last",
            name=name,
        )
        return self.each(layer, x)

    def norm(self, x, name: str):
        """Normalisation over batch and time, and space."""
        if self.normalization is None:
            return x
        by_threshold = self.normalization == "threshold" and "threshold" in self._constants
        scale = self._constants["threshold"].mean if by_threshold else 1.0
        gamma = keras.initializers.Constant(scale)
        layer = stock.BatchNormalization(momentum=0.9, gamma_initializer=gamma, name=f"{name}_norm")
        return self.each(layer, x)

    def fire(self, x, name: str):
        """Neurons, and before the first ones the repetition of direct coding."""
        return self._make(**self._options, name=f"{name}_spikes")(self.over_time(x))

    def over_time(self, x):
        if not self.timed:
            x = layers.RepeatTime(self.num_steps, name="repeat")(x)
            self.timed = True
        return x

    def read(self, x, num_outputs: int, readout: str, return_sequences: bool):
        """The outputs, float32."""
        reduction = {"count": "sum", "membrane": "max", "mean": "mean"}[readout]
        reduce = layers.ReduceTime(reduction, dtype="float32", name="readout")
        if readout == "mean":
            # The map is linear: of the mean it gives the mean, for one step's work.
            x = x if return_sequences else reduce(x)
            return self.dense(x, num_outputs, "head", bias=True, dtype="float32")
        if readout == "membrane":
            x = self.dense(x, num_outputs, "head", bias=True)
            decay = self._constants["decay"].mean if "decay" in self._constants else None
            x = layers.LI(decay, dtype="float32", name="head_potential")(x)
        else:
            x = self.fire(self.norm(self.dense(x, num_outputs, "head"), "head"), "head")
            x = stock.Activation("linear", dtype="float32", name="head_out")(x)
        return x if return_sequences else reduce(x)


def _neuron(neuron, options) -> tuple[Callable, dict]:
    if options is not None and not isinstance(options, dict):
        raise ValueError(f"Received neuron_options={options!r}. Expected a dict of arguments.")
    options = dict(options or {})
    if isinstance(neuron, str) and neuron in NEURONS:
        return NEURONS[neuron], options
    if isinstance(neuron, stock.Layer) or not callable(neuron):
        raise ValueError(
            f"Received neuron={neuron!r}. Expected one of {tuple(NEURONS)}, or a function that "
            "makes a layer of neurons, such as keras_htaf.layers.LIF: each place gets its own."
        )
    return neuron, options


def _split(input_shape) -> tuple:
    """(steps or None, shape of the features)."""
    if not isinstance(input_shape, (tuple, list)) or len(input_shape) < 2 or input_shape[0] == 0:
        raise ValueError(
            f"Received input_shape={input_shape!r} with encoding=None. Expected (time, ...) with "
            "at least one step, or None for any number of steps."
        )
    return input_shape[0], tuple(input_shape[1:])
