"""Images and labels, a batch at a time, wherever they lie."""

from __future__ import annotations

from typing import Any

import numpy as np

from keras_htaf.datasets import Split, check_labels
from keras_htaf.datasets.extras import require


class Rows:
    """Numbered images: a split or an array, of which a worker reads the batches it is told to.

    They are the batches of one process, so that a batch's sums are added up in the same order.

    Args:
        x: A `Split`, or an array whose first axis is the batch.
        y: Labels of an array, or None.
        batch_size: Images in a batch.
    """

    def __init__(self, x: Split | np.ndarray, y: np.ndarray | None, batch_size: int):
        self.x, self.y, self.batch_size = x, y, batch_size

    def __len__(self) -> int:
        return -(-len(self.x) // self.batch_size)

    @property
    def samples(self) -> int:
        """How many images there are."""
        return len(self.x)

    @property
    def has_labels(self) -> bool:
        return isinstance(self.x, Split) or self.y is not None

    def __call__(self, numbers: dict) -> tuple[dict, np.ndarray, np.ndarray | None]:
        """What is known of a batch, its images and labels, given `{"item": [its number]}`."""
        start = int(numbers["item"][0]) * self.batch_size
        rows = np.arange(start, min(start + self.batch_size, len(self.x)))
        x, y = self._read(rows)
        columns = {"row": rows} | ({} if y is None else {"label": y})
        return columns, x, y

    def _read(self, rows: np.ndarray) -> tuple[np.ndarray, np.ndarray | None]:
        if isinstance(self.x, Split):
            return self.x.read(rows)
        return self.x[rows], None if self.y is None else self.y[rows]


class Columns:
    """The columns of a Ray Dataset that hold images and, if there is one, labels."""

    samples = None
    """Ray may not know before it has read them."""

    def __init__(self, image: str, label: str | None):
        self.image, self.label = image, label

    @property
    def has_labels(self) -> bool:
        return self.label is not None

    def __call__(self, batch: dict) -> tuple[dict, np.ndarray, np.ndarray | None]:
        x, y = batch[self.image], None
        if x.dtype == object:  # images of several shapes, which no model takes
            shapes = sorted({np.shape(image) for image in x})
            raise ValueError(
                f"Column {self.image!r} holds images of the shapes {shapes[:5]} in one batch. "
                "Expected one shape: bring them to it with ray_dataset.map(...)."
            )
        if self.label is not None:
            y = check_labels(batch[self.label], name=f"column {self.label!r}")
        return ({} if y is None else {"label": y}), x, y


def opened(x: Any, y: Any, batch_size: int, columns: tuple[str, str | None]) -> Rows | Columns:
    """What reads `x`, or a ValueError that says what it should be."""
    ray_data = require("ray.data", "A job", "ray")
    if isinstance(x, ray_data.Dataset):
        return _columns(x, y, columns)
    if isinstance(x, Split):
        if y is not None:
            raise ValueError(
                "Received y beside a split, which has labels of its own. Leave it out."
            )
        if not len(x):
            raise ValueError("Received a split without images. Expected at least one.")
        return Rows(x, None, batch_size)
    x = np.asarray(x)
    if x.dtype.kind not in "fiub" or x.ndim < 2 or not x.size:
        raise ValueError(
            f"Received x of dtype {x.dtype} and shape {x.shape}. Expected a split of "
            "keras_htaf.datasets, a Ray Dataset, or an array of images whose first axis is the "
            "batch, at least one."
        )
    if y is not None:
        y = check_labels(y)
        if len(y) != len(x):
            raise ValueError(f"Received {len(x)} images and {len(y)} labels. Expected as many.")
    return Rows(x, y, batch_size)


def _columns(dataset, y, columns: tuple[str, str | None]) -> Columns:
    if y is not None:
        raise ValueError(
            "Received y beside a Ray Dataset. Expected the labels as a column of it: "
            'columns=("image", "label").'
        )
    image, label = columns
    found = dataset.columns() or []
    missing = [name for name in (image, label) if name is not None and name not in found]
    if missing:
        raise ValueError(
            f"The Ray Dataset has no column {missing[0]!r}, but {found}. Give the names: "
            "columns=(images, labels), with None in place of labels that are not known."
        )
    return Columns(image, label)
