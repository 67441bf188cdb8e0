"""Work divided among threads.

Python's threads sleep when there is nothing to do, and the kernels let others run meanwhile. They
are used where the work is worth waking one, which can take 100 microseconds: a small layer of one
sample is not. BLAS is kept to one thread, and its rows are divided too, since OpenBLAS's threads
spin on for some milliseconds after each product, on the cores that the next kernel wants.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
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
_ROWS = 32
"""Of a product, at least to a thread: each reads the whole kernel."""
_TURN = Lock()
_limit, _within = None, 0
_number: int | None = None


def get_num_threads() -> int:
    """How many threads packed networks use: all cores of the process if never set.

    Returns:
        A positive integer.

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
    threads = min(wanted(tasks * seconds), tasks)
    if threads <= 1:
        function(0, tasks)
        return
    pieces = min(tasks, threads * _PIECES)
    edges = [tasks * i // pieces for i in range(pieces + 1)]
    todo = iter([*pairwise(edges)])

    def work():
        try:
            for first, last in todo:
                function(first, last)
        except BaseException:
            for _ in todo:  # what is left need not be done
                pass
            raise

    others = _called(work, threads - 1)
    try:
        work()
    finally:
        # Those that have not begun find nothing to do: another caller's work may keep them waiting.
        wait(other for other in others if not other.cancel())
    for other in others:
        if not other.cancelled():
            other.result()


def wanted(seconds: float) -> int:
    """How many threads so much work is worth."""
    return max(1, min(get_num_threads(), int(seconds / _WORTH)))


def _called(work: Callable[[], None], times: int) -> list[Future]:
    try:
        return [_pool(get_num_threads() - 1).submit(work) for _ in range(times)]
    except RuntimeError:  # the interpreter is shutting down
        return []


def product(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """x @ kernel, for float32 x of (rows, K)."""
    out = np.empty((len(x), kernel.shape[1]), np.float32)
    parts = -(-len(x) // _ROWS)

    def some(first, last):
        rows = slice(first * _ROWS, last * _ROWS)
        np.matmul(x[rows], kernel, out=out[rows])

    with blas_on_one_thread():
        divide(parts, _ROWS * kernel.size * MULTIPLY, some)
    return out


@contextmanager
def blas_on_one_thread() -> Iterator[None]:
    """While any caller is within, BLAS's products stay on the thread that asks for them.

    This holds for the process: also for products that others ask for meanwhile.
    """
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
    return ThreadPoolExecutor(threads, "keras_htaf_packed")


def _after_fork() -> None:
    """Threads do not survive a fork, and what they held they hold for ever."""
    global _TURN, _within
    _pool.cache_clear()
    _TURN = Lock()
    if _within:
        _within = 0
        _limit.restore_original_limits()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork)
