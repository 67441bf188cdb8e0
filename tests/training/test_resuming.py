"""A training that is killed anywhere ends with the weights of one that is not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_htaf
from keras_htaf import callbacks, datasets, files, layers
from keras_htaf.training import checkpoint, resumable_fit
from keras_htaf.training.resuming import NAME

EPOCHS, STEPS = 3, 5
ROOT = Path(keras_htaf.__file__).parents[1]


class Killed(BaseException):
    """What `except Exception` does not catch."""


class Kill(keras.callbacks.Callback):
    """Ends the training in the k-th step of an epoch, before or after the state is written."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self._now, batch) == self.at:
            raise Killed


class Counting(keras.utils.PyDataset):
    """Noisy data that draw from the global random states, with a state of their own."""

    def __init__(self, x, y, workers=1):
        super().__init__(workers=workers)
        self.data = lambda: (x, y)
        self.order, self.epochs = list(range(len(x))), 0

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        x, y = self.data()
        chosen = np.array(self.order)[index::STEPS]
        return x[chosen] + 0.1 * np.random.normal(size=x[chosen].shape), y[chosen]

    def on_epoch_end(self):
        random.shuffle(self.order)
        self.epochs += 1


def noise(x):
    return keras.random.normal(keras.ops.shape(x), 0.0, 0.01)


@keras.saving.register_keras_serializable("test_resuming")
class Unseeded(keras.layers.Layer):
    """Draws from Keras's global generator, as an eager layer may."""

    def call(self, x, training=False):
        return x + noise(x) if training else x


def rows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(19, 6)).astype("float32")
    return x, (x.sum(-1) > 0).astype("int64")


def build(seed=0, rate=None, width=4, **compiled):
    keras.utils.set_random_seed(seed)
    unseeded = [] if keras.config.backend() == "jax" else [Unseeded()]
    model = keras.Sequential(
        [
            keras.Input((6,)),
            keras.layers.GaussianNoise(0.1),
            *unseeded,
            keras.layers.Dense(width),
            keras.layers.BatchNormalization(),
            layers.HTAF(2.0),
            keras.layers.Dropout(0.3),
            keras.layers.Dense(2),
        ]
    )
    rate = rate or keras.optimizers.schedules.CosineDecay(0.05, EPOCHS * STEPS)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
        **compiled,
    )
    return model


def assert_same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def counting():
    return (Counting(*rows()),)


def arrays():
    return rows()


def run(folder, data, kill=None, rate=None, **arguments):
    model = build(rate=rate)
    watching = [
        callbacks.AnnealSharpness(2.0, 8.0, frequency="step"),
        callbacks.DiscretizationGap(*rows()),
    ]
    if kill is not None:
        watching.append(Kill(kill))
    given = data()
    size = {} if len(given) == 1 else {"batch_size": 4}
    history = resumable_fit(
        model,
        folder,
        *given,
        epochs=EPOCHS,
        callbacks=[*watching, *([] if kill else [Kill(None)])],
        verbose=0,
        validation_data=rows(),
        **size,
        **arguments,
    )
    return model, history


@pytest.mark.parametrize("data", [counting, arrays], ids=["dataset", "arrays"])
def test_killed_in_the_middle_of_epochs(tmp_path, data):
    model, history = run(tmp_path / "whole", data)
    for at in [(0, 1), (0, 3), (0, 4), (1, 0), (2, 3)]:
        with pytest.raises(Killed):
            run(tmp_path / "killed", data, at, every=2)
    again, found = run(tmp_path / "killed", data, every=2)
    assert_same(model, again)
    assert found.history == history.history
    assert found.epoch == list(range(EPOCHS))
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)))
    # A finished training is loaded, not repeated.
    loaded, same = run(tmp_path / "killed", data, every=2)
    assert_same(model, loaded)
    assert same.history == history.history
