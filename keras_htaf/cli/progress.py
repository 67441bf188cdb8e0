"""Training that can be stopped at any moment and goes on as if it had not been."""

from __future__ import annotations

import json
import math
import signal
import threading
from collections.abc import Callable
from contextlib import nullcontext
from pathlib import Path

import keras

from keras_htaf.distribution import Distribution
from keras_htaf.files import replacing, write_json
from keras_htaf.saving import load_model


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
    """The checkpoints of a run: one `.keras` file a stage, and a JSON file that names them.

    After each epoch the model, its optimizer included, is written under a new name, and then
    `progress.json` is replaced: that replacement is the one moment at which an epoch counts.

    Args:
        folder: Where the checkpoints live.
        settings: The run's settings; a resumed run must have the same.
        resume: Whether to go on from what is there; otherwise `begin` removes it.

    Raises:
        ValueError: If there is something to resume, but of other settings, or it is damaged.
    """

    def __init__(self, folder: Path, settings: dict, resume: bool):
        self.folder = folder
        self._file = folder / "progress.json"
        if self._file.exists() and resume:
            self._state = self._read(settings)
        else:
            self._state = {"settings": settings, "stages": {}}

    def begin(self) -> None:
        """Make the folder, and remove what is not to be resumed."""
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(self._file, self._state)
        self._sweep()

    def fit(
        self,
        stage: str,
        build: Callable[[], keras.Model],
        batches: Callable[[int], keras.utils.PyDataset],
        epochs: int,
        callbacks: list[keras.callbacks.Callback],
        after_epoch: Callable[[Path], None] = lambda file: None,
        across: Distribution | None = None,
    ) -> tuple[keras.Model, dict]:
        """Train one stage to its end, from its last checkpoint if there is one.

        Args:
            stage: Name of the stage.
            build: Makes the compiled, untrained model.
            batches: Makes the training data, with an attribute `epoch`, for a first epoch.
            epochs: Number of epochs.
            callbacks: For `fit`.
            after_epoch: Called with the checkpoint that has just been committed.
            across: The devices to train on; default: one.

        Returns:
            The trained model, and the history over all epochs.
        """
        done = self._state["stages"].get(stage)
        with nullcontext() if across is None else across.scope():
            model = load_model(self.folder / done["file"]) if done else build()
        fit = keras.Model.fit if across is None else across.fit
        history = done["history"] if done else {}
        first = done["epoch"] if done else 0
        if done:  # the run may have ended between the commit and this
            after_epoch(self.folder / done["file"])
        if first < epochs:
            data = batches(first)
            saver = keras.callbacks.LambdaCallback(
                on_epoch_begin=lambda epoch, logs: setattr(data, "epoch", epoch),
                on_epoch_end=lambda epoch, logs: after_epoch(
                    self._commit(stage, saver.model, epoch + 1, history, logs)
                ),
            )
            with _Interrupt() as interrupt:
                # The saver last, so that what the other callbacks log is in the history.
                watchers = [*callbacks, saver, interrupt]
                fit(model, data, epochs=epochs, initial_epoch=first, callbacks=watchers)
        return model, history

    def _commit(self, stage, model, epoch, history, logs) -> Path:
        if not math.isfinite(logs["loss"]):
            raise RuntimeError(
                f"The training diverged: the loss was {logs['loss']} in epoch {epoch}. Lower the "
                "learning rate. The model of the epoch before is kept."
            )
        for key, value in logs.items():
            history.setdefault(key, []).append(float(value))
        file = self.folder / f"{stage}-{epoch:04d}.keras"
        with replacing(file) as temporary:
            model.save(temporary)
        self._state["stages"][stage] = {"epoch": epoch, "file": file.name, "history": history}
        write_json(self._file, self._state)
        self._sweep()
        return file

    def _sweep(self) -> None:
        """Remove checkpoints that progress.json does not name."""
        named = {stage["file"] for stage in self._state["stages"].values()}
        for file in self.folder.glob("*.keras"):
            if file.name not in named:
                file.unlink()

    def _read(self, settings: dict) -> dict:
        try:
            state = json.loads(self._file.read_text(encoding="utf-8"))
            before, stages = state["settings"], state["stages"]
            for stage in stages.values():
                epoch, file, _ = stage["epoch"], stage["file"], stage["history"].items()
                if Path(file).name != file or not (self.folder / file).is_file() or epoch < 1:
                    raise ValueError(f"no checkpoint {file!r}")
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"{str(self._file)!r} is damaged ({error!r}). Train without --resume."
            ) from error
        changed = {k for k in {*before, *settings} if before.get(k) != settings.get(k)}
        if changed:
            raise ValueError(
                f"The run in {str(self.folder.parent)!r} was started with other settings: "
                + ", ".join(f"{k}={before.get(k)!r}" for k in sorted(changed))
                + ". Give the same ones to resume it, or train without --resume."
            )
        return {"settings": before, "stages": stages}
