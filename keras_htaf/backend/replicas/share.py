"""What a replica sees of a batch, and what its layers may ask of the others meanwhile.

A batch of n samples is divided among R replicas if R divides n; otherwise each of them computes all
of it, which gives the numbers of one device: shares of unequal size would need weights in the loss,
in every metric and in every batch statistic, and with n < R some would be empty.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from keras import ops

_now = threading.local()


@dataclass(frozen=True)
class Share:
    """The part of a training step that is computed here; numbers may be tensors."""

    all_sum: Callable
    """The sum of a tensor over the replicas, differentiable."""
    index: Any
    count: int
    copies: Any
    """Whether each replica has the whole batch."""

    def whole(self, x):
        if self.copies is True:
            return x
        own = ops.equal(ops.arange(self.count), self.index)
        own = ops.reshape(own, (self.count, *[1] * len(x.shape)))
        parts = self.all_sum(ops.where(own, ops.expand_dims(x, 0), ops.zeros((), x.dtype)))
        rows = ops.reshape(parts, (-1, *ops.shape(x)[1:]))
        return rows if self.copies is False else ops.cond(self.copies, lambda: x, lambda: rows)


@contextlib.contextmanager
def sharing(share: Share):
    _now.share = share
    try:
        yield
    finally:
        _now.share = None


def current() -> Share | None:
    """The share that is being computed; None outside a training step on several replicas."""
    return getattr(_now, "share", None)


def whole(x):
    """The rows of all replicas, for what looks at a batch as a whole; else x itself."""
    share = current()
    return x if share is None else share.whole(x)


@contextlib.contextmanager
def steps(model, **replaced):
    """The model with other steps, which its compiled functions are made of anew."""
    for name, step in replaced.items():
        setattr(model, name, step)
    model.train_function = model.test_function = None
    try:
        yield
    finally:
        for name in replaced:
            delattr(model, name)
        model.train_function = model.test_function = None


class Replicas:
    """One device, of a backend without more."""

    count = processes = 1
    chief = True

    def __init__(self, devices: int | None = None):
        if devices not in (None, 1):
            raise ValueError(f"Received devices={devices!r}. This backend trains on one device.")

    def scope(self):
        return contextlib.nullcontext()

    def check(self, model) -> None:
        pass

    def fit(self, model, data, **options):
        return model.fit(data, shuffle=False, **options)

    def spread(self, model) -> float:
        return 0.0

    def barrier(self) -> None:
        pass

    def gather(self, numbers: list[int]) -> list[list[int]]:
        return [list(numbers)]


class ModelReplicas(Replicas):
    def __init__(self, layout=None, devices=None, batch=1):
        raise ValueError(
            "Kernels can be divided over devices on the JAX backend only. Expected "
            "KERAS_BACKEND=jax, or data_parallel."
        )


def available() -> int:
    return 1


def leave() -> None:
    pass
