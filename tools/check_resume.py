"""Kill trainings with SIGKILL at random moments, go on, and compare with one left alone.

    KERAS_BACKEND=torch python tools/check_resume.py --kills 20 --seed 0

Two trainings on the digits: `keras-htaf train icbm --resume`, and `resumable_fit` of a network
with dropout, noise, batch normalisation, annealing and a callback with a state, which writes its
state every third step. A process is killed either at a moment drawn uniformly from the duration of
the whole training, counted from its first step, or while it writes its state: as soon as the
temporary file of a drawn number appears, and a drawn time of up to 10 ms later. It is then started
again, until the training is finished, and that repeated until there were as many kills. Weights,
the optimizer's variables and the history must be the same to the last bit.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

EPOCHS = 6
LIMIT = 180.0


def own_fit(folder: Path, threads: int) -> None:
    """The user's own training."""
    import keras

    from keras_htaf import callbacks, datasets, layers
    from keras_htaf.training import resumable_fit

    if keras.config.backend() == "tensorflow" and threads:
        import tensorflow as tf

        tf.config.threading.set_intra_op_parallelism_threads(threads)
        tf.config.threading.set_inter_op_parallelism_threads(threads)
    keras.utils.set_random_seed(0)
    data = datasets.load("digits")
    model = keras.Sequential(
        [
            keras.Input(data.image_shape),
            keras.layers.GaussianNoise(0.1),
            keras.layers.Conv2D(8, 3),
            keras.layers.BatchNormalization(),
            keras.layers.ReLU(),
            keras.layers.Flatten(),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(32),
            layers.HTAF(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(3e-3), loss, metrics=["accuracy"])
    watching = [
        callbacks.AnnealSharpness(2.0, 8.0, frequency="step"),
        callbacks.DiscretizationGap(*data.validation.arrays()),
        keras.callbacks.ReduceLROnPlateau("loss", patience=1, min_delta=0.2),
    ]
    train = data.train.batches(64, shuffle=True, augment="shift")
    resumable_fit(model, folder, train, epochs=EPOCHS, every=3, callbacks=watching, verbose=2)


class Training:
    """One of the two, in a folder of its own."""

    def __init__(self, what: str, folder: Path, threads: int):
        self.what, self.folder, self._threads = what, folder, threads
        self.checkpoints = [folder / "checkpoints" / stage for stage in ("icbm", "dense")]
        if what == "resumable_fit":
            self.checkpoints = [folder]

    def start(self) -> subprocess.Popen:
        """The process, once it trains, or has ended."""
        if self.what == "resumable_fit":
            own = [__file__, "--own-fit", str(self.folder), "--threads", str(self._threads)]
        else:
            own = ["-m", "keras_htaf_cli", "train", "icbm", "--out", str(self.folder), "--resume"]
            if not (self.folder / "checkpoints" / "progress.json").exists():
                own += ["--epochs", str(EPOCHS), "--width", "8", "--concepts", "16"]
        self.folder.mkdir(parents=True, exist_ok=True)
        log = self.folder.with_suffix(".log")
        with log.open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-u", *own], stdout=output, stderr=subprocess.STDOUT
            )
        deadline = time.monotonic() + LIMIT
        while b"Epoch " not in log.read_bytes() and process.poll() is None:
            if time.monotonic() > deadline:
                process.kill()
                raise RuntimeError(f"nothing happened: {log.read_text()}")
            time.sleep(0.02)
        return process

    def end(self, process: subprocess.Popen) -> None:
        if process.wait(LIMIT):
            raise RuntimeError(self.folder.with_suffix(".log").read_text())

    def half_written(self) -> list[Path]:
        """Temporary files of checkpoints."""
        return [file for folder in self.checkpoints for file in folder.glob(".checkpoint.*.npz")]

    def kill_after(self, process: subprocess.Popen, seconds: float) -> bool:
        """Whether the process was still there to be killed."""
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
        return process.wait(LIMIT) == -9

    def kill_in_write(self, process: subprocess.Popen, number: int, later: float) -> bool:
        """Likewise, in the write of that number."""
        seen = False
        while process.poll() is None:
            before, seen = seen, bool(self.half_written())
            if seen and not before:
                number -= 1
            if number == 0:
                time.sleep(later)
                process.kill()
                break
            time.sleep(0.0005)
        return process.wait(LIMIT) == -9

    def result(self) -> list[np.ndarray]:
        """What must be the same: weights, the optimizer's variables, histories."""
        from keras_htaf.training import checkpoint

        found = []
        for folder in self.checkpoints:
            state = checkpoint.read(folder / "checkpoint.npz")
            assert state["finished"]
            history = state["callbacks"][-1]["history"]
            found += [*state["model"], *state["optimizer"]]
            found += [np.array(history[name]) for name in sorted(history)]
        return found


def check(what: str, kills: int, draw: random.Random, folder: Path, threads: int) -> bool:
    """Print a row of the table; whether all is the same."""
    whole = Training(what, folder / "whole", threads)
    process, began = whole.start(), time.monotonic()
    whole.end(process)
    duration = time.monotonic() - began
    expected = whole.result()
    killed, torn, finished, identical, worst = 0, 0, 0, 0, 0.0
    began = time.monotonic()
    while killed < kills or finished == 0:
        shutil.rmtree(folder / "killed", ignore_errors=True)
        training = Training(what, folder / "killed", threads)
        while True:
            process = training.start()
            if killed == kills:
                training.end(process)
                break
            if draw.random() < 0.5:
                hit = training.kill_after(process, draw.uniform(0, duration))
            else:
                hit = training.kill_in_write(process, draw.randint(1, 8), draw.uniform(0, 0.01))
            if not hit:
                training.end(process)
                break
            killed += 1
            torn += bool(training.half_written())
            print(f"  {what}: kill {killed} of {kills}", file=sys.stderr, flush=True)
        found = training.result()
        finished += 1
        identical += len(found) == len(expected) and all(
            np.array_equal(a, b, equal_nan=a.dtype.kind == "f")
            for a, b in zip(expected, found, strict=False)
        )
        for a, b in zip(expected, found, strict=False):
            if a.dtype.kind == "f" and a.shape == b.shape:
                worst = max(worst, float(np.max(np.abs(a - b), initial=0.0)))
    print(
        f"| {os.environ.get('KERAS_BACKEND')} | `{what}` | {duration:.1f} | {killed} | {torn} | "
        f"{finished} | {identical} | {worst:g} | {time.monotonic() - began:.0f} |",
        flush=True,
    )
    return identical == finished


def main() -> None:
    """Print the table; the exit status is 1 if a training ended elsewhere."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=20, help="of each training")
    parser.add_argument("--seed", type=int, default=0, help="of the moments")
    parser.add_argument("--threads", type=int, default=0, help="of TensorFlow; 0: its own choice")
    parser.add_argument("--only", choices=["train icbm", "resumable_fit"])
    parser.add_argument("--own-fit", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.own_fit:
        own_fit(options.own_fit, options.threads)
        return
    print(
        "| backend | training | seconds | kills | of these while writing | trainings finished | "
        "identical | largest difference | seconds, all |\n" + "|---" * 9 + "|",
        flush=True,
    )
    good = True
    for what in [options.only] if options.only else ["train icbm", "resumable_fit"]:
        with tempfile.TemporaryDirectory() as folder:
            draw = random.Random(options.seed)
            good &= check(what, options.kills, draw, Path(folder), options.threads)
    sys.exit(not good)


if __name__ == "__main__":
    main()
