"""What every step layer shares: a slope, a forward mode, the weights sharpness and scale."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import contextmanager
from typing import Any

import keras
import numpy as np
from keras import ops

from keras_htaf import backend
from keras_htaf.quantizers.sloped import Sloped
from keras_htaf.surrogates.base import in_precision_of

FORWARDS = ("smooth", "hard")
_MODE_KEY = "forward"


class _Positive(keras.constraints.Constraint):
    """Keeps a trained sharpness away from 0, where the slope vanishes."""

    def __call__(self, w):
        return ops.maximum(w, 1e-3)


class Step(Sloped):
    """Base of the step activations: a surrogate, a forward mode and a sharpness weight.

    A smooth step is G(x / scale), and the slope of both kinds is g(x / scale) / scale; the exact
    step compares x itself, so it is the same at any scale. Sharpness
    and scale are weights, float32 under every dtype policy: a callback anneals the sharpness while
    a compiled training step runs, `keras_htaf.calibrate` sets the scale (1 until then) in units of
    the input, and both are saved with the model. A step can be another layer's `activation`; give
    each layer its own, since Keras saves a layer once.

    Args:
        surrogate: A `keras_htaf.surrogates` object or name.
        forward: `"hard"` computes the exact step and uses the surrogate's slope backwards only;
            `"smooth"` computes the surrogate's smooth step. Never depends on `training`.
        per_channel: Whether each channel has its own sharpness. Default False (one number).
        trainable_sharpness: Whether the optimizer trains the sharpness too. With a hard forward
            pass it receives the gradient that the smooth step would give it. Default False.
        axis: The channel axis, or axes, if `per_channel`. Default -1.
        **kwargs: Of `keras.layers.Layer` (`name`, `dtype`, `activity_regularizer`, ...).

    Raises:
        ValueError: If `forward` is neither `"smooth"` nor `"hard"`, or the surrogate is unknown.

    Example:

    >>> step = keras_htaf.layers.Sign("approx_sign", name="signs")  # a subclass
    >>> isinstance(step, Step), step.surrogate, step.forward_mode
    (True, ApproxSign(s=1.0), 'hard')

    Reference: Neftci, Mostafa and Zenke (2019), arXiv:1901.09948.
    """

    precision = 1
    rise: int
    """By how much the step rises: 1 for bits, 2 for signs."""

    def __init__(
        self,
        surrogate="htaf",
        forward: str = "hard",
        per_channel: bool = False,
        trainable_sharpness: bool = False,
        axis: int | tuple[int, ...] = -1,
        **kwargs,
    ):
        super().__init__(surrogate, **kwargs)
        # Not `self.forward`: on torch a Keras layer is an nn.Module, whose `forward` is a method.
        self.forward_mode = check_forward(forward)
        self.per_channel = per_channel
        self.trainable_sharpness = trainable_sharpness
        self.axis = axis if isinstance(axis, int) else tuple(axis)
        self.supports_masking = True
        self._mode_is_saved = False
        self._taps: list[Callable] = []
        self._observers: list[Callable] = []
        self.scale: Any = None
        # Already here, since Keras builds a step that is another layer's `activation` only when it
        # is first called: too late for a callback that sets it before the first training step.
        if not per_channel:
            self._add_numbers(())

    def build(self, input_shape):
        if not self.per_channel:
            return
        self._add_numbers(per_channel_shape(input_shape, self.axis))

    def _add_numbers(self, shape):
        self.sharpness = self._add_number(
            "sharpness",
            self.surrogate.sharpness,
            shape,
            trainable=self.trainable_sharpness,
            constraint=_Positive() if self.trainable_sharpness else None,
        )
        self.scale = self._add_number("scale", 1.0)

    @property
    def slope_weights(self):
        return {**super().slope_weights, "scale": self.scale}

    def set_forward(self, forward: str) -> None:
        """Change the forward mode after construction, as `harden` and `soften` do to their copies.

        The mode is then also written beside the weights: the config of a subclassed model does
        not contain its sublayers, and a hardened model must not come back smooth.
        """
        self.forward_mode = check_forward(forward)
        self._mode_is_saved = True

    def save_own_variables(self, store):
        super().save_own_variables(store)
        if self._mode_is_saved:
            store[_MODE_KEY] = np.array(FORWARDS.index(self.forward_mode))

    def load_own_variables(self, store):
        store = {key: store[key] for key in store.keys()}  # noqa: SIM118 (an H5 entry, no dict)
        if _MODE_KEY in store:
            mode = int(np.array(store.pop(_MODE_KEY)))
            if mode not in range(len(FORWARDS)):
                raise ValueError(f"The file gives step {self.name!r} the forward mode {mode}.")
            self.set_forward(FORWARDS[mode])
        super().load_own_variables(store)

    def call(self, inputs, training=None):
        if not keras.backend.is_float_dtype(inputs.dtype):  # Keras itself casts floats only
            inputs = ops.cast(inputs, self.compute_dtype)
        inputs = self.tap(inputs)
        # `training` never chooses between smooth and exact, only how a number is computed (see
        # `backend.htaf_inference`): the results agree to rounding.
        outputs = self.pure_call(inputs, *self.numbers(), bool(training))
        self.observe(outputs)
        return outputs

    def numbers(self) -> tuple:
        """The sharpness and the scale as tensors."""
        return tuple(ops.convert_to_tensor(weight) for weight in (self.sharpness, self.scale))

    def pure_call(self, x, sharpness, scale, training=False):
        """The step as a pure function of what it depends on: for loops, which must be given that.

        Args:
            x: Float tensor.
            sharpness, scale: Tensors that broadcast to it, as `numbers` gives them.
            training: As for a call.

        Returns:
            Tensor of the shape and dtype of `x`.
        """
        if not self.trainable_sharpness:
            return ops.cast(self._step(x, sharpness, scale, training), x.dtype)
        # Exactly zero forwards; backwards the smooth step's gradient for the sharpness alone. (Not
        # `_smooth`: called as functions, most surrogates have a gradient for x only.)
        scaled = ops.stop_gradient(_scaled(x, scale))
        smooth = self._risen(self.surrogate.smooth(scaled, sharpness))
        outputs = self._step(x, ops.stop_gradient(sharpness), scale, training)
        outputs = outputs + ops.cast(smooth - ops.stop_gradient(smooth), outputs.dtype)
        return ops.cast(outputs, x.dtype)

    def _step(self, x, sharpness, scale, training):
        if self.forward_mode == "smooth":
            return self._risen(self.surrogate(_scaled(x, scale), sharpness, training))
        return self._hard(x, sharpness, scale)

    @property
    def has_taps(self) -> bool:
        """Whether someone looks at what the layer receives, and may replace it (`tapped`)."""
        return bool(self._taps)

    def tap(self, inputs):
        """What the taps make of the inputs."""
        for tap in self._taps:
            inputs = tap(inputs)
        return inputs

    def observe(self, outputs) -> None:
        """Show the outputs to the observers."""
        for observer in self._observers:
            observer(outputs)

    @contextmanager
    def tapped(self, tap: Callable | None = None, observer: Callable | None = None):
        """Within the context, look at what the layer receives and gives when it is called eagerly.

        Args:
            tap: Function of each input, in units of the layer before; what it returns, such as the
                input itself, is what the step receives. It may assign the scale.
            observer: Function of each output.
        """
        both = ((self._taps, tap), (self._observers, observer))
        hooks = [(place, hook) for place, hook in both if hook is not None]
        for place, hook in hooks:
            place.append(hook)
        try:
            yield
        finally:
            for place, hook in hooks:
                place.remove(hook)

    def _risen(self, bit):
        """The smooth step, given the surrogate's smooth bit."""
        raise NotImplementedError

    def _hard(self, x, sharpness, scale):
        """The exact step, which no scale moves; the scale stretches its slope only."""
        raise NotImplementedError

    def _with_slope(self, x, sharpness, scale, forward, gain):
        scale = in_precision_of(x, scale)
        return backend.step(x, sharpness, self.surrogate, forward, gain, scale)

    def compute_output_shape(self, input_shape):
        return input_shape

    def get_config(self):
        return {
            **super().get_config(),
            "forward": self.forward_mode,
            "per_channel": self.per_channel,
            "trainable_sharpness": self.trainable_sharpness,
            "axis": self.axis,
        }


def _scaled(x, scale):
    # In float16 a small pre-activation would become 0 when it is divided; in bfloat16 the
    # quotient would be rounded before the step is.
    if keras.backend.standardize_dtype(x.dtype) in ("float16", "bfloat16"):
        x = ops.cast(x, "float32")
    return x / ops.cast(scale, x.dtype)


def channel_axes(axis: int | tuple[int, ...], rank: int) -> tuple[int, ...]:
    """`axis`, one or several, counted from the front."""
    return tuple(a % rank for a in ((axis,) if isinstance(axis, int) else axis))


def per_channel_shape(input_shape, axis: int | tuple[int, ...]) -> tuple[int, ...]:
    """The shape in which a number for each channel broadcasts to inputs."""
    axes = channel_axes(axis, len(input_shape))
    sizes = tuple(n if i in axes else 1 for i, n in enumerate(input_shape))[min(axes) :]
    if None in sizes:
        raise ValueError(
            f"Received an input of shape {tuple(input_shape)} with axis={axis}. Expected that axis "
            "to have a known size: there is a weight for each channel."
        )
    return sizes


def check_forward(forward: str) -> str:
    """`forward`, or a ValueError that says what it may be."""
    if forward not in FORWARDS:
        raise ValueError(f"Received forward={forward!r}. Expected one of {FORWARDS}.")
    return forward
