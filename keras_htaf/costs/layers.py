"""One call of a layer: its weights and multiply-accumulates, by their bits."""

from __future__ import annotations

import math
import re
from collections import Counter

import keras

from keras_htaf.costs.graph import FLOAT, Call
from keras_htaf.layers.binary.base import BinaryLayer
from keras_htaf.quantizers import Step

_layers = keras.layers
_CONVOLUTIONS = (_layers.Conv1D, _layers.Conv2D, _layers.Conv3D)
_DEPTHWISE = (_layers.DepthwiseConv1D, _layers.DepthwiseConv2D)
_SEPARABLE = (_layers.SeparableConv1D, _layers.SeparableConv2D)
_TRANSPOSED = (_layers.Conv1DTranspose, _layers.Conv2DTranspose, _layers.Conv3DTranspose)
_RECURRENT = (_layers.SimpleRNN, _layers.LSTM, _layers.GRU, _layers.RNN)


def weights(layer: keras.layers.Layer) -> Counter[int]:
    """How many numbers of how many bits the layer needs when the trained network is used.

    A quantized kernel has the bits of its quantizer, and its scales are floats. Batch
    normalisation is two floats a channel, factor and offset, whatever it is trained with. The
    sharpness and scale of a step shape its slope, and the exact step needs neither.
    """
    count: Counter[int] = Counter()
    if isinstance(layer, Step):
        for variable in layer.weights:  # a learned threshold, of some
            if variable is not layer.sharpness and variable is not layer.scale:
                count[_bits(variable)] += math.prod(variable.shape)
        return count
    if isinstance(layer, _layers.BatchNormalization):
        count[_bits(layer.moving_mean)] = 2 * math.prod(layer.moving_mean.shape)
        return count
    quantizers = layer.kernel_quantizers if isinstance(layer, BinaryLayer) else {}
    quantized = {id(getattr(layer, name)): q for name, q in quantizers.items() if q is not None}
    inner = [sub for sub in layer._layers if isinstance(sub, keras.layers.Layer)]
    theirs = {id(variable) for sub in inner for variable in sub.weights}
    for variable in layer.weights:
        if id(variable) in theirs:
            continue
        size = math.prod(variable.shape)
        if id(variable) not in quantized:
            count[_bits(variable)] += size
            continue
        quantizer = quantized[id(variable)]
        count[quantizer.precision] += size
        _, scale = quantizer.decompose(keras.ops.convert_to_tensor(variable))
        if hasattr(scale, "shape"):
            count[_bits(variable)] += math.prod(scale.shape)
    for sub in inner:
        count.update(weights(sub))
    return count


def macs(call: Call) -> Counter[int] | None:
    """Multiply-accumulates for one sample, by the bits of the wider operand.

    None if they are not known: for layers that are not among those of `keras.layers` counted
    here, and where a size of the input is not known. What has no kernel counts as none.
    """
    layer = call.operation
    if not isinstance(layer, keras.layers.Layer):
        # Products of two activations, such as attention's, are the only operations that would.
        products = {"Matmul", "Einsum", "Dot", "Tensordot"}
        return None if type(layer).__name__ in products else Counter()
    terms = _terms(layer, call)
    if terms is None:
        return None
    count: Counter[int] = Counter()
    for number, input_bits, kernel_bits in terms:
        count[max(input_bits, kernel_bits)] += number
    return count


def _terms(layer, call: Call) -> list[tuple[int, int, int]] | None:
    """For each kernel: its multiply-accumulates, the bits of its inputs and its own."""
    given, made = tuple(call.inputs[0].shape[1:]) if call.inputs else (), call.outputs[0].shape[1:]
    input_bits = quantized_input_bits(layer, call.input_bits)
    first = isinstance(layer, (*_CONVOLUTIONS, *_DEPTHWISE, *_SEPARABLE, *_TRANSPOSED)) and (
        layer.data_format == "channels_first"
    )
    positions = made[1:] if first else made[:-1]
    if isinstance(layer, _TRANSPOSED):
        positions = given[1:] if first else given[:-1]
    if isinstance(layer, _layers.Dense):
        return _known(made, [(math.prod(layer.kernel.shape[:1]), "kernel", input_bits)], layer)
    if isinstance(layer, _layers.EinsumDense):
        return _einsum(layer, given, input_bits)
    if isinstance(layer, _SEPARABLE):
        kernels = [
            (math.prod(layer.depthwise_kernel.shape), "depthwise_kernel", input_bits),
            (math.prod(layer.pointwise_kernel.shape), "pointwise_kernel", FLOAT),
        ]
        return _known(positions, kernels, layer)
    if isinstance(layer, (*_CONVOLUTIONS, *_DEPTHWISE, *_TRANSPOSED)):
        kernels = [(math.prod(layer.kernel.shape), "kernel", input_bits)]
        return _known(positions, kernels, layer)
    if isinstance(layer, _RECURRENT) and hasattr(getattr(layer, "cell", None), "recurrent_kernel"):
        cell = layer.cell
        kernels = [
            (math.prod(cell.kernel.shape), "kernel", quantized_input_bits(cell, call.input_bits)),
            (
                math.prod(cell.recurrent_kernel.shape),
                "recurrent_kernel",
                _quantized_bits(cell, "state_quantizer", FLOAT),
            ),
        ]
        return _known(given[:1], kernels, cell)
    # Vectors scale and shift each element by itself; a matrix is a kernel of a kind unknown here.
    return None if any(len(w.shape) > 1 and min(w.shape) > 1 for w in _own(layer)) else []


def _own(layer):
    aside = isinstance(layer, (_layers.Embedding, _layers.Normalization, Step))
    # A learned slope or threshold for each element is no kernel.
    return [] if aside or isinstance(layer, _layers.PReLU) else layer.weights


def _known(positions, kernels, layer) -> list[tuple[int, int, int]] | None:
    if None in positions:
        return None
    times = math.prod(positions)
    return [(times * size, bits, _kernel_bits(layer, name)) for size, name, bits in kernels]


def _einsum(layer, given, input_bits):
    inputs, kernel, _ = re.split(",|->", layer.equation)
    if "." in layer.equation or None in given:
        return None
    sizes = dict(zip(inputs[1:], given, strict=True))
    sizes |= dict(zip(kernel, layer.kernel.shape, strict=True))
    return [(math.prod(sizes.values()), input_bits, _kernel_bits(layer, "kernel"))]


def quantized_input_bits(layer, otherwise: int) -> int:
    """Bits of what the layer computes with, after its own input quantizer."""
    return _quantized_bits(layer, "input_quantizer", otherwise)


def _quantized_bits(layer, name: str, otherwise: int) -> int:
    quantizer = getattr(layer, name, None)
    return otherwise if quantizer is None else min(quantizer.precision, otherwise)


def _kernel_bits(layer, name: str) -> int:
    quantizer = layer.kernel_quantizers[name] if isinstance(layer, BinaryLayer) else None
    return FLOAT if quantizer is None else quantizer.precision


def _bits(variable) -> int:
    return 8 * keras.ops.convert_to_numpy(variable).dtype.itemsize
