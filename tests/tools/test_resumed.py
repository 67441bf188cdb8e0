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
    """Ctrl-C in the middle of the second epoch."""

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1 and self.at == 1:
            raise KeyboardInterrupt

    def on_epoch_begin(self, epoch, logs=None):
        self.at = epoch


@pytest.fixture
def resumed(monkeypatch):
    monkeypatch.syspath_prepend(BENCH)
    import resumed

    yield resumed
    del sys.modules["resumed"]


def test_goes_on(resumed, tmp_path, capsys):
    data = datasets.load("digits", normalize="standard")

    def make():
        keras.utils.set_random_seed(0)
        model = binary_mlp(data.image_shape, 10, width=8, depth=1, dropout=0.2)
        rate = keras.optimizers.schedules.CosineDecay(1e-2, EPOCHS * len(batches(0)))
        model.compile(keras.optimizers.Adam(rate), SmoothedCrossentropy(), metrics=["accuracy"])
        return model

    def batches(epoch):
        return data.train.batches(256, shuffle=True, augment="shift", initial_epoch=epoch)

    def fit(folder, *callbacks):
        anneal = AnnealSharpness(2.0, 16.0, frequency="step")
        return resumed.fit(tmp_path / folder, make, batches, EPOCHS, [anneal, *callbacks])

    model, history, _ = fit("whole")
    with pytest.raises(KeyboardInterrupt):
        fit("halved", Interrupt())
    assert {file.name for file in (tmp_path / "halved").iterdir()} == {"epoch1.keras", "state.json"}
    found, again, seconds = fit("halved")
    assert "going on after epoch 1" in capsys.readouterr().out
    assert set(history) == {"accuracy", "loss", "sharpness"}
    for name, values in history.items():
        np.testing.assert_allclose(again[name], values, rtol=1e-4)
        assert len(values) == EPOCHS
    for one, other in zip(model.get_weights(), found.get_weights(), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=1e-4)
    _, finished, same = fit("halved")  # interrupted before its result was stored
    assert (finished, same) == (again, seconds)
    resumed.forget(tmp_path / "halved")
    assert not (tmp_path / "halved").exists()
