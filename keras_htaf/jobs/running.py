"""A pool of workers, each with the model, and the files they write."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
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
    ray = connected()
    data = require("ray.data", "A job", "ray")
    numbered = isinstance(source, Rows)
    if workers is None:
        # A Ray Dataset is read by tasks, which need a core that no worker holds.
        cores = ray.cluster_resources().get("CPU", 1) - (not numbered)
        workers = max(1, int(cores // max(cpus, 1)))
    check_positive(workers=workers)
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
