"""Pictures of a training: its curves, and what switches the concepts on."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure

from keras_htaf import datasets
from keras_htaf.files import replacing

_BITS, _IMAGES = 10, 12


def curves(path: Path, icbm: dict, dense: dict) -> None:
    """Training loss, accuracies and sharpness over the epochs."""
    figure = Figure(figsize=(12, 3.6), layout="constrained")
    loss, accuracy, sharpness = figure.subplots(1, 3)
    epochs = range(1, len(icbm["loss"]) + 1)
    loss.semilogy(epochs, icbm["loss"], label="ICBM")
    loss.semilogy(range(1, len(dense["loss"]) + 1), dense["loss"], "--", label="dense twin")
    loss.set(title="training loss", xlabel="epoch")
    loss.legend()
    accuracy.plot(epochs, icbm["accuracy"], ":", label="training, smooth")
    if "hard_accuracy" in icbm:
        accuracy.plot(epochs, icbm["smooth_accuracy"], label="validation, smooth steps")
        accuracy.plot(epochs, icbm["hard_accuracy"], "--", label="validation, exact steps")
    accuracy.set(title="accuracy", xlabel="epoch")
    accuracy.legend(loc="lower right")
    sharpness.plot(epochs, icbm["sharpness"], color="tab:gray", label="sharpness (left)")
    sharpness.set(title="sharpness and softness", xlabel="epoch")
    sharpness.set_ylim(bottom=0)
    lines = sharpness.lines
    if "softness" in icbm:
        right = sharpness.twinx()
        right.plot(epochs, icbm["softness"], color="tab:red", label="softness (right)")
        right.set_ylim(0, 1)
        lines = [*lines, *right.lines]
    sharpness.legend(lines, [line.get_label() for line in lines], loc="upper center")
    for axes in (loss, accuracy, sharpness):
        axes.grid(alpha=0.3)
    _save(figure, path)


def concepts(
    path: Path,
    model: keras.Model,
    test: datasets.Split,
    class_names: Sequence[str],
    limit: int = 5000,
) -> None:
    """For each of the most used bits, the test images that switch it on most strongly.

    A bit is the more used the closer its share of images is to one half: it then tells most.
    """
    x, y = test.arrays(limit=limit)
    # The steps' input: its sign is the exact bit, its size says how clearly.
    logits = keras.Model(model.input, model.get_layer("concepts").input)
    z = logits.predict(x, batch_size=256, verbose=0)
    share = (z > 0).mean(axis=0)
    most_used = np.argsort(np.abs(share - 0.5))[:_BITS]
    shown = np.clip(test.preprocessing.invert(x), 0, None)
    shown = shown / max(shown.max(), 1e-9)
    if shown.shape[-1] not in (1, 3):  # neither grey nor colour: a picture of their mean
        shown = shown.mean(axis=-1, keepdims=True)

    figure = Figure(figsize=(_IMAGES * 0.8 + 4, len(most_used) * 0.85 + 0.6), layout="constrained")
    grid = figure.subplots(
        len(most_used), _IMAGES + 1, squeeze=False, width_ratios=[3.2] + [1] * _IMAGES
    )
    figure.suptitle(
        "the test images that switch a bit on most strongly, "
        f"for the {len(most_used)} bits whose share of images is closest to one half"
    )
    for row, bit in zip(grid, most_used, strict=True):
        on = np.flatnonzero(z[:, bit] > 0)
        # A class is named where nine in ten of its images agree on the bit.
        rates = [(c, (z[y == c, bit] > 0).mean()) for c in np.unique(y)]
        always = " ".join(class_names[c] for c, rate in rates if rate >= 0.9)
        never = " ".join(class_names[c] for c, rate in rates if rate <= 0.1)
        row[0].axis("off")
        caption = f"bit {bit}: on for {share[bit]:.0%}\non: {always}\noff: {never}"
        row[0].text(0, 0.5, caption, va="center", fontsize=9)
        best = on[np.argsort(-z[on, bit])][:_IMAGES]
        for position, axes in enumerate(row[1:]):
            axes.axis("off")
            if position < len(best):
                axes.imshow(shown[best[position]].squeeze(), cmap="gray", vmin=0, vmax=1)
    _save(figure, path)


def _save(figure: Figure, path: Path) -> None:
    with replacing(path) as temporary:
        figure.savefig(temporary, dpi=110)
