"""The calls of a functional model, in order, and the bits of what they exchange."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import keras

from keras_htaf.ops.steps import StepNode
from keras_htaf.quantizers import Quantizer

FLOAT = 32
"""Bits of what nothing has quantized, in whichever float type it is computed."""

_SELECTING = (
    keras.layers.InputLayer,
    keras.layers.Identity,
    keras.layers.Flatten,
    keras.layers.Reshape,
    keras.layers.Permute,
    keras.layers.RepeatVector,
    keras.layers.Concatenate,
    keras.layers.Maximum,
    keras.layers.Minimum,
    keras.layers.MaxPooling1D,
    keras.layers.MaxPooling2D,
    keras.layers.MaxPooling3D,
    keras.layers.GlobalMaxPooling1D,
    keras.layers.GlobalMaxPooling2D,
    keras.layers.GlobalMaxPooling3D,
    keras.layers.UpSampling1D,
    keras.layers.Cropping1D,
    keras.layers.Cropping2D,
    keras.layers.Cropping3D,
    keras.layers.Dropout,
    keras.layers.SpatialDropout1D,
    keras.layers.SpatialDropout2D,
    keras.layers.SpatialDropout3D,
    keras.layers.ActivityRegularization,
)
_SELECTING_OPERATIONS = {"Reshape", "Transpose", "Concatenate", "Split", "Stack", "GetItem"}
"""What selects, moves and repeats its inputs when the model is used, so that bits stay bits."""


@dataclass(frozen=True)
class Call:
    """One use of a layer or operation."""

    operation: keras.Operation
    path: str
    """The layer's name, after those of the models that it is nested in."""
    inputs: list
    """Symbolic tensors, as `outputs`."""
    outputs: list
    input_bits: int
    output_bits: int


def calls(model: keras.Model) -> Iterator[Call]:
    """All calls of the model's layers and operations, those of nested models among them.

    Raises:
        ValueError: If the model is not functional (or sequential and built).
    """
    yield from _calls(model, {}, "")


def _calls(model, given: dict[int, int], prefix: str) -> Iterator[Call]:
    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) has no graph to count in. Expected a "
            "functional model, or a sequential one that begins with keras.Input."
        )
    bits = dict(given)  # by the identity of symbolic tensors
    for node in _nodes(outputs):
        operation = node.operation
        inputs, results = list(node.input_tensors), list(node.output_tensors)
        before = [bits.get(id(tensor), FLOAT) for tensor in inputs]
        if isinstance(operation, keras.Model):
            inner = operation.inputs
            passed = dict(zip(map(id, inner), before, strict=True))
            last = {}
            for call in _calls(operation, passed, f"{prefix}{operation.name}/"):
                last.update((id(tensor), call.output_bits) for tensor in call.outputs)
                yield call
            after = [last.get(id(t), passed.get(id(t), FLOAT)) for t in operation.outputs]
            bits.update(zip(map(id, results), after, strict=True))
            continue
        if isinstance(operation, keras.layers.InputLayer):
            before = [bits.get(id(tensor), FLOAT) for tensor in results]
        after = _output_bits(operation, before)
        bits.update((id(tensor), after) for tensor in results)
        path = prefix + operation.name
        yield Call(operation, path, inputs, results, max(before, default=FLOAT), after)


def _output_bits(operation, before: list[int]) -> int:
    if isinstance(operation, Quantizer):
        return operation.precision
    if isinstance(operation, StepNode):
        return 1
    activation = getattr(operation, "activation", None)
    if isinstance(activation, Quantizer):
        return activation.precision
    selects = isinstance(operation, _SELECTING) or (
        not isinstance(operation, keras.layers.Layer)
        and type(operation).__name__ in _SELECTING_OPERATIONS
    )
    return max(before, default=FLOAT) if selects else FLOAT


def _nodes(outputs) -> list:
    """The nodes that the outputs are computed by, each after those it needs."""
    order, seen = [], set()
    pending = [(_node(tensor), False) for tensor in reversed(outputs)]
    while pending:
        node, ready = pending.pop()
        if ready:
            order.append(node)
        elif id(node) not in seen:
            seen.add(id(node))
            pending.append((node, True))
            pending += [(_node(tensor), False) for tensor in reversed(node.input_tensors)]
    return order


def _node(tensor):
    operation, index, _ = tensor._keras_history
    return operation._inbound_nodes[index]
