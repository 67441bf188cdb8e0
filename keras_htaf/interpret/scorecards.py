"""A head as a card of small integers that anyone can add up."""

from __future__ import annotations

from dataclasses import dataclass, replace
from operator import itemgetter

import numpy as np

from keras_htaf.interpret.codes import Codes, check_positive
from keras_htaf.interpret.results import Result

_SCALES = 64
_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Scorecard(Result):
    """Points for each bit that is on; the class with the most decides, the lowest of several.

    Attributes:
        points: `(m, K)` integers.
        base: What each class starts with, `(K,)` integers.
        accuracy: Share of the held-out samples that the points decide right.
        head_accuracy: The same of the head that they replace.
        agreement: Share of the held-out samples on which the two decide alike.
        names: Names of the bits.
        class_names: Names of the classes.
    """

    points: np.ndarray
    base: np.ndarray
    accuracy: float
    head_accuracy: float
    agreement: float
    names: tuple[str, ...]
    class_names: tuple[str, ...]

    @property
    def cost(self) -> float:
        """The accuracy that rounding to points costs; negative where it gains."""
        return self.head_accuracy - self.accuracy

    def on(self, codes: Codes) -> Codes:
        """The same samples, decided by the points."""
        return replace(codes, weights=self.points, bias=self.base)

    def lines(self, class_index: int) -> list[tuple[str, int]]:
        """Bits with points for or against a class and these points, the most first."""
        column = self.points[:, class_index]
        order = np.argsort(-np.abs(column), kind="stable")
        return [(self.names[j], int(column[j])) for j in order if column[j]]

    def text(self, class_index: int) -> str:
        """The card of one class, a line for each bit."""
        start = f"{self.class_names[class_index]}: start with {self.base[class_index]}"
        return "\n".join([start, *(f"{p:+4d}  {name}" for name, p in self.lines(class_index))])


def scorecard(codes: Codes, held_out: Codes, *, max_points: int = 10) -> Scorecard:
    """Rounds a head to integers, at the scale that decides best.

    Decisions depend only on how a bit's weights differ between classes: each bit's (lower) median
    weight is subtracted first, so that many points are 0. Of 64 scales up to the one at which the
    largest weight is `max_points`, the one with the best accuracy on `codes` is taken, of equal
    ones the one with the fewest points.

    Args:
        codes: Samples to choose the scale on, with labels, and the head.
        held_out: Samples to measure on, with labels.
        max_points: The most points for or against a class that a bit may give. Default 10.

    Returns:
        A `Scorecard`.

    Raises:
        ValueError: If labels are missing, `max_points` is no positive integer, or the weights are
            the same for all classes.

    Example:

    >>> codes = Codes([[0, 1], [1, 0]], [[3.1, 0], [0, 1.4]], [0, 0], labels=[1, 0])
    >>> card = scorecard(codes, codes, max_points=2)
    >>> card.points.tolist(), card.cost
    ([[1, 0], [0, 1]], 0.0)
    """
    check_positive(max_points=max_points)
    labels, truth = codes.needed("labels"), held_out.needed("labels")
    middle = (codes.num_classes - 1) // 2
    weights = codes.weights - np.sort(codes.weights, axis=1)[:, [middle]]
    bias = codes.bias - np.sort(codes.bias)[middle]
    largest = np.abs(weights).max()
    if not largest:
        raise ValueError(
            "The head gives each bit the same weight for all classes: no bit decides anything. "
            "Expected a trained head."
        )

    def ranked(scale):
        points, base = (np.rint(scale * each).astype(int) for each in (weights, bias))
        rank = _right(codes.bits, points, base, labels), -np.abs(points).sum()
        return rank, points, base

    scales = max_points / largest * np.arange(1, _SCALES + 1) / _SCALES
    _, points, base = max(map(ranked, scales), key=itemgetter(0))
    own, short = codes.decide(held_out.bits), replace(held_out, weights=points, bias=base).decisions
    return Scorecard(
        points=points,
        base=base,
        accuracy=float(np.mean(short == truth)),
        head_accuracy=float(np.mean(own == truth)),
        agreement=float(np.mean(short == own)),
        names=codes.concept_names,
        class_names=codes.class_names,
    )


def _right(bits, points, base, labels) -> int:
    """How many samples the points decide right; float32 is exact on such small integers."""
    points, base = points.astype(np.float32), base.astype(np.float32)
    right = 0
    for begin in range(0, len(bits), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        scores = bits[part].astype(np.float32) @ points + base
        right += int(np.sum(scores.argmax(axis=1) == labels[part]))
    return right
