"""Spikes of LIF neurons by a fixed-point iteration over all steps at once, against the loop.

    KERAS_BACKEND=jax python tools/bench/spiking_fixed_point.py --batch 16 --steps 25 100

The potential before the reset by subtraction is what the inputs alone would make of it, less what
the spikes before have taken, and both are linear recurrences R_t = d R_{t-1} + ...:

    h = R(x) - threshold d R(s)_{t-1},    s = 1 where h > threshold

Starting from no reset, s <- fire(h(s)) is repeated until no spike changes. Step t is right after t
iterations at the latest, since it depends on the steps before it only; so the result is exact, but
for potentials that rounding moves across the threshold.

Columns: how often neurons fire, the iterations that the slowest neuron needs, the time of the
forward pass of the package's loop, how many times as long the iteration takes with R a loop over
time and with R a tree of compositions (all compiled together on JAX and TensorFlow), and how many
of a million spikes differ. The backward pass, linear in either case, would be the same.
"""

from __future__ import annotations

import argparse
import os
import platform

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
import numpy as np
import torch
from keras import ops
from spiking import measure, ratio
from spiking_linear import DECAY, ready, scan

from keras_htaf import backend, layers

THRESHOLD = 1.0


def loop(x):
    """The recurrence step by step."""
    decay = ops.convert_to_tensor(np.float32(DECAY))
    return backend.linear_recurrence(x, decay, ops.zeros_like(x[:, 0]), None, False)


def fixed_point(recurrence):
    """Spikes and the number of iterations, as a function of the inputs."""

    def run(x):
        free = recurrence(x)

        def again(s, changed, count):
            taken = recurrence(s)[:, :-1]
            taken = ops.concatenate([ops.zeros_like(taken[:, :1]), taken], axis=1)
            after = ops.cast(free - (THRESHOLD * DECAY) * taken > THRESHOLD, x.dtype)
            return after, ops.any(after != s), count + 1

        first = ops.cast(free > THRESHOLD, x.dtype)
        start = (first, ops.any(first > 0), ops.convert_to_tensor(1, "int32"))
        s, _, count = ops.while_loop(lambda s, changed, count: changed, again, start)
        return s, count

    return run


def report(layer, x, rounds):
    """A row of the table."""
    ways = {"loop": lambda x, g: (layer(x, training=True), ops.zeros(()))}
    ways |= {name: lambda x, g, r=r: fixed_point(r)(x) for name, r in RECURRENCES.items()}
    functions = {name: ready(way, x, x[:, :1]) for name, way in ways.items()}
    spikes, _ = (ops.convert_to_numpy(a) for a in functions["loop"]())
    found, count = (ops.convert_to_numpy(a) for a in functions["R loop"]())
    times = measure(functions, rounds)
    cells = [x.shape[1], f"{spikes.mean():.2f}", int(count)]
    cells += [f"{1e3 * np.median(times['loop'].seconds):.1f}"]
    for name in ("R loop", "R tree"):
        own = times.get(name)
        cells += [ratio(own.seconds, times["loop"].seconds) if own else ""]
    print(
        "| " + " | ".join(map(str, cells)), f"| {1e6 * (spikes != found).mean():.1f} |", flush=True
    )


RECURRENCES = {"R loop": loop, "R tree": scan}
if keras.config.backend() == "tensorflow":  # whose XLA does not take Keras's tree
    del RECURRENCES["R tree"]


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[25, 100])
    parser.add_argument("--currents", type=float, nargs="+", default=[-0.1, 0.05, 0.3])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=1, help="Of torch.")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{keras.config.backend()}, batch {options.batch}, {options.units} units, ", end="")
    print(f"{options.rounds} rounds, {platform.machine()}, keras {keras.__version__}\n")
    print("| T | fires | iterations | loop, ms | R loop / it | R tree / it | others, of 10^6 |")
    print("|---|---|---|---|---|---|---|")
    for steps in options.steps:
        layer = layers.LIF(DECAY, THRESHOLD)
        layer.build((options.batch, steps, options.units))
        for current in options.currents:
            x = rng.normal(current, 0.4, (options.batch, steps, options.units))
            report(layer, x.astype("float32"), options.rounds)


if __name__ == "__main__":
    main()
