"""A training of tools/bench that is interrupted ends where the uninterrupted one does."""

import sys
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_htaf import datasets
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.losses import SmoothedCrossentropy
from keras_htaf.models import binary_mlp

BENCH = Path(__file__).parents[2] / "tools" / "bench"
EPOCHS = 3


class Interrupt(keras.callbacks.Callback):
    """Ctrl-C in a step of the second epoch."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == (1, self.at):
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch


@pytest.fixture
def resumed(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import resumed

    yield resumed
    del sys.modules["resumed"]


def test_goes_on(resumed, tmp_path):
    data = datasets.load("digits", normalize="standard")

    def make():
        keras.utils.set_random_seed(0)
        model = binary_mlp(data.image_shape, 10, width=8, depth=1, dropout=0.2)
        rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * len(batches()))
        model.compile(keras.optimizers.Adam(rate), SmoothedCrossentropy(), metrics=["accuracy"])
        return model

    def batches():
        return data.train.batches(256, shuffle=True, augment="shift")

    def fit(folder, interrupted=None):
        watching = [AnnealSharpness(2.0, 16.0, frequency="step"), Interrupt(interrupted)]
        return resumed.fit(tmp_path / folder, make, batches(), EPOCHS, watching, every=2)

    model, history, _ = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("halved", interrupted=3)
    found, again, seconds = fit("halved")
    assert set(history) == {"accuracy", "loss", "sharpness"}
    assert again == history
    for one, other in zip(model.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    _, finished, same = fit("halved")  # interrupted before its result was stored
    assert (finished, same) == (again, seconds)
    resumed.forget(tmp_path / "halved")
    assert not (tmp_path / "halved").exists()
