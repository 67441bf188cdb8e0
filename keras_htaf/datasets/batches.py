"""Batches whose order depends on nothing but seed and epoch."""

from __future__ import annotations

from typing import TYPE_CHECKING

import keras
import numpy as np

from keras_htaf.datasets import augment as augmentations

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
    ):
        super().__init__()
        for name, value, least in (
            ("batch_size", batch_size, 1),
            ("seed", seed, 0),
            ("initial_epoch", initial_epoch, 0),
        ):
            if value != int(value) or value < least:
                raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}.")
        if drop_remainder and batch_size > len(split):
            raise ValueError(
                f"drop_remainder=True leaves nothing: batch_size is {batch_size}, but there are "
                f"only {len(split)} images. Use a smaller batch, or drop_remainder=False."
            )
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.epoch = initial_epoch
        self._augment = augmentations.get(augment)
        self._length = len(split) // batch_size if drop_remainder else -(-len(split) // batch_size)
        self._order: tuple[int, np.ndarray] | None = None
        # Batches handed out since the epoch began; None outside an epoch.
        self._served: int | None = None

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        if not 0 <= index < len(self):
            raise IndexError(f"Batch {index} is out of range: there are {len(self)} batches.")
        index = self._position(index)
        indices = self._indices(index)
        x, y = self.split.read(indices)
        if self._augment is not None:
            # The order of the epoch is seeded by two numbers; numpy pads seeds with zeros, so a
            # third number of 0 would draw the same stream again.
            rng = np.random.default_rng([self.seed, self.epoch, index + 1])
            shape, x = x.shape, np.asarray(self._augment(x, rng), dtype=np.float32)
            if x.shape != shape:
                raise ValueError(
                    f"augment returned images of shape {x.shape} for a batch of shape {shape}; "
                    "expected the same shape."
                )
        return x, y

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

    def _indices(self, index: int) -> np.ndarray:
        start = index * self.batch_size
        stop = min(start + self.batch_size, len(self.split))
        if not self.shuffle:
            return np.arange(start, stop)
        if self._order is None or self._order[0] != self.epoch:
            rng = np.random.default_rng([self.seed, self.epoch])
            self._order = (self.epoch, rng.permutation(len(self.split)))
        return self._order[1][start:stop]
