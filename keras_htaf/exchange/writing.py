"""From a Keras model to a NIR graph."""

from __future__ import annotations

import os
import warnings
from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_htaf.costs.graph import nodes
from keras_htaf.exchange import maps, units
from keras_htaf.exchange.maps import Order
from keras_htaf.exchange.package import require_nir
from keras_htaf.files import replacing
from keras_htaf.layers import FoldTime

_layers = keras.layers


def to_nir(
    model: keras.Model, path: str | os.PathLike | None = None, *, dt: float = units.DT
) -> Any:
    """Writes a spiking network as NIR, which other simulators and neuromorphic chips read.

    NIR (the Neuromorphic Intermediate Representation) holds a graph of linear maps and of neurons
    in continuous time. Of a decay, NIR's time constants and gains are those which Euler's method
    with the step dt makes the same neuron of:

        LIF      tau v' = v_leak - v + R I        v <- v_leak + decay (v - v_leak) + gain I
                 tau = dt / (1 - decay)           R = gain / (1 - decay)
        CubaLIF  the same, behind tau_syn I' = -I + w_in S with w_in = 1 / (1 - synaptic_decay)
        IF       v' = R I                         v <- v + R I, R = 1 (as other simulators do)

    with gain 1, or 1 - decay if `scale_input`. Images become channels first, and what follows a
    flattened one is reordered. Batch normalisation becomes part of the map before it. A threshold
    that a tie reaches (`fires_at_threshold`) becomes the next smaller float32. What NIR has no
    place for (a reset by subtraction, in the next step, or none; the slope, and whether spikes are
    smooth) is metadata that `from_nir` reads; of what makes spikes differ elsewhere there is a
    warning.

    Args:
        model: A functional or sequential model of (batch, time, ...) with one input, of layers
            `Dense`, `FoldTime` of `Dense`, `Conv2D`, `DepthwiseConv2D`, `Flatten`,
            `AveragePooling2D`, `GlobalAveragePooling2D` or `BatchNormalization`, `IF`, `LIF`,
            `PLIF`, `CubaLIF` and `LI` (all with `return_sequences=True`; a `Dense` within a neuron
            as `recurrent`), `Add`, and layers that matter in training only. Encodings of the
            input and sums over time are for the caller: end and begin the model between them.
        path: File to write, usually `.nir`. None (default) writes none.
        dt: Seconds of a time step. Default 1e-4, which snnTorch takes for granted.

    Returns:
        The `nir.NIRGraph`; its nodes are named as the layers.

    Raises:
        ValueError: If something in the model cannot be written; it says what and why.
        ImportError: If the extra `keras-htaf[nir]` is missing.

    Example:

    >>> layers = [keras.Input((None, 3)), keras.layers.Dense(2), keras_htaf.layers.LIF(
    ...     decay=0.9, reset="zero", name="spikes")]
    >>> graph = to_nir(keras.Sequential(layers), tmp / "network.nir")
    >>> [round(1000 * float(tau), 4) for tau in graph.nodes["spikes"].tau]  # milliseconds
    [1.0, 1.0]

    Reference: Pedersen et al. (2024), Nature Communications 15:8122.
    """
    nir = require_nir("Writing NIR")
    if not isinstance(model, keras.Model) or not getattr(model, "inputs", None):
        raise ValueError(
            f"Received {model!r}. Expected a functional model, or a sequential one that begins "
            "with keras.Input."
        )
    if len(model.inputs) != 1:
        raise ValueError(f"Model {model.name!r} has {len(model.inputs)} inputs. Expected one.")
    units.check_dt(dt)
    writer = _Writer(nir, dt)
    order = Order(_features(model.inputs[0], model.name))
    writer.nodes["input"] = nir.Input(input_type=np.array(order.nir_shape))
    ends = writer.follow(model, [_Signal(("input",), order)])
    for i, end in enumerate(ends):
        name = "output" if i == 0 else f"output_{i}"
        if end.order.image is not None:
            raise writer.refusal(
                model, "it ends with a flattened image, whose order NIR would change; end it "
                "before Flatten, or with a Dense layer"
            )  # fmt: skip
        writer.nodes[name] = nir.Output(output_type=np.array(end.order.nir_shape))
        writer.join(end, name)
    if writer.lost:
        warnings.warn(
            "NIR has no place for what these layers do, and other readers will give other spikes: "
            + "; ".join(f"{name} ({why})" for name, why in writer.lost.items()),
            stacklevel=2,
        )
    metadata = {"dt": float(dt), "written_by": "keras-htaf"}
    graph = nir.NIRGraph(writer.nodes, writer.edges, metadata=metadata, type_check=False)
    if path is not None:
        with replacing(path) as temporary:
            nir.write(os.fspath(temporary), graph)
    return graph


@dataclass
class _Signal:
    """What one Keras tensor is in NIR: the sum of what some nodes give."""

    sources: tuple[str, ...]
    order: Order
    alone: bool = True
    """Whether nothing else uses it."""


@dataclass
class _Writer:
    nir: Any
    dt: float
    nodes: dict[str, Any] = field(default_factory=dict)
    edges: list[tuple[str, str]] = field(default_factory=list)
    lost: dict[str, str] = field(default_factory=dict)

    def follow(self, model, inputs: list[_Signal]) -> list[_Signal]:
        """The signals of the model's outputs, given those of its inputs."""
        known = {id(t): signal for t, signal in zip(model.inputs, inputs, strict=True)}
        order = nodes(model.outputs)
        uses = Counter(id(t) for node in order for t in node.input_tensors)
        uses.update(id(t) for t in model.outputs)
        for node in order:
            if isinstance(node.operation, _layers.InputLayer):
                continue
            given = [known[id(t)] for t in node.input_tensors]
            for tensor, signal in zip(node.input_tensors, given, strict=True):
                signal.alone = uses[id(tensor)] == 1
            if isinstance(node.operation, keras.Model):
                made = self.follow(node.operation, given)
            else:
                made = [self.layer(node.operation, given)]
            known |= {id(t): s for t, s in zip(node.output_tensors, made, strict=True)}
        return [known[id(t)] for t in model.outputs]

    def layer(self, layer, given: list[_Signal]) -> _Signal:
        inner = layer.layer if type(layer) is FoldTime else layer
        if type(layer) is _layers.Add:
            return self.total(layer, given)
        if units.is_neuron(layer):
            return self.neuron(layer, given[0])
        if isinstance(inner, maps.PASSING) or _is_identity(inner):
            return given[0]
        write = _WRITERS.get(type(inner))
        if write is None or len(given) != 1:
            raise self.refusal(layer, _REASONS.get(type(inner).__name__, "NIR has no node for it"))
        try:
            return write(self, layer, inner, given[0])
        except ValueError as error:
            raise self.refusal(layer, str(error)) from error

    def total(self, layer, given) -> _Signal:
        """NIR adds what meets in a node, so that a sum is no node itself."""
        sources = sum((signal.sources for signal in given), ())
        if len({signal.order for signal in given}) != 1:
            raise self.refusal(layer, "it adds signals of different shapes or orders")
        if len(set(sources)) != len(sources):
            raise self.refusal(layer, "it adds a signal to itself, and NIR's edges are simple")
        return _Signal(sources, given[0].order)

    def add(self, name: str, node, given: _Signal, order: Order) -> _Signal:
        base, i = name, 1
        while name in self.nodes:  # a shared layer, or one of another model with the same name
            name, i = f"{base}_{i}", i + 1
        self.nodes[name] = node
        self.join(given, name)
        return _Signal((name,), order)

    def join(self, given: _Signal, name: str) -> None:
        self.edges += [(source, name) for source in given.sources]

    def neuron(self, layer, given: _Signal) -> _Signal:
        try:
            node, lost = units.to_node(self.nir, layer, given.order, self.dt)
        except ValueError as error:
            raise self.refusal(layer, str(error)) from error
        made = self.add(layer.name, node, given, given.order)
        (name,) = made.sources
        if lost:
            self.lost[name] = lost
        recurrent = units.recurrence(layer)
        if recurrent is not None:
            if type(recurrent) is not _layers.Dense or not _is_linear(recurrent):
                raise self.refusal(layer, "its recurrent connection is no linear Dense layer")
            back = self._dense(recurrent, made.order)
            # What it gives is in NIR's order too.
            back.weight = np.stack([made.order.to_nir(row) for row in back.weight.T], axis=1)
            if recurrent.use_bias:
                back.bias = made.order.to_nir(back.bias)
            self.join(self.add(f"{name}_recurrent", back, made, made.order), name)
        return made

    def _dense(self, layer, order: Order):
        weight = maps.dense_kernel(_numpy(layer.kernel), order)
        if layer.use_bias:
            return self.nir.Affine(weight=weight, bias=_numpy(layer.bias))
        return self.nir.Linear(weight=weight)

    def refusal(self, layer, why: str) -> ValueError:
        return ValueError(
            f"Layer {layer.name!r} ({type(layer).__name__}) cannot be written as NIR: {why}."
        )


def _dense(writer, layer, inner, given):
    if len(given.order.shape) != 1:
        raise ValueError(
            f"it maps the last axis of {given.order.shape}, and NIR's Affine maps vectors; use "
            "Flatten before it, or a Conv2D of kernel size 1"
        )
    _check_linear(inner)
    return writer.add(layer.name, writer._dense(inner, given.order), given, Order((inner.units,)))


def _convolution(writer, layer, inner, given):
    _check_linear(inner)
    _check_channels_last(inner)
    depthwise = type(inner) is _layers.DepthwiseConv2D
    sizes, channels = given.order.shape[:2], given.order.shape[2]
    kernel = maps.conv_kernel(_numpy(inner.kernel), depthwise)
    bias = _numpy(inner.bias) if inner.use_bias else np.zeros(len(kernel), kernel.dtype)
    node = writer.nir.Conv2d(
        input_shape=tuple(sizes),
        weight=kernel,
        stride=maps.pair(inner.strides),
        padding=maps.conv_padding(inner, sizes),
        dilation=maps.pair(inner.dilation_rate),
        groups=channels if depthwise else inner.groups,
        bias=bias,
    )
    made = inner.compute_output_shape((None, *given.order.shape))[1:]
    return writer.add(layer.name, node, given, Order(tuple(made)))


def _pooling(writer, layer, inner, given):
    _check_channels_last(inner)
    padding = maps.pool_padding(inner, given.order.shape[:2])
    numbers = (inner.pool_size, inner.strides, padding)
    node = writer.nir.AvgPool2d(*(np.array(maps.pair(n)) for n in numbers))
    made = inner.compute_output_shape((None, *given.order.shape))[1:]
    return writer.add(layer.name, node, given, Order(tuple(made)))


def _global_pooling(writer, layer, inner, given):
    _check_channels_last(inner)
    height, width, channels = given.order.shape
    size = np.array((height, width))
    node = writer.nir.AvgPool2d(size, size, np.array((0, 0)))
    mean = writer.add(layer.name, node, given, Order((1, 1, channels)))
    if inner.keepdims:
        return mean
    return _flat(writer, f"{layer.name}_flatten", mean)


def _flatten(writer, layer, inner, given):
    _check_channels_last(inner)
    if len(given.order.shape) == 1:
        return given
    return _flat(writer, layer.name, given)


def _flat(writer, name, given):
    shape = np.array(given.order.nir_shape)
    node = writer.nir.Flatten(input_type={"input": shape}, start_dim=0, end_dim=-1)
    return writer.add(name, node, given, given.order.flattened())


def _normalization(writer, layer, inner, given):
    before = writer.nodes[given.sources[0]]
    maps_before = (writer.nir.Affine, writer.nir.Linear, writer.nir.Conv2d)
    if len(given.sources) != 1 or not given.alone or not isinstance(before, maps_before):
        raise ValueError("there is no Dense or Conv2D right before it that it could be part of")
    if inner.axis not in (-1, len(given.order.shape)):
        raise ValueError(f"its axis is {inner.axis}, not the last")
    factor, offset = maps.folded_normalization(inner)
    kind = before.weight.dtype
    weight = (before.weight * factor.reshape(-1, *(1,) * (before.weight.ndim - 1))).astype(kind)
    bias = (getattr(before, "bias", 0) * factor + offset).astype(kind)
    if isinstance(before, writer.nir.Linear):
        writer.nodes[given.sources[0]] = writer.nir.Affine(weight=weight, bias=bias)
    else:
        before.weight, before.bias = weight, bias
    return given


_WRITERS = {
    _layers.Dense: _dense,
    _layers.Conv2D: _convolution,
    _layers.DepthwiseConv2D: _convolution,
    _layers.AveragePooling2D: _pooling,
    _layers.GlobalAveragePooling2D: _global_pooling,
    _layers.Flatten: _flatten,
    _layers.BatchNormalization: _normalization,
}
_REASONS = {
    "RepeatTime": "it makes the time axis; begin the model behind it",
    "ReduceTime": "it ends the time axis; end the model before it",
    "ALIF": "NIR's thresholds do not adapt",
    "MaxPooling2D": "NIR has means and sums of pixels only",
}


def _features(tensor, name) -> tuple[int, ...]:
    features = tuple(tensor.shape[2:])
    if len(features) not in (1, 3) or None in features:
        raise ValueError(
            f"Model {name!r} takes inputs of shape {tuple(tensor.shape)}. Expected (batch, time, "
            "features) or (batch, time, height, width, channels) with known sizes: what makes the "
            "time axis, and what comes before it, stays outside."
        )
    return features


def _is_linear(layer) -> bool:
    return layer.activation is keras.activations.linear


def _is_identity(layer) -> bool:
    return type(layer) is _layers.Activation and _is_linear(layer)


def _check_linear(layer) -> None:
    if not _is_linear(layer):
        name = getattr(layer.activation, "__name__", layer.activation)
        raise ValueError(f"NIR has no node for its activation, {name}")


def _check_channels_last(layer) -> None:
    if getattr(layer, "data_format", "channels_last") != "channels_last":
        raise ValueError("its data_format is 'channels_first'; only channels last is read here")


def _numpy(variable) -> np.ndarray:
    return keras.ops.convert_to_numpy(keras.ops.cast(variable, "float32"))
