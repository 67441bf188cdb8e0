"""Bits in units: how channels lie in memory."""

from __future__ import annotations

import numpy as np

UNIT = 16
"""Channels of a unit."""


def units_of(runs: tuple[int, ...]) -> int:
    """In how many units runs of channels lie, each of which begins with a unit."""
    return sum(-(-run // UNIT) for run in runs)


def to_units(bits: np.ndarray, runs: tuple[int, ...]) -> np.ndarray:
    """Bits of the last axis, whose sizes are the runs, as uint16; a run's last unit ends with 0.

    >>> to_units(np.array([True, False, True]), (2, 1)).tolist()
    [1, 1]
    """
    bits, leading = np.asarray(bits, bool), np.shape(bits)[:-1]
    found, at = np.zeros((*leading, units_of(runs) * UNIT), bool), 0
    for start, run in zip(np.cumsum((0, *runs)), runs, strict=False):
        found[..., at : at + run] = bits[..., start : start + run]
        at += -(-run // UNIT) * UNIT
    return np.packbits(found, axis=-1, bitorder="little").view("<u2").astype(np.uint16, copy=False)


def from_units(units: np.ndarray, runs: tuple[int, ...]) -> np.ndarray:
    """The bits of units, bool, (..., channels); the inverse of `to_units`."""
    found = np.unpackbits(units.astype("<u2", copy=False).view(np.uint8), -1, bitorder="little")
    if len(set(runs)) == 1:
        wide = -(-runs[0] // UNIT) * UNIT
        found = found.reshape(*units.shape[:-1], len(runs), wide)[..., : runs[0]]
        return found.reshape(*units.shape[:-1], -1).astype(bool)
    pieces, at = [], 0
    for run in runs:
        pieces.append(found[..., at : at + run])
        at += -(-run // UNIT) * UNIT
    return np.concatenate(pieces, axis=-1).astype(bool)


def to_bytes(bits: np.ndarray) -> np.ndarray:
    """Bits of the last axis as uint8, bit i of a row in byte i // 8 at the place i % 8."""
    return np.packbits(np.asarray(bits, bool), axis=-1, bitorder="little")


def from_bytes(octets: np.ndarray, count: int) -> np.ndarray:
    """The first `count` bits of each row, bool."""
    return np.unpackbits(octets, axis=-1, count=count, bitorder="little").astype(bool)
