"""Numbers of a request, checked against what the model takes."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import chain

import numpy as np

from keras_htaf.serving.errors import Refused

DATATYPES = {
    **{f"int{n}": f"INT{n}" for n in (8, 16, 32, 64)},
    **{f"uint{n}": f"UINT{n}" for n in (8, 16, 32, 64)},
    **{f"float{n}": f"FP{n}" for n in (16, 32, 64)},
    "bool": "BOOL",
}
"""What the Open Inference Protocol calls the types that numpy has too."""
_DEEPEST = 32
_NUMBERS = {int, float, bool}


@dataclass(frozen=True)
class Spec:
    """An input or output: its name, shape with None where any size will do, and type.

    `finite` is False for a state: one that no step has touched yet may be infinite or NaN.
    """

    name: str
    shape: tuple[int | None, ...]
    dtype: str
    finite: bool = True

    def __post_init__(self):
        if self.dtype not in DATATYPES:
            raise ValueError(
                f"{self.name!r} is of type {self.dtype}. Expected one of {list(DATATYPES)}."
            )

    @property
    def batched(self) -> bool:
        """Whether its first axis may have any size: that of samples."""
        return bool(self.shape) and self.shape[0] is None

    def describe(self) -> dict:
        """As the Open Inference Protocol has it."""
        shape = [-1 if n is None else n for n in self.shape]
        return {"name": self.name, "datatype": DATATYPES[self.dtype], "shape": shape}

    def example(self, rows: int = 1) -> np.ndarray:
        """Zeros that fit."""
        first, *rest = self.shape or (0,)
        shape = [rows if first is None else first, *(1 if n is None else n for n in rest)]
        return np.zeros(shape if self.shape else (), self.dtype)


def from_lists(spec: Spec, value) -> np.ndarray:
    """The array of nested lists of numbers, in the type of `spec`; `Refused` where it is none."""
    # Before numpy looks: it would give every string of a list the room of the longest.
    _only_numbers(spec, value)
    try:
        array = np.asarray(value)
    except (ValueError, OverflowError):
        raise _ragged(spec) from None
    if array.dtype.kind not in "biuf" and array.size:  # whole numbers beyond 64 bits
        raise _no_numbers(spec)
    return cast(spec, array)


def _only_numbers(spec: Spec, value) -> None:
    """`Refused` unless nested lists hold numbers and nothing else, all at one depth."""
    level = [value]
    for _ in range(_DEEPEST):
        kinds = set(map(type, level))
        if kinds <= _NUMBERS:
            return
        if not kinds <= _NUMBERS | {list}:
            break
        if len(kinds) > 1:
            raise _ragged(spec)
        level = list(chain.from_iterable(level))
    raise _no_numbers(spec)


def _no_numbers(spec: Spec) -> Refused:
    return Refused(
        400,
        f"Input {spec.name!r} holds something else than numbers. Expected {spec.dtype} numbers "
        f"of shape {_shown(spec.shape)}.",
    )


def _ragged(spec: Spec) -> Refused:
    return Refused(
        400,
        f"Input {spec.name!r} holds lists of different lengths or depths. Expected numbers "
        f"of shape {_shown(spec.shape)}.",
    )


def cast(spec: Spec, array: np.ndarray) -> np.ndarray:
    """The numbers in the type of `spec`, finite (but for states) and in its range, or `Refused`."""
    dtype = np.dtype(spec.dtype)
    if dtype.kind == "f":
        given = array
        with np.errstate(over="ignore", invalid="ignore"):
            array = array.astype(dtype, copy=False)
        good = np.isfinite(array)
        if not spec.finite:
            good |= ~np.isfinite(given)
        if not good.all():
            raise Refused(
                400,
                f"Input {spec.name!r} holds NaN or infinity, or numbers too large for "
                f"{spec.dtype}. Expected finite numbers.",
            )
    elif array.dtype != dtype:
        low, high = (0, 1) if dtype.kind == "b" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        whole = array.dtype.kind in "biu" or bool(
            np.isfinite(array).all() and (array % 1 == 0).all()
        )
        # Compared as Python's numbers, which do not overflow.
        if not whole or (array.size and not low <= int(array.min()) <= int(array.max()) <= high):
            raise Refused(
                400,
                f"Input {spec.name!r} holds numbers that are no {spec.dtype}. Expected whole ones "
                f"from {low} to {high}.",
            )
        array = array.astype(dtype)
    return np.ascontiguousarray(array)


def check(specs: list[Spec], feeds: dict[str, np.ndarray], max_rows: int) -> int:
    """How many rows the arrays of a request have; `Refused` unless all of them fit the model."""
    names = [spec.name for spec in specs]
    if feeds.keys() != set(names):
        raise Refused(400, f"Received inputs {sorted(feeds)}. Expected {names}.")
    rows = None
    for spec in specs:
        shape = feeds[spec.name].shape
        if len(shape) != len(spec.shape) or any(
            want is not None and have != want for have, want in zip(shape, spec.shape, strict=True)
        ):
            raise Refused(
                400,
                f"Input {spec.name!r}: received shape {_shown(shape)}, expected "
                f"{_shown(spec.shape)}.",
            )
        if 0 in shape:
            raise Refused(400, f"Input {spec.name!r} is empty: its shape is {_shown(shape)}.")
        if spec.batched:
            if rows is not None and shape[0] != rows:
                raise Refused(
                    400, f"Inputs have {rows} and {shape[0]} rows. Expected as many in each."
                )
            rows = shape[0]
    rows = 1 if rows is None else rows
    few(rows, max_rows)
    return rows


def few(rows: int, most: int) -> None:
    """`Refused` where a request has too many rows."""
    if rows > most:
        raise Refused(
            413, f"Received {rows} rows. Expected up to {most} in a request: send several."
        )


def _shown(shape) -> str:
    parts = [
        "batch" if n is None and not i else "any" if n is None else str(n)
        for i, n in enumerate(shape)
    ]
    return f"({', '.join(parts)}{',' if len(parts) == 1 else ''})"
