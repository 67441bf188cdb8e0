"""Numbers to bits, and bits to numbers."""

from __future__ import annotations

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import UNIT, from_bytes, from_units, to_units, units_of
from keras_htaf_packed.graph import CODINGS, Operation, Spec
from keras_htaf_packed.operations.product import values

_COMPARE = 3e-10
"""Seconds for a number, roughly."""


class Step:
    """Bits of numbers: (x >= threshold) xor flip.

    Attribute: `coding`. Arrays: `threshold`, float32 (channels,), and `flip`, uint8 of channels
    bits. A step of everything has the threshold -infinity.
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is not None:
            raise operation.error("bits", "numbers")
        threshold = operation.array("threshold", (spec.channels,), "float32", infinite=True)
        if np.isnan(threshold).any():
            raise operation.error("a threshold that is NaN", "numbers")
        operation.array("flip", (-(-spec.channels // 8),), "uint8")
        return Spec(spec.shape, operation.choice("coding", CODINGS), (spec.channels,))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        flip = from_bytes(operation.arrays["flip"], spec.channels)
        return to_units((x >= operation.arrays["threshold"]) ^ flip, (spec.channels,))

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        from keras_htaf_packed.kernels import units

        channels, count = spec.channels, units_of((spec.channels,))
        limits = np.full(count * UNIT, np.inf, np.float32)
        limits[:channels] = operation.arrays["threshold"]
        flips = to_units(from_bytes(operation.arrays["flip"], channels), (channels,))

        def step(x):
            out = np.empty((x.size // channels, count), np.uint16)
            given = np.ascontiguousarray(x).reshape(-1, channels), limits, flips, out
            threads.divide(len(out), channels * _COMPARE, lambda *part: units.step(*given, *part))
            return out.reshape(*x.shape[:-1], count)

        return step


class Unpack:
    """The numbers that bits stand for, -1 and +1 or 0 and 1."""

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is None:
            raise operation.error("numbers", "bits")
        return Spec(spec.shape)

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        return values(from_units(x, spec.runs), spec.coding).astype(np.float32)

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        bits = np.unpackbits(np.arange(256, dtype=np.uint8)[:, None], axis=1, bitorder="little")
        table = values(bits, spec.coding).astype(np.float32)
        wide = -(-spec.runs[0] // UNIT) * UNIT
        if len(set(spec.runs)) > 1 or wide != spec.runs[0]:
            return lambda x: values(from_units(x, spec.runs), spec.coding).astype(np.float32)
        return lambda x: table[x.view(np.uint8)].reshape(*x.shape[:-1], spec.channels)
