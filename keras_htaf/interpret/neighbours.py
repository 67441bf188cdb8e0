"""The samples whose codes differ in the fewest bits."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from keras_htaf.interpret.codes import Codes, check_positive
from keras_htaf.interpret.results import Result

_ROWS_AT_ONCE = 8192


@dataclass(frozen=True, eq=False)
class Neighbours(Result):
    """The nearest samples to some codes, the nearest first; `nearest` makes it."""

    samples: np.ndarray
    """Their numbers, (q, k)."""
    distances: np.ndarray
    """In how many bits they differ, (q, k)."""


def hamming(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """In how many bits each pair of packed rows differs: (q, bytes), (n, bytes) -> int32 (q, n).

    Example:

    >>> hamming(np.packbits([[1, 0, 1]], axis=1), np.packbits([[1, 0, 1], [0, 1, 1]], axis=1))
    array([[0, 2]], dtype=int32)
    """
    first, second = _words(first), _words(second)
    distances = np.zeros((len(first), len(second)), "int32")
    for begin in range(0, len(second), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        for word in range(first.shape[1]):
            differ = first[:, word, None] ^ second[None, part, word]
            distances[:, part] += np.bitwise_count(differ)
    return distances


def nearest(codes: Codes, bits: np.ndarray, count: int = 5, leave_out=None) -> Neighbours:
    """The samples of `codes` nearest to given codes; of equally near ones the first.

    Args:
        codes: Among whose samples to look.
        bits: bool (q, m) or (m,).
        count: How many; as many as there are if these are fewer. Default 5.
        leave_out: For each given code the number of a sample to leave out, such as itself, (q,).

    Returns:
        `Neighbours` of shape (q, count).

    Raises:
        ValueError: If codes differ in length, or count is not a positive integer.

    Example:

    >>> codes = Codes([[0, 0], [0, 1], [1, 1]], np.eye(2), np.zeros(2))
    >>> nearest(codes, codes.bits[0], 2, leave_out=[0])
    Neighbours(samples=array([[1, 2]]), distances=array([[1, 2]], dtype=int32))
    """
    check_positive(count=count)
    bits = np.atleast_2d(np.asarray(bits, bool))
    if bits.shape[-1] != codes.num_bits or bits.ndim != 2:
        raise ValueError(f"Received bits of shape {bits.shape}. Expected (q, {codes.num_bits}).")
    count = min(count, len(codes) - (leave_out is not None))
    samples = np.empty((len(bits), count), "int64")
    distances = np.empty((len(bits), count), "int32")
    packed = np.packbits(bits, axis=1)
    at_once = max(1, _ROWS_AT_ONCE * 512 // len(codes))
    for begin in range(0, len(bits), at_once):
        part = slice(begin, begin + at_once)
        found = hamming(packed[part], codes.packed)
        if leave_out is not None:
            found[np.arange(len(found)), np.asarray(leave_out)[part]] = codes.num_bits + 1
        samples[part] = _first(found, count)
        distances[part] = np.take_along_axis(found, samples[part], axis=1)
    return Neighbours(samples, distances)


def _first(distances, count) -> np.ndarray:
    """Columns of the smallest distances of each row, by distance and then by number."""
    # Distance and number in one integer, so that a partial sort keeps the order of equals.
    keys = distances.astype("int64") * distances.shape[1] + np.arange(distances.shape[1])
    if count < keys.shape[1]:
        keys = np.partition(keys, count, axis=1)[:, :count]
    return np.sort(keys, axis=1) % distances.shape[1]


def _words(packed) -> np.ndarray:
    """Bytes as words of 64 bits, filled up with zeros."""
    padding = -packed.shape[1] % 8
    return np.ascontiguousarray(np.pad(packed, ((0, 0), (0, padding)))).view("uint64")
