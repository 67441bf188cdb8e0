"""Deep Heaviside networks: is training stable, and does the slope matter?

    KERAS_BACKEND=jax python tools/bench/stability.py run --data mnist --data-dir DIR
    KERAS_BACKEND=jax python tools/bench/stability.py run --part recipe --data mnist --data-dir DIR
    python tools/bench/stability.py report

`run` trains what is missing, on one core per process, and appends each result to a file in
`--out`, so that it can be interrupted and goes on where it was; `report` writes Markdown tables and
figures from all results there, and lists the runs that fit no table. `--quick` is a minute's
version on the embedded digits, whose runs are all of that kind.
"""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
from dataclasses import asdict, replace
from itertools import groupby
from pathlib import Path

import result_file

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def main(arguments: list[str] | None = None) -> None:
    """Read the command line; run or report."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("action", choices=("run", "report"))
    parser.add_argument("--part", nargs="*", help="parts of the study; default: all but recipe")
    parser.add_argument("--data", default="digits", help="digits (default) or mnist")
    parser.add_argument("--data-dir")
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--jobs", type=int, default=os.cpu_count())
    parser.add_argument("--quick", action="store_true", help="few, small runs: a test of the tool")
    parser.add_argument("--out", type=Path, default=Path("runs/stability"))
    options = parser.parse_args(arguments)
    if options.action == "run":
        _run(options)
    else:
        from stability_report import report

        if not report(options.out):
            sys.exit(
                f"No results (*.jsonl) in {options.out}. Expected a folder that `run` wrote to."
            )


def _run(options) -> None:
    from stability_plan import parts

    backend = os.environ.get("KERAS_BACKEND", "tensorflow")
    options.out.mkdir(parents=True, exist_ok=True)
    file = options.out / f"{options.data}-{backend}.jsonl"
    done = {result["key"] for result in result_file.read(file)}
    plan = parts(options.seeds)
    names = options.part or [name for name in plan if name != "recipe"]
    if unknown := set(names) - set(plan):
        sys.exit(f"No part {sorted(unknown)}. There are {sorted(plan)}.")
    runs = {run.key: run for name in names for run in plan[name]}
    if options.quick:
        runs = _quick(runs.values())
    todo = [run for key, run in runs.items() if key not in done]
    print(f"{len(runs)} runs, {len(runs) - len(todo)} of them are in {file}", flush=True)

    # Runs that share a compiled model go to one process, in pieces of some minutes.
    todo.sort(key=lambda run: repr(run.model))
    groups = [list(group) for _, group in groupby(todo, key=lambda run: run.model)]
    size = 4 if max((run.images for run in todo), default=0) > 20000 else 20
    pieces = [group[i : i + size] for group in groups for i in range(0, len(group), size)]
    context = multiprocessing.get_context("spawn")
    cores, finished = context.Queue(), context.Value("i", 0)
    for core in range(options.jobs):
        cores.put(core)
    if options.jobs > 1:
        os.environ["XLA_FLAGS"] = "--xla_cpu_multi_thread_eigen=false"
        os.environ["OMP_NUM_THREADS"] = os.environ["TF_NUM_INTRAOP_THREADS"] = "1"
    # A terminated parent must take its workers along.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    shared = (cores, options.jobs > 1, finished, len(todo))
    with context.Pool(options.jobs, _start, shared) as pool:
        work = [(piece, options.data, options.data_dir, file) for piece in pieces]
        for _ in pool.imap_unordered(_train, work):
            pass
    print(f"Tables and figures: python tools/bench/stability.py report --out {options.out}")


def _quick(runs) -> dict:
    runs = list(runs)[:: max(1, len(runs) // 6)]
    small = (replace(run, depth=min(run.depth, 3), width=16, epochs=1, seed=0) for run in runs)
    return {run.key: run for run in small}


def _start(cores, pin: bool, finished, total: int) -> None:
    global _finished, _total  # what is shared between processes can only be inherited
    _finished, _total = finished, total
    if pin and hasattr(os, "sched_setaffinity"):
        available = sorted(os.sched_getaffinity(0))
        os.sched_setaffinity(0, {available[cores.get() % len(available)]})


def _train(work) -> None:
    piece, data, data_dir, file = work
    from stability_run import load, train

    for run, result in zip(piece, train(piece, load(data, data_dir)), strict=True):
        with _finished.get_lock():
            result_file.append(file, {"key": run.key, **asdict(run), **result})
            _finished.value += 1
            print(f"{_finished.value}/{_total}", flush=True)


if __name__ == "__main__":
    main()
