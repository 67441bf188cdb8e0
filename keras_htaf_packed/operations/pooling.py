"""Maxima of bits and numbers, and means."""

from __future__ import annotations

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import from_bytes, from_units, to_units, units_of
from keras_htaf_packed.graph import Operation, Spec
from keras_htaf_packed.operations import window as w

_TAP = 5e-10
"""Seconds for a place of a window in 16 channels, roughly."""


class Pool:
    """The maximum or the mean over a window; what lies beyond the border does not count.

    Attributes: `reduce` ("max" or "mean"), and of the window as in `Product`. The maximum of bits
    is their OR; with the array `flip`, uint8 of channels bits, that of the flipped bits, flipped
    back: an AND, which is what maximum pooling before a falling step comes to.
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        reduce = operation.choice("reduce", ("max", "mean"))
        window = w.window_of(operation, spec)
        if not all(axis.any(1).all() for axis in w.inside(window, *w.image_of(spec)[:2])):
            raise operation.error(f"{operation.attributes}", "no window beyond the border")
        if spec.coding is None:
            return Spec(w.output_shape(spec, window, spec.channels))
        if reduce == "mean":
            raise operation.error("bits", "numbers for a mean")
        if "flip" in operation.arrays:
            operation.array("flip", (-(-spec.channels // 8),), "uint8")
        return Spec(w.output_shape(spec, window, spec.channels), spec.coding, spec.runs)

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        window = w.window_of(operation, spec)
        shape = w.output_shape(spec, window, spec.channels)
        if spec.coding is not None:
            flip = _flip(operation, spec)
            x = from_units(x, spec.runs) ^ flip
            x = x.reshape(-1, *w.image_of(spec))
            found = w.windows(x, window, False).any((3, 4)) ^ flip
            return to_units(found.reshape(-1, *shape), spec.runs)
        x = x.reshape(-1, *w.image_of(spec))
        if operation.attributes["reduce"] == "max":
            found = w.windows(x, window, -np.inf).max((3, 4))
        else:
            count = (w.taps(window, *x.shape[1:3]) >= 0).sum((2, 3))[..., None]
            found = w.windows(x, window, 0.0).sum((3, 4)) / count.astype(np.float32)
        return found.reshape(-1, *shape)

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        window = w.window_of(operation, spec)
        shape = w.output_shape(spec, window, spec.channels)
        if spec.coding is None:
            return lambda x: _numbers(operation, spec, window, x).reshape(-1, *shape)
        from keras_htaf_packed.kernels import units

        flips, count = to_units(_flip(operation, spec), spec.runs), units_of(spec.runs)

        def any_of(x):
            x = x.reshape(-1, *w.image_of(spec)[:2], count)
            out = np.empty((len(x), window.oh, window.ow, count), np.uint16)
            threads.divide(
                len(x) * window.oh,
                window.ow * window.kh * window.kw * count * _TAP,
                lambda *part: units.any_of(x, window, flips, flips, out, *part),
            )
            return out.reshape(-1, *shape[:-1], count)

        return any_of


class GlobalPool:
    """The maximum or the mean (attribute `reduce`) over all positions; `keep` keeps their axes."""

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        operation.choice("reduce", ("max", "mean"))
        keep = operation.choice("keep", (True, False))
        if spec.coding is not None or len(spec.shape) < 2:
            raise operation.error(f"{spec}", "numbers with positions")
        return Spec(tuple(1 for _ in spec.shape[:-1]) * keep + spec.shape[-1:])

    @staticmethod
    def define(operation: Operation, specs, x):
        axes = tuple(range(1, x.ndim - 1))
        reduce = np.max if operation.attributes["reduce"] == "max" else np.mean
        return reduce(x, axis=axes, keepdims=operation.attributes["keep"])

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return lambda x: GlobalPool.define(operation, (spec,), x)


def _flip(operation: Operation, spec: Spec) -> np.ndarray:
    if "flip" not in operation.arrays:
        return np.zeros(spec.channels, bool)
    return from_bytes(operation.arrays["flip"], spec.channels)


def _numbers(operation: Operation, spec: Spec, window: w.Window, x):
    """One pass for each place of the window, over all of its outputs that have it."""
    x = x.reshape(-1, *w.image_of(spec))
    _, height, width, channels = x.shape
    greatest = operation.attributes["reduce"] == "max"
    size = (len(x), window.oh, window.ow, channels)
    out = np.full(size, -np.inf if greatest else 0.0, np.float32)
    for a in range(window.kh):
        for b in range(window.kw):
            rows, i = _inside(window.top - a * window.dh, window.sh, window.oh, height)
            columns, j = _inside(window.left - b * window.dw, window.sw, window.ow, width)
            part = out[:, rows, columns]
            (np.maximum if greatest else np.add)(part, x[:, i, j], out=part)
    if not greatest:
        rows, columns = (axis.sum(1) for axis in w.inside(window, height, width))
        out /= (rows[:, None] * columns)[..., None].astype(np.float32)
    return out


def _inside(shift: int, stride: int, outputs: int, size: int) -> tuple[slice, slice]:
    """Outputs o for which o * stride - shift is inside, and these places."""
    first = max(0, -(-shift // stride))
    last = min(outputs, (size - 1 + shift) // stride + 1)
    if first >= last:  # the window reaches farther than the image
        return slice(0, 0), slice(0, 0)
    start = first * stride - shift
    return slice(first, last), slice(start, start + (last - first - 1) * stride + 1, stride)
