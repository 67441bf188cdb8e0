"""A convolutional Heaviside network on images, beside its ReLU twin.

    KERAS_BACKEND=jax python tools/bench/heaviside_images.py --data cifar10 --data-dir DIR
    KERAS_BACKEND=jax python tools/bench/heaviside_images.py            # digits, a minute

Residual networks of 3 x 3 convolutions, all hidden units -1/+1, trained by the default recipe with
shifts and flips; test accuracies after the last epoch. Each result is appended to a file in
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

from keras_htaf import datasets, hardening
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.losses import SmoothedCrossentropy
from keras_htaf.models import deep_heaviside_network

NETWORKS = {"steps": None, "relu": "relu"}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--depth", type=int, default=9)
    parser.add_argument("--width", type=int, default=32)
    parser.add_argument("--stages", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--networks", nargs="*", choices=NETWORKS, default=list(NETWORKS))
    parser.add_argument("--out", type=Path, default=Path("runs/heaviside-images"))
    options = parser.parse_args()

    data = datasets.load(options.data, options.data_dir, validation=0.0, normalize="standard")
    backend = keras.config.backend()
    rows = result_file.completed(
        options.out / "results.jsonl",
        options.networks,
        options.seeds,
        key=lambda network, seed: f"{network}-{backend}-{settings(options)}-s{seed}",
        train=lambda network, seed: train(network, seed, data, options),
    )

    print(f"\n{settings(options)}, {backend}, {platform.machine()}\n")
    print("| network | test accuracy, % | worst | gap | last training accuracy, % | s / epoch |")
    print("|---|---|---|---|---|---|")
    for network, results in rows.items():
        test = [result["test"] for result in results]
        gaps = ", ".join(f"{result['gap']:.2f}" for result in results if "gap" in result)
        print(
            f"| {network} | {result_file.mean(test)} | {min(test):.2f} "
            f"| {gaps} "
            f"| {np.mean([r['train'] for r in results]):.2f} "
            f"| {np.mean([r['seconds'] for r in results]) / options.epochs:.0f} |"
        )


def settings(options) -> str:
    """What the result depends on, in a few words."""
    return (
        f"{options.data}, depth {options.depth}, width {options.width}, {options.stages} stages, "
        f"{options.epochs} epochs, batch {options.batch_size}, rate {options.rate:g}"
    )


def train(network: str, seed: int, data: datasets.Dataset, options) -> dict:
    """One network by the default recipe."""
    keras.utils.set_random_seed(seed)
    model = deep_heaviside_network(
        data.image_shape,
        data.num_classes,
        kind="convolutional",
        depth=options.depth,
        width=options.width,
        stages=options.stages,
        activation=NETWORKS[network],
    )
    augment = "shift" if options.data in ("digits", "mnist") else "shift_flip"
    batches = data.train.batches(options.batch_size, shuffle=True, seed=seed, augment=augment)
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.epochs * len(batches))
    model.compile(
        keras.optimizers.Adam(rate),
        SmoothedCrossentropy(),
        metrics=["accuracy"],
    )
    steps = hardening.step_layers(model)
    begin = time.monotonic()
    history = model.fit(
        batches,
        epochs=options.epochs,
        callbacks=[AnnealSharpness(2.0, 16.0, frequency="step")] if steps else [],
        verbose=2,
    ).history
    seconds = time.monotonic() - begin
    x, y = data.test.arrays()
    test = _accuracy(model, x, y)
    # The trained network is its own hardened one; its smooth twin, which nobody trained, is beside.
    gap = {"gap": _accuracy(hardening.soften(model), x, y) - test} if steps else {}
    return {
        "test": test,
        **gap,
        "train": 100 * history["accuracy"][-1],
        "parameters": model.count_params(),
        "steps": len(steps),
        "seconds": round(seconds),
    }


def _accuracy(model, x, y) -> float:
    return 100 * float(np.mean(model.predict(x, batch_size=500, verbose=0).argmax(-1) == y))


if __name__ == "__main__":
    main()
