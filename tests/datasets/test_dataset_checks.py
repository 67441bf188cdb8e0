"""What is said about images and labels that are not as they should be."""

from __future__ import annotations

import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.datasets import check_images, check_labels


@pytest.mark.parametrize(
    ("given", "dtype"),
    [("bool", "uint8"), ("int64", "uint8"), ("uint8", "uint8"), ("float64", "float32")],
)
def test_images_of_any_number_type(given, dtype):
    x = check_images(np.ones((2, 8, 8), dtype=given))
    assert x.dtype == dtype
    assert x.shape == (2, 8, 8, 1)
    assert (x == 1).all()


def test_good_images_are_not_copied():
    x = np.zeros((2, 8, 8, 1), dtype=np.float32)
    assert np.shares_memory(check_images(x, (8, 8, 1)), x)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.zeros((8, 8)), r"shape \(8, 8\); expected images of shape \(N, H, W, C\)"),
        (np.zeros((8, 8, 1)), r"\(8, 8, 1\); expected \(N, 8, 8, 1\).*x\[None\]"),
        (np.zeros((2, 8, 8, 3)), r"\(2, 8, 8, 3\); expected \(N, 8, 8, 1\)"),
        (np.zeros((0, 8, 8, 1)), "x is empty"),
        (np.zeros((2, 8, 8, 1), dtype=complex), "dtype complex128"),
        (np.array([[None]]), "dtype object"),
        (np.full((2, 8, 8, 1), 256), r"values in 256\.\.256; expected integer images in 0\.\.255"),
        (np.full((2, 8, 8, 1), 1e300), r"x\[0\] holds NaN or infinite"),
    ],
)
def test_wrong_images(x, message):
    shape = None if np.ndim(x) == 2 else (8, 8, 1)
    with pytest.raises(ValueError, match=message):
        check_images(x, shape)


def test_rows_of_unequal_lengths_are_not_images():
    with pytest.raises(ValueError, match="x is not one array"):
        check_images([[1], [2, 3]])


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_first_image_that_is_not_finite_is_named(value):
    x = np.zeros((1500, 2, 2, 1), dtype=np.float32)
    x[[1234, 1400], 1, 0, 0] = value
    with pytest.raises(ValueError, match=r"images\[1234\] holds NaN or infinite"):
        check_images(x, name="images")


def test_channels_first_is_noticed():
    with pytest.raises(ValueError, match="channels first"):
        check_images(np.zeros((2, 3, 32, 32)))


@pytest.mark.parametrize("y", [[0, 2, 1], [[0], [2], [1]], [0.0, 2.0, 1.0], np.uint8([0, 2, 1])])
def test_labels_of_any_number_type(y):
    labels = check_labels(y, 3)
    assert labels.dtype == np.int32
    np.testing.assert_array_equal(labels, [0, 2, 1])


@pytest.mark.parametrize(
    ("y", "message"),
    [
        ([0, 3, 1], r"y\[1\] is 3 \(1 of 3 labels are wrong\); expected integers in 0\.\.2"),
        ([0, 1, -1], r"y\[2\] is -1"),
        ([0.5, 1, 2], r"y\[0\] is 0\.5"),
        ([0, np.nan, np.inf], r"y\[1\] is nan \(2 of 3"),
        ([[0, 1], [1, 0]], "one-hot"),
        ([], "y is empty"),
        (["cat", "dog"], "dtype <U3"),
    ],
)
def test_wrong_labels(y, message):
    with pytest.raises(ValueError, match=message):
        check_labels(y, 3)


def test_labels_without_an_upper_bound_must_fit_int32():
    np.testing.assert_array_equal(check_labels([10**6]), [10**6])
    with pytest.raises(ValueError, match="expected integers from 0"):
        check_labels([2**40])


def test_npz_with_all_parts(save, rng):
    x = rng.integers(0, 256, (30, 6, 5, 3), dtype=np.uint8)
    y = np.arange(30) % 3
    path = save(
        x_train=x[:20],
        y_train=y[:20],
        x_validation=x[20:24],
        y_validation=y[20:24],
        x_test=x[24:],
        y_test=y[24:],
    )
    data = datasets.load(path)
    assert (data.image_shape, data.num_classes) == ((6, 5, 3), 3)
    assert [len(data.train), len(data.validation), len(data.test)] == [20, 4, 6]
    np.testing.assert_allclose(data.test.arrays()[0], x[24:] / 255, rtol=1e-6)
    np.testing.assert_array_equal(data.validation.labels, y[20:24])


def test_npz_of_one_set_is_cut_class_by_class(save, rng):
    path = save(x=rng.random((200, 8, 8)), y=np.repeat([0, 1, 2, 3], 50))
    data = datasets.load(path, validation=0.25)
    assert data.image_shape == (8, 8, 1)
    for part, count in ((data.train, 30), (data.validation, 10), (data.test, 10)):
        np.testing.assert_array_equal(np.bincount(part.labels), [count] * 4)


def test_npz_without_a_test_part_has_none(save):
    data = datasets.load(save(x_train=np.zeros((50, 8, 8)), y_train=np.arange(50) % 2))
    assert data.test is None
    assert len(data.validation) == 5


def test_npz_booleans_are_black_and_white(save):
    x = np.zeros((50, 4, 4), dtype=bool)
    x[:, 0] = True
    data = datasets.load(save(x_train=x, y_train=np.arange(50) % 2))
    assert data.train.arrays()[0].max() == 1


def test_npz_floats_beyond_the_unit_interval(save, rng):
    path = save(x_train=rng.normal(size=(50, 4, 4)), y_train=np.arange(50) % 2)
    with pytest.raises(ValueError, match='normalize="standard"'):
        datasets.load(path)
    x, _ = datasets.load(path, normalize="standard").train.arrays()
    assert abs(x.std() - 1) < 1e-5


X, Y = np.zeros((20, 4, 4)), np.arange(20) % 2


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": X}, r"holds the arrays \['x'\]; expected x and y"),
        ({"x": X, "y": Y, "z": Y}, "leave others out"),
        ({"x_train": X, "y_train": Y, "x_test": X}, r"'x_test', 'x_train', 'y_train'\]"),
        ({"x_train": X, "y_train": Y, "x_val": X, "y_val": Y}, "x_validation and y_validation"),
        ({"x": X, "y": Y[:-1]}, "x holds 20 images, but y holds 19 labels"),
        ({"x_train": X, "y_train": Y, "x_test": X[:, :3], "y_test": Y}, "x_test has shape"),
        ({"x_train": X, "y_train": Y, "x_test": X, "y_test": Y + 1}, r"y_test\[1\] is 2"),
        ({"x_train": X, "y_train": Y, "x_test": X + 9, "y_test": Y}, "beyond"),
        ({"x": X + np.nan, "y": Y}, r"x\[0\] holds NaN"),
        ({"x": X[:0], "y": Y[:0]}, "x is empty"),
        ({"x": np.array([X, "a"], dtype=object), "y": Y}, "no object arrays"),
    ],
)
def test_wrong_npz(save, arrays, message):
    path = save(**arrays)
    with pytest.raises(ValueError, match=message):
        datasets.load(path)


@pytest.mark.parametrize("damage", ["cut", "text", "empty", "npy"])
def test_broken_npz(save, damage):
    path = save(x=X, y=Y)
    if damage == "npy":
        with open(path, "wb") as file:
            np.save(file, X)
    else:
        whole = path.read_bytes()
        path.write_bytes({"cut": whole[:300], "text": b"no data", "empty": b""}[damage])
    with pytest.raises(ValueError, match=r"Cannot read .* as a data set"):
        datasets.load(path)


def test_npz_that_is_not_there(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"nothing\.npz"):
        datasets.load(tmp_path / "nothing.npz")
