"""Inputs on which an artifact is compared with its model."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import pairwise

import keras
import numpy as np

from keras_htaf.export.program import Program

COUNT = 16
_SIZE = 4
"""Of an input where it may be any."""


def given_or_drawn(program: Program, samples, preprocessing) -> dict[str, np.ndarray]:
    """Samples by the names of the inputs; see `checked` and `draw`."""
    return draw(program, preprocessing) if samples is None else checked(program, samples)


def draw(program: Program, preprocessing=None) -> dict[str, np.ndarray]:
    """Seeded random inputs by name: standard normal where floats are taken.

    Before a `keras.layers.Rescaling`, raw values that it makes standard normal; before other
    preprocessing, numbers from 0 to 1.
    """
    random, found = np.random.default_rng(0), {}
    for i, x in enumerate(program.inputs):
        first = COUNT if x.shape[0] is None else x.shape[0]
        shape = (first, *(_SIZE if size is None else size for size in x.shape[1:]))
        if not keras.backend.is_float_dtype(x.dtype):
            drawn: np.ndarray = random.integers(0, 2, shape)
        elif preprocessing is None or i:
            drawn = random.normal(size=shape)
        elif isinstance(preprocessing, keras.layers.Rescaling):
            drawn = random.normal(size=shape) - np.asarray(preprocessing.offset)
            drawn = drawn / np.asarray(preprocessing.scale)
        else:
            drawn = random.uniform(size=shape)
        found[x.name] = drawn.astype(x.dtype)
    return found


def checked(program: Program, samples) -> dict[str, np.ndarray]:
    """Given samples, one array or several in a list or dict, by the names of the inputs.

    Raises:
        ValueError: If they are not what the program takes.
    """
    inputs = program.inputs
    if isinstance(samples, dict):
        given = samples
    else:
        listed = samples if isinstance(samples, (list, tuple)) else [samples]
        given = dict(zip([x.name for x in inputs], listed, strict=False))
    wanted = {x.name: x.shape for x in inputs}
    found = {name: np.asarray(x) for name, x in given.items()}
    fits = set(found) == set(wanted) and len({x.shape[:1] for x in found.values()}) == 1
    fits = fits and all(_fits(x.shape, wanted[name]) for name, x in found.items())
    if not fits:
        raise ValueError(
            f"Received samples of shapes { {name: x.shape for name, x in found.items()} }. "
            f"Expected arrays of shapes {wanted}, of at least one sample."
        )
    return {x.name: np.ascontiguousarray(found[x.name], x.dtype) for x in inputs}


def of_other_sizes(program: Program, samples: dict) -> Iterator[dict[str, np.ndarray]]:
    """A few of the samples, twice as large where any size is taken, and then half as large.

    What halves sizes some times, or takes multiples only, takes twice of what it took, and gives
    something larger; what knows a largest size may have been given it, and takes half.
    """
    few = program.inputs[0].shape[0] or 2
    for change in (_twice, _half):
        found = {name: x[:few] for name, x in samples.items()}
        for x in program.inputs:
            for axis, size in enumerate(x.shape):
                if axis and size is None:
                    found[x.name] = change(found[x.name], axis)
        yield found


def _twice(x: np.ndarray, axis: int) -> np.ndarray:
    return np.concatenate([x, x], axis)


def _half(x: np.ndarray, axis: int) -> np.ndarray:
    return x.take(range((x.shape[axis] + 1) // 2), axis)


def _fits(shape, wanted) -> bool:
    sizes = zip(shape, wanted, strict=False)
    return len(shape) == len(wanted) and all(n and w in (None, n) for n, w in sizes)


def batches(samples: dict[str, np.ndarray], fixed: int | None) -> list[dict[str, np.ndarray]]:
    """The samples in batches of several sizes, the last of them 1; of one size if it is fixed."""
    count = len(next(iter(samples.values())))
    if fixed is not None:
        ends = list(range(0, count + 1, fixed))
    else:
        ends = sorted({0, max(count - 4, 0), max(count - 1, 0), count})
    pairs = pairwise(ends)
    return [{name: x[a:b] for name, x in samples.items()} for a, b in pairs]
