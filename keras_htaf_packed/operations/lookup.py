"""Dense layers of bits with float kernels, as in Heaviside networks."""

from __future__ import annotations

import numpy as np

from keras_htaf_packed import threads
from keras_htaf_packed.bits import UNIT, from_units, units_of
from keras_htaf_packed.graph import Operation, Spec
from keras_htaf_packed.operations.product import values
from keras_htaf_packed.operations.steps import Unpack

FEW = 8
"""Up to so many rows, sums are looked up; beyond, BLAS is faster."""


class Lookup:
    """Sums of a float kernel's rows, by bits, along the last axis.

    For few rows, each 4 bits choose among the 16 sums that they can make of their weights: a
    quarter of the additions, and no bit is unpacked. In tables of 256 sums of 8 bits there would be
    fewer still, but they would not stay in the cache. Arrays: `kernel`, float32
    (channels, filters), and `bias`, float32 (filters,), if it has one.
    """

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        if spec.coding is None:
            raise operation.error("numbers", "bits")
        filters = operation.integer("filters", 1)
        operation.array("kernel", (spec.channels, filters), "float32")
        if "bias" in operation.arrays:
            operation.array("bias", (filters,), "float32")
        return Spec((*spec.shape[:-1], filters))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        sums = values(from_units(x, spec.runs), spec.coding) @ operation.arrays["kernel"]
        return (sums + operation.arrays.get("bias", 0)).astype(np.float32)

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        from keras_htaf_packed.kernels import units

        kernel, tables = operation.arrays["kernel"], _tables(operation, spec)
        bias = operation.arrays.get("bias", np.zeros(kernel.shape[1], np.float32))
        unpack = Unpack.prepare(operation, spec)
        shape = (*spec.shape[:-1], kernel.shape[1])

        def sums(x):
            rows = x.reshape(-1, x.shape[-1])
            if len(rows) > FEW:
                out = threads.product(unpack(x).reshape(len(rows), -1), kernel)
                out += bias
            else:
                out = np.empty((len(rows), kernel.shape[1]), np.float32)
                units.look_up(rows, tables, bias, out)
            return out.reshape(-1, *shape)

        return sums


def _tables(operation: Operation, spec: Spec) -> np.ndarray:
    """For each 4 bits of the units the sums of their weights: (4 units, 16, filters)."""
    kernel = operation.arrays["kernel"]
    wide, at = np.zeros((units_of(spec.runs) * UNIT, kernel.shape[1]), np.float32), 0
    for start, run in zip(np.cumsum((0, *spec.runs)), spec.runs, strict=False):
        wide[at : at + run] = kernel[start : start + run]
        at += -(-run // UNIT) * UNIT
    bits = np.arange(16)[:, None] >> np.arange(4) & 1
    chosen = values(bits, spec.coding).astype(np.float32)
    return np.einsum("vb,kbn->kvn", chosen, wide.reshape(-1, 4, kernel.shape[1]))
