"""How a quantized map and its float twin are made."""

from __future__ import annotations

import math
from dataclasses import dataclass

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

    def dense(self, x, units: int, name: str, *, stepped=True, binary=True):
        """A dense map of x: after a step unless `stepped` is false, with signs if `binary`."""
        return self._map(BinaryDense, layers.Dense, x, stepped, binary, units=units, name=name)

    def conv(self, x, filters: int, name: str, *, strides=1, stepped=True, binary=True):
        """A 3 x 3 convolution, likewise."""
        options = {"filters": filters, "kernel_size": 3, "strides": strides, "name": name}
        options |= {"padding": "same", "data_format": "channels_last"}
        return self._map(BinaryConv2D, layers.Conv2D, x, stepped, binary, **options)

    def _map(self, quantized, plain, x, stepped, binary, **options):
        options["use_bias"] = False
        if not self.binary or not (stepped or binary):
            if stepped:
                x = layers.ReLU(name=f"{options['name']}_relu")(x)
            return plain(**options)(x)
        if stepped:
            options["input_quantizer"] = _own(self.input_quantizer, "input_quantizer")
        if binary:
            options["kernel_quantizer"] = _own(self.kernel_quantizer, "kernel_quantizer")
            kernel = quantizers.get(self.kernel_quantizer)
            if kernel is not None and kernel.reach < math.inf:
                options["kernel_constraint"] = WeightClip(kernel.reach)
        return quantized(**options)(x)


def norm(x, name: str):
    """Batch normalisation of a map, over the last axis."""
    return layers.BatchNormalization(momentum=0.9, name=f"{name}_norm")(x)


def head(parts: Parts, x, num_outputs: int, ends: str):
    """The logits, float32."""
    if ends == "binary":
        x = norm(parts.dense(x, num_outputs, "head"), "head")
        return layers.Activation("linear", dtype="float32", name="logits")(x)
    x = layers.Activation("hard_tanh" if parts.binary else "relu", name="head_activation")(x)
    return layers.Dense(num_outputs, dtype="float32", name="head")(x)


def _own(quantizer, name) -> str | quantizers.Quantizer | None:
    """What gives a layer a quantizer of its own, under the name that layers give theirs."""
    if quantizer is None or isinstance(quantizer, str):
        return quantizer
    config = keras.saving.serialize_keras_object(quantizer)
    config["config"]["name"] = name
    return keras.saving.deserialize_keras_object(config)
