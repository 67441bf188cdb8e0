"""Losses: closed forms, configs, training."""

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf.losses import SmoothedCrossentropy

RANDOM = np.random.default_rng(0)


def closed_form(y, logits, smoothing):
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    hard = np.take_along_axis(log_p, y[..., None], -1)[..., 0]
    return -(1 - smoothing) * hard - smoothing * log_p.mean(-1)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
@pytest.mark.parametrize("shape", [(4,), (4, 1), (2, 3)])
def test_closed_form(smoothing, shape):
    y = RANDOM.integers(0, 5, shape)
    flat = y[..., 0] if shape[-1] == 1 else y
    logits = RANDOM.normal(size=(*flat.shape, 5)).astype("float32")
    expected = closed_form(flat, logits, smoothing)
    loss = SmoothedCrossentropy(smoothing, reduction=None)
    np.testing.assert_allclose(to_numpy(loss(y, logits)), expected, rtol=2e-5)
    p = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    loss = SmoothedCrossentropy(smoothing, from_logits=False, reduction=None)
    np.testing.assert_allclose(to_numpy(loss(y, p)), expected, rtol=2e-5)


def test_config():
    loss = SmoothedCrossentropy(0.3, from_logits=False, reduction="sum", name="mine")
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert again.get_config() == loss.get_config()
    assert (again.label_smoothing, again.from_logits, again.reduction) == (0.3, False, "sum")


def test_trains_with_integer_labels(tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("adam", SmoothedCrossentropy(), metrics=["accuracy"])
    x, y = RANDOM.normal(size=(32, 4)), RANDOM.integers(0, 3, 32)
    history = model.fit(x, y, epochs=3, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    assert 0 <= history["accuracy"][-1] <= 1
    model.save(tmp_path / "model.keras")
    again = keras.models.load_model(tmp_path / "model.keras")
    assert again.evaluate(x, y, verbose=0)[0] == pytest.approx(model.evaluate(x, y, verbose=0)[0])


@pytest.mark.parametrize("bad", [-0.1, 1, 1.5, float("nan"), "0.1", None])
def test_errors(bad):
    with pytest.raises(ValueError, match="Expected 0 <= label_smoothing < 1"):
        SmoothedCrossentropy(bad)
