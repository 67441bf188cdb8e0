"""Streams beside batches from memory: images a second and peak memory, in turn.

    KERAS_BACKEND=jax python tools/bench/streaming.py --rounds 3

Each way of reading is a process of its own, which reads the training part twice, shuffled and
augmented, in batches of 256, and trains nothing. The first epoch from memory decodes, the second
does not. Memory is what the process had at its peak beyond what it had before it opened the data,
without that of processes it started. Data sets are those of KERAS_HTAF_DATA_DIR.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import time

import numpy as np

WAYS = {
    "memory": None,
    "stream, no thread": {"threads": 0},
    "stream, 2 threads": {"threads": 2},
    "stream, 2 processes": {"threads": 1, "processes": 2},
}


def measure(name: str, way: str, limit: int | None) -> dict:
    """Two epochs, in this process."""
    import grain  # noqa: F401
    import tensorflow_datasets  # noqa: F401
    from array_record.python import array_record_data_source  # noqa: F401

    from keras_htaf import datasets

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    train = datasets.load(name, os.environ.get("KERAS_HTAF_DATA_DIR")).train
    if limit:
        train = datasets.Split(train.source, train.rows[:limit], train.preprocessing)
    options = {"batch_size": 256, "shuffle": True, "augment": "shift_flip"}
    given = WAYS[way]
    batches = train.batches(**options) if given is None else train.stream(**options, **given)
    rates = []
    for _ in range(2):
        start, count = time.perf_counter(), 0
        batches.on_epoch_begin()
        for index in range(len(batches)):
            count += len(batches[index][1])
        batches.on_epoch_end()
        rates.append(count / (time.perf_counter() - start))
    if given is not None:
        batches.close()
    beyond = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
    return {"first": rates[0], "second": rates[1], "MiB": beyond / 1024}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--data", nargs="+", default=["mnist", "cifar10"])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--images", type=int, help="only so many of the training part")
    parser.add_argument("--ways", nargs="+", choices=WAYS, default=list(WAYS))
    parser.add_argument("--one", nargs=2, metavar=("DATA", "WAY"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.one:
        print(json.dumps(measure(*given.one, given.images)))
        return
    found: dict[tuple, list] = {(name, way): [] for name in given.data for way in given.ways}
    for _ in range(given.rounds):
        for name, way in found:  # in turn, so that what else the machine does meets all alike
            command = [sys.executable, __file__, "--one", name, way]
            if given.images:
                command += ["--images", str(given.images)]
            done = subprocess.run(command, capture_output=True, text=True, check=True)
            found[name, way].append(json.loads(done.stdout.splitlines()[-1]))
    print("| data | way | images/s, epoch 1 | images/s, epoch 2 | MiB at peak |")
    print("|---|---|---|---|---|")
    for (name, way), rows in found.items():
        cells = [
            f"{np.median([row[key] for row in rows]):,.0f} "
            f"({min(row[key] for row in rows):,.0f} to {max(row[key] for row in rows):,.0f})"
            for key in ("first", "second", "MiB")
        ]
        print(f"| {name} | {way} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
