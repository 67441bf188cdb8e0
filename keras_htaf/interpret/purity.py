"""Bits against attributes that are known to be on the images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import check_positive, names_of
from keras_htaf.interpret.correlation import joint_counts
from keras_htaf.interpret.results import Result, table
from keras_htaf.interpret.stability import assign

_COLUMNS_AT_ONCE = 512


@dataclass(frozen=True, eq=False)
class Purity(Result):
    """How well single bits stand for a attributes; `purity` makes it.

    A bit is taken as it is or negated, whichever has the larger F1. Bits that never vary have F1 0.
    """

    attribute_names: tuple[str, ...]
    concept_names: tuple[str, ...]
    base_rate: np.ndarray
    """Share of the samples with the attribute, (a,)."""
    f1: np.ndarray
    """Of each attribute and bit, (a, m): 2 TP / (bit on + attribute there)."""
    negated: np.ndarray
    """Whether the negated bit is meant, (a, m) bool."""
    best: np.ndarray
    """The bit with the largest F1, (a,)."""
    best_f1: np.ndarray
    precision: np.ndarray
    """Of the best bit, (a,): share of its samples that have the attribute."""
    recall: np.ndarray
    """Of the best bit, (a,): share of the attribute's samples that it finds."""
    lift: np.ndarray
    """precision / base_rate, (a,); 0 for an attribute that no sample has."""
    matched: np.ndarray
    """Partner in the one-to-one matching with the largest sum of F1, (a,); -1 where there are more
    attributes than bits."""
    matched_f1: np.ndarray
    """(a,); 0 where there is no partner."""
    null_mean: np.ndarray
    """Mean best F1 when the attributes of all samples are shuffled, (a,)."""
    null_high: np.ndarray
    """The 95 % quantile of that, (a,)."""
    p_value: np.ndarray
    """Share of shuffles, the real order counted as one, with a best F1 at least as large, (a,)."""

    def table(self) -> list[dict]:
        """One dict for each attribute."""
        rows = np.arange(len(self.best))
        return table(
            attribute=list(self.attribute_names),
            base_rate=self.base_rate,
            bit=[self.concept_names[j] for j in self.best],
            negated=self.negated[rows, self.best],
            f1=self.best_f1,
            precision=self.precision,
            recall=self.recall,
            lift=self.lift,
            matched=[self.concept_names[j] if j >= 0 else None for j in self.matched],
            matched_f1=self.matched_f1,
            null_mean=self.null_mean,
            null_high=self.null_high,
            p_value=self.p_value,
        )


def purity(
    bits: np.ndarray,
    attributes,
    attribute_names: Sequence[str] | None = None,
    concept_names: Sequence[str] | None = None,
    shuffles: int = 99,
    seed: int = 0,
) -> Purity:
    """The bit that best stands for each attribute, and how good the best would be by chance.

    Args:
        bits: bool (n, m).
        attributes: 0 or 1 for each sample and attribute, (n, a) or (n,).
        attribute_names: Default "attribute 0", ...
        concept_names: Default "bit 0", ...
        shuffles: Of the samples, for the null. Default 99.
        seed: Of the shuffles. Default 0.

    Raises:
        ValueError: If lengths do not fit together, or an attribute is not 0 or 1.
        ImportError: If scipy is not installed.

    Example:

    >>> red = np.arange(40) % 4 == 0
    >>> found = purity(np.stack([np.arange(40) % 3 == 0, ~red], axis=1), red, ["red"])
    >>> [(row["bit"], row["negated"], row["f1"], row["lift"]) for row in found.table()]
    [('bit 1', True, 1.0, 4.0)]
    """
    check_positive(shuffles=shuffles)
    bits = np.asarray(bits, bool)
    known = as_attributes(attributes, len(bits))
    rows = np.arange(known.shape[1])
    found, there = joint_counts(known, bits), known.sum(axis=0)
    f1, negated = _f1(found, there, bits)
    best = f1.argmax(axis=1)
    best_f1, turned = f1[rows, best], negated[rows, best]
    on = bits.sum(axis=0)[best]
    found = np.where(turned, there - found[rows, best], found[rows, best])
    precision = found / np.maximum(np.where(turned, len(bits) - on, on), 1)
    base_rate = there / len(bits)
    matched = np.full(len(rows), -1)
    first, second = assign(f1)
    matched[first] = second
    null = _null(bits, known, shuffles, np.random.default_rng(seed))
    return Purity(
        attribute_names=names_of("attribute_names", attribute_names, "attribute ", len(rows)),
        concept_names=names_of("concept_names", concept_names, "bit ", bits.shape[1]),
        base_rate=base_rate,
        f1=f1,
        negated=negated,
        best=best,
        best_f1=best_f1,
        precision=precision,
        recall=found / np.maximum(there, 1),
        lift=np.divide(precision, base_rate, out=np.zeros(len(rows)), where=base_rate > 0),
        matched=matched,
        matched_f1=np.where(matched >= 0, f1[rows, matched], 0.0),
        null_mean=null.mean(axis=0),
        null_high=np.quantile(null, 0.95, axis=0),
        p_value=(1 + np.sum(null >= best_f1, axis=0)) / (1 + shuffles),
    )


def as_attributes(attributes, samples: int) -> np.ndarray:
    """Attributes as bool (n, a), or a ValueError."""
    array = np.asarray(attributes)
    array = array[:, None] if array.ndim == 1 else array
    if array.ndim != 2 or len(array) != samples or not array.size:
        raise ValueError(
            f"Received attributes of shape {np.shape(attributes)} for {samples} samples. Expected "
            f"({samples}, attributes): one row for each sample, in the same order."
        )
    if array.dtype.kind not in "fiub" or not ((array == 0) | (array == 1)).all():
        raise ValueError(
            "Received attributes other than 0 and 1. Expected booleans; of an attribute with "
            "several values, make one column for each."
        )
    return array.astype(bool)


def _f1(found, there, bits) -> tuple[np.ndarray, np.ndarray]:
    """F1 and whether it is that of the negated bit, (a, m), given joint counts (a, m)."""
    on, there = bits.sum(axis=0), there[:, None]
    plain = 2 * found / np.maximum(on + there, 1)
    turned = 2 * (there - found) / np.maximum(len(bits) - on + there, 1)
    varies = (on > 0) & (on < len(bits))
    return np.where(varies, np.maximum(plain, turned), 0.0), varies & (turned > plain)


def _null(bits, known, shuffles, rng) -> np.ndarray:
    """Best F1 of each attribute in each shuffle of the samples, (shuffles, a)."""
    best: list[np.ndarray] = []
    there = known.sum(axis=0)
    at_once = max(1, _COLUMNS_AT_ONCE // len(there))
    while len(best) < shuffles:
        orders = [rng.permutation(len(bits)) for _ in range(min(at_once, shuffles - len(best)))]
        counts = joint_counts(np.hstack([known[order] for order in orders]), bits)
        for found in counts.reshape(len(orders), *known.shape[1:], -1):
            best.append(_f1(found, there, bits)[0].max(axis=1))
    return np.stack(best)
