"""The runs of `keras-htaf train`, which can be stopped at any moment and go on."""

from __future__ import annotations

import json
import math
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Collection
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path

import keras

from keras_htaf.distribution import Distribution
from keras_htaf.files import write_json
from keras_htaf.training import resumable_fit
from keras_htaf_cli.settings import Settings

FOLDER = "checkpoints"
_FILE = "progress.json"
_EVERY = 500
"""Steps after which the state is written, within an epoch; on several devices after each epoch."""


class _Interrupt(keras.callbacks.Callback):
    """Ctrl-C at the end of a batch, where it cannot get lost; a second one at once.

    A KeyboardInterrupt that is raised while a compiled function runs may be swallowed by a library
    that ignores errors there, and the training would go on.
    """

    def __enter__(self):
        self._asked = False
        self._before = None
        if threading.current_thread() is threading.main_thread():
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_):
        if self._before is not None:
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, *_):
        self._asked = True
        signal.signal(signal.SIGINT, self._before)

    def on_train_batch_end(self, batch, logs=None):
        if self._asked:
            raise KeyboardInterrupt


class Progress:
    """What a run needs to go on: its settings, and a checkpoint for each stage.

    Args:
        folder: Where they are kept.
        settings: The run's settings; a resumed run must have the same.
        resume: Whether to go on from what is there; otherwise `begin` removes it.

    Raises:
        ValueError: If there is something to resume, but of other settings, or it is damaged.
    """

    def __init__(self, folder: Path, settings: dict, resume: bool):
        self.folder = folder
        self._settings = settings
        before = _read(folder) if resume else None
        self._resumes = before is not None
        if before:
            changed = {k for k in {*before, *settings} if before.get(k) != settings.get(k)}
            if changed:
                raise _other_settings(folder, before, changed)

    def begin(self) -> None:
        """Make the folder, and remove what is not to be resumed."""
        if not self._resumes:
            # First what says that there is a run: its stages may go in any order then.
            (self.folder / _FILE).unlink(missing_ok=True)
            shutil.rmtree(self.folder, ignore_errors=True)
        backend = keras.config.backend()
        write_json(self.folder / _FILE, {"settings": self._settings, "backend": backend})

    def fit(
        self,
        stage: str,
        build: Callable[[], keras.Model],
        data: keras.utils.PyDataset,
        epochs: int,
        callbacks: list[keras.callbacks.Callback],
        after_epoch: Callable[[keras.Model], None] = lambda model: None,
        across: Distribution | None = None,
    ) -> tuple[keras.Model, dict]:
        """Train one stage to its end, from its last checkpoint if there is one.

        Args:
            stage: Name of the stage.
            build: Makes the compiled, untrained model.
            data: The training data.
            epochs: Number of epochs.
            callbacks: For `fit`.
            after_epoch: Called with the model after each epoch, and when all is done.
            across: The devices to train on; default: one.

        Returns:
            The trained model, and the history over all epochs.

        Raises:
            RuntimeError: If the training diverges.
        """
        with nullcontext() if across is None else across.scope():
            model = build()

        def check(epoch, logs):
            if not math.isfinite(logs["loss"]):
                raise RuntimeError(
                    f"The training diverged: the loss was {logs['loss']} in epoch {epoch + 1}. "
                    "Lower the learning rate. The model of the epoch before is kept."
                )
            after_epoch(model)

        watcher = keras.callbacks.LambdaCallback(on_epoch_end=check)
        with _Interrupt() as interrupt:
            done = resumable_fit(
                model,
                self.folder / stage,
                data,
                epochs=epochs,
                every=_EVERY if across is None else "epoch",
                shuffle=False,  # the data's own order, which is the same on several devices
                callbacks=[*callbacks, watcher, interrupt],
                verbose="auto" if sys.stdout.isatty() else 2,  # no bars in a file
                distribution=across,
            )
        after_epoch(model)  # a run may have ended between this and its last checkpoint
        return model, done.history


def stored(out: Path, settings: Settings, given: Collection[str]) -> Settings:
    """The settings to resume the run in `out` with: its own, if there is one.

    Args:
        out: Folder of the run.
        settings: What the command line says, options that were not typed at their defaults.
        given: Names of the options that were typed.

    Raises:
        ValueError: If one that was typed differs from the run's, or its settings are damaged.
    """
    before = _read(out / FOLDER)
    if before is None:
        return settings
    typed = {
        key: value
        for key, value in asdict(settings).items()
        if key in given or (key.startswith("alpha_") and "alpha" in given)
    }
    changed = {key for key, value in typed.items() if before.get(key) != value}
    if changed:
        raise _other_settings(out / FOLDER, before, changed)
    try:
        return Settings(**before)
    except TypeError as error:
        raise _damaged(out / FOLDER, error) from error


def _read(folder: Path) -> dict | None:
    """The settings that a run was begun with, on this backend; None where none was."""
    file = folder / _FILE
    if not file.exists():
        return None
    try:
        content = json.loads(file.read_text(encoding="utf-8"))
        settings, backend = dict(content["settings"].items()), content["backend"]
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise _damaged(folder, error) from error
    if backend != keras.config.backend():
        raise ValueError(
            f"The run in {str(folder.parent)!r} was started with KERAS_BACKEND={backend}. Resume "
            "it with that, or train without --resume."
        )
    return settings


def _damaged(folder: Path, error: Exception) -> ValueError:
    return ValueError(f"{str(folder / _FILE)!r} is damaged ({error!r}). Train without --resume.")


def _other_settings(folder: Path, before: dict, changed: Collection[str]) -> ValueError:
    return ValueError(
        f"The run in {str(folder.parent)!r} was started with other settings: "
        + ", ".join(f"{key}={before.get(key)!r}" for key in sorted(changed))
        + ". Give the same ones or none to resume it, or train without --resume."
    )
