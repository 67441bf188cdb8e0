"""Real handwritten digits that need no network: the default data set."""

from __future__ import annotations

import numpy as np

from keras_htaf.datasets.arrays import ArraySource, three_parts
from keras_htaf.datasets.dataset import Dataset
from keras_htaf.datasets.extras import require

_WHITE = 16


def load(validation: float, seed: int) -> Dataset:
    """Reads scikit-learn's 1797 digits of 8x8 pixels (UCI "Optical Recognition", test part)."""
    bunch = require("sklearn.datasets", 'The data set "digits"').load_digits()
    images = bunch.images.astype(np.uint8)[..., None]
    source = ArraySource(images, bunch.target.astype(np.int32), float(_WHITE))
    names = tuple(str(digit) for digit in range(10))
    return three_parts("digits", source, names, validation, seed)
