"""What samples and labels may be."""

import numpy as np
import pytest

from keras_htaf.datasets import load
from keras_htaf.samples import class_labels, numbers, pairs


def test_numbers():
    assert numbers("x", [[1, 2], [3, 4]]).shape == (2, 2)
    assert numbers("x", np.ones((2, 3), "float64")).dtype == "float32"
    assert numbers("x", np.ones(2, "uint8")).dtype == "uint8"
    for wrong, match in [
        (load("digits").train.batches(8), "Received x of type Batches. Expected one array"),
        ([[1], [1, 2]], "Received x that is no array"),
        (["a"], "Received x of dtype <U1"),
        (3.0, r"shape \(\)"),
        ([1.0, np.nan], "1 values that are NaN"),
    ]:
        with pytest.raises(ValueError, match=match):
            numbers("x", wrong)
    with pytest.raises(ValueError, match="Received 2 inputs and 1 labels"):
        pairs([1, 2], [1])


@pytest.mark.parametrize(
    "y", [[2, 0, 1], [[2], [0], [1]], [2.0, 0.0, 1.0], np.eye(3)[[2, 0, 1]] * 0.7 + 0.1]
)
def test_class_labels(y):
    assert class_labels(np.asarray(y), 3).tolist() == [2, 0, 1]
    assert class_labels(np.array([0, 1]), 1).tolist() == [0, 1]


@pytest.mark.parametrize(
    ("y", "outputs"),
    [
        ([1, 2, 3], 3),
        ([-1, 0], 3),
        ([0.5, 1.0], 3),
        ([0, 2], 1),
        (np.eye(3), 4),
        ([[0.2, 0.2], [0.2, 0.8]], 2),
        (np.zeros((2, 1, 1)), 3),
    ],
)
def test_no_class_labels(y, outputs):
    with pytest.raises(ValueError, match=r"Received labels .* for \d outputs?\. Expected whole"):
        class_labels(np.asarray(y), outputs)
