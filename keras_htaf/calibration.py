"""Setting the scale of each step from the data."""

from __future__ import annotations

import warnings
from contextlib import ExitStack
from numbers import Real

import keras
import numpy as np
from keras import ops

from keras_htaf.hardening import distinct, other_steps, unit_steps
from keras_htaf.quantizers import Step
from keras_htaf.samples import FEW, numbers


def calibrate(model: keras.Model, x, share: float = 0.5) -> dict[str, float]:
    """Sets each step's scale so that its slope's mass lies where the data lie.

    Of the slope g(z / scale) / scale and of the step's inputs z, the interval around the threshold
    that holds `share` of the one then holds `share` of the other:

        scale = r / d    with r the `share` quantile of |z| and d = surrogate.width(share)

    A slope that is too narrow for its inputs leaves most units without a gradient; one that is too
    wide passes gradients that say little about the step. Steps that quantize kernels keep theirs: a
    latent kernel moves while it is trained, and is clipped to where its slope ends. The others are
    set in the order in which the model computes them, each on what the steps before it already
    give. Batch normalisation uses the statistics of `x`, as it will in training. Hard steps give
    the same bits at any scale, so a trained hard model decides as before; a smooth one does not.

    Args:
        model: A built model with step layers. Only their scales change.
        x: One batch of inputs, an array or what the model takes; some hundreds of samples suffice.
            Of fewer than 32 it warns.
        share: Above 0 and below 1. Default 0.5: half of the slope lies where half of the data
            lie, which suits light and heavy tails alike.

    Returns:
        The scale of each step, by the layer's path (with "#2" and so on after it where nested
        models have steps of one path). A step that receives 0 for at least `share` of its inputs,
        or whose slope has infinite area (`Rectangle(clip=None)`), keeps the one it had.

    Raises:
        ValueError: If `share` is out of range, `model` is not a built model with step layers, `x`
            is no batch of its inputs, or a step receives no input, one that is not finite, or is
            called within a compiled loop.

    Example:

    >>> step = keras_htaf.layers.Sign("atan", name="step")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), step])
    >>> scales = calibrate(model, np.random.default_rng(0).normal(size=(64, 4)))
    >>> scales[step.path] == float(step.scale)
    True
    """
    if not isinstance(share, Real) or not 0 < share < 1:
        raise ValueError(f"Received share={share!r}. Expected a number above 0 and below 1.")
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    if not model.built:
        raise ValueError(f"Model {model.name!r} is not built. Call it on data first.")
    steps = unit_steps(model)
    if not steps:
        raise ValueError(
            f"Model {model.name!r} has no step layer, so there is nothing to set."
            + other_steps(model)
        )

    x = _batch(model, x)
    scales: dict[Step, float] = {}

    def setter(layer):
        def tap(inputs):
            if layer not in scales:  # a shared step is set at its first call
                try:
                    scales[layer] = _scale(layer, inputs, share)
                except (TypeError, NotImplementedError) as error:  # of JAX and of TensorFlow
                    raise ValueError(
                        f"Step {layer.name!r} is called within a compiled loop, such as the cell "
                        "of a keras.layers.RNN, where its inputs have no values. Set its scale "
                        "yourself: layer.scale.assign(...)."
                    ) from error
                layer.scale.assign(scales[layer])
            return inputs

        return tap

    # What is assigned in a stateless scope, such as moving averages, is dropped at its end.
    with ExitStack() as stack:
        for layer in steps:
            stack.enter_context(layer.tapped(setter(layer)))
        stack.enter_context(keras.StatelessScope())
        model(x, training=True)
    for layer, scale in scales.items():
        layer.scale.assign(scale)
    return dict(zip(distinct(layer.path for layer in scales), scales.values(), strict=True))


def _batch(model, x):
    """`x` as one batch of the model's inputs: an array of a model with one, else as it is."""
    inputs = getattr(model, "inputs", None) or ()
    if len(inputs) == 1 and isinstance(x, (list, tuple)) and len(x) != 1:
        x = numbers("x", x)
    leaves = keras.tree.flatten(x)
    if not leaves or not all(hasattr(leaf, "shape") for leaf in leaves):
        raise ValueError(
            f"Received x of type {type(x).__name__}. Expected one batch of inputs, an array: of a "
            "data set such as `split.arrays(512)[0]`, of batches the inputs of one."
        )
    if len(inputs) == 1 and len(leaves) == 1 and leaves[0].shape == tuple(inputs[0].shape)[1:]:
        raise ValueError(
            f"Received x of shape {tuple(leaves[0].shape)}, a single sample. Expected a batch of "
            f"shape {tuple(inputs[0].shape)}, of some hundreds of samples."
        )
    samples = leaves[0].shape[0] if leaves[0].shape else 0
    if 0 < samples < FEW:
        warnings.warn(
            f"calibrate received {samples} sample{'s' if samples > 1 else ''}. Scales of so few "
            "are rough; batch normalisation, which takes its statistics from them, gives only 0 "
            "for a single one, and the steps behind it keep their scale. Expected some hundreds.",
            stacklevel=3,
        )
    return x


def _scale(layer: Step, inputs, share: float) -> float:
    size = np.abs(ops.convert_to_numpy(ops.cast(inputs, "float32")))
    if not size.size:
        raise ValueError(f"Step {layer.name!r} receives no inputs. Expected at least one sample.")
    if not np.isfinite(size).all():
        raise ValueError(
            f"Step {layer.name!r} receives inputs that are not finite. Check the data and the "
            "layers before it."
        )
    # Per channel, the mean sharpness: the scale is one number for the layer.
    sharpness = float(np.mean(ops.convert_to_numpy(layer.sharpness)))
    width = layer.surrogate.width(share, sharpness)
    scale = np.float32(np.quantile(size, share) / width)
    return float(scale) if scale >= np.finfo("float32").tiny else float(layer.scale)
