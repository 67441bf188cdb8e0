"""What is measured at one place where a model calls a step layer."""

from __future__ import annotations

from collections import defaultdict

import numpy as np
from keras import ops

from keras_htaf.diagnosis.results import StepDiagnosis
from keras_htaf.quantizers import Step
from keras_htaf.quantizers.step import channel_axes

SHARE = 0.95
"""Of the slope's area and of the inputs' sizes; beyond lies what no longer counts."""

# Sizes are counted in bins of ratio 2^(1/64), so that a quantile of any number of batches is known
# to within 1 %. What is below 2^-40 counts as 0.
_BINS_PER_OCTAVE = 64
_LOWEST, _HIGHEST = -40, 128
_BINS = (_HIGHEST - _LOWEST) * _BINS_PER_OCTAVE


class Place:
    """The measures of one call of a step layer, collected over batches."""

    def __init__(self, layer: Step):
        self.layer = layer
        self.scale = _numpy(layer.scale)
        self.sharpness = _numpy(layer.sharpness)
        own, where = np.unique(self.sharpness, return_inverse=True)
        widths = np.array([layer.surrogate.width(SHARE, s) for s in own])
        self.width = widths[where].reshape(self.sharpness.shape) * self.scale
        self.peak = self._slope(np.zeros_like(self.sharpness))
        self.count, self.sizes = 0, np.zeros(_BINS, "int64")
        self.sums: defaultdict[str, float] = defaultdict(float)
        self.ever, self.always = False, True
        self.shape: tuple | None = None
        self.dtype = None
        self.gradient_squares = 0.0

    def add(self, inputs) -> None:
        """Measures a batch of what the step receives, a tensor."""
        self.shape, self.dtype = tuple(inputs.shape), inputs.dtype
        x = _numpy(inputs)
        if not np.isfinite(x).all():
            raise ValueError(
                f"Step {self.layer.name!r} receives inputs that are not finite. Expected finite "
                "ones: check the weights of the layers before it."
            )
        size, z = np.abs(x), x / self.scale
        on = z >= 0 if self.layer.rise == 2 else z > 0
        bit = self._smooth_bit(z)
        self.count += x.size
        for name, values in (
            ("square", np.square(x, dtype="float64")),
            ("covered", size <= self.width),
            ("passed", self._slope(z) / self.peak),
            ("softness", 4 * bit * (1 - bit)),
            ("error", np.abs(bit - on)),
        ):
            self.sums[name] += float(np.sum(values, dtype="float64"))
        octave = np.log2(np.maximum(size, 2.0**_LOWEST)) - _LOWEST
        bins = np.minimum(octave * _BINS_PER_OCTAVE, _BINS - 1).astype("int64")
        self.sizes += np.bincount(bins.ravel(), minlength=_BINS)
        channels = channel_axes(self.layer.axis, x.ndim)
        samples = tuple(a for a in range(x.ndim) if a not in channels)
        self.ever = self.ever | on.any(axis=samples)
        self.always = self.always & on.all(axis=samples)

    def add_gradient(self, gradient) -> None:
        """Adds the squared norm of a batch of gradients at the step's inputs, a tensor."""
        self.gradient_squares += float(np.sum(np.square(_numpy(gradient), dtype="float64")))
        if not np.isfinite(self.gradient_squares):
            raise ValueError(
                f"The loss's gradient at step {self.layer.name!r} is not finite. Expected finite "
                "gradients: check that the loss fits the outputs (logits or probabilities) and the "
                "labels."
            )

    def _slope(self, z):
        # The size: SwishSign's slope is negative in its tails.
        return np.abs(_numpy(self.layer.surrogate.derivative(z, self.sharpness)))

    def _smooth_bit(self, z):
        bit = _numpy(self.layer.surrogate.smooth(z, self.sharpness))
        if self.layer.rise == 1:
            return bit
        return (1 + self.layer.surrogate.sign_gain * (bit - 0.5)) / 2  # of a sign s, (1 + s) / 2


def gradient_norm(places: list[Place], samples: int) -> float:
    """Root mean square of the gradient's norm, over samples and places."""
    return float(np.sqrt(np.mean([place.gradient_squares for place in places]) / samples))


def row(name: str, places: list[Place], gradient: float | None) -> StepDiagnosis:
    """The measures of one step layer, from all places where the model calls it."""
    layer = places[0].layer
    count = sum(place.count for place in places)
    mean = {
        key: sum(place.sums[key] for place in places) / count
        for key in ("square", "covered", "passed", "softness", "error")
    }
    ever, always = (
        np.concatenate([getattr(place, key).ravel() for place in places])
        for key in ("ever", "always")
    )
    return StepDiagnosis(
        name=name,
        surrogate=type(layer.surrogate).__name__,
        forward=layer.forward_mode,
        units=ever.size,
        rms=float(np.sqrt(mean.pop("square"))),
        reach=_quantile(sum(place.sizes for place in places)),
        width=float(np.mean(places[0].width)),
        dead=float(np.mean(~ever)),
        always_on=float(np.mean(always)),
        gradient=gradient,
        **mean,
    )


def _quantile(sizes) -> float:
    i = int(np.searchsorted(np.cumsum(sizes), SHARE * sizes.sum()))
    return 2.0 ** ((i + 0.5) / _BINS_PER_OCTAVE + _LOWEST) if i else 0.0


def _numpy(x) -> np.ndarray:
    return ops.convert_to_numpy(ops.cast(x, "float32"))
