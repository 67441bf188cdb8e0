"""One contender of the `bench` command, in a process of its own.

Run by path, with a JSON object as its argument, so that it loads what it needs and nothing else:
the packed contender no Keras, the others one framework each. It answers each line of its input, a
JSON object, with one. Only what `load` does is its start, packages are imported before.
"""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Callable

import numpy as np

_FEWEST = 3
"""Calls in a measurement, at least."""


def _packed(file: str, threads: int, package: str) -> Callable:
    sys.path.append(os.path.dirname(package))
    import numba  # noqa: F401
    import safetensors  # noqa: F401

    import keras_htaf_packed

    def load():
        model = keras_htaf_packed.load(file)
        keras_htaf_packed.set_num_threads(threads)
        return lambda x: model.predict(x, batch_size=len(x))

    return load


def _keras(file: str, threads: int, package: str) -> Callable:
    sys.path.append(os.path.dirname(package))
    import keras

    import keras_htaf

    compiled = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.backend.backend()]
    compile_ = compiled(threads)
    return lambda: compile_(keras_htaf.load_model(file))


def _tensorflow(threads: int):
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(1)

    return _FasterOfTwo


class _FasterOfTwo:
    """A model in TensorFlow's graphs, with XLA or without, as was faster at `choose`."""

    def __init__(self, model):
        import tensorflow as tf

        def way(with_xla):
            return tf.function(lambda x: model(x, training=False), jit_compile=with_xla)

        self._ways, self._chosen = [way(False), way(True)], {}

    def __call__(self, x):
        return self._chosen.get(len(x), self._ways[0])(x).numpy()

    def choose(self, x):
        self._chosen[len(x)] = min(self._ways, key=lambda way: _time(lambda: way(x).numpy()))


def _jax(threads: int):
    import jax

    def compiled(model):
        call = jax.jit(lambda x: model(x, training=False))
        return lambda x: np.asarray(call(x))

    return compiled


def _torch(threads: int):
    import torch

    torch.set_num_threads(threads)

    def compiled(model):
        model.eval()
        call = torch.compile(model, dynamic=False)  # one program for each size of batch

        def run(x):
            with torch.inference_mode():
                return call(torch.from_numpy(x)).numpy()

        return run

    return compiled


def _onnx(file: str, threads: int, package: str) -> Callable:
    import onnxruntime

    def load():
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        options.inter_op_num_threads = 1
        session = onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
        name = session.get_inputs()[0].name
        return lambda x: session.run(None, {name: x})[0]

    return load


def cores() -> list[int]:
    """The cores that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return sorted(os.sched_getaffinity(0))
    return list(range(os.cpu_count() or 1))


def _time(call: Callable) -> float:
    call()
    start = time.perf_counter()
    for _ in range(_FEWEST):
        call()
    return time.perf_counter() - start


def _peak() -> int | None:
    """The most bytes that this process has had in memory, where the system tells."""
    try:
        with open("/proc/self/status") as status:  # getrusage counts what it was forked from, too
            return next(1024 * int(line.split()[1]) for line in status if line.startswith("VmHWM"))
    except (OSError, StopIteration):
        return None


def _measure(call: Callable, x: np.ndarray, seconds: float) -> dict:
    wall: list[float] = []
    cpu: list[float] = []
    end = time.perf_counter() + seconds
    while len(wall) < _FEWEST or time.perf_counter() < end:
        start, start_cpu = time.perf_counter(), time.process_time()
        call(x)
        wall.append(time.perf_counter() - start)
        cpu.append(time.process_time() - start_cpu)
    return {"wall": wall, "cpu": cpu, "peak": _peak()}


def main() -> None:
    """Load the contender, then answer until the input ends."""
    given = json.loads(sys.argv[1])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # what libraries print is no answer
    kind, file, threads, shape = (given[key] for key in ("kind", "file", "threads", "shape"))
    if hasattr(os, "sched_setaffinity"):  # libraries take their numbers of threads from it
        os.sched_setaffinity(0, cores()[:threads])
    kinds = {"packed": _packed, "onnx": _onnx, "keras": _keras}
    load = kinds[kind](file, threads, given["package"])
    before, start = _peak(), time.perf_counter()
    call = load()
    call(np.zeros((1, *shape), np.float32))
    found = {"start": time.perf_counter() - start, "before": before}
    while True:
        answers.write(json.dumps(found) + "\n")
        answers.flush()
        line = sys.stdin.readline()
        if not line:
            return
        asked = json.loads(line)
        x = np.random.default_rng(0).normal(size=(asked["batch"], *shape)).astype(np.float32)
        if asked["seconds"] is None:  # warm up, and show what it gives
            if hasattr(call, "choose"):
                call.choose(x)
            found = {"outputs": np.asarray(call(x), np.float32).tolist()}
        else:
            found = _measure(call, x, asked["seconds"])


if __name__ == "__main__":
    main()
