"""Dense layers and convolutions with float kernels, through BLAS."""

from __future__ import annotations

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import from_bytes
from keras_htaf_packed.graph import CODINGS, Operation, Spec
from keras_htaf_packed.operations import window as w
from keras_htaf_packed.operations.product import values

_SEEN = 2**20
"""Numbers in the windows that are laid out at once."""
_COPY = 5e-10
"""Seconds for one of them, roughly."""


class Linear:
    """Sums of products of numbers with a kernel; the order of summation is BLAS's.

    Attributes: as `Product`, without `coding`, `weights` ("sign" or "bit") only for a kernel of
    bits, and `groups`, which is 1, or the number of channels: each by itself then. Array: `kernel`,
    float32 (kernel rows, kernel columns, channels / groups, filters), or uint8 as in `Product`;
    with `bias`, float32 (filters,), if it has one.
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is not None:
            raise operation.error("bits", "numbers")
        operation.choice("pad_value", (-1, 0, 1))
        filters = operation.integer("filters", 1)
        groups = operation.choice("groups", (1, spec.channels))
        window = w.window_of(operation, spec)
        depth = spec.channels // groups
        if filters % groups:
            raise operation.error(f"filters={filters}", f"a multiple of {groups}")
        if "weights" in operation.attributes:
            operation.choice("weights", CODINGS)
            places = window.kh * window.kw * depth
            operation.array("kernel", (filters, -(-places // 8)), "uint8")
        else:
            operation.array("kernel", (window.kh, window.kw, depth, filters), "float32")
        if "bias" in operation.arrays:
            operation.array("bias", (filters,), "float32")
        return Spec(w.output_shape(spec, window, filters))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        window, kernel = w.window_of(operation, spec), _kernel(operation, spec)
        x = x.reshape(-1, *w.image_of(spec))
        seen = w.windows(x, window, operation.attributes["pad_value"])
        groups = operation.attributes["groups"]
        seen = seen.reshape(*seen.shape[:5], groups, -1)
        each = kernel.reshape(*kernel.shape[:3], groups, -1)
        sums = np.einsum("nijabgc,abcgm->nijgm", seen, each)
        sums = sums.reshape(-1, *w.output_shape(spec, window, kernel.shape[3]))
        return sums + operation.arrays["bias"] if "bias" in operation.arrays else sums

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        window, kernel = w.window_of(operation, spec), _kernel(operation, spec)
        filters = kernel.shape[3]
        shape = w.output_shape(spec, window, filters)
        bias, pad_value = operation.arrays.get("bias"), operation.attributes["pad_value"]
        if operation.attributes["groups"] > 1:
            kernel = kernel.reshape(window.kh, window.kw, spec.channels, -1)

            def each(x):
                x = _bordered(x.reshape(-1, *w.image_of(spec)), window, pad_value)
                out = _each_channel(x, window, kernel).reshape(-1, *shape)
                return out if bias is None else np.add(out, bias, out=out)

            return each
        flat = np.ascontiguousarray(kernel.reshape(-1, filters))
        at_once = max(1, _SEEN // (window.oh * window.ow * len(flat)))
        of_pixels = window.kh * window.kw * window.sh * window.sw == 1 and not (
            any(operation.attributes["padding"])
        )

        places = window.oh * window.ow
        seconds = places * len(flat) * (_COPY + filters * threads.MULTIPLY)

        def windows(x):
            x = _bordered(x.reshape(-1, *w.image_of(spec)), window, pad_value)
            out = np.empty((len(x), places * filters), np.float32)

            def some(first, last):
                for i in range(first, last, at_once):
                    j = min(i + at_once, last)
                    seen = _windows(x[i:j], window).reshape(-1, len(flat))
                    np.matmul(seen, flat, out=out[i:j].reshape(-1, filters))

            with threads.blas_on_one_thread():
                threads.divide(len(x), seconds, some)
            return out

        def sums(x):
            out = threads.product(x.reshape(-1, len(flat)), flat) if of_pixels else windows(x)
            out = out.reshape(-1, filters)
            if bias is not None:
                out += bias
            return out.reshape(-1, *shape)

        return sums


def _kernel(operation: Operation, spec: Spec) -> np.ndarray:
    """The kernel, float32, (kernel rows, kernel columns, channels / groups, filters)."""
    kernel = operation.arrays["kernel"]
    if "weights" not in operation.attributes:
        return kernel
    kh, kw = operation.attributes["kernel_size"]
    depth = spec.channels // operation.attributes["groups"]
    bits = from_bytes(kernel, kh * kw * depth).reshape(-1, kh, kw, depth)
    codes = values(bits.transpose(1, 2, 3, 0), operation.attributes["weights"])
    return codes.astype(np.float32)


def _bordered(x, window, value):
    """Images with what lies beyond the border, as far as a window sees it."""
    w = window
    bottom = max(0, (w.oh - 1) * w.sh + (w.kh - 1) * w.dh + 1 - w.top - x.shape[1])
    right = max(0, (w.ow - 1) * w.sw + (w.kw - 1) * w.dw + 1 - w.left - x.shape[2])
    if not (w.top or w.left or bottom or right):
        return np.ascontiguousarray(x)
    n, height, width, channels = x.shape
    size = (n, w.top + height + bottom, w.left + width + right, channels)
    wide = np.full(size, value, np.float32) if value else np.zeros(size, np.float32)
    wide[:, w.top : w.top + height, w.left : w.left + width] = x
    return wide


def _each_channel(x, window, kernel):
    """Of images with borders, sums for each channel; one pass for each place of the window."""
    w, (_, _, channels, multiplier) = window, kernel.shape
    out = np.zeros((len(x), w.oh, w.ow, channels, multiplier), np.float32)
    for a in range(w.kh):
        rows = slice(a * w.dh, a * w.dh + (w.oh - 1) * w.sh + 1, w.sh)
        for b in range(w.kw):
            columns = slice(b * w.dw, b * w.dw + (w.ow - 1) * w.sw + 1, w.sw)
            out += x[:, rows, columns, :, None] * kernel[a, b]
    return out


def _windows(x, window):
    """A view of the windows of images with borders: (n, oh, ow, kh, kw, channels).

    Neighbouring columns lie one after the other, so that a row of a window is one run to copy.
    """
    w, (by_image, by_row, by_column, by_channel) = window, x.strides
    columns, channels = w.kw, x.shape[3]
    if w.dw == 1:
        columns, channels = 1, w.kw * channels
    return np.lib.stride_tricks.as_strided(
        x,
        (len(x), w.oh, w.ow, w.kh, columns, channels),
        (by_image, by_row * w.sh, by_column * w.sw, by_row * w.dh, by_column * w.dw, by_channel),
        writeable=False,
    )
