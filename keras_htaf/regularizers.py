"""Penalties on batches of bits and spikes."""

from __future__ import annotations

import keras
from keras import ops


@keras.saving.register_keras_serializable(package="keras_htaf")
class BitDiversity(keras.regularizers.Regularizer):
    """Keeps bits used and unlike each other.

    For a batch of bits h in [0, 1] of shape (n, k), with p_j the mean of h_j and rho_ij the
    correlation of h_i and h_j over the batch:

        usage * mean_j (2 p_j - 1)^2  +  decorrelation * mean_{i != j} rho_ij^2

    The first term is 0 when each bit is on for half of the samples and 1 when all are dead or
    always on; the second is 0 when no two bits are correlated. A bit that does not vary in the
    batch has no correlation, and is left to the first term. (0.01 is added to each bit's sum of
    squared deviations, so that this holds smoothly.)

    Add it with `keras_htaf.layers.ActivityPenalty`, or through `models.icbm(bit_regularizer=...)`.
    As a layer's `activity_regularizer` newer versions of Keras divide it by the batch size.

    Args:
        usage: Non-negative float, weight of the first term. Default 0.1.
        decorrelation: Non-negative float, weight of the second term. Default 0.1.

    Raises:
        ValueError: If a weight is negative.

    Example:

    >>> float(BitDiversity(usage=1.0, decorrelation=0.0)(np.ones((8, 4), "float32")))
    1.0

    Reference: Cogswell et al. (2016), arXiv:1511.06068, for the second term, with covariances.
    """

    def __init__(self, usage: float = 0.1, decorrelation: float = 0.1):
        for name, value in (("usage", usage), ("decorrelation", decorrelation)):
            if not value >= 0:
                raise ValueError(f"Received {name}={value!r}. Expected a number >= 0.")
        self.usage = float(usage)
        self.decorrelation = float(decorrelation)

    def __call__(self, h):
        h = ops.cast(h, "float32")
        h = ops.reshape(h, (-1, h.shape[-1]))
        p = ops.mean(h, axis=0)
        penalty = self.usage * ops.mean(ops.square(2.0 * p - 1.0))
        bits = h.shape[-1]
        if self.decorrelation == 0 or bits == 1:
            return penalty
        centred = h - p
        # The constant keeps the correlation of a (nearly) constant bit at 0 and its gradient small.
        unit = centred / ops.sqrt(ops.sum(ops.square(centred), axis=0) + 1e-2)
        rho = ops.matmul(ops.transpose(unit), unit) * (1.0 - ops.eye(bits))
        pairs = bits * (bits - 1)
        return penalty + self.decorrelation * ops.sum(ops.square(rho)) / pairs

    def get_config(self):
        return {"usage": self.usage, "decorrelation": self.decorrelation}


@keras.saving.register_keras_serializable(package="keras_htaf")
class SpikeRate(keras.regularizers.Regularizer):
    """Keeps the rates of spiking units within a range.

    With r_j the mean of the spikes of unit or channel j over the batch, time and space:

        mean_j (below * max(0, low - r_j)^2  +  above * max(0, r_j - high)^2)

    The first term revives units that hardly spike, whose gradient comes through the surrogate slope
    alone; the second saves spikes, and so energy. Nothing is asked of a rate within the range.

    Add it with `keras_htaf.layers.ActivityPenalty` behind the neurons. Masked steps, which have no
    spikes, count as steps.

    Args:
        low: Lower end of the range, 0 to `high`, in spikes a step. Default 0.
        high: Upper end, `low` to 1. Default 0.2.
        below: Non-negative float, weight of the first term. Default 1.
        above: Non-negative float, weight of the second. Default 1.

    Raises:
        ValueError: If the rates are not in order and within 0 to 1, or a weight is negative.

    Example:

    >>> float(SpikeRate(high=0.5)(np.ones((2, 10, 4), "float32")))
    0.25

    Reference: Zenke and Vogels (2021), doi:10.1162/neco_a_01367.
    """

    def __init__(self, low: float = 0.0, high: float = 0.2, below: float = 1.0, above: float = 1.0):
        if not 0 <= low <= high <= 1:
            raise ValueError(
                f"Received low={low!r}, high={high!r}. Expected rates with 0 <= low <= high <= 1."
            )
        for name, value in (("below", below), ("above", above)):
            if not value >= 0:
                raise ValueError(f"Received {name}={value!r}. Expected a number >= 0.")
        self.low, self.high = float(low), float(high)
        self.below, self.above = float(below), float(above)

    def __call__(self, spikes):
        spikes = ops.cast(spikes, "float32")
        rates = ops.mean(spikes, axis=tuple(range(len(spikes.shape) - 1)))
        lacking = ops.square(ops.relu(self.low - rates))
        spare = ops.square(ops.relu(rates - self.high))
        return ops.mean(self.below * lacking + self.above * spare)

    def get_config(self):
        return {"low": self.low, "high": self.high, "below": self.below, "above": self.above}
