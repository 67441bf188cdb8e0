"""Layers without a memory, applied to all steps at once."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.layers.spiking.time_axis import check_time, checked_mask


@keras.saving.register_keras_serializable(package="keras_htaf")
class FoldTime(keras.layers.Wrapper):
    """Applies a layer to each step of (batch, time, ...), with the time folded into the batch.

        y = unfold(layer(fold(x))),    fold: (batch, time, ...) -> (batch * time, ...)

    The layer is called once, whatever the number of steps, which may be unknown, as the batch may.
    It must treat its samples alike and have no memory: convolutions, dense layers, pooling,
    activations. `keras.layers.BatchNormalization` takes its statistics over batch and time, as
    threshold-dependent normalisation does, and leaves masked steps out of them.

    Args:
        layer: A `keras.layers.Layer` of one input and one output.
        **kwargs: Of `keras.layers.Layer`. The dtype policy is the layer's by default.

    Call arguments:
        inputs: Shape (batch, time, ...).
        mask: Shape (batch, time), passed on as it is.

    Raises:
        ValueError: If `layer` is no layer, or has a memory (neurons, `ReduceTime`), the inputs have
            no time axis, or the mask has another shape.

    Example:

    >>> FoldTime(keras.layers.Conv2D(4, 3))(np.ones((2, 5, 8, 8, 1))).shape == (2, 5, 6, 6, 4)
    True
    """

    def __init__(self, layer, **kwargs):
        if not isinstance(layer, keras.layers.Layer):
            raise ValueError(f"Received layer={layer!r}. Expected a keras.layers.Layer.")
        if any(hasattr(inner, "state_names") for inner in layer._flatten_layers()):
            raise ValueError(
                f"Received layer={layer.name!r}, which has a memory. Expected one that treats each "
                "step by itself: what goes over time is used without FoldTime."
            )
        super().__init__(layer, **{"dtype": layer.dtype_policy, **kwargs})
        self.supports_masking = True

    def build(self, input_shape):
        check_time(self, input_shape)
        super().build(_folded(input_shape))

    def call(self, inputs, mask=None):
        check_time(self, inputs.shape)
        if mask is not None:
            mask = checked_mask(self, mask, inputs)
        size = _sizes(inputs)[:2]
        x = ops.reshape(inputs, (-1, *_sizes(inputs)[2:]))
        if mask is not None and isinstance(self.layer, keras.layers.BatchNormalization):
            mask = ops.reshape(mask, (-1,) + (1,) * (len(inputs.shape) - 3))
            x = self.layer(x, mask=mask)
        else:
            x = self.layer(x)
        return ops.reshape(x, (*size, *_sizes(x)[1:]))

    def compute_mask(self, inputs, mask=None):
        return mask

    def compute_output_shape(self, input_shape):
        made = self.layer.compute_output_shape(_folded(input_shape))
        return (*input_shape[:2], *made[1:])


def _folded(shape) -> tuple:
    batch, time = shape[:2]
    return (None if None in (batch, time) else batch * time, *shape[2:])


def _sizes(x) -> tuple:
    """The shape, known sizes as numbers; at most one unknown one as -1, which `reshape` finds."""
    known = tuple(x.shape)
    if known.count(None) <= 1:
        return tuple(-1 if size is None else size for size in known)
    return tuple(n if n is not None else ops.shape(x)[i] for i, n in enumerate(known))
