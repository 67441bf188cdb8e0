"""How long a packed VGG-Small takes to start: Python, imports, loading, the first prediction.

    python tools/bench/packed_start.py [--times 10]

Each start is a process of its own, which loads no Keras (`keras_htaf_packed`); one goes before
them, so that the kernels are compiled and cached. Printed are the least and the median, in seconds,
by the clock and of processor time: of loading and the first prediction, the same with the imports,
and the whole process.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import numpy as np

ROOT = Path(__file__).parents[2]
START = """
import json, sys, time
begun = time.perf_counter(), time.process_time()
import numpy as np
import numba, safetensors
from keras_htaf_packed import load
ready = time.perf_counter(), time.process_time()
model = load(sys.argv[1])
model.predict(np.zeros((1, *model.input_shape[1:]), np.float32))
done = time.perf_counter(), time.process_time()
assert not {"keras", "tensorflow", "jax", "torch"} & set(sys.modules)
print(json.dumps([[d - r, d - b, 0] for b, r, d in zip(begun, ready, done)]))
"""


def start(file: Path) -> np.ndarray:
    """Seconds of one start: (clock, processor) by (load and predict, with imports, process)."""
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    before, begun = os.times(), time.perf_counter()
    done = subprocess.run(
        [sys.executable, "-c", START, str(file)],
        env=os.environ | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=True,
    )
    after, seconds = os.times(), np.array(json.loads(done.stdout))
    seconds[0, 2] = time.perf_counter() - begun
    seconds[1, 2] = sum(after[2:4]) - sum(before[2:4])
    return seconds


def write(file: Path) -> None:
    """Write the packed model."""
    import keras

    import keras_htaf

    keras.utils.set_random_seed(0)
    model = keras_htaf.models.binary_vgg((32, 32, 3), 10)
    keras_htaf.packed.pack(keras_htaf.harden(model)).save(file)


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--times", type=int, default=10, help="processes to start")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "model.khtaf")
        write(file)
        start(file)
        seconds = np.array([start(file) for _ in range(options.times)])
    print("| | load, first prediction | with imports | process |\n|---|---|---|---|")
    for i, what in enumerate(("clock", "processor")):
        for reduce in (np.min, np.median):
            cells = (f"{s:.2f}" for s in reduce(seconds[:, i], axis=0))
            print(f"| {what}, {reduce.__name__} | {' | '.join(cells)} |")


if __name__ == "__main__":
    main()
