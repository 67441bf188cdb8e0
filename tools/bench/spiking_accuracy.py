"""Spiking networks on images: slopes beside each other, matched in peak and in area.

    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --data mnist --data-dir DIR --seeds 3
    KERAS_BACKEND=tensorflow python tools/bench/spiking_accuracy.py --network cnn --data mnist \
        --data-dir DIR --epochs 5 --kinds "HTAF, annealed" --seeds 3
    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --epochs 5      # digits, minutes
    KERAS_BACKEND=jax python tools/bench/spiking_accuracy.py --report docs/results/spiking.md

Test accuracies after the last epoch, by one schedule for all slopes, and how often the hidden
neurons fire. Networks trained with smooth spikes are tested hardened, and as they are beside that.
Each result is appended to a file in `--out`, and a run that is there already is not trained again.
With `--validation 0.1` a tenth of the training images is held out and stands for the test part: by
that settings are chosen. `--report` trains nothing, and writes the tables of all files in `--out`
into a page, between the comments `<!-- table: FILE -->` and `<!-- end -->`.
"""

from __future__ import annotations

import argparse
import gc
import os
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
from keras_htaf.callbacks.rates import count_spikes
from keras_htaf.files import replacing
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
DEFAULTS = {"mlp": (25, 0.5, 512, 5e-3, 0.0), "cnn": (4, 0.5, 24, 5e-3, 0.1)}
"""Steps in time, decay, width, learning rate and how much labels are smoothed."""


def main() -> None:
    """Train what is missing and print the table, or write all tables."""
    options = arguments().parse_args()
    if options.report:
        write_tables(options.report, options.out)
        return
    keras.config.set_dtype_policy(options.policy)
    names = ("steps", "decay", "width", "rate", "smoothing")
    for name, default in zip(names, DEFAULTS[options.network], strict=True):
        if getattr(options, name) is None:
            setattr(options, name, default)
    data = datasets.load(
        options.data, options.data_dir, validation=options.validation, normalize="standard"
    )
    part = "-validation" if options.validation else ""
    file = f"{options.network}-{options.data}{part}-{keras.config.backend()}.jsonl"
    rows = result_file.completed(
        options.out / file,
        options.kinds,
        options.seeds,
        key=lambda kind, seed: f"{kind}, {settings(options)}, seed {seed}",
        train=lambda kind, seed: train(kind, seed, data, options),
    )
    print("\n" + table([result for results in rows.values() for result in results]))


def arguments() -> argparse.ArgumentParser:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--network", choices=DEFAULTS, default="mlp")
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--validation", type=float, default=0.0)
    parser.add_argument("--kinds", nargs="*", choices=KINDS, default=[*KINDS], metavar="KIND")
    parser.add_argument("--steps", type=int, help="in time; default: 25, of the cnn 4")
    parser.add_argument("--decay", type=float, help="default: 0.5")
    parser.add_argument("--width", type=int, help="default: 512, of the cnn's first map 24")
    parser.add_argument("--smoothing", type=float, help="of labels; default: 0, of the cnn 0.1")
    parser.add_argument("--policy", default="float32", help="such as mixed_bfloat16")
    parser.add_argument("--epochs", type=int, default=1)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--rate", type=float, help="default: 5e-3")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/spiking"))
    parser.add_argument("--report", type=Path, metavar="PAGE")
    return parser


def settings(options) -> str:
    """What the result depends on beside the slope, in a few words."""
    return (
        f"{options.network} {options.width}, {options.data}, {options.steps} steps, "
        f"decay {options.decay:g}, {options.epochs} epochs, batch {options.batch_size}, "
        f"rate {options.rate:g}, smoothing {options.smoothing:g}, {options.policy}"
    )


def network(kind: str, data: datasets.Dataset, options) -> keras.Model:
    """The spiking network with the slope of a kind, as it begins."""
    slope, forward, peak = KINDS[kind]
    if peak is not None:
        slope = SLOPES[slope]
        sharpness = {slope.sharpness_name: slope.sharpness_for(PEAKS[peak][0])}
        slope = type(slope).from_config({**slope.get_config(), **sharpness})
    given = {
        "num_steps": options.steps,
        "neuron_options": {"decay": options.decay, "surrogate": slope, "forward": forward},
    }
    shape = data.image_shape, data.num_classes
    if options.network == "mlp":
        return models.spiking_mlp(*shape, width=options.width, **given)
    filters = tuple(options.width * factor for factor in (1, 2, 4, 8))
    return models.spiking_vgg(*shape, filters=filters, pool_every=1, **given)


def train(kind: str, seed: int, data: datasets.Dataset, options) -> dict:
    """One network."""
    keras.utils.clear_session()
    gc.collect()
    keras.utils.set_random_seed(seed)
    model = network(kind, data, options)
    batches = data.train.batches(
        options.batch_size,
        shuffle=True,
        seed=seed,
        augment="shift" if options.network == "cnn" else None,
    )
    rate = keras.optimizers.schedules.CosineDecay(options.rate, options.epochs * len(batches))
    loss = SmoothedCrossentropy(options.smoothing)
    model.compile(keras.optimizers.Adam(rate), loss, metrics=["accuracy"])
    _, forward, peak = KINDS[kind]
    anneal = [AnnealSharpness(peak=PEAKS[peak], frequency="step")] if peak == "annealed" else []
    begin = time.process_time()
    history = model.fit(batches, epochs=options.epochs, callbacks=anneal, verbose=0).history
    seconds = time.process_time() - begin
    x, y = (data.validation if options.validation else data.test).arrays()
    exact = keras_htaf.harden(model)
    test = accuracy(exact, x, y)
    counted = count_spikes(exact, x[:1000]).items()
    result = {
        "kind": kind,
        "settings": settings(options),
        "seed": seed,
        "test": test,
        "as_trained": test if forward == "hard" else accuracy(model, x, y),
        "rates": {name: round(spikes / chances, 5) for name, (spikes, chances) in counted},
        "history": {key: [round(v, 5) for v in values] for key, values in history.items()},
        "cpu_seconds": round(seconds),
    }
    print(f"{kind}, seed {seed}: {test:.2f} %, {seconds:.0f} core seconds", flush=True)
    return result


def accuracy(model: keras.Model, x, y) -> float:
    """In percent."""
    found = model.predict(x, batch_size=500, verbose=0).argmax(-1)
    return round(100 * float(np.mean(found == y)), 3)


def table(results: list[dict]) -> str:
    """A Markdown table for each of the settings that the results have."""
    tables = []
    for setting in dict.fromkeys(result["settings"] for result in results):
        rows = {}
        for result in results:
            if result["settings"] == setting:
                rows.setdefault(result["kind"], []).append(result)
        neurons = next(iter(rows.values()))[0]["rates"]
        rates = [f"{name.removesuffix('_spikes')} fires" for name in neurons]
        head = ["slope", "exact, %", "worst", "as trained, %", "seeds", *rates, "core seconds"]
        lines = [f"{setting}:", "", _row(head), "|---" * len(head) + "|"]
        for kind in (kind for kind in KINDS if kind in rows):
            own = rows[kind]
            test = [result["test"] for result in own]
            means = np.mean([list(result["rates"].values()) for result in own], axis=0)
            cells = [kind, result_file.mean(test), f"{min(test):.2f}"]
            cells += [result_file.mean([result["as_trained"] for result in own]), str(len(own))]
            cells += [f"{mean:.3f}" for mean in means]
            cells += [f"{np.mean([result['cpu_seconds'] for result in own]):.0f}"]
            lines.append(_row(cells))
        tables.append("\n".join(lines))
    return "\n\n".join(tables)


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cells) + " |"


def write_tables(page: Path, folder: Path) -> None:
    """Put the tables of the folder's files between the comments that name them in the page."""
    text = page.read_text(encoding="utf-8")
    for file in sorted(folder.glob("*.jsonl")):
        mark = f"<!-- table: {file.stem} -->\n"
        if mark not in text:
            print(f"{page} has no {mark.strip()}: left out.")
            continue
        before, rest = text.split(mark, 1)
        after = rest[rest.index("<!-- end -->") :]
        text = f"{before}{mark}\n{table(result_file.read(file))}\n\n{after}"
    with replacing(page) as temporary:
        temporary.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()
