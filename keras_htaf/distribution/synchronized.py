"""Batch normalisation by the whole batch, of which a replica has a share."""

from __future__ import annotations

import contextlib
import functools

import keras
from keras import ops

from keras_htaf.backend.replicas.share import current


@contextlib.contextmanager
def synchronized(model: keras.Model):
    """Within, batch normalisation of the model uses the moments of all shares of a batch.

    The `synchronized` argument of the layer exists on TensorFlow only, and is saved: a file written
    meanwhile could not be loaded elsewhere.
    """
    layers = [
        layer
        for layer in model._flatten_layers()
        if isinstance(layer, keras.layers.BatchNormalization)
    ]
    for layer in layers:
        if not hasattr(layer, "_moments"):
            raise RuntimeError(
                f"keras {keras.__version__} computes the moments of batch normalisation in a way "
                "that keras_htaf does not know. Train on one device, or use keras 3.15."
            )
        layer._moments = functools.partial(_moments, layer, layer._moments)
    try:
        yield
    finally:
        for layer in layers:
            del layer._moments


def _moments(layer, own, x, mask):
    share = current()
    if share is None:
        return own(x, mask)
    rank = len(x.shape)
    channel = layer.axis % rank
    axes = [axis for axis in range(rank) if axis != channel]
    weights = ops.ones_like(x)
    if mask is not None:
        mask = ops.expand_dims(ops.cast(mask, x.dtype), -1)
        weights = weights * mask
        x = ops.where(weights > 0, x, 0.0)
    count = share.all_sum(ops.sum(weights, axes))
    if mask is not None:
        count = count + keras.config.epsilon()  # all steps may be masked
    mean = share.all_sum(ops.sum(x, axes)) / count
    deviations = x - ops.reshape(mean, [-1 if axis == channel else 1 for axis in range(rank)])
    variance = share.all_sum(ops.sum(weights * ops.square(deviations), axes)) / count
    return mean, variance
