"""A small ICBM on digits, trained on one device or on several; what it went through, as JSON.

python steps.py [one | data | model | launch] COUNT FILE
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_htaf
from keras_htaf import distribution

STEPS, BATCH, IMAGES, EPOCHS = 50, 32, 397, 4  # 12 batches of 32 and one of 13


class Losses(keras.callbacks.Callback):
    """The loss of each step, from the running means that Keras logs."""

    def __init__(self, sizes):
        super().__init__()
        self.sizes, self.losses = sizes, []

    def on_epoch_begin(self, epoch, logs=None):
        self.total = self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        size = self.sizes[batch]
        total = float(logs["loss"]) * (self.seen + size)
        self.losses.append((total - self.total) / size)
        self.total, self.seen = total, self.seen + size


def make():
    keras.utils.set_random_seed(0)
    model = keras_htaf.models.icbm(
        keras_htaf.models.small_cnn((8, 8, 1), width=4, stages=2),
        num_concepts=12,
        alpha=2.0,
        bit_regularizer=keras_htaf.regularizers.BitDiversity(),
    )
    model.compile(
        keras.optimizers.Adam(3e-3),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def train(how, count, file):
    digits = keras_htaf.datasets.load("digits")
    x, y = digits.validation.arrays()
    split = keras_htaf.datasets.Split(
        digits.train.source, digits.train.rows[:IMAGES], digits.train.preprocessing
    )
    batches = split.batches(BATCH, shuffle=True, seed=1, augment="shift")
    losses = Losses([len(batches[i][1]) for i in range(len(batches))])
    callbacks = [
        losses,
        keras_htaf.callbacks.AnnealSharpness(2.0, 8.0, frequency="step"),
        keras_htaf.callbacks.DiscretizationGap(x, y, every=2),
    ]
    found = {}
    if how == "one":
        model = make()
        history = model.fit(batches, epochs=EPOCHS, callbacks=callbacks, verbose=0)
        chief = True
    else:
        if how == "model":
            across = distribution.model_parallel(devices=count, batch=count // 2)
        else:
            across = distribution.data_parallel(count)
        with across.scope():
            model = make()
        checkpoint = keras.callbacks.ModelCheckpoint(Path(file).with_suffix(".keras"))
        callbacks.append(checkpoint)
        history = across.fit(model, batches, epochs=EPOCHS, callbacks=callbacks, verbose=0)
        found = {"count": across.count, "spread": across.spread(model)}
        chief = across.chief
    if chief:
        found |= {"losses": losses.losses, "history": history.history, "batches": len(batches)}
        Path(file).write_text(json.dumps(found))
        weights = {v.path: keras.ops.convert_to_numpy(v) for v in model.weights}
        np.savez(Path(file).with_suffix(".npz"), **weights)


if __name__ == "__main__":
    how, count, file = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    distribution.launch(train, how, count, file, processes=1 if how == "one" else count)
