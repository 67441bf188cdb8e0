"""What Keras computes between a sum and a step, read off its answers.

The thresholds of batch normalisation are not computed by algebra: each backend rounds in its own
way (TensorFlow and JAX compute x * scale + offset, PyTorch subtracts the mean first). All of them
are monotone in x, so that a search among the representable numbers finds the first one that passes.

The questions are asked operation by operation, not compiled: XLA rounds a product and a sum that it
fuses once instead of twice, and whether it fuses them depends on their neighbours and on the batch.
What is decided so are sums whose normalisation is 0 but for rounding; a compiled model may decide
those otherwise, from one shape of batch to another.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from keras import ops

POINTS = 256
"""Questions for each channel at once."""
_FAR = 2.0**60
"""Where no offset counts."""
_LARGEST = 2.0**100
"""The largest number that is asked about: its products with scales do not leave the range."""


class NotMonotoneError(ValueError):
    """What was probed is no step of its input."""


class Threshold(NamedTuple):
    """The bit is (x >= first) xor falls; of a constant, `first` is None and the bit is `falls`."""

    first: np.ndarray
    """The first number at which the bit changes; of a constant bit, where the range ends."""
    falls: np.ndarray
    """The bit before that, bool (channels,)."""
    constant: np.ndarray
    """Whether the bit never changes, bool (channels,)."""


class Probe:
    """Functions, one after the other, asked for what they give for a number in each channel."""

    def __init__(self, functions: list[Callable], channels: int, rank: int):
        self._functions, self.channels = functions, channels
        self._shape = (POINTS, *(1,) * (rank - 2), channels)

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """For numbers (POINTS, channels) the outputs, float32."""
        x = ops.convert_to_tensor(numbers.astype(np.float32).reshape(self._shape))
        for function in self._functions:
            x = function(x)
        return np.asarray(ops.convert_to_numpy(x), np.float32).reshape(POINTS, self.channels)

    def threshold(self, largest: int | None = None) -> Threshold:
        """Where the last layer's step is, among the integers up to `largest`, or the floats."""
        integers = largest is not None
        end = _key(np.array(_LARGEST)) if largest is None else largest
        low, high = np.full(self.channels, -end), np.full(self.channels, end)
        steps = np.arange(POINTS)[:, None]
        before = constant = np.zeros(0, bool)
        while True:
            keys = low + (high - low) * steps // (POINTS - 1)
            answers = self(keys if integers else _number(keys))
            if not np.isfinite(answers).all():
                raise ValueError("it gives NaN or infinity")
            bits = answers > 0
            if not before.size:
                before, constant = bits[0], (bits == bits[0]).all(0)
            changes = bits != before
            if (changes[:-1] & ~changes[1:]).any():
                raise NotMonotoneError("it is not monotone")
            first = np.where(constant, POINTS - 1, changes.argmax(0))
            high = np.take_along_axis(keys, first[None], 0)[0]
            low = np.take_along_axis(keys, np.maximum(first - 1, 0)[None], 0)[0]
            if (constant | (high - low <= 1)).all():
                return Threshold(high if integers else _number(high), before, constant)
            low = np.where(constant, high, low)

    def falls(self) -> np.ndarray:
        """For each channel, whether the last layer's step falls from 1 to 0, bool."""
        numbers = np.linspace(-_LARGEST, _LARGEST, POINTS)[:, None] + np.zeros(self.channels)
        bits = self(numbers) > 0
        return bits[0] & ~bits[-1]

    def affine(self, mean: np.ndarray | None = None) -> dict[str, np.ndarray]:
        """The arrays of an `affine` operation that gives the same.

        Args:
            mean: What the layer, or a backend, subtracts before it multiplies, if anything. Far
                from 0 the difference keeps digits that a product and an offset lose.
        """
        points = np.random.default_rng(0).normal(0, 8, (POINTS, self.channels))
        points[POINTS // 2 :] = np.round(points[POINTS // 2 :])
        points[:3] = np.array([0.0, _FAR, -_FAR])[:, None]
        points = points.astype(np.float32)
        answers = self(points)
        if not np.isfinite(answers).all():
            raise ValueError("it gives NaN or infinity")
        scale = (answers[1].astype(np.float64) - answers[2]) / (2 * _FAR)
        arrays = {"scale": scale.astype(np.float32), "offset": answers[0]}
        if mean is None or (points * arrays["scale"] + arrays["offset"] == answers).all():
            return arrays
        mean = np.broadcast_to(mean.astype(np.float32).reshape(-1), self.channels).copy()
        offset = self(np.broadcast_to(mean, points.shape))[0]  # where x is the mean, that is left
        centred = {"scale": arrays["scale"], "offset": offset, "mean": mean}
        deviation = np.clip(1 / np.where(scale == 0, 1, scale), -_LARGEST, _LARGEST)
        points[POINTS // 4 :] = (mean + points / 8 * deviation)[POINTS // 4 :]
        points = points[3:]
        answers = self(np.concatenate([np.zeros((3, self.channels)), points]))[3:]
        plainly = np.abs(points * arrays["scale"] + arrays["offset"] - answers).sum()
        less = np.abs((points - mean) * centred["scale"] + offset - answers).sum() < plainly
        return centred if less else arrays


def _key(number: np.ndarray) -> np.ndarray:
    """The place of float32 numbers among all of them, in order; 0 for both zeros."""
    pattern = np.asarray(number, np.float32).view(np.int32).astype(np.int64)
    return np.where(pattern < 0, -(pattern & 0x7FFFFFFF), pattern)


def _number(key: np.ndarray) -> np.ndarray:
    """The inverse of `_key`."""
    size = np.abs(key).astype(np.int32).view(np.float32)
    return np.where(key < 0, -size, size)
