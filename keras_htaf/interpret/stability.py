"""Whether bits stay when images change a little, and come back when training is repeated."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Real

import numpy as np

from keras_htaf.datasets import augment
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.correlation import phi
from keras_htaf.interpret.packages import needs
from keras_htaf.interpret.results import Result, table

Change = Callable[[np.ndarray, np.random.Generator], np.ndarray]


@dataclass(frozen=True, eq=False)
class Stability(Result):
    """What changed images did to bits and decisions; `compare` makes it."""

    names: tuple[str, ...]
    flips: np.ndarray
    """Share of the samples on which each bit changed, (m,)."""
    by_chance: np.ndarray
    """The share on which it would if both codes were unrelated, p (1 - q) + q (1 - p), (m,)."""
    bits_changed: float
    """Mean number of bits that changed in a sample."""
    decisions_changed: float
    """Share of the samples whose decision changed."""

    def table(self) -> list[dict]:
        """One dict for each bit."""
        return table(name=list(self.names), flips=self.flips, by_chance=self.by_chance)


def compare(before: Codes, after: Codes) -> Stability:
    """How codes differ from the codes of the same samples, changed.

    Raises:
        ValueError: If these are not as many samples of as many bits.

    Example:

    >>> head = [[0.0, 1.0]], [0.0, 0.0]
    >>> compare(Codes([[0], [1]], *head), Codes([[1], [1]], *head)).decisions_changed
    0.5
    """
    if before.bits.shape != after.bits.shape:
        raise ValueError(
            f"Received bits of shapes {before.bits.shape} and {after.bits.shape}. Expected the "
            "same samples and bits twice."
        )
    changed = before.bits != after.bits
    p, q = before.usage, after.usage
    return Stability(
        names=before.concept_names,
        flips=changed.mean(axis=0),
        by_chance=p * (1 - q) + q * (1 - p),
        bits_changed=float(changed.sum(axis=1).mean()),
        decisions_changed=float(np.mean(before.decisions != after.decisions)),
    )


def change_of(identifier: float | str | Change) -> Change:
    """The change to images that a number, a name or a function stands for.

    Args:
        identifier: A positive number: normal noise of that standard deviation, in units of the
            images. Or `"shift"`, `"shift_flip"` as in `keras_htaf.datasets`, or a function of
            images (n, h, w, c) and a numpy Generator.

    Raises:
        ValueError: If it is none of these.
    """
    if isinstance(identifier, (float, Real)):  # type checkers do not know that a float is Real
        if isinstance(identifier, bool) or not 0 < identifier < np.inf:
            raise ValueError(f"Received noise={identifier!r}. Expected a positive finite number.")
        return lambda x, rng: x + rng.normal(0, identifier, x.shape).astype("float32")
    change = augment.get(identifier)
    if change is None:
        raise ValueError('Received None. Expected a number, "shift", "shift_flip" or a function.')
    return change


@dataclass(frozen=True, eq=False)
class Match(Result):
    """The bits of one model paired with those of another; `match` makes it."""

    first: np.ndarray
    """Numbers of the first model's bits, by descending |phi|, (min(a, b),)."""
    second: np.ndarray
    """Their partners among the second's."""
    phi: np.ndarray
    """Of each pair: 1 for equal, -1 for complementary bits, 0 where one is constant."""
    mean: float
    """Mean of |phi| over the pairs."""
    by_chance: float
    """The same, matched anew, with the samples of the second model shuffled."""

    def table(self) -> list[dict]:
        """One dict for each pair."""
        return table(first=self.first, second=self.second, phi=self.phi)


def match(first: np.ndarray, second: np.ndarray, seed: int = 0) -> Match:
    """Pairs the bits of two models on the same samples, one to one, for the largest sum of |phi|.

    Args:
        first: bool (n, a).
        second: bool (n, b), of the same samples in the same order.
        seed: Of the shuffle for `by_chance`. Default 0.

    Raises:
        ValueError: If the samples differ in number.
        ImportError: If scipy is not installed.

    Example:

    >>> bits = np.array([[0, 1], [1, 0], [1, 1], [0, 0]], bool)
    >>> found = match(bits, ~bits[:, ::-1])
    >>> found.second[np.argsort(found.first)], found.phi
    (array([1, 0]), array([-1., -1.]))
    """
    first, second = np.asarray(first, bool), np.asarray(second, bool)
    if first.ndim != 2 or second.ndim != 2 or len(first) != len(second) or not len(first):
        raise ValueError(
            f"Received bits of shapes {first.shape} and {second.shape}. Expected (n, bits) of the "
            "same samples in the same order."
        )
    pairs, values = _matched(first, second)
    shuffled = np.random.default_rng(seed).permutation(len(second))
    _, by_chance = _matched(first, second[shuffled])
    order = np.argsort(-np.abs(values), kind="stable")
    means = (float(np.mean(np.abs(v))) for v in (values, by_chance))
    return Match(pairs[0][order], pairs[1][order], values[order], *means)


def assign(scores: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows and columns, one to one, with the largest sum of scores."""
    needs("scipy", "Matching")
    from scipy.optimize import linear_sum_assignment

    return linear_sum_assignment(scores, maximize=True)


def _matched(first, second):
    values = phi(first, second)
    pairs = assign(np.abs(values))
    return pairs, values[pairs]
