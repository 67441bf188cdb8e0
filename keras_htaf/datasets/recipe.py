"""Which images a batch holds and what they look like: a function of epoch and number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from keras_htaf.datasets import augment as augmentations

if TYPE_CHECKING:
    from keras_htaf.datasets.split import Split


class Recipe:
    """Makes batch `index` of an epoch, from nothing but its arguments: anywhere, in any order.

    With `shard=(i, s)` it makes the i-th of s parts of each batch of `s * batch_size` images, so
    that what s processes read in a step together is what one would read with that batch size.

    Args:
        split: The images.
        batch_size: Images in a batch, of this shard.
        shuffle: Whether each epoch has its own random order.
        seed: Of order and augmentation.
        augment: Name of an augmentation, or a callable `(images, generator) -> images`, or None.
        drop_remainder: Whether to leave out a last, smaller batch.
        shard: `(index, count)`.
    """

    def __init__(
        self,
        split: Split,
        batch_size: int,
        shuffle: bool = False,
        seed: int = 0,
        augment: str | augmentations.Augmentation | None = None,
        drop_remainder: bool = False,
        shard: tuple[int, int] = (0, 1),
    ):
        check_integers(1, batch_size=batch_size)
        check_integers(0, seed=seed)
        self.split = split
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.augment = augmentations.get(augment)
        self.shard = _checked_shard(shard)
        self.drop_remainder = drop_remainder
        together, count = batch_size * self.shard[1], len(split)
        if drop_remainder and together > count:
            raise ValueError(
                f"drop_remainder=True leaves nothing: batch_size is {batch_size}"
                + (f" in each of {self.shard[1]} shards" if self.shard[1] > 1 else "")
                + f", but there are only {count} images. Use a smaller batch, or "
                "drop_remainder=False."
            )
        if not drop_remainder and 0 < count % together < self.shard[1]:
            raise ValueError(
                f"The last step has {count % together} images for {self.shard[1]} shards: some "
                "would get an empty batch. Use another batch_size, or drop_remainder=True."
            )
        self._length = count // together if drop_remainder else -(-count // together)
        self._order: tuple[int, np.ndarray] | None = None

    def __len__(self) -> int:
        return self._length

    def __call__(self, epoch: int, index: int) -> tuple[np.ndarray, np.ndarray]:
        """`(x, y)` of batch `index`, from 0 to `len(self) - 1`, of an epoch."""
        x, y = self.split.read(self.indices(epoch, index))
        if self.augment is not None:
            # The order of the epoch is seeded by two numbers; numpy pads seeds with zeros, so a
            # third number of 0 would draw the same stream again, and shard 0 needs no fourth.
            number, _ = self.shard
            rng = np.random.default_rng(
                [self.seed, epoch, index + 1, *([number] if number else [])]
            )
            shape, x = x.shape, np.asarray(self.augment(x, rng), dtype=np.float32)
            if x.shape != shape:
                raise ValueError(
                    f"augment returned images of shape {x.shape} for a batch of shape {shape}; "
                    "expected the same shape."
                )
        return x, y

    def indices(self, epoch: int, index: int) -> np.ndarray:
        """Positions in the split of the images of a batch."""
        number, count = self.shard
        together = self.batch_size * count
        start = index * together
        stop = min(start + together, len(self.split))
        # The parts differ by one image at most, and only in the last step.
        size, larger = divmod(stop - start, count)
        begin = start + number * size + min(number, larger)
        end = begin + size + (number < larger)
        if not self.shuffle:
            return np.arange(begin, end)
        order = self._order
        if order is None or order[0] != epoch:
            rng = np.random.default_rng([self.seed, epoch])
            # Assigned at once: several threads may be making batches.
            self._order = order = (epoch, rng.permutation(len(self.split)))
        return order[1][begin:end]

    def __getstate__(self) -> dict:
        return {**self.__dict__, "_order": None}


def check_integers(least: int, **values) -> None:
    """A ValueError unless each is an integer of at least `least`."""
    for name, value in values.items():
        if value != int(value) or value < least:
            raise ValueError(f"{name} is {value!r}; expected an integer of at least {least}.")


def _checked_shard(shard) -> tuple[int, int]:
    try:
        number, count = shard
        fine = 0 <= number < count and number == int(number) and count == int(count)
    except (TypeError, ValueError):
        fine = False
    if not fine:
        raise ValueError(
            f"shard is {shard!r}; expected (index, count), such as (0, 4) for the first of four "
            "processes."
        )
    return int(number), int(count)
