"""From raw pixel values to what a network is fed: one scale, one offset."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import keras
import numpy as np

NORMALIZATIONS = ("unit", "standard", None)


@dataclass(frozen=True)
class Preprocessing:
    """An affine map of raw pixels: `normalised = raw * scale + offset`.

    Args:
        scale: A number, or one number per channel. Default 1.
        offset: A number, or one number per channel. Default 0.

    Example:

    >>> Preprocessing(scale=1 / 255)(np.array([0, 255], dtype="uint8"))
    array([0., 1.], dtype=float32)
    """

    scale: float | tuple[float, ...] = 1.0
    offset: float | tuple[float, ...] = 0.0

    def __call__(self, raw: np.ndarray) -> np.ndarray:
        """Normalises raw images, shape `(..., C)`, into a new float32 array."""
        x = np.array(raw, dtype=np.float32)
        x *= np.asarray(self.scale, np.float32)
        x += np.asarray(self.offset, np.float32)
        return x

    def invert(self, x: np.ndarray) -> np.ndarray:
        """Turns normalised images, shape `(..., C)`, back into raw values, float32."""
        scale, offset = (np.asarray(v, np.float32) for v in (self.scale, self.offset))
        return ((x - offset) / scale).astype(np.float32)

    def layer(self, name: str = "preprocessing") -> keras.layers.Rescaling:
        """Returns the same map as a layer, to put in front of an exported model.

        Args:
            name: The layer's name.

        Returns:
            A `keras.layers.Rescaling` that takes raw images of any dtype, channels last.
        """
        return keras.layers.Rescaling(self.scale, self.offset, name=name)


def unit(full_scale: float | None) -> Preprocessing:
    """Maps 0..full_scale to [0, 1].

    Args:
        full_scale: The raw value of white; None if it is not known.

    Returns:
        The preprocessing.

    Raises:
        ValueError: If the full scale is not known.
    """
    if full_scale is None:
        raise ValueError(
            'normalize="unit" needs to know the raw value of white, but these images are '
            "floating-point numbers beyond [0, 1]. Store them as uint8 (0..255) or scale them to "
            '[0, 1] yourself, or pass normalize="standard" or normalize=None.'
        )
    return Preprocessing(scale=1.0 / full_scale)


def standard(chunks: Iterable[np.ndarray]) -> Preprocessing:
    """Maps each channel to zero mean and unit variance over all given images.

    A channel that never changes is only centred.

    Args:
        chunks: Raw images, `(n, H, W, C)` at a time: no copy of the whole is made.

    Returns:
        The preprocessing, one scale and offset per channel.
    """
    count, mean, squares = 0, 0.0, 0.0
    for chunk in chunks:
        pixels = chunk.reshape(-1, chunk.shape[-1]).astype(np.float64)
        size, chunk_mean = len(pixels), pixels.mean(axis=0)
        # Chan's update of mean and squared deviations: no large sums are subtracted.
        delta = chunk_mean - mean
        squares += ((pixels - chunk_mean) ** 2).sum(axis=0)
        squares += delta**2 * count * size / (count + size)
        mean += delta * size / (count + size)
        count += size
    deviation = np.sqrt(squares / count)
    scale = 1.0 / np.where(deviation > 0, deviation, 1.0)
    return Preprocessing(tuple(scale.tolist()), tuple((-mean * scale).tolist()))
