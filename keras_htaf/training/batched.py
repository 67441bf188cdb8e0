"""Arrays in batches whose order can be kept."""

from __future__ import annotations

import random

import keras
import numpy as np
from keras import tree


class Arrays(keras.utils.PyDataset):
    """Arrays, or nested ones, in batches, in an order that Python's random state seeds.

    (What `fit` makes of arrays on TensorFlow is shuffled by a random state that cannot be read.)
    """

    def __init__(self, x, y, sample_weight, batch_size, shuffle):
        super().__init__()
        given = [part for part in (x, y, sample_weight) if part is not None]
        if y is None and sample_weight is not None:
            raise ValueError("Received sample_weight without y. Expected both.")
        parts = tuple(tree.map_structure(np.asarray, part) for part in given)
        lengths = {len(array) for array in tree.flatten(parts)}
        if len(lengths) != 1 or not min(lengths):
            raise ValueError(
                f"Received arrays of {sorted(lengths)} samples. Expected the same number of each."
            )
        (self._samples,) = lengths
        if batch_size is None:
            batch_size = 32
        if batch_size != int(batch_size) or batch_size < 1:
            raise ValueError(f"Received batch_size={batch_size!r}. Expected a positive integer.")
        self._batch_size, self._shuffle = batch_size, shuffle
        self._order = None
        # A function, which nobody looks into for what has changed.
        self._take = lambda chosen: tree.map_structure(lambda array: array[chosen], parts)

    def __len__(self) -> int:
        return -(-self._samples // self._batch_size)

    def __getitem__(self, index: int):
        begin = index * self._batch_size
        end = min(begin + self._batch_size, self._samples)
        chosen = slice(begin, end) if self._order is None else self._order[begin:end]
        return self._take(chosen)

    def on_epoch_begin(self):
        if self._shuffle:
            seeded = np.random.default_rng(random.getrandbits(64))
            self._order = seeded.permutation(self._samples)
