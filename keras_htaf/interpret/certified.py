"""Where the smooth bits provably decide as the exact ones do."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result


@dataclass(frozen=True, eq=False)
class Certified(Result):
    """Agreement of smooth and hard decisions; `certify` makes it."""

    share: float
    """Share of the samples that are certified to agree."""
    agreement: float
    """Share of the samples that do agree; never less."""
    slack: np.ndarray
    """Least over the rivals of margin minus what softness can take from it, (n,); positive where
    certified, in units of the logits."""

    @property
    def certified(self) -> np.ndarray:
        """(n,) bool."""
        return self.slack > 0


def certify(codes: Codes) -> Certified:
    """The samples on which softness cannot change the decision.

    With y the decision of the bits h, m_k = s_y - s_k, d_kj = W_jy - W_jk and h~ the smooth bits,
    the smooth margin is m_k + sum_j d_kj (h~_j - h_j), so both agree if for every rival k

        m_k > sum_j |d_kj| |h~_j - h_j|.

    A bound on the rounding of the smooth logits is taken off too. Samples that are decided by a tie
    are not certified.

    Raises:
        ValueError: If the codes have no smooth bits.

    Example:

    >>> codes = Codes([[1], [1]], [[2.0, 0.0]], [0.0, 1.0], smooth=[[0.9], [0.4]])
    >>> found = certify(codes)
    >>> found.certified, found.agreement
    (array([ True, False]), 0.5)
    """
    soft = np.abs(codes.needed("smooth").astype("float64") - codes.bits)
    largest = np.max(np.abs(codes.weights).sum(axis=0) + np.abs(codes.bias))
    rounding = 8 * (codes.num_bits + 2) * np.finfo("float64").eps * largest * max(1, soft.max())
    slack = np.empty(len(codes))
    for y in np.unique(codes.decisions):
        rows = np.flatnonzero(codes.decisions == y)
        gaps = np.abs(codes.weights[:, [y]] - codes.weights)
        margins = codes.logits[rows][:, [y]] - codes.logits[rows]
        left = margins - soft[rows] @ gaps - rounding
        slack[rows] = np.delete(left, y, axis=1).min(axis=1)
    agree = codes.smooth_decisions == codes.decisions
    return Certified(float(np.mean(slack > 0)), float(np.mean(agree)), slack)
