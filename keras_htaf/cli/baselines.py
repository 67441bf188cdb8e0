"""What learned bits must be compared with: bits of random projections, with the same head."""

from __future__ import annotations

from collections.abc import Callable

import keras
import numpy as np
from sklearn.linear_model import LogisticRegression


def random_bits(
    dataset,
    num_bits: int,
    seed: int,
    features: Callable[[np.ndarray], np.ndarray] = lambda x: x.reshape(len(x), -1),
) -> float:
    """Test accuracy of a linear head on bits [r . f(x) > median], r drawn at random.

    Args:
        dataset: A `keras_htaf.datasets.Dataset` with a test part.
        num_bits: Number of random directions.
        seed: Seed of the directions.
        features: Function f from images (n, h, w, c) to features (n, d). Default: the pixels.

    Returns:
        The accuracy. The thresholds are the training medians, so that each bit is on for half of
        the training images; the head is a logistic regression fitted to convergence.
    """
    x, y = dataset.train.arrays()
    x_test, y_test = dataset.test.arrays()
    train, test = features(x), features(x_test)
    directions = np.random.default_rng(seed).normal(size=(train.shape[1], num_bits))
    projected = train @ directions.astype("float32")
    thresholds = np.median(projected, axis=0)
    head = LogisticRegression(max_iter=2000)
    head.fit(projected > thresholds, y)
    return float(head.score(test @ directions.astype("float32") > thresholds, y_test))


def features_of(dense: keras.Model) -> Callable[[np.ndarray], np.ndarray]:
    """The function from images to the pooled backbone features of a model built by `icbm`."""
    pooled = keras.Model(dense.input, dense.get_layer("concept_logits").input)
    return lambda x: pooled.predict(x, batch_size=256, verbose=0)
