"""What each bit says about the classes, and does to them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from numbers import Integral

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.correlation import entropy
from keras_htaf.interpret.results import Result, table

_ROWS_AT_ONCE = 4096


@dataclass(frozen=True, eq=False)
class Contrast(Result):
    """Which bits separate two classes; the bits in descending order of what they do."""

    first: str
    second: str
    bits: np.ndarray
    """Numbers of the bits, (m,)."""
    separation: np.ndarray
    """(W_ja - W_jb) (P(h_j = 1 | a) - P(h_j = 1 | b)), (m,). Their sum is exactly by how much the
    mean of the margin s_a - s_b is larger on samples of a than on those of b."""
    weight: np.ndarray
    """W_ja - W_jb, (m,)."""
    share_first: np.ndarray
    """P(h_j = 1 | a), (m,)."""
    share_second: np.ndarray
    """P(h_j = 1 | b), (m,)."""


@dataclass(frozen=True, eq=False)
class ClassView(Result):
    """m bits seen from K classes; `class_view` makes it."""

    class_names: tuple[str, ...]
    concept_names: tuple[str, ...]
    samples: np.ndarray
    """Of each class, (K,)."""
    given_class: np.ndarray
    """P(h_j = 1 | y = k), (K, m); NaN (in JSON: None) for a class without samples."""
    information: np.ndarray
    """Mutual information of bit and class, in bits, (m,): at most 1."""
    class_entropy: float
    """Of the classes, in bits: what all bits together could say. 0 if there is one class only."""
    effect: np.ndarray
    """Causal concept effect, (K, m): by how much the mean probability (softmax of the logits) of
    class k rises when bit j is switched from off to on in all samples and the others stay."""
    flip_rate: np.ndarray
    """Share of the samples whose decision changes when bit j alone is flipped, (m,)."""
    weights: np.ndarray
    """Of the head, (m, K)."""

    def contrast(self, first: int | str, second: int | str) -> Contrast:
        """The bits that separate class `first` from class `second`, numbers or names.

        Raises:
            ValueError: If there is no such class, both are the same, or one has no samples.
        """
        a, b = (class_number(each, self.class_names) for each in (first, second))
        for k in (a, b):
            if not self.samples[k]:
                raise ValueError(
                    f"Class {self.class_names[k]!r} has no samples, so that there is nothing to "
                    f"contrast. Samples of each class: {self.samples.tolist()}."
                )
        if a == b:
            raise ValueError(f"Received class {self.class_names[a]!r} twice. Expected two classes.")
        weight = self.weights[:, a] - self.weights[:, b]
        separation = weight * (self.given_class[a] - self.given_class[b])
        order = np.argsort(-separation, kind="stable")
        return Contrast(
            self.class_names[a],
            self.class_names[b],
            order,
            separation[order],
            weight[order],
            self.given_class[a][order],
            self.given_class[b][order],
        )

    def table(self) -> list[dict]:
        """One dict for each bit."""
        return table(
            name=list(self.concept_names),
            information=self.information,
            flip_rate=self.flip_rate,
            given_class=self.given_class.T,
            effect=self.effect.T,
        )


def class_view(codes: Codes) -> ClassView:
    """Bits given the class, their information, their causal effect, and decisions they change.

    Raises:
        ValueError: If the codes have no labels.

    Example:

    >>> codes = Codes([[0, 1], [1, 1]], [[-2.0, 2.0], [0.0, 0.0]], [1.0, 0.0], labels=[0, 1])
    >>> view = class_view(codes)
    >>> view.information, view.flip_rate
    (array([1., 0.]), array([1., 0.]))

    Reference: Goyal et al. (2019), "Explaining classifiers with causal concept effect (CaCE)", for
    the effect; here it is exact, since the head alone stands behind the bits.
    """
    labels = codes.needed("labels")
    classes = codes.num_classes
    samples = np.bincount(labels, minlength=classes)
    ones = np.stack([codes.bits[labels == k].sum(axis=0) for k in range(classes)])
    given = np.full(ones.shape, np.nan)
    np.divide(ones, samples[:, None], out=given, where=samples[:, None] > 0)
    shares = samples / len(labels)
    within = np.where(samples[:, None] > 0, entropy(np.nan_to_num(given)), 0.0)
    # At least 0 but for rounding.
    information = np.maximum(entropy(codes.usage) - shares @ within, 0.0)
    effect, flip_rate = _interventions(codes)
    present = shares[shares > 0]
    return ClassView(
        class_names=codes.class_names,
        concept_names=codes.concept_names,
        samples=samples,
        given_class=given,
        information=information,
        class_entropy=float(-np.sum(present * np.log2(present)) + 0.0),
        effect=effect,
        flip_rate=flip_rate,
        weights=codes.weights,
    )


def class_number(which: int | str, names: Sequence[str]) -> int:
    """The number of a class given by number or name, or a ValueError."""
    if isinstance(which, str) and which in names:
        return list(names).index(which)
    whole = isinstance(which, Integral) and not isinstance(which, bool)
    if whole and 0 <= int(which) < len(names):
        return int(which)
    raise ValueError(
        f"Received class {which!r}. Expected a number from 0 to {len(names) - 1} or one of "
        f"{list(names)}."
    )


def _interventions(codes) -> tuple[np.ndarray, np.ndarray]:
    """Effect (K, m) and flip rate (m,). Each bit is flipped where it is; the rest is as it was."""
    effect, flips = np.zeros((codes.num_classes, codes.num_bits)), np.zeros(codes.num_bits)
    for begin in range(0, len(codes), _ROWS_AT_ONCE):  # few enough to stay in the cache
        part = slice(begin, begin + _ROWS_AT_ONCE)
        logits = np.ascontiguousarray(codes.logits[part].T)
        as_it_is, signs = _probabilities(logits), np.where(codes.bits[part], -1.0, 1.0).T
        for j, (weights, sign) in enumerate(zip(codes.weights, signs, strict=True)):
            flipped = logits + np.multiply.outer(weights, sign)
            flips[j] += np.sum(flipped.argmax(axis=0) != codes.decisions[part])
            effect[:, j] += (_probabilities(flipped) - as_it_is) @ sign
    return effect / len(codes), flips / len(codes)


def _probabilities(logits) -> np.ndarray:
    """Softmax over the first axis."""
    powers = np.exp(logits - logits.max(axis=0))
    powers /= powers.sum(axis=0)
    return powers
