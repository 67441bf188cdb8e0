"""The bits of a data set and the linear head that reads them: all that the other files need."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False, init=False)
class Codes:
    """Bits h of n samples, and the head s = h W + b of K classes that decides by the largest s_k.

    The head's numbers are cut to a binary grid, fine enough that weights of 1e-5 of the largest
    keep all digits of a float32, on which float64 sums of bits times weights are exact, whatever
    their order. Logits, margins and decisions are therefore one function, to the last digit, in
    all that is computed from these codes. A tie goes to the lowest class.

    Args:
        bits: 0 or 1, `(n, m)`.
        weights: Of the head, `(m, K)`.
        bias: Of the head, `(K,)`.
        labels: Integers `(n,)`, or one-hot. Default `None`, unknown.
        z: Concept logits, `(n, m)`. Default `None`.
        smooth: Smooth bits, `(n, m)`. Default `None`.
        class_names: Default "0", "1", ...
        concept_names: Default "bit 0", "bit 1", ...

    Raises:
        ValueError: If shapes do not fit together, or a number is not finite or not a bit.

    Example:

    >>> codes = Codes([[0, 1], [1, 1]], weights=[[2.0, 0.0], [0.0, 1.0]], bias=[0.0, 0.0])
    >>> codes.logits
    array([[0., 1.],
           [2., 1.]])
    >>> codes.decisions
    array([1, 0])
    """

    bits: np.ndarray
    """Bits h, (n, m) bool."""
    weights: np.ndarray
    """Head W, (m, K) float64."""
    bias: np.ndarray
    """Head b, (K,) float64."""
    labels: np.ndarray | None
    """Class of each sample, (n,) int32 from 0 to K - 1, if known."""
    z: np.ndarray | None
    """Concept logits, (n, m) float32, if known; a bit is whether its logit exceeds 0."""
    smooth: np.ndarray | None
    """Smooth bits h~ in [0, 1], (n, m) float32, if known."""
    class_names: tuple[str, ...]
    concept_names: tuple[str, ...]

    def __init__(
        self,
        bits: ArrayLike,
        weights: ArrayLike,
        bias: ArrayLike,
        labels: ArrayLike | None = None,
        z: ArrayLike | None = None,
        smooth: ArrayLike | None = None,
        class_names: Sequence[str] | None = None,
        concept_names: Sequence[str] | None = None,
    ):
        bits = _bits(bits)
        weights, bias = on_grid(weights, bias)
        (n, m), classes = bits.shape, len(bias)
        if len(weights) != m:
            raise ValueError(
                f"Received {m} bits and weights of shape {weights.shape}. Expected one row of "
                "weights for each bit."
            )
        checked = {
            "bits": bits,
            "weights": weights,
            "bias": bias,
            "z": None if z is None else _real("z", z, bits.shape),
            "smooth": None if smooth is None else _real("smooth", smooth, bits.shape),
            "labels": None if labels is None else as_labels(labels, n, classes),
            "class_names": names_of("class_names", class_names, "", classes),
            "concept_names": names_of("concept_names", concept_names, "bit ", m),
        }
        for name, value in checked.items():
            object.__setattr__(self, name, value)

    def __len__(self) -> int:
        return len(self.bits)

    @property
    def num_bits(self) -> int:
        """The m."""
        return self.bits.shape[1]

    @property
    def num_classes(self) -> int:
        """The K."""
        return len(self.bias)

    @cached_property
    def grid(self) -> float:
        """Logits of bits are whole multiples of this power of 2."""
        return _grid(self.weights, self.bias)

    @cached_property
    def usage(self) -> np.ndarray:
        """Share p_j of the samples on which each bit is on, (m,)."""
        return self.bits.mean(axis=0)

    @cached_property
    def varies(self) -> np.ndarray:
        """Which bits are neither never nor always on, (m,) bool."""
        return (self.usage > 0) & (self.usage < 1)

    @cached_property
    def logits(self) -> np.ndarray:
        """s = h W + b, (n, K) float64, exact."""
        return self.logits_of(self.bits)

    @cached_property
    def decisions(self) -> np.ndarray:
        """The class with the largest logit, the lowest of several, (n,)."""
        return self.logits.argmax(axis=1)

    @cached_property
    def smooth_decisions(self) -> np.ndarray:
        """What the same head decides on the smooth bits, (n,)."""
        return self.decide(self.needed("smooth"))

    @cached_property
    def packed(self) -> np.ndarray:
        """Eight bits to a byte, the first bit highest, (n, ceil(m / 8)) uint8."""
        return np.packbits(self.bits, axis=1)

    def logits_of(self, values) -> np.ndarray:
        """h W + b of any values (..., m); exact where these are bits."""
        values = np.asarray(values)
        rows = values.reshape(-1, self.num_bits)
        logits = np.empty((len(rows), self.num_classes))
        for begin in range(0, len(rows), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            logits[part] = rows[part].astype("float64") @ self.weights + self.bias
        return logits.reshape(*values.shape[:-1], self.num_classes)

    def decide(self, values) -> np.ndarray:
        """The decision for any values of the bits (..., m)."""
        return self.logits_of(values).argmax(axis=-1)

    def accuracy(self) -> float:
        """Share of the samples whose decision is their label."""
        return float(np.mean(self.decisions == self.needed("labels")))

    def needed(self, name: str) -> np.ndarray:
        """The optional array of that name, or a ValueError that says what needs it."""
        if (value := getattr(self, name)) is None:
            what = {"labels": "labels", "z": "concept logits (z)", "smooth": "smooth bits"}[name]
            raise ValueError(
                f"These codes have no {what}, which this needs. Collect them from a model with "
                f"collect(model, x, y), or give Codes(..., {name}=...)."
            )
        return value

    def rows(self, which) -> Codes:
        """The codes of some samples only; `which` is what numpy takes as an index of rows."""
        per_sample = ("bits", "labels", "z", "smooth")
        arrays = {name: getattr(self, name) for name in per_sample}
        kept = {name: a[which] for name, a in arrays.items() if a is not None}
        return replace(self, **kept)


def check_same_head(codes: Codes, others: Codes, name: str) -> None:
    """A ValueError unless both codes are read by the same head; `name` is that of the others."""
    same = np.array_equal(codes.weights, others.weights) and np.array_equal(codes.bias, others.bias)
    if not same:
        raise ValueError(
            f"Received {name}, an analysis of {others.num_bits} bits, with another head than that "
            f"of these {codes.num_bits}. Expected one of the same model with the same weights: the "
            "bits of another, or of this one before it was trained on, mean something else."
        )


def on_grid(weights: ArrayLike, bias: ArrayLike) -> tuple[np.ndarray, np.ndarray]:
    """Weights (m, K) and bias (K,) cut towards 0 to multiples of a power of 2.

    The power is the smallest for which four times the sum of m + 1 numbers as large as the largest
    has at most 53 binary digits: sums of bits times weights, differences of two of these, and what
    flipping bits takes from them are then exact. A second cut changes nothing.
    """
    weights, bias = _finite("weights", weights), _finite("bias", bias)
    if weights.ndim != 2 or bias.shape != weights.shape[1:] or not weights.size or len(bias) < 2:
        raise ValueError(
            f"Received weights of shape {weights.shape} and a bias of shape {bias.shape}. Expected "
            "(bits, classes) and (classes,), with at least one bit and two classes."
        )
    grid = _grid(weights, bias)
    return np.trunc(weights / grid) * grid, np.trunc(bias / grid) * grid


def _grid(weights, bias) -> float:
    largest = max(np.abs(weights).max(), np.abs(bias).max())
    if not largest:
        return 1.0
    if not 1e-200 < largest < 1e200:
        raise ValueError(
            f"Received a head whose largest number is {largest:.3g}. Expected 1e-200 to 1e200, "
            "or 0: rescale it."
        )
    digits = int(np.ceil(np.log2(4 * (len(weights) + 1))))
    return 2.0 ** (int(np.frexp(largest)[1]) + digits - 53)


def as_labels(labels, samples: int, classes: int) -> np.ndarray:
    """Labels from 0 to classes - 1 as (n,) int32, of integers (n,) or (n, 1), or one-hot rows."""
    array = np.asarray(labels)
    one_hot = array.ndim == 2 and array.shape[1] == classes and array.dtype.kind in "fiub"
    if one_hot and ((array == 0) | (array == 1)).all() and (array.sum(axis=1) == 1).all():
        array = array.argmax(axis=1)
    array = array[:, 0] if array.ndim == 2 and array.shape[1] == 1 else array
    if array.shape != (samples,):
        raise ValueError(
            f"Received labels of shape {array.shape} for {samples} samples. Expected one label "
            f"for each, shape ({samples},), or one-hot rows of {classes} classes."
        )
    whole = array.dtype.kind in "iub" or (array.dtype.kind == "f" and (array % 1 == 0).all())
    if not whole or array.min() < 0 or array.max() >= classes:
        shown = np.unique(array)[:5].tolist() if array.dtype.kind in "fiub" else array.dtype
        raise ValueError(
            f"Received labels such as {shown}. Expected integers from 0 to {classes - 1}, as the "
            f"head decides between {classes} classes."
        )
    return array.astype("int32")


def _bits(bits) -> np.ndarray:
    array = np.asarray(bits)
    if array.ndim != 2 or not array.size:
        raise ValueError(
            f"Received bits of shape {array.shape}. Expected (samples, bits), with at least one of "
            "each."
        )
    if array.dtype != bool:
        if array.dtype.kind not in "fiu" or not ((array == 0) | (array == 1)).all():
            raise ValueError("Received bits other than 0 and 1. Expected booleans, or 0 and 1.")
        array = array.astype(bool)
    return array


def _finite(name, value, dtype="float64") -> np.ndarray:
    array = np.asarray(value)
    if array.dtype.kind not in "fiub" and "float" not in array.dtype.name:
        raise ValueError(f"Received {name} of dtype {array.dtype}. Expected numbers.")
    array = array.astype(dtype)
    if bad := int(np.sum(~np.isfinite(array))):
        raise ValueError(f"Received {name} with {bad} values that are NaN or infinite.")
    return array


def _real(name, value, shape) -> np.ndarray:
    array = _finite(name, value, "float32")
    if array.shape != shape:
        raise ValueError(f"Received {name} of shape {array.shape}. Expected that of bits, {shape}.")
    return array


def names_of(name: str, names: Sequence[str] | None, start: str, count: int) -> tuple[str, ...]:
    """`count` names, by default start + "0", ...; `name` is the argument's, for the error."""
    if names is None:
        return tuple(f"{start}{i}" for i in range(count))
    if isinstance(names, str) or len(names) != count:
        received = repr(names) if isinstance(names, str) else len(names)
        raise ValueError(f"Received {name} ({received}). Expected {count} names.")
    return tuple(str(each) for each in names)


def check_positive(**numbers) -> None:
    """Positive integers, each under its argument's name, or a ValueError."""
    for name, value in numbers.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Received {name}={value!r}. Expected a positive integer.")
