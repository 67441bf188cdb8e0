"""The calls of a functional model, in order, and the bits of what they exchange."""

from __future__ import annotations

from collections.abc import Generator, Hashable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import keras

from keras_htaf.layers import (
    ActivityPenalty,
    FoldTime,
    LatencyEncoding,
    RateEncoding,
    RepeatTime,
)
from keras_htaf.layers.spiking.over_time import OverTime
from keras_htaf.ops import steps
from keras_htaf.quantizers import DoReFa, Quantizer, ScaledSign, Step, Ternary

FLOAT = 32
"""Bits of what nothing has quantized, in whichever float type it is computed."""

_layers = keras.layers
CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
SEPARABLE = (_layers.SeparableConv1D, _layers.SeparableConv2D)
TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)

_ACTIVATED = (
    *(_layers.Dense, _layers.EinsumDense, *CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED),
    *(_layers.Activation, _layers.SimpleRNNCell),
)
"""What ends with its `activation`, unlike an LSTM, say, which multiplies its output by a gate."""
_SELECTING = (
    ActivityPenalty,
    RepeatTime,
    _layers.ActivityRegularization,
    _layers.AlphaDropout,
    _layers.Concatenate,
    _layers.Cropping1D,
    _layers.Cropping2D,
    _layers.Cropping3D,
    _layers.Dropout,
    _layers.Flatten,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.GlobalMaxPooling1D,
    _layers.GlobalMaxPooling2D,
    _layers.GlobalMaxPooling3D,
    _layers.Identity,
    _layers.InputLayer,
    _layers.Maximum,
    _layers.MaxPooling1D,
    _layers.MaxPooling2D,
    _layers.MaxPooling3D,
    _layers.Minimum,
    _layers.Permute,
    _layers.RepeatVector,
    _layers.Reshape,
    _layers.SpatialDropout1D,
    _layers.SpatialDropout2D,
    _layers.SpatialDropout3D,
    _layers.UpSampling1D,
    _layers.UpSampling2D,
    _layers.UpSampling3D,
)
_OPERATIONS = """
Concatenate ExpandDims Flip GetItem Moveaxis Ravel Repeat Reshape Roll Split Squeeze Stack Swapaxes
Tile Transpose
"""
SELECTING_OPERATIONS = frozenset(_OPERATIONS.split())
"""What selects, moves and repeats its inputs when the model is used, so that bits stay bits."""


class _Code(NamedTuple):
    """In which values something is given."""

    bits: int
    values: Hashable = None
    """Equal where the values are."""


_REAL = _Code(FLOAT)
_BITS, _SIGNS = _Code(1, "bits"), _Code(1, "signs")


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


def keras_operation(operation: keras.Operation) -> str:
    """The class name of an operation of `keras.ops`; that of anything else is empty."""
    kind = type(operation)
    return kind.__name__ if kind.__module__.startswith("keras.src.ops.") else ""


def _calls(model, given: dict[int, _Code], prefix: str) -> Generator[Call, None, list[_Code]]:
    """Returns the codes of the model's outputs, given those of its inputs."""
    outputs = getattr(model, "outputs", None)
    if not outputs:
        raise ValueError(
            f"Model {model.name!r} ({type(model).__name__}) has no graph to count in. Expected a "
            "functional model, or a sequential one that begins with keras.Input."
        )
    codes = dict(given)  # by the identity of symbolic tensors
    for node in nodes(outputs):
        operation = node.operation
        inputs, results = list(node.input_tensors), list(node.output_tensors)
        before = [codes.get(id(tensor), _REAL) for tensor in inputs]
        if isinstance(operation, keras.Model):
            passed = dict(zip(map(id, operation.inputs), before, strict=True))
            after = yield from _calls(operation, passed, f"{prefix}{operation.name}/")
            codes.update(zip(map(id, results), after, strict=True))
            continue
        if isinstance(operation, keras.layers.InputLayer):
            before = [codes.get(id(tensor), _REAL) for tensor in results]
        code = _output_code(operation, before)
        codes.update((id(tensor), code) for tensor in results)
        input_bits = max((code.bits for code in before), default=FLOAT)
        yield Call(operation, prefix + operation.name, inputs, results, input_bits, code.bits)
    return [codes[id(tensor)] for tensor in outputs]


def _output_code(operation, before: list[_Code]) -> _Code:
    if isinstance(operation, FoldTime):
        return _output_code(operation.layer, before)
    if isinstance(operation, OverTime):
        return _REAL if operation.spike is None else _BITS
    if isinstance(operation, (LatencyEncoding, RateEncoding)):
        return _BITS
    if isinstance(operation, Quantizer):
        return _quantized(operation)
    if isinstance(operation, steps.StepNode):
        return _SIGNS if type(operation).__name__ == "_Sign" else _BITS
    ends = operation.cell if isinstance(operation, _layers.RNN) else operation
    if isinstance(ends, _ACTIVATED):
        if isinstance(ends.activation, Quantizer):
            return _quantized(ends.activation)
        if any(ends.activation is function for function in steps.FUNCTIONS):
            return _SIGNS if ends.activation is steps.sign else _BITS
    # Bits beside signs are three values, -1, 0 and 1: no longer what one bit can hold.
    return before[0] if _selects(operation) and len(set(before)) == 1 else _REAL


def _quantized(quantizer: Quantizer) -> _Code:
    if isinstance(quantizer, Step) and not isinstance(quantizer, ScaledSign):
        return _BITS if quantizer.rise == 1 else _SIGNS
    if isinstance(quantizer, (DoReFa, Ternary)):
        values = type(quantizer), getattr(quantizer, "mode", None)
        return _Code(quantizer.precision, values)
    return _Code(quantizer.precision, object())  # scales are those of one call


def _selects(operation) -> bool:
    if isinstance(operation, _layers.Activation):
        return operation.activation is keras.activations.linear
    if isinstance(operation, _layers.UpSampling2D):
        return operation.interpolation == "nearest"
    return isinstance(operation, _SELECTING) or keras_operation(operation) in SELECTING_OPERATIONS


def nodes(outputs) -> list:
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
