"""What the code as a whole holds of the classes."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes, check_positive
from keras_htaf.interpret.results import Result


@dataclass(frozen=True)
class CodeQuality(Result):
    """How well any reader could tell the classes by the codes; `code_quality` makes it.

    Accuracies and shares are from 0 to 1.
    """

    samples: int
    unique: int
    """Number of different codes."""
    single: float
    """Share of the samples whose code no other sample has: these count as right in the ceiling."""
    ceiling: float
    """A*, the best accuracy on these samples of any function of the code. Close to 1 without
    meaning much where most codes are single."""
    accuracy: float
    """Of the head on the bits."""
    efficiency: float
    """accuracy / ceiling."""
    held_out: float
    """Accuracy of the majority class of each code, learned on the other folds; the most frequent
    class for codes that those do not have."""
    held_out_seen: float
    """Share of the samples whose code occurs in the other folds."""
    folds: int
    chance: float
    """Accuracy of always giving the most frequent class."""
    smooth_accuracy: float | None
    """Of the head on the smooth bits; None where they are not known."""
    completeness: float | None
    """(the larger of accuracy and held_out - chance) / (reference - chance), the reference being
    smooth_accuracy unless given: how much of what a model knows beyond chance the bits keep. None
    where there is no reference, or it is no better than chance."""


def code_quality(
    codes: Codes, reference: float | None = None, folds: int = 5, seed: int = 0
) -> CodeQuality:
    """Unique codes, the ceiling of any head, and what the bits keep of what the model knows.

    Args:
        codes: With labels.
        reference: Accuracy of what the bits are held against, such as a dense twin. Default: the
            accuracy of the same head on the smooth bits.
        folds: Parts of equal size, drawn at random, for the held-out accuracy; as many as there
            are samples if these are fewer. Default 5.
        seed: Of the folds. Default 0.

    Raises:
        ValueError: If the codes have no labels, or an argument is out of range.

    Example:

    >>> codes = Codes([[0], [0], [1], [1]], [[0.0, 1.0]], [0.0, 0.0], labels=[0, 0, 1, 0])
    >>> found = code_quality(codes)
    >>> found.unique, found.ceiling, found.accuracy
    (2, 0.75, 0.75)

    Reference: Yeh et al. (2020), "On completeness-aware concept-based explanations in deep neural
    networks", for completeness; theirs takes a random guess for chance, which is the same where
    classes are equally frequent.
    """
    check_positive(folds=folds)
    if reference is not None and not 0 <= reference <= 1:
        raise ValueError(f"Received reference={reference!r}. Expected an accuracy from 0 to 1.")
    labels = codes.needed("labels")
    n = len(labels)
    which, counts = code_numbers(codes.packed)
    accuracy = codes.accuracy()
    ceiling = float(np.mean(_majority(which, labels, codes.num_classes)[which] == labels))
    right, seen = _held_out(which, labels, codes.num_classes, min(folds, n), seed)
    chance = float(np.bincount(labels).max() / n)
    smooth = None
    if codes.smooth is not None:
        smooth = float(np.mean(codes.smooth_decisions == labels))
    held_against = smooth if reference is None else reference
    beyond = None if held_against is None or held_against <= chance else held_against - chance
    return CodeQuality(
        samples=n,
        unique=len(counts),
        single=float(np.mean(counts[which] == 1)),
        ceiling=ceiling,
        accuracy=accuracy,
        efficiency=accuracy / ceiling,
        held_out=right,
        held_out_seen=seen,
        folds=min(folds, n),
        chance=chance,
        smooth_accuracy=smooth,
        completeness=None if beyond is None else (max(accuracy, right) - chance) / beyond,
    )


def code_numbers(packed: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """A number from 0 for each different row, (n,), and how often each occurs.

    Args:
        packed: `Codes.packed`, (n, bytes) uint8.
    """
    rows = np.ascontiguousarray(packed).view(f"V{packed.shape[1]}")[:, 0]
    _, which, counts = np.unique(rows, return_inverse=True, return_counts=True)
    return which, counts


def _majority(which, labels, classes, unseen=0) -> np.ndarray:
    """The most frequent class of each code (the lowest of several); `unseen` where it has none."""
    pairs, counts = np.unique(which * classes + labels, return_counts=True)
    of_code, label = np.divmod(pairs, classes)
    # The last of equal codes in this order wins: the most frequent, then the lowest class.
    order = np.lexsort((-label, counts, of_code))
    majority = np.full(which.max() + 1, unseen)
    majority[of_code[order]] = label[order]
    return majority


def _held_out(which, labels, classes, folds, seed) -> tuple[float, float]:
    """Accuracy on held-out samples, and the share of these whose code is known."""
    if folds < 2:  # nothing to learn from: the lowest class is the guess
        return float(np.mean(labels == 0)), 0.0
    fold = np.random.default_rng(seed).permutation(len(labels)) % folds
    right = seen = 0
    for each in range(folds):
        inside, outside = fold != each, fold == each
        most = np.bincount(labels[inside]).argmax()
        majority = np.full(which.max() + 1, most)
        known = np.zeros(which.max() + 1, bool)
        known[which[inside]] = True
        learned = _majority(which[inside], labels[inside], classes, most)
        majority[: len(learned)] = learned
        right += np.sum(majority[which[outside]] == labels[outside])
        seen += np.sum(known[which[outside]])
    return float(right / len(labels)), float(seen / len(labels))
