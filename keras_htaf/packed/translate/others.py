"""Layers without kernels, steps, and operations of `keras.ops`."""

from __future__ import annotations

import keras
import numpy as np
from keras import ops

from keras_htaf import layers as own
from keras_htaf import quantizers
from keras_htaf.ops import steps
from keras_htaf.packed.translate.network import Network, Unsupported
from keras_htaf.packed.translate.windows import geometry
from keras_htaf_packed.bits import to_bytes
from keras_htaf_packed.operations.pointwise import FUNCTIONS

_CODINGS = {
    quantizers.Heaviside: "bit",
    own.HTAF: "bit",
    quantizers.Sign: "sign",
    own.RSign: "sign",
}
_LEAST = float(np.nextafter(np.float32(0), np.float32(1)))
"""The least positive number: what a Heaviside passes is at least that."""


def stepped(network: Network, name: str, step, path: str) -> str:
    """A step layer, or function, of a value; bits stay as they are where it changes nothing."""
    if step is steps.sign or step is steps.heaviside:
        coding = "sign" if step is steps.sign else "bit"
        step = quantizers.Sign() if coding == "sign" else quantizers.Heaviside()
    elif type(step) not in _CODINGS:
        raise Unsupported(f"its step {type(step).__name__} is not known")
    elif step.forward_mode != "hard":
        raise Unsupported(f"its step {step.name!r} is smooth: harden the model first")
    else:
        coding = _CODINGS[type(step)]
    spec = network.specs[name]
    if spec.coding == coding and not isinstance(step, own.RSign):
        return name
    channels = spec.channels
    threshold = np.full(channels, _LEAST if coding == "bit" else 0.0, np.float32)
    if isinstance(step, own.RSign):
        if np.prod(step.threshold.shape) != channels or step.threshold.shape[-1] != channels:
            raise Unsupported("its thresholds are not those of the last axis")
        # x - t >= 0 where x >= t: near it, float32 differences are exact.
        threshold = np.asarray(ops.convert_to_numpy(step.threshold), np.float32).reshape(-1)
    arrays = {"threshold": threshold, "flip": to_bytes(np.zeros(channels, bool))}
    source = _alone(coding, threshold if isinstance(step, own.RSign) else None)
    name = network.numbers(name)
    for other in network.operations:  # several layers quantize the same numbers
        same = (other.kind, other.inputs, other.attributes) == ("step", (name,), {"coding": coding})
        if same and np.array_equal(other.arrays["threshold"], threshold):
            return other.name
    return network.add("step", path, (name,), {"coding": coding}, arrays, source=source)


def _alone(coding: str, threshold: np.ndarray | None):
    """What a step computes, without the layer, whose weights have the shape of its inputs.

    Before a flattening that the step is moved over there are fewer channels, and one threshold.
    """
    function = steps.sign if coding == "sign" else steps.heaviside
    if threshold is None:
        return function
    shift = threshold[0] if (threshold == threshold[0]).all() else threshold
    return lambda x: function(x - ops.convert_to_tensor(shift))


def activated(network: Network, name: str, activation, path: str) -> str:
    """A layer's activation."""
    if activation is None or activation is keras.activations.linear:
        return name
    path = f"{path}/activation"
    if isinstance(activation, quantizers.Quantizer) or activation in (steps.sign, steps.heaviside):
        return stepped(network, name, activation, path)
    function = getattr(activation, "__name__", type(activation).__name__)
    if activation is not getattr(keras.activations, function, None) or function not in FUNCTIONS:
        raise Unsupported(f"its activation is {function!r}: {sorted(FUNCTIONS)} are packed")
    source = None if function == "softmax" else activation
    attributes = {"function": function}
    return network.add("activation", path, (network.numbers(name),), attributes, source=source)


def affine(network: Network, name: str, path: str, layer) -> str:
    """A factor and an offset for each channel, read off the layer where they are still needed."""
    zeros = np.zeros(network.specs[name].channels, np.float32)
    arrays = {"scale": zeros, "offset": zeros}
    name = network.numbers(name)
    return network.add("affine", path, (name,), {}, arrays, source=layer)


def _same(network, layer, taken, path):
    return taken[0]


def _step(network, layer, taken, path):
    return stepped(network, taken[0], layer, path)


def step_node(network, node, taken, path):
    step = steps.sign if type(node).__name__ == "_Sign" else steps.heaviside
    if node.forward_mode != "hard":
        raise Unsupported("it is smooth: use the layer keras_htaf.layers.HTAF, and harden")
    return stepped(network, taken[0], step, path)


def _activation(network, layer, taken, path):
    return activated(network, taken[0], layer.activation, path)


def _relu(network, layer, taken, path):
    if layer.max_value is not None or layer.negative_slope or layer.threshold:
        raise Unsupported("it is no plain ReLU")
    return activated(network, taken[0], keras.activations.relu, path)


def _norm(network, layer, taken, path):
    rank = len(network.specs[taken[0]].shape) + 1
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    if [a % rank for a in axes if a is not None] not in ([rank - 1], []):
        raise Unsupported(f"its axis is {layer.axis}: only the last is packed")
    return affine(network, taken[0], path, layer)


def _rescaling(network, layer, taken, path):
    for value in (layer.scale, layer.offset):
        if np.ndim(value) > 1:
            raise Unsupported("its scale or offset is not one for each channel")
    return affine(network, taken[0], path, layer)


def _layer_norm(network, layer, taken, path):
    name = network.numbers(taken[0])
    spec = network.specs[name]
    axes = layer.axis if isinstance(layer.axis, (list, tuple)) else (layer.axis,)
    if [a % (len(spec.shape) + 1) for a in axes] != [len(spec.shape)]:
        raise Unsupported(f"its axis is {layer.axis}: only the last is packed")
    if getattr(layer, "rms_scaling", False):
        raise Unsupported("it scales by the root mean square, without subtracting the mean")
    arrays = {
        "scale": _weight(layer.gamma, np.ones(spec.channels)),
        "offset": _weight(layer.beta, np.zeros(spec.channels)),
    }
    return network.add("layer_norm", path, (name,), {"epsilon": float(layer.epsilon)}, arrays)


def _weight(variable, default=None) -> np.ndarray:
    value = default if variable is None else ops.convert_to_numpy(variable)
    return np.asarray(value, np.float32).reshape(-1)


def _rprelu(network, layer, taken, path):
    if layer.axis not in (-1, len(network.specs[taken[0]].shape)):
        raise Unsupported(f"its axis is {layer.axis}: only the last is packed")
    keys = ("input_shift", "slope", "output_shift")
    arrays = {key: _weight(getattr(layer, key)) for key in keys}
    return network.add("rprelu", path, (network.numbers(taken[0]),), {}, arrays)


def _pool(network, layer, taken, path):
    (name,) = taken
    greatest = "Max" in type(layer).__name__
    name = name if greatest else network.numbers(name)
    window = geometry(layer, network.specs[name].shape)
    return network.add("pool", path, (name,), {"reduce": "max" if greatest else "mean", **window})


def _global_pool(network, layer, taken, path):
    reduce = "max" if "Max" in type(layer).__name__ else "mean"
    attributes = {"reduce": reduce, "keep": bool(layer.keepdims)}
    return network.add("global_pool", path, (network.numbers(taken[0]),), attributes)


def _reshape(network, layer, taken, path):
    (name,) = taken
    shape = list(layer.compute_output_shape((1, *network.specs[name].shape))[1:])
    if len(shape) > 1:
        name = network.numbers(name)
    return network.add("reshape", path, (name,), {"shape": shape})


def _add(network, layer, taken, path):
    if len(shapes := {network.specs[name].shape for name in taken}) > 1:
        raise Unsupported(f"it adds shapes that differ: {sorted(shapes)}")
    return network.add("add", path, [network.numbers(name) for name in taken])


def _concatenate(network, layer, taken, path):
    rank = len(network.specs[taken[0]].shape) + 1
    if layer.axis % rank != rank - 1:
        raise Unsupported(f"its axis is {layer.axis}: only the last is packed")
    if len({network.specs[name].coding for name in taken}) > 1:
        taken = [network.numbers(name) for name in taken]
    return network.add("concatenate", path, taken)


def _split(network, operation, taken, path):
    (name,) = taken
    spec, name = network.specs[name], network.numbers(name)
    if operation.axis % (len(spec.shape) + 1) != len(spec.shape):
        raise Unsupported(f"its axis is {operation.axis}: only the last is packed")
    where = operation.indices_or_sections
    if isinstance(where, int):
        where = [spec.channels // where * i for i in range(1, where)]
    ends = [0, *map(int, where), spec.channels]
    return [
        network.add("slice", f"{path}_{i}", (name,), {"start": ends[i], "stop": ends[i + 1]})
        for i in range(len(ends) - 1)
    ]


_layers = keras.layers
_DIMENSIONS = ("1D", "2D")
_WHEN_TRAINING = (
    *(_layers.Dropout, _layers.GaussianDropout, _layers.GaussianNoise, _layers.Identity),
    *(_layers.SpatialDropout1D, _layers.SpatialDropout2D, _layers.ActivityRegularization),
    own.ActivityPenalty,
)
"""What passes its inputs on when the model is used."""


def _kinds(*names: str) -> list[type]:
    return [getattr(_layers, name + dimension) for name in names for dimension in _DIMENSIONS]


OTHERS = {
    **dict.fromkeys(_CODINGS, _step),
    **dict.fromkeys(_WHEN_TRAINING, _same),
    **dict.fromkeys(_kinds("MaxPooling", "AveragePooling"), _pool),
    **dict.fromkeys(_kinds("GlobalMaxPooling", "GlobalAveragePooling"), _global_pool),
    _layers.Activation: _activation,
    _layers.Add: _add,
    _layers.BatchNormalization: _norm,
    _layers.Concatenate: _concatenate,
    _layers.Flatten: _reshape,
    _layers.LayerNormalization: _layer_norm,
    _layers.Normalization: _norm,
    _layers.ReLU: _relu,
    _layers.Rescaling: _rescaling,
    _layers.Reshape: _reshape,
    own.LearnedScale: _norm,
    own.RPReLU: _rprelu,
}
"""By the exact class of a layer, since a subclass may compute anything."""

OPERATIONS = {"Add": _add, "Concatenate": _concatenate, "Split": _split}
"""By the name of an operation of `keras.ops`."""
