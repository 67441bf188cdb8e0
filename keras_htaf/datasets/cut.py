"""Cutting one set of rows into two, class by class."""

from __future__ import annotations

import numpy as np

TEST_FRACTION = 0.2
# The test rows never depend on the user's seed: a figure measured on them stays comparable.
TEST_SEED = 0


def cut(
    rows: np.ndarray, labels: np.ndarray, fraction: float, seed: int, what: str
) -> tuple[np.ndarray, np.ndarray]:
    """Cuts a random, stratified fraction out of some rows.

    Args:
        rows: Integers of shape `(N,)`.
        labels: Their classes, shape `(N,)`; all equal for a cut that is not stratified.
        fraction: Share to cut out, above 0 and below 1.
        seed: Integer from 0 to 2**32 - 1.
        what: Name of the part to be cut out, for an error message.

    Returns:
        `(kept, part)`, both sorted: `part` holds `round(fraction * N)` rows and every class in it
        has its own share, within one row.

    Raises:
        ValueError: If one of the two parts would be empty.
    """
    count = round(fraction * len(rows))
    if not 0 < count < len(rows):
        raise ValueError(
            f"Cannot cut the {what} part, a fraction {fraction} of {len(rows)} images: it would "
            f"hold {count}. Use more images, or another fraction (0 for no {what} part)."
        )
    # RandomState's stream is frozen for good, the newer Generator's may change with numpy.
    random = np.random.RandomState(seed)
    order = random.permutation(len(rows))
    order = order[np.argsort(labels[order], kind="stable")]
    # Evenly spaced picks from the rows sorted by class take from each class its share.
    picks = ((np.arange(count) + random.uniform()) * len(rows) / count).astype(np.int64)
    part = np.zeros(len(rows), dtype=bool)
    part[order[picks]] = True
    return rows[~part], rows[part]


def cut_test(rows: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Cuts the test part, a fifth of the rows and always the same ones, as `cut` does."""
    return cut(rows, labels, TEST_FRACTION, TEST_SEED, "test")


def cut_validation(
    rows: np.ndarray, labels: np.ndarray, fraction: float, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Cuts the validation part as `cut` does; with a fraction of 0 there is none (None)."""
    if fraction == 0:
        return rows, None
    return cut(rows, labels, fraction, seed, "validation")
