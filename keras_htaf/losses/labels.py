"""Labels as what the outputs of a network should be."""

from __future__ import annotations

from keras import ops


def one_hot(labels, num_classes: int, dtype):
    """1 for the class of each label, 0 for the others; NaN where a label is none of the classes.

    (`keras.ops.one_hot` gives zeros there, or an error, depending on the backend: a sample with a
    wrong label would cost nothing.)

    Args:
        labels: int32, shape (...).

    Returns:
        Shape (..., num_classes).
    """
    hot = ops.expand_dims(labels, -1) == ops.arange(num_classes, dtype="int32")
    hot = ops.cast(hot, dtype)
    return hot / ops.sum(hot, axis=-1, keepdims=True)
