"""Requests that wait are computed together.

Nobody waits for company: what comes while the model is idle is computed at once. What comes while
it computes waits anyway, and is then computed as one batch. So there is no delay to tune; batches
grow with the load.
"""

from __future__ import annotations

import asyncio
import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from keras_htaf.serving.runners import Arrays, Runner


@dataclass(eq=False)
class _Item:
    feeds: Arrays
    rows: int
    names: tuple[str, ...]
    answer: asyncio.Future

    @property
    def kind(self):
        shapes = {name: array.shape[1:] for name, array in self.feeds.items()}
        return self.names, tuple(sorted(shapes.items()))


class Batcher:
    """One thread that runs a model, and those that wait for it.

    The event loop stays free for health checks meanwhile. A request that is given up before its
    turn is never computed; one that is being computed runs to its end.

    Args:
        runner: The model.
        max_rows: Of what is computed at once.
        observe: Called with the rows of each computation.
    """

    def __init__(self, runner: Runner, max_rows: int, observe: Callable[[int], None]):
        self._runner, self._max_rows, self._observe = runner, max_rows, observe
        self._waiting: deque[_Item] = deque()
        self._since: float | None = None
        self._tasks: queue.SimpleQueue = queue.SimpleQueue()
        # A daemon: a computation that never ends must not keep the process.
        threading.Thread(target=self._work, name="model", daemon=True).start()

    async def __call__(self, feeds: Arrays, rows: int, names: Sequence[str]) -> Arrays:
        """The outputs of these names for the rows of one request."""
        loop = asyncio.get_running_loop()
        item = _Item(feeds, rows, tuple(names), loop.create_future())
        self._waiting.append(item)
        if self._since is None:
            self._next(loop)
        return await item.answer

    def busy_for(self) -> float:
        """Seconds since the computation at work began; 0 if there is none."""
        return 0.0 if self._since is None else asyncio.get_running_loop().time() - self._since

    def _next(self, loop) -> None:
        items = self._take()
        self._since = loop.time() if items else None
        if items:
            self._tasks.put((loop, items))

    def _take(self) -> list[_Item]:
        """The longest waiting item and those like it, in their order, up to the most rows."""
        taken: list[_Item] = []
        kept: deque[_Item] = deque()
        rows = 0
        while self._waiting:
            item = self._waiting.popleft()
            if item.answer.done():
                continue
            if taken and not (
                self._runner.together
                and self._max_rows >= rows + item.rows
                and item.kind == taken[0].kind
            ):
                kept.append(item)
                if not self._runner.together or rows >= self._max_rows:
                    break
                continue
            taken.append(item)
            rows += item.rows
        kept.extend(self._waiting)
        self._waiting = kept
        return taken

    def _work(self) -> None:
        while True:
            loop, items = self._tasks.get()
            try:
                answers, error = self._compute(items), None
            except Exception as raised:
                answers, error = [], raised
            try:
                loop.call_soon_threadsafe(self._answer, loop, items, answers, error)
            except RuntimeError:  # the loop has been closed: nobody waits any more
                return

    def _compute(self, items: list[_Item]) -> list[Arrays]:
        first, rows = items[0], sum(item.rows for item in items)
        self._observe(rows)
        if len(items) == 1:
            return [self._runner.run(first.feeds, first.names)]
        feeds = {k: np.concatenate([item.feeds[k] for item in items]) for k in first.feeds}
        found = self._runner.run(feeds, first.names)
        ends = np.cumsum([item.rows for item in items]).tolist()
        return [
            {name: array[end - item.rows : end] for name, array in found.items()}
            for item, end in zip(items, ends, strict=True)
        ]

    def _answer(self, loop, items, answers, error) -> None:
        for i, item in enumerate(items):
            if not item.answer.done():
                if error is None:
                    item.answer.set_result(answers[i])
                else:
                    item.answer.set_exception(error)
        self._next(loop)
