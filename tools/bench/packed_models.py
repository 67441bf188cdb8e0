"""VGG-Small for CIFAR-10, packed, against Keras on each backend and ONNX Runtime.

    python tools/bench/packed_models.py [--seconds 10] [--ends float binary] [--threads 1 2]

Each contender runs in a process of its own, on as many cores as it has threads; all are asked in
turn (see `keras_htaf.cli.bench`). Weights are random: speed does not depend on them. Printed are
the fastest call, which a busy machine disturbs least, and the median, in ms; the ratio of the
fastest calls; on one thread the least processor time too; and, in MB, the file and how much memory
the process had at most with the model (its packages included), and before it was loaded; the
largest difference of an output to the packed model's, and the share of samples decided alike.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np

import keras_htaf
from keras_htaf.cli.bench import CONTENDERS, Result, files_of, measure

SHAPE, BATCHES = (32, 32, 3), (1, 64)


def rows(results: list[Result], threads: int, ends: str, weights: int):
    """Lines of a table; times packed only if the packed contender was measured."""
    wall_of_packed = next((r.wall for r in results if r.name == "packed"), None)
    for batch in BATCHES:
        packed = min(wall_of_packed[batch]) if wall_of_packed else float("nan")
        for r in results:
            wall = 1e3 * np.array(r.wall[batch])
            cpu = f"{1e3 * min(r.cpu[batch]):.3g}" if threads == 1 else ""
            peak = "" if r.peak[batch] is None else f"{r.peak[batch] / 1e6:.0f}"
            before = "" if r.before is None else f"{r.before / 1e6:.0f}"
            yield (
                f"| {ends} | {threads} | {batch} | {r.name} | {wall.min():.3g} | "
                f"{np.median(wall):.3g} | {cpu} | {wall.min() / 1e3 / packed:.3g} | "
                f"{r.file_bytes / 1e6:.3g} ({weights / r.file_bytes:.3g}) | {peak} ({before}) | "
                f"{r.start:.2f} | {r.difference:.2g} | {100 * r.equal:.4g} % |"
            )


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seconds", type=float, default=10, help="for each figure")
    parser.add_argument("--ends", nargs="+", choices=("float", "binary"), default=["float"])
    parser.add_argument("--threads", nargs="+", type=int, default=[1, 2])
    parser.add_argument("--only", nargs="+", choices=CONTENDERS, default=list(CONTENDERS))
    options = parser.parse_args()
    print(
        "| ends | threads | batch | contender | fastest ms | median ms | CPU ms | times packed | "
        "file MB (times smaller than float weights) | peak MB (before) | start s | "
        "largest difference | same decision |"
    )
    print("|" + "---|" * 13)
    for ends in options.ends:
        keras.utils.set_random_seed(0)
        model = keras_htaf.harden(keras_htaf.models.binary_vgg(SHAPE, 10, ends=ends))
        with tempfile.TemporaryDirectory() as folder:
            files, missing = files_of(
                model, Path(folder), ["packed", *(n for n in options.only if n != "packed")]
            )
            for threads in options.threads:
                results, failed = measure(files, SHAPE, BATCHES, threads, options.seconds)
                for row in rows(results, threads, ends, 4 * model.count_params()):
                    print(row, flush=True)
                for name, why in {**missing, **failed}.items():
                    print(f"{name}: {why}")
                if "packed" not in [result.name for result in results]:
                    raise SystemExit("Nothing is compared with: the packed model was not measured.")


if __name__ == "__main__":
    main()
