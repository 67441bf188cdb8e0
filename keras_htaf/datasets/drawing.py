"""Drawing figures on small images: signed distances, antialiased by one pixel, many at once."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

CIRCLE, SQUARE, TRIANGLE = range(3)

_SQUARE = np.sqrt(np.pi) / 2
_TRIANGLE = np.sqrt(np.pi / np.sqrt(27))
"""Half a side and the inner radius, of the figures whose area is that of a circle of radius 1."""

_OUTLINE = 0.045
_STRIPES = 0.13
"""Width of an outline and the period of stripes, in sides of the image."""

_IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class Figures:
    """One figure for each of n images; lengths in sides of the image, colours in 0..255.

    Attributes:
        kind: CIRCLE, SQUARE or TRIANGLE, `(n,)`; all have the area of a circle of that radius.
        centre: x to the right and y down, `(n, 2)`.
        radius: `(n,)`.
        angle: Turn in radians, `(n,)`.
        ink: Colour of the figure, `(n, 3)`.
        paper: Colour behind it, `(n, 3)`.
        striped: Whether dark stripes cross the figure, `(n,)`.
        stripe_angle: Their direction in radians, `(n,)`.
        outlined: Whether a black line runs around the figure, `(n,)`.
    """

    kind: np.ndarray
    centre: np.ndarray
    radius: np.ndarray
    angle: np.ndarray
    ink: np.ndarray
    paper: np.ndarray
    striped: np.ndarray
    stripe_angle: np.ndarray
    outlined: np.ndarray

    def __len__(self) -> int:
        return len(self.kind)

    def __getitem__(self, rows: slice) -> Figures:
        return Figures(**{name: values[rows] for name, values in vars(self).items()})


def draw(figures: Figures, size: int, noise: float, random: np.random.RandomState) -> np.ndarray:
    """Images of figures.

    Args:
        figures: What to draw.
        size: Height and width in pixels.
        noise: Standard deviation of the normal noise on each channel of each pixel, in grey levels
            of 255.
        random: Where the noise comes from.

    Returns:
        uint8, `(n, size, size, 3)`.
    """
    images = np.empty((len(figures), size, size, 3), np.uint8)
    for start in range(0, len(figures), _IMAGES_AT_ONCE):
        rows = slice(start, start + _IMAGES_AT_ONCE)
        pixels = _draw(figures[rows], size)
        if noise:
            pixels += (noise * random.standard_normal(pixels.shape)).astype(np.float32)
        images[rows] = np.clip(np.rint(pixels), 0, 255)
    return images


def _draw(figures: Figures, size: int) -> np.ndarray:
    middles = (np.arange(size, dtype=np.float32) + 0.5) / size
    x = middles[None, None, :] - _wide(figures.centre[:, 0])
    y = middles[None, :, None] - _wide(figures.centre[:, 1])
    distance = size * _distance(figures, x, y)
    inside = np.clip(0.5 - distance, 0, 1)

    across = x * _wide(np.cos(figures.stripe_angle)) + y * _wide(np.sin(figures.stripe_angle))
    phase = across / _STRIPES % 1
    # A triangle wave is the distance to the nearest edge of a stripe: antialiased like the figure.
    dark = np.clip(0.5 + (np.abs(phase - 0.5) - 0.25) * (_STRIPES * size), 0, 1)
    ink = 1 - 0.75 * dark * _wide(figures.striped)

    width = _OUTLINE * size
    line = np.clip(0.5 + width / 2 - np.abs(distance + width / 2), 0, 1) * _wide(figures.outlined)
    pixels = (1 - inside)[..., None] * _wide(figures.paper)
    pixels += (inside * ink)[..., None] * _wide(figures.ink)
    return pixels * (1 - line)[..., None]


def _distance(figures: Figures, x: np.ndarray, y: np.ndarray) -> np.ndarray:
    """Signed distance to the figure's edge (at its corners, to the nearest side), negative inside.

    In sides of the image. All three figures are maxima: of a norm, or of distances to sides.
    """
    cos, sin = _wide(np.cos(figures.angle)), _wide(np.sin(figures.angle))
    u, v = cos * x - sin * y, sin * x + cos * y
    radius, kind = _wide(figures.radius), _wide(figures.kind)
    circle = np.sqrt(u**2 + v**2) - radius
    square = np.maximum(np.abs(u), np.abs(v)) - np.float32(_SQUARE) * radius
    slope = np.float32(np.sqrt(0.75))
    triangle = np.maximum(v, slope * np.abs(u) - v / 2) - np.float32(_TRIANGLE) * radius
    return np.where(kind == CIRCLE, circle, np.where(kind == SQUARE, square, triangle))


def _wide(values: np.ndarray) -> np.ndarray:
    """One value, or one vector, for each image: with axes for its rows and columns."""
    return np.asarray(values, np.float32).reshape(len(values), 1, 1, *values.shape[1:])
