"""The embedded digits, normalisation, and what importing costs."""

from __future__ import annotations

import sys

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from keras_htaf import datasets
from keras_htaf.datasets import Preprocessing


def test_digits_are_complete_and_cut_class_by_class(digits):
    sizes = [len(digits.train), len(digits.validation), len(digits.test)]
    assert sizes == [1294, 144, 359]
    assert digits.image_shape == (8, 8, 1)
    assert digits.num_classes == 10
    assert digits.class_names == tuple("0123456789")
    rows = np.concatenate([part.rows for part in (digits.train, digits.validation, digits.test)])
    np.testing.assert_array_equal(np.sort(rows), np.arange(1797))
    counts = np.bincount(digits.test.labels)
    whole = np.bincount(digits.train.source.labels(np.arange(1797)))
    assert np.abs(counts - 0.2 * whole).max() <= 1


def test_digits_images_are_raw_and_arrays_normalised(digits):
    raw = digits.test.images(slice(None))
    x, y = digits.test.arrays()
    assert raw.dtype == np.uint8
    assert raw.max() == 16
    assert x.dtype == np.float32
    assert y.dtype == np.int32
    np.testing.assert_array_equal(x, raw / np.float32(16))
    np.testing.assert_array_equal(y, digits.test.labels)


def test_seed_moves_the_validation_cut_but_never_the_test_part(digits):
    other = datasets.load("digits", seed=3)
    np.testing.assert_array_equal(digits.test.rows, other.test.rows)
    assert not np.array_equal(digits.validation.rows, other.validation.rows)


def test_the_test_part_is_the_same_for_ever(digits):
    # A figure in the documentation is worth nothing if these rows change.
    np.testing.assert_array_equal(digits.test.rows[:8], [2, 14, 17, 18, 20, 26, 35, 43])
    assert digits.test.rows.sum() == 317508


def test_no_validation_part(digits):
    data = datasets.load("digits", validation=0)
    assert data.validation is None
    assert len(data.train) == len(digits.train) + len(digits.validation)


@pytest.mark.parametrize("validation", [-0.1, 1, 1.5, float("nan")])
def test_validation_must_be_a_share(validation):
    with pytest.raises(ValueError, match="expected a share"):
        datasets.load("digits", validation=validation)


def test_validation_too_small_for_one_image(save):
    path = save(x_train=np.zeros((4, 8, 8)), y_train=[0, 1, 0, 1])
    with pytest.raises(ValueError, match=r"validation part, a fraction 0\.1 of 4 images"):
        datasets.load(path)


def test_standard_is_measured_on_the_training_part(digits):
    data = digits.normalized("standard")
    x, _ = data.train.arrays()
    assert abs(x.mean()) < 1e-5
    assert abs(x.std() - 1) < 1e-5
    assert data.test.preprocessing == data.preprocessing


def test_standard_is_the_same_in_any_chunks(rng):
    from keras_htaf.datasets.preprocessing import standard

    images = 1e4 + rng.normal(size=(50, 4, 5, 3)) * [1, 2, 0]
    whole = standard([images])
    pieces = standard([images[:1], images[1:30], images[30:]])
    np.testing.assert_allclose(whole.scale, pieces.scale)
    np.testing.assert_allclose(whole.offset, pieces.offset)
    deviation = images.std(axis=(0, 1, 2))
    np.testing.assert_allclose(whole.scale, [1 / deviation[0], 1 / deviation[1], 1])


def test_raw_values_without_normalisation(digits):
    x, _ = digits.normalized(None).train.arrays(limit=50)
    assert x.dtype == np.float32
    assert x.max() == 16


def test_unknown_normalisation():
    with pytest.raises(ValueError, match='expected "unit", "standard" or None'):
        datasets.load("digits", normalize="zscore")


@settings(deadline=None, max_examples=50)
@given(
    raw=hnp.arrays(np.uint8, (2, 3, 3, 3)),
    scale=st.tuples(*[st.floats(1e-3, 10)] * 3),
    offset=st.tuples(*[st.floats(-3, 3)] * 3),
)
def test_normalisation_has_an_inverse(raw, scale, offset):
    preprocessing = Preprocessing(scale, offset)
    np.testing.assert_allclose(preprocessing.invert(preprocessing(raw)), raw, atol=2e-3)


@pytest.mark.parametrize("normalize", ["unit", "standard", None])
def test_layer_computes_the_same(digits, normalize):
    data = digits.normalized(normalize)
    raw = data.test.images(np.arange(5))
    x, _ = data.test.arrays(limit=5)
    layer = data.preprocessing.layer()
    np.testing.assert_allclose(keras.ops.convert_to_numpy(layer(raw)), x, rtol=1e-5, atol=1e-5)


def test_layer_saves_in_a_model(digits, tmp_path):
    data = digits.normalized("standard")
    model = keras.Sequential([keras.Input(data.image_shape), data.preprocessing.layer()])
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    raw = data.test.images(np.arange(5)).astype("float32")
    np.testing.assert_allclose(
        loaded.predict(raw, verbose=0), data.test.arrays(limit=5)[0], rtol=1e-5, atol=1e-5
    )


def test_images_takes_any_numpy_index(digits):
    whole = digits.test.images(slice(None))
    np.testing.assert_array_equal(digits.test.images(3), whole[3:4])
    np.testing.assert_array_equal(digits.test.images(-1), whole[-1:])
    np.testing.assert_array_equal(digits.test.images([5, 2, 5]), whole[[5, 2, 5]])
    with pytest.raises(IndexError):
        digits.test.images(len(digits.test))


def test_arrays_with_a_limit(digits):
    assert len(digits.test.arrays(limit=7)[0]) == 7
    assert len(digits.test.arrays(limit=10**6)[0]) == len(digits.test)


@pytest.mark.parametrize(
    ("module", "name"), [("sklearn.datasets", "digits"), ("tensorflow_datasets", "mnist")]
)
def test_missing_package_names_the_extra(monkeypatch, module, name):
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(ImportError, match=r'pip install "keras-htaf\[data\]"'):
        datasets.load(name)
