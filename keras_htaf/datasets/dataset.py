"""A data set: its parts, its classes, and how its pixels are normalised."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from keras_htaf.datasets import preprocessing as maps
from keras_htaf.datasets.preprocessing import Preprocessing
from keras_htaf.datasets.split import Split


@dataclass(frozen=True)
class Dataset:
    """Images with integer labels, in up to three parts.

    Attributes:
        name: What it was loaded as.
        train: The training part.
        validation: The validation part, or None.
        test: The test part, or None.
        class_names: One name for each class, in the order of the labels.
        attribute_names: One name for each column of the parts' `attributes`; empty where none are
            known.

    Example:

    >>> digits = keras_htaf.datasets.load("digits")
    >>> digits.num_classes, digits.image_shape
    (10, (8, 8, 1))
    """

    name: str
    train: Split
    validation: Split | None
    test: Split | None
    class_names: tuple[str, ...]
    attribute_names: tuple[str, ...] = ()

    @property
    def num_classes(self) -> int:
        """Number of classes."""
        return len(self.class_names)

    @property
    def image_shape(self) -> tuple[int, int, int]:
        """`(H, W, C)`."""
        return self.train.image_shape

    @property
    def preprocessing(self) -> Preprocessing:
        """What all parts do to raw pixels; `preprocessing.layer()` is the same as a layer."""
        return self.train.preprocessing

    def normalized(self, normalize: str | None) -> Dataset:
        """Returns the same data with another normalisation.

        Args:
            normalize: `"unit"` maps raw pixels to [0, 1]; `"standard"` gives each channel zero
                mean and unit variance on the training part, which is read once for it; None
                leaves the raw values.

        Returns:
            A data set that shares this one's images.

        Raises:
            ValueError: If there is no such normalisation, or `"unit"` is asked for floating-point
                images beyond [0, 1].
        """
        train = self.train
        if normalize is None:
            preprocessing = Preprocessing()
        elif normalize == "unit":
            preprocessing = maps.unit(train.source.full_scale)
        elif normalize == "standard":
            preprocessing = maps.standard(train.images(rows) for rows in train.chunks())
        else:
            raise ValueError(f'normalize is {normalize!r}; expected "unit", "standard" or None.')
        parts: dict[str, Any] = {
            name: Split(part.source, part.rows, preprocessing)
            for name in ("train", "validation", "test")
            if (part := getattr(self, name)) is not None
        }
        return replace(self, **parts)
