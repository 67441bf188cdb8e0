"""The fewest bits that must be flipped to change a decision."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result
from keras_htaf.interpret.sufficient import one_sample

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Counterfactual(Result):
    """The nearest code with another decision; `counterfactual` makes it."""

    flips: np.ndarray
    """Numbers of the bits to flip, the most effective first: as many as the flip radius."""
    code: np.ndarray
    """The code with these flipped, bool (m,)."""
    decision: int
    """The class that it gets."""

    @property
    def radius(self) -> int:
        return len(self.flips)


def counterfactual(codes: Codes, bits: np.ndarray) -> Counterfactual | None:
    """The fewest flips that change the head's decision; None if no code has another.

    Flipping bit j takes l_kj = (W_jy - W_jk) (2 h_j - 1) from the margin over rival k, so the
    fewest flips for k are the largest l_kj. The rival that needs fewest is taken; of several, the
    one with the largest margin after these flips.

    Raises:
        ValueError: If `bits` is not one sample's.

    Example:

    >>> codes = Codes([[1, 1, 0]], [[0.0, 3.0], [0.0, 1.0], [0.0, 1.0]], [2.5, 0.0])
    >>> found = counterfactual(codes, codes.bits[0])
    >>> found.flips, found.decision
    (array([0]), 0)
    """
    bits = one_sample(codes, bits)
    logits = codes.logits_of(bits)
    y = int(logits.argmax())
    best, key = None, None
    for k in range(codes.num_classes):
        if k == y:
            continue
        losses = (codes.weights[:, y] - codes.weights[:, k]) * np.where(bits, 1.0, -1.0)
        order = np.argsort(-losses, kind="stable")
        sums = np.cumsum(losses[order])
        enough = np.flatnonzero(sums >= _to_take(codes, logits[y] - logits[k], y, k))
        if len(enough) and (key is None or (enough[0], -sums[enough[0]]) < key):
            key = enough[0], -sums[enough[0]]
            best = order[: enough[0] + 1]
    if best is None:
        return None
    code = bits.copy()
    code[best] = ~code[best]
    return Counterfactual(best, code, int(codes.decide(code)))


def flip_radii(codes: Codes) -> np.ndarray:
    """The flip radius of every sample, (n,) float64; infinite where no code has another decision.

    Example:

    >>> flip_radii(Codes([[1, 1], [0, 0]], [[0.0, 1.0], [0.0, 1.0]], [0.5, 0.0]))
    array([2., 1.])
    """
    radii = np.full(len(codes), np.inf)
    for y in np.unique(codes.decisions):
        rows = np.flatnonzero(codes.decisions == y)
        margins = codes.logits[rows][:, [y]] - codes.logits[rows]
        # Near rivals first: they leave little to do for the others.
        for k in np.argsort(margins.mean(axis=0), kind="stable"):
            if k != y:
                takes = _to_take(codes, margins[:, k], y, k)
                radii[rows] = _smaller(codes, rows, y, k, takes, radii[rows])
    return radii


def _to_take(codes, margins, y, k):
    """What must at least be taken from a margin: a tie already goes to k if it is the lower."""
    return margins + (codes.grid if k > y else 0.0)


def _smaller(codes, rows, y, k, takes, radii) -> np.ndarray:
    """Radii of some samples decided y, or those that rival k has, where these are smaller."""
    gaps = codes.weights[:, y] - codes.weights[:, k]
    # The size of what a flip does is the same in all samples, so its order is too.
    order = np.argsort(-np.abs(gaps), kind="stable")
    order = order[gaps[order] != 0]
    sizes, radii = np.abs(gaps[order]), radii.copy()
    # At most this can be taken with one flip fewer than the radius that is known.
    most = np.append(0.0, np.cumsum(sizes))[np.minimum(radii - 1, len(order)).astype(int)]
    hopeful = np.flatnonzero(most >= takes)
    for begin in range(0, len(hopeful), _ROWS_AT_ONCE):
        part = hopeful[begin : begin + _ROWS_AT_ONCE]
        useful = codes.bits[rows[part]][:, order] == (gaps[order] > 0)
        sums = np.cumsum(np.where(useful, sizes, 0.0), axis=1)
        short = sums < takes[part, None]
        # Useful flips that still leave the margin, and the one that does not.
        counts = (useful & short).sum(axis=1) + 1.0
        counts[short.all(axis=1)] = np.inf
        radii[part] = np.minimum(radii[part], counts)
    return radii
