"""Counts and correlations of bits, by matrix products."""

from __future__ import annotations

import numpy as np

_ROWS_AT_ONCE = 1 << 16


def joint_counts(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """On how many samples both bits are on, for each pair of columns: (n, a), (n, b) -> (a, b)."""
    total = np.zeros((first.shape[1], second.shape[1]))
    for begin in range(0, len(first), _ROWS_AT_ONCE):
        part = slice(begin, begin + _ROWS_AT_ONCE)
        # float32 holds counts of a block exactly, and multiplies in half the time.
        total += first[part].T.astype("float32") @ second[part].astype("float32")
    return total


def phi(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """The phi coefficient, which is Pearson's correlation of bits, for each pair of columns.

    With n_1, n_2 the samples on which each bit is on, n_12 those on which both are:

        phi = (n n_12 - n_1 n_2) / sqrt(n_1 (n - n_1) n_2 (n - n_2))

    It is exactly 1 for equal and -1 for complementary bits; 0 where a bit never varies.

    Args:
        first: bool (n, a).
        second: bool (n, b).

    Returns:
        float64 (a, b).
    """
    n = float(len(first))
    ones = [bits.sum(axis=0).astype("float64") for bits in (first, second)]
    spread = np.outer(*(on * (n - on) for on in ones))
    covered = n * joint_counts(first, second) - np.outer(*ones)
    # The square root of a rounded square is exact: hence one root of the product, not two.
    return np.divide(covered, np.sqrt(spread), out=np.zeros_like(covered), where=spread > 0)


def entropy(p) -> np.ndarray:
    """Of a bit that is on with probability p, in bits; elementwise."""
    p = np.asarray(p, "float64")
    shares = np.stack([p, 1 - p])
    return -np.sum(shares * np.log2(shares, out=np.zeros_like(shares), where=shares > 0), axis=0)
