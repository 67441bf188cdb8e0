"""Constraints on latent weights."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.surrogates.base import positive


@keras.saving.register_keras_serializable(package="keras_htaf")
class WeightClip(keras.constraints.Constraint):
    """Moves weights into [-clip_value, clip_value] after each update.

    A latent weight that a quantizer's slope no longer reaches gets no gradient and never changes
    its sign again. Clipped to the quantizer's `reach` (1 for the straight-through estimator, 0.95
    for approx-sign, whose slope is 0 at 1 itself), it can come back.

    Args:
        clip_value: Positive float. Default 1.

    Raises:
        ValueError: If `clip_value` is not a positive finite number.

    Example:

    >>> keras.ops.convert_to_numpy(WeightClip()(np.array([-2.0, 0.5]))).tolist()
    [-1.0, 0.5]

    Reference: Courbariaux et al. (2015), arXiv:1511.00363.
    """

    def __init__(self, clip_value: float = 1.0):
        self.clip_value = positive("clip_value", clip_value)

    def __call__(self, w):
        return ops.clip(w, -self.clip_value, self.clip_value)

    def get_config(self):
        return {"clip_value": self.clip_value}
