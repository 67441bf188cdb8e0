"""One process for each device, where the backend needs that."""

from __future__ import annotations

import multiprocessing
import os
import socket
import threading
from collections.abc import Callable
from multiprocessing import connection
from multiprocessing.context import SpawnProcess
from typing import Any

import keras

from keras_htaf.backend import replicas


def launch(function: Callable, *args, processes: int) -> None:
    """Calls `function(*args)` in as many processes as there are devices to train on.

    On torch these are `processes` new processes on this machine, in which
    `data_parallel()` finds the others. Elsewhere, and in a process that torchrun or `launch` has
    started, it just calls the function: one process has all devices.

    Args:
        function: A function at the top level of a module. What it returns is lost: let the chief
            write it to a file.
        *args: Its arguments, which must be picklable.
        processes: How many.

    Raises:
        ValueError: If `processes` is not a positive integer.
        RuntimeError: If one of the processes fails; the others are ended. Its traceback has been
            printed.

    Example, in which one process calls the function itself:

    >>> found = []
    >>> keras_htaf.distribution.launch(found.append, "trained", processes=1)
    >>> found
    ['trained']
    """
    if isinstance(processes, bool) or not isinstance(processes, int) or processes < 1:
        raise ValueError(f"Received processes={processes!r}. Expected a positive integer.")
    if keras.config.backend() != "torch" or processes == 1 or "WORLD_SIZE" in os.environ:
        function(*args)
        return
    # A new interpreter each: a fork of a process that has threads may hang.
    context = multiprocessing.get_context("spawn")
    port = _free_port()
    ranks = [
        context.Process(target=_rank, args=(function, args, rank, processes, port))
        for rank in range(processes)
    ]
    try:
        for rank in ranks:
            rank.start()
        waiting: dict[Any, SpawnProcess] = {rank.sentinel: rank for rank in ranks}
        while waiting:
            for sentinel in connection.wait(list(waiting)):
                rank = waiting.pop(sentinel)
                rank.join()
                if rank.exitcode:
                    raise RuntimeError(
                        f"Process {ranks.index(rank)} of {processes} ended with exit code "
                        f"{rank.exitcode}; see above. The others were ended."
                    )
    finally:
        for rank in ranks:
            if rank.pid is not None and rank.is_alive():
                rank.terminate()
        for rank in ranks:
            if rank.pid is not None:
                rank.join(10)
                if rank.is_alive():
                    rank.kill()
                    rank.join()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _rank(function, args, rank, processes, port):
    os.environ.update(
        RANK=str(rank),
        LOCAL_RANK=str(rank),
        WORLD_SIZE=str(processes),
        LOCAL_WORLD_SIZE=str(processes),
        MASTER_ADDR="127.0.0.1",
        MASTER_PORT=str(port),
    )
    threading.Thread(target=_end_with_parent, daemon=True).start()
    function(*args)
    replicas.leave()


def _end_with_parent():
    """Without it a rank would train on after the process that shows what it does was killed."""
    connection.wait([multiprocessing.parent_process().sentinel])
    os._exit(1)
