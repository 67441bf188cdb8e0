"""Heads with few weights: how much accuracy each number of concepts per class buys."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.heads import Head, Loss, fit_dense, fit_lasso, fit_scale
from keras_htaf.interpret.results import Result

NECS = (5, 10, 15, 20, 25, 30)
KINDS = ("elastic net", "per class", "ternary")

_SHRINK = 0.75
_ELASTIC = 0.01
"""Each strength of the path against the one before; the ridge of the elastic net against its l1."""


@dataclass(frozen=True, eq=False)
class SparseHeads(Result):
    """Accuracy against the number of effective concepts (NEC) of a class.

    Attributes:
        own: Held-out accuracy of the head that the model has.
        dense: A head with all weights, fitted on the same bits.
        heads: For each kind, one head for each of `necs`.
        necs: Mean number of nonzero weights of a class (for "per class" and "ternary" exactly that
            of each class): those asked for, as far as there are bits that vary.
        random: Held-out accuracies of "per class" heads, and last of the dense head, on random
            bits; None where none were given.
    """

    own: float
    dense: Head
    heads: dict[str, tuple[Head, ...]]
    necs: tuple[int, ...]
    random: tuple[float, ...] | None

    def table(self) -> str:
        """The accuracies, in percent, as a Markdown table."""
        lines = [
            f"| held-out accuracy, % | {' | '.join(f'NEC {k}' for k in self.necs)} | all |",
            "|---" * (len(self.necs) + 2) + "|",
        ]
        for kind, heads in self.heads.items():
            last = f"{100 * self.dense.accuracy:.2f}" if kind == KINDS[0] else "-"
            lines.append(_row(kind, [head.accuracy for head in heads], last))
        if self.random is not None:
            last = f"{100 * self.random[-1]:.2f}"
            lines.append(_row("random bits, per class", self.random[:-1], last))
        return "\n".join(lines)


def sparse_heads(
    codes: Codes,
    held_out: Codes,
    *,
    necs: Sequence[int] = NECS,
    random: tuple[np.ndarray, np.ndarray] | None = None,
) -> SparseHeads:
    """Fits heads with few weights on exact bits, and measures them on other samples.

    - "elastic net": softmax regression along a path of falling penalties until enough weights are
      nonzero; the largest NEC * K of them all stay and are fitted again, without the l1.
    - "per class": exactly NEC weights of each class, the largest of the end of that path, from the
      largest NEC down: each time the smallest go and the others are fitted again.
    - "ternary": the signs of those, one factor for all, and a bias.

    Bits that are on for all or none of the samples say nothing and get the weight 0. All minimise
    one loss with scipy's L-BFGS-B (as fast as scikit-learn's saga on 40,000 samples of 256 bits,
    and it can hold chosen weights at zero) until a step gains less than a millionth, or none gains
    anything where the loss is level; a fit that does not get there warns, by kind and NEC.

    Args:
        codes: Samples to fit on, with labels.
        held_out: Samples to measure on, with labels.
        necs: Numbers of effective concepts. Default 5, 10, ..., 30; those above the number of
            bits that vary in `codes` are left out; if that leaves none, it is that number.
        random: Bits of both sets of samples that mean nothing (`random_bits`), `(n, m')` and
            `(n', m')`, to stand beside. Default none.

    Returns:
        `SparseHeads`.

    Raises:
        ValueError: If labels are missing or of one class only, no bit varies, a NEC is no positive
            integer, or arrays do not fit together.
        ImportError: If scipy is missing.

    Example:

    >>> bits = np.random.default_rng(0).random((200, 8)) < 0.5
    >>> codes = Codes(bits, np.ones((8, 2)), np.zeros(2), labels=bits[:, 3])
    >>> found = sparse_heads(codes, codes, necs=[1])
    >>> found.heads["ternary"][0].accuracy
    1.0
    """
    labels, truth = codes.needed("labels"), held_out.needed("labels")
    if len(np.unique(labels)) < 2:
        raise ValueError("Received samples of one class only. Expected at least two.")
    if not codes.varies.any():
        raise ValueError("All bits are the same for all samples. Expected one that varies.")
    asked = np.asarray(necs)
    if asked.ndim != 1 or not asked.size or asked.dtype.kind not in "iu" or asked.min() < 1:
        raise ValueError(f"Received necs={necs!r}. Expected positive integers.")
    if held_out.num_bits != codes.num_bits or held_out.num_classes != codes.num_classes:
        raise ValueError(
            f"Received held-out codes of {held_out.num_bits} bits and {held_out.num_classes} "
            f"classes. Expected {codes.num_bits} and {codes.num_classes}."
        )
    checked = None if random is None else _checked(random, codes, held_out)
    live = int(codes.varies.sum())
    necs = tuple(sorted(k for k in {*asked.tolist()} if k <= live)) or (live,)

    def measured(kind, fitted, bits=held_out.bits, varies=codes.varies):
        weights = np.zeros((len(varies), codes.num_classes))
        weights[varies] = fitted[0]
        read = Codes(bits, weights, fitted[1], labels=truth)
        return Head(kind, read.weights, read.bias, read.accuracy())

    loss = Loss(codes.bits[:, codes.varies], labels, codes.num_classes)
    dense = fit_dense(loss)
    heads: dict[str, list[Head]] = {kind: [] for kind in KINDS}
    path = _path(loss, max(necs))
    for k in necs:
        start = next((p for p in path if np.count_nonzero(p[0]) >= k * codes.num_classes), path[-1])
        mask = _largest(np.abs(start[0]).ravel(), k * codes.num_classes).reshape(loss.shape)
        fitted = fit_dense(loss, start, mask, name=f"The elastic-net head of NEC {k}")
        heads["elastic net"].append(measured("elastic net", fitted))
    chosen = _per_class(loss, path[-1], dense, necs, "The per-class head")
    for k, (weights, bias) in zip(necs, chosen, strict=True):
        heads["per class"].append(measured("per class", (weights, bias)))
        ternary = fit_scale(loss, np.sign(weights), bias, name=f"The ternary head of NEC {k}")
        heads["ternary"].append(measured("ternary", ternary))

    beside = None
    if checked is not None:
        fit_bits, test_bits, varies = checked
        chance = Loss(fit_bits[:, varies], labels, codes.num_classes)
        name = "The head on random bits"
        full = fit_dense(chance, name=name)
        fitted = [*_per_class(chance, _path(chance, max(necs))[-1], full, necs, name), full]
        beside = tuple(measured("random", f, test_bits, varies).accuracy for f in fitted)
    return SparseHeads(
        own=float(np.mean(codes.decide(held_out.bits) == truth)),
        dense=measured("dense", dense),
        heads={kind: tuple(found) for kind, found in heads.items()},
        necs=necs,
        random=beside,
    )


def random_bits(
    features: np.ndarray, others: np.ndarray, num_bits: int, seed: int = 0
) -> tuple[np.ndarray, np.ndarray]:
    """Bits that mean nothing: features in random directions, on above the median.

    Args:
        features: Pixels or features of the samples to fit on, `(n, ...)`.
        others: Of the held-out samples, `(n', ...)`.
        num_bits: Number of bits.
        seed: Seed of the directions. Default 0.

    Returns:
        bool `(n, num_bits)` and `(n', num_bits)`; the thresholds are the medians of the first.

    Example:

    >>> rng = np.random.default_rng(0)
    >>> fitted, held_out = random_bits(rng.random((10, 6)), rng.random((4, 6)), num_bits=3)
    >>> fitted.mean(axis=0).tolist(), held_out.shape
    ([0.5, 0.5, 0.5], (4, 3))
    """
    flat = [np.asarray(f, np.float32).reshape(len(f), -1) for f in (features, others)]
    if flat[0].shape[1] != flat[1].shape[1]:
        raise ValueError(
            f"Received features of shapes {flat[0].shape} and {flat[1].shape}. Expected the same "
            "number for each sample."
        )
    directions = np.random.default_rng(seed).normal(size=(flat[0].shape[1], num_bits))
    projected, other = (f @ directions.astype(np.float32) for f in flat)
    median = np.median(projected, axis=0)
    return projected > median, other > median


def _checked(random, codes: Codes, held_out: Codes):
    """Random bits of both sets of samples, and which of them vary in the first."""
    fit_bits, test_bits = (np.asarray(bits, bool) for bits in random)
    shapes = fit_bits.shape, test_bits.shape
    bits = shapes[0][-1:]
    if shapes != ((len(codes), *bits), (len(held_out), *bits)):
        raise ValueError(
            f"Received random bits of shapes {shapes[0]} and {shapes[1]}. Expected "
            f"({len(codes)}, m) and ({len(held_out)}, m)."
        )
    varies = fit_bits.any(axis=0) & ~fit_bits.all(axis=0)
    if not varies.any():
        raise ValueError("All random bits are the same for all samples. Expected others.")
    return fit_bits, test_bits, varies


def _path(loss: Loss, nec: int) -> list:
    """Elastic-net fits of falling strength, up to one with at least `nec` weights of each class."""
    start = np.zeros(loss.shape), loss.prior
    strength = _SHRINK * np.abs(loss(*start)[1]).max()
    found: list[tuple[np.ndarray, np.ndarray]] = []
    ridge = loss.ridge
    # A bit that is the same as another may never get a weight.
    while strength > 1e-7 and (not found or (found[-1][0] != 0).sum(axis=0).min() < nec):
        loss.ridge = _ELASTIC * strength
        start = fit_lasso(loss, strength, start)
        found.append(start)
        strength *= _SHRINK
    loss.ridge = ridge
    return found or [start]


def _per_class(loss: Loss, start, dense, necs, name: str) -> list:
    """For each NEC, ascending, a fit with that many weights of each class."""
    weights, bias = start
    # Where the path left a class with fewer weights, the dense head's next largest fill up.
    fill = np.abs(dense[0]) / (1 + np.abs(dense[0]).max()) * 1e-9
    size = np.abs(weights) + np.where(weights == 0, fill, 0)
    found = []
    for k in reversed(necs):
        mask = np.stack([_largest(column, k) for column in size.T], axis=1)
        weights, bias = fit_dense(loss, (weights, bias), mask, name=f"{name} of NEC {k}")
        size = np.where(mask, np.abs(weights) + 1e-12, 0)
        found.append((weights, bias))
    return found[::-1]


def _largest(values: np.ndarray, count: int) -> np.ndarray:
    """A mask of the `count` largest values, of equal ones the first."""
    mask = np.zeros(values.shape, bool)
    mask[np.argsort(-values, kind="stable")[:count]] = True
    return mask


def _row(name: str, accuracies, last: str) -> str:
    return f"| {name} | {' | '.join(f'{100 * a:.2f}' for a in accuracies)} | {last} |"
