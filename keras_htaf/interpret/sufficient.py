"""The fewest bits that force a decision, whatever the others are."""

from __future__ import annotations

from dataclasses import dataclass
from numbers import Integral

import numpy as np
from numpy.typing import ArrayLike

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result

_ROUNDING = 1e-9


@dataclass(frozen=True, eq=False)
class SufficientSet(Result):
    """Bits which, kept at their values, force the decision; `sufficient_set` makes it."""

    bits: np.ndarray
    """Their numbers, ascending."""
    minimum: bool
    """Whether no smaller set suffices: proved. Otherwise none can be left out of this one, but a
    smaller one of other bits may exist."""
    at_least: int
    """No set with fewer bits suffices; the size itself if `minimum`."""


def sufficient_set(codes: Codes, bits: np.ndarray, nodes: int = 2000) -> SufficientSet:
    """A smallest set of bits that forces the head's decision.

    With y the decision on h and d_kj = W_jy - W_jk, fixing the bits in S leaves each rival k at
    worst the margin

        (b_y - b_k) + sum_{j in S} d_kj h_j + sum_{j not in S} min(0, d_kj),

    which must be positive for k < y, which would win a tie, and not negative for k > y. Each fixed
    bit adds to it; with two classes the largest additions are the answer. With more, a greedy set
    from which nothing can be left out is improved by branch and bound.

    Args:
        codes: Whose head decides.
        bits: One sample's bits, bool (m,).
        nodes: After which the search gives up, and `minimum` is False unless it was proved by
            then. Default 2000, some tenths of a second.

    Returns:
        A `SufficientSet`.

    Raises:
        ValueError: If `bits` is not one sample's, or `nodes` no number from 0.

    Example:

    >>> codes = Codes([[1, 1, 0]], [[0.0, 3.0], [0.0, 1.0], [0.0, 1.0]], [0.5, 0.0])
    >>> sufficient_set(codes, codes.bits[0]).bits
    array([0])

    Reference: Marques-Silva et al. (2020), "Explaining naive Bayes and other linear classifiers
    with polynomial time and delay", for two classes.
    """
    if isinstance(nodes, bool) or not isinstance(nodes, Integral) or nodes < 0:
        raise ValueError(f"Received nodes={nodes!r}. Expected a whole number from 0.")
    gains, needs = covering(codes, bits)
    gains, needs = gains[needs > 0], needs[needs > 0]
    if not len(needs):
        return SufficientSet(np.empty(0, "int64"), True, 0)
    gains = np.minimum(gains, needs[:, None])  # more than all that is needed is no more use
    weights, at_least, first = _combined(gains, needs)
    chosen = min(_greedy(gains, needs), _pruned(gains, needs, first), key=len)
    if len(chosen) > at_least:
        chosen, at_least = _Search(gains, needs, weights).run(chosen, at_least, nodes)
        chosen = _pruned(gains, needs, chosen)
    return SufficientSet(np.sort(chosen), len(chosen) == at_least, at_least)


def covering(codes: Codes, bits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What each bit adds to the worst margin over each rival, and what must be added.

    Returns:
        gains (rivals, m) and needs (rivals,), in steps of the grid: a set S suffices if and only if
        the sum of its gains is at least the need, for all rivals.
    """
    bits = one_sample(codes, bits)
    y = int(codes.decide(bits))
    rivals = np.delete(np.arange(codes.num_classes), y)
    gaps = (codes.weights[:, [y]] - codes.weights[:, rivals]).T
    gains = np.where(bits, np.maximum(gaps, 0), np.maximum(-gaps, 0))
    worst = codes.bias[y] - codes.bias[rivals] + np.minimum(gaps, 0).sum(axis=1)
    return gains, -worst + np.where(rivals < y, codes.grid, 0.0)


def one_sample(codes: Codes, bits: ArrayLike) -> np.ndarray:
    """One sample's bits, bool (m,), or a ValueError."""
    array = np.asarray(bits)
    if array.shape != (codes.num_bits,) or not ((array == 0) | (array == 1)).all():
        raise ValueError(
            f"Received bits of shape {array.shape}. Expected those of one sample, "
            f"({codes.num_bits},) of 0 and 1."
        )
    return array.astype(bool)


def _greedy(gains, needs) -> list[int]:
    """A set that suffices and from which nothing can be left out."""
    left = needs.copy()
    chosen: list[int] = []
    scale = np.where(needs > 0, needs, 1.0)[:, None]
    while (left > 0).any():
        worth = (np.minimum(gains, np.maximum(left, 0)[:, None]) / scale).sum(axis=0)
        worth[chosen] = -1
        chosen.append(int(worth.argmax()))
        left = left - gains[:, chosen[-1]]
    return _pruned(gains, needs, chosen)


def _pruned(gains, needs, chosen) -> list[int]:
    """The set without what it can do without, the smallest gains going first."""
    kept = list(chosen)
    for j in sorted(chosen, key=lambda j: gains[:, j].sum()):
        others = [i for i in kept if i != j]
        if (gains[:, others].sum(axis=1) >= needs).all():
            kept = others
    return kept


def _combined(gains, needs, rounds=60) -> tuple[np.ndarray, int, np.ndarray]:
    """Weights of the rivals whose weighted sum of conditions asks for many bits, and how many.

    Any such sum is a necessary condition, which the bits of the largest weighted gains meet first.
    Weights move to the rivals that this choice fails, as in the method of multiplicative weights.
    So that rounding cannot ask for a bit too many, slightly less than the sum is asked for.

    Returns:
        Weights (rivals,), the number of bits, and the smallest set that suffices among those that
        take bits by their weighted gains.
    """
    weights, best, most = np.ones(len(needs)), None, -1.0
    scaled, step, enough = gains / needs[:, None], 1.0, 1 - _ROUNDING
    chosen = np.arange(gains.shape[1])
    for _ in range(rounds):
        weights = weights / weights.sum()
        row = weights @ scaled
        order = np.argsort(-row, kind="stable")
        sums = np.cumsum(row[order])
        last = min(int(np.searchsorted(sums, enough)), len(row) - 1)
        share = np.clip(1 - (sums[last] - enough) / row[order[last]], 0, 1)
        if last + share > most:
            best, most = weights, last + share
        taken = np.zeros(len(row))
        taken[order[:last]], taken[order[last]] = 1.0, share
        weights = weights * np.exp(step * np.clip(1 - scaled @ taken, -5, 5))
        step *= 0.95
        suffices = (np.cumsum(gains[:, order], axis=1) >= needs[:, None]).all(axis=0)
        if (size := int(suffices.argmax()) + 1) < len(chosen):
            chosen = order[:size]
    return best / needs, int(np.ceil(most)), chosen


class _Search:
    """Branch and bound over which bits are in the set, those of large weighted gains first."""

    def __init__(self, gains, needs, weights):
        self.order = np.argsort(-(weights @ gains), kind="stable")
        # One more condition, the weighted sum; rounding must not make it harder than it is.
        rows = np.vstack([gains, weights @ gains])[:, self.order]
        self.gains, self.needs = rows, np.append(needs, weights @ needs - _ROUNDING)
        self.ranked = np.argsort(-rows, axis=1, kind="stable")
        self.sorted = np.take_along_axis(rows, self.ranked, axis=1)

    def run(self, best: list[int], at_least: int, nodes: int) -> tuple[list[int], int]:
        """The smallest set found, and what no set is smaller than."""
        pending: list[tuple[int, tuple[int, ...], np.ndarray]] = [(0, (), self.needs)]
        at_least = max(at_least, self._fewest(0, self.needs))
        while pending and len(best) > at_least and nodes:
            nodes -= 1
            depth, chosen, left = pending.pop()
            if (left[:-1] <= 0).all():
                best = [int(self.order[i]) for i in chosen]
                continue
            if len(chosen) + self._fewest(depth, left) >= len(best):
                continue
            pending.append((depth + 1, chosen, left))
            pending.append((depth + 1, (*chosen, depth), left - self.gains[:, depth]))
        return best, len(best) if not pending else at_least

    def _fewest(self, depth, left) -> int:
        """What the most demanding condition needs of the bits from `depth` on, which may be more
        than there are."""
        free = self.ranked >= depth
        sums = np.cumsum(np.where(free, self.sorted, 0.0), axis=1)
        if (sums[:, -1] < left).any():
            return len(self.order) + 1
        return (free & (sums - self.sorted < left[:, None])).sum(axis=1).max().item()
