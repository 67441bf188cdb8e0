"""What Keras computes between a sum and a step, read off its answers.

The thresholds of batch normalisation are not computed by algebra: each backend rounds
scale * x + offset in its own way (TensorFlow and JAX, compiled, fuse product and sum; PyTorch
subtracts the mean first), and a sum that lies exactly at the threshold is decided by that rounding.
All of these ways are monotone in x, so that a search among the representable numbers finds the
first one that passes. The questions go through `predict`, as the model's own inputs do.
"""

from __future__ import annotations

from typing import NamedTuple

import keras
import numpy as np

POINTS = 256
"""Questions for each channel in a batch."""


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
    """Layers, one after the other, asked for what they give for numbers of each channel."""

    def __init__(self, layers: list, channels: int, rank: int):
        inputs = keras.Input((1,) * (rank - 2) + (channels,))
        x = inputs
        for layer in layers:
            x = layer(x)
        self._model = keras.Model(inputs, x)
        self._shape = (POINTS, *inputs.shape[1:])
        self.channels = channels

    def __call__(self, numbers: np.ndarray) -> np.ndarray:
        """For float32 numbers (POINTS, channels) the outputs."""
        answers = self._model.predict(
            numbers.astype(np.float32).reshape(self._shape), batch_size=POINTS, verbose=0
        )
        return np.asarray(answers).reshape(POINTS, self.channels)

    def threshold(self, largest: int | None = None) -> Threshold:
        """Where the last layer's step is, among the integers up to `largest`, or all floats."""
        integers = largest is not None
        end = largest if integers else _key(np.finfo(np.float32).max)
        low, high = np.full(self.channels, -end), np.full(self.channels, end)
        steps = np.arange(POINTS)[:, None]
        before = constant = None
        while True:
            keys = low + (high - low) * steps // (POINTS - 1)
            answers = self(keys if integers else _number(keys))
            if not np.isfinite(answers).all():
                raise ValueError("it gives NaN or infinity")
            bits = answers > 0
            if before is None:
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
        far = np.finfo(np.float32).max / 2
        numbers = np.linspace(-far, far, POINTS)[:, None] + np.zeros(self.channels)
        bits = self(numbers) > 0
        return bits[0] & ~bits[-1]

    def affine(self, mean: np.ndarray | None = None) -> tuple[str, dict[str, np.ndarray]]:
        """The rounding, factors and offsets of an `affine` operation that gives the same."""
        points = np.random.default_rng(0).normal(0, 8, (POINTS, self.channels))
        points[POINTS // 2 :] = np.round(points[POINTS // 2 :])
        far = 2.0**60  # where no offset counts
        points[:3] = np.array([0.0, far, -far])[:, None]
        points = points.astype(np.float32)
        answers = self(points)
        if not np.isfinite(answers).all():
            raise ValueError("it gives NaN or infinity")
        scale = (answers[1].astype(np.float64) - answers[2]) / (2 * far)
        arrays = {"scale": scale.astype(np.float32), "offset": answers[0]}
        exact = (points.astype(np.float64) * arrays["scale"] + answers[0]).astype(np.float32)
        found = {"once": exact, "twice": points * arrays["scale"] + answers[0]}
        centred = {}
        if mean is not None:
            mean = mean.astype(np.float32)
            # Where x is the mean, nothing but the offset is left.
            offset = self(np.broadcast_to(mean, points.shape))[0]
            found["centred"] = (points - mean) * arrays["scale"] + offset
            centred = {"offset": offset, "mean": mean}
        wrong = {rounding: np.sum(numbers != answers) for rounding, numbers in found.items()}
        best = min(wrong, key=wrong.get)
        return best, {**arrays, **(centred if best == "centred" else {})}


def _key(number: np.ndarray) -> np.ndarray:
    """The place of float32 numbers among all of them, in order; 0 for both zeros."""
    pattern = np.asarray(number, np.float32).view(np.int32).astype(np.int64)
    return np.where(pattern < 0, -(pattern & 0x7FFFFFFF), pattern)


def _number(key: np.ndarray) -> np.ndarray:
    """The inverse of `_key`."""
    size = np.abs(key).astype(np.int32).view(np.float32)
    return np.where(key < 0, -size, size)
