"""Layers without a memory as NIR nodes, and back: kernels, padding, the order of channels.

NIR's images are channels first and its kernels `(out, in, height, width)`, as torch's; Keras's are
channels last and `(height, width, in, out)`. What is flattened keeps that difference: see `Order`.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import keras
import numpy as np

_layers = keras.layers


@dataclass(frozen=True)
class Order:
    """How the features of one time step lie in Keras and in NIR.

    Args:
        shape: Keras's shape without batch and time, `(H, W, C)` or `(N,)`.
        image: Of flattened features the shape `(H, W, C)` that they had, else None.
    """

    shape: tuple[int, ...]
    image: tuple[int, int, int] | None = None

    @property
    def nir_shape(self) -> tuple[int, ...]:
        return self.shape if len(self.shape) != 3 else (self.shape[2], *self.shape[:2])

    def to_nir(self, array) -> np.ndarray:
        """An array of Keras's shape, or one that broadcasts to it, as NIR has it."""
        array = np.broadcast_to(np.asarray(array), self.shape)
        if len(self.shape) == 3:
            return np.ascontiguousarray(np.moveaxis(array, 2, 0))
        if self.image is None:
            return np.array(array)
        return np.moveaxis(array.reshape(self.image), 2, 0).reshape(-1)

    def to_keras(self, array) -> np.ndarray:
        """An array of NIR's shape, or one that broadcasts to it, as Keras has it."""
        array = np.broadcast_to(np.asarray(array), self.nir_shape)
        if len(self.shape) == 3:
            return np.ascontiguousarray(np.moveaxis(array, 0, 2))
        if self.image is None:
            return np.array(array)
        height, width, channels = self.image
        return np.moveaxis(array.reshape(channels, height, width), 0, 2).reshape(-1)

    def flattened(self) -> Order:
        height, width, channels = self.shape
        differ = channels > 1 and height * width > 1
        image = (height, width, channels) if differ else None
        return Order((math.prod(self.shape),), image)


def pair(value) -> tuple[int, int]:
    """One or two integers, of any kind, as two."""
    values = np.asarray(value).reshape(-1)
    if values.size not in (1, 2) or np.any(values != values.astype(int)):
        raise ValueError(f"Received {value!r}. Expected one or two integers.")
    return (int(values[0]), int(values[-1]))


def dense_kernel(kernel, order: Order) -> np.ndarray:
    """From Keras's `(in, out)` to NIR's `(out, in)`."""
    return np.stack([order.to_nir(column) for column in np.asarray(kernel).T])


def dense_kernel_back(weight, order: Order) -> np.ndarray:
    """From NIR's `(out, in)` to Keras's `(in, out)`."""
    return np.stack([order.to_keras(row) for row in np.asarray(weight)], axis=1)


def conv_kernel(kernel, depthwise: bool) -> np.ndarray:
    """From Keras's `(height, width, in, out)` to NIR's `(out, in, height, width)`."""
    kernel = np.asarray(kernel)
    if depthwise:  # (height, width, channels, multiplier): one group for each channel
        kernel = kernel.reshape(*kernel.shape[:2], 1, -1)
    return np.ascontiguousarray(np.transpose(kernel, (3, 2, 0, 1)))


def conv_padding(layer, sizes: tuple[int, int]) -> tuple[int, int] | str:
    """NIR's padding: as many zeros at both ends, or `"same"` where Keras has one more at an end.

    Raises:
        ValueError: If neither is what the layer does.
    """
    if layer.padding == "valid":
        return (0, 0)
    before, after = zip(*(_same(*each) for each in _extents(layer, sizes)), strict=True)
    if before == after:
        return before
    if pair(layer.strides) == (1, 1):
        return "same"
    raise ValueError(
        f"its padding 'same' with strides {layer.strides} puts {before} zeros before and {after} "
        "behind an input of this size, and NIR knows as many on both sides only; put a "
        "ZeroPadding2D with a symmetric padding, or another size, there"
    )


def pool_padding(layer, sizes: tuple[int, int]) -> tuple[int, int]:
    """No padding, or a ValueError: NIR's mean counts padded zeros, Keras's leaves them out."""
    if layer.padding == "same":
        steps = zip(sizes, pair(layer.pool_size), pair(layer.strides), strict=True)
        if any(_same(n, k, s) != (0, 0) for n, k, s in steps):
            raise ValueError(
                "its padding 'same' leaves the padded zeros out of the mean, which NIR's does not; "
                "use padding='valid'"
            )
    return (0, 0)


def padding_back(padding, kernel, stride, dilation, sizes) -> tuple[tuple[int, int], str]:
    """Zeros to put around an image first, and Keras's own padding behind that.

    Raises:
        ValueError: For a name that means nothing with these strides.
    """
    if isinstance(padding, (str, bytes)):
        padding = padding.decode() if isinstance(padding, bytes) else padding
        if padding == "same" and stride != (1, 1):
            raise ValueError(f"its padding is 'same' with strides {stride}, which is not defined")
        return (0, 0), padding
    pads = pair(padding)
    each = zip(sizes, kernel, stride, dilation, pads, strict=True)
    if any(pads) and all(_same(n, (k - 1) * d + 1, s) == (p, p) for n, k, s, d, p in each):
        return (0, 0), "same"
    return pads, "valid"


def _extents(layer, sizes):
    kernel, dilation = pair(layer.kernel_size), pair(layer.dilation_rate)
    extents = [(k - 1) * d + 1 for k, d in zip(kernel, dilation, strict=True)]
    return zip(sizes, extents, pair(layer.strides), strict=True)


def _same(size: int, extent: int, stride: int) -> tuple[int, int]:
    """How many zeros Keras puts before and behind."""
    total = max((-(-size // stride) - 1) * stride + extent - size, 0)
    return total // 2, total - total // 2


def folded_normalization(layer) -> tuple[np.ndarray, np.ndarray]:
    """Batch normalisation, as it is after training, as a factor and an offset for each channel."""
    read = keras.ops.convert_to_numpy
    mean, variance = read(layer.moving_mean), read(layer.moving_variance)
    factor = 1 / np.sqrt(variance.astype("float64") + layer.epsilon)
    if layer.scale:
        factor = factor * read(layer.gamma)
    offset = -mean * factor
    if layer.center:
        offset = offset + read(layer.beta)
    return factor, offset


PASSING = (
    _layers.Dropout,
    _layers.SpatialDropout2D,
    _layers.GaussianDropout,
    _layers.GaussianNoise,
    _layers.ActivityRegularization,
    _layers.Identity,
)
"""What does nothing when a model is used."""
