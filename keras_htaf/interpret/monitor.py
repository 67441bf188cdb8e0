"""A watch at run time: which bits a class always has, and which inputs have them not."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from keras_htaf.files import write_json
from keras_htaf.interpret.codes import Codes
from keras_htaf.interpret.results import Result

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Monitor(Result):
    """Patterns of classes: bits that are almost always on, or off, in the class.

    The distance of a code from a pattern is the share of the pattern's bits that it has not; its
    score is the smallest distance from any pattern. Codes with a score above the threshold are
    flagged.

    Attributes:
        patterns: 1 on, 0 off, -1 either, int8 `(K, m)`. A class of -1 only has no pattern.
        threshold: Score above which an input is flagged.
        class_names: Names of the classes.

    Example:

    >>> bits = np.repeat([[1, 1, 0, 0], [0, 0, 1, 1]], 50, axis=0)
    >>> codes = Codes(bits, [[1, 0]] * 2 + [[0, 1]] * 2, [0, 0])
    >>> monitor = fit_monitor(codes, codes)
    >>> monitor.flags(np.array([[1, 1, 0, 0], [1, 0, 1, 0]], bool))
    array([False,  True])
    """

    patterns: np.ndarray
    threshold: float
    class_names: tuple[str, ...]

    def distances(self, bits: np.ndarray) -> np.ndarray:
        """The share of each pattern's bits that a code has not, `(n, K)`; inf without pattern."""
        bits = np.asarray(bits)
        if bits.ndim != 2 or bits.shape[1] != self.patterns.shape[1]:
            raise ValueError(
                f"Received bits of shape {bits.shape}. Expected (n, {self.patterns.shape[1]})."
            )
        on, off = ((self.patterns == v).T.astype(np.float32) for v in (1, 0))
        size = (self.patterns >= 0).sum(axis=1)
        result = np.empty((len(bits), len(size)))
        for begin in range(0, len(bits), _ROWS_AT_ONCE):
            part = slice(begin, begin + _ROWS_AT_ONCE)
            here = bits[part].astype(np.float32)
            result[part] = ((1 - here) @ on + here @ off) / np.maximum(size, 1)
        result[:, size == 0] = np.inf
        return result

    def score(self, bits: np.ndarray) -> np.ndarray:
        """How far each code is from every pattern, `(n,)` in [0, 1]."""
        return self.distances(bits).min(axis=1)

    def flags(self, bits: np.ndarray) -> np.ndarray:
        """Which codes are too far from every pattern, bool `(n,)`."""
        return self.score(bits) > self.threshold

    def evaluate(self, inside: Codes, outside: Codes) -> Watch:
        """How well the monitor tells inputs of another kind (`outside`) from those it knows."""
        scores = [self.score(codes.bits) for codes in (inside, outside)]
        doubts = [1 - _confidence(codes) for codes in (inside, outside)]
        return Watch(
            auroc=auroc(*scores),
            confidence_auroc=auroc(*doubts),
            false_alarms=float(np.mean(scores[0] > self.threshold)),
            caught=float(np.mean(scores[1] > self.threshold)),
        )

    def save(self, path: str | os.PathLike) -> None:
        """Writes the monitor as JSON, atomically."""
        write_json(
            path,
            {
                "patterns": self.patterns.tolist(),
                "threshold": self.threshold,
                "class_names": list(self.class_names),
            },
        )

    @classmethod
    def load(cls, path: str | os.PathLike) -> Monitor:
        """Reads what `save` wrote.

        Raises:
            ValueError: If the file holds something else.
        """
        try:
            read = json.loads(Path(path).read_text(encoding="utf-8"))
            patterns = np.array(read["patterns"], np.int8)
            names, threshold = tuple(map(str, read["class_names"])), float(read["threshold"])
            fine = patterns.ndim == 2 and np.isin(patterns, (-1, 0, 1)).all()
            fine = fine and len(names) == len(patterns) and np.isfinite(threshold)
        except (ValueError, KeyError, TypeError, OverflowError):
            fine = False
        if not fine:
            raise ValueError(f"{str(path)!r} holds no monitor. Expected what Monitor.save wrote.")
        return cls(patterns, threshold, names)


@dataclass(frozen=True)
class Watch(Result):
    """How well a monitor tells inputs of another kind from those it knows.

    Attributes:
        auroc: Chance that an input of another kind has a higher score than a known one (half
            where equal).
        confidence_auroc: The same for 1 - the largest softmax probability, to stand beside.
        false_alarms: Share of the known inputs that are flagged.
        caught: Share of the others that are flagged.
    """

    auroc: float
    confidence_auroc: float
    false_alarms: float
    caught: float


def fit_monitor(
    codes: Codes, held_out: Codes, *, share: float = 0.98, false_alarms: float = 0.05
) -> Monitor:
    """Finds the patterns of classes, and the threshold for a rate of false alarms.

    A bit belongs to the pattern of a class if it has the same value for at least `share` of the
    samples for which the model decides for the class (rightly, where labels are known).

    Args:
        codes: Samples to find patterns on, with or without labels.
        held_out: Other samples of the same kind, on which the threshold is set.
        share: From above 0.5 to 1. Default 0.98.
        false_alarms: Share of `held_out` that may be flagged, from 0 to below 1. Default 0.05.

    Returns:
        A `Monitor`.

    Raises:
        ValueError: If an option is out of range, or no class has a pattern.
    """
    if not 0.5 < share <= 1 or not 0 <= false_alarms < 1:
        raise ValueError(
            f"Received share={share!r} and false_alarms={false_alarms!r}. Expected a share above "
            "0.5 and up to 1, and a rate from 0 to below 1."
        )
    right = np.ones(len(codes), bool) if codes.labels is None else codes.decisions == codes.labels
    patterns = np.full((codes.num_classes, codes.num_bits), -1, np.int8)
    for k in np.unique(codes.decisions[right]):
        of_class = codes.bits[right & (codes.decisions == k)]
        # Not 1 - the share that is on: 1 - 0.9 is not 0.1.
        on, off = of_class.mean(axis=0), (~of_class).mean(axis=0)
        patterns[k] = np.where(on >= share, 1, np.where(off >= share, 0, -1))
    if (patterns < 0).all():
        raise ValueError(
            f"No bit has the same value for {share:.1%} of the samples of any class. Give a "
            "smaller share."
        )
    monitor = Monitor(patterns, 1.0, codes.class_names)
    scores = np.sort(monitor.score(held_out.bits))
    allowed = int(false_alarms * len(scores))
    return replace(monitor, threshold=float(scores[len(scores) - 1 - allowed]))


def auroc(inside: np.ndarray, outside: np.ndarray) -> float:
    """Chance that a score of `outside` is above one of `inside`; equal ones count half."""
    ranked = np.sort(inside)
    below, up_to = (np.searchsorted(ranked, outside, side=s) for s in ("left", "right"))
    return float(np.mean(below + up_to) / (2 * len(inside)))


def _confidence(codes: Codes) -> np.ndarray:
    logits = codes.logits - codes.logits.max(axis=1, keepdims=True)
    return 1 / np.exp(logits).sum(axis=1)
