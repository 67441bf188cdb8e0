"""A pool of workers, each with the model, and the files they write."""

from __future__ import annotations

import math
import os
import re
from collections.abc import Callable
from numbers import Real
from pathlib import Path
from typing import Any

import keras
import numpy as np

from keras_htaf.datasets.extras import require
from keras_htaf.interpret.codes import check_positive
from keras_htaf.jobs.sources import Columns, Rows
from keras_htaf.jobs.tasks import unarchived

_BATCHES_PER_TASK = 256
"""What is done again if a worker dies; also what goes into a file, at most."""


class Worker:
    """Loads the model once, then works on batches.

    Args:
        model: Reference to its archive in Ray's object store.
        source: Reference to `Rows` or `Columns`.
        task: `Bits` or `Predictions`.
        floatx: As in the process that began the job.
    """

    def __init__(self, model: Any, source: Any, task: Any, floatx: str):
        ray = require("ray", "A job", "ray")
        keras.config.set_floatx(floatx)
        self.source = ray.get(source)
        self.columns = task.of(unarchived(ray.get(model)))

    def __call__(self, batch: dict) -> Any:
        known, x, y = self.source(batch)
        return _table({**known, **self.columns(x, y)})


def run(
    model: bytes,
    x: Any,
    source: Rows | Columns,
    task: Any,
    folder: Path,
    *,
    batch_size: int,
    workers: int | None,
    cpus: float,
    gpus: float,
) -> None:
    """Writes what a task makes of all images as Parquet files into a folder."""
    _check_needs(cpus=cpus, gpus=gpus)
    if workers is not None:
        check_positive(workers=workers)
    ray = connected()
    data = require("ray.data", "A job", "ray")
    numbered = isinstance(source, Rows)
    if workers is None:
        machines = [node["Resources"] for node in ray.nodes() if node["Alive"]]
        workers = fitting(machines, cpus, gpus, reading=not numbered)
    if isinstance(source, Rows):
        blocks = min(len(source), max(2 * workers, -(-len(source) // _BATCHES_PER_TASK)))
        # Made here: tasks that make it might wait for a core for ever, behind the workers.
        x, at_once = data.from_items(range(len(source)), override_num_blocks=blocks), 1
    else:
        at_once = batch_size
    done = x.map_batches(
        Worker,
        batch_size=at_once,
        batch_format="numpy",
        compute=data.ActorPoolStrategy(min_size=workers if numbered else 1, max_size=workers),
        fn_constructor_kwargs={
            "model": ray.put(model),
            "source": ray.put(source),
            "task": task,
            "floatx": keras.config.floatx(),
        },
        num_cpus=cpus,
        num_gpus=gpus,
        runtime_env={"env_vars": {"KERAS_BACKEND": keras.config.backend()}},
    )
    # Writing needs no core of its own: the workers may hold all there are.
    in_words(lambda: done.write_parquet(str(folder), ray_remote_args={"num_cpus": 0}))


def fitting(machines: list[dict], cpus: float, gpus: float, *, reading: bool) -> int:
    """How many workers the machines have room for at once, at least one.

    Args:
        machines: The "CPU" and "GPU" that each has.
        cpus: What a worker takes of these. Where it takes nothing, it counts as a core.
        gpus: Likewise.
        reading: Whether a core is left, if there are several places, to the tasks that read a Ray
            Dataset, which need one that no worker holds.

    Raises:
        ValueError: If no machine has room for one.
    """
    needs = {kind: need for kind, need in (("CPU", cpus), ("GPU", gpus)) if need} or {"CPU": 1}

    def places(machine, taken=0):
        free = {**machine, "CPU": machine.get("CPU", 0) - taken}
        # A millionth more, since 1 // 0.1 is 9.
        rooms = (math.floor(free.get(kind, 0) / need + 1e-6) for kind, need in needs.items())
        return max(0, min(rooms))

    found = [places(machine) for machine in machines]
    total = sum(found)
    if total == 0:
        there = [{kind: machine.get(kind, 0) for kind in needs} for machine in machines]
        raise ValueError(
            f"Received cpus={cpus!r} and gpus={gpus!r} for each worker, but the machines have "
            f"{there}. Expected what one of them has; of a cluster that will grow, say how many "
            "workers= there are to be."
        )
    if reading:
        lost = (
            n - places(machine, taken=1)
            for n, machine in zip(found, machines, strict=True)
            if machine.get("CPU", 0) >= 1
        )
        total -= min(lost, default=0)
    return max(1, total)


def _check_needs(**needs: float) -> None:
    for name, need in needs.items():
        fits = isinstance(need, Real) and not isinstance(need, bool) and 0 <= need < math.inf
        if not fits or 0 < need < 1e-4:
            raise ValueError(
                f"Received {name}={need!r}. Expected a number >= 0 of what each worker takes, such "
                "as 1, or 0.5 for two workers to share one (Ray counts no finer than 0.0001)."
            )


def connected() -> Any:
    """Ray; started on this machine where no cluster is known (RAY_ADDRESS, or `ray.init`).

    A cluster that a job starts reports no usage statistics and has no dashboard; it ends with the
    program, or with `ray.shutdown()`.
    """
    ray = require("ray", "A job", "ray")
    if not ray.is_initialized():
        os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
        ray.init(include_dashboard=False, log_to_driver=False)
    return ray


def in_words(work: Callable) -> None:
    """Calls what works on Ray; a ValueError of a worker comes out as one process would raise it.

    Ray sends no causes of errors, but their text.
    """
    try:
        work()
    except Exception as error:
        said = re.search(r"^ValueError: (.+?)\n\nThe above", str(error), re.DOTALL | re.MULTILINE)
        if said is None:
            raise
        raise ValueError(said[1]) from error


def _table(columns: dict[str, np.ndarray]) -> Any:
    """Arrays as a table of Arrow: rows of bytes as one value, of numbers as a list of one size."""
    arrow = require("pyarrow", "A job", "ray")

    def column(values: np.ndarray) -> Any:
        values = np.ascontiguousarray(values)
        if values.ndim == 1:
            return arrow.array(values)
        rows = values.reshape(len(values), -1)
        if rows.dtype == np.uint8:
            kind = arrow.binary(rows.shape[1])
            return arrow.FixedSizeBinaryArray.from_buffers(
                kind, len(rows), [None, arrow.py_buffer(rows)]
            )
        return arrow.FixedSizeListArray.from_arrays(arrow.array(rows.ravel()), rows.shape[1])

    return arrow.table({name: column(values) for name, values in columns.items()})
