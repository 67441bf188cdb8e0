"""How well spikes decide."""

from __future__ import annotations

import keras
from keras import ops

from keras_htaf.samples import labels_over_time


@keras.saving.register_keras_serializable(package="keras_htaf")
class SpikeCountAccuracy(keras.metrics.Mean):
    """How often the class that spikes most is the right one.

        y_hat = argmax_k sum_t s_tk,    the first of several with the same count

    Of potentials or logits over time it takes the largest sum, of sequences of one length the
    largest mean.

    Args:
        name: Default `"spike_count_accuracy"`.
        dtype: Of the result.

    Call arguments:
        y_true: Integer labels, shape (batch,) or (batch, 1). One that is none of the classes is
            never met.
        y_pred: Shape (batch, time, classes).

    Raises:
        ValueError: If labels or outputs have another shape, or there are no steps.

    Example:

    >>> metric = SpikeCountAccuracy()
    >>> metric.update_state([1, 1], np.array([[[0, 1], [0, 1]], [[1, 0], [0, 1]]]))
    >>> float(metric.result())
    0.5

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def __init__(self, name: str = "spike_count_accuracy", dtype=None):
        super().__init__(name=name, dtype=dtype)
        self._direction = "up"

    def update_state(self, y_true, y_pred, sample_weight=None):
        y_pred = ops.convert_to_tensor(y_pred)
        labels = labels_over_time(type(self).__name__, y_true, y_pred)
        found = ops.argmax(ops.sum(ops.cast(y_pred, "float32"), axis=1), axis=-1)
        right = ops.cast(ops.equal(ops.cast(found, "int32"), labels), "float32")
        super().update_state(right, sample_weight=sample_weight)
