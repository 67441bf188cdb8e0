"""Layers with kernels."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from keras import ops

from keras_htaf import layers as own
from keras_htaf.packed.translate.network import Network, Unsupported
from keras_htaf.packed.translate.others import activated, affine, stepped
from keras_htaf.packed.translate.windows import geometry
from keras_htaf.quantizers import ScaledSign, Step
from keras_htaf_packed.bits import to_bytes

_POINT = {"kernel_size": [1, 1], "strides": [1, 1], "dilation": [1, 1], "padding": [0, 0, 0, 0]}


def _tail(scale, bias) -> Callable:
    """What a layer does to its sums, in the order in which `BinaryLayer` does it."""

    def tail(sums):
        outputs = sums * (scale if isinstance(scale, float) else ops.convert_to_tensor(scale))
        return outputs if bias is None else outputs + ops.convert_to_tensor(bias)

    return tail


def _window(layer, network: Network, name: str) -> dict:
    if not hasattr(layer, "kernel_size"):
        return dict(_POINT)
    groups = getattr(layer, "groups", 1)
    if groups != 1:
        raise Unsupported(f"it has groups={groups}: only 1 is packed")
    return geometry(layer, network.specs[name].shape)


def _numpy(tensor) -> np.ndarray:
    return np.asarray(ops.convert_to_numpy(tensor), np.float32)


def _four(kernel: np.ndarray) -> np.ndarray:
    """A kernel as (kernel rows, kernel columns, inputs, outputs)."""
    return kernel.reshape((1,) * (4 - kernel.ndim) + kernel.shape)


def _plain(network: Network, layer, taken: list[str], path: str) -> str:
    """Keras's own layers, with float kernels."""
    (name,) = taken
    arrays = {} if layer.bias is None else {"bias": _numpy(layer.bias)}
    if isinstance(layer, keras.layers.Dense) and network.specs[name].coding is not None:
        arrays["kernel"] = _numpy(layer.kernel)
        name = network.add("lookup", path, (name,), {"filters": layer.units}, arrays)
        return activated(network, name, layer.activation, path)
    attributes = {**_window(layer, network, name), "pad_value": 0}
    kernel = _four(_numpy(layer.kernel))
    if isinstance(layer, keras.layers.DepthwiseConv2D):
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
        attributes["groups"] = network.specs[name].channels
    attributes = {"groups": 1, **attributes, "filters": kernel.shape[3]}
    arrays["kernel"] = kernel
    name = network.add("linear", path, (network.numbers(name),), attributes, arrays)
    return activated(network, name, layer.activation, path)


def _by_filter(kernel: np.ndarray) -> np.ndarray:
    """(kernel rows, kernel columns, channels, filters) as a row for each filter."""
    return kernel.transpose(3, 0, 1, 2).reshape(kernel.shape[3], -1)


def _binary(network: Network, layer, taken: list[str], path: str) -> str:
    (name,) = taken
    quantizer = layer.input_quantizer
    if quantizer is not None:
        if not isinstance(quantizer, Step) or isinstance(quantizer, ScaledSign):
            kind = type(quantizer).__name__
            raise Unsupported(f"its input_quantizer is {kind}, whose inputs are not one bit each")
        name = stepped(network, name, quantizer, f"{path}/inputs")
    key = next(iter(layer.kernels))
    weight = layer.kernels[key].weight
    codes, scale = layer.kernel_parts(weight)
    codes = _numpy(codes)
    scale = scale if isinstance(scale, float) else _numpy(scale)
    depthwise = isinstance(layer, own.BinaryDepthwiseConv2D)
    attributes = {
        **_window(layer, network, name),
        "pad_value": getattr(layer, "pad_value", 0),
    }
    weights = _coding(codes)
    if not depthwise:
        kernel = _four(codes)
        if weights is not None and network.specs[name].coding is not None:
            attributes |= {"weights": weights, "filters": kernel.shape[3]}
            arrays = {"kernel": to_bytes(_by_filter(kernel) > 0)}
            name = network.add("product", path, (name,), attributes, arrays)
        else:
            name = _sums(network, name, kernel, attributes, path, weights)
    else:
        spec = network.specs[name]
        if weights is not None and spec.coding is not None and len(spec.runs) == 1:
            each = codes.transpose(3, 0, 1, 2).reshape(codes.shape[3], -1)
            attributes |= {"weights": weights, "multiplier": codes.shape[3]}
            arrays = {"kernel": to_bytes(each > 0)}
            name = network.add("depthwise", path, (name,), attributes, arrays)
        else:
            kernel = codes.reshape(*codes.shape[:2], 1, -1)
            attributes["groups"] = spec.channels
            name = _sums(network, name, kernel, attributes, path, weights)
    bias = None if layer.bias is None else _numpy(layer.bias)
    if bias is not None or not isinstance(scale, float) or scale != 1:
        name = affine(network, name, f"{path}/scale", _tail(scale, bias))
    return activated(network, name, layer.activation, path)


def _sums(network, name, kernel, attributes, path, weights) -> str:
    """Sums of a layer whose inputs or kernel are not bits."""
    attributes = {"groups": 1, **attributes, "filters": kernel.shape[3]}
    arrays = {"kernel": kernel}
    if weights is not None:
        attributes["weights"] = weights
        arrays["kernel"] = to_bytes(_by_filter(kernel) > 0)
    return network.add("linear", path, (network.numbers(name),), attributes, arrays)


def _coding(codes: np.ndarray) -> str | None:
    """Which two values a kernel has, if these are what a bit can stand for."""
    if (np.abs(codes) == 1).all():
        return "sign"
    return "bit" if ((codes == 0) | (codes == 1)).all() else None


LAYERS = {
    keras.layers.Conv1D: _plain,
    keras.layers.Conv2D: _plain,
    keras.layers.Dense: _plain,
    keras.layers.DepthwiseConv2D: _plain,
    own.BinaryConv1D: _binary,
    own.BinaryConv2D: _binary,
    own.BinaryDense: _binary,
    own.BinaryDepthwiseConv2D: _binary,
}
