"""Work divided among threads.

Python's threads sleep when there is nothing to do, and the kernels let others run meanwhile. They
are used where the work is worth waking one, which can take 100 microseconds: a small layer of one
sample is not. BLAS is kept to one thread, and its rows are divided too, since OpenBLAS's threads
spin on for some milliseconds after each product, on the cores that the next kernel wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import cache
from itertools import pairwise
from numbers import Integral
from threading import Lock

import numpy as np

_WORTH = 200e-6
"""Seconds of work for which a thread is woken."""
_PIECES = 4
"""For each thread, so that one that is held up does not hold up the others."""
MULTIPLY = 2e-11
"""Seconds of a multiplication and addition of BLAS, roughly."""
_TURN = Lock()
_limit, _within = None, 0
_number: int | None = None


def get_num_threads() -> int:
    """How many threads packed networks use: all cores of the process if never set.

    Example:

    >>> get_num_threads() >= 1
    True
    """
    return _number or (
        len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    )


def set_num_threads(number: int) -> None:
    """Set how many threads packed networks use.

    Args:
        number: At least 1.

    Raises:
        ValueError: If `number` is no positive integer.

    Example:

    >>> before = get_num_threads()
    >>> set_num_threads(1)
    >>> get_num_threads()
    1
    >>> set_num_threads(before)
    """
    global _number
    if isinstance(number, bool) or not isinstance(number, Integral) or number < 1:
        raise ValueError(f"Received number={number!r}. Expected a positive integer.")
    _number = int(number)


def divide(tasks: int, seconds: float, function: Callable[[int, int], None]) -> None:
    """Call `function(first, last)` with ranges that cover all tasks.

    Args:
        tasks: How many.
        seconds: That one takes, roughly.
        function: Does the tasks of a range; other ranges are done by others at the same time.
    """
    threads = min(get_num_threads(), int(tasks * seconds / _WORTH), tasks)
    if threads <= 1:
        function(0, tasks)
        return
    pieces = min(tasks, threads * _PIECES)
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    todo = iter([*pairwise(edges)])

    def work():
        for first, last in todo:
            function(first, last)

    others = [_pool(threads - 1).submit(work) for _ in range(threads - 1)]
    try:
        work()
    finally:
        for other in others:
            other.result()


def product(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x @ kernel, for float32 x of (rows, K)."""
    out = np.empty((len(x), kernel.shape[1]), np.float32)
    with blas_on_one_thread():
        divide(
            len(x),
            kernel.size * MULTIPLY,
            lambda first, last: np.matmul(x[first:last], kernel, out=out[first:last]),
        )
    return out


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """While any caller is within, NumPy's products stay on the thread that asks for them."""
    global _limit, _within
    with _TURN:
        if not _within:
            _limit = _blas().limit(limits=1)
        _within += 1
    try:
        yield
    finally:
        with _TURN:
            _within -= 1
            if not _within:
                _limit.restore_original_limits()


@cache
def _blas():
    from threadpoolctl import ThreadpoolController

    return ThreadpoolController().select(user_api="blas")


@cache
def _pool(threads: int) -> ThreadPoolExecutor:
    return ThreadPoolExecutor(threads, "keras_htaf.packed")


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_pool.cache_clear)  # threads do not survive a fork
