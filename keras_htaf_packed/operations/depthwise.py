"""Convolutions of each channel of bits by itself with binary kernels."""

from __future__ import annotations

from functools import cache

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import from_units, to_units, units_of
from keras_htaf_packed.graph import CODINGS, Operation, Spec
from keras_htaf_packed.operations import window as w
from keras_htaf_packed.operations.product import codes_of, count_of, pad_bit, values

_TAP = 8e-9
"""Seconds for a place of a window in 16 channels, roughly."""


class Depthwise:
    """Sums over a window of each channel by itself: float32, (..., channels * multiplier).

    Attributes: as `Product`, with `multiplier` in place of `filters`. Array: `kernel`, uint8
    (multiplier, bytes), each row the bits of (kernel rows, kernel columns, channels).
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is None or spec.runs != (spec.channels,):
            raise operation.error("numbers, or bits in several runs", "bits in one run")
        operation.choice("weights", CODINGS)
        operation.choice("pad_value", (-1, 0, 1))
        multiplier = operation.integer("multiplier", 1)
        window = w.window_of(operation, spec)
        places = window.kh * window.kw
        operation.array("kernel", (multiplier, -(-places * spec.channels // 8)), "uint8")
        return Spec(w.output_shape(spec, window, spec.channels * multiplier))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        window, codes = w.window_of(operation, spec), codes_of(operation, spec)
        height, width, channels = w.image_of(spec)
        numbers = values(from_units(x, spec.runs), spec.coding)
        numbers = numbers.reshape(-1, height, width, channels)
        seen = w.windows(numbers, window, operation.attributes["pad_value"])
        seen = seen.reshape(*seen.shape[:3], -1, channels)
        sums = np.einsum("nijkc,kcm->nijcm", seen, codes)
        shape = w.output_shape(spec, window, codes.shape[1] * codes.shape[2])
        return sums.reshape(-1, *shape).astype(np.float32)

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        from keras_htaf_packed.kernels import units

        window = w.window_of(operation, spec)
        height, width, channels = w.image_of(spec)
        codes, pad_value = codes_of(operation, spec), operation.attributes["pad_value"]
        multiplier = codes.shape[2]
        ones, kinds = (codes > 0).reshape(len(codes), -1), w.border_kinds(operation, spec)
        ones, weights = ones.astype(np.int64), operation.attributes["weights"]
        count = count_of(spec.coding, ones, 1, pad_value, kinds, weights)
        classes = cache(lambda: w.border_classes(window, height, width))
        kernel = to_units((codes > 0).transpose(2, 0, 1), spec.runs)
        border = to_units(np.full(channels, pad_bit(spec.coding, pad_value)), spec.runs)
        base, factor = count.base.astype(np.float32), np.float32(count.factor)
        shape = w.output_shape(spec, window, channels * multiplier)

        seconds = kernel.size * _TAP

        def sums(x):
            x = x.reshape(-1, height, width, units_of(spec.runs))
            out = np.empty((len(x) * window.oh * window.ow, channels, multiplier), np.float32)
            given = x, kernel, count.masked, window, border, classes(), base, factor, out
            threads.divide(len(out), seconds, lambda *part: units.each_channel(*given, *part))
            return out.reshape(-1, *shape)

        return sums
