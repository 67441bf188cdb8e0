"""One process of the stability study: trains runs that share a compiled model."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Iterator

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops
from stability_plan import SLOPES, Run

from keras_htaf import calibrate, datasets, diagnose, soften
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.hardening import step_layers
from keras_htaf.layers import Sign
from keras_htaf.models import deep_heaviside_network

BATCH = 64


class ClosingSign(Sign):
    """A smooth sign that a training turns into the exact one, as its weight `closed` goes 0 to 1.

    `closed` is where the switch stands (smooth below 1/2), or, by `closing`, the probability with
    which a unit is exact, or the weight of a penalty on the mean of 4 h (1 - h).
    """

    closing: str | None = None

    def _add_numbers(self, shape):
        super()._add_numbers(shape)
        self.closed = self.add_weight(name="closed", shape=(), initializer="zeros", trainable=False)
        self.seeds = keras.random.SeedGenerator(0)

    def _step(self, x, sharpness, scale, training):
        smooth = self._risen(self.surrogate(x / ops.cast(scale, x.dtype), sharpness, training))
        closed = ops.convert_to_tensor(self.closed)
        if self.closing == "softness":
            if training:
                self.add_loss(0.1 * closed * ops.mean(1.0 - ops.square(smooth)))
            closed = ops.floor(closed / 2)  # exact at 2, for the evaluation
        chance = 0.5
        if self.closing == "rising probability" and training:
            chance = keras.random.uniform(ops.shape(x), seed=self.seeds)
        return ops.where(chance < closed, self._hard(x, sharpness, scale), smooth)


class Close(keras.callbacks.Callback):
    """Moves the weights `closed` with the progress of the training."""

    def __init__(self, closing, total):
        super().__init__()
        self.closing, self.total, self.step = closing, total, 0

    def on_train_batch_begin(self, batch, logs=None):
        progress = self.step / self.total
        self.step += 1
        steps = step_layers(self.model)
        for i, layer in enumerate(steps):
            begins = 0.7 * (i + 1) / len(steps)
            layer.closed.assign(
                {
                    "last phase": float(progress >= 0.7),
                    "layer by layer": float(progress >= begins),
                    "rising probability": min(progress / 0.7, 1.0),
                    "softness": progress,
                }[self.closing]
            )


class CosineDecay(keras.callbacks.Callback):
    """`keras.optimizers.schedules.CosineDecay` as a variable: one compiled step serves any rate."""

    def __init__(self, rate, total):
        super().__init__()
        self.rate, self.total, self.step = rate, total, 0

    def on_train_batch_begin(self, batch, logs=None):
        self.model.optimizer.learning_rate = (
            self.rate * (1 + np.cos(np.pi * self.step / self.total)) / 2
        )
        self.step += 1


class Shuffled(keras.utils.PyDataset):
    """Batches in another order in each epoch.

    With TensorFlow, once random numbers are seeded, `fit` shuffles arrays in the same order each
    time: the batches stay the same ones, and batch normalisation learns them by heart.
    """

    def __init__(self, x, y, seed):
        super().__init__()
        self.x, self.y, self.random = x, y, np.random.default_rng(seed)
        self.on_epoch_end()

    def __len__(self):
        return -(-len(self.x) // BATCH)

    def __getitem__(self, i):
        rows = self.order[i * BATCH : (i + 1) * BATCH]
        return self.x[rows], self.y[rows]

    def on_epoch_end(self):
        self.order = self.random.permutation(len(self.x))


@functools.cache
def load(name: str, data_dir: str | None) -> dict[str, np.ndarray]:
    """Flat standardised images and labels; the test part is the data set's own."""
    data = datasets.load(name, data_dir, validation=0.0, normalize="unit")
    arrays = dict(zip(("x_train", "y_train"), data.train.arrays(), strict=True))
    arrays |= dict(zip(("x_test", "y_test"), data.test.arrays(), strict=True))
    mean, deviation = arrays["x_train"].mean(), arrays["x_train"].std()
    for part in ("x_train", "x_test"):
        flat = arrays[part].reshape(len(arrays[part]), -1)
        arrays[part] = ((flat - mean) / deviation).astype("float32")
    return arrays


def build(run: Run, shape: tuple[int, ...]) -> keras.Model:
    """The network of a run, not compiled; `slope` "relu" gives the twin without steps."""
    relu = run.slope == "relu"
    model = deep_heaviside_network(
        shape,
        10,
        depth=run.depth,
        width=run.width,
        skip=run.skip,
        normalization=run.normalization,
        surrogate=None if relu else SLOPES[run.slope],
        activation="relu" if relu else None,
    )
    if run.forward == "hard":
        return model

    def closing(layer):
        if not isinstance(layer, Sign):
            return layer.__class__.from_config(layer.get_config())
        twin = ClosingSign.from_config(layer.get_config())
        twin.closing = run.closing
        return twin

    return keras.models.clone_model(model, clone_function=closing)


def train(runs: list[Run], data) -> Iterator[dict]:
    """Train runs that share a compiled model; yield what each measured."""
    shape = data["x_train"].shape[1:]
    model = build(runs[0], shape)
    model.compile(
        keras.optimizers.Adam(1e-3),
        keras.losses.CategoricalCrossentropy(
            from_logits=True, label_smoothing=runs[0].label_smoothing
        ),
        metrics=["accuracy"],
    )
    for run in runs:
        yield _train(model, run, data)


def _train(model, run: Run, data) -> dict:
    begin = time.monotonic()
    keras.utils.set_random_seed(run.seed)
    x, y = data["x_train"][: run.images], np.eye(10, dtype="float32")[data["y_train"]][: run.images]
    model.set_weights(_initial(run, x.shape[1:]))
    for variable in model.optimizer.variables:
        variable.assign(np.zeros(variable.shape, variable.dtype))
    total = run.epochs * -(-len(x) // BATCH)
    callbacks = [CosineDecay(run.rate, total)]
    if run.slope != "relu":
        start, end = run.peaks
        for layer in step_layers(model):
            layer.sharpness.assign(layer.surrogate.sharpness_for(start))
        if run.calibrated:
            calibrate(model, x[:512])
        if start != end:
            callbacks.append(AnnealSharpness(peak=run.peaks, frequency="step"))
    before = _gradient_norms(model, x, y) if run.diagnosed else None
    if run.closing == "rising probability":
        for layer in step_layers(model):
            layer.seeds.state.assign(keras.random.SeedGenerator(run.seed).state)
    if run.closing not in (None, "statistics"):
        callbacks.append(Close(run.closing, total))
    if keras.config.backend() == "tensorflow":
        history = model.fit(
            Shuffled(x, y, run.seed), epochs=run.epochs, callbacks=callbacks, verbose=0
        )
    else:
        history = model.fit(
            x, y, batch_size=BATCH, epochs=run.epochs, callbacks=callbacks, verbose=0
        )
    history = history.history
    result = {"train": 100 * history["accuracy"][-1], "loss": history["loss"][-1]}
    if run.diagnosed:
        result["gradients"] = {"before": before, "after": _gradient_norms(model, x, y)}
    if run.forward == "smooth":
        result["smooth"] = _accuracy(model, data, closed=0)
    elif run.slope == "default":
        result["smooth"] = _accuracy(soften(model), data, closed=None)
    if run.closing == "statistics":
        _estimate_statistics(model, x)
    result["hard"] = _accuracy(model, data, closed=2 if run.forward == "smooth" else None)
    return {**result, "seconds": round(time.monotonic() - begin, 2)}


def _gradient_norms(model, x, y) -> list[float]:
    """The gradient's norm at each step against that at the last, over 512 images."""
    rows = diagnose(model, x[:512], y[:512]).layers
    return [row.gradient for row in rows]


def _initial(run: Run, shape) -> list[np.ndarray]:
    """Fresh weights, which depend on the seed alone."""
    model = build(run, shape)
    for layer in model.layers:
        if hasattr(layer, "kernel") and layer.name != "head":
            layer.kernel.assign(run.gain * layer.kernel)
    return model.get_weights()


def _accuracy(model, data, closed) -> float:
    if closed is not None:
        for layer in step_layers(model):
            layer.closed.assign(closed)
    scores = model.predict(data["x_test"], batch_size=1000, verbose=0)
    return 100 * float(np.mean(scores.argmax(-1) == data["y_test"]))


def _estimate_statistics(model, x) -> None:
    """Batch normalisation's averages for the exact steps, from the training data."""
    for layer in step_layers(model):
        layer.closed.assign(1)
    for begin in range(0, 50 * BATCH, BATCH):
        model(x[begin % len(x) :][:BATCH], training=True)
