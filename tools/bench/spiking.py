"""Time of spiking neurons, forward and backward, against the loop of snnTorch.

    KERAS_BACKEND=jax python tools/bench/spiking.py
    KERAS_BACKEND=jax python tools/bench/spiking.py --steps 100 200 500 1000 --batch 16

Contenders run in turn within each round, so that a busy machine slows them alike; each runs twice,
and the second time counts, since the threads of the one before spin on for some milliseconds.
Ratios are taken within a round, and the median and the middle half over the rounds are printed.
snnTorch's `Leaky` (reset by subtraction in the next step) runs in the same process, in two loops:

    x[t]        as its tutorials write it; backwards each index fills an array of the inputs' size,
                so the time grows with T squared, and it runs up to T = 200 only
    unbind      over `x.unbind(0)`, the fastest

Beside the time that passed stands the time that cores spent (of all threads), which other processes
disturb less. Layers have the same convention and slope, or HTAF's. Modes:

    compiled    in a function that is compiled as a whole (jax.jit, XLA on TensorFlow)
    graph       in a tf.function without XLA (TensorFlow only)
    eager       operation by operation (torch)

The last column is the growth of the process's peak memory when a contender first ran, with smaller
T before it; it is only a rough number.
"""

from __future__ import annotations

import argparse
import os
import platform
import resource
import time
from collections.abc import Callable
from typing import NamedTuple

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import snntorch
import torch

from keras_htaf import layers, surrogates

NEURONS = {
    "LIF, ATan": lambda: layers.LIF.like("snntorch", decay=0.9),
    "LIF, HTAF": lambda: layers.LIF.like("snntorch", decay=0.9, surrogate="htaf"),
    "LIF, same step": lambda: layers.LIF(decay=0.9, surrogate=surrogates.ATan()),
    "LIF, zero": lambda: layers.LIF.like("snntorch", decay=0.9, reset="zero"),
    "LIF, smooth": lambda: layers.LIF.like("snntorch", decay=0.9, forward="smooth"),
    "CubaLIF": lambda: layers.CubaLIF.like("snntorch", decay=0.9),
    "ALIF": lambda: layers.ALIF(surrogate=surrogates.ATan()),
    "LI": lambda: layers.LI(decay=0.9),
}


def baselines(x, g) -> dict[str, Callable]:
    """snnTorch's loops, forward and backward."""
    neuron = snntorch.Leaky(beta=0.9, spike_grad=snntorch.surrogate.atan())
    x, g = (torch.from_numpy(a.swapaxes(0, 1).copy()) for a in (x, g))

    def loop(steps):
        def run():
            inputs = x.detach().requires_grad_()
            potential, spikes = neuron.reset_mem(), []
            for now in steps(inputs):
                spike, potential = neuron(now, potential)
                spikes.append(spike)
            torch.stack(spikes).backward(g)
            return inputs.grad

        return run

    unbind = {"snnTorch | unbind": loop(lambda inputs: inputs.unbind(0))}
    if len(x) > 200:
        return unbind
    return {**unbind, "snnTorch | x[t]": loop(lambda inputs: (inputs[t] for t in range(len(x))))}


def contenders(x, g, names) -> dict[str, Callable]:
    """Name and mode -> function that runs forward and backward to the end."""
    modes = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}[keras.config.backend()](x, g)
    found = {}
    for name in names:
        for mode, compiled in modes.items():
            layer = NEURONS[name]()
            layer.build(x.shape)
            found[f"{name} | {mode}"] = compiled(layer)
    return found


def _jax(x, g):
    import jax

    x, g = jax.numpy.asarray(x), jax.numpy.asarray(g)

    def compiled(layer):
        @jax.jit
        def both(x, g):
            y, pullback = jax.vjp(lambda x: layer(x, training=True), x)
            return y, pullback(g)

        return lambda: jax.block_until_ready(both(x, g))

    return {"compiled": compiled}


def _tensorflow(x, g):
    import tensorflow as tf

    x, g = tf.constant(x), tf.constant(g)

    def mode(xla):
        def compiled(layer):
            @tf.function(jit_compile=xla, autograph=False)
            def both(x, g):
                with tf.GradientTape() as tape:
                    tape.watch(x)
                    y = layer(x, training=True)
                return y, tape.gradient(y, x, g)

            return lambda: both(x, g)[1][0, 0, 0].numpy()

        return compiled

    return {"compiled": mode(True), "graph": mode(None)}


def _torch(x, g):
    x, g = torch.from_numpy(x), torch.from_numpy(g)

    def eager(layer):
        def both():
            inputs = x.detach().requires_grad_()
            layer(inputs, training=True).backward(g)
            return inputs.grad

        return both

    return {"eager": eager}


class Measured(NamedTuple):
    """Of one contender."""

    seconds: np.ndarray
    """That passed, in each round."""
    core_seconds: np.ndarray
    """That cores spent."""
    memory: float
    """MiB by which the process's peak grew in the first round."""


def measure(functions: dict[str, Callable], rounds: int) -> dict[str, Measured]:
    """Each function twice in each round, the second time counts; after two rounds to warm up."""
    times, memory = {name: [] for name in functions}, {}
    for _ in range(rounds + 2):
        for name, function in functions.items():
            peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
            function()
            begin, spent = time.perf_counter(), time.process_time()
            function()
            times[name].append((time.perf_counter() - begin, time.process_time() - spent))
            grown = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - peak
            memory.setdefault(name, grown / 1024)
    return {name: Measured(*np.array(found[2:]).T, memory[name]) for name, found in times.items()}


def ratio(base: np.ndarray, values: np.ndarray) -> str:
    """The median over the rounds, and the middle half."""
    low, middle, high = np.percentile(base / values, [25, 50, 75])
    return f"{middle:.1f} ({low:.1f} to {high:.1f})"


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--threads", type=int, default=2, help="Of torch.")
    parser.add_argument("--neurons", nargs="+", default=["LIF, ATan", "LIF, HTAF"], choices=NEURONS)
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{keras.config.backend()}, batch {options.batch}, {options.units} units, ", end="")
    print(f"{options.rounds} rounds, {platform.machine()}, {os.cpu_count()} cores, ", end="")
    print(f"keras {keras.__version__}, snntorch {snntorch.__version__}\n")
    print("| T | contender | mode | ms | core ms | x[t] / it | unbind / it | of core ms | MiB |")
    print("|---|---|---|---|---|---|---|---|---|")
    for steps in options.steps:
        shape = (options.batch, steps, options.units)
        x = rng.normal(0.1, 0.5, shape).astype("float32")
        g = rng.normal(size=shape).astype("float32")
        found = measure({**baselines(x, g), **contenders(x, g, options.neurons)}, options.rounds)
        usual, fast = found.get("snnTorch | x[t]"), found["snnTorch | unbind"]
        for name, own in found.items():
            cells = [steps, name, *(f"{1e3 * np.median(v):.1f}" for v in own[:2])]
            cells += [ratio(usual.seconds, own.seconds) if usual else ""]
            cells += [ratio(fast.seconds, own.seconds)]
            cells += [ratio(fast.core_seconds, own.core_seconds), f"{own.memory:.0f}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
