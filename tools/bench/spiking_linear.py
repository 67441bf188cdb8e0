"""Ways to run a linear recurrence over time, v_t = d v_{t-1} + x_t, forward and backward.

    KERAS_BACKEND=jax python tools/bench/spiking_linear.py --steps 100 1000

Backwards the recurrence runs in reversed time, so each way is timed on both, x and a gradient.

    package     `backend.linear_recurrence`, which the layers call, with its gradient
    scan        `keras.ops.associative_scan`
    blocks N    a lower-triangular N x N matrix of powers of d for each block of N steps, which are
                carried on one after the other; without division, so that d may be near 0
    matrix      the same for all steps at once (T = 100 only)

The blocks need one decay for all neurons; the others do not. As in `spiking.py`, contenders run in
turn within each round, and ratios are taken within a round.
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

from keras_htaf import backend

DECAY = 0.9


def scan(x, reverse=False):
    """Pairs (d, x) composed by a tree."""

    def after(one, other):
        return one[0] * other[0], other[0] * one[1] + other[1]

    powers = ops.full((1, x.shape[1], *[1] * (len(x.shape) - 2)), DECAY, x.dtype)
    return ops.associative_scan(after, (powers, x), reverse, axis=1)[1]


def triangle(size: int, reverse: bool):
    """d^(t - s) at (t, s) for s <= t, and the powers d^1..d^size beside it, or these reversed."""
    power = np.subtract.outer(np.arange(size), np.arange(size))
    matrix = np.where(power < 0, 0.0, DECAY ** np.maximum(power, 0)).astype("float32")
    powers = (DECAY ** np.arange(1, size + 1)).astype("float32")[:, None]
    both = (matrix.T, powers[::-1]) if reverse else (matrix, powers)
    return [ops.convert_to_tensor(np.ascontiguousarray(a)) for a in both]


def blocks(size: int):
    """Block by block, each with a product."""

    def run(x, reverse=False):
        found, carry = [], None
        parts = [x[:, start : start + size] for start in range(0, x.shape[1], size)]
        for block in reversed(parts) if reverse else parts:
            matrix, powers = triangle(block.shape[1], reverse)
            y = ops.matmul(matrix, block)
            y = y if carry is None else y + powers * carry[:, None]
            carry = y[:, 0 if reverse else -1]
            found.append(y)
        return ops.concatenate(found[::-1] if reverse else found, axis=1)

    return run


def blocks_in_place(size: int):
    """The same on torch, written to where it belongs."""

    def run(x, reverse=False):
        found, carry = torch.empty_like(x), None
        parts = list(zip(x.split(size, 1), found.split(size, 1), strict=True))
        for block, into in reversed(parts) if reverse else parts:
            matrix, powers = triangle(block.shape[1], reverse)
            into.copy_(torch.matmul(matrix, block))
            if carry is not None:
                into.addcmul_(powers, carry[:, None])
            carry = into[:, 0 if reverse else -1]
        return found

    return run


def matrix(x, reverse=False):
    """One product."""
    return ops.matmul(triangle(x.shape[1], reverse)[0], x)


def both(run):
    """The recurrence of x, and that of g in reversed time."""
    return lambda x, g: (run(x), run(g, reverse=True))


def package(x, g):
    """What the layers do, by automatic differentiation."""
    decay = ops.convert_to_tensor(np.float32(DECAY))

    def run(x):
        return backend.linear_recurrence(x, decay, ops.zeros_like(x[:, 0]), None, False)

    if keras.config.backend() == "jax":
        import jax

        y, pullback = jax.vjp(run, x)
        return y, pullback(g)[0]
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            tape.watch(x)
            y = run(x)
        return y, tape.gradient(y, x, g)
    with torch.enable_grad():
        inputs = x.detach().requires_grad_()
        y = run(inputs)
        y.backward(g)
    return y, inputs.grad


def ready(function, x, g):
    """The function as a program of the backend, on x and g, that runs to its end."""
    x, g = ops.convert_to_tensor(x), ops.convert_to_tensor(g)
    if keras.config.backend() == "jax":
        import jax

        compiled = jax.jit(function)
        return lambda: jax.block_until_ready(compiled(x, g))
    if keras.config.backend() == "tensorflow":
        import tensorflow as tf

        compiled = tf.function(function, jit_compile=True, autograph=False)

        def run():
            found = compiled(x, g)
            found[1][(0,) * len(found[1].shape)].numpy()
            return found

        return run
    return torch.no_grad()(lambda: function(x, g))


def main() -> None:
    """Measure and print a Markdown table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--steps", type=int, nargs="+", default=[100, 1000])
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--units", type=int, default=512)
    parser.add_argument("--rounds", type=int, default=10)
    parser.add_argument("--threads", type=int, default=1, help="Of torch.")
    options = parser.parse_args()

    torch.set_num_threads(options.threads)
    rng = np.random.default_rng(0)
    print(f"{keras.config.backend()}, batch {options.batch}, {options.units} units, ", end="")
    print(f"{options.rounds} rounds, {platform.machine()}, keras {keras.__version__}\n")
    print("| T | way | ms | package / it | core ms | of core ms | largest difference |")
    print("|---|---|---|---|---|---|---|")
    block = blocks_in_place if keras.config.backend() == "torch" else blocks
    for steps in options.steps:
        x, g = rng.normal(size=(2, options.batch, steps, options.units)).astype("float32")
        ways = {"package": package}
        if keras.config.backend() != "tensorflow":  # whose XLA does not take Keras's
            ways["scan"] = both(scan)
        ways |= {f"blocks {size}": both(block(size)) for size in (16, 32)}
        ways |= {"matrix": both(matrix)} if steps <= 100 else {}
        functions = {name: ready(way, x, g) for name, way in ways.items()}
        results = {name: [ops.convert_to_numpy(a) for a in f()] for name, f in functions.items()}
        found, usual = measure(functions, options.rounds), results["package"]
        for name, own in found.items():
            apart = max(np.abs(a - b).max() for a, b in zip(results[name], usual, strict=True))
            cells = [steps, name, f"{1e3 * np.median(own.seconds):.1f}"]
            cells += [ratio(found["package"].seconds, own.seconds)]
            cells += [f"{1e3 * np.median(own.core_seconds):.1f}"]
            cells += [ratio(found["package"].core_seconds, own.core_seconds), f"{apart:.0e}"]
            print("| " + " | ".join(map(str, cells)) + " |", flush=True)


if __name__ == "__main__":
    main()
