"""Neurons as layers over (batch, time, ...)."""

from __future__ import annotations

from functools import partial

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.layers.spiking import closed
from keras_htaf.layers.spiking.neuron import NeuronLayer
from keras_htaf.layers.spiking.time_axis import agree, check_time, checked_mask, checked_state
from keras_htaf.quantizers import Step


class OverTime(NeuronLayer):
    """Base of the layers that run neurons over time.

    Args:
        return_sequences: Whether to return the outputs of all steps, else those of the last (of
            the last that is not masked). Default True.
        return_state: Whether to return the states after the last step too. Default False.
        stateful: Whether a call starts from the states that the one before ended with, until
            `reset_states`. The states are weights, and the batch size must be known. Default False.
        go_backwards: Whether time runs backwards; the outputs are then in that order, as in
            `keras.layers.RNN`. Default False.
        **kwargs: Of `NeuronLayer`.
    """

    leading = 2

    def __init__(
        self,
        *,
        return_sequences: bool = True,
        return_state: bool = False,
        stateful: bool = False,
        go_backwards: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        self.return_sequences = return_sequences
        self.return_state = return_state
        self.stateful = stateful
        self.go_backwards = go_backwards
        self._kept: list = []
        self._steps: dict = {}

    def build(self, input_shape):
        check_time(self, input_shape)
        super().build(input_shape)
        if self.stateful:
            self._build_states((input_shape[0], *input_shape[2:]))

    def _build_states(self, shape):
        if None in shape:
            raise ValueError(
                f"Layer {self.name!r} received inputs for states of shape {shape} with "
                "stateful=True. Expected a known size: give the model's Input a batch_size."
            )
        self._kept = [
            self.add_weight(
                name=f"state_{name}",
                shape=shape,
                initializer=keras.initializers.Constant(value),
                trainable=False,
                dtype=self.state_dtype,
                autocast=False,
            )
            for name, value in zip(self.state_names, self._initial(), strict=True)
        ]

    def reset_states(self) -> None:
        """Start from the resting state again."""
        if not self._kept:
            raise ValueError(
                f"Layer {self.name!r} keeps no states. Expected one with stateful=True, built."
            )
        for weight, value in zip(self._kept, self._initial(), strict=True):
            weight.assign(ops.full(weight.shape, value, weight.dtype))

    def call(self, inputs, initial_state=None, mask=None, training=None):
        mask = None if mask is None else checked_mask(self, mask, inputs)
        y, state = self.run(inputs, initial_state, mask, training)
        if self.stateful:
            for weight, value in zip(self._kept, state, strict=True):
                weight.assign(value)
        if not self.return_sequences:
            y = y[:, -1] if mask is None else self._last(y, self._in_order(mask))
        return (y, *state) if self.return_state else y

    def run(self, inputs, initial_state=None, mask=None, training=None) -> tuple:
        """The outputs of all steps and the last state, whatever the options say is returned."""
        check_time(self, inputs.shape)
        x = self._in_order(self.in_compute_dtype(inputs))
        state = self._state_before(x, initial_state)
        mask = None if mask is None else self._in_order(checked_mask(self, mask, x))
        parameters, inputs = self.parameters(), {"x": x} if mask is None else {"x": x, "mask": mask}
        if self.spike is not None and self.spike.has_taps:
            return self._watched(inputs, state, parameters, training)
        if fast := closed.of(self, mask):
            y, state = fast(self, x, state, mask, parameters, bool(training))
        else:
            (y,), state = self._scan(inputs, state, parameters, training)
        if self.spike is not None:
            self.spike.observe(y)
        return y, state

    def _scan(self, inputs, state, parameters, training, looks=False):
        """The outputs, if `looks` with the distances from the threshold, and the last state."""
        # One function for equal runs: JAX compiles an eager loop once for each function.
        modes = tuple(s.forward_mode for s in self._flatten_layers() if isinstance(s, Step))
        key = (bool(training), looks, modes)
        if key not in self._steps:
            self._steps[key] = partial(self._step, training=bool(training), looks=looks)
        return backend.scan(self._steps[key], inputs, state, parameters, bool(training))

    def _step(self, inputs, state, parameters, training, looks):
        seen = []

        def spike(distance):
            seen.append(distance + inputs["shift"] if "shift" in inputs else distance)
            return self.spike.pure_call(seen[-1], *parameters["spike"], training)

        x, on = inputs["x"], None
        if "mask" in inputs:
            on = ops.reshape(inputs["mask"], (-1,) + (1,) * (len(x.shape) - 1))
            x = ops.where(on, x, ops.zeros_like(x))  # a gradient of 0 times NaN is NaN
        y, after = self.turn(x, state, parameters, spike)
        if on is not None:
            y = ops.where(on, y, ops.zeros_like(y))
            after = [ops.where(on, *pair) for pair in zip(after, state, strict=True)]
        y = self.in_compute_dtype(y)
        return ((y, seen[-1]) if looks else (y,)), tuple(after)

    def _watched(self, inputs, state, parameters, training):
        """A run whose spike is looked at (`Step.tapped`): taps see all steps at once.

        What they change in the distances from the threshold shifts them in a second run. (The
        spike of a reset in the next step is shifted with the one that follows it.)
        """
        (_, distance), _ = self._scan(inputs, state, parameters, training, looks=True)
        distance = ops.stop_gradient(distance)
        inputs = {**inputs, "shift": self.spike.tap(distance) - distance}
        # Not the same parameters: a tap may have assigned the scale.
        (y,), state = self._scan(inputs, state, self.parameters(), training)
        self.spike.observe(y)
        return y, state

    def _state_before(self, x, given):
        shape = (x.shape[0], *x.shape[2:])
        if given is None:
            if not self.stateful:
                return self.first_state(x[:, 0])
            kept = tuple(self._kept[0].shape)
            if not agree(kept, shape):
                raise ValueError(
                    f"Layer {self.name!r} is stateful and keeps states of shape {kept}. Received "
                    f"inputs for states of shape {shape}. Expected batches of the same size."
                )
            # Copies, which the backward pass may keep: on torch a weight is assigned in place.
            return tuple(ops.copy(ops.convert_to_tensor(weight)) for weight in self._kept)
        given = checked_state(self, given, [shape] * len(self.state_names))
        return tuple(ops.cast(state, self.state_dtype) for state in given)

    def _in_order(self, x):
        return ops.flip(x, axis=1) if self.go_backwards else x

    def _last(self, y, mask):
        """The outputs of each sequence's last step that is not masked, 0 if there is none."""
        mask = ops.cast(mask, "int32")
        place = ops.cumsum(mask, axis=1) * mask
        last = ops.logical_and(place == ops.max(place, axis=1, keepdims=True), place > 0)
        last = ops.reshape(last, (*ops.shape(last), *(1,) * (len(y.shape) - 2)))
        return ops.sum(ops.where(last, y, ops.zeros_like(y)), axis=1)

    def compute_mask(self, inputs, mask=None):
        mask = self._in_order(mask) if self.return_sequences and mask is not None else None
        return [mask] + [None] * len(self.state_names) if self.return_state else mask

    def compute_output_shape(self, input_shape):
        state = (input_shape[0], *input_shape[2:])
        outputs = tuple(input_shape) if self.return_sequences else state
        return (outputs, *[state] * len(self.state_names)) if self.return_state else outputs

    def compute_output_spec(self, inputs, initial_state=None, mask=None, training=None):
        check_time(self, inputs.shape)
        if initial_state is not None:
            self._state_before(inputs, initial_state)
        shapes = self.compute_output_shape(inputs.shape)
        if not self.return_state:
            return keras.KerasTensor(shapes, dtype=self.compute_dtype)
        outputs = keras.KerasTensor(shapes[0], dtype=self.compute_dtype)
        return (outputs, *(keras.KerasTensor(s, dtype=self.state_dtype) for s in shapes[1:]))

    def get_config(self):
        names = ("return_sequences", "return_state", "stateful", "go_backwards")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}
