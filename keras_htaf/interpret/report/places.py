"""Maps of bits on the images that are shown, in one byte for each of their parts."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.maps import Locator

_MOST_CELLS = 14
_NUMBERS_AT_ONCE = 2**24


@dataclass(frozen=True, eq=False)
class Places:
    """Maps of pairs of an image and a bit."""

    kind: str
    pairs: dict[tuple[int, int], int]
    """The place of each (image, bit) among the maps."""
    values: np.ndarray
    """int8 (pairs, h, w): 127 is the largest size that the bit's maps have here."""
    scales: dict[int, float]
    """That size for each bit, in units of its concept logit."""


def places(locator: Locator, x: np.ndarray, pairs: Iterable[tuple[int, int]], method) -> Places:
    """The maps of pairs (image, bit), in the order in which they come."""
    pairs = list(dict.fromkeys(pairs))
    images = sorted({image for image, _ in pairs})
    of_image: dict[int, list[int]] = {image: [] for image in images}
    for number, (image, _) in enumerate(pairs):
        of_image[image].append(number)
    values, kind, at_once = None, "exact", 8
    while images:
        part, images = images[:at_once], images[at_once:]
        wanted = sorted({pairs[number][1] for image in part for number in of_image[image]})
        found = locator.maps(x[part], wanted, method=method)
        kind, small = found.kind, _shrunk(found.values)
        if values is None:
            values = np.empty((len(pairs), *small.shape[1:3]), "float32")
            full = np.prod(found.values.shape[1:3]) * locator.logits.output_shape[-1]
            at_once = int(np.clip(_NUMBERS_AT_ONCE // full, 1, locator.batch_size))
        column = {bit: place for place, bit in enumerate(wanted)}
        for row, image in enumerate(part):
            for number in of_image[image]:
                values[number] = small[row, ..., column[pairs[number][1]]]
    if values is None:
        return Places(kind, {}, np.empty((0, 1, 1), "int8"), {})
    bits = np.array([bit for _, bit in pairs])
    sizes = np.abs(values).max(axis=(1, 2))
    scales = {int(bit): float(sizes[bits == bit].max()) for bit in np.unique(bits)}
    divisor = np.array([scales[bit] or 1.0 for bit in bits])[:, None, None]
    numbers = {pair: number for number, pair in enumerate(pairs)}
    return Places(kind, numbers, np.rint(127 * values / divisor).astype("int8"), scales)


def _shrunk(maps: np.ndarray) -> np.ndarray:
    """Maps (n, h, w, b) of at most 14 parts a side: means of neighbouring parts."""
    for axis in (1, 2):
        size = maps.shape[axis]
        if size > _MOST_CELLS:
            edges = np.linspace(0, size, _MOST_CELLS + 1).round().astype(int)
            counts = np.diff(edges).reshape([-1 if a == axis else 1 for a in range(4)])
            maps = np.add.reduceat(maps, edges[:-1], axis=axis) / counts
    return maps
