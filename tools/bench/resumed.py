"""A training of a benchmark that goes on where it was interrupted, and knows how long it took."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras

from keras_htaf.training import resumable_fit


def fit(
    folder: Path,
    make: Callable[[], keras.Model],
    batches: keras.utils.PyDataset,
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    every: str | int = 1000,
) -> tuple[keras.Model, dict[str, list[float]], float]:
    """Train a model to its last epoch, from where an earlier call was interrupted.

    Args:
        folder: Where the state is kept; `forget` it when the result is stored.
        make: Gives the compiled model.
        batches: The data.
        epochs: Of the whole training.
        callbacks: As of `fit`; what they log is kept.
        every: As of `resumable_fit`.

    Returns:
        `(model, history, seconds)`, of all epochs, whenever they were trained.
    """
    model, clock = make(), _Clock()
    history = resumable_fit(
        model, folder, batches, epochs=epochs, every=every, callbacks=[*callbacks, clock], verbose=2
    )
    *_, seconds = history.history.pop("seconds")
    rounded = {name: [round(v, 5) for v in values] for name, values in history.history.items()}
    return model, rounded, seconds


def forget(folder: Path) -> None:
    """Remove what `fit` kept."""
    shutil.rmtree(folder, ignore_errors=True)


class _Clock(keras.callbacks.Callback):
    """Logs the seconds since the training began, without the time between its interruptions."""

    def on_train_begin(self, logs=None):
        self.seconds = 0.0  # kept with the steps that it counts

    def on_epoch_begin(self, epoch, logs=None):
        self._start()

    def on_train_batch_end(self, batch, logs=None):
        self.seconds += self._elapsed()
        self._start()

    def on_epoch_end(self, epoch, logs=None):
        self.seconds += self._elapsed()
        self._start()
        logs["seconds"] = self.seconds

    def _start(self):
        began = time.monotonic()
        self._elapsed = lambda: time.monotonic() - began  # not a value: it is not kept
