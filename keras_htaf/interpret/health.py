"""Whether each bit carries something of its own."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.correlation import entropy, phi
from keras_htaf.interpret.results import Result, table

CLOSE = 0.1
"""A concept logit is ambiguous within this many standard deviations of the threshold."""


@dataclass(frozen=True, eq=False)
class Health(Result):
    """The use of m bits over a data set; `health` makes it."""

    names: tuple[str, ...]
    usage: np.ndarray
    """Share p_j of the samples on which the bit is on, (m,)."""
    entropy: np.ndarray
    """Of the bit, in bits: 1 where it is on for half of the samples, (m,)."""
    ambiguous: np.ndarray | None
    """Share of the samples with |z_j| <= 0.1 of z_j's standard deviation; some 8 % for a normal
    distribution about the threshold. (m,); None where the concept logits are not known."""
    redundancy: np.ndarray
    """Largest |phi| to another bit, (m,): 1 for a copy or complement, 0 if the bit is constant."""
    partner: np.ndarray
    """The other bit of the largest |phi|, (m,); -1 if there is none."""
    correlation: np.ndarray
    """phi of each pair of bits, (m, m); 0 for bits that do not vary."""
    effective_bits: float
    """exp of the entropy of the eigenvalues of the correlation matrix of the bits that vary, taken
    as shares of their sum: m for uncorrelated bits, 1 for m copies of one, 0 if none varies."""

    @property
    def dead(self) -> np.ndarray:
        """Bits that are never on, (m,) bool."""
        return self.usage == 0

    @property
    def always_on(self) -> np.ndarray:
        """Bits that are always on, (m,) bool."""
        return self.usage == 1

    @property
    def varies(self) -> np.ndarray:
        """Bits that are neither, (m,) bool."""
        return ~(self.dead | self.always_on)

    @property
    def complement(self) -> np.ndarray:
        """Whether the bit rather negates its partner, (m,) bool."""
        partner = np.maximum(self.partner, 0)
        return (self.partner >= 0) & (self.correlation[np.arange(len(partner)), partner] < 0)

    def table(self) -> list[dict]:
        """One dict for each bit."""
        partner = [self.names[j] if j >= 0 else None for j in self.partner]
        ambiguous = [None] * len(partner) if self.ambiguous is None else self.ambiguous
        return table(
            name=list(self.names),
            usage=self.usage,
            entropy=self.entropy,
            ambiguous=ambiguous,
            redundancy=self.redundancy,
            partner=partner,
            complement=self.complement,
        )


def health(codes: Codes) -> Health:
    """Usage, entropy, ambiguity, redundancy and effective number of the bits.

    Example:

    >>> bits = np.array([[0, 1, 0], [1, 0, 0], [1, 0, 0], [0, 1, 0]], bool)
    >>> found = health(Codes(bits, np.ones((3, 2)), np.zeros(2)))
    >>> found.redundancy, found.complement, found.dead
    (array([1., 1., 0.]), array([ True,  True, False]), array([False, False,  True]))
    >>> round(found.effective_bits, 6)
    1.0

    Reference: Roy and Vetterli (2007), "The effective rank: a measure of effective
    dimensionality", for the effective number.
    """
    correlation = phi(codes.bits, codes.bits)
    others = np.abs(correlation)
    np.fill_diagonal(others, 0)
    redundancy = others.max(axis=1)
    return Health(
        names=codes.concept_names,
        usage=codes.usage,
        entropy=entropy(codes.usage),
        ambiguous=None if codes.z is None else _ambiguous(codes.z),
        redundancy=redundancy,
        partner=np.where(redundancy > 0, others.argmax(axis=1), -1),
        correlation=correlation,
        effective_bits=effective_rank(correlation[codes.varies][:, codes.varies]),
    )


def effective_rank(correlation: np.ndarray) -> float:
    """exp of the entropy of the eigenvalues' shares in their sum; 0 for an empty matrix."""
    if not len(correlation):
        return 0.0
    eigenvalues = np.clip(np.linalg.eigvalsh(correlation), 0, None)
    shares = eigenvalues[eigenvalues > 0] / eigenvalues.sum()
    return float(np.exp(-np.sum(shares * np.log(shares))))


def _ambiguous(z) -> np.ndarray:
    spread = z.std(axis=0, dtype="float64")
    return np.mean(np.abs(z) <= CLOSE * spread, axis=0)
