"""Losses of spikes and potentials over time."""

from __future__ import annotations

import re
from numbers import Real

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.losses.labels import one_hot
from keras_htaf.samples import labels_over_time
from keras_htaf.surrogates.base import positive

_register = keras.saving.register_keras_serializable(package="keras_htaf")


class _OverTime(keras.losses.Loss):
    """Base: integer labels for outputs of shape (batch, time, classes).

    A Keras mask of the outputs, which has a time axis, is not used to weigh the samples. A masked
    step of this package's neurons is a step of zeros; in the losses that are means over time it
    counts as one. `keras_htaf.layers.ReduceTime` in the model heeds masks instead.
    """

    def __init__(self, **kwargs):
        name = re.sub(r"(?<!^)(?=[A-Z])", "_", type(self).__name__).lower()
        super().__init__(**{"name": name, **kwargs})

    def __call__(self, y_true, y_pred, sample_weight=None):
        return super().__call__(y_true, ops.copy(y_pred), sample_weight)

    def call(self, y_true, y_pred):
        labels = labels_over_time(type(self).__name__, y_true, y_pred)
        return self._losses(one_hot(labels, y_pred.shape[-1], y_pred.dtype), y_pred)

    def _losses(self, targets, outputs):
        """Shape (batch,), given one-hot targets of shape (batch, classes)."""
        raise NotImplementedError


class _Crossentropy(_OverTime):
    """Base of what ends in a cross-entropy of logits."""

    def __init__(self, label_smoothing: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(label_smoothing, Real) or not 0 <= label_smoothing < 1:
            raise ValueError(
                f"Received label_smoothing={label_smoothing!r}. Expected 0 <= label_smoothing < 1."
            )
        self.label_smoothing = label_smoothing

    def _crossentropy(self, targets, logits):
        return keras.losses.categorical_crossentropy(
            targets, logits, from_logits=True, label_smoothing=self.label_smoothing
        )

    def _mean_over_steps(self, targets, outputs):
        each = ops.broadcast_to(ops.expand_dims(targets, 1), ops.shape(outputs))
        return ops.mean(self._crossentropy(each, outputs), axis=1)

    def get_config(self):
        return {**super().get_config(), "label_smoothing": self.label_smoothing}


@_register
class SpikeCountCrossentropy(_Crossentropy):
    """Cross-entropy of how often each class has spiked.

        loss = CE(y, softmax(sum_t s_t))

    Args:
        label_smoothing: As for `SmoothedCrossentropy`. Default 0.
        **kwargs: Of `keras.losses.Loss`.

    Call arguments:
        y_true: Integer labels, shape (batch,) or (batch, 1). One that is none of the classes makes
            the loss NaN, also where its weight is 0.
        y_pred: Spikes, shape (batch, time, classes).

    Example:

    >>> spikes = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    >>> round(float(SpikeCountCrossentropy()(np.array([1]), spikes)), 4)
    0.1269

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def _losses(self, targets, outputs):
        return self._crossentropy(targets, ops.sum(outputs, axis=1))


@_register
class SpikeRateCrossentropy(_Crossentropy):
    """Mean over time of the cross-entropy of each step's spikes.

        loss = 1/T sum_t CE(y, softmax(s_t))

    It asks for the right class at every step, the loss of counts on the whole. It is
    `TemporalCrossentropy` without a regularization.

    Args: as `SpikeCountCrossentropy`.

    Example:

    >>> spikes = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    >>> round(float(SpikeRateCrossentropy()(np.array([1]), spikes)), 4)
    0.3133

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def _losses(self, targets, outputs):
        return self._mean_over_steps(targets, outputs)


@_register
class TemporalCrossentropy(_Crossentropy):
    """Temporal efficient training (TET): mean over time of the cross-entropy of each step.

        loss = (1 - w) 1/T sum_t CE(y, softmax(o_t))  +  w 1/T sum_t mean_k (o_tk - target)^2

    for potentials or logits o_t. Each step decides by itself, so that a network trained for T steps
    decides well after fewer. The second term keeps all outputs near the threshold.

    Args:
        regularization: w, 0 to below 1. Default 0; the authors take 1e-3 to 0.05.
        target: Float, what the second term draws the outputs to. Default 1.
        label_smoothing, **kwargs: As for `SpikeCountCrossentropy`.

    Raises:
        ValueError: If `regularization` is out of range.

    Example:

    >>> logits = np.array([[[0.0, 1.0], [0.0, 1.0]]])
    >>> round(float(TemporalCrossentropy(regularization=0.05)(np.array([1]), logits)), 4)
    0.3226

    Reference: Deng et al. (2022), arXiv:2202.11946.
    """

    def __init__(self, regularization: float = 0.0, target: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        if not isinstance(regularization, Real) or not 0 <= regularization < 1:
            raise ValueError(
                f"Received regularization={regularization!r}. Expected 0 <= regularization < 1."
            )
        self.regularization = float(regularization)
        self.target = float(target)

    def _losses(self, targets, outputs):
        loss = self._mean_over_steps(targets, outputs)
        if self.regularization == 0:
            return loss
        distance = ops.mean(ops.square(outputs - self.target), axis=(1, 2))
        return (1.0 - self.regularization) * loss + self.regularization * distance

    def get_config(self):
        own = {"regularization": self.regularization, "target": self.target}
        return {**super().get_config(), **own}


@_register
class MaxMembraneCrossentropy(_Crossentropy):
    """Cross-entropy of the highest potential that each class reaches.

        loss = CE(y, softmax(max_t u_t))

    Args: as `SpikeCountCrossentropy`; `y_pred` are potentials of readout neurons that do not fire,
    such as `keras_htaf.layers.LI` gives.

    Example:

    >>> potentials = np.array([[[0.0, 2.0], [1.0, -1.0]]])
    >>> round(float(MaxMembraneCrossentropy()(np.array([1]), potentials)), 4)
    0.3133

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def _losses(self, targets, outputs):
        return self._crossentropy(targets, ops.max(outputs, axis=1))


@_register
class LatencyCrossentropy(_Crossentropy):
    """Cross-entropy of who spikes first.

        loss = CE(y, softmax(-t / temperature)),    t = sum_{n=1..T} prod_{m<=n} (1 - s_m)

    For spikes 0/1, t is the number of steps before the first spike, and T where there is none. It
    is linear in each s_m, which gives an exact difference for a derivative: dt/ds_m is minus the
    number of steps by which a spike at m brings the first spike forward. So all steps up to the
    first spike have a gradient, in silent neurons all steps, which the neurons' surrogate slopes
    take on from there.

    Args:
        temperature: Positive float, in steps. Default 1. For long sequences take a larger one: the
            gradient is of the size of t / temperature.
        label_smoothing, **kwargs: As for `SpikeCountCrossentropy`.

    Raises:
        ValueError: If the temperature is not positive.

    Example:

    >>> spikes = np.array([[[0.0, 1.0], [1.0, 0.0]]])
    >>> round(float(LatencyCrossentropy()(np.array([1]), spikes)), 4)
    0.3133

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def __init__(self, temperature: float = 1.0, **kwargs):
        super().__init__(**kwargs)
        self.temperature = positive("temperature", temperature)

    def _losses(self, targets, outputs):
        return self._crossentropy(targets, -first_spike_time(outputs) / self.temperature)

    def get_config(self):
        return {**super().get_config(), "temperature": self.temperature}


@_register
class SpikeCountMeanSquaredError(_OverTime):
    """Squared distance of the spike counts to what they should be.

        loss = 1/T mean_k (sum_t s_tk - T r_k)^2

    with r_k the correct rate for the right class, k = y, and the incorrect rate for the others.

    Args:
        correct_rate: Share of the steps in which the right class should fire, 0 to 1. Default 1.
        incorrect_rate: Of the other classes. Default 0. One above 0 keeps them from dying.
        **kwargs: Of `keras.losses.Loss`.

    Call arguments: as `SpikeCountCrossentropy`.

    Raises:
        ValueError: If a rate is out of range.

    Example:

    >>> spikes = np.array([[[0.0, 1.0], [1.0, 1.0]]])
    >>> float(SpikeCountMeanSquaredError()(np.array([1]), spikes))
    0.25

    Reference: Shrestha and Orchard (2018), arXiv:1810.08646.
    """

    def __init__(self, correct_rate: float = 1.0, incorrect_rate: float = 0.0, **kwargs):
        super().__init__(**kwargs)
        for key, rate in (("correct_rate", correct_rate), ("incorrect_rate", incorrect_rate)):
            if not isinstance(rate, Real) or not 0 <= rate <= 1:
                raise ValueError(f"Received {key}={rate!r}. Expected a rate from 0 to 1.")
        self.correct_rate = float(correct_rate)
        self.incorrect_rate = float(incorrect_rate)

    def _losses(self, targets, outputs):
        steps = ops.cast(ops.shape(outputs)[1], outputs.dtype)
        rates = self.incorrect_rate + (self.correct_rate - self.incorrect_rate) * targets
        distance = ops.sum(outputs, axis=1) - steps * rates
        return ops.mean(ops.square(distance), axis=-1) / steps

    def get_config(self):
        own = {"correct_rate": self.correct_rate, "incorrect_rate": self.incorrect_rate}
        return {**super().get_config(), **own}


def first_spike_time(spikes):
    """The number of steps before the first spike, shape (batch, ...), as `LatencyCrossentropy`.

    Args:
        spikes: Shape (batch, time, ...), in [0, 1].
    """
    # Not `cumprod`, whose gradient is wrong on TensorFlow where a factor is 0, nor
    # `associative_scan`, which TensorFlow takes most of a minute to trace.
    (silent,), _ = backend.scan(_still_silent, {"x": spikes}, (ops.ones_like(spikes[:, 0]),), {})
    return ops.sum(silent, axis=1)


def _still_silent(inputs, state, parameters):
    silent = state[0] * (1.0 - inputs["x"])
    return (silent,), (silent,)
