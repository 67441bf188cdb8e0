"""An ICBM against its dense twin and random bits, over several seeds.

    KERAS_BACKEND=jax python tools/bench/icbm.py --data digits --seeds 5
    KERAS_BACKEND=jax python tools/bench/icbm.py --data mnist --epochs 5 --data-dir DIR

Each seed is one `keras-htaf train icbm` (default settings but for what is given here) in a folder
of its own; a seed that is already there is not trained again. Prints a Markdown table of the test
accuracies: mean, standard deviation and worst over the seeds.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

from keras_htaf.cli.experiment import run
from keras_htaf.cli.settings import Settings

ROWS = {
    "dense": "dense twin",
    "icbm_smooth": "ICBM, smooth steps",
    "icbm_hard": "ICBM, exact steps",
    "random_bits": "random bits of pixels",
    "random_bits_of_dense_features": "random bits of dense features",
    "gap": "gap (smooth - exact)",
}


def main() -> None:
    """Train what is missing and print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--data", default="digits")
    parser.add_argument("--data-dir")
    parser.add_argument("--epochs", type=int, default=Settings.epochs)
    parser.add_argument("--batch-size", type=int, default=Settings.batch_size)
    parser.add_argument("--width", type=int, default=Settings.width)
    parser.add_argument("--concepts", type=int, default=Settings.concepts)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--out", type=Path, default=Path("runs/bench-icbm"))
    options = parser.parse_args()

    backend = keras.config.backend()
    results = []
    for seed in range(options.seeds):
        settings = Settings(
            data=options.data,
            data_dir=options.data_dir,
            epochs=options.epochs,
            batch_size=options.batch_size,
            width=options.width,
            concepts=options.concepts,
            seed=seed,
        )
        name = f"{Path(options.data).stem}-{backend}-e{options.epochs}-k{options.concepts}"
        folder = options.out / f"{name}-w{options.width}-b{options.batch_size}-seed{seed}"
        done = folder / "metrics.json"
        results.append(
            json.loads(done.read_text(encoding="utf-8"))
            if done.exists()
            else run(settings, folder, resume=True)
        )
    print(
        f"\n{options.data}, {options.epochs} epochs, {options.concepts} concepts, {backend}, "
        f"{options.seeds} seed(s), {platform.machine()}, {os.cpu_count()} cores, "
        f"keras {keras.__version__}\n"
    )
    print("| test accuracy, % | mean | standard deviation | worst |\n|---|---|---|---|")
    for key, label in ROWS.items():
        values = 100 * np.array([result[key] for result in results])
        spread = f"{values.std(ddof=1):.2f}" if len(values) > 1 else "-"
        worst = values.max() if key == "gap" else values.min()
        print(f"| {label} | {values.mean():.2f} | {spread} | {worst:.2f} |")


if __name__ == "__main__":
    main()
