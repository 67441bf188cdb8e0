"""Measuring what a model loses when its smooth steps become exact."""

from __future__ import annotations

import math
import random

import keras
import numpy as np

from keras_htaf.hardening import observe_steps, unit_steps, with_forward
from keras_htaf.samples import class_labels, pairs


class DiscretizationGap(keras.callbacks.Callback):
    """Evaluates the model with smooth and with exact steps after each epoch.

    Logs, and so writes into `history`:

        smooth_accuracy    share of samples that the model with smooth steps classifies correctly
        hard_accuracy      the same with exact steps
        gap                smooth_accuracy - hard_accuracy (negative where hard is better)
        disagreement       share of samples on which the two decide differently
        softness           mean over the step units and samples of 4 h (1 - h), h the smooth bit:
                           0 when every unit is saturated, 1 when all are undecided. Units
                           within a compiled loop, such as the cell of a keras.layers.RNN on JAX,
                           have no values to look at and are left out; NaN where all are

    Args:
        x: Validation inputs, an array whose first axis is the batch.
        y: Labels from 0, whole numbers of shape (n,) or (n, 1), or one-hot, possibly smoothed, of
            shape (n, classes). (For a regression `keras_htaf.diagnose` compares squared errors.)
        batch_size: Default 256.
        every: Measure in every n-th epoch and in the last. Default 1.
        threshold: For models with a single output: what the positive class exceeds, 0.5 for a
            probability (default), 0 for a logit.

    Raises:
        ValueError: If x and y differ in length, are empty or hold what is no finite number, or a
            number is not positive; at the start of `fit` also when the labels are not the model's
            classes (at the end of the first epoch where its outputs are not known before), and at
            the end of the first epoch when the model has no step layer.

    Example:

    >>> model = keras.Sequential([keras.Input((2,)), keras_htaf.layers.HTAF()])
    >>> model.compile("sgd", "sparse_categorical_crossentropy")
    >>> x, y = np.eye(2), np.arange(2)
    >>> history = model.fit(x, y, verbose=0, callbacks=[DiscretizationGap(x, y)])
    >>> history.history["gap"]
    [0.0]
    """

    def __init__(self, x, y, batch_size: int = 256, every: int = 1, threshold: float = 0.5):
        super().__init__()
        for name, value in (("batch_size", batch_size), ("every", every)):
            if value != int(value) or value < 1:
                raise ValueError(f"Received {name}={value!r}. Expected a positive integer.")
        self.x, self.y = pairs(x, y)
        self.batch_size = batch_size
        self.every = every
        self.threshold = threshold
        self._twins = None

    def on_train_begin(self, logs=None):
        self._twins = None
        shape = getattr(self.model, "output_shape", None)
        if isinstance(shape, tuple) and shape[-1]:
            class_labels(self.y, shape[-1])

    def on_epoch_end(self, epoch, logs=None):
        last = epoch + 1 == self.params["epochs"]
        if (epoch + 1) % self.every and not last:
            return
        if self._twins is None:
            # Initializers and dropout draw seeds, which a resumed training would draw once more.
            state = random.getstate()
            self._twins = tuple(with_forward(self.model, mode) for mode in ("smooth", "hard"))
            random.setstate(state)
        weights = self.model.get_weights()
        for twin in self._twins:
            twin.set_weights(weights)
        if logs is not None:
            logs.update(measure_gap(*self._twins, self.x, self.y, self.batch_size, self.threshold))


def measure_gap(
    smooth, hard, x, y, batch_size: int = 256, threshold: float = 0.5
) -> dict[str, float]:
    """The quantities that `DiscretizationGap` logs, for a smooth and a hard twin of one model."""
    scores_smooth, scores_hard = (_predict(twin, x, batch_size) for twin in (smooth, hard))
    labels = class_labels(y, scores_hard.shape[-1])
    decisions_smooth, decisions_hard = (decide(s, threshold) for s in (scores_smooth, scores_hard))
    smooth_accuracy = float(np.mean(decisions_smooth == labels))
    hard_accuracy = float(np.mean(decisions_hard == labels))
    return {
        "smooth_accuracy": smooth_accuracy,
        "hard_accuracy": hard_accuracy,
        "gap": smooth_accuracy - hard_accuracy,
        "disagreement": float(np.mean(decisions_smooth != decisions_hard)),
        "softness": softness(smooth, x, batch_size),
    }


def _predict(model, x, batch_size):
    # Not `predict`: on torch it draws from the generator that shuffles the training data.
    begins = range(0, len(x), batch_size)
    return np.concatenate([model.predict_on_batch(x[b : b + batch_size]) for b in begins])


def decide(scores, threshold: float = 0.5) -> np.ndarray:
    """Class decisions: the largest score, or whether a single score exceeds the threshold."""
    scores = np.asarray(scores)
    if scores.shape[-1] > 1:
        return scores.argmax(-1)
    return (scores[..., 0] > threshold).astype(int)


def softness(model: keras.Model, x, batch_size: int = 256) -> float:
    """Mean of 4 h (1 - h) over all step units and samples, h the smooth bit in [0, 1].

    Args:
        model: A model with step layers; a sign s counts as the bit (1 + s) / 2.
        x: Inputs.
        batch_size: Default 256.

    Returns:
        A float: 0 when every unit is saturated (exact steps give 0), 1 when all are undecided.
        Units within a compiled loop, such as the cell of a keras.layers.RNN on JAX, have no values
        to look at and are left out; NaN where all are.
    """
    sums, counts, hidden = 0.0, 0, False
    for begin in range(0, len(x), batch_size):
        signed = [layer.rise == 2 for layer in unit_steps(model)]
        with observe_steps(model) as outputs:
            model(x[begin : begin + batch_size], training=False)
        for is_sign, values in zip(signed, outputs.values(), strict=True):
            for value in values:
                try:
                    h = keras.ops.convert_to_numpy(keras.ops.cast(value, "float32"))
                except (TypeError, NotImplementedError):  # of JAX and of TensorFlow, in a loop
                    hidden = True
                    continue
                h = (1 + h) / 2 if is_sign else h
                sums += float(np.sum(4 * h * (1 - h), dtype="float64"))
                counts += h.size
    if not counts:
        return math.nan if hidden else 0.0  # 0 of a model whose kernels alone are steps
    return sums / counts
