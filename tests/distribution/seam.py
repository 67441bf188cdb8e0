"""A resumable training on several devices, stopped and resumed, and what it refuses."""

from __future__ import annotations

import json

import keras
import numpy as np
import pytest

from keras_htaf import distribution
from keras_htaf.training import resumable_fit


class Counting(keras.utils.PyDataset):
    """Batches in an order that the end of an epoch changes in place."""

    def __init__(self):
        super().__init__()
        self.order, self.epochs = list(range(30)), 0

    def __len__(self):
        return 4

    def __getitem__(self, i):
        rng = np.random.default_rng((self.epochs, i))
        x = np.asarray(self.order[8 * i : 8 * i + 8])[:, None] / 30 + rng.normal(size=(1, 3))
        return x.astype("float32"), (x.sum(1, keepdims=True) > 1).astype("float32")

    def on_epoch_end(self):
        self.epochs += 1
        np.random.default_rng(self.epochs).shuffle(self.order)


class Stop(keras.callbacks.Callback):
    """Loses the process within an epoch; a callback of a resumed training, too."""

    def __init__(self, at=None):
        super().__init__()
        self._at = (at,)

    def on_epoch_begin(self, epoch, logs=None):
        self._now = (epoch,)

    def on_train_batch_end(self, batch, logs=None):
        if batch == 1 and self._now == self._at:
            raise KeyboardInterrupt


def train(folder, count, at=None, loss="mse", **options):
    across = distribution.data_parallel(count)
    keras.utils.set_random_seed(1)
    with across.scope():
        layers = [keras.layers.Dense(4, "tanh"), keras.layers.Dropout(0.5), keras.layers.Dense(1)]
        model = keras.Sequential([keras.Input((3,)), *layers])
        model.compile(keras.optimizers.SGD(0.01, momentum=0.9), loss)
    data = Counting()
    options = {"epochs": 3, "verbose": 0, "callbacks": [Stop(at)], **options}
    history = resumable_fit(model, folder, data, distribution=across, **options)
    weights = [keras.ops.convert_to_numpy(v) for v in model.variables]
    return history.history, weights, data.epochs


def resumed(folder, count):
    """To seam.json: how a resumed and a finished training differ from an uninterrupted one."""
    chief = distribution.data_parallel(count).chief
    found = {"whole": train(folder / "whole", count)}
    with pytest.raises(KeyboardInterrupt):
        train(folder / "run", count, at=1)
    for name in ("resumed", "finished"):
        found[name] = train(folder / "run", count)
    histories, weights, epochs = zip(*found.values(), strict=True)
    gaps = [
        max(float(np.max(abs(a - b))) for a, b in zip(w, weights[0], strict=True)) for w in weights
    ]
    if chief:
        report = {
            "histories": dict(zip(found, histories, strict=True)),
            "weights": dict(zip(found, gaps, strict=True)),
            "epochs": dict(zip(found, epochs, strict=True)),
        }
        (folder / "seam.json").write_text(json.dumps(report))


def refused(folder, count):
    for options in ({"class_weight": {0: 2.0}}, {"validation_steps": 1}):
        with pytest.raises(
            ValueError, match=rf"{next(iter(options))} with a distribution.*verbose"
        ):
            train(folder / "refused_options", count, **options)
    if keras.config.backend() == "jax":  # one program, of whose batch any loss is that
        return
    with pytest.raises(ValueError, match="reduction='sum'"):
        train(folder / "refused_loss", count, loss=keras.losses.Huber(reduction="sum"))
    across = distribution.data_parallel(count)
    if across.processes > 1:
        rank = 0 if across.chief else 1
        assert across.gather([rank, 7]) == [[0, 7], [1, 7]]
        with pytest.raises(
            ValueError, match=r"different checkpoints from '.*', of epochs \[3, 0\]"
        ):
            train(folder / ("run" if across.chief else "elsewhere"), count)
