"""A training that is killed anywhere ends with the weights of one that is not."""

from __future__ import annotations

import os
import random
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import keras
import numpy as np
import pytest

import keras_htaf
from keras_htaf import callbacks, files, layers
from keras_htaf.training import checkpoint, resumable_fit
from keras_htaf.training.resuming import NAME

EPOCHS, STEPS = 3, 5
EAGER = keras.config.backend() == "tensorflow"
"""TensorFlow takes a second to compile what runs for a tenth; `test_kill_9` does compile."""
ROOT = Path(keras_htaf.__file__).parents[1]


class Killed(BaseException):
    """What `except Exception` does not catch."""


class Kill(keras.callbacks.Callback):
    """Ends the training before the k-th step of an epoch, or at its end."""

    def __init__(self, at):
        super().__init__()
        self.at = at

    def on_epoch_begin(self, epoch, logs=None):
        self._now = epoch

    def on_train_batch_begin(self, batch, logs=None):
        if (self._now, batch) == self.at:
            raise Killed

    def on_epoch_end(self, epoch, logs=None):
        self.on_train_batch_begin("end")


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
        noisy = x[chosen] + 0.1 * np.random.normal(size=(len(chosen), 6))  # noqa: NPY002
        return noisy, y[chosen]

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


def build(rate=None, width=4, run_eagerly=EAGER):
    keras.utils.set_random_seed(0)
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
        run_eagerly=run_eagerly,
    )
    return model


def assert_same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def counting():
    return (Counting(*rows()),)


def arrays():
    return rows()


def run(folder, data, kill=None, eager=EAGER, **arguments):
    model = build(run_eagerly=eager)
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
    for at in [(0, 1), (0, 3), (0, 4), (2, 0)] if data is counting else [(1, 3)]:
        with pytest.raises(Killed):
            run(tmp_path / "killed", data, at, every=2)
    again, found = run(tmp_path / "killed", data, every=2)
    assert_same(model, again)
    assert found.history == history.history
    assert found.epoch == list(range(EPOCHS))
    for a, b in zip(model.optimizer.variables, again.optimizer.variables, strict=True):
        np.testing.assert_array_equal(*map(keras.ops.convert_to_numpy, (a, b)))
    # The last step of an epoch was written, but not the epoch.
    with pytest.raises(Killed):
        run(tmp_path / "end", data, (1, "end"), every=STEPS)
    assert checkpoint.read(tmp_path / "end" / NAME)["step"] == STEPS
    again, found = run(tmp_path / "end", data, every=STEPS)
    assert_same(model, again)
    assert found.history == history.history

    # A finished training is loaded, not repeated.
    loaded, same = run(tmp_path / "killed", data, every=2)
    assert_same(model, loaded)
    assert same.history == history.history


def test_killed_while_writing(tmp_path, monkeypatch):
    """At each call by which a checkpoint comes to the disk; a killed process tidies up nothing."""
    left, calls = [], []

    def counted(name, function):
        def call(*arguments, **named):
            calls.append(name)
            if not left.pop():
                left.append(False)
                raise Killed
            return function(*arguments, **named)

        return call

    for owner, name in [(np, "savez"), (os, "fsync"), (os, "replace"), (files, "_remove")]:
        monkeypatch.setattr(owner, name, counted(name, getattr(owner, name)))
    file = tmp_path / NAME
    for end in range(7):
        left[:] = [True] * 6
        checkpoint.write(file, {"weights": np.zeros(9)})
        assert calls[-6:] == ["_remove", "savez", "fsync", "replace", "fsync", "_remove"]
        left[:] = [False, *[True] * end]
        with suppress(Killed):
            checkpoint.write(file, {"weights": np.ones(9)})
        np.testing.assert_array_equal(checkpoint.read(file)["weights"], np.full(9, end > 3))


def test_stopped_early(tmp_path):
    def fit(folder, kill=None, epochs=12):
        model = build(rate=0.05)
        watching = [
            keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.1),
            keras.callbacks.EarlyStopping("loss", 0.05, patience=2, restore_best_weights=True),
            Kill(kill),
        ]
        history = resumable_fit(
            model, folder, *rows(), epochs=epochs, callbacks=watching, batch_size=4, verbose=0
        )
        return model, history.history

    model, history = fit(tmp_path / "whole")
    stopped = len(history["loss"])
    assert 2 < stopped < 12
    for epoch in (1, stopped - 1):
        with pytest.raises(Killed):
            fit(tmp_path / "killed", (epoch, 2))
    again, found = fit(tmp_path / "killed")
    assert_same(model, again)
    assert found == history

    # Stopped, but killed before its end was written: goes on to what follows the last epoch.
    file = tmp_path / "killed" / NAME
    state = checkpoint.read(file)
    checkpoint.write(file, {**state, "finished": False, "stopped": True})
    again, found = fit(tmp_path / "killed")
    assert_same(model, again)
    assert found == history


def plain(folder, model=None, epochs=1, **arguments):
    arguments = {"batch_size": 4, "verbose": 0, **arguments}
    return resumable_fit(model or build(), folder, *rows(), epochs=epochs, **arguments)


def test_another_training_is_refused(tmp_path):
    plain(tmp_path, every=3)
    before = (tmp_path / NAME).read_bytes()
    for changed, words in [
        ({"epochs": 2}, "epochs was 1, is 2"),
        ({"batch_size": 5}, "steps was 5, is 4"),
        ({"callbacks": [callbacks.AnnealSharpness(2.0, 4.0)]}, "AnnealSharpness"),
        ({"model": build(rate=0.5)}, "optimizer was"),
        ({"model": build(width=5)}, "the model has"),
    ]:
        with pytest.raises(ValueError, match=words):
            plain(tmp_path, **changed)
    assert (tmp_path / NAME).read_bytes() == before


@pytest.mark.parametrize("what", ["cut", "flipped", "emptied", "other"])
def test_a_damaged_checkpoint_is_never_read(tmp_path, what):
    file = tmp_path / NAME
    checkpoint.write(file, {"weights": [np.arange(1000.0)]})
    content = bytearray(file.read_bytes())
    if what == "cut":
        del content[-300:]
    elif what == "flipped":
        content[content.index(np.float64(500.0).tobytes())] ^= 1
    elif what == "emptied":
        content.clear()
    else:
        content = b"no archive"
    file.write_bytes(content)
    with pytest.raises(ValueError, match="is damaged"):
        plain(tmp_path)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"every": 0}, "every=0"),
        ({"every": "step"}, "every='step'"),
        ({"initial_epoch": 1}, "initial_epoch"),
        ({"steps_per_epoch": 1}, "steps_per_epoch"),
        ({"batch_size": 0}, "batch_size=0"),
        ({"sample_weight": np.ones(3)}, "samples"),
    ],
)
def test_bad_arguments(tmp_path, arguments, words):
    with pytest.raises(ValueError, match=words):
        plain(tmp_path, **arguments)
    assert not list(tmp_path.iterdir())


def test_bad_models_and_data(tmp_path):
    unbuilt = keras.Sequential([keras.layers.Dense(2)])
    unbuilt.compile("sgd", "mse")
    with pytest.raises(ValueError, match="not built"):
        plain(tmp_path, unbuilt)
    with pytest.raises(ValueError, match="only once"):
        resumable_fit(build(), tmp_path, iter([rows()]))
    with pytest.raises(ValueError, match="come in batches"):
        resumable_fit(build(), tmp_path, *counting(), batch_size=4)


def test_values_of_every_kind(tmp_path):
    half = np.arange(3, dtype="float32").astype("bfloat16" if hasattr(np, "bfloat16") else "half")
    value = {
        "plain": [None, True, 3, -0.1, float("inf"), "text"],
        "nested": {1: (2, {"a"}), "array": [half, np.float32(0.1)]},
    }
    checkpoint.write(tmp_path / "file.npz", value)
    found = checkpoint.read(tmp_path / "file.npz")
    np.testing.assert_array_equal(found["nested"].pop("array")[0], half)
    value["nested"].pop("array")
    assert found == value
    with pytest.raises(TypeError, match="function"):
        checkpoint.write(tmp_path / "file.npz", [noise])


SCRIPT = """
import os, sys
sys.path.insert(0, {tests!r})
import numpy as np
import test_resuming as t

class Kill(t.Kill):
    def on_train_batch_begin(self, batch, logs=None):
        if (self._now, batch) == self.at:
            os.kill(os.getpid(), 9)

t.Kill = Kill
kill = eval(sys.argv[2])
if kill == "writing":
    np.savez = lambda path, **_: (path.write_bytes(b"half"), os.kill(os.getpid(), 9))
    kill = None
t.run(sys.argv[1], t.counting, kill, eager=False, every=2)
"""


def test_kill_9(tmp_path):
    """A process that is killed for real: in a step, then while it writes."""
    script = SCRIPT.format(tests=str(Path(__file__).parent))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    for kill in [(1, 3), "writing"]:
        command = [sys.executable, "-c", script, str(tmp_path / "killed"), repr(kill)]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, check=False, timeout=120
        )
        assert done.returncode == -9, done.stderr
    assert len(list((tmp_path / "killed").iterdir())) == 2  # one is half of a checkpoint
    again, found = run(tmp_path / "killed", counting, eager=False, every=2)
    assert [file.name for file in (tmp_path / "killed").iterdir()] == [NAME]
    model, history = run(tmp_path / "whole", counting, eager=False)
    assert_same(model, again)
    assert found.history == history.history
