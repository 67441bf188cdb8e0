"""Penalties on a layer's output by the whole batch, of which a replica has a share."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras
from keras import ops

from keras_htaf.backend.replicas.share import current

_SUMS = (keras.regularizers.L1, keras.regularizers.L2, keras.regularizers.L1L2)


@contextlib.contextmanager
def penalised(model: keras.Model) -> Iterator[None]:
    """Within, each `activity_regularizer` of the model has the value for all shares of a batch.

    The mean over the shares is that value by itself only of a sum over samples that Keras divides
    by their number, such as L1 and L2, which are left as they are.
    """
    divided = _divided()
    penalties = [
        (layer, _OfBatch(layer.activity_regularizer, divided))
        for layer in model._flatten_layers()
        if layer.activity_regularizer is not None
        and not (divided and type(layer.activity_regularizer) in _SUMS)
    ]
    for layer, penalty in penalties:
        _put(layer, penalty)
    try:
        yield
    finally:
        for layer, penalty in penalties:
            _remove(layer, penalty)


@dataclass(frozen=True)
class _OfBatch:
    """A regularizer on the rows of all replicas."""

    own: Callable
    divided: bool

    def __call__(self, output):
        share = current()
        if share is None or not len(output.shape):
            return self.own(output)
        rows = share.whole(output)
        value = self.own(rows)
        if not self.divided:
            return value
        # Keras will divide by the rows that are here.
        here, all_rows = (ops.cast(ops.shape(x)[0], "float32") for x in (output, rows))
        return value * ops.cast(here / all_rows, value.dtype)


def _put(layer: Any, penalty: _OfBatch) -> None:
    layer.activity_regularizer = penalty
    layer.get_config = functools.partial(_config, layer, penalty)


def _remove(layer: Any, penalty: _OfBatch) -> None:
    layer.activity_regularizer = penalty.own
    del layer.get_config


def _config(layer: Any, penalty: _OfBatch) -> dict:
    """What is saved meanwhile is the layer as it was made."""
    _remove(layer, penalty)
    try:
        return layer.get_config()
    finally:
        _put(layer, penalty)


@functools.cache
def _divided() -> bool:
    """Whether Keras divides an activity's penalty by the batch size, as newer versions do."""
    layer = keras.layers.Identity(activity_regularizer=keras.regularizers.L1(1.0), name="probe")
    layer(ops.ones((2, 1)))
    return float(layer.losses[0]) == 1.0
