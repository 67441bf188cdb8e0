"""Numbers as spikes over time."""

from __future__ import annotations

import math
from numbers import Integral

import keras
from keras import ops

from keras_htaf.layers.spiking.time_axis import (
    check_steps,
    check_time,
    checked_mask,
    checked_state,
    held,
    repeated,
)
from keras_htaf.surrogates.base import positive

_register = keras.saving.register_keras_serializable(package="keras_htaf")
_LEAST = 1e-7
"""How far above the threshold an intensity still has a time of its own in the logarithmic code."""


class _Encoding(keras.layers.Layer):
    """Base: no weights, no gradient for the inputs, integers in floats of the compute dtype."""

    def build(self, input_shape):
        pass

    def _as_spikes(self, condition):
        return ops.cast(condition, self.compute_dtype)

    def _single(self, inputs):
        return ops.cast(inputs, "float32")


@_register
class RateEncoding(_Encoding):
    """Rate coding: at each step a spike with probability p, independently.

        P(s_t = 1) = p = clip(gain x, 0, 1),    t = 1..T

    It draws in inference as in training, since without spikes there is no input: predictions vary
    between calls. The draws follow the seed alone: the n-th call of a layer gives the same spikes
    as the n-th call of any other with its seed. (Each backend has its own random numbers.)

    Args:
        num_steps: Positive integer T.
        gain: Positive float that multiplies the intensities. Default 1.
        seed: Integer or `keras.random.SeedGenerator`. Default: drawn at random.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Intensities of shape (batch, ...), expected in [0, 1] / gain. What is beyond is
            clipped.

    Returns:
        Spikes 0/1 of shape (batch, T, ...), without a gradient.

    Raises:
        ValueError: If `num_steps` is no positive integer, or the gain is not positive.

    Example:

    >>> spikes = RateEncoding(100, seed=0)(np.array([[0.0, 0.3, 1.0]]))
    >>> [round(float(rate), 1) for rate in keras.ops.mean(spikes, axis=1)[0]]
    [0.0, 0.3, 1.0]

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def __init__(self, num_steps: int, gain: float = 1.0, seed=None, **kwargs):
        super().__init__(**kwargs)
        self.num_steps = check_steps(num_steps)
        self.gain = positive("gain", gain)
        self.seed = seed
        shared = isinstance(seed, keras.random.SeedGenerator)
        self.seed_generator = seed if shared else keras.random.SeedGenerator(seed)

    def call(self, inputs):
        p = repeated(self.gain * self._single(inputs), self.num_steps)
        draw = keras.random.uniform(ops.shape(p), dtype="float32", seed=self.seed_generator)
        return self._as_spikes(draw < p)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def get_config(self):
        seed = self.seed
        if isinstance(seed, keras.random.SeedGenerator):
            seed = keras.saving.serialize_keras_object(seed)
        config = {"num_steps": self.num_steps, "gain": self.gain, "seed": seed}
        return {**super().get_config(), **config}

    @classmethod
    def from_config(cls, config):
        if isinstance(config.get("seed"), dict):
            config = {**config, "seed": keras.saving.deserialize_keras_object(config["seed"])}
        return cls(**config)


@_register
class LatencyEncoding(_Encoding):
    """Latency coding: one spike for each intensity, the earlier the stronger.

    With the intensity x clipped to [0, 1] and the threshold a, the spike comes at the step nearest
    to t(x), counted from 0:

        "log"       t(x) = tau log(x / (x - a))     a leaky neuron charged by x reaches a then
        "linear"    t(x) = tau (1 - x)

    Normalised, tau is such that an intensity at the threshold, or for "log", where its time is
    infinite, one of a + 1e-7, fires in the last step, T - 1. Without normalisation, what would fire
    after the last step is silent.

    Args:
        num_steps: Positive integer T.
        code: `"log"` (default) or `"linear"`.
        tau: Positive float, in steps, if `normalize` is false. Default 1 then.
        threshold: a, above 0 and below 1. Default 0.01.
        normalize: Whether the codes fill all steps. Default True.
        below: What an intensity below the threshold gives: `"silent"` (default), no spike; or
            `"last"`, a spike in the last step.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Intensities of shape (batch, ...).

    Returns:
        Spikes 0/1 of shape (batch, T, ...), at most one over time, without a gradient.

    Raises:
        ValueError: If an argument is out of range, or `tau` is given although codes are normalised.

    Example:

    >>> spikes = LatencyEncoding(5, "linear")(np.array([[0.02, 0.5, 1.0]]))
    >>> [int(step) for step in keras.ops.argmax(spikes, axis=1)[0]]
    [4, 2, 0]

    Reference: Park et al. (2020), arXiv:2003.12346, for a code that decays; the neuron's charging
    time as in snnTorch, Eshraghian et al. (2023), arXiv:2109.12894.
    """

    def __init__(
        self,
        num_steps: int,
        code: str = "log",
        tau: float | None = None,
        threshold: float = 0.01,
        normalize: bool = True,
        below: str = "silent",
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_choice("code", code, ("log", "linear"))
        _check_choice("below", below, ("silent", "last"))
        if not 0 < threshold < 1:
            raise ValueError(f"Received threshold={threshold!r}. Expected 0 < threshold < 1.")
        if normalize and tau is not None:
            raise ValueError(
                f"Received tau={tau!r} with normalize=True, which sets it. Expected "
                "normalize=False, or no tau."
            )
        self.num_steps = check_steps(num_steps)
        self.code = code
        self.tau = None if normalize else positive("tau", 1.0 if tau is None else tau)
        self.threshold = float(threshold)
        self.normalize = normalize
        self.below = below

    def call(self, inputs):
        x = ops.clip(self._single(inputs), 0.0, 1.0)
        above = x >= self.threshold
        last = float(self.num_steps - 1)
        time = ops.round(self._time(x, last))
        time = ops.where(above, time, last if self.below == "last" else -1.0)
        step = ops.reshape(ops.arange(self.num_steps, dtype="float32"), (-1, *(1,) * _rank(x)))
        return self._as_spikes(ops.expand_dims(time, 1) == step)

    def _time(self, x, last):
        if self.code == "linear":
            longest, time = 1.0 - self.threshold, 1.0 - x
        else:
            # x - a is exact near a, where its logarithm is steep.
            excess = ops.maximum(x - self.threshold, _LEAST)
            time = ops.log((self.threshold + excess) / excess)
            longest = math.log((self.threshold + _LEAST) / _LEAST)
        return time * (last / longest if self.normalize else self.tau)

    def compute_output_shape(self, input_shape):
        return (input_shape[0], self.num_steps, *input_shape[1:])

    def get_config(self):
        names = ("num_steps", "code", "tau", "threshold", "normalize", "below")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@_register
class DeltaEncoding(_Encoding):
    """Delta coding: a spike where a signal has risen by the threshold since the step before.

        d_t = x_t - x_{t-1}
        None         s_t = [d_t >= threshold]
        "negative"   s_t = [d_t >= threshold] - [d_t <= -threshold]
        "channels"   s_t = [d_t >= threshold], and as further channels [d_t <= -threshold], which
                     keeps all spikes 0/1, as the two polarities of an event camera

    Steps that a mask takes out give 0, and x_{t-1} is the last input that it does not.

    Args:
        threshold: Positive float. Default 0.1.
        off_spikes: What a fall gives, see above. Default `None`, nothing.
        initial: What comes before the first step: `"zero"` (default), or `"first"`, the first step
            itself, which then has no spikes.
        return_state: Whether to give the last inputs, too, for a later call to go on from. Default
            False.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Shape (batch, time, ...).
        initial_state: List of the inputs of the step before, shape (batch, ...). NaN stands for
            none.
        mask: Shape (batch, time), true for the steps that count.

    Returns:
        Spikes of the inputs' shape, the last axis doubled for `"channels"`; without a gradient.
        With `return_state` a tuple of them and the last inputs.

    Raises:
        ValueError: If an argument is out of range, the inputs have no time axis, or a mask or a
            state has another shape.

    Example:

    >>> spikes = DeltaEncoding(1.0, off_spikes="negative")(np.array([[1.0, 2.0, 0.0, 2.0, 2.9]]))
    >>> [int(s) for s in spikes[0]]
    [1, 1, -1, 1, 0]

    Reference: Eshraghian et al. (2023), arXiv:2109.12894.
    """

    state_names = ("inputs",)

    def __init__(
        self,
        threshold: float = 0.1,
        off_spikes: str | None = None,
        initial: str = "zero",
        return_state: bool = False,
        **kwargs,
    ):
        super().__init__(**kwargs)
        _check_choice("off_spikes", off_spikes, (None, "negative", "channels"))
        _check_choice("initial", initial, ("zero", "first"))
        self.threshold = positive("threshold", threshold)
        self.off_spikes = off_spikes
        self.initial = initial
        self.return_state = return_state
        self.supports_masking = True

    def first_state(self, like) -> tuple:
        """The state before the first step, for inputs of the shape of `like`."""
        value = 0.0 if self.initial == "zero" else math.nan
        return (ops.full_like(like, value, dtype=self.compute_dtype),)

    def build(self, input_shape):
        check_time(self, input_shape)
        if self.off_spikes == "channels" and len(input_shape) < 3:
            raise ValueError(
                f"Layer {self.name!r} received an input of shape {tuple(input_shape)} with "
                'off_spikes="channels". Expected (batch, time, ..., channels).'
            )

    def call(self, inputs, initial_state=None, mask=None):
        check_time(self, inputs.shape)
        x = ops.cast(inputs, self.compute_dtype)
        if initial_state is None:
            initial_state = self.first_state(x[:, 0])
        (before,) = checked_state(self, initial_state, [(x.shape[0], *x.shape[2:])])
        x = ops.concatenate([ops.expand_dims(ops.cast(before, x.dtype), 1), x], axis=1)
        if mask is not None:
            x = held(x, checked_mask(self, mask, inputs))
        # What is compared to NaN is false: no spikes in a step that has none before it.
        change = self._single(x[:, 1:]) - self._single(x[:, :-1])
        on, off = change >= self.threshold, change <= -self.threshold
        if self.off_spikes == "channels":
            spikes = self._as_spikes(ops.concatenate([on, off], axis=-1))
        elif self.off_spikes == "negative":
            spikes = self._as_spikes(on) - self._as_spikes(off)
        else:
            spikes = self._as_spikes(on)
        return (spikes, x[:, -1]) if self.return_state else spikes

    def compute_mask(self, inputs, mask=None):
        return (mask, None) if self.return_state else mask

    def compute_output_shape(self, input_shape):
        made = tuple(input_shape)
        if self.off_spikes == "channels" and made[-1] is not None:
            made = (*made[:-1], 2 * made[-1])
        return (made, (made[0], *input_shape[2:])) if self.return_state else made

    def get_config(self):
        names = ("threshold", "off_spikes", "initial", "return_state")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


@_register
class PopulationEncoding(_Encoding):
    """Population coding: a number as the activities of neurons that prefer different numbers.

    With n neurons for each feature x, Gaussian receptive fields in the range [low, high]:

        a_i = exp(-(x - m_i)^2 / (2 w^2)),    i = 1..n
        m_i = low + (high - low) (2 i - 3) / (2 (n - 2)),    w = (high - low) / (overlap (n - 2))

    Activities are numbers in [0, 1], for `RateEncoding` or `LatencyEncoding` to turn into spikes.
    They have their derivative.

    Args:
        neurons: Integer n >= 3. Default 8.
        low: Float, lower end of the range. Default 0.
        high: Float, upper end. Default 1.
        overlap: Positive float; the larger, the narrower the fields. Default 1.5.
        **kwargs: Of `keras.layers.Layer`.

    Call arguments:
        inputs: Shape (..., features).

    Returns:
        Shape (..., features * n), the neurons of a feature beside each other.

    Raises:
        ValueError: If an argument is out of range.

    Example:

    >>> activity = PopulationEncoding(5)(np.array([[0.5]]))
    >>> [round(float(a), 2) for a in activity[0]]
    [0.01, 0.32, 1.0, 0.32, 0.01]

    Reference: Bohte, Kok, La Poutre (2002), Neurocomputing 48.
    """

    def __init__(
        self,
        neurons: int = 8,
        low: float = 0.0,
        high: float = 1.0,
        overlap: float = 1.5,
        **kwargs,
    ):
        super().__init__(**kwargs)
        if isinstance(neurons, bool) or not isinstance(neurons, Integral) or neurons < 3:
            raise ValueError(f"Received neurons={neurons!r}. Expected an integer of at least 3.")
        if not (math.isfinite(low) and math.isfinite(high) and low < high):
            raise ValueError(f"Received low={low!r}, high={high!r}. Expected low < high, finite.")
        self.neurons = int(neurons)
        self.low, self.high = float(low), float(high)
        self.overlap = positive("overlap", overlap)
        self.supports_masking = True

    def build(self, input_shape):
        if not input_shape or input_shape[-1] is None:
            raise ValueError(
                f"Layer {self.name!r} received an input of shape {tuple(input_shape)}. Expected "
                "(..., features) with a known number of features."
            )

    def call(self, inputs):
        spacing = (self.high - self.low) / (self.neurons - 2)
        centres = self.low + (ops.arange(self.neurons, dtype="float32") - 0.5) * spacing
        z = (ops.expand_dims(self._single(inputs), -1) - centres) * (self.overlap / spacing)
        activity = ops.exp(-0.5 * ops.square(z))
        shape = (*ops.shape(inputs)[:-1], inputs.shape[-1] * self.neurons)
        return ops.cast(ops.reshape(activity, shape), self.compute_dtype)

    def compute_output_shape(self, input_shape):
        return (*input_shape[:-1], input_shape[-1] * self.neurons)

    def get_config(self):
        names = ("neurons", "low", "high", "overlap")
        return {**super().get_config(), **{name: getattr(self, name) for name in names}}


def _rank(x) -> int:
    return len(x.shape) - 1


def _check_choice(key, value, allowed):
    if value not in allowed:
        raise ValueError(f"Received {key}={value!r}. Expected one of {allowed}.")
