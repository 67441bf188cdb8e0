"""Inputs, flattening, concatenation, slices, and what is computed elsewhere."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import cast

import numpy as np

from keras_htaf_packed.graph import MOST_AXES, MOST_RUNS, Operation, Spec


def _shape(operation: Operation) -> tuple[int, ...]:
    shape = operation.attributes.get("shape")
    if not isinstance(shape, (list, tuple)) or not 1 <= len(shape) <= MOST_AXES:
        raise operation.error(f"shape={shape!r}", f"a list of 1 to {MOST_AXES} integers")
    return operation.integers("shape", len(shape), 1)


class Input:
    """The network's input: float32 numbers. Attribute: `shape`, without the batch."""

    @staticmethod
    def infer(operation: Operation) -> Spec:
        return Spec(_shape(operation))

    @staticmethod
    def define(operation: Operation, specs, x):
        return x

    @staticmethod
    def prepare(operation: Operation):
        return lambda x: x


class Reshape:
    """The same numbers in another shape (attribute `shape`); bits can only be flattened."""

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        shape = _shape(operation)
        if math.prod(shape) != math.prod(spec.shape):
            raise operation.error(f"shape={shape}", f"as many numbers as in {spec.shape}")
        if spec.coding is None:
            return Spec(shape)
        if len(shape) > 1:
            raise operation.error("bits", "numbers, or a shape of one axis")
        _check_runs(operation, len(spec.runs) * math.prod(spec.shape[:-1]))
        return Spec(shape, spec.coding, spec.runs * math.prod(spec.shape[:-1]))

    @staticmethod
    def define(operation: Operation, specs, x):
        (spec,) = specs
        return x.reshape(len(x), *((-1,) if spec.coding else operation.attributes["shape"]))

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return lambda x: Reshape.define(operation, (spec,), x)


class Concatenate:
    """Several values beside each other, along the channels."""

    @staticmethod
    def infer(operation: Operation, *specs: Spec) -> Spec:
        if not specs or len({(s.shape[:-1], s.coding) for s in specs}) > 1:
            raise operation.error(f"{specs}", "values of one kind, alike but for the channels")
        _check_runs(operation, sum(len(spec.runs) for spec in specs))
        shape = (*specs[0].shape[:-1], sum(spec.channels for spec in specs))
        return Spec(shape, specs[0].coding, tuple(run for spec in specs for run in spec.runs))

    @staticmethod
    def define(operation: Operation, specs, *values):
        return np.concatenate(values, axis=-1)

    @staticmethod
    def prepare(operation: Operation, *specs: Spec):
        return lambda *values: np.concatenate(values, axis=-1)


def _check_runs(operation: Operation, runs: int) -> None:
    if runs > MOST_RUNS:
        raise operation.error(f"bits in {runs} runs", f"at most {MOST_RUNS}")


class Slice:
    """Some of the channels: attributes `start` and `stop`."""

    @staticmethod
    def infer(operation: Operation, spec: Spec) -> Spec:
        start, stop = operation.integer("start"), operation.integer("stop")
        if spec.coding is not None or not start < stop <= spec.channels:
            raise operation.error(f"{spec}", f"numbers with channels {start} to {stop}")
        return Spec((*spec.shape[:-1], stop - start))

    @staticmethod
    def define(operation: Operation, specs, x):
        return x[..., operation.attributes["start"] : operation.attributes["stop"]]

    @staticmethod
    def prepare(operation: Operation, spec: Spec):
        return lambda x: np.ascontiguousarray(Slice.define(operation, (spec,), x))


class Elsewhere:
    """A layer that is left to Keras: attributes `layer` (its class) and `shape` (of its output)."""

    @staticmethod
    def infer(operation: Operation, *specs: Spec) -> Spec:
        if operation.call is None:
            raise operation.error(f"{operation.attributes}", "an operation that can be saved")
        return Input.infer(operation)

    @staticmethod
    def define(operation: Operation, specs, *values):
        call = cast(Callable, operation.call)  # `infer` has refused it without
        return np.asarray(call(*values), np.float32)

    @staticmethod
    def prepare(operation: Operation, *specs: Spec):
        return lambda *values: Elsewhere.define(operation, specs, *values)
