"""Deep networks of exact steps, dense and convolutional."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from numbers import Integral, Real

import keras
import numpy as np
from keras import layers

from keras_htaf import surrogates
from keras_htaf.layers import Heaviside, Sign
from keras_htaf.models.checks import check_choice, check_images, check_shape, check_sizes
from keras_htaf.quantizers.step import check_forward


def deep_heaviside_network(
    input_shape: tuple[int, ...],
    num_outputs: int,
    *,
    kind: str = "dense",
    depth: int = 12,
    width: int = 256,
    stages: int = 3,
    skip: str | None = "residual",
    linear_share: float = 0.0,
    normalization: str | None = "batch",
    coding: str = "sign",
    surrogate: str | surrogates.Surrogate | None = None,
    forward: str = "hard",
    activation: str | Callable | None = None,
    targets=None,
    name: str = "deep_heaviside_network",
) -> keras.Model:
    """A deep network whose hidden units are steps.

    With s_l the units of layer l, W_l linear maps and n_l normalisations:

        None          u_l = W_l s_{l-1}                          s_0 the input
        "residual"    u_1 = W_1 s_0,  u_l = u_{l-1} + W_l s_{l-1}
        "dense"       u_l = W_l [s_0, s_1, ..., s_{l-1}]         the head sees all of them, too

        s_l = step(n_l(u_l)),    y = V s_depth + b

    Without skips a deep Heaviside network represents little more than a shallow one: what a layer's
    bits have merged, no later layer can tell apart. A residual stream of real numbers, all earlier
    layers beside the last, or a share of linear units each repair that. Every W_l but the first
    reads bits (and linear units, if there are any, and the input, if skips are dense).

    The kernels start with variance 1 / (fan_in * mean square of a unit), which is 1 for exact signs
    and 1/2 for bits, so that without a normalisation, too, a map of standardised inputs gives unit
    variance (up to 1.5 where dense skips mix them with bits); a residual stream of exact steps then
    grows in variance by 1 with each layer. `keras_htaf.calibrate` fits the steps to that, which
    helped a stream and hurt plain chains (docs/results/stability.md). Linear units and ReLU
    multiply a residual stream without normalisation instead: 24 such layers explode.

    The recipe: standardised inputs, batches of 64, Adam with a learning rate that decays from 2e-3
    to 0 (cosine), `losses.SmoothedCrossentropy()` for classes, and
    `callbacks.AnnealSharpness(peak=(0.25, 2.0), frequency="step")`, which is HTAF's alpha from 2 to
    16 and gives any other `surrogate` the same peaks (slopes whose peak is fixed, such as
    `FastSigmoid`'s, need `normalized="area"`). Without normalisation and skips a fixed slope did
    better. What the recipe gives, and what else was tried, is in docs/results/stability.md. Give
    batches that are drawn anew in each epoch, such as `Split.batches(shuffle=True)`: with
    TensorFlow and a seed, `fit` shuffles arrays in the same order each time.

    Args:
        input_shape: Without the batch axis. A dense network flattens what is not flat; a
            convolutional one takes (height, width, channels).
        num_outputs: Number of classes or of target variables.
        kind: `"dense"` (default), or `"convolutional"` for images: 3 x 3 convolutions in stages,
            each of which but the first halves the image and doubles the channels, and global
            average pooling.
        depth: Number of layers of steps. Default 12.
        width: Units of a dense layer, channels of the first convolutional stage. Default 256.
        stages: Number of convolutional stages, at most `depth`. Default 3.
        skip: `None`, `"residual"` (default) or `"dense"`, as above. In a convolutional network the
            residual stream is brought to the size of a later stage by average pooling and to its
            channels by a linear map, earlier layers by maximum pooling (which keeps bits bits).
        linear_share: Share of each layer's units that stay linear, 0 (default) to below 1.
        normalization: Before the step: `"batch"` (default), `"layer"` (over the channels) or
            `None`.
        coding: `"sign"` (default) for units -1/+1, `"bit"` for 0/1.
        surrogate: A `keras_htaf.surrogates` object or name. Default `HTAF(alpha=2, beta=0.5)`.
            Compare others at the same peaks, annealed by `AnnealSharpness(peak=...)`: a sharpness
            is in units of its own formula.
        forward: `"hard"` (default), exact steps also while training; or `"smooth"`.
        activation: In place of the steps, an ordinary activation such as `"relu"`: the twin with
            which to compare; `coding`, `surrogate` and `forward` are then not used. A name or a
            function. Default none.
        targets: For a regression, the training targets, shape (n,) or (n, num_outputs): what the
            head gives is multiplied by their standard deviation and moved by their mean, so that it
            starts where they are. The loss stays in the targets' units; where these are far from 1,
            or differ between outputs, train on standardised targets instead. Default none: the
            outputs are the logits of a classification, or numbers of unit size.
        name: Name of the model.

    Returns:
        A functional model from (batch, *input_shape) to float32 (batch, num_outputs). Layer l, from
        1, has "layer{l}_map", "layer{l}_norm" and "layer{l}_step" (or "layer{l}_activation"); the
        rest is "head", "head_scale" and what connects them.

    Raises:
        ValueError: If an argument is out of range, or images are too small for the stages.

    Example:

    >>> model = deep_heaviside_network((8, 8, 1), 10, depth=4, width=16)
    >>> [layer.name for layer in keras_htaf.hardening.step_layers(model)][:2]
    ['layer1_step', 'layer2_step']

    Reference: Kong, Chen, Langer, Schmidt-Hieber (2025), arXiv:2505.00110, for skips and linear
    units; Liu et al. (2018), arXiv:1808.00278, for a stream of real numbers around signs.
    """
    check_sizes(num_outputs=num_outputs, depth=depth, width=width)
    if not isinstance(linear_share, Real) or not 0 <= linear_share < 1:
        raise ValueError(f"Received linear_share={linear_share!r}. Expected 0 <= share < 1.")
    check_choice("kind", kind, ("dense", "convolutional"))
    check_choice("skip", skip, (None, "residual", "dense"))
    check_choice("normalization", normalization, ("batch", "layer", None))
    check_choice("coding", coding, ("sign", "bit"))
    input_shape = _checked_shape(kind, input_shape, depth, stages)
    check_forward(forward)
    if isinstance(activation, layers.Layer):
        raise ValueError(
            f"Received the layer {activation.name!r} as activation, which all layers would share. "
            "Expected a name or function; for another step, give surrogate and coding."
        )
    surrogate = surrogates.get(surrogates.HTAF(2.0, 0.5) if surrogate is None else surrogate)
    step = {"sign": Sign, "bit": Heaviside}[coding]
    parts = _Parts(
        width=width,
        depth=depth,
        stages=stages if kind == "convolutional" else None,
        normalization=normalization,
        linear_share=linear_share,
        mean_square=1.0 if coding == "sign" and activation is None else 0.5,
        step=(lambda layer: step(surrogate, forward, name=f"layer{layer}_step"))
        if activation is None
        else (lambda layer: layers.Activation(activation, name=f"layer{layer}_activation")),
    )
    s = inputs = keras.Input(input_shape, name="inputs")
    if kind == "dense" and len(input_shape) > 1:
        s = layers.Flatten(name="flatten")(s)
    s = _densely_connected(parts, s) if skip == "dense" else _chain(parts, s, skip == "residual")
    if kind == "convolutional":
        s = layers.GlobalAveragePooling2D(data_format="channels_last", name="head_pool")(s)
    y = layers.Dense(num_outputs, dtype="float32", name="head")(s)
    if targets is not None:
        mean, deviation = _moments(targets, num_outputs)
        # Not Rescaling, which looks for the channels elsewhere if images are channels first.
        y = layers.Normalization(
            mean=mean, variance=deviation**2, invert=True, dtype="float32", name="head_scale"
        )(y)
    return keras.Model(inputs, y, name=name)


def _chain(parts, s, residual):
    """Each layer on the one before; if residual, with a stream of the sums of all maps."""
    stream = None
    for layer in range(1, parts.depth + 1):
        halves = parts.halves(layer)
        u = parts.map(s, layer, strides=2 if halves else 1)
        if residual and stream is not None:
            if halves:
                stream = layers.AveragePooling2D(
                    2, padding="same", data_format="channels_last", name=f"layer{layer}_pool"
                )(stream)
                stream = layers.Conv2D(
                    u.shape[-1],
                    1,
                    use_bias=False,
                    data_format="channels_last",
                    name=f"layer{layer}_channels",
                )(stream)
            u = layers.Add(name=f"layer{layer}_stream")([stream, u])
        stream = u
        s = parts.units(u, layer)
    return s


def _densely_connected(parts, s):
    """Each layer on the input and all layers before it, and so is what is returned."""
    seen = [s]
    for layer in range(1, parts.depth + 1):
        if parts.halves(layer):  # by maxima: the maximum of bits is a bit
            seen = [
                layers.MaxPooling2D(
                    2, padding="same", data_format="channels_last", name=f"layer{layer}_pool{i}"
                )(each)
                for i, each in enumerate(seen)
            ]
        if layer > 1:
            s = layers.Concatenate(name=f"layer{layer}_seen")(seen)
        s = parts.units(parts.map(s, layer), layer)
        seen.append(s)
    return layers.Concatenate(name="head_seen")(seen)


@dataclass(frozen=True)
class _Parts:
    """What the layers of one network are made of."""

    width: int
    depth: int
    stages: int | None
    """Number of convolutional stages; None for a dense network."""
    normalization: str | None
    linear_share: float
    mean_square: float
    """Of a unit that is no linear one, at the start of training."""
    step: Callable[[int], layers.Layer]

    def stage(self, layer: int) -> int:
        return 0 if self.stages is None else (layer - 1) * self.stages // self.depth

    def halves(self, layer: int) -> bool:
        return layer > 1 and self.stage(layer) > self.stage(layer - 1)

    def map(self, s, layer: int, strides: int = 1):
        """The linear map, with outputs of unit variance where the inputs are as expected."""
        square = self.linear_share + (1.0 - self.linear_share) * self.mean_square
        units = self.width * 2 ** self.stage(layer)
        options = {
            "use_bias": self.normalization is None,
            "kernel_initializer": keras.initializers.VarianceScaling(
                1.0 if layer == 1 else 1.0 / square
            ),
            "name": f"layer{layer}_map",
        }
        if self.stages is None:
            return layers.Dense(units, **options)(s)
        return layers.Conv2D(
            units, 3, strides=strides, padding="same", data_format="channels_last", **options
        )(s)

    def units(self, u, layer: int):
        """Normalised and, but for a share of linear units, stepped."""
        if self.normalization == "batch":
            u = layers.BatchNormalization(momentum=0.9, name=f"layer{layer}_norm")(u)
        elif self.normalization == "layer":
            u = layers.LayerNormalization(name=f"layer{layer}_norm")(u)
        straight = min(round(self.linear_share * u.shape[-1]), u.shape[-1] - 1)
        if not straight:
            return self.step(layer)(u)
        u, linear = keras.ops.split(u, [u.shape[-1] - straight], axis=-1)
        return layers.Concatenate(name=f"layer{layer}_units")([self.step(layer)(u), linear])


def _checked_shape(kind, input_shape, depth, stages) -> tuple[int, ...]:
    if kind == "dense":
        return check_shape(input_shape)
    is_integer = isinstance(stages, Integral) and not isinstance(stages, bool)
    if not is_integer or not 1 <= stages <= depth:
        raise ValueError(f"Received stages={stages!r}. Expected 1 <= stages <= depth ({depth}).")
    return check_images(input_shape, 2 ** (stages - 1))


def _moments(targets, num_outputs) -> tuple[np.ndarray, np.ndarray]:
    targets = np.asarray(targets, "float64")
    table = targets[:, None] if targets.ndim == 1 else targets
    fits = table.ndim == 2 and table.shape[1] == num_outputs and table.size
    if not fits or not np.isfinite(table).all():
        raise ValueError(
            f"Received targets of shape {targets.shape}. Expected finite numbers of shape (n,) or "
            f"(n, {num_outputs})."
        )
    # Not by the deviation, which rounding keeps from being 0.
    varies = np.ptp(table, axis=0) > 0
    deviation = np.where(varies, table.std(0), 1.0)
    if deviation.min() < 1e-6 or deviation.max() > 1e18:  # its square is to be a float32
        raise ValueError(
            f"Received targets with standard deviations {deviation}. Expected 1e-6 to 1e18: give "
            "the targets in other units."
        )
    return table.mean(0), deviation
