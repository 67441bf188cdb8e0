"""What a packed network is: a list of operations, each of a kind, with numbers and arrays.

It knows neither Keras nor how an operation is computed, so that it can be saved, written as C, or
shown. Values have the name of the operation that gives them. The kinds, what they compute and the
arrays that they hold are in `operations`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np

CODINGS = ("sign", "bit")
"""What a bit b stands for: 2b - 1, or b."""
LARGEST = 2**27
"""Numbers of a value of one sample, at most: a file of a few bytes must not take all memory."""
MOST_AXES = 8
"""Of a sample, at most."""
MOST_RUNS = 2**18
"""Runs of bits of a value, at most."""


@dataclass(frozen=True)
class Spec:
    """What a value is, for one sample."""

    shape: tuple[int, ...]
    coding: str | None = None
    """Of bits; None for float32 numbers."""
    runs: tuple[int, ...] = ()
    """Of bits: the last axis, cut into what begins with a unit of its own (see `bits`)."""

    @property
    def channels(self) -> int:
        return self.shape[-1]

    @property
    def size(self) -> int:
        """Bytes of a sample as it lies in memory, where bits are in units."""
        if self.coding is None:
            return 4 * math.prod(self.shape)
        return 2 * math.prod(self.shape[:-1]) * sum(-(-run // 16) for run in self.runs)


@dataclass(eq=False)
class Operation:
    """One step of a packed network."""

    kind: str
    name: str
    inputs: tuple[str, ...]
    attributes: dict = field(default_factory=dict)
    """Numbers, strings and lists of them, as in JSON."""
    arrays: dict[str, np.ndarray] = field(default_factory=dict)
    call: Callable | None = None
    """Of the kind "keras": what computes it, elsewhere."""

    def error(self, received, expected) -> ValueError:
        """The error of a graph that does not fit together."""
        name, received = (text if len(text) < 300 else f"{text[:300]} ..." for text in
                          (repr(self.name), str(received)))  # fmt: skip
        return ValueError(
            f"Operation {name} ({self.kind}): received {received}, expected {expected}."
        )

    def choice(self, key: str, choices: tuple):
        """An attribute that is one of several values."""
        value = self.attributes.get(key)
        if type(value) not in map(type, choices) or value not in choices:
            raise self.error(f"{key}={value!r}", f"one of {choices}")
        return value

    def integer(self, key: str, least: int = 0) -> int:
        """An attribute that is an integer of at least `least`."""
        value = self.attributes.get(key)
        if type(value) is not int or not least <= value < 2**31:
            raise self.error(f"{key}={value!r}", f"an integer from {least}")
        return value

    def integers(self, key: str, count: int, least: int = 0) -> tuple[int, ...]:
        """An attribute that is a list of `count` integers of at least `least`."""
        value = self.attributes.get(key)
        numbers = tuple(value) if isinstance(value, list | tuple) else ()
        good = all(type(v) is int and least <= v < 2**31 for v in numbers)
        if not isinstance(value, list | tuple) or len(numbers) != count or not good:
            raise self.error(f"{key}={value!r}", f"{count} integers from {least}")
        return numbers

    def array(self, key, shape: tuple[int, ...], dtype: str, infinite=False) -> np.ndarray:
        """An array that was checked; its numbers are finite, unless told otherwise."""
        value = self.arrays.get(key)
        if value is None or value.shape != tuple(shape) or value.dtype != np.dtype(dtype):
            found = None if value is None else (value.shape, str(value.dtype))
            raise self.error(f"{key} of {found}", f"{(tuple(shape), dtype)}")
        if value.dtype.kind == "f" and not (infinite or np.isfinite(value).all()):
            raise self.error(f"{key} with NaN or infinity", "finite numbers")
        return value


@dataclass(eq=False)
class Graph:
    """Operations, each after those whose values it takes; the first is of the kind "input"."""

    operations: list[Operation]
    name: str = "model"

    @property
    def output(self) -> str:
        """The name of the value that the network gives: the last."""
        return self.operations[-1].name

    def users(self) -> dict[str, list[Operation]]:
        """By the name of a value, the operations that take it."""
        found: dict[str, list] = {operation.name: [] for operation in self.operations}
        for operation in self.operations:
            for name in operation.inputs:
                found[name].append(operation)
        return found

    def without_the_unused(self) -> Graph:
        """The operations that the output needs."""
        needed, kept = {self.output}, []
        for operation in reversed(self.operations):
            if operation.name in needed or operation.kind == "input":
                needed.update(operation.inputs)
                kept.append(operation)
        return Graph(kept[::-1], self.name)

    def arrays(self) -> dict[str, np.ndarray]:
        """All arrays, by the operation's place and the array's name, as in a file."""
        return {
            f"{place}.{key}": array
            for place, operation in enumerate(self.operations)
            for key, array in operation.arrays.items()
        }

    def to_json(self) -> dict:
        """All but the arrays."""
        return {
            "name": self.name,
            "operations": [
                {
                    "kind": operation.kind,
                    "name": operation.name,
                    "inputs": list(operation.inputs),
                    "attributes": operation.attributes,
                }
                for operation in self.operations
            ],
        }

    @classmethod
    def from_json(cls, value: dict, arrays: dict[str, np.ndarray]) -> Graph:
        """The inverse of `to_json` and `arrays`; raises ValueError where they are no graph's."""
        try:
            operations = [
                Operation(
                    str(each["kind"]),
                    str(each["name"]),
                    tuple(map(str, each["inputs"])),
                    dict(each["attributes"]),
                )
                for each in value["operations"]
            ]
            for key, array in arrays.items():
                place, _, name = key.partition(".")
                if not place.isdecimal():
                    raise ValueError(f"an array named {key!r}")
                operations[int(place)].arrays[name] = array
            return cls(operations, str(value["name"]))
        except (KeyError, TypeError, IndexError, AttributeError, ValueError) as error:
            raise ValueError(f"It describes no network ({error!r}).") from error
