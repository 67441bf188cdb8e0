"""The `bench` command: a model packed, in Keras on each backend, and in ONNX Runtime.

Each contender runs in a process of its own, on as many cores as it may have threads; all are asked
in turn, round after round, so that what else the machine does slows them alike.
"""

from __future__ import annotations

import importlib.util
import json
import os
import subprocess
import sys
import tempfile
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_htaf.cli import contender
from keras_htaf.cli.onnx_files import write_onnx

CONTENDERS = {
    "packed": ("numba", "safetensors"),
    "keras tensorflow": ("tensorflow",),
    "keras jax": ("jax",),
    "keras torch": ("torch",),
    "onnx float32": ("onnx", "onnxruntime"),
    "onnx int8": ("onnx", "onnxruntime"),
}
"""By the name of each, the packages that it needs."""
ROUNDS = 5
_PACKAGE = Path(contender.__file__).parents[1]


@dataclass
class Result:
    """What was measured of one contender."""

    name: str
    file_bytes: int = 0
    start: float = float("nan")
    """Seconds to load the model and predict a first sample, once its packages are imported."""
    before: int | None = None
    """Bytes in memory before that."""
    wall: dict[int, list[float]] = field(default_factory=dict)
    """Seconds of each call, by the batch size."""
    cpu: dict[int, list[float]] = field(default_factory=dict)
    """The same, of processor time."""
    peak: dict[int, int | None] = field(default_factory=dict)
    """The most bytes in memory until then, with everything that the process has loaded."""
    difference: float = float("nan")
    """The largest difference of an output to the packed model's, or the first contender's."""


def bench_file(
    file: Path, batches=(1, 8, 64), threads: int = 1, seconds: float = 3.0, only=()
) -> list[Result]:
    """Measure a saved model, hardened, and print the results.

    Args:
        file: A `.keras` file, or a packed `.khtaf` file, which only the packed contender can load.
        batches: Batch sizes.
        threads: Threads of each contender.
        seconds: For each contender and batch size.
        only: Names of contenders; none: all whose packages are installed.

    Raises:
        ValueError: If a name or a number is out of range, or nothing can be measured.
    """
    if unknown := set(only) - set(CONTENDERS):
        raise ValueError(
            f"Received contenders {sorted(unknown)}. Expected some of {[*CONTENDERS]}."
        )
    if not batches or min(batches) < 1:
        raise ValueError(f"Received batch sizes {list(batches)}. Expected positive integers.")
    cores = contender.cores()
    if threads > len(cores):
        raise ValueError(
            f"Received threads={threads}. Expected at most {len(cores)}, the number of cores."
        )
    only = [name for name in CONTENDERS if not only or name in only]
    console = Console()
    with tempfile.TemporaryDirectory() as folder:
        if file.suffix == ".khtaf":
            from keras_htaf import packed

            shape, files = packed.load(file).input_shape[1:], {"packed": file}
            missing = dict.fromkeys(set(only) - {"packed"}, "a packed model has no Keras layers")
        else:
            from keras_htaf import harden, load_model
            from keras_htaf.hardening import has_steps

            model = load_model(file)
            model = harden(model) if has_steps(model) else model
            shape = model.input_shape[1:]
            files, missing = files_of(model, Path(folder), only)
        results, failed = measure(files, shape, batches, threads, seconds)
    if not results:
        raise ValueError(f"Nothing could be measured: {missing | failed}.")
    console.print(_table(results, threads))
    for name, why in {**missing, **failed}.items():
        console.print(f"{name}: {why}", soft_wrap=True, markup=False)
    return results


def _table(results: list[Result], threads: int) -> Table:
    heads = ("batch", "", "p50 ms", "p90 ms", "p99 ms", "samples/s", "times", "peak MB", "start s")
    table = Table(*heads, title=f"{threads} thread{'s' * (threads > 1)}")
    for batch in results[0].wall:
        fastest = min(np.median(result.wall[batch]) for result in results)
        for result in results:
            middle, high, highest = np.percentile(result.wall[batch], (50, 90, 99))
            peak = result.peak[batch]
            table.add_row(
                str(batch),
                result.name,
                *(f"{1e3 * t:.3g}" for t in (middle, high, highest)),
                f"{batch / middle:.4g}",
                f"{middle / fastest:.3g}",
                "?" if peak is None else f"{peak / 1e6:.0f}",
                f"{result.start:.2f}",
            )
        table.add_section()
    return table


class _Process:
    """A running contender."""

    def __init__(self, name: str, file: Path, shape, threads: int):
        kind, _, backend = name.partition(" ")
        given = {"kind": kind, "file": str(file), "threads": threads, "shape": list(shape)}
        count = str(threads)
        environment = os.environ | {
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "TF_CPP_MIN_LOG_LEVEL": "3",
        }
        if kind == "keras":
            environment["KERAS_BACKEND"] = backend
        self.name = name
        self._errors = tempfile.TemporaryFile("w+")  # noqa: SIM115 (closed on exit)
        arguments = json.dumps(given | {"package": str(_PACKAGE)})
        self._process = subprocess.Popen(
            [sys.executable, "-P", contender.__file__, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *error) -> None:
        self._process.stdin.close()
        self._process.kill()
        self._process.wait()
        self._process.stdout.close()
        self._errors.close()

    def answer(self) -> dict:
        line = self._process.stdout.readline()
        if not line:
            self._process.wait()
            self._errors.seek(0)
            lines = self._errors.read().strip().splitlines()
            raise RuntimeError(f"{self.name} ended: {lines[-1] if lines else 'no message'}")
        return json.loads(line)

    def ask(self, batch: int, seconds: float | None) -> dict:
        self._process.stdin.write(json.dumps({"batch": batch, "seconds": seconds}) + "\n")
        self._process.stdin.flush()
        return self.answer()


def files_of(model, folder: Path, only) -> tuple[dict[str, Path], dict[str, str]]:
    """The file that each contender loads, and why the others have none.

    Args:
        model: A Keras model, hardened.
        folder: Where to write.
        only: Names of contenders.
    """
    files, missing = {}, {}
    for name in only:
        needs = [p for p in CONTENDERS[name] if importlib.util.find_spec(p) is None]
        if needs:
            missing[name] = f"{needs[0]} is not installed"
            continue
        try:
            files[name] = _written(name, model, folder)
        except (ValueError, ImportError, RuntimeError) as error:
            missing[name] = str(error)
    return files, missing


def _written(name: str, model, folder: Path) -> Path:
    from keras_htaf import packed

    if name == "packed":
        file = folder / "model.khtaf"
        packed.pack(model).save(file)
    elif name.startswith("keras"):
        file = folder / "model.keras"
        if not file.exists():
            model.save(file)
    else:
        file = write_onnx(model, folder, integers=name.endswith("int8"))
    return file


def measure(files: dict[str, Path], shape, batches, threads: int, seconds: float):
    """Measure contenders in turn.

    Args:
        files: By the names of contenders, what each loads.
        shape: Of a sample.
        batches: Batch sizes.
        threads: Threads of each contender.
        seconds: For each contender and batch size, over all rounds.

    Returns:
        The results, and by the name of each contender that failed, why.
    """
    failed, results = {}, []
    with ExitStack() as stack:
        running = []
        for name, file in files.items():
            process = stack.enter_context(_Process(name, file, shape, threads))
            try:
                found = process.answer()
            except RuntimeError as error:
                failed[name] = str(error)
                continue
            result = Result(name, _size(file), found["start"], found["before"])
            running.append((process, result))
            results.append(result)
        first = None
        for batch in sorted(batches):
            for process, result in running:
                outputs = np.array(process.ask(batch, None)["outputs"])
                first = {batch: outputs, **(first or {})}
                result.difference = float(np.abs(outputs - first.setdefault(batch, outputs)).max())
            for _ in range(ROUNDS):
                for process, result in running:
                    found = process.ask(batch, seconds / ROUNDS)
                    result.wall.setdefault(batch, []).extend(found["wall"])
                    result.cpu.setdefault(batch, []).extend(found["cpu"])
                    result.peak[batch] = found["peak"]
    return results, failed


def _size(file: Path) -> int:
    beside = [file, file.with_name(file.name + ".data")]
    return sum(each.stat().st_size for each in beside if each.exists())
