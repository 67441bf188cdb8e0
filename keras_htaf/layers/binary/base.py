"""What every binary layer adds to the Keras layer that it extends."""

from __future__ import annotations

import inspect
import math
import warnings
from typing import TYPE_CHECKING, NamedTuple

import keras
from keras import ops

from keras_htaf import quantizers
from keras_htaf.constraints import WeightClip
from keras_htaf.quantizers import DoReFa, Quantizer, ScaledSign
from keras_htaf.quantizers.base import in_single
from keras_htaf.quantizers.step import channel_axes

_OF_FLOATS = ("lora_rank", "lora_alpha", "quantization_config")
"""Arguments of Keras's layers that a kernel which is quantized here cannot have."""


class Kernel(NamedTuple):
    """One kernel of a layer."""

    weight: str
    """The name of the weight, and of the attribute that holds it."""
    axis: int | tuple[int, ...]
    """Its axis, or axes, of output channels."""
    product: str = "_map"
    """The layer's method that computes the linear map of inputs and this kernel."""


if TYPE_CHECKING:
    from keras.layers import Layer as _Layer  # which comes behind it in the bases of a subclass
else:
    _Layer = object


class BinaryLayer(_Layer):
    """Quantizes the inputs and kernels of a Keras layer; the linear map stays the layer's own.

        y = activation(map(Q_x(x), Q_w(w)) + b)

    where w, the kernel that the optimizer trains, is called latent. A quantizer that is `None`
    leaves its operand as it is. Kernels are quantized in the precision of their variables under
    every dtype policy: in float16 a small negative weight would be rounded to 0, whose sign is +1.

    The map is of the quantizers' codes, integers whose sums are exact, and a scale multiplies the
    sums: a sum that should be 0 is exactly that, so that the next sign is the same on all backends.

    A subclass names its kernels in `kernels` and computes `_map`; of several kernels, each is
    applied to what the one before gives, by the method that is named with it. Each key gives the
    layer the argument and attribute `<key>_quantizer`, beside Keras's `<key>_constraint`.

    `use_bias` is False by default, unlike in Keras: a binary layer is usually followed by batch
    normalisation, whose offset does the same, and without a bias its outputs are integers (times
    the kernel's scale; in half precision, large ones are rounded). Keras's LoRA and quantization of
    kernels to integers are refused.

    Args:
        input_quantizer: A `keras_htaf.quantizers` object or name, or `None` (default).
        use_bias: Whether a bias is added. Default False.
        *args, **kwargs: Of the Keras layer, and for each kernel `<key>_quantizer`.

    Example:

    >>> layer = keras_htaf.layers.BinaryDense(3, kernel_quantizer="sign")  # a subclass
    >>> layer.build((None, 4))
    >>> {key: quantizer.precision for key, quantizer in layer.kernel_quantizers.items()}
    {'kernel': 1}

    Reference: Hubara et al. (2016), arXiv:1602.02830.
    """

    kernels = {"kernel": Kernel("kernel", -1)}

    def __init__(self, *args, input_quantizer=None, use_bias: bool = False, **kwargs):
        given = {key: kwargs.pop(f"{key}_quantizer", None) for key in self.kernels}
        for name in (f"{key}_constraint" for key in self.kernels):
            if kwargs.get(name) == "weight_clip":  # Larq's name, which Keras does not know
                kwargs[name] = WeightClip()
        super().__init__(*args, use_bias=use_bias, **kwargs)
        for name in _OF_FLOATS:
            if (value := getattr(self, name, None)) is not None:
                raise ValueError(self._no_float_kernel(f"{name}={value!r}"))
        if self.quantization_mode is not None:
            raise ValueError(self._no_float_kernel(f"dtype={self.dtype_policy.name!r}"))
        self.input_quantizer = self._own_quantizer("input", input_quantizer)
        for key, identifier in given.items():
            quantizer = self._own_quantizer(key, identifier)
            if isinstance(identifier, str) and isinstance(quantizer, ScaledSign):
                quantizer.axis = self.kernels[key].axis
            if isinstance(quantizer, DoReFa) and quantizer.mode != "weights":
                raise ValueError(
                    f"Received {key}_quantizer=DoReFa(mode={quantizer.mode!r}), of which weights "
                    "below 0 would be 0 for good. Expected DoReFa(mode='weights')."
                )
            setattr(self, f"{key}_quantizer", quantizer)
        self._warn_of_stuck_weights()

    def _own_quantizer(self, key, identifier) -> Quantizer | None:
        name = f"{key}_quantizer"
        quantizer = quantizers.get(identifier, name=name, dtype=self.dtype_policy)
        if quantizer is not None and any(quantizer is other for other in self._layers):
            raise ValueError(
                f"Received one {type(quantizer).__name__} object for several quantizers of layer "
                f"{self.name!r}. Expected an object for each, or a name such as 'ste_sign': a "
                "quantizer has weights of its own."
            )
        if quantizer is not None and not isinstance(getattr(quantizer, "precision", None), int):
            raise ValueError(
                f"Received {name}={type(quantizer).__name__}, which does not say in how many bits "
                "its codes can be stored. Expected an attribute `precision`, such as 1, as "
                "keras_htaf.quantizers.Quantizer shows."
            )
        if isinstance(quantizer, ScaledSign) and key not in self.kernels:
            raise ValueError(
                f"Received {name}={type(quantizer).__name__}, whose scale would be a mean over the "
                "batch. Expected a quantizer without a scale, such as 'sign'."
            )
        return quantizer

    @property
    def kernel_quantizers(self) -> dict[str, Quantizer | None]:
        """The quantizer of each kernel, by the name of the weight."""
        return {k.weight: getattr(self, f"{key}_quantizer") for key, k in self.kernels.items()}

    def clip(self, key: str) -> float:
        """The largest size of the latent weights of a kernel, as in `<key>_quantizer`.

        Infinite without a constraint, NaN with one that is no `WeightClip`.
        """
        constraint = getattr(self, f"{key}_constraint")
        if isinstance(constraint, WeightClip):
            return constraint.clip_value
        return math.inf if constraint is None else math.nan

    def _warn_of_stuck_weights(self):
        for key in self.kernels:
            quantizer = getattr(self, f"{key}_quantizer")
            reach = math.inf if quantizer is None else quantizer.reach
            if self.clip(key) > reach:
                warnings.warn(
                    f"Layer {self.name!r}: its {key}_quantizer hardly moves latent "
                    f"weights beyond {reach:g}, and they would never change again. Expected "
                    f"{key}_constraint=keras_htaf.constraints.WeightClip({reach:g}), or a "
                    "quantizer with a slope that does not end, such as 'sign'.",
                    stacklevel=_level_of_user(),
                )

    def enable_lora(self, *args, **kwargs):
        """Refused: see the error."""
        raise ValueError(self._no_float_kernel("a call of enable_lora"))

    def quantize(self, *args, **kwargs):
        """Refused: see the error. `keras.Model.quantize` warns and leaves the layer as it is."""
        raise NotImplementedError(self._no_float_kernel("a call of quantize"))

    def _no_float_kernel(self, received: str) -> str:
        return (
            f"Layer {self.name!r} received {received}, which {type(self).__name__} does not have: "
            "Keras would add to its kernel, or store it as integers, beside its own quantizers. "
            "Expected input_quantizer and kernel_quantizer alone; keras_htaf.models.binary_weights "
            "gives the codes that are to be stored."
        )

    def add_weight(self, *args, name=None, **kwargs):
        if name in self.kernel_quantizers:
            kwargs["autocast"] = False
            dtype = kwargs.get("dtype") or self.variable_dtype
            if self.kernel_quantizers[name] and not keras.backend.is_float_dtype(dtype):
                raise ValueError(
                    f"Layer {self.name!r} has a {name} of dtype {dtype} to quantize. Expected a "
                    "float one, which gradients can train: use a float dtype policy."
                )
        return super().add_weight(*args, name=name, **kwargs)

    def build(self, input_shape):
        super().build(input_shape)
        self._take(self.input_quantizer, *self.kernel_quantizers.values())
        if self.input_quantizer is not None and not self.input_quantizer.built:
            self.input_quantizer.build(input_shape)
        for kernel in self.kernels.values():
            quantizer = self.kernel_quantizers[kernel.weight]
            if quantizer is not None:
                variable = getattr(self, kernel.weight)
                self._check_axis(kernel, variable, quantizer)
                if not quantizer.built:
                    quantizer.build(tuple(variable.shape))

    def _take(self, *taken):
        for quantizer in filter(None, taken):
            if quantizer._owner not in (None, id(self)):
                raise ValueError(
                    f"Layer {self.name!r} received a {type(quantizer).__name__} object that "
                    "another layer uses already. Expected an object for each, or a name such as "
                    "'ste_sign': a quantizer has weights of its own, which Keras saves once."
                )
            quantizer._owner = id(self)

    def _check_axis(self, kernel, variable, quantizer):
        rank = len(variable.shape)
        if isinstance(quantizer, ScaledSign) and set(channel_axes(quantizer.axis, rank)) != set(
            channel_axes(kernel.axis, rank)
        ):
            raise ValueError(
                f"Layer {self.name!r} received {type(quantizer).__name__}(axis={quantizer.axis}) "
                f"for its {kernel.weight} of shape {tuple(variable.shape)}. Expected "
                f"axis={kernel.axis}, its output channels: only their scales can be taken out of "
                "the sum."
            )

    def quantized_kernel(self, weight: str = "kernel"):
        """What the layer computes with in place of the latent kernel, in its compute dtype.

        The layer itself multiplies by the kernel's scale after the sum (`kernel_parts`).
        """
        latent, quantizer = getattr(self, weight), self.kernel_quantizers[weight]
        # Not quantizer(...), which would cast the latent kernel to its own compute dtype first.
        value = ops.convert_to_tensor(latent)
        value = value if quantizer is None else quantizer.call(value)
        return ops.cast(value, self.compute_dtype)

    def kernel_parts(self, weight: str = "kernel") -> tuple:
        """The quantized kernel as codes, in the compute dtype, and a scale: see `Quantizer.parts`.

        The scale is a number, or one for each output channel, in the order of the outputs.
        """
        quantizer = self.kernel_quantizers[weight]
        if quantizer is None:
            return self.quantized_kernel(weight), 1.0
        codes, scale = quantizer.parts(ops.convert_to_tensor(getattr(self, weight)))
        scale = scale if isinstance(scale, float) else ops.reshape(scale, (-1,))
        return ops.cast(codes, self.compute_dtype), scale

    def quantized_inputs(self, inputs):
        """What the layer computes with in place of its inputs, in its compute dtype."""
        return self._quantized(self.input_quantizer, inputs)

    def _quantized(self, quantizer, inputs):
        if quantizer is None:
            return inputs
        if not keras.backend.is_float_dtype(inputs.dtype):
            raise ValueError(
                f"Layer {self.name!r} received inputs of dtype "
                f"{keras.backend.standardize_dtype(inputs.dtype)} to quantize. Expected float "
                "ones: cast them, and centre them around the quantizer's threshold."
            )
        return ops.cast(quantizer(inputs), self.compute_dtype)

    def call(self, inputs):
        outputs = self._product(inputs, self.input_quantizer, *self.kernels.values())
        if self.bias is not None:
            outputs = outputs + self._aligned(self.bias, len(outputs.shape))
        return outputs if self.activation is None else self.activation(outputs)

    def _product(self, inputs, quantizer: Quantizer | None, *kernels: Kernel):
        """The linear maps of kernels, one after the other, of codes; scales multiply the sums."""
        outputs, unit = self._quantized(quantizer, inputs), unit_of(quantizer)
        outputs = outputs if quantizer is None else quantizer.in_units(outputs)
        for kernel in kernels:
            codes, scale = self.kernel_parts(kernel.weight)
            outputs = getattr(self, kernel.product)(outputs, codes)
            if isinstance(scale, float):  # after the last sum, then
                unit = unit * scale
            else:
                # In float16 a small scale, or the sum that is its gradient, could leave the range.
                sums = in_single(outputs)
                scale = ops.cast(self._aligned(scale, len(sums.shape)), sums.dtype)
                outputs = ops.cast(sums * scale, outputs.dtype)
        return outputs if unit == 1 else outputs * unit

    def _aligned(self, numbers, rank):
        """Numbers for each output channel, such as the bias, in a shape that broadcasts."""
        channels_first = getattr(self, "data_format", None) == "channels_first"
        return ops.reshape(numbers, (-1,) + (1,) * (rank - 2)) if channels_first else numbers

    def _map(self, inputs, kernel):
        """The linear map of quantized inputs and a kernel."""
        raise NotImplementedError

    def get_config(self):
        names = [f"{key}_quantizer" for key in ("input", *self.kernels)]
        return {**super().get_config(), **{n: serialized(getattr(self, n)) for n in names}}


def _level_of_user() -> int:
    """The `stacklevel` of the line that asked for a layer, by itself or of a builder."""
    frame, level = inspect.currentframe(), 0
    while frame and frame.f_globals.get("__name__", "").split(".")[0] in ("keras", "keras_htaf"):
        frame, level = frame.f_back, level + 1
    return level


def unit_of(quantizer: Quantizer | None) -> float:
    """What the inputs are whole multiples of, once quantized; 1 if they are not quantized."""
    return 1.0 if quantizer is None else quantizer.unit


def serialized(quantizer: Quantizer | None) -> dict | None:
    """The quantizer's config, not built: the layer that owns it builds it."""
    config = keras.saving.serialize_keras_object(quantizer)
    return config and {k: v for k, v in config.items() if k != "build_config"}
