"""Models over time in pieces, with their states as inputs and outputs."""

from __future__ import annotations

from typing import Any

import keras
import numpy as np
from keras import layers as stock
from keras import ops

from keras_htaf import layers, quantizers
from keras_htaf.models.checks import check_sizes
from keras_htaf.models.spiking.graph import functional_graph

_MAKES_TIME = (layers.RepeatTime, layers.RateEncoding)
_STEPWISE = (
    *(layers.FoldTime, layers.ActivityPenalty, layers.PopulationEncoding, quantizers.Quantizer),
    *(stock.InputLayer, stock.Dense, stock.TimeDistributed, stock.Identity, stock.Rescaling),
    *(stock.Activation, stock.ReLU, stock.LeakyReLU, stock.ELU, stock.PReLU, stock.Softmax),
    *(stock.BatchNormalization, stock.LayerNormalization, stock.RMSNormalization),
    *(stock.Dropout, stock.GaussianDropout, stock.GaussianNoise, stock.Masking),
    *(stock.Add, stock.Subtract, stock.Multiply, stock.Average, stock.Maximum, stock.Minimum),
    stock.Concatenate,
)
"""What treats each step by itself, unless its axis is that of time."""


def streaming(model: keras.Model, chunk: int = 1) -> keras.Model:
    """A model that takes a few steps at a time, with explicit states in and out.

        (y, states) = streamed([x, *states])

    Fed with a sequence in pieces, each with the states that the one before gave, it gives what the
    model gives for the whole: the outputs of each piece where that returns sequences, the result so
    far (spike count, mean logits, ...) where it does not. It has no hidden state, so that it can be
    exported, and one model serves any number of streams. The exception is `RateEncoding`: its copy
    draws from a seed generator of its own, one for all streams, and so other spikes than the model.

    Where inputs do not change (direct or rate coding), x is the input itself, and each call goes on
    for `chunk` steps with it: one may stop as soon as the outputs decide.

    Args:
        model: A built functional or sequential model. What it does over time must be in layers of
            this package, other layers treat steps alike.
        chunk: Number of steps of each call. Default 1.

    Returns:
        A new functional model with the same weights, not compiled. Its inputs are a list: those of
        the model, with `chunk` steps where they have a time axis, then the states; its outputs are
        a list of the outputs and the states. `initial_state` gives states to begin with; call the
        model with x as a tensor beside them. Inputs of states are named after their layers, such
        as "layer1_spikes_potential"; those that come out are in the same order.

    Raises:
        ValueError: If a layer needs the whole sequence, or keeps its state by itself.

    Example:

    >>> model = keras_htaf.models.spiking_mlp((4,), 2, num_steps=6, width=8)
    >>> streamed = streaming(model, chunk=2)
    >>> x, state = keras.ops.ones((1, 4)), initial_state(streamed, 1)
    >>> for _ in range(3):
    ...     counts, *state = streamed([x, *state])
    >>> bool(keras.ops.all(counts == model(x)))
    True
    """
    check_sizes(chunk=chunk)
    graph = functional_graph(model)
    makes_time = any(isinstance(layer, _MAKES_TIME) for layer in graph.operations)
    inputs = [_input(tensor, None if makes_time else chunk) for tensor in graph.inputs]
    stream = _Stream(chunk, timed=set() if makes_time else set(map(id, inputs)))
    outputs = graph._run_through_graph(inputs, operation_fn=stream.copy, call_fn=stream.call)
    outputs = keras.tree.flatten(outputs)
    streamed = keras.Model(
        [*inputs, *stream.before], [*outputs, *stream.after], name=f"{model.name}_streaming"
    )
    for layer, copy in stream.copies.values():
        if copy is not layer:
            copy.set_weights(layer.get_weights())
    return streamed


def initial_state(model: keras.Model, batch_size: int) -> list:
    """The states with which a model made by `streaming` begins.

    Args:
        model: Such a model, which may have been saved and loaded.
        batch_size: Number of streams.

    Returns:
        A list of tensors, to be given behind the inputs.

    Raises:
        ValueError: If the model has no states among its inputs.

    Example:

    >>> layers = [keras.Input((None, 8)), keras_htaf.layers.LIF()]
    >>> model = keras_htaf.models.streaming(keras.Sequential(layers))
    >>> [tuple(state.shape) for state in initial_state(model, batch_size=3)]
    [(3, 8)]
    """
    check_sizes(batch_size=batch_size)
    shapes = {tensor.name: (batch_size, *tensor.shape[1:]) for tensor in model.inputs}
    found: dict[str, Any] = {}
    for layer in _with_states(model):
        names = _names(layer)
        states = layer.first_state(ops.zeros(shapes[names[0]], layer.compute_dtype))
        found.update(zip(names, states, strict=True))
    if not found:
        raise ValueError(
            f"Model {model.name!r} has no states among its inputs {list(shapes)}. Expected one "
            "made by keras_htaf.models.streaming."
        )
    states = [(tensor, found[tensor.name]) for tensor in model.inputs if tensor.name in found]
    return [ops.cast(state, tensor.dtype) for tensor, state in states]


def state_names(model: keras.Model) -> list[str]:
    """The names of a model's inputs that are states, in order; none of an ordinary model's.

    A model that `streaming` made gives the states behind its other outputs, in the same order.
    """
    known = {name for layer in _with_states(model) for name in _names(layer)}
    return [tensor.name for tensor in model.inputs if tensor.name in known]


def _with_states(model) -> list:
    """The layers whose states are inputs of the model."""
    given = {tensor.name for tensor in model.inputs}
    return [layer for layer in model.layers if _names(layer) and _names(layer)[0] in given]


class _Stream:
    """One model's layers, copied and called for a few steps at a time."""

    def __init__(self, chunk: int, timed: set[int]):
        self.chunk = chunk
        self.timed = timed
        """Identities of the tensors with a time axis."""
        self.copies: dict[int, tuple] = {}
        """By the identity of a layer: itself and its copy."""
        self.before: list = []
        self.after: list = []

    def copy(self, operation):
        if id(operation) not in self.copies:
            self.copies[id(operation)] = operation, self._copy(operation)
        return self.copies[id(operation)][1]

    def _copy(self, layer):
        if not isinstance(layer, stock.Layer):
            return layer
        config = layer.get_config()
        if isinstance(layer, _MAKES_TIME):
            config["num_steps"] = self.chunk
        if _has_state(layer):
            if config.get("stateful") or config.get("go_backwards"):
                raise ValueError(
                    f"Layer {layer.name!r} has stateful={config['stateful']}, "
                    f"go_backwards={config['go_backwards']}. Expected neither: a stream has "
                    "explicit states, and no end to begin from."
                )
            config["return_state"] = True
        return type(layer).from_config(config)

    def call(self, operation, *arguments, **options):
        given = keras.tree.flatten((arguments, options))
        timed = any(id(x) in self.timed for x in given)
        if timed:
            self._check(operation, given)
        if _has_state(operation):
            outputs = self._call_with_state(operation, *arguments, **options)
            timed = len(outputs.shape) == len(arguments[0].shape)
        else:
            outputs = operation(*arguments, **options)
        if timed or isinstance(operation, _MAKES_TIME):
            self.timed.update(map(id, keras.tree.flatten(outputs)))
        return outputs

    def _call_with_state(self, layer, x, **options):
        _, *states = layer.compute_output_spec(x)
        names = _names(layer)
        if names[0] in {tensor.name for tensor in self.before}:
            raise ValueError(
                f"Layer {layer.name!r} is called twice. Expected a layer for each place: a layer "
                "with a memory that is shared would need two."
            )
        before = [
            keras.Input(batch_shape=state.shape, dtype=state.dtype, name=name)
            for name, state in zip(names, states, strict=True)
        ]
        outputs, *after = layer(x, initial_state=before, **options)
        self.before += before
        self.after += after
        return outputs

    def _check(self, operation, given):
        axis = getattr(operation, "axis", -1)
        rank = max(len(x.shape) for x in given if id(x) in self.timed)
        over_time = isinstance(axis, (int, list, tuple)) and 1 in np.atleast_1d(axis) % rank
        if not (isinstance(operation, _STEPWISE) and not over_time) and not _has_state(operation):
            raise ValueError(
                f"{type(operation).__name__} {operation.name!r} has inputs with a time axis, and "
                "may need the whole of a sequence. Expected neurons, ReduceTime, DeltaEncoding, "
                "dense and elementwise layers, and others within keras_htaf.layers.FoldTime."
            )


def _has_state(layer) -> bool:
    return bool(getattr(layer, "state_names", ())) and hasattr(layer, "return_state")


def _names(layer) -> list[str]:
    """Of the inputs for the layer's states."""
    return [f"{layer.name}_{name}" for name in getattr(layer, "state_names", ())]


def _input(tensor, steps):
    shape = tensor.shape if steps is None else (tensor.shape[0], steps, *tensor.shape[2:])
    return keras.Input(batch_shape=shape, dtype=tensor.dtype, name=tensor.name)
