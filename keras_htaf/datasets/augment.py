"""Random changes to training images that leave their class alone."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

Augmentation = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def shift(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Moves each image by up to an eighth of its height and width, in whole pixels.

    The border that comes free repeats the edge: unlike a constant, this is right whatever the
    normalisation.

    Args:
        x: Images of shape `(N, H, W, C)`.
        rng: Source of the random numbers.

    Returns:
        Images of the same shape.
    """
    count, height, width, _ = x.shape
    rows = _moved(height, count, rng)
    columns = _moved(width, count, rng)
    return x[np.arange(count)[:, None, None], rows[:, :, None], columns[:, None, :]]


def flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Mirrors each image left to right with probability one half.

    Args:
        x: Images of shape `(N, H, W, C)`.
        rng: Source of the random numbers.

    Returns:
        Images of the same shape.
    """
    mirrored = rng.random(len(x)) < 0.5
    return np.where(mirrored[:, None, None, None], x[:, :, ::-1], x)


def shift_flip(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Applies `shift`, then `flip`."""
    return flip(shift(x, rng), rng)


_BY_NAME = {"shift": shift, "shift_flip": shift_flip}


def get(identifier: str | Augmentation | None) -> Augmentation | None:
    """Returns the augmentation of that name, or the callable (or None) itself.

    Args:
        identifier: `"shift"`, `"shift_flip"`, a callable `(batch, generator) -> batch`, or None.

    Returns:
        A callable, or None for no augmentation.

    Raises:
        ValueError: If there is no augmentation of that name.
    """
    if identifier is None or callable(identifier):
        return identifier
    if identifier not in _BY_NAME:
        raise ValueError(
            f"Unknown augmentation {identifier!r}; expected one of {sorted(_BY_NAME)}, None, or a "
            "callable that takes (batch, numpy Generator) and returns the batch."
        )
    return _BY_NAME[identifier]


def _moved(size: int, count: int, rng: np.random.Generator) -> np.ndarray:
    """Source positions, `(count, size)`, of an axis moved by up to an eighth of its size."""
    reach = size // 8
    offsets = rng.integers(-reach, reach, size=(count, 1), endpoint=True)
    return np.clip(np.arange(size) + offsets, 0, size - 1)
