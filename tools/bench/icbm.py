"""ICBMs against their dense twins and random bits, on several data sets, backbones and seeds.

    KERAS_BACKEND=jax python tools/bench/icbm.py run --data mnist cifar10 --data-dir DIR --seeds 3
    KERAS_BACKEND=jax python tools/bench/icbm.py run                        # digits, two minutes
    python tools/bench/icbm.py report

`run` trains what is missing and appends a line for each pair of ICBM and twin to a file in `--out`,
so that it can be interrupted and goes on where it was; a line is found by all settings that its
numbers depend on. `report` writes the Markdown tables of all lines there.
"""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path

import result_file

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

SETTINGS = ("epochs", "images", "test_images", "concepts", "batch_size", "forward", "alpha_end")
"""What a result depends on beside backend, data set, backbone and seed."""


def main(arguments: list[str] | None = None) -> None:
    """Read the command line; run or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("run", "report"))
    parser.add_argument("--data", nargs="+", default=["digits"])
    parser.add_argument("--data-dir")
    parser.add_argument("--backbones", nargs="+", help="default: all")
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--images", type=int, help="train on the first; default: all")
    parser.add_argument("--test-images", type=int, help="measure on the first; default: all")
    parser.add_argument("--concepts", type=int, default=64)
    parser.add_argument("--batch-size", type=int, default=64)
    parser.add_argument("--forward", choices=("smooth", "hard"), default="smooth")
    parser.add_argument("--alpha-end", type=float, default=16.0)
    parser.add_argument("--out", type=Path, default=Path("runs/icbm"))
    options = parser.parse_args(arguments)
    if options.action == "report":
        from icbm_report import report

        if not (path := report(options.out)):
            sys.exit(f"No results (*.jsonl) in {options.out}. Expected a folder `run` wrote to.")
        print(path)
    else:
        _run(options)


def _run(options) -> None:
    import icbm_run
    import keras
    from icbm_networks import BACKBONES

    names = options.backbones or list(BACKBONES)
    if unknown := set(names) - set(BACKBONES):
        sys.exit(f"No backbone {sorted(unknown)}. There are {list(BACKBONES)}.")
    options.out.mkdir(parents=True, exist_ok=True)
    backend = keras.config.backend()
    file = options.out / f"{backend}.jsonl"
    done = {result["key"] for result in result_file.read(file)}
    settings = {name: getattr(options, name) for name in SETTINGS}
    # Seed by seed, so that what an interruption leaves covers all data sets and backbones.
    for seed in range(options.seeds):
        for data in options.data:
            for backbone in names:
                run = {"data": data, "backbone": backbone, "seed": seed, **settings}
                key = " ".join(f"{name}={value}" for name, value in run.items())
                if key in done:
                    continue
                measured = icbm_run.measure(run, options.data_dir)
                result_file.append(file, {"key": key, "backend": backend, **run, **measured})
                shown = {k: measured[k] for k in ("dense", "smooth", "hard", "core_seconds")}
                print(key, *(f"{name} {value:.2f}" for name, value in shown.items()), flush=True)


if __name__ == "__main__":
    main()
