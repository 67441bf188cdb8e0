"""From a NIR graph to a Keras model."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np

from keras_htaf.exchange import maps, units
from keras_htaf.exchange.graph import plain
from keras_htaf.exchange.maps import Order
from keras_htaf.exchange.package import require_nir
from keras_htaf.layers import FoldTime

_layers = keras.layers
_NEURON_OPTIONS = frozenset(
    [
        "reset",
        "reset_value",
        "reset_next_step",
        "detach_reset",
        "fires_before_update",
        "fires_at_threshold",
        "surrogate",
        "forward",
    ]
)


def from_nir(graph: Any, *, dt: float | None = None, **options) -> keras.Model:
    """Reads a spiking network from NIR, as `to_nir` or another tool wrote it.

    Time constants become decays by Euler's method with the step dt, decay = 1 - dt / tau, and
    an input's gain R dt / tau (times w_in dt / tau_syn; R for IF) that is neither 1 nor 1 - decay
    becomes a `Rescaling` before the neuron. A potential starts from v_leak. Neurons are reset in
    the same step to v_reset, as NIR says, unless this package's metadata say otherwise; of other
    tools' files `options` can: snnTorch, for one, writes its resets by subtraction like resets to
    zero. Images become channels last.

    Args:
        graph: A `nir.NIRGraph`, or the path of a file. Known nodes are `Affine`, `Linear`,
            `Scale`, `Conv2d`, `AvgPool2d`, `SumPool2d`, `Flatten`, `IF`, `LIF`, `CubaLIF`, `LI`,
            and graphs of these; edges that meet are added, and a neuron may have a loop through
            one `Affine` or `Linear`.
        dt: Seconds of a step. Default: the `dt` in the graph's metadata, where `to_nir` puts it;
            else 1e-4, which snnTorch takes for granted.
        **options: Of all neurons that fire, in place of the file's: `reset`, `reset_value`,
            `reset_next_step`, `detach_reset`, `fires_before_update`, `fires_at_threshold`,
            `surrogate`, `forward`.

    Returns:
        A functional model from (batch, time, ...) to (batch, time, ...), channels last, its layers
        named as the nodes; of several outputs a list.

    Raises:
        ValueError: If a node is not known or the layers here cannot do what it says; which and
            why.
        ImportError: If the extra `keras-htaf[nir]` is missing.

    Example:

    >>> layers = [keras.Input((None, 3)), keras.layers.Dense(2), keras_htaf.layers.LIF(
    ...     decay=0.9, reset="zero", name="spikes")]
    >>> graph = keras_htaf.exchange.to_nir(keras.Sequential(layers))
    >>> from_nir(graph).output_shape
    (None, None, 2)

    Reference: Pedersen et al. (2024), Nature Communications 15:8122.
    """
    nir = require_nir("Reading NIR")
    if unknown := set(options) - _NEURON_OPTIONS:
        raise ValueError(
            f"Received the options {sorted(unknown)}. Expected some of {sorted(_NEURON_OPTIONS)}."
        )
    if isinstance(graph, (str, os.PathLike)):
        # Unchecked: nir's own inference takes all kernels for square and all groups for one.
        graph = nir.read(os.fspath(graph), type_check=False)
    if not isinstance(graph, nir.NIRGraph):
        raise ValueError(f"Received {type(graph).__name__}. Expected a path or a nir.NIRGraph.")
    if dt is None:
        dt = float(graph.metadata.get("dt", units.DT)) if graph.metadata else units.DT
    units.check_dt(dt)
    flat = plain(nir, graph)
    reader = _Reader(nir, dt, options, flat.recurrent)
    outputs = {}
    for name, node in flat.nodes.items():
        sources = flat.sources[name]
        if isinstance(node, nir.Input):
            reader.begin(name, node)
            continue
        if not sources:
            raise ValueError(f"Node {name!r} ({type(node).__name__}) has no input.")
        given = reader.sum(name, sources)
        if isinstance(node, nir.Output):
            outputs[name] = reader.end(name, given)
        else:
            reader.node(name, node, given)
    if len(reader.inputs) != 1 or not outputs:
        raise ValueError(
            f"The graph has {len(reader.inputs)} Input and {len(outputs)} Output nodes. Expected "
            "one Input, and an Output."
        )
    made = [outputs[name] for name in graph.nodes if name in outputs]
    return keras.Model(reader.inputs[0], made[0] if len(made) == 1 else made, name="nir")


@dataclass
class _Signal:
    tensor: Any
    order: Order


@dataclass
class _Reader:
    nir: Any
    dt: float
    options: dict
    recurrent: dict
    inputs: list = field(default_factory=list)
    signals: dict[str, _Signal] = field(default_factory=dict)
    values: list = field(default_factory=list)
    """What weights of layers get once they are there: layer, name, value."""

    def begin(self, name, node):
        shape = tuple(int(n) for n in np.asarray(node.input_type["input"]).reshape(-1))
        if len(shape) not in (1, 3):
            raise ValueError(
                f"Input {name!r} has the shape {shape}. Expected (features,) or (channels, "
                "height, width), without batch and time."
            )
        order = Order(shape if len(shape) == 1 else (*shape[1:], shape[0]))
        tensor = keras.Input((None, *order.shape), name=_name(name))
        self.inputs.append(tensor)
        self.signals[name] = _Signal(tensor, order)

    def sum(self, name, sources) -> _Signal:
        given = [self.signals[source] for source in sources]
        if len({signal.order for signal in given}) != 1:
            shapes = [signal.order.nir_shape for signal in given]
            raise ValueError(f"Node {name!r} gets inputs of different shapes or orders, {shapes}.")
        if len(given) == 1:
            return given[0]
        add = _layers.Add(name=f"{_name(name)}_sum")
        return _Signal(add([signal.tensor for signal in given]), given[0].order)

    def node(self, name, node, given: _Signal) -> None:
        read = getattr(self, f"_{type(node).__name__.lower()}", None)
        try:
            if read is None:
                raise ValueError(_REASONS.get(type(node).__name__, "there is no layer for it here"))
            layers, order = read(name, node, given.order)
        except ValueError as error:
            raise ValueError(
                f"Node {name!r} ({type(node).__name__}) cannot be read: {error}."
            ) from error
        tensor = given.tensor
        for layer in layers:
            tensor = layer(tensor)
        for layer, weight, value in self.values:
            getattr(layer, weight).assign(value)
        self.values.clear()
        self.signals[name] = _Signal(tensor, order)

    def end(self, name, given: _Signal):
        if given.order.image is None:
            return given.tensor
        height, width, channels = given.order.image
        tensor = _layers.Reshape((-1, height, width, channels))(given.tensor)
        tensor = _layers.Permute((1, 4, 2, 3))(tensor)
        return _layers.Reshape((-1, height * width * channels), name=_name(name))(tensor)

    def _affine(self, name, node, order):
        layer = self._dense(node, order, _name(name))
        return [layer], Order((layer.units,))

    _linear = _affine

    def _dense(self, node, order, name):
        weight, bias = _array(node.weight), getattr(node, "bias", None)
        if weight.ndim != 2 or order.nir_shape != weight.shape[1:]:
            raise ValueError(
                f"its weights have the shape {weight.shape}, and its input {order.nir_shape}"
            )
        layer = _layers.Dense(len(weight), use_bias=bias is not None, name=name)
        self.values.append((layer, "kernel", maps.dense_kernel_back(weight, order)))
        if bias is not None:
            self.values.append((layer, "bias", _array(bias)))
        return layer

    def _scale(self, name, node, order):
        scale = order.to_keras(_array(node.scale))
        return [_layers.Rescaling(units.plain(scale), name=_name(name))], order

    def _conv2d(self, name, node, order):
        weight, bias = _array(node.weight), _array(node.bias)
        height, width, channels = _image(order)
        groups = int(node.groups)
        if weight.ndim != 4 or weight.shape[1] * groups != channels:
            raise ValueError(
                f"its weights have the shape {weight.shape} in {groups} groups, and its input "
                f"{channels} channels"
            )
        kernel, stride = weight.shape[2:], maps.pair(node.stride)
        dilation = maps.pair(node.dilation)
        pads, padding = maps.padding_back(node.padding, kernel, stride, dilation, (height, width))
        inner = _layers.Conv2D(
            len(weight), kernel, stride, padding, dilation_rate=dilation, groups=groups
        )
        self.values.append((inner, "kernel", np.transpose(weight, (2, 3, 1, 0))))
        self.values.append((inner, "bias", bias))
        return _folded(_name(name), inner, pads, order)

    def _avgpool2d(self, name, node, order):
        _image(order)
        inner = _layers.AveragePooling2D(maps.pair(node.kernel_size), maps.pair(node.stride))
        return _folded(_name(name), inner, maps.pair(node.padding), order)

    def _sumpool2d(self, name, node, order):
        _image(order)
        # Not a mean times its size, which is no whole number of spikes for each size.
        inner = _layers.DepthwiseConv2D(
            maps.pair(node.kernel_size),
            maps.pair(node.stride),
            use_bias=False,
            depthwise_initializer="ones",
        )
        inner.trainable = False
        return _folded(_name(name), inner, maps.pair(node.padding), order)

    def _flatten(self, name, node, order):
        start, end, shape = int(node.start_dim), int(node.end_dim), order.nir_shape
        if len(shape) == 1:
            return [], order
        # Without the batch, 0 is the first axis; 1 is as good where that has a single channel.
        if (start != 0 and (start != 1 or shape[0] != 1)) or end not in (-1, len(shape) - 1):
            raise ValueError(f"it flattens the axes {start} to {end} of {shape}, and not all")
        return _folded(_name(name), _layers.Flatten(), (0, 0), order)[0], order.flattened()

    def _neuron(self, name, node, order):
        back = self.recurrent.get(name)
        recurrent = None
        if back is not None:
            recurrent = self._dense(back, order, "recurrent")
            if (recurrent.units,) != order.shape:
                raise ValueError(f"its recurrent connection gives {recurrent.units} inputs")
            layer, _, kernel = self.values[0]
            # Its outputs are in NIR's order too.
            kernel = np.stack([order.to_keras(row) for row in kernel])
            self.values[0] = (layer, "kernel", kernel)
            self.values[1:] = [(layer, "bias", order.to_keras(v)) for *_, v in self.values[1:]]
        made = units.to_layer(self.nir, node, _name(name), order, self.dt, self.options, recurrent)
        return made, order

    _if = _lif = _cubalif = _li = _neuron


_REASONS = {
    "CubaLI": "there is no integrator behind a synaptic current here",
    "Delay": "there are no delays here",
    "Conv1d": "only images, (channels, height, width), are convolved here",
    "I": "an integrator that never leaks has no layer here",
    "Threshold": "there is no step without a memory here; use IF",
}


def _folded(name, inner, pads, order) -> tuple[list, Order]:
    """A layer on all steps at once, behind zeros around its images."""
    made = [FoldTime(inner, name=name)]
    height, width, channels = order.shape
    if any(pads):
        made.insert(0, FoldTime(_layers.ZeroPadding2D(pads), name=f"{name}_padding"))
    size = (None, height + 2 * pads[0], width + 2 * pads[1], channels)
    return made, Order(tuple(inner.compute_output_shape(size)[1:]))


def _image(order) -> tuple[int, int, int]:
    if len(order.shape) != 3:
        raise ValueError(f"its input has the shape {order.nir_shape}, not that of an image")
    return order.shape


def _array(values) -> np.ndarray:
    """Also of a torch tensor, as snnTorch leaves them in a graph that is not yet a file."""
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    return np.asarray(values, "float32")


def _name(name: str) -> str:
    """A layer's name, in which Keras allows no slash, and other tools no dot."""
    return name.replace("/", "_").replace(".", "_")
