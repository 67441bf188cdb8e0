"""One part of a data set: random access to images and labels."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property
from typing import Protocol

import numpy as np

from keras_htaf.datasets.augment import Augmentation
from keras_htaf.datasets.batches import Batches
from keras_htaf.datasets.preprocessing import Preprocessing
from keras_htaf.datasets.stream import Stream

_BYTES_AT_ONCE = 2**24


class Source(Protocol):
    """Where rows come from: memory, or records that are decoded when they are asked for."""

    @property
    def image_shape(self) -> tuple[int, int, int]: ...

    @property
    def full_scale(self) -> float | None: ...

    def __len__(self) -> int: ...

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Raw images `(n, H, W, C)` and int32 labels `(n,)` of some rows."""

    def labels(self, rows: np.ndarray) -> np.ndarray:
        """The int32 labels alone, `(n,)`."""

    def attributes(self, rows: np.ndarray) -> np.ndarray | None:
        """What else is known of each image, bool `(n, A)`; None if nothing is."""


class Split:
    """Images and labels of one part (train, validation or test) of a data set.

    Args:
        source: Where the rows come from.
        rows: The source's rows that belong to this part; None (default) for all.
        preprocessing: From raw pixels to network input. Default: none, raw float32 values.

    Example:

    >>> train = keras_htaf.datasets.load("digits").train
    >>> x, y = train.arrays(limit=100)
    >>> x.shape, y.shape
    ((100, 8, 8, 1), (100,))
    """

    def __init__(
        self,
        source: Source,
        rows: np.ndarray | None = None,
        preprocessing: Preprocessing | None = None,
    ):
        self.source = source
        self.rows = np.arange(len(source)) if rows is None else rows
        self.preprocessing = preprocessing or Preprocessing()

    def __len__(self) -> int:
        return len(self.rows)

    def __repr__(self) -> str:
        return f"Split({len(self)} images of shape {self.image_shape})"

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return self.source.image_shape

    @cached_property
    def labels(self) -> np.ndarray:
        """All labels, int32 of shape `(N,)`; reading them decodes no image."""
        return self.source.labels(self.rows)

    @cached_property
    def attributes(self) -> np.ndarray | None:
        """What each image shows, bool of shape `(N, A)`, where that is known (`"shapes"`)."""
        return self.source.attributes(self.rows)

    def images(self, indices: int | slice | np.ndarray) -> np.ndarray:
        """Returns raw images.

        Args:
            indices: Positions in this split, anything that indexes a numpy vector.

        Returns:
            Images of shape `(n, H, W, C)`: uint8, or float32 where the user's own data are. One
            integer gives n = 1.

        Raises:
            IndexError: If a position is out of range.
        """
        return self.source.read(np.atleast_1d(self.rows[indices]))[0]

    def read(self, indices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Returns normalised images and labels.

        Args:
            indices: Positions in this split, shape `(n,)`.

        Returns:
            `(x, y)`: float32 of shape `(n, H, W, C)` and int32 of shape `(n,)`.
        """
        raw, labels = self.source.read(self.rows[indices])
        return self.preprocessing(raw), labels

    def chunks(self, limit: int | None = None) -> Iterator[np.ndarray]:
        """Yields positions 0, 1, ... in pieces whose raw images take a few MiB.

        Args:
            limit: Stop there; None (default) for all.

        Yields:
            Consecutive positions in this split.
        """
        count = len(self) if limit is None else min(limit, len(self))
        step = max(1, _BYTES_AT_ONCE // int(np.prod(self.image_shape)))
        for start in range(0, count, step):
            yield np.arange(start, min(start + step, count))

    def arrays(self, limit: int | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Returns the split, or its first images, as two arrays.

        Args:
            limit: At most that many images; None (default) for all.

        Returns:
            `(x, y)`: normalised float32 of shape `(n, H, W, C)` and int32 of shape `(n,)`.
        """
        count = len(self) if limit is None else min(limit, len(self))
        x = np.empty((count, *self.image_shape), dtype=np.float32)
        y = np.empty(count, dtype=np.int32)
        for indices in self.chunks(limit):
            x[indices], y[indices] = self.read(indices)
        return x, y

    def batches(
        self,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        augment: str | Augmentation | None = None,
        drop_remainder: bool = False,
        initial_epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
    ) -> Batches:
        """Returns the split in batches, for `fit`, `evaluate` and `predict`.

        Args:
            batch_size: Images in a batch. Default 64.
            shuffle: Whether each epoch has its own random order. Default False.
            seed: Seeds order and augmentation. Default 0.
            augment: `"shift"`, `"shift_flip"`, or a callable that takes normalised images
                `(n, H, W, C)` and a numpy Generator and returns as many images of that shape.
                Default None.
            drop_remainder: Whether to leave out a last, smaller batch. Default False.
            initial_epoch: Epoch to start at, as in `fit`. Default 0.
            shard: `(index, count)`, which of count processes this is: each gets another part of
                the same steps, of `count * batch_size` images together. They augment their parts
                independently. Default `(0, 1)`.

        Returns:
            A `keras.utils.PyDataset` of `(x, y)`.

        Raises:
            ValueError: If an argument is out of range, or there is not one whole batch.

        Example:

        >>> batches = keras_htaf.datasets.load("digits").train.batches(32, shuffle=True, seed=1)
        >>> len(batches), batches[0][0].shape
        (41, (32, 8, 8, 1))
        """
        options = (batch_size, shuffle, seed, augment, drop_remainder, initial_epoch, shard)
        return Batches(self, *options)

    def stream(
        self,
        batch_size: int = 64,
        shuffle: bool = False,
        seed: int = 0,
        augment: str | Augmentation | None = None,
        drop_remainder: bool = False,
        initial_epoch: int = 0,
        shard: tuple[int, int] = (0, 1),
        threads: int = 2,
        processes: int = 0,
        prefetch: int = 4,
    ) -> Stream:
        """Returns the same batches, made ahead of the training, without keeping images in memory.

        Args:
            batch_size: As in `batches`, like all that follow up to `shard`.
            shuffle: See `batches`.
            seed: See `batches`.
            augment: See `batches`; with `processes`, one that can be pickled.
            drop_remainder: See `batches`.
            initial_epoch: See `batches`.
            shard: See `batches`.
            threads: Threads that read, decode and augment, in each process; 0 for none, so that
                nothing is made ahead. Default 2.
            processes: Other processes that do so. They are started once, by importing the main
                script, whose own doings must then stand behind `if __name__ == "__main__":`.
                Default 0, for threads of this one: decoding large JPEGs lets other threads run;
                where Python itself is busy, with small images, a process gains more.
            prefetch: How many batches are made ahead. Default 4.

        Returns:
            A `keras.utils.PyDataset` of `(x, y)`, whose `dataset()` is a `grain.IterDataset`.

        Raises:
            ValueError: As for `batches`.
            ImportError: If grain is missing, the extra `keras-htaf[grain]`.

        Example:

        >>> stream = keras_htaf.datasets.load("digits").train.stream(32, shuffle=True, seed=1)
        >>> sum(len(y) for x, y in stream)
        1294
        """
        options = (batch_size, shuffle, seed, augment, drop_remainder, initial_epoch, shard)
        return Stream(self, *options, threads, processes, prefetch)
