"""How good it is to find images by their bits: precision of Hamming distances on packed codes."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from keras_htaf.interpret.codes import Codes, check_positive
from keras_htaf.interpret.neighbours import hamming

_PAIRS_AT_ONCE = 2**21


def mean_average_precision(queries: Codes, database: Codes | None = None, *, k: int = 100) -> float:
    """mAP@k of retrieval by Hamming distance, where samples of the same class are relevant.

    The average precision of a query with R relevant samples in the database is

        AP@k = 1 / min(R, k) * sum over ranks i <= k with a relevant sample of
               (relevant ones among the first i) / i

    Many samples have the same distance; AP is its mean over all orders of these, in closed form
    (McSherry & Najork, 2008), so that the order of the database does not matter. Queries without
    any relevant sample are left out.

    Args:
        queries: Samples to search for, with labels.
        database: Samples to search among, with labels. Default: the queries, each of which
            searches among all others.
        k: Ranks that count, at most the size of the database. Default 100.

    Returns:
        The mean over the queries, in [0, 1].

    Raises:
        ValueError: If k is out of range, labels are missing, or no query has a relevant sample.

    Example:

    >>> codes = Codes([[0, 0], [0, 0], [1, 1], [1, 1]], np.eye(2), [0, 0], labels=[0, 0, 1, 1])
    >>> mean_average_precision(codes, k=1)
    1.0
    """
    alone = database is None
    database = queries if database is None else database
    _check(queries, database, k, len(database) - alone)
    labels, others = queries.needed("labels"), database.needed("labels")
    found = []
    for rows, distances in _in_parts(queries, database):
        relevant = labels[rows, None] == others
        counts = _per_distance(distances, np.ones_like(relevant), queries.num_bits)
        hits = _per_distance(distances, relevant, queries.num_bits)
        if alone:
            counts[:, 0] -= 1
            hits[:, 0] -= 1
        found.append(_average_precision(counts, hits, k))
    precisions = np.concatenate(found)
    if np.isnan(precisions).all():
        raise ValueError("No query has a sample of its class in the database.")
    return float(np.nanmean(precisions))


def _average_precision(counts: np.ndarray, hits: np.ndarray, k: int) -> np.ndarray:
    """AP@k of each query; the samples and the relevant ones at each distance, `(n, m + 1)`."""
    ends = counts.cumsum(axis=1)
    ranks = np.arange(1, k + 1)
    # The distance at each rank: how many distances end before it.
    places = np.arange(len(ends))[:, None] * (k + 1) + np.minimum(ends, k)
    level = np.bincount(places.ravel(), minlength=len(ends) * (k + 1)).reshape(-1, k + 1)
    level = level.cumsum(axis=1)[:, :k]
    here, of_these = (np.take_along_axis(each, level, axis=1) for each in (counts, hits))
    before = np.take_along_axis(ends, level, axis=1) - here
    hits_before = np.take_along_axis(hits.cumsum(axis=1), level, axis=1) - of_these
    place = ranks - before  # 1, 2, ... among the equally distant
    share = of_these / here
    earlier = (place - 1) * (of_these - 1) / np.maximum(here - 1, 1)
    expected = share * (hits_before + earlier + 1) / ranks
    total = hits.sum(axis=1)
    with np.errstate(invalid="ignore"):
        return expected.sum(axis=1) / np.where(total > 0, np.minimum(total, k), np.nan)


def _per_distance(distances: np.ndarray, chosen: np.ndarray, num_bits: int) -> np.ndarray:
    size = num_bits + 1
    numbers = np.arange(len(distances))[:, None] * size + distances
    return np.bincount(numbers[chosen], minlength=len(distances) * size).reshape(-1, size)


def _in_parts(queries: Codes, database: Codes) -> Iterator[tuple[slice, np.ndarray]]:
    step = max(1, _PAIRS_AT_ONCE // len(database))
    for begin in range(0, len(queries), step):
        rows = slice(begin, min(begin + step, len(queries)))
        yield rows, hamming(queries.packed[rows], database.packed)


def _check(queries: Codes, database: Codes, k: int, most: int) -> None:
    check_positive(k=k)
    if k > most:
        raise ValueError(f"Received k={k}. Expected at most {most}, the samples to be found.")
    if queries.num_bits != database.num_bits:
        raise ValueError(
            f"Received queries of {queries.num_bits} bits and a database of {database.num_bits}. "
            "Expected the same number."
        )
