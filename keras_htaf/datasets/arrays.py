"""Images that lie in memory, and the user's own `.npz` file of them."""

from __future__ import annotations

import os
import zipfile
import zlib

import numpy as np

from keras_htaf.datasets.checks import check_images, check_labels, check_same_length
from keras_htaf.datasets.cut import cut_test, cut_validation
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.split import Split

_ONE_SET = {"x", "y"}
_SPLIT_SET = {"x_train", "y_train", "x_validation", "y_validation", "x_test", "y_test"}


class ArraySource:
    """Images and labels in memory.

    Args:
        images: Raw images, `(N, H, W, C)`.
        labels: int32, `(N,)`.
        full_scale: The raw value of white; None where it is not known.
        attributes: bool, `(N, A)`; None (default) where none are known.
    """

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        full_scale: float | None,
        attributes: np.ndarray | None = None,
    ):
        self._images = images
        self._labels = labels
        self._attributes = attributes
        self.full_scale = full_scale
        self.image_shape = images.shape[1:]

    def __len__(self) -> int:
        return len(self._images)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        return self._images[rows], self._labels[rows]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self._labels[rows]

    def attributes(self, rows: np.ndarray) -> np.ndarray | None:
        return None if self._attributes is None else self._attributes[rows]


def three_parts(
    name: str, source: ArraySource, class_names: tuple[str, ...], validation: float, seed: int
) -> Dataset:
    """Cuts one set of images into train, validation and test, class by class."""
    every = np.arange(len(source))
    labels = source.labels(every)
    rows, test = cut_test(every, labels)
    train, held = cut_validation(rows, labels[rows], validation, seed)
    return Dataset(
        name=name,
        train=Split(source, train),
        validation=None if held is None else Split(source, held),
        test=Split(source, test),
        class_names=class_names,
    )


def load(path: str, validation: float, seed: int) -> Dataset:
    """Reads the user's `.npz` file; `keras_htaf.datasets.load` documents what it may hold."""
    arrays = _read(path)
    found = set(arrays)
    if found == _ONE_SET:
        source, _ = _part(arrays, "x", "y")
        names = _class_names(arrays["y"])
        return three_parts(path, source, names, validation, seed)
    _check_keys(path, found)
    train, white = _part(arrays, "x_train", "y_train")
    names = _class_names(arrays["y_train"])
    parts: dict[str, Split | None] = {}
    for part in ("validation", "test"):
        if f"x_{part}" in found:
            source, part_white = _part(
                arrays, f"x_{part}", f"y_{part}", train.image_shape, len(names)
            )
            _check_same_scale(part, part_white, white)
            parts[part] = Split(source)
    rows = np.arange(len(train))
    if "validation" not in parts:
        rows, held = cut_validation(rows, train.labels(rows), validation, seed)
        parts["validation"] = None if held is None else Split(train, held)
    return Dataset(path, Split(train, rows), parts["validation"], parts.get("test"), names)


def _read(path: str) -> dict[str, np.ndarray]:
    if not os.path.isfile(path):
        raise FileNotFoundError(f"There is no file {path!r} to read a data set from.")
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            raise ValueError("it holds a single array, as np.save writes it")
        with loaded:
            return {key: loaded[key] for key in loaded.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile, zlib.error) as error:
        raise ValueError(
            f"Cannot read {path!r} as a data set: {error}. Expected a file that np.savez or "
            "np.savez_compressed wrote from plain numeric arrays (no object arrays, which are "
            "what lists of unequal images become). Write it again."
        ) from error


def _check_keys(path: str, found: set[str]) -> None:
    pairs = all((f"x_{part}" in found) == (f"y_{part}" in found) for part in ("validation", "test"))
    if not ({"x_train", "y_train"} <= found <= _SPLIT_SET and pairs):
        raise ValueError(
            f"{path!r} holds the arrays {sorted(found)}; expected x and y, or x_train and y_train "
            "with, if you like, x_validation and y_validation, x_test and y_test. Rename the "
            "arrays and leave others out."
        )


def _part(
    arrays: dict[str, np.ndarray],
    x_name: str,
    y_name: str,
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
) -> tuple[ArraySource, float | None]:
    raw = arrays[x_name]
    x = check_images(raw, image_shape, x_name)
    y = check_labels(arrays[y_name], num_classes, y_name)
    check_same_length(x, y, x_name, y_name)
    if raw.dtype.kind == "f":
        white = 1.0 if x.min() >= 0 and x.max() <= 1 else None
    else:
        white = 1.0 if raw.dtype.kind == "b" else 255.0
    return ArraySource(x, y, white), white


def _check_same_scale(part: str, white: float | None, train_white: float | None) -> None:
    if white != train_white:
        ranges = {1.0: "in [0, 1]", 255.0: "in 0..255", None: "beyond [0, 1]"}
        raise ValueError(
            f"x_{part} holds values {ranges[white]}, but x_train holds values "
            f"{ranges[train_white]}; expected one dtype and scale for all parts. Convert one."
        )


def _class_names(y: np.ndarray) -> tuple[str, ...]:
    y = np.asarray(y)
    if y.size and y.dtype.kind in "iuf" and y.min() > 0:
        raise ValueError(
            f"The smallest label is {y.min()}; expected classes numbered from 0. Subtract it: "
            "y - y.min()."
        )
    return tuple(str(i) for i in range(int(y.max()) + 1))
