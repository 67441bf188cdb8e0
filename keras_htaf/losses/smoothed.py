"""Cross-entropy with smoothed integer labels."""

from __future__ import annotations

from numbers import Real

import keras
from keras import ops

from keras_htaf.losses.labels import one_hot


@keras.saving.register_keras_serializable(package="keras_htaf")
class SmoothedCrossentropy(keras.losses.Loss):
    """Cross-entropy of integer labels, smoothed.

        loss = -sum_k t_k log p_k,    t_k = (1 - label_smoothing) [k = y] + label_smoothing / K

    Keras smooths one-hot labels only. A network of steps gains from it: the logits of confident
    decisions need not grow on.

    Args:
        label_smoothing: Share of each label that is spread over all K classes, 0 to below 1.
            Default 0.1.
        from_logits: Whether the model gives logits (default) rather than probabilities.
        **kwargs: Of `keras.losses.Loss` (`reduction`, `name`, `dtype`).

    Call arguments:
        y_true: Integer labels, shape (batch, ...) or (batch, ..., 1). One that is none of the
            classes makes the loss NaN, also where its weight is 0.
        y_pred: Shape (batch, ..., K).

    Raises:
        ValueError: If `label_smoothing` is out of range.

    Example:

    >>> loss = SmoothedCrossentropy()
    >>> round(float(loss(np.array([1]), np.array([[0.0, 2.0, 0.0]]))), 4)
    0.3729

    Reference: Szegedy et al. (2016), arXiv:1512.00567.
    """

    def __init__(self, label_smoothing: float = 0.1, from_logits: bool = True, **kwargs):
        if not isinstance(label_smoothing, Real) or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"Received label_smoothing={label_smoothing!r}. Expected 0 <= label_smoothing < 1."
            )
        super().__init__(**{"name": "smoothed_crossentropy", **kwargs})
        self.from_logits = from_logits
        self.label_smoothing = label_smoothing

    def call(self, y_true, y_pred):
        y_pred = ops.convert_to_tensor(y_pred)
        labels = ops.cast(y_true, "int32")
        if len(labels.shape) == len(y_pred.shape):
            labels = ops.squeeze(labels, -1)
        return keras.losses.categorical_crossentropy(
            one_hot(labels, y_pred.shape[-1], y_pred.dtype),
            y_pred,
            from_logits=self.from_logits,
            label_smoothing=self.label_smoothing,
        )

    def get_config(self):
        return {
            **super().get_config(),
            "label_smoothing": self.label_smoothing,
            "from_logits": self.from_logits,
        }
