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
import threading
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from rich.console import Console
from rich.table import Table

from keras_htaf.cli import contender
from keras_htaf.cli.onnx_files import write_onnx

CONTENDERS = {
    "packed": ("numba", "safetensors", "threadpoolctl"),
    "keras tensorflow": ("tensorflow",),
    "keras jax": ("jax",),
    "keras torch": ("torch",),
    "onnx float32": ("onnx", "onnxruntime"),
    "onnx int8": ("onnx", "onnxruntime"),
}
"""By the name of each, the packages that it needs."""
ROUNDS = 5
PATIENCE = 600.0
"""Seconds that a contender has to load, or for an answer beyond the time that it shall measure."""
_WIDTH = 120
"""Columns of the table: narrower, its numbers would be cut."""
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
    difference: float = 0.0
    """The largest difference of an output to the packed model's, or the first contender's."""
    equal: float = 1.0
    """The least share, over batch sizes, of samples with the same largest output."""


def bench_file(
    file: Path, batches=(1, 8, 64), threads: int = 1, seconds: float = 3.0, only=()
) -> list[Result]:
    """Measure a saved model and print the results; smooth steps are hardened first.

    Args:
        file: A `.keras` file of a model with one input and one output, or a packed `.khtaf` file,
            which only the packed contender can load.
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
    if not batches or not all(isinstance(n, int) and n > 0 for n in batches):
        raise ValueError(f"Received batch sizes {list(batches)}. Expected positive integers.")
    if not 0 < seconds < float("inf"):
        raise ValueError(f"Received seconds={seconds}. Expected a positive number.")
    cores = contender.cores()
    if not isinstance(threads, int) or not 1 <= threads <= len(cores):
        raise ValueError(
            f"Received threads={threads}. Expected 1 to at most {len(cores)}, the number of cores."
        )
    only = [name for name in CONTENDERS if not only or name in only]
    console = Console()
    console.width = max(console.width, _WIDTH)
    with tempfile.TemporaryDirectory() as folder:
        if file.suffix == ".khtaf":
            from keras_htaf import packed

            shape = packed.load(file).input_shape[1:]
            files = {name: file for name in only if name == "packed"}
            missing = dict.fromkeys(set(only) - {"packed"}, "a packed model has no Keras layers")
        else:
            from keras_htaf import harden, load_model
            from keras_htaf.hardening import has_steps

            model = load_model(file)
            counts = [len(getattr(model, key, None) or ()) for key in ("inputs", "outputs")]
            if counts != [1, 1]:
                raise ValueError(
                    f"Model {model.name!r} has a graph of {counts[0]} inputs and {counts[1]} "
                    "outputs. Expected one of each."
                )
            model = harden(model) if has_steps(model) else model  # smooth ones are not packed
            shape = model.input_shape[1:]
            files, missing = files_of(model, Path(folder), only)
        results, failed = measure(files, shape, batches, threads, seconds)
    if not results:
        reasons = "\n".join(f"{name}: {why}" for name, why in (missing | failed).items())
        raise ValueError(f"Nothing could be measured.\n{reasons}")
    console.print(_table(results, threads))
    for name, why in {**missing, **failed}.items():
        console.print(f"{name}: {why}", soft_wrap=True, markup=False)
    return results


def _table(results: list[Result], threads: int) -> Table:
    heads = [
        *("batch", "contender", "p50 ms", "p90 ms", "p99 ms", "samples/s", "times"),
        *("peak MB", "start s", "difference", "alike"),
    ]
    table = Table(
        *heads,
        title=f"{threads} thread{'s' * (threads > 1)}",
        caption=f"difference: the largest of an output to those of {results[0].name}; "
        "alike: share of samples whose largest output is the same one",
    )
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
                f"{result.difference:.2g}",
                f"{100 * result.equal:.4g} %",
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
        self._process = process = subprocess.Popen(
            [sys.executable, "-P", contender.__file__, arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._errors,
            env=environment,
            text=True,
        )
        assert process.stdin is not None  # both are pipes
        assert process.stdout is not None
        self._questions, self._answers = process.stdin, process.stdout

    def __enter__(self) -> _Process:
        return self

    def __exit__(self, *error) -> None:
        with suppress(OSError):
            self._questions.close()
        self._process.kill()
        self._process.wait()
        self._answers.close()
        self._errors.close()

    def answer(self, seconds: float = 0.0) -> dict:
        """The next answer; a RuntimeError if the process ends, or is ended because it is late."""
        late, patience = threading.Event(), PATIENCE + seconds

        def end():
            late.set()
            self._process.kill()

        timer = threading.Timer(patience, end)
        timer.start()
        line = self._answers.readline()
        timer.cancel()
        if line.endswith("\n"):  # not of a process that was killed while it wrote
            return json.loads(line)
        self._process.wait()
        if late.is_set():
            raise RuntimeError(f"{self.name} gave no answer in {patience:g} s")
        self._errors.seek(0)
        lines = self._errors.read().strip().splitlines()
        raise RuntimeError(f"{self.name} ended: {lines[-1] if lines else 'no message'}")

    def ask(self, batch: int, seconds: float | None) -> dict:
        with suppress(OSError):  # of a process that has ended, which its answer explains
            self._questions.write(json.dumps({"batch": batch, "seconds": seconds}) + "\n")
            self._questions.flush()
        return self.answer(seconds or 0.0)


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
        except Exception as error:  # exporters raise anything
            missing[name] = f"{type(error).__name__}: {error}"
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
    failed: dict[str, str] = {}
    with ExitStack() as stack:
        running: dict[_Process, Result] = {}

        def answer(process, *asked) -> dict | None:
            """What a contender says; one that fails runs no more."""
            try:
                return process.ask(*asked) if asked else process.answer()
            except RuntimeError as error:
                failed[process.name] = str(error)
                running.pop(process, None)
                return None

        for name, file in files.items():
            process = stack.enter_context(_Process(name, file, shape, threads))
            if found := answer(process):
                running[process] = Result(name, _size(file), found["start"], found["before"])
        for batch in sorted(batches):
            first = None
            for process, result in list(running.items()):
                if found := answer(process, batch, None):
                    outputs = np.array(found["outputs"]).reshape(batch, -1)
                    first = outputs if first is None else first
                    _compare(result, outputs, first)
            for _ in range(ROUNDS):
                for process, result in list(running.items()):
                    if found := answer(process, batch, seconds / ROUNDS):
                        result.wall.setdefault(batch, []).extend(found["wall"])
                        result.cpu.setdefault(batch, []).extend(found["cpu"])
                        result.peak[batch] = found["peak"]
        return list(running.values()), failed


def _compare(result: Result, outputs: np.ndarray, wanted: np.ndarray) -> None:
    difference = np.abs(outputs - wanted).max()
    result.difference = float(np.maximum(result.difference, difference))  # NaN stays
    alike = (outputs.argmax(1) == wanted.argmax(1)).mean()
    result.equal = min(result.equal, float(alike))


def _size(file: Path) -> int:
    beside = [file, file.with_name(file.name + ".data")]
    return sum(each.stat().st_size for each in beside if each.exists())
