"""Windows of convolutions and pooling: where they begin and what lies beyond the border."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from keras_htaf_packed.graph import Operation, Spec

MOST = 2**24
"""Outputs times places of a window along an axis, and kinds of windows at borders times places."""


class Window(NamedTuple):
    """Kernel size, strides, dilations, rows and columns beyond the upper left, output size."""

    kh: int
    kw: int
    sh: int
    sw: int
    dh: int
    dw: int
    top: int
    left: int
    oh: int
    ow: int


def image_of(spec: Spec) -> tuple[int, int, int]:
    """Height, width and channels: a sequence is an image of one row, a vector one of one pixel."""
    height, width, channels = (1,) * (3 - len(spec.shape)) + tuple(spec.shape)
    return height, width, channels


def window_of(operation: Operation, spec: Spec) -> Window:
    """The window that the attributes give; they are those of both axes of an image."""
    if not 1 <= len(spec.shape) <= 3 or min(spec.shape) < 1:
        raise operation.error(f"an input of shape {spec.shape}", "1 to 3 axes, none of them empty")
    height, width, _ = image_of(spec)
    kernel = operation.integers("kernel_size", 2, 1)
    strides = operation.integers("strides", 2, 1)
    dilation = operation.integers("dilation", 2, 1)
    top, left, bottom, right = operation.integers("padding", 4)
    sizes = []
    for size, k, s, d, before, after in zip(
        (height, width), kernel, strides, dilation, (top, left), (bottom, right), strict=True
    ):
        reach = d * (k - 1)
        sizes.append((size + before + after - reach - 1) // s + 1)
        if sizes[-1] < 1 or max(before, after) > reach:
            raise operation.error(f"{spec.shape} and {operation.attributes}", "a window that fits")
        if sizes[-1] * k > MOST:
            raise operation.error(f"{sizes[-1]} outputs of {k} inputs", f"at most {MOST} in all")
    return Window._make((*kernel, *strides, *dilation, top, left, *sizes))


def output_shape(spec: Spec, window: Window, channels: int) -> tuple[int, ...]:
    """The shape of an output, of as many axes as the input's."""
    return (window.oh, window.ow, channels)[3 - len(spec.shape) :]


def taps(window: Window, height: int, width: int) -> np.ndarray:
    """For each output and place in the window: the pixel's number, or -1 beyond the border.

    Integers, (oh, ow, kh, kw).
    """
    w = window
    i = np.arange(w.oh)[:, None] * w.sh - w.top + np.arange(w.kh) * w.dh
    j = np.arange(w.ow)[:, None] * w.sw - w.left + np.arange(w.kw) * w.dw
    i, j = i[:, None, :, None], j[None, :, None, :]
    inside = (i >= 0) & (i < height) & (j >= 0) & (j < width)
    return np.where(inside, i * width + j, -1)


def windows(x: np.ndarray, window: Window, beyond) -> np.ndarray:
    """Of images (n, height, width, channels) the windows (n, oh, ow, kh, kw, channels)."""
    n, height, width, channels = x.shape
    border = np.broadcast_to(np.asarray(beyond, x.dtype), (n, 1, channels))
    pixels = np.concatenate([x.reshape(n, -1, channels), border], axis=1)
    return pixels[:, taps(window, height, width)]


def inside(window: Window, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    """Which places of windows are not beyond the border: their rows (oh, kh), columns (ow, kw)."""
    w = window
    i = np.arange(w.oh)[:, None] * w.sh - w.top + np.arange(w.kh) * w.dh
    j = np.arange(w.ow)[:, None] * w.sw - w.left + np.arange(w.kw) * w.dw
    return (i >= 0) & (i < height), (j >= 0) & (j < width)


def border_kinds(operation: Operation, spec: Spec) -> np.ndarray:
    """The kinds of windows, by their places beyond the border: bool (kinds, kh * kw)."""
    height, width, _ = image_of(spec)
    rows, columns = (
        np.unique(axis, axis=0) for axis in inside(window_of(operation, spec), height, width)
    )
    kinds = len(rows) * len(columns)
    if max(rows.size * columns.size, kinds * operation.attributes.get("filters", 1)) > MOST:
        raise operation.error(
            f"{kinds} kinds of windows at its borders", "a smaller kernel or fewer filters"
        )
    return ~(rows[:, None, :, None] & columns[:, None]).reshape(kinds, -1)


def border_classes(window: Window, height: int, width: int) -> np.ndarray:
    """Which of its kinds each window is: int64 (oh * ow,)."""
    (_, rows), (kinds, columns) = (
        np.unique(axis, axis=0, return_inverse=True) for axis in inside(window, height, width)
    )
    classes = rows.reshape(-1, 1) * len(kinds) + columns.reshape(-1)
    return classes.reshape(-1).astype(np.int64)
