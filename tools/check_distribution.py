"""The largest difference that several devices make to each of the first 50 losses.

    python tools/check_distribution.py [backend ...]

trains the small ICBM of tests/distribution/steps.py, with batch normalisation, penalties on bits,
annealing and a last partial batch, on one device and on several, in processes of their own, and
prints the table of docs/scaling.md. Its steps are smooth, as in the command's trainings: an exact
step may turn a difference of rounding into another bit.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

ROOT = Path(__file__).parents[1]
WAYS = {
    "jax": [("data", 4, "4 devices of a CPU, data"), ("model", 4, "2 x 2 devices, data and model")],
    "tensorflow": [("data", 2, "2 devices of a CPU, data")],
    "torch": [("data", 2, "2 processes, data")],
}


def _run(backend: str, how: str, count: int, file: Path) -> tuple[dict, dict]:
    environment = {
        **os.environ,
        "KERAS_BACKEND": backend,
        "PYTHONPATH": str(ROOT),
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    script = ROOT / "tests" / "distribution" / "steps.py"
    arguments = [sys.executable, str(script), how, str(count), str(file)]
    subprocess.run(arguments, env=environment, check=True, stderr=subprocess.DEVNULL)
    return json.loads(file.read_text()), dict(np.load(file.with_suffix(".npz")))


def main(backends: list[str]) -> None:
    print("| backend | devices | losses differ by | weights at the end by | between the copies |")
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for backend in backends:
            alone, weights = _run(backend, "one", 1, Path(folder) / f"{backend}.json")
            for how, count, text in WAYS[backend]:
                file = Path(folder) / f"{backend}-{how}.json"
                run, others = _run(backend, how, count, file)
                losses = np.abs(np.subtract(run["losses"], alone["losses"]))[:50].max()
                ends = max(np.abs(others[path] - weights[path]).max() for path in weights)
                print(f"| {backend} | {text} | {losses:.1e} | {ends:.1e} | {run['spread']:g} |")


if __name__ == "__main__":
    main(sys.argv[1:] or list(WAYS))
