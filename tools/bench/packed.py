"""Kernels on packed bits against float32 BLAS and against what the core can count, on one thread.

    python tools/bench/packed.py [--rounds 15] [--quick]

All contenders run in turn within each round, and their processor time is taken, so that a busy
machine slows them alike; a ratio is taken within a round, and the median and the middle half over
the rounds are printed. Contenders:

    numpy, torch    a float32 product of the same size (torch if it is installed); for a convolution
                    of windows that are laid out already, which a float convolution would have to do
    sums, bits      the packed product: float32 sums, or thresholds and bits, gathering included
    ceiling         a loop of xor, popcount and add between registers
"""

from __future__ import annotations

import argparse
import os
import platform
import time

for _variable in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
    os.environ[_variable] = "1"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

# ruff: noqa: E402 (the number of threads is read when these are imported)
import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from keras_htaf import packed
from keras_htaf_packed.bits import to_bytes, to_units
from keras_htaf_packed.graph import Operation, Spec
from keras_htaf_packed.operations import KINDS

SIZES = {
    "1024 x 1024 x 1024": ((1024,), 1024, 1, 1024),
    "256 x 256 x 2304": ((2304,), 256, 1, 256),
    "1 x 2048 x 2048": ((2048,), 2048, 1, 1),
    "1 x 4096 x 4096": ((4096,), 4096, 1, 1),
    "1 x 8192 x 8192": ((8192,), 8192, 1, 1),
    "3x3, 8 x 32 x 32, 128 -> 128": ((32, 32, 128), 128, 3, 8),
    "3x3, 8 x 16 x 16, 256 -> 256": ((16, 16, 256), 256, 3, 8),
    "3x3, 8 x 8 x 8, 512 -> 512": ((8, 8, 512), 512, 3, 8),
    "3x3, 8 x 32 x 32, 16 -> 16": ((32, 32, 16), 16, 3, 8),
}
"""Shape of a sample, output channels, kernel size, samples."""
QUICK = ("256 x 256 x 2304", "3x3, 8 x 8 x 8, 512 -> 512")


def product(shape, filters, size, samples, stepped):
    """A function without arguments that computes a packed product."""
    random = np.random.default_rng(0)
    channels, border = shape[-1], (size - 1) // 2
    attributes = {
        "weights": "sign",
        "filters": filters,
        "kernel_size": [size, size],
        "strides": [1, 1],
        "dilation": [1, 1],
        "padding": [border] * 4,
        "pad_value": 1,
    }
    kernel = random.integers(0, 2, (filters, size * size * channels))
    arrays = {"kernel": to_bytes(kernel)}
    if stepped:
        attributes["coding"] = "sign"
        arrays["threshold"] = np.zeros(filters, np.int32)
        arrays["flip"] = to_bytes(np.zeros(filters, bool))
    operation = Operation("product", "product", ("x",), attributes, arrays)
    spec = Spec(shape, "sign", (channels,))
    KINDS["product"].infer(operation, spec)
    run = KINDS["product"].prepare(operation, spec)
    x = to_units(random.integers(0, 2, (samples, *shape)), (channels,))
    return lambda: run(x)


def blas(shape, filters, size, samples):
    """Functions that compute the float product of the same size."""
    random = np.random.default_rng(0)
    rows = samples * int(np.prod(shape[:-1]))
    x = random.normal(size=(rows, size * size * shape[-1])).astype("float32")
    kernel = random.normal(size=(x.shape[1], filters)).astype("float32")
    found = {"numpy": lambda: x @ kernel}
    try:
        import torch
    except ImportError:
        return found
    torch.set_num_threads(1)
    a, b = torch.from_numpy(x), torch.from_numpy(kernel)
    return {**found, "torch": lambda: a @ b}


CHAINS = 12
"""Independent sums in the loop of the ceiling."""


@intrinsic
def _turns(context, turns, seed):
    """The loop of the ceiling; each word depends on a sum, so that nothing is computed once."""

    def generate(target, build, signature, arguments):
        word, index = ir.IntType(64), ir.IntType(32)
        vector = ir.VectorType(word, 8)
        turns, seed = arguments
        kind = ir.FunctionType(vector, [vector])
        count = cgutils.get_or_insert_function(build.module, kind, "llvm.ctpop.v8i64")
        first = build.insert_element(vector(ir.Undefined), seed, index(0))
        seeds = build.shuffle_vector(first, vector(ir.Undefined), ir.VectorType(index, 8)(None))
        words = [build.mul(seeds, vector([2 * i + j + 1 for j in range(8)])) for i in range(4)]
        before, loop = build.block, build.append_basic_block("loop")
        build.branch(loop)
        build.position_at_end(loop)
        turn = build.phi(word)
        sums = [build.phi(vector) for _ in range(CHAINS)]
        after = [
            build.add(s, build.call(count, [build.xor(sums[i - CHAINS // 2], words[i % 4])]))
            for i, s in enumerate(sums)
        ]
        following = build.add(turn, word(1))
        end = build.append_basic_block("end")
        build.cbranch(build.icmp_signed("<", following, turns), loop, end)
        for phi, start, end_ in (
            (turn, word(0), following),
            *zip(sums, [vector(None)] * CHAINS, after, strict=True),
        ):
            phi.add_incoming(start, before)
            phi.add_incoming(end_, loop)
        build.position_at_end(end)
        total = after[0]
        for each in after[1:]:
            total = build.xor(total, each)
        return build.extract_element(total, index(0))

    return types.uint64(types.intp, types.uint64), generate


@numba.njit
def ceiling(turns):
    """xor, popcount and add of `turns` times `CHAINS` times 512 bits."""
    return _turns(turns, np.uint64(12345))


def measure(functions, work, rounds):
    """Multiply-accumulates in a nanosecond of each function, for each round."""
    seconds = {name: [] for name in functions}
    repeats = {}
    for name, function in functions.items():
        function()
        start = time.process_time()
        function()
        repeats[name] = max(1, int(0.02 / max(1e-6, time.process_time() - start)))
    for _ in range(rounds):
        for name, function in functions.items():
            start = time.process_time()
            for _ in range(repeats[name]):
                function()
            seconds[name].append((time.process_time() - start) / repeats[name])
    return {name: work[name] / np.array(each) / 1e9 for name, each in seconds.items()}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--quick", action="store_true", help="two sizes: a test of the tool")
    options = parser.parse_args()
    packed.set_num_threads(1)
    turns = 20_000
    print(f"{platform.machine()}, numba {numba.__version__}, numpy {np.__version__}, one thread\n")
    print("| size | contender | GMAC/s | times the fastest float32 | share of the ceiling |")
    print("|---|---|---|---|---|")
    for name, (shape, filters, size, samples) in SIZES.items():
        if options.quick and name not in QUICK:
            continue
        functions = blas(shape, filters, size, samples)
        floats = list(functions)
        functions |= {
            "sums": product(shape, filters, size, samples, stepped=False),
            "bits": product(shape, filters, size, samples, stepped=True),
            "ceiling": lambda: ceiling(turns),
        }
        macs = samples * int(np.prod(shape)) * size * size * filters
        work = dict.fromkeys(functions, macs) | {"ceiling": turns * CHAINS * 512}
        speed = measure(functions, work, options.rounds)
        fastest = max(floats, key=lambda each: np.median(speed[each]))
        for contender, speeds in speed.items():
            low, middle, high = np.percentile(speeds / speed[fastest], (25, 50, 75))
            share = np.median(speeds / speed["ceiling"])
            print(
                f"| {name} | {contender} | {np.median(speeds):.3g} | "
                f"{middle:.3g} ({low:.3g} to {high:.3g}) | {share:.0%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
