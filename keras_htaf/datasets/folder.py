"""A folder of images, one folder within for each class."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from keras_htaf.datasets.cut import cut_test, cut_validation
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.extras import require
from keras_htaf.datasets.resizing import fitted
from keras_htaf.datasets.split import Split

_SUFFIXES = {".bmp", ".gif", ".jpeg", ".jpg", ".png", ".ppm", ".tif", ".tiff", ".webp"}
_ARCHIVERS = "__MACOSX"
"""The folder in which macOS's archives keep what is no image, under images' names."""


class FolderSource:
    """Image files, opened when they are asked for, as RGB.

    Args:
        root: The folder that the files lie in.
        files: Their paths within it.
        labels: int32, `(N,)`.
        image_size: `(H, W)` that each is brought to; None if all have that of the first.
    """

    full_scale = 255.0

    def __init__(
        self,
        root: Path,
        files: list[str],
        labels: np.ndarray,
        image_size: tuple[int, int] | None = None,
    ):
        self._root = root
        # One array, not a million objects, to keep and to send.
        self._files = np.array(files)
        self._labels = labels
        self._resize = image_size is not None
        size = image_size or self._open(0).shape[:2]
        self.image_shape = (*size, 3)

    def __len__(self) -> int:
        return len(self._files)

    def read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        images = np.empty((len(rows), *self.image_shape), dtype=np.uint8)
        for image, row in zip(images, rows, strict=True):
            found = self._open(row)
            if not self._resize and found.shape != self.image_shape:
                raise ValueError(
                    f"{str(self._root / self._files[row])!r} is an image of {found.shape[0]} x "
                    f"{found.shape[1]} pixels, but the first has {self.image_shape[0]} x "
                    f"{self.image_shape[1]}. Give image_size=(height, width) to bring all to one."
                )
            image[...] = fitted(found, self.image_shape[:2])
        return images, self._labels[rows]

    def labels(self, rows: np.ndarray) -> np.ndarray:
        return self._labels[rows]

    def attributes(self, rows: np.ndarray) -> None:
        return None

    def _open(self, row: int) -> np.ndarray:
        require("PIL", "Reading image files")
        from PIL import Image

        path = self._root / self._files[row]
        try:
            with Image.open(path) as picture:
                return np.asarray(picture.convert("RGB"))
        except (OSError, ValueError) as error:  # what PIL raises for files that are no images
            raise ValueError(
                f"{str(path)!r} cannot be read as an image ({error}). Remove or replace it."
            ) from error


def load(path: str, validation: float, seed: int, image_size: tuple[int, int] | None) -> Dataset:
    """Opens the user's folder; `keras_htaf.datasets.load` documents what it may hold."""
    root = Path(path)
    inner = _folders(root)
    parts: dict[str, Split | None] = {}
    if "train" in inner:
        names = tuple(_folders(root / "train"))
        train = _source(root / "train", names, image_size, training=True)
        for folder in ("validation", "val", "test"):
            if folder in inner:
                other = _source(root / folder, names, image_size)
                _check_same_shape(folder, other, train)
                parts["validation" if folder == "val" else folder] = Split(other)
        rows = np.arange(len(train))
    else:
        names = tuple(inner)
        train = _source(root, names, image_size, training=True)
        every = np.arange(len(train))
        rows, test = cut_test(every, train.labels(every))
        parts["test"] = Split(train, test)
    if "validation" not in parts:
        rows, held = cut_validation(rows, train.labels(rows), validation, seed)
        parts["validation"] = None if held is None else Split(train, held)
    return Dataset(path, Split(train, rows), parts["validation"], parts.get("test"), names)


def _check_same_shape(folder: str, other: FolderSource, train: FolderSource) -> None:
    if other.image_shape != train.image_shape:
        raise ValueError(
            f"The first image of {folder!r} has shape {other.image_shape}, that of 'train' "
            f"{train.image_shape}. Give image_size=(height, width) to bring all to one."
        )


def _source(root: Path, names: tuple[str, ...], image_size, training=False) -> FolderSource:
    if unknown := set(_folders(root)) - set(names):
        raise ValueError(
            f"{str(root)!r} has the folders {sorted(unknown)}, which are no classes of the "
            f"training part: {list(names)[:10]}. Expected one folder for each class."
        )
    files, labels, without = [], [], []
    for label, name in enumerate(names):
        within = _images(root, name)
        files += within
        labels += [label] * len(within)
        without += [] if within else [name]
    if not files:
        raise ValueError(
            f"{str(root)!r} holds no images. Expected a folder for each class with image files "
            f"({' '.join(sorted(_SUFFIXES))}), all in one folder or in train, test and validation."
        )
    if training and without:
        raise ValueError(
            f"{str(root)!r} has the folders {without[:10]} without images. Expected some of each "
            "class to train on. Fill or remove them."
        )
    return FolderSource(root, files, np.array(labels, dtype=np.int32), image_size)


def _folders(root: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(root) if entry.is_dir() and _shown(entry.name))


def _images(root: Path, name: str) -> list[str]:
    """Paths of a class's images within the root."""
    files = (Path(folder, file) for folder, _, found in os.walk(root / name) for file in found)
    within = (file.relative_to(root) for file in files if file.suffix.lower() in _SUFFIXES)
    return sorted(str(path) for path in within if all(map(_shown, path.parts)))


def _shown(name: str) -> bool:
    """Whether a name is a user's own, not that of what systems and editors keep for themselves."""
    return not name.startswith(".") and name != _ARCHIVERS
