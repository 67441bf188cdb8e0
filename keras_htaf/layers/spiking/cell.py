"""Neurons as cells of `keras.layers.RNN`."""

from __future__ import annotations

from numbers import Integral

from keras import ops

from keras_htaf.layers.spiking.neuron import NeuronLayer


class Cell(NeuronLayer):
    """Base of the cells: one step in time, for `keras.layers.RNN` and loops of one's own.

    The layers over time are faster, take any shape and handle masks: `keras.layers.RNN` repeats
    outputs (on JAX, states) at masked steps, where a neuron is silent, and on JAX its
    `stateful=True` keeps no states.

    Args:
        units: Positive integer, the number of neurons, which is that of the inputs.
        **kwargs: Of `NeuronLayer`.

    Call arguments:
        inputs: Shape (batch, units).
        states: The states, each of shape (batch, units).

    Returns:
        `(outputs, states)`.
    """

    leading = 1
    units: int

    def __init__(self, units: int, **kwargs):
        super().__init__(**kwargs)
        if isinstance(units, bool) or not isinstance(units, Integral) or units < 1:
            raise ValueError(f"Received units={units!r}. Expected a positive integer.")
        self.units = int(units)

    @property
    def state_size(self) -> list[int]:
        return [self.units] * len(self.state_names)

    @property
    def output_size(self) -> int:
        return self.units

    def build(self, input_shape):
        if len(input_shape) != 2 or input_shape[1] != self.units:
            raise ValueError(
                f"Cell {self.name!r} received an input of shape {tuple(input_shape)}. Expected "
                f"(batch, {self.units}), an input for each neuron."
            )
        super().build(input_shape)

    def call(self, inputs, states, training=None):
        parameters = self.parameters()
        several = isinstance(states, (list, tuple))
        state = tuple(ops.cast(s, self.state_dtype) for s in (states if several else [states]))
        x = self.in_compute_dtype(inputs)
        y, state = self.turn(x, state, parameters, self._fire(training))
        return self.in_compute_dtype(y), list(state) if several else state[0]

    def _fire(self, training):
        if self.spike is None:
            return None
        return lambda distance: self.spike(distance, training=training)

    def get_initial_state(self, batch_size=None):
        return list(self.first_state(ops.zeros((batch_size, self.units), self.state_dtype)))

    def compute_output_shape(self, input_shape, *states):
        return tuple(input_shape), [tuple(input_shape)] * len(self.state_names)

    def get_config(self):
        return {**super().get_config(), "units": self.units}
