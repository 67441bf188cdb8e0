"""A training that goes on from its last whole epoch after an interruption."""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import keras
import numpy as np

import keras_htaf
from keras_htaf.files import write_json


def fit(
    folder: Path,
    make: Callable[[], keras.Model],
    batches: Callable[[int], keras.utils.PyDataset],
    epochs: int,
    callbacks: Sequence[keras.callbacks.Callback] = (),
    seed: int = 0,
) -> tuple[keras.Model, dict[str, list[float]], float]:
    """Train a model to its last epoch, from where an earlier call was interrupted.

    Args:
        folder: Where the state is kept after each epoch; `forget` it when the result is stored.
        make: Gives the compiled model, if there is nothing to go on with.
        batches: Gives the data from an epoch on.
        epochs: Of the whole training.
        callbacks: As of `fit`; what they log is kept.
        seed: Of what PyTorch's dropout draws, which is the global random state.

    Returns:
        `(model, history, seconds)`, of all epochs, whenever they were trained.
    """
    file = folder / "state.json"
    if file.exists():
        state = json.loads(file.read_text(encoding="utf-8"))
        model = keras_htaf.load_model(folder / state["model"])
        for variable, value in zip(_random_states(model), state["random"], strict=True):
            variable.assign(np.array(value, "uint32"))
        print(f"going on after epoch {state['epochs']}", flush=True)
    else:
        state = {"epochs": 0, "history": {}, "seconds": 0.0}
        model = make()
    if state["epochs"] < epochs:
        model.fit(
            batches(state["epochs"]),
            initial_epoch=state["epochs"],
            epochs=epochs,
            callbacks=[*callbacks, _Keep(folder, state, seed)],
            verbose=2,
        )
    return model, state["history"], state["seconds"]


def forget(folder: Path) -> None:
    """Remove what `fit` kept."""
    shutil.rmtree(folder, ignore_errors=True)


def _random_states(model) -> list[keras.Variable]:
    """What dropout draws from on JAX and TensorFlow, which Keras does not save with a model."""
    return [variable for variable in model.variables if "seed_generator" in variable.path]


class _Keep(keras.callbacks.Callback):
    """Writes the model and the logs after each epoch; the state names the model it belongs to."""

    def __init__(self, folder, state, seed):
        super().__init__()
        self.folder, self.state, self.seed = folder, state, seed

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.began = time.monotonic()

    def on_epoch_begin(self, epoch, logs=None):
        keras.utils.set_random_seed(1000 * (self.seed + 1) + epoch)

    def on_epoch_end(self, epoch, logs=None):
        state, now = self.state, time.monotonic()
        state["seconds"] += now - self.began
        self.began = now
        for key, value in logs.items():
            state["history"].setdefault(key, []).append(round(float(value), 5))
        state["epochs"], state["model"] = epoch + 1, f"epoch{epoch + 1}.keras"
        drawn = map(keras.ops.convert_to_numpy, _random_states(self.model))
        state["random"] = [value.tolist() for value in drawn]
        self.model.save(self.folder / state["model"])
        write_json(self.folder / "state.json", state)
        for old in set(self.folder.glob("epoch*.keras")) - {self.folder / state["model"]}:
            old.unlink()
