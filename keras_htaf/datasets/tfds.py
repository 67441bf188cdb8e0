"""Data sets of TensorFlow Datasets, read record by record without TensorFlow."""

from __future__ import annotations

import os
from typing import Any

import numpy as np

from keras_htaf.datasets.checks import check_labels
from keras_htaf.datasets.cut import cut_test, cut_validation
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.extras import require
from keras_htaf.datasets.prepared import find
from keras_htaf.datasets.resizing import fitted
from keras_htaf.datasets.split import Split

# Up to this size decoded images stay in memory, so that only the first epoch decodes.
_KEEP_BYTES = 2**30
_BYTES_AT_ONCE = 2**24
_UNREAD = -1
_WITHHELD = -1


class RecordSource:
    """Records that are decoded when they are asked for, each once if all fit into memory.

    Another process that is sent one opens the records itself.

    Args:
        builder: A prepared `tfds.core.DatasetBuilder`.
        split: Name of its split.
        image_shape: `(H, W, C)` that its images have, or get when they are decoded.
        num_classes: Its labels must be below this; None if it does not say.
        keep: Whether decoded images may stay in memory. Default True.
    """

    full_scale: float | None = 255.0

    def __init__(
        self,
        builder: Any,
        split: str,
        image_shape: tuple[int, int, int],
        num_classes: int | None,
        keep: bool = True,
    ):
        skip = require("tensorflow_datasets", "Reading records").decode.SkipDecoding()
        self._records = builder.as_data_source(split=split)
        self._undecoded = builder.as_data_source(split=split, decoders={"image": skip})
        self._opened_with = (builder, split, image_shape, num_classes)
        self._name = f"{builder.name} ({split})"
        self._num_classes = num_classes
        self.image_shape = image_shape
        count = len(self._records)
        self._labels = np.full(count, _UNREAD, dtype=np.int32)
        self._kept = np.zeros(count, dtype=bool)
        # Memory that is never written is never taken: an unused set costs nothing.
        fits = keep and count * int(np.prod(image_shape)) <= _KEEP_BYTES
        self._images = np.empty((count, *image_shape), dtype=np.uint8) if fits else None

    def __len__(self) -> int:
        return len(self._labels)

    def __reduce__(self) -> tuple:
        return RecordSource, (*self._opened_with, False)

    def unkept(self) -> RecordSource:
        """The same records, of which no image stays in memory."""
        return self if self._images is None else RecordSource(*self._opened_with, keep=False)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        if self._images is None:
            return self._decode(rows)
        new = np.unique(rows[~self._kept[rows]])
        for chunk in self._chunks(new):
            self._images[chunk], self._labels[chunk] = self._decode(chunk)
            self._kept[chunk] = True
        return self._images[rows], self._labels[rows]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        new = np.unique(rows[self._labels[rows] == _UNREAD])
        for chunk in self._chunks(new):
            records = self._undecoded.__getitems__(chunk.tolist())
            self._labels[chunk] = self._checked(chunk, records)
        return self._labels[rows]

    def has_labels(self) -> bool:
        """Whether the first record is labelled: -1 stands for labels that are withheld."""
        return self._undecoded[0]["label"] != _WITHHELD

    def attributes(self, rows: np.ndarray) -> None:
        return None

    def _decode(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        if not len(rows):
            return images, np.empty(0, dtype=np.int32)
        # One thread: decoding small images is bound by Python, a second one gains nothing.
        records = self._records.__getitems__(rows.tolist())
        for image, record in zip(images, records, strict=True):
            image[...] = fitted(record["image"], self.image_shape[:2])
        return images, self._checked(rows, records)

    def _checked(self, rows: np.ndarray, records: list[dict[str, Any]]) -> np.ndarray:
        name = f"labels of {self._name}, records {rows.min()} to {rows.max()}: y"
        return check_labels([record["label"] for record in records], self._num_classes, name)

    def _chunks(self, rows: np.ndarray) -> list[np.ndarray]:
        step = max(1, _BYTES_AT_ONCE // int(np.prod(self.image_shape)))
        return [rows[start : start + step] for start in range(0, len(rows), step)]


def load(
    name: str,
    data_dir: str | os.PathLike[str] | None,
    validation: float,
    seed: int,
    image_size: tuple[int, int] | None = None,
    download: bool = True,
) -> Dataset:
    """Opens a prepared data set; `keras_htaf.datasets.load` documents its parts."""
    builder = find(name, data_dir, image_size is not None, download)
    features = builder.info.features
    *size, channels = features["image"].shape
    image_shape = (*(image_size or size), channels)
    num_classes = getattr(features["label"], "num_classes", None)
    sizes = {split: info.num_examples for split, info in builder.info.splits.items()}
    if not sizes.get("train"):
        raise ValueError(
            f"Data set {name!r} has no training images: its splits are {sizes}; expected a split "
            '"train". Choose another data set.'
        )
    train = _open(builder, "train", image_shape, num_classes)
    rows = np.arange(len(train))
    # Cuts here are not stratified: it would take reading every record for its label.
    unknown = np.zeros(len(train), dtype=np.int32)
    held_out = (
        _open(builder, split, image_shape, num_classes)
        for split in ("test", "validation")
        if sizes.get(split)
    )
    other = next((source for source in held_out if source.has_labels()), None)
    if other is None:
        rows, test_rows = cut_test(rows, unknown)
        test = Split(train, test_rows)
    else:
        test = Split(other)
    rows, held = cut_validation(rows, unknown[rows], validation, seed)
    names = getattr(features["label"], "names", None)
    if names is None:
        names = [str(i) for i in range(int(train.labels(np.arange(len(train))).max()) + 1)]
    return Dataset(
        name=name,
        train=Split(train, rows),
        validation=None if held is None else Split(train, held),
        test=test,
        class_names=tuple(names),
    )


def _open(
    builder: Any, split: str, image_shape: tuple[int, int, int], num_classes: int | None
) -> RecordSource:
    try:
        return RecordSource(builder, split, image_shape, num_classes)
    except NotImplementedError as error:
        raise ValueError(
            f"Data set {builder.name!r} lies in {builder.data_dir} as "
            f"{builder.info.file_format.value}, which cannot be read in any order; expected "
            'array_record. Prepare it in another data_dir with file_format="array_record".'
        ) from error
