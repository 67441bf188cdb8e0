"""Binary networks on images: slopes beside each other, and the float twin.

    KERAS_BACKEND=jax python tools/bench/binary.py --data mnist --data-dir DIR --seeds 3
    KERAS_BACKEND=tensorflow python tools/bench/binary.py --data cifar10 --data-dir DIR \
        --network vgg --width 32 --epochs 6 --slopes HTAF float
    KERAS_BACKEND=jax python tools/bench/binary.py                          # digits, a minute

Test accuracies after the last epoch of networks with 1-bit weights and activations, by one schedule
for all slopes. Each result, with its loss and training accuracy epoch by epoch, is appended to
NETWORK-DATA-BACKEND.jsonl in `--out`, and a run that is there already is not trained again; one
that was interrupted goes on after its last whole epoch, with the same numbers (beside the seconds).
The table, of the slopes that are asked for, is printed and written to NETWORK-DATA-BACKEND.md.
Convolutions are trained three to four times as fast by TensorFlow as by JAX on a CPU.
"""

from __future__ import annotations

import argparse
import hashlib
import os
import platform
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import result_file
import resumed

import keras_htaf
from keras_htaf import datasets, models, surrogates
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.files import replacing
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
    slopes = [*SLOPES, "float"]
    parser.add_argument("--slopes", nargs="*", choices=slopes, default=slopes, metavar="SLOPE")
    parser.add_argument("--kernel-quantizer", default="ste_sign")
    parser.add_argument("--width", type=int, help="default: the published one")
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch-size", type=int, default=128)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--limit", type=int, help="images of each part, to try a command")
    parser.add_argument("--out", type=Path, default=Path("runs/binary"))
    options = parser.parse_args()
    options.width = options.width or WIDTHS[options.network]

    data = datasets.load(options.data, options.data_dir, validation=0.0, normalize="standard")
    if options.limit:
        data = replace(data, train=first(data.train, options), test=first(data.test, options))
    file = options.out / f"{options.network}-{options.data}-{keras.config.backend()}.jsonl"
    rows = result_file.completed(
        file,
        options.slopes,
        options.seeds,
        key=lambda slope, seed: key(slope, seed, options),
        train=lambda slope, seed: train(slope, seed, data, options),
    )
    written = table(rows, options)
    print(f"\n{written}")
    with replacing(file.with_suffix(".md")) as temporary:
        temporary.write_text(f"{written}\n", encoding="utf-8")


def first(part: datasets.split.Split, options) -> datasets.split.Split:
    """The first images of a part."""
    return datasets.split.Split(part.source, part.rows[: options.limit], part.preprocessing)


def table(rows: dict[str, list[dict]], options) -> str:
    """The results of each slope."""
    lines = [
        f"{settings(options)}, {keras.config.backend()}, {platform.machine()}",
        "",
        "| slope | | test accuracy, % | worst | last training accuracy, % | seeds | s / epoch |",
        "|---|---|---|---|---|---|---|",
    ]
    for slope, results in rows.items():
        test = [result["test"] for result in results]
        trained = np.mean([100 * result["history"]["accuracy"][-1] for result in results])
        seconds = np.mean([result["seconds"] for result in results]) / options.epochs
        lines.append(
            f"| {slope} | {describe(slope)} | {result_file.mean(test)} | {min(test):.2f} "
            f"| {trained:.2f} | {len(results)} | {seconds:.0f} |"
        )
    return "\n".join(lines)


def key(slope: str, seed: int, options) -> str:
    """What a result is found by."""
    return f"{describe(slope)}, {settings(options)}, seed {seed}"


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
    limit = f", {options.limit} images" if options.limit else ""
    return (
        f"{options.network} {options.width}, {options.data}{limit}, "
        f"kernels {options.kernel_quantizer}, {options.epochs} epochs, "
        f"batch {options.batch_size}, rate {options.rate:g}"
    )


def train(slope: str, seed: int, data: datasets.Dataset, options) -> dict:
    """One network."""
    keras.utils.set_random_seed(seed)
    augment, anneal = None, []
    if options.network != "mlp":
        augment = "shift_flip" if options.data == "cifar10" else "shift"
    if slope != "float" and SLOPES[slope][1]:
        anneal = [AnnealSharpness(*SLOPES[slope][1], frequency="step")]

    batches = data.train.batches(options.batch_size, shuffle=True, seed=seed, augment=augment)
    folder = options.out / "unfinished" / fingerprint(key(slope, seed, options))
    model, history, seconds = resumed.fit(
        folder,
        lambda: network(slope, data, options, len(batches)),
        batches,
        options.epochs,
        anneal,
    )
    x, y = data.test.arrays()
    exact = keras_htaf.harden(model) if slope != "float" else model
    test = float(np.mean(exact.predict(x, batch_size=500, verbose=0).argmax(-1) == y))
    resumed.forget(folder)
    return {
        "test": round(100 * test, 5),
        "history": history,
        "seconds": round(seconds),
        "packed_bytes": keras_htaf.summary(model).memory["packed"],
    }


def network(slope: str, data: datasets.Dataset, options, steps: int) -> keras.Model:
    """The compiled network, as it begins; an epoch has so many steps."""
    arguments = {"binary": False}
    if slope != "float":
        arguments = {
            "input_quantizer": Sign(SLOPES[slope][0]),
            "kernel_quantizer": options.kernel_quantizer,
        }
    model = NETWORKS[options.network](
        data.image_shape, data.num_classes, options.width, **arguments
    )
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.epochs * steps)
    model.compile(keras.optimizers.Adam(rate), SmoothedCrossentropy(), metrics=["accuracy"])
    return model


def fingerprint(text: str) -> str:
    """A name for a folder."""
    return hashlib.sha256(text.encode()).hexdigest()[:12]


if __name__ == "__main__":
    main()
