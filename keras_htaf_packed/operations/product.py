"""Dense layers and convolutions of bits with binary kernels."""

from __future__ import annotations

import math
from functools import cache
from typing import NamedTuple

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import UNIT, from_bytes, from_units, to_units, units_of
from keras_htaf_packed.graph import CODINGS, Operation, Spec
from keras_htaf_packed.operations import window as w

ALWAYS, NEVER = -(2**31), 2**31 - 1
"""Thresholds that every sum reaches, and none."""

_COUNT, _GATHER = 1.3e-9, 4e-9
"""Seconds for a word and a panel, and to gather a word, roughly."""


_FILTERS = 64
"""Whose bits are unpacked at once."""


class Count(NamedTuple):
    """How a sum comes from a count of bits: sum = base + factor * count."""

    masked: bool
    """Whether what is counted are the bits of both rather than those that differ."""
    base: np.ndarray
    """For each class of positions and output channel."""
    factor: int


def values(bits: np.ndarray, coding: str | None) -> np.ndarray:
    """What bits stand for, int32."""
    return bits.astype(np.int32) * (2 if coding == "sign" else 1) - (coding == "sign")


def pad_bit(coding: str | None, pad_value: int) -> bool:
    """The bit that is put beyond the border: the pad value's, or 0 where it has none."""
    return pad_value == 1


def count_of(
    inputs: str | None,
    ones: np.ndarray,
    channels: int,
    pad_value: int,
    beyond: np.ndarray,
    weights: str,
) -> Count:
    """The count that gives the sums.

    Args:
        inputs: Coding of the inputs.
        ones: Ones among the bits of the kernel, int64, (places, outputs).
        channels: Bits of the kernel for each place and output.
        pad_value: What lies beyond the border, -1, 0 or 1.
        beyond: For each class of positions, the places beyond the border, (classes, places).
        weights: Coding of the kernel.
    """
    signs, total = inputs == "sign", ones.sum(0)
    if weights == "sign":
        # Of bits a and signs w: sum a w = |w > 0| - |a xor (w > 0)|.
        base = np.full_like(total, len(ones) * channels) if signs else total
        factor = -2 if signs else -1
    else:
        base, factor = (-total, 2) if signs else (np.zeros_like(total), 1)
    # Beyond the border there are bits, too, and their value is not always the one that is meant.
    stands_for = 2 * pad_bit(inputs, pad_value) - 1 if signs else int(pad_bit(inputs, pad_value))
    each = 2 * ones - channels if weights == "sign" else ones
    missing = (pad_value - stands_for) * (beyond.astype(np.int64) @ each)
    return Count(weights == "bit", base[None] + missing, factor)


def limits_of(count: Count, thresholds: np.ndarray) -> tuple[np.ndarray, bool]:
    """The limits on counts that are sums of at least the thresholds, and whether to flip then."""
    thresholds = thresholds.astype(np.int64)
    if count.factor < 0:
        return (count.base - thresholds) // -count.factor, False
    return -((count.base - thresholds) // count.factor) - 1, True


class Product:
    """Sums of products of bits with a binary kernel, or which of them reach a threshold.

    Attributes: `weights` (coding of the kernel), `filters`, `kernel_size`, `strides`, `dilation`,
    `padding` (top, left, bottom, right; a dense layer has a window of one pixel), `pad_value`, and
    for bits `coding`. Arrays: `kernel`, uint8 (filters, bytes), each row the bits of
    (kernel rows, kernel columns, channels); for bits also `threshold`, int32 (filters,), and
    `flip`, uint8 of filters bits: the output is (sum >= threshold) xor flip.
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is None:
            raise operation.error("numbers", "bits")
        operation.choice("weights", CODINGS)
        operation.choice("pad_value", (-1, 0, 1))
        filters = operation.integer("filters", 1)
        window = w.window_of(operation, spec)
        places = window.kh * window.kw * spec.channels
        if places >= 2**24:
            raise operation.error(f"{places} products to a sum", "less than 2^24")
        operation.array("kernel", (filters, -(-places // 8)), "uint8")
        shape = w.output_shape(spec, window, filters)
        if "coding" not in operation.attributes:
            return Spec(shape)
        operation.array("threshold", (filters,), "int32")
        operation.array("flip", (-(-filters // 8),), "uint8")
        return Spec(shape, operation.choice("coding", CODINGS), (filters,))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        window, codes = w.window_of(operation, spec), codes_of(operation, spec)
        height, width, channels = w.image_of(spec)
        numbers = values(from_units(x, spec.runs), spec.coding)
        numbers = numbers.reshape(-1, height, width, channels)
        seen = w.windows(numbers, window, operation.attributes["pad_value"])
        sums = np.tensordot(seen, codes.reshape(*seen.shape[3:], -1), 3)
        sums = sums.reshape(-1, *w.output_shape(spec, window, codes.shape[-1]))
        if "coding" not in operation.attributes:
            return sums.astype(np.float32)
        bits = (sums >= operation.arrays["threshold"]) ^ _flips(operation)
        return to_units(bits, (codes.shape[-1],))

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        from keras_htaf_packed.kernels import counting

        window = w.window_of(operation, spec)
        height, width, channels = w.image_of(spec)
        units, filters = units_of(spec.runs), operation.attributes["filters"]
        coding, pad_value = operation.attributes["weights"], operation.attributes["pad_value"]
        kernel, ones = _panels(operation, spec)
        kinds = w.border_kinds(operation, spec)
        count = count_of(spec.coding, ones, channels, pad_value, kinds, coding)
        if alike := (count.base == count.base[0]).all():
            count = count._replace(base=count.base[:1])
        # When it is first used: a file of a few bytes may have any number of positions.
        classes = cache(
            lambda: np.zeros(1, np.int64) if alike else w.border_classes(window, height, width)
        )
        border = np.full(channels, pad_bit(spec.coding, pad_value))
        border = to_units(border, spec.runs)
        panels, positions = len(kernel), window.oh * window.ow
        shape = w.output_shape(spec, window, filters)

        def run(loop, x, *rest):
            blocks = max(1, -(-len(x) * positions // counting.BLOCK))
            words = min(counting.BLOCK, len(x) * positions) * kernel.shape[1]
            busy = threads.wanted(blocks * words * (_GATHER + panels * _COUNT))
            groups = min(panels, -(-busy // blocks))
            x = x.reshape(len(x), height, width * units)
            given = (x, kernel, count.masked, window, border, groups, classes(), *rest)
            seconds = words * (_GATHER + panels * _COUNT / groups)
            threads.divide(blocks * groups, seconds, lambda *part: loop(*given, *part))

        if "coding" not in operation.attributes:
            base = _padded(count.base, panels, 0).astype(np.float32)
            factor = np.float32(count.factor)

            def sums(x):
                out = np.empty((len(x) * positions, panels * UNIT), np.float32)
                run(counting.sums, x, base, factor, out)
                return np.ascontiguousarray(out[:, :filters]).reshape(-1, *shape)

            return sums

        limits, turned = limits_of(count, operation.arrays["threshold"])
        limits = _padded(limits, panels, -1)
        flips = to_units(_flips(operation) ^ turned, (filters,))

        def bits(x):
            out = np.empty((len(x) * positions, panels), np.uint16)
            run(counting.bits, x, limits, flips, out)
            return out.reshape(-1, *shape[:-1], panels)

        return bits


def codes_of(operation: Operation, spec: Spec) -> np.ndarray:
    """The values of a kernel of bits, int32, (places, channels, filters, or those of a channel)."""
    kh, kw = operation.attributes["kernel_size"]
    bits = from_bytes(operation.arrays["kernel"], kh * kw * spec.channels)
    bits = bits.reshape(-1, kh * kw, spec.channels).transpose(1, 2, 0)
    return values(bits, operation.attributes["weights"])


def _flips(operation: Operation) -> np.ndarray:
    return from_bytes(operation.arrays["flip"], operation.attributes["filters"])


def _panels(operation: Operation, spec: Spec) -> tuple[np.ndarray, np.ndarray]:
    """The kernel as words in panels, and its ones, int64 (places, filters).

    Some filters at a time, since a bit takes a byte while it is moved.
    """
    kernel, places = operation.arrays["kernel"], math.prod(operation.attributes["kernel_size"])
    units = places * units_of(spec.runs)
    words = -(-units * UNIT // 64)
    wide = np.zeros((-(-len(kernel) // UNIT) * UNIT, words * 4), np.uint16)
    ones = np.zeros((places, len(kernel)), np.int64)
    for start in range(0, len(kernel), _FILTERS):
        some = slice(start, min(start + _FILTERS, len(kernel)))
        bits = from_bytes(kernel[some], places * spec.channels).reshape(-1, places, spec.channels)
        ones[:, some] = np.count_nonzero(bits, axis=2).T
        wide[some, :units] = to_units(bits, spec.runs).reshape(-1, units)
    panels = wide.view(np.uint64).reshape(-1, UNIT, words).transpose(0, 2, 1)
    return np.ascontiguousarray(panels), ones


def _padded(numbers: np.ndarray, panels: int, value) -> np.ndarray:
    """Numbers for each output channel, continued to whole panels."""
    found = np.full((len(numbers), panels * UNIT), value, np.int64)
    found[:, : numbers.shape[1]] = numbers
    return found
