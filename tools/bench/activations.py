"""Time of HTAF's forward and backward pass against automatic differentiation of its composition.

    KERAS_BACKEND=jax python tools/bench/activations.py

All contenders run in turn within each round, so that a busy machine slows them alike; a ratio is
taken within a round, and the median and the middle half over the rounds are printed. Modes:

    eager       operation by operation (on JAX: without an outer jit)
    graph       tf.function without XLA (TensorFlow only)
    compiled    one function with forward and backward, compiled (XLA, jax.jit, torch.compile)
    separate    forward and backward compiled apart, as other layers between them force it (JAX)

"""

from __future__ import annotations

import argparse
import os
import platform
import time
from collections.abc import Callable
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
from keras import ops

import keras_htaf
from keras_htaf.files import write_json

ALPHA, BETA = 8.0, 0.5
CONTENDERS = {
    "autodiff": lambda x: ops.sigmoid(ALPHA * ops.tanh(BETA * x)),
    "htaf": lambda x: keras_htaf.ops.htaf(x, ALPHA, BETA),
    "sigmoid": ops.sigmoid,
    "relu": ops.relu,
}


def contenders(backend: str) -> dict[str, dict[str, Callable]]:
    """mode -> name -> function of (x, upstream) that runs forward and backward to the end."""
    return {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[backend]()


def _tensorflow():
    import tensorflow as tf

    def both(f):
        def run(x, g):
            with tf.GradientTape() as tape:
                tape.watch(x)
                y = f(x)
            return y, tape.gradient(y, x, g)

        return run

    def waiting(run):
        def wait(x, g):
            run(x, g)[1][:1].numpy()

        return wait

    modes = {"eager": {}, "graph": {}, "compiled": {}}
    for name, f in CONTENDERS.items():
        modes["eager"][name] = waiting(both(f))
        modes["graph"][name] = waiting(tf.function(both(f), autograph=False))
        modes["compiled"][name] = waiting(tf.function(both(f), autograph=False, jit_compile=True))
    return modes


def _jax():
    import jax

    def both(f):
        def run(x, g):
            y, pullback = jax.vjp(f, x)
            return y, pullback(g)

        return run

    def apart(f):
        forward = jax.jit(lambda x: jax.vjp(f, x))
        backward = jax.jit(lambda pullback, g: pullback(g))

        def run(x, g):
            y, pullback = forward(x)
            return y, backward(pullback, g)

        return run

    def waiting(run):
        return lambda x, g: jax.block_until_ready(run(x, g))

    modes = {"eager": {}, "compiled": {}, "separate": {}}
    for name, f in CONTENDERS.items():
        modes["eager"][name] = waiting(both(f))
        modes["compiled"][name] = waiting(jax.jit(both(f)))
        modes["separate"][name] = waiting(apart(f))
    return modes


def _torch():
    import torch

    def both(f):
        def run(x, g):
            x = x.detach().requires_grad_()
            f(x).backward(g)

        return run

    modes = {"eager": {}, "compiled": {}}
    for name, f in CONTENDERS.items():
        modes["eager"][name] = both(f)
        modes["compiled"][name] = both(torch.compile(f, fullgraph=True))
    return modes


def measure(functions: dict[str, Callable], x, g, rounds: int) -> dict[str, np.ndarray]:
    """Seconds of each function in each round, after two rounds to warm up."""
    seconds = {name: [] for name in functions}
    for _ in range(rounds + 2):
        for name, function in functions.items():
            begin = time.perf_counter()
            function(x, g)
            seconds[name].append(time.perf_counter() - begin)
    return {name: np.array(values[2:]) for name, values in seconds.items()}


def main() -> None:
    """Measure, print a Markdown table, and write JSON if asked."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--elements", type=int, default=4 * 1024 * 1024)
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--json", type=Path, help="Also write the figures to this file.")
    options = parser.parse_args()

    backend = keras.config.backend()
    rng = np.random.default_rng(0)
    x, g = (
        ops.convert_to_tensor(rng.normal(size=options.elements).astype("float32")) for _ in range(2)
    )
    print(f"{backend}, {options.elements} float32 elements, {options.rounds} rounds, ", end="")
    print(f"{platform.machine()}, {os.cpu_count()} cores, keras {keras.__version__}\n")
    print("| mode | contender | ms | time / autodiff (middle half) |")
    print("|---|---|---|---|")
    figures = {}
    for mode, functions in contenders(backend).items():
        seconds = measure(functions, x, g, options.rounds)
        figures[mode] = {}
        for name, values in seconds.items():
            low, ratio, high = np.percentile(values / seconds["autodiff"], [25, 50, 75])
            figures[mode][name] = {"ms": 1e3 * float(np.median(values)), "ratio": float(ratio)}
            spread = f"{ratio:.2f} ({low:.2f} to {high:.2f})"
            print(f"| {mode} | {name} | {1e3 * np.median(values):.2f} | {spread} |")
    if options.json:
        write_json(options.json, {backend: figures})


if __name__ == "__main__":
    main()
