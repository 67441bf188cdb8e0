"""Training that can be killed at any moment and goes on as if it had not been."""

from __future__ import annotations

import os
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import keras

from keras_htaf.distribution import Distribution
from keras_htaf.files import sweep
from keras_htaf.training import checkpoint
from keras_htaf.training.batched import Arrays
from keras_htaf.training.state import Attributes, Randomness, assign, values_of

NAME = "checkpoint.npz"
_REFUSED = ("initial_epoch", "steps_per_epoch", "validation_split")
_DISTRIBUTED = ("validation_data", "validation_freq", "verbose")


def resumable_fit(
    model: keras.Model,
    folder: str | os.PathLike,
    x=None,
    y=None,
    *,
    epochs: int = 1,
    every: str | int = "epoch",
    batch_size: int | None = None,
    shuffle: bool = True,
    sample_weight=None,
    callbacks: Iterable[keras.callbacks.Callback] = (),
    distribution: Distribution | None = None,
    **arguments,
) -> keras.callbacks.History:
    """`model.fit`, which, run again after it was killed, goes on to the same weights.

    The state of the training is written into `folder` every so often, and read from there if
    there is one. The program is simply started again: it builds the same model, compiles it and
    calls this. A training that was finished is not repeated: its weights and history are loaded.

    A checkpoint keeps the weights, the seeds that dropout and the like draw from, the optimizer's
    variables, the running means of the metrics, the random states of Python, numpy, the backend
    and Keras, the position in the data, the history, and of each callback (and of data in a
    `PyDataset`) the attributes that have changed since the training began, as far as they are
    numbers, strings, arrays or lists, tuples, sets and dicts of those: all that AnnealSharpness,
    EarlyStopping or ReduceLROnPlateau know. Within an epoch the batches that were had are read
    again, but not trained on. It is written to a temporary file, flushed to the disk and renamed,
    so that it is whole at any moment.

    What Keras does to the weights is unchanged, except that the order of shuffled arrays is the
    same on each backend (`keras.utils.set_random_seed` seeds it).

    Args:
        model: A compiled, built model.
        folder: For `checkpoint.npz`; made where it is missing. One folder for one training.
        x: Arrays, a `keras.utils.PyDataset`, such as `datasets.Split.batches` gives, or whatever
            else `fit` can read more than once; this must itself have the same order whenever it
            is read.
        y: Labels, where x are arrays.
        epochs: Number of epochs of the whole training.
        every: `"epoch"` (default), or a number of steps: the state is written after so many steps
            of an epoch, and after each epoch.
        batch_size: For arrays; default 32.
        shuffle: Whether arrays, or the batches of a `PyDataset`, come in a random order. With a
            `distribution` the data's own order is kept, whatever this is.
        sample_weight: For arrays.
        callbacks: As of `fit`; the same ones whenever the program is started.
        distribution: The devices to train on (`keras_htaf.distribution`), whose `fit` is used then;
            default: Keras's own. The data must be a `PyDataset`, and `every` "epoch". The chief
            alone writes; each process reads its `folder`: give the chief's, or a copy of it, to
            all.
        **arguments: Others of `fit`: `validation_data`, `verbose`, `class_weight` and so on, but
            for `initial_epoch`, `steps_per_epoch` and `validation_split`; with a `distribution`
            only `validation_data`, `validation_freq` and `verbose`.

    Returns:
        The `History` over all epochs, whenever they were trained.

    Raises:
        ValueError: If an argument is none of these, if `folder` holds a checkpoint of another
            training (another backend, other epochs, data of another length, other callbacks,
            another optimizer, other weights) or a damaged one, or not the same in all processes,
            or if x can be read only once.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)])
    >>> model.compile("adam", "mse")
    >>> x, y = np.ones((8, 2)), np.ones((8, 1))
    >>> history = resumable_fit(model, tmp / "run", x, y, epochs=3, every=100, verbose=0)
    >>> again = resumable_fit(model, tmp / "run", x, y, epochs=3, every=100)  # is finished
    >>> again.history == history.history
    True
    """
    refused = [name for name in _REFUSED if name in arguments]
    if refused:
        raise ValueError(
            f"Received {', '.join(refused)}, by which a training cannot be resumed. Expected "
            "none of initial_epoch, steps_per_epoch and validation_split."
        )
    if every != "epoch" and not (type(every) is int and every > 0):
        raise ValueError(f"Received every={every!r}. Expected 'epoch' or a number of steps.")
    if not model.built or getattr(model, "optimizer", None) is None:
        raise ValueError(
            f"Model {model.name!r} is not built, or not compiled with an optimizer. Give it a "
            "keras.Input or call it on a batch of data, and compile it."
        )
    if distribution is not None and (every != "epoch" or not isinstance(x, keras.utils.PyDataset)):
        raise ValueError(
            f"Received a distribution with every={every!r} and {type(x).__name__} as data. "
            "Expected every='epoch' and a keras.utils.PyDataset."
        )
    if distribution is not None and (others := sorted({*arguments} - {*_DISTRIBUTED})):
        raise ValueError(
            f"Received {', '.join(others)} with a distribution. Expected none of fit's arguments "
            f"but {', '.join(_DISTRIBUTED)}."
        )
    if hasattr(x, "__next__"):
        raise ValueError(
            "Received a generator, which can be read only once. Expected arrays or a "
            "keras.utils.PyDataset."
        )
    if y is not None or sample_weight is not None or _is_array(x):
        x, shuffle = Arrays(x, y, sample_weight, batch_size, shuffle), False
    elif batch_size is not None:
        raise ValueError(f"Received batch_size={batch_size} for data that come in batches.")
    history = keras.callbacks.History()
    keeper = _Keeper(Path(folder), every, [*callbacks, history], x, epochs, model, distribution)
    if distribution is not None:
        _check_alike(distribution, keeper, folder)
    if keeper.finished:
        keeper.restore_variables(model)
        history.set_model(model)
        model.history = history
        return history
    arguments.update(
        epochs=keeper.epochs,
        initial_epoch=keeper.epoch,
        callbacks=[*callbacks, history, keeper],
    )
    if distribution is None:
        model.fit(x, shuffle=shuffle, **arguments)
    else:  # which keeps the data's own order
        distribution.fit(model, x, **arguments)
    keeper.finish(model)
    if distribution is not None:
        distribution.barrier()  # nobody reads what the chief has not written
    return history


def _check_alike(distribution: Distribution, keeper: _Keeper, folder) -> None:
    """Raises unless all processes read the same state; they would wait for each other forever."""
    found = distribution.gather([keeper.epoch, int(keeper.finished)])
    if any(each != found[0] for each in found):
        raise ValueError(
            f"The processes read different checkpoints from {str(folder)!r}, of epochs "
            f"{[epoch for epoch, _ in found]}. Give all the same folder, or copies of the chief's."
        )


def _is_array(x) -> bool:
    return hasattr(next(iter(keras.tree.flatten(x)), None), "shape")


def _settings(value):
    """A serialized object without the names that Keras counts up in a process."""
    if isinstance(value, dict):
        return {k: _settings(v) for k, v in value.items() if k not in ("name", "shared_object_id")}
    return [_settings(v) for v in value] if isinstance(value, (list, tuple)) else value


class _Keeper(keras.callbacks.Callback):
    """Writes the state, and puts it back; the last of the callbacks, whose state it keeps too.

    In an epoch that was left after k steps, Keras goes through these steps once more, but with a
    training function that takes the batch and does nothing. (The first step is trained: it makes
    Keras build the metrics.) After step k everything is as it was after step k.
    """

    def __init__(
        self, folder: Path, every, callbacks: list, data, epochs: int, model, distribution
    ):
        super().__init__()
        self._scope = nullcontext if distribution is None else distribution.scope
        self._writes = distribution is None or distribution.chief
        self._file = folder / NAME
        self._every = every
        self._callbacks = callbacks
        self._data = data if isinstance(data, keras.utils.PyDataset) else None
        self._training = {
            "backend": keras.config.backend(),
            "epochs": epochs,
            "steps": None if self._data is None else self._data.num_batches,
            "callbacks": [type(callback).__name__ for callback in callbacks],
            "optimizer": str(_settings(keras.saving.serialize_keras_object(model.optimizer))),
        }
        if self._writes:
            sweep(self._file)
        self._left = checkpoint.read(self._file) if self._file.exists() else None
        self.epoch, self.epochs, self.finished = 0, epochs, False
        if self._left is not None:
            self._check(self._left)
            self.epoch, self.finished = self._left["epoch"], self._left["finished"]
            if self._left["stopped"]:
                self.epochs = self.epoch
            if self.finished:
                vars(callbacks[-1]).update(self._left["callbacks"][-1])

    def _check(self, left: dict[str, Any]) -> None:
        before = left["training"]
        if before["backend"] != self._training["backend"]:
            raise ValueError(
                f"{str(self._file)!r} was begun with KERAS_BACKEND={before['backend']}. Go on with "
                "that, or choose another folder."
            )
        changed = [key for key, value in self._training.items() if before[key] != value]
        if changed:
            raise ValueError(
                f"{str(self._file)!r} belongs to another training: "
                + "; ".join(f"{k} was {before[k]}, is {self._training[k]}" for k in changed)
                + ". Give what it was begun with, or choose another folder."
            )

    def restore_variables(self, model: keras.Model) -> None:
        if not model.optimizer.built:
            with self._scope():
                model.optimizer.build(model.trainable_variables)
        assert self._left is not None  # nobody else asks
        assign("model", model.variables, self._left["model"])
        assign("optimizer", model.optimizer.variables, self._left["optimizer"])

    def on_train_begin(self, logs=None):
        self._random = Randomness()
        self._kept = [Attributes(callback) for callback in self._callbacks]
        self._kept_of_data = Attributes(self._data) if self._data is not None else None
        self._real_step = None
        if self._left is not None:
            self.restore_variables(self.model)
            self._restore_callbacks(self._left["callbacks"])
            self._restore_begin(self._left["begin"])

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch, self._done = epoch, 0
        if self._left is not None and self._left["step"]:
            self._restore_begin(self._left["begin"])  # other callbacks may have drawn since
            self._pass_over(self._left["logs"])
        self._begin = self._read_begin()

    def on_train_batch_end(self, batch, logs=None):
        before, self._done = self._done, batch + 1
        if self._real_step is not None:
            if self._done >= self._left["step"]:
                self._arrive(self._left)
        elif self._every != "epoch" and self._done // self._every > before // self._every:
            self._write(self.model, self._done, logs)

    def on_epoch_end(self, epoch, logs=None):
        self._left = None
        self.epoch, self._begin = epoch + 1, self._read_begin()
        self._write(self.model, 0)

    def finish(self, model: keras.Model) -> None:
        """Write what the training ended with."""
        self._begin = self._read_begin()
        self._write(model, 0, finished=True)

    def _read_begin(self) -> dict[str, Any]:
        data = {} if self._kept_of_data is None else self._kept_of_data.read()
        return {"random": self._random.read(), "data": data}

    def _restore_begin(self, begin: dict[str, Any]) -> None:
        self._random.restore(begin["random"])
        if self._kept_of_data is not None:
            self._kept_of_data.restore(begin["data"])

    def _restore_callbacks(self, states: list) -> None:
        for kept, state in zip(self._kept, states, strict=True):
            kept.restore(state)

    def _write(self, model, step: int, logs=None, finished: bool = False) -> None:
        if not self._writes:
            return
        state = {
            "training": self._training,
            "epoch": self.epoch,
            "step": step,
            "stopped": bool(model.stop_training) and not step,
            "finished": finished,
            "begin": self._begin,
            "model": values_of(model.variables),
            "optimizer": values_of(model.optimizer.variables),
            "callbacks": [kept.read() for kept in self._kept],
        }
        if step:
            # Data read ahead on some backends: what they draw from is where the reading brings it.
            state["random"] = self._random.read_drawn_in_steps()
            state["metrics"] = values_of(model.metrics_variables)
            state["logs"] = {name: float(value) for name, value in (logs or {}).items()}
        checkpoint.write(self._file, state)

    def _pass_over(self, logs: dict[str, float]) -> None:
        """Have Keras go through the steps that were had without training."""
        model, self._real_step = self.model, self.model.train_function
        # Callbacks see nothing of it; the attributes that hide their methods go when it is over.
        self._hidden = [dict(vars(callback)) for callback in self._callbacks]
        for callback in self._callbacks:
            callback.on_train_batch_begin = callback.on_train_batch_end = _nothing
        trained: list[bool] = []

        def step(*given):
            if not trained:
                trained.append(True)
                return self._real_step(*given)
            *state, batches = given  # on TensorFlow an iterator; on JAX behind the variables
            if keras.config.backend() != "torch":
                for _ in range(model.steps_per_execution):
                    next(batches, None)
            return (logs, *state) if state else logs

        model.train_function = step

    def _arrive(self, left: dict[str, Any]) -> None:
        """Put everything to where it was after the last of these steps."""
        model = self.model
        model.train_function, self._real_step = self._real_step, None
        for callback, before in zip(self._callbacks, self._hidden, strict=True):
            for name in ("on_train_batch_begin", "on_train_batch_end"):
                with suppress(KeyError):
                    del vars(callback)[name]
                if name in before:
                    vars(callback)[name] = before[name]
        self.restore_variables(model)
        assign("metrics", model.metrics_variables, left["metrics"])
        self._random.restore(left["random"])
        self._restore_callbacks(left["callbacks"])
        self._left = None


def _nothing(*_, **__):
    """In place of a callback's method."""
