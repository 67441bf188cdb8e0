"""Which samples get a page, and which images show a bit."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

import numpy as np

from keras_htaf.interpret.codes import Codes, check_positive
from keras_htaf.interpret.explanations import sample_number

GROUPS = ("wrong", "close", "clear", "random")
"""Decided wrongly, the surest first; rightly by few bits; rightly by many; by chance."""


def choose_samples(
    codes: Codes, radii: np.ndarray, wanted: int | Sequence[int], seed: int
) -> list[tuple[int, str]]:
    """Numbers of samples, each with its group.

    Args:
        codes: With labels.
        radii: The flip radius of each sample, (n,).
        wanted: How many, about as many of each group; or their numbers.
        seed: Of the random ones.
    """
    if isinstance(wanted, Iterable):
        numbers = [sample_number(codes, i) for i in wanted]
        return [(i, _group(codes, i)) for i in dict.fromkeys(numbers)]
    check_positive(samples=wanted)
    lead = leads(codes)
    right = codes.decisions == codes.labels
    ranked: dict[str, Iterable[int]] = {
        "wrong": sorted(np.flatnonzero(~right), key=lambda i: -lead[i]),
        "close": sorted(np.flatnonzero(right), key=lambda i: (radii[i], lead[i])),
        "clear": _in_turn(codes, np.flatnonzero(right), -lead),
        "random": np.random.default_rng(seed).permutation(len(codes)),
    }
    chosen: dict[int, str] = {}
    for place, group in enumerate(GROUPS):
        left = wanted - len(chosen)
        share = -(-left // (len(GROUPS) - place))
        fresh = [int(i) for i in ranked[group] if i not in chosen][:share]
        chosen.update(dict.fromkeys(fresh, group))
    return list(chosen.items())


def leads(codes: Codes) -> np.ndarray:
    """By how much the decided class's logit exceeds the next, (n,)."""
    two = np.sort(codes.logits, axis=1)[:, -2:]
    return two[:, 1] - two[:, 0]


def strongest(codes: Codes, bit: int, count: int) -> np.ndarray:
    """The images that switch a bit on most strongly, the strongest first; none without z."""
    if codes.z is None:
        return np.empty(0, int)
    on = np.flatnonzero(codes.bits[:, bit])
    return on[np.argsort(-codes.z[on, bit], kind="stable")[:count]]


def at_random(codes: Codes, bit: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Images that switch a bit on, drawn at random."""
    return rng.permutation(np.flatnonzero(codes.bits[:, bit]))[:count]


def _in_turn(codes, rows, key) -> list[int]:
    """Rows by key, one of each class in turn."""
    of_class = [rows[codes.labels[rows] == k] for k in range(codes.num_classes)]
    of_class = [r[np.argsort(key[r], kind="stable")] for r in of_class]
    longest = max(map(len, of_class), default=0)
    return [r[i] for i in range(longest) for r in of_class if i < len(r)]


def _group(codes, i) -> str:
    return "random" if codes.decisions[i] == codes.labels[i] else "wrong"
