"""Batches whose order depends on nothing but seed and epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_htaf.datasets import augment as augmentations
from keras_htaf.datasets.recipe import Recipe, check_integers

if TYPE_CHECKING:
    from keras_htaf.datasets.split import Split


class Batches(keras.utils.PyDataset):
    """A split in batches, made by `Split.batches`, which documents the arguments.

    Which images come when, and how they are augmented, is a function of `(seed, epoch)` alone.
    `fit` counts the epochs up by itself, so that a training that goes on from epoch k sees the
    same batches as one that was never interrupted:

        model.fit(train.batches(shuffle=True, initial_epoch=k), initial_epoch=k, epochs=n)

    A run through `evaluate` or `predict` also counts as an epoch: make other batches for those.
    Leave `fit`'s `steps_per_epoch` unset. `epoch` may be set between epochs, for instance in a
    callback's `on_epoch_begin`.

    Args: the split, and those of `Split.batches`.

    Attributes:
        epoch: The epoch that the batches now belong to.
        recipe: What makes a batch, given an epoch and a number.

    Example:

    >>> batches = keras_htaf.datasets.load("digits").train.batches(64, shuffle=True)
    >>> x, y = batches[0]
    >>> len(batches), x.shape, y.shape
    (21, (64, 8, 8, 1), (64,))
    """

    def __init__(
        self,
        split: Split,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        augment: str | augmentations.Augmentation | None = None,
        drop_remainder: bool = False,
        initial_epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
    ):
        super().__init__()
        check_integers(0, initial_epoch=initial_epoch)
        self.recipe = Recipe(split, batch_size, shuffle, seed, augment, drop_remainder, shard)
        self.epoch = initial_epoch
        # Batches handed out since the epoch began; None outside an epoch.
        self._served: int | None = None

    def __len__(self) -> int:
        return len(self.recipe)

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} is out of range: there are {len(self)} batches.")
        return self.recipe(self.epoch, self._position(index))

    def on_epoch_begin(self) -> None:
        self._served = 0

    def on_epoch_end(self) -> None:
        # Keras also calls this when it starts over before the first epoch, in some cases after
        # one batch from which it builds the model: only an epoch that was had counts.
        # With a single batch the two look alike; so they do where workers read ahead.
        if self._served is not None and (self._served == len(self) or self._parallel()):
            self.epoch += 1
        self._served = None

    def _position(self, index: int) -> int:
        """Keeps our order where `fit`, by default, asks for batches in a random one.

        `fit(shuffle=True)` draws from Python's global random state, which a resumed training does
        not share. Several workers may ask out of turn: with them pass `fit(shuffle=False)`, and
        set `epoch` from a callback.
        """
        if self._served is None or self._served == len(self) or self._parallel():
            return index
        self._served += 1
        return self._served - 1

    def _parallel(self) -> bool:
        return self.workers > 1 or self.use_multiprocessing
