"""One call of a layer: its weights and multiply-accumulates, by their bits."""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import replace

import keras

from keras_htaf.costs.free import is_free
from keras_htaf.costs.graph import CONVOLUTIONS, DEPTHWISE, FLOAT, SEPARABLE, TRANSPOSED, Call
from keras_htaf.layers import BinaryLayer, FoldTime
from keras_htaf.layers.spiking.over_time import OverTime
from keras_htaf.quantizers import Sloped

_layers = keras.layers
_CELLS = (_layers.SimpleRNNCell, _layers.LSTMCell, _layers.GRUCell)


def weights(layer: keras.layers.Layer, counted: set[int]) -> Counter[int]:
    """How many numbers of how many bits the layer needs when the trained network is used.

    A quantized kernel has the bits of its quantizer, and its scales are floats. Batch
    normalisation is two floats a channel, factor and offset, whatever it is trained with. The
    sharpness and scale of a step shape its slope, and the exact step needs neither.

    Args:
        layer: A built layer.
        counted: Identities of the variables that are counted elsewhere; those of the layer are
            added.
    """
    count: Counter[int] = Counter()
    for variable, numbers in _numbers(layer):
        if id(variable) not in counted:
            counted.add(id(variable))
            count.update(numbers)
    return count


def _numbers(layer) -> Iterator[tuple[keras.Variable, dict[int, int]]]:
    """Each variable of use, with how many numbers of how many bits it is then."""
    if isinstance(layer, _layers.BatchNormalization):
        mean = layer.moving_mean
        yield mean, {_bits(mean): 2 * math.prod(mean.shape)}
        return
    training: Iterable = ()
    if isinstance(layer, Sloped):  # a learned threshold stays, of some
        training = layer.slope_weights.values()
    elif isinstance(layer, _layers.Normalization):
        training = (getattr(layer, "count", None),)
    quantizers = layer.kernel_quantizers if isinstance(layer, BinaryLayer) else {}
    quantized = {id(getattr(layer, name)): q for name, q in quantizers.items() if q is not None}
    inner = [sub for sub in layer._layers if isinstance(sub, _layers.Layer)]
    aside = {id(variable) for sub in inner for variable in sub.weights} | set(map(id, training))
    for variable in layer.weights:
        if id(variable) in aside:
            continue
        size = math.prod(variable.shape)
        if id(variable) not in quantized:
            yield variable, {_bits(variable): size}
            continue
        quantizer = quantized[id(variable)]
        numbers = Counter({quantizer.precision: size})
        _, scale = quantizer.decompose(keras.ops.convert_to_tensor(variable))
        if hasattr(scale, "shape"):
            numbers[_bits(variable)] += math.prod(scale.shape)
        yield variable, numbers
    for sub in inner:
        yield from _numbers(sub)


def macs(call: Call) -> Counter[int] | None:
    """Multiply-accumulates for one sample, by the bits of the wider operand.

    None if they are not known: where a size of the input is not known, and for all but the layers
    counted here and those that are known to need none. Products of two activations, such as
    attention's, are among the unknown.
    """
    found = terms(call)
    if found is None:
        return None
    count: Counter[int] = Counter()
    for number, input_bits, kernel_bits in found:
        count[max(input_bits, kernel_bits)] += number
    return count


def terms(call: Call) -> list[tuple[int, int, int]] | None:
    """For each kernel: its multiply-accumulates, the bits of its inputs and its own.

    An empty list if there are none; None if they are not known.
    """
    layer = call.operation
    if is_free(layer):
        return []
    if isinstance(layer, OverTime):
        return _echoed(layer, call) if layer.is_recurrent else []
    if isinstance(layer, FoldTime):
        return _repeated(terms(_one_step(layer.layer, call)), call.inputs[0].shape[1])
    return _terms(layer, call)


def inner_of(layer):
    """The layer that `FoldTime` applies, or the layer itself."""
    return layer.layer if isinstance(layer, FoldTime) else layer


def _echoed(layer: OverTime, call: Call):
    """Of the layer that maps the last spikes of neurons to their inputs."""
    bits = FLOAT if layer.spike is None else 1
    one = [keras.KerasTensor((None, *tuple(call.inputs[0].shape)[2:]))]
    inner = replace(call, operation=layer.recurrent, inputs=one, outputs=one, input_bits=bits)
    return _repeated(terms(inner), call.inputs[0].shape[1])


def _one_step(layer, call: Call) -> Call:
    inputs, outputs = (
        [keras.KerasTensor((None, *tuple(tensors[0].shape)[2:]))]
        for tensors in (call.inputs, call.outputs)
    )
    return replace(call, operation=layer, inputs=inputs, outputs=outputs)


def _repeated(found, steps: int | None):
    """The same at each of so many steps."""
    if found is None or steps is None:
        return None
    return [(number * steps, *bits) for number, *bits in found]


def _terms(layer, call: Call) -> list[tuple[int, int, int]] | None:
    given, made = tuple(call.inputs[0].shape[1:]) if call.inputs else (), call.outputs[0].shape[1:]
    input_bits = quantized_input_bits(layer, call.input_bits)
    first = isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE, *SEPARABLE, *TRANSPOSED)) and (
        layer.data_format == "channels_first"
    )
    positions = made[1:] if first else made[:-1]
    if isinstance(layer, TRANSPOSED):
        positions = given[1:] if first else given[:-1]
    if isinstance(layer, _layers.Dense):
        return _known(made, [(math.prod(layer.kernel.shape[:1]), "kernel", input_bits)], layer)
    if isinstance(layer, _layers.EinsumDense):
        return _einsum(layer, given, input_bits)
    if isinstance(layer, SEPARABLE):
        kernels = [
            (math.prod(layer.depthwise_kernel.shape), "depthwise_kernel", input_bits),
            (math.prod(layer.pointwise_kernel.shape), "pointwise_kernel", FLOAT),
        ]
        return _known(positions, kernels, layer)
    if isinstance(layer, (*CONVOLUTIONS, *DEPTHWISE, *TRANSPOSED)):
        kernels = [(math.prod(layer.kernel.shape), "kernel", input_bits)]
        return _known(positions, kernels, layer)
    cell = getattr(layer, "cell", None)
    if isinstance(layer, _layers.RNN) and isinstance(cell, _CELLS):
        kernels = [
            (math.prod(cell.kernel.shape), "kernel", quantized_input_bits(cell, call.input_bits)),
            (
                math.prod(cell.recurrent_kernel.shape),
                "recurrent_kernel",
                _quantized_bits(cell, "state_quantizer", FLOAT),
            ),
        ]
        return _known(given[:1], kernels, cell)
    return None


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
    digits = re.search(r"\d+", keras.backend.standardize_dtype(variable.dtype))
    return int(digits.group()) if digits else 8  # of a bool
