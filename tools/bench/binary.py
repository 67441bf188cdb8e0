"""Binary networks on images: slopes beside each other, and the float twin.

    KERAS_BACKEND=jax python tools/bench/binary.py --data mnist --data-dir DIR --seeds 3
    KERAS_BACKEND=jax python tools/bench/binary.py --network vgg --data cifar10 --data-dir DIR
    KERAS_BACKEND=jax python tools/bench/binary.py                          # digits, a minute

Test accuracies after the last epoch of networks with 1-bit weights and activations, by one schedule
for all slopes. Each result, with its loss and accuracies epoch by epoch, is appended to a file in
`--out`, and a run that is there already is not trained again.
"""

from __future__ import annotations

import argparse
import os
import platform
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import result_file

import keras_htaf
from keras_htaf import datasets, models, surrogates
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.losses import SmoothedCrossentropy
from keras_htaf.quantizers import Sign

SLOPES = {
    "HTAF": (surrogates.HTAF(2.0, 0.5), (2.0, 16.0)),
    "HTAF, fixed": (surrogates.HTAF(4.0, 0.5), None),
    "clipped identity, annealed": (surrogates.Rectangle(2.0), (0.5, 2.0)),
    "clipped identity": (surrogates.Rectangle(), None),
    "approx-sign": (surrogates.ApproxSign(), None),
    "swish-sign": (surrogates.SwishSign(), None),
    "EDE": (surrogates.EDE(0.1), (0.1, 10.0)),
}
"""By name: the slope of the activations, and from where to where its sharpness is annealed.

As in the literature, so not matched in peak or area; the table says each peak. Since only HTAF and
EDE are usually annealed, HTAF is there fixed, too, and the clipped identity annealed."""

NETWORKS = {
    "mlp": lambda shape, classes, width, **options: models.binary_mlp(
        shape, classes, width=width, dropout=0.1, **options
    ),
    "vgg": lambda shape, classes, width, **options: models.binary_vgg(
        shape, classes, filters=tuple(width * f for f in (1, 1, 2, 2, 4, 4)), **options
    ),
    "resnet": lambda shape, classes, width, **options: models.binary_resnet(
        shape, classes, width=width, block="react", **options
    ),
}
WIDTHS = {"mlp": 1024, "vgg": 128, "resnet": 16}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=NETWORKS, default="mlp")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--slopes", nargs="*", choices=[*SLOPES, "float"], default=[*SLOPES])
    parser.add_argument("--kernel-quantizer", default="ste_sign")
    parser.add_argument("--width", type=int, help="default: the published one")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/binary"))
    options = parser.parse_args()
    options.width = options.width or WIDTHS[options.network]

    data = datasets.load(options.data, options.data_dir, validation=0.0, normalize="standard")
    rows = result_file.completed(
        options.out / f"{options.network}-{options.data}-{keras.config.backend()}.jsonl",
        options.slopes,
        options.seeds,
        key=lambda slope, seed: f"{describe(slope)}, {settings(options)}, seed {seed}",
        train=lambda slope, seed: train(slope, seed, data, options),
    )

    print(f"\n{settings(options)}, {keras.config.backend()}, {platform.machine()}\n")
    print("| slope | | test accuracy, % | worst | last training accuracy, % | s / epoch |")
    print("|---|---|---|---|---|---|")
    for slope, results in rows.items():
        test = [result["test"] for result in results]
        print(
            f"| {slope} | {describe(slope)} | {result_file.mean(test)} | {min(test):.2f} "
            f"| {np.mean([100 * r['history']['accuracy'][-1] for r in results]):.2f} "
            f"| {np.mean([r['seconds'] for r in results]) / options.epochs:.0f} |"
        )


def describe(slope: str) -> str:
    """The slope with its parameters, its peak (of the sign) and what is annealed."""
    if slope == "float":
        return "float"
    surrogate, anneal = SLOPES[slope]
    peak = surrogate.sign_gain * surrogate.peak
    moved = f", annealed {anneal[0]:g} to {anneal[1]:g}" if anneal else ""
    return f"{surrogate!r} (peak {peak:g}{moved})"


def settings(options) -> str:
    """What the result depends on beside the slope, in a few words."""
    return (
        f"{options.network} {options.width}, {options.data}, kernels {options.kernel_quantizer}, "
        f"{options.epochs} epochs, batch {options.batch_size}, rate {options.rate:g}"
    )


def train(slope: str, seed: int, data: datasets.Dataset, options) -> dict:
    """One network."""
    keras.utils.set_random_seed(seed)
    anneal, arguments = None, {"binary": False}
    if slope != "float":
        surrogate, anneal = SLOPES[slope]
        arguments = {
            "input_quantizer": Sign(surrogate),
            "kernel_quantizer": options.kernel_quantizer,
        }
    model = NETWORKS[options.network](
        data.image_shape, data.num_classes, options.width, **arguments
    )
    augment = None
    if options.network != "mlp":
        augment = "shift_flip" if options.data == "cifar10" else "shift"
    batches = data.train.batches(options.batch_size, shuffle=True, seed=seed, augment=augment)
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.epochs * len(batches))
    model.compile(keras.optimizers.Adam(rate), SmoothedCrossentropy(), metrics=["accuracy"])
    begin = time.monotonic()
    history = model.fit(
        batches,
        epochs=options.epochs,
        callbacks=[AnnealSharpness(*anneal, frequency="step")] if anneal else [],
        verbose=2,
    ).history
    seconds = time.monotonic() - begin
    x, y = data.test.arrays()
    exact = keras_htaf.harden(model) if slope != "float" else model
    test = float(np.mean(exact.predict(x, batch_size=500, verbose=0).argmax(-1) == y))
    return {
        "test": 100 * test,
        "history": {key: [round(v, 5) for v in values] for key, values in history.items()},
        "seconds": round(seconds),
        "packed_bytes": keras_htaf.summary(model).memory["packed"],
    }


if __name__ == "__main__":
    main()
