"""Batches that are read and decoded ahead of the training, by threads or other processes."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np

from keras_htaf.datasets import augment as augmentations
from keras_htaf.datasets.batches import Batches
from keras_htaf.datasets.extras import require
from keras_htaf.datasets.recipe import check_integers

if TYPE_CHECKING:
    from keras_htaf.datasets.split import Split

_STEPS = 2**40
"""More than any training takes: the pipeline runs from epoch to epoch without being set up anew."""


class Stream(Batches):
    """A split in batches that are made ahead, by `Split.stream`, which documents the arguments.

    They are the batches that `Split.batches` gives, number for number, and `fit` takes them in
    the same way. No image is kept: in memory are the batches that were made ahead, and four bytes
    for each image that was read, its label (and eight with `shuffle`, the order of the epoch).

    Args: the split, and those of `Split.stream`.

    Attributes:
        epoch: The epoch that the batches now belong to.
        recipe: What makes a batch, given an epoch and a number.

    Example:

    >>> stream = keras_htaf.datasets.load("digits").train.stream(64, shuffle=True)
    >>> len(stream), sum(len(y) for x, y in stream.dataset(epoch=3, step=20))
    (21, 14)
    >>> stream.close()
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
        threads: int = 2,
        processes: int = 0,
        prefetch: int = 4,
    ):
        check_integers(0, threads=threads, processes=processes)
        check_integers(1, prefetch=prefetch)
        grain = require("grain", "A stream of batches", "grain")
        split = _unkept(split)
        options = (batch_size, shuffle, seed, augment, drop_remainder, initial_epoch, shard)
        super().__init__(split, *options)
        each = -(-prefetch // max(processes, 1))
        self._read = grain.ReadOptions(num_threads=threads, prefetch_buffer_size=max(each, threads))
        self._processes = grain.MultiprocessingOptions(processes, each) if processes else None
        self._ahead = _Ahead()

    def __getstate__(self) -> dict[str, Any]:
        # A copy, here or in another process, reads for itself.
        return {**vars(self), "_ahead": _Ahead()}

    def dataset(self, epoch: int | None = None, step: int = 0) -> Any:
        """What is left of an epoch, as a `grain.IterDataset`, which `fit` takes, too.

        So a training goes on that was interrupted within an epoch: one `fit` on
        `stream.dataset(3, step=120)` to the end of epoch 3, then `fit(stream, ...)` from epoch 4.

        Args:
            epoch: Default: that which the stream is at.
            step: How many of its batches to leave out. Default 0.

        Returns:
            The batches `(x, y)`, once.

        Raises:
            ValueError: If the epoch has no such step.
        """
        epoch = self.epoch if epoch is None else epoch
        check_integers(0, epoch=epoch, step=step)
        if step >= len(self):
            raise ValueError(f"step is {step}; expected one of an epoch's {len(self)}, from 0.")
        return self._pipeline(epoch * len(self) + step, (epoch + 1) * len(self))

    def close(self) -> None:
        """Ends the threads or processes; they start anew when a batch is asked for."""
        self._ahead.close()

    def __iter__(self) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        return iter(self.dataset())

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        # Keras looks at the first batches before an epoch, too: these are made here and now.
        within = self._served is not None and self._served < len(self)
        if not within or not 0 <= index < len(self) or self._parallel():
            return super().__getitem__(index)
        number = self.epoch * len(self) + self._position(index)
        if self._ahead.number != number:
            self._ahead.start(self._pipeline(number, _STEPS), number)
        return next(self._ahead)

    def _pipeline(self, start: int, stop: int) -> Any:
        grain = require("grain", "A stream of batches", "grain")
        numbers = grain.MapDataset.range(start, stop)
        batches = numbers.map(_Maker(self.recipe)).to_iter_dataset(self._read)
        if not self._processes:
            return batches
        flags = require("absl.flags", "A stream of batches", "grain").FLAGS
        if not flags.is_parsed():  # grain's processes ask for them, which few programs parse
            flags.mark_as_parsed()
        return batches.mp_prefetch(self._processes)


class _Ahead:
    """Batches that are made ahead, and the number, counted over all epochs, of the next of them.

    The two go together: what counts the steps of a training may be set back, they may not.
    """

    def __init__(self):
        self._batches: Any = None  # or an iterator of grain's
        self.number = -1  # where it is unknown

    def start(self, batches: Any, number: int) -> None:
        self.close()
        self._batches, self.number = iter(batches), number

    def __next__(self) -> tuple[np.ndarray, np.ndarray]:
        number, self.number = self.number, -1  # and so it stays if this is interrupted
        batch = next(self._batches)
        self.number = number + 1
        return batch

    def close(self) -> None:
        batches, self._batches, self.number = self._batches, None, -1
        if batches is not None:
            batches.close()


class _Maker:
    """The recipe as a function of one number, which other processes can be sent."""

    def __init__(self, recipe):
        self.recipe = recipe

    def __call__(self, number: int) -> tuple[np.ndarray, np.ndarray]:
        return self.recipe(*divmod(number, len(self.recipe)))


def _unkept(split: Split) -> Split:
    """The same split from a source that keeps no image in memory, where it has such a twin."""
    split = copy.copy(split)
    split.source = getattr(split.source, "unkept", lambda: split.source)()
    return split
