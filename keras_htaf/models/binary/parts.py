"""How a quantized map and its float twin are made."""

from __future__ import annotations

import math
from dataclasses import dataclass
from numbers import Integral

import keras
from keras import layers

from keras_htaf import quantizers
from keras_htaf.constraints import WeightClip
from keras_htaf.layers import BinaryConv2D, BinaryDense

ENDS = ("float", "binary")


@dataclass(frozen=True)
class Parts:
    """The quantizers of one network; its maps, in order."""

    input_quantizer: str | quantizers.Quantizer
    kernel_quantizer: str | quantizers.Quantizer | None
    binary: bool

    def __post_init__(self):
        quantizers.get(self.kernel_quantizer)
        if quantizers.get(self.input_quantizer) is None:
            raise ValueError(
                "Received input_quantizer=None. Expected a quantizer or its name; for the twin in "
                "floats give binary=False."
            )

    def dense(self, x, units: int, name: str, *, stepped=True, binary=True, bias=False):
        """A dense map of x: after a step unless `stepped` is false, with signs if `binary`."""
        return self._map(BinaryDense, layers.Dense, x, (units,), name, stepped, binary, bias)

    def conv(self, x, filters: int, name: str, *, strides=1, stepped=True, binary=True):
        """A 3 x 3 convolution, likewise."""
        both = {"strides": strides, "padding": "same", "data_format": "channels_last"}
        arguments = (filters, 3)
        return self._map(
            BinaryConv2D, layers.Conv2D, x, arguments, name, stepped, binary, False, **both
        )

    def _map(self, quantized, plain, x, arguments, name, stepped, binary, bias, **options):
        options |= {"use_bias": bias, "name": name}
        if not self.binary or not (stepped or binary):
            if stepped:
                x = layers.ReLU(name=f"{name}_relu")(x)
            return plain(*arguments, **options)(x)
        if stepped:
            options["input_quantizer"] = _own(self.input_quantizer, "input_quantizer")
        if binary:
            options["kernel_quantizer"] = _own(self.kernel_quantizer, "kernel_quantizer")
            kernel = quantizers.get(self.kernel_quantizer)
            if kernel is not None and kernel.support < math.inf:
                options["kernel_constraint"] = WeightClip(kernel.support)
        return quantized(*arguments, **options)(x)


def norm(x, name: str):
    """Batch normalisation of a map, over the last axis."""
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def head(parts: Parts, x, num_outputs: int, ends: str):
    """The logits, float32."""
    if ends == "float":
        x = parts.dense(x, num_outputs, "head", binary=False, bias=True)
    else:
        x = norm(parts.dense(x, num_outputs, "head"), "head")
    return layers.Activation("linear", dtype="float32", name="logits")(x)


def check_sizes(**sizes) -> None:
    """Positive integers, each under its argument's name, or a ValueError."""
    for key, value in sizes.items():
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Received {key}={value!r}. Expected a positive integer.")


def check_choice(key: str, value, allowed) -> None:
    """One of the allowed values, or a ValueError."""
    if value not in allowed:
        raise ValueError(f"Received {key}={value!r}. Expected one of {tuple(allowed)}.")


def check_images(input_shape, least: int) -> tuple[int, ...]:
    """(height, width, channels), of at least `least` pixels a side where a side is known."""
    fits = isinstance(input_shape, (tuple, list)) and len(input_shape) == 3 and input_shape[2]
    if not fits or min(least if size is None else size for size in input_shape[:2]) < least:
        raise ValueError(
            f"Received input_shape={input_shape!r}. Expected (height, width, channels) with at "
            f"least {least} x {least} pixels."
        )
    return tuple(input_shape)


def _own(quantizer, name) -> str | quantizers.Quantizer | None:
    """What gives a layer a quantizer of its own, under the name that layers give theirs."""
    if quantizer is None or isinstance(quantizer, str):
        return quantizer
    config = keras.saving.serialize_keras_object(quantizer)
    config["config"]["name"] = name
    return keras.saving.deserialize_keras_object(config)
