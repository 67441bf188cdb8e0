"""Spiking networks on images: slopes beside each other, matched in peak and in area.

    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --data mnist --data-dir DIR --seeds 5
    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --network cnn --data mnist \
        --data-dir DIR --epochs 5 --seeds 3
    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --epochs 5      # digits, minutes

Test accuracies after the last epoch, by one schedule for all slopes, and how often the hidden
neurons fire. Networks trained with smooth spikes are tested hardened, and as they are beside that.
Each result is appended to a file in `--out`, and a run that is there already is not trained again.
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
from stability_plan import END, SLOPES, START

import keras_htaf
from keras_htaf import datasets, models, surrogates
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.losses import SmoothedCrossentropy

PEAKS = {"peak 0.5": (0.5, 0.5), "peak 1": (1.0, 1.0), "annealed": (START, END)}
"""Peaks where the training begins and ends, all slopes having area 1."""
SHAPES = ("HTAF", "ATan", "FastSigmoid")

KINDS = {
    **{f"{shape}, {peak}": (shape, "hard", peak) for shape in SHAPES for peak in PEAKS},
    **{f"HTAF, smooth, {peak}": ("HTAF", "smooth", peak) for peak in PEAKS},
    "FastSigmoid, k = 25": (surrogates.FastSigmoid(), "hard", None),
}
"""By name: the slope, the forward pass, and the peaks; the last as snnTorch's tutorials have it,
with a peak of 1 and an area of 0.08."""


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=("mlp", "cnn"), default="mlp")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=[*KINDS], metavar="KIND")
    parser.add_argument("--steps", type=int, help="in time; default: 25, of the cnn 4")
    parser.add_argument("--decay", type=float, help="default: 0.9, of the cnn 0.5")
    parser.add_argument("--width", type=int, help="default: 512, of the cnn's first map 16")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, default=2e-3)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/spiking"))
    options = parser.parse_args()
    for name, default in zip(("steps", "decay", "width"), DEFAULTS[options.network], strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)

    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.network}-{options.data}-{keras.config.backend()}.jsonl"
    done = {result["key"]: result for result in result_file.read(file)}
    data = datasets.load(options.data, options.data_dir, validation=0.0, normalize="standard")
    rows = {}
    for seed in range(options.seeds):
        for kind in options.kinds:
            key = f"{kind}, {settings(options)}, seed {seed}"
            if key not in done:
                done[key] = {"key": key, **train(kind, seed, data, options)}
                result_file.append(file, done[key])
                print(f"{key}: {done[key]['test']:.2f}, {done[key]['seconds']} s", flush=True)
            rows.setdefault(kind, []).append(done[key])

    print(f"\n{settings(options)}, {keras.config.backend()}, {platform.machine()}\n")
    print("| slope | test accuracy, % | worst | as trained, % | spikes a neuron and step | s |")
    print("|---|---|---|---|---|---|")
    for kind, results in rows.items():
        test = np.array([result["test"] for result in results])
        spread = f" ± {test.std(ddof=1):.2f}" if len(test) > 1 else ""
        rates = np.mean([list(result["rates"].values()) for result in results], axis=0)
        print(
            f"| {kind} | {test.mean():.2f}{spread} | {test.min():.2f} "
            f"| {np.mean([result['as_trained'] for result in results]):.2f} "
            f"| {', '.join(f'{rate:.3f}' for rate in rates)} "
            f"| {np.mean([result['seconds'] for result in results]):.0f} |"
        )


DEFAULTS = {"mlp": (25, 0.9, 512), "cnn": (4, 0.5, 16)}


def settings(options) -> str:
    """What the result depends on beside the slope, in a few words."""
    return (
        f"{options.network} {options.width}, {options.data}, {options.steps} steps, "
        f"decay {options.decay:g}, {options.epochs} epochs, batch {options.batch_size}, "
        f"rate {options.rate:g}"
    )


def network(kind: str, data: datasets.Dataset, options) -> keras.Model:
    """The spiking network with the slope of a kind, as it begins."""
    slope, forward, peak = KINDS[kind]
    if peak is not None:
        make, sharpness = SLOPES[slope]
        slope = make(sharpness(PEAKS[peak][0]))
    arguments = {
        "num_steps": options.steps,
        "neuron_options": {"decay": options.decay, "surrogate": slope, "forward": forward},
    }
    if options.network == "mlp":
        return models.spiking_mlp(
            data.image_shape, data.num_classes, width=options.width, **arguments
        )
    filters = tuple(options.width * factor for factor in (1, 2, 4))
    return models.spiking_vgg(
        data.image_shape, data.num_classes, filters=filters, pool_every=1, **arguments
    )


def train(kind: str, seed: int, data: datasets.Dataset, options) -> dict:
    """One network."""
    keras.utils.set_random_seed(seed)
    model = network(kind, data, options)
    convolutional = options.network == "cnn"
    batches = data.train.batches(
        options.batch_size, shuffle=True, seed=seed, augment="shift" if convolutional else None
    )
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.epochs * len(batches))
    loss = SmoothedCrossentropy(0.1 if convolutional else 0.0)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    anneal = []
    slope, _, peak = KINDS[kind]
    if peak == "annealed":
        ends = [SLOPES[slope][1](p) for p in PEAKS[peak]]
        anneal = [AnnealSharpness(*ends, frequency="step")]
    begin = time.monotonic()
    history = model.fit(batches, epochs=options.epochs, callbacks=anneal, verbose=0).history
    seconds = time.monotonic() - begin
    x, y = data.test.arrays()
    exact = keras_htaf.harden(model)
    return {
        "test": accuracy(exact, x, y),
        "as_trained": accuracy(model, x, y),
        "rates": spike_rates(exact, x[:2000]),
        "history": {key: [round(v, 5) for v in values] for key, values in history.items()},
        "seconds": round(seconds),
    }


def accuracy(model: keras.Model, x, y) -> float:
    """In percent."""
    found = model.predict(x, batch_size=500, verbose=0).argmax(-1)
    return round(100 * float(np.mean(found == y)), 3)


def spike_rates(model: keras.Model, x) -> dict[str, float]:
    """Spikes a neuron and step of each layer of neurons."""
    neurons = [layer for layer in model.layers if layer.name.endswith("_spikes")]
    totals = [
        keras.ops.mean(layer.output, axis=tuple(range(1, layer.output.ndim))) for layer in neurons
    ]
    means = keras.Model(model.input, totals).predict(x, batch_size=500, verbose=0)
    means = means if isinstance(means, list) else [means]
    return {
        layer.name: round(float(np.mean(mean)), 5)
        for layer, mean in zip(neurons, means, strict=True)
    }


if __name__ == "__main__":
    main()
