"""A hardened binary network is what numpy makes of its signs, bit for bit.

The forward pass of a model of `keras_htaf.models` with kernels of signs is built again from
`binary_weights` and the other layers' numbers: in integers where the network computes with signs,
in float64 elsewhere.
"""

import keras
import numpy as np
from support import to_numpy

import keras_htaf
from keras_htaf.layers import BinaryLayer, RSign
from keras_htaf.models import binary_weights


def windows(x, size, strides, padding, value):
    """Of images, what each position of a kernel sees: (batch, height, width, channels, k, k)."""
    if padding == "same":
        totals = [max((-(-n // strides) - 1) * strides + size - n, 0) for n in x.shape[1:3]]
        sides = [(0, 0), *[(t // 2, t - t // 2) for t in totals], (0, 0)]
        x = np.pad(x, sides, constant_values=value)
    seen = np.lib.stride_tricks.sliding_window_view(x, (size, size), (1, 2))
    return seen[:, ::strides, ::strides]


class ByHand:
    """The layers of one model, in numpy."""

    def __init__(self, model):
        self.model, self.signs = model, binary_weights(model)
        self.sums = {}
        """Of each binary layer that reads signs, by its name: integers."""

    def __call__(self, images):
        values = {id(self.model.inputs[0]): images.astype("float64")}
        for layer in self.model.layers[1:]:
            inputs = layer.input if isinstance(layer.input, list) else [layer.input]
            inputs = [values[id(tensor)] for tensor in inputs]
            values[id(layer.output)] = getattr(self, f"of_{type(layer).__name__}")(layer, *inputs)
        return values[id(self.model.outputs[0])]

    def _map(self, layer, x):
        """The inputs as the layer takes them, its kernel, and the value beyond the border."""
        if not isinstance(layer, BinaryLayer):
            return x, to_numpy(layer.kernel), 0
        kernel = self.signs.get(layer.kernel.path)
        kernel = to_numpy(layer.kernel) if kernel is None else kernel.astype("int64")
        if layer.input_quantizer is not None:
            at = layer.input_quantizer
            x = np.where(x >= (to_numpy(at.threshold) if isinstance(at, RSign) else 0), 1, -1)
        return x, kernel, getattr(layer, "pad_value", 0)

    def _kept(self, layer, sums):
        if sums.dtype == "int64":
            self.sums[layer.name] = sums
        return sums + to_numpy(layer.bias) if layer.use_bias else sums

    def of_Dense(self, layer, x):
        x, kernel, _ = self._map(layer, x)
        return self._kept(layer, x @ kernel)

    def of_Conv2D(self, layer, x):
        x, kernel, value = self._map(layer, x)
        seen = windows(x, layer.kernel_size[0], layer.strides[0], layer.padding, value)
        return self._kept(layer, np.einsum("bhwcij,ijco->bhwo", seen, kernel))

    of_BinaryDense, of_BinaryConv2D = of_Dense, of_Conv2D

    def of_BatchNormalization(self, layer, x):
        gamma, beta, mean, variance = (np.float64(w) for w in layer.get_weights())
        return gamma * (x - mean) / np.sqrt(variance + layer.epsilon) + beta

    def of_RPReLU(self, layer, x):
        z = x - to_numpy(layer.input_shift)
        return np.where(z > 0, z, to_numpy(layer.slope) * z) + to_numpy(layer.output_shift)

    def of_Activation(self, layer, x):
        return np.clip(x, -1, 1) if layer.name == "head_activation" else x

    def of_MaxPooling2D(self, layer, x):
        return windows(x, 2, 2, "valid", 0).max((-2, -1))

    def of_AveragePooling2D(self, layer, x):
        return windows(x, 2, 2, "valid", 0).mean((-2, -1))

    def of_GlobalAveragePooling2D(self, layer, x):
        return x.mean((1, 2))

    def of_Flatten(self, layer, x):
        return x.reshape(len(x), -1)

    def of_Add(self, layer, one, other):
        return one + other


def check_by_hand(model, images):
    """All sums of signs, and so all bits that are made of what lies between, and the decisions.

    Returns:
        The hardened model's logits.
    """
    hard = keras_htaf.harden(model)
    by_hand = ByHand(hard)
    expected = by_hand(images)
    binary = [layer for layer in hard.layers if isinstance(layer, BinaryLayer)]
    assert {layer.name for layer in binary if layer.input_quantizer} == set(by_hand.sums)
    inner = keras.Model(hard.inputs, [layer.output for layer in binary] + hard.outputs)
    *outputs, logits = inner.predict(images, verbose=0)
    for layer, found in zip(binary, outputs, strict=True):
        if layer.name in by_hand.sums:
            np.testing.assert_array_equal(found, by_hand.sums[layer.name], layer.name)
    np.testing.assert_allclose(logits, expected, rtol=1e-5, atol=1e-5)
    np.testing.assert_array_equal(logits.argmax(-1), expected.argmax(-1))
    return logits
