"""The constants of neurons: what they may be, what they start from, where training keeps them."""

from __future__ import annotations

import math
from numbers import Real
from typing import NamedTuple

import keras
import numpy as np
from keras import ops


class Constant(NamedTuple):
    """A constant of a neuron's dynamics, which is a weight of its layer."""

    value: float | np.ndarray
    """What the weight starts from: a number, or an array of one for each neuron."""
    trained_with: str = "decay"
    """`trainable_decay` or `trainable_threshold` makes it trainable."""
    low: float = 1e-3
    high: float = 1.0
    """Where a trained weight is kept, unless it starts from below."""

    @property
    def bounds(self) -> Within:
        return Within(min(self.low, float(np.min(self.value))), self.high)

    @property
    def mean(self) -> float:
        return float(np.mean(self.value))


class Within(keras.constraints.Constraint):
    """Keeps a trained constant where the dynamics make sense."""

    def __init__(self, low, high):
        self.low, self.high = low, high

    def __call__(self, w):
        return ops.clip(w, self.low, self.high)


def decay_of(decay, tau, default: float, kind: str = "") -> float | np.ndarray:
    """The decay per step of one that is given as `decay`, as `tau`, or not at all.

    Raises:
        ValueError: If both are given, or the decay is not within (0, 1].
    """
    if decay is not None and tau is not None:
        raise ValueError(
            f"Received {kind}decay={decay!r} and {kind}tau={tau!r}. Expected one of them: the "
            "decay is 1 - 1 / tau."
        )
    if tau is not None:
        steps = number(tau)
        if not np.all(steps > 1):
            raise ValueError(
                f"Received {kind}tau={tau!r}. Expected a number of steps above 1: the decay is "
                "1 - 1 / tau."
            )
        return 1.0 - 1.0 / steps
    found = number(default if decay is None else decay)
    if not np.all((found > 0) & (found <= 1)):
        raise ValueError(f"Received {kind}decay={decay!r}. Expected 0 < {kind}decay <= 1.")
    return found


def threshold_of(threshold) -> Constant:
    """The constant of a threshold, which must be positive."""
    value = number(threshold)
    if not np.all((value > 0) & (value < math.inf)):
        raise ValueError(f"Received threshold={threshold!r}. Expected a positive finite number.")
    return Constant(value, "threshold", high=math.inf)


def number(value) -> float | np.ndarray:
    """A float, or floats in an array; NaN for what is neither."""
    if isinstance(value, (list, tuple, np.ndarray)):
        try:
            values = np.asarray(value)
        except ValueError:  # lists of unequal lengths
            return math.nan
        if values.size and values.ndim and values.dtype.kind in "fiu":
            return values.astype("float64")
        value = values.item() if values.size == 1 else None
    return float(value) if isinstance(value, Real) and not isinstance(value, bool) else math.nan
