"""What ranks of torch refuse."""

import keras
import numpy as np
import pytest

from keras_htaf import distribution


class Batches(keras.utils.PyDataset):
    def __init__(self, value):
        super().__init__()
        self.value = value

    def __len__(self):
        return 2

    def __getitem__(self, i):
        return np.full((4, 2), self.value, "float32"), np.ones((4, 1), "float32")


class Own(keras.Model):
    def train_step(self, data):
        return super().train_step(data)


def make(kind=keras.Model):
    inputs = keras.Input((2,))
    model = kind(inputs, keras.layers.Dense(1)(inputs))
    model.compile("adam", "mse")
    return model


def refusals():
    across = distribution.data_parallel()
    rank = 0 if across.chief else 1
    with pytest.raises(ValueError, match=r"2 process.*launch"):
        distribution.data_parallel(3)
    with pytest.raises(ValueError, match="handed different batches"):
        across.fit(make(), Batches(float(rank)), verbose=0)
    with pytest.raises(ValueError, match="train_step of its own"):
        across.fit(make(Own), Batches(1.0))
    with pytest.raises(ValueError, match="BackupAndRestore"):
        across.fit(make(), Batches(1.0), callbacks=[keras.callbacks.BackupAndRestore("x.keras")])
    # Other initial weights on each rank; one that changes them; stopping early on both.
    keras.utils.set_random_seed(rank)
    stop = keras.callbacks.EarlyStopping("val_loss", min_delta=100.0, patience=1)
    x, y = Batches(1.0)[0]
    model = make()
    history = across.fit(
        model, Batches(1.0), epochs=9, callbacks=[stop], validation_data=(x, y), verbose=0
    )
    assert len(history.history["loss"]) == 2
    assert across.spread(model) == 0
    drift = keras.callbacks.LambdaCallback(
        on_train_end=lambda logs: model.layers[-1].bias.assign([float(rank)])
    )
    with pytest.raises(RuntimeError, match=r"differ by up to 1 after"):
        across.fit(model, Batches(1.0), callbacks=[drift], verbose=0)
