"""Implicit concept bottleneck models: an image model whose features become bits."""

from __future__ import annotations

from numbers import Integral

import keras
from keras import layers

from keras_htaf.layers import HTAF, ActivityPenalty
from keras_htaf.models.backbones import small_cnn


def icbm(
    backbone: keras.Model | str = "small_cnn",
    num_concepts: int = 64,
    num_classes: int = 10,
    input_shape: tuple[int, int, int] | None = None,
    *,
    activation: str | keras.layers.Layer = "htaf",
    alpha: float = 2.0,
    beta: float = 0.5,
    forward: str = "smooth",
    normalization: str | None = "batch",
    concept_dropout: float = 0.0,
    bit_regularizer: keras.regularizers.Regularizer | None = None,
    name: str = "icbm",
) -> keras.Model:
    """An implicit concept bottleneck model (ICBM).

        image -> backbone -> global average pooling -> concept logits z -> h = step(z) -> W h + b

    The concepts are not labelled: the classes teach the network which bits to form. Pooling comes
    before the linear map, so that each concept's map over the image (`concept_maps`) has exactly
    the concept's logit as its mean.

    Args:
        backbone: A Keras model from images to feature maps (batch, h, w, c) or to features
            (batch, c), or `"small_cnn"` for the built-in one (needs `input_shape`).
        num_concepts: Number of concept bits. Default 64.
        num_classes: Number of classes. Default 10.
        input_shape: (height, width, channels) for the built-in backbone.
        activation: `"htaf"` (default), which uses `alpha`, `beta` and `forward`; the name of an
            ordinary Keras activation such as `"relu"`, which gives the matched dense twin; or a
            layer made with `name="concepts"`, for instance another step of `keras_htaf.layers`.
        alpha: Initial sharpness of HTAF. Default 2, to be annealed up.
        beta: Tail rate of HTAF. Default 0.5; concept logits normalised to unit variance then lie
            where the slope is large.
        forward: `"smooth"` (default) or `"hard"`, of HTAF.
        normalization: `"batch"` (default) normalises the concept logits over the batch, so that
            the bits start balanced; `None` leaves them as they are.
        concept_dropout: Share of concepts that are dropped in training. Default 0.
        bit_regularizer: Penalty on each batch of bits, for example
            `keras_htaf.regularizers.BitDiversity()`. Default none.
        name: Name of the model.

    Returns:
        A functional model from images to class logits of shape (batch, num_classes), with the
        layers `backbone`'s own name, "concept_pool", "concept_logits", "concept_norm", "concepts"
        (the bits), "concept_penalty", "concept_dropout" (where asked for) and "head".

    Raises:
        ValueError: If an argument is out of range, or the backbone's output is neither feature
            maps nor features.

    Example:

    >>> model = icbm(num_concepts=16, num_classes=3, input_shape=(8, 8, 1))
    >>> model.get_layer("concepts").output.shape
    (None, 16)

    Reference: Park et al. (2026), arXiv:2605.11558, for the idea; the layers and defaults are this
    package's.
    """
    for key, value in (("num_concepts", num_concepts), ("num_classes", num_classes)):
        if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
            raise ValueError(f"Received {key}={value!r}. Expected a positive integer.")
    if not 0 <= concept_dropout < 1:
        raise ValueError(f"Received concept_dropout={concept_dropout!r}. Expected 0 <= rate < 1.")
    if normalization not in ("batch", None):
        raise ValueError(f"Received normalization={normalization!r}. Expected 'batch' or None.")

    if isinstance(activation, keras.layers.Layer) and activation.name != "concepts":
        raise ValueError(
            f"Received the layer {activation.name!r} as activation. Expected one made with "
            'name="concepts".'
        )

    backbone = _resolve(backbone, input_shape)
    inputs = keras.Input(backbone.input_shape[1:], name="image")
    x = backbone(inputs)
    if len(x.shape) == 4:
        x = layers.GlobalAveragePooling2D(name="concept_pool")(x)
    z = layers.Dense(num_concepts, use_bias=normalization is None, name="concept_logits")(x)
    if normalization == "batch":
        z = layers.BatchNormalization(momentum=0.9, name="concept_norm")(z)
    if isinstance(activation, keras.layers.Layer):
        step = activation
    elif activation == "htaf":
        step = HTAF(alpha, beta, forward, name="concepts")
    else:
        step = layers.Activation(activation, name="concepts")
    h = step(z)
    if bit_regularizer is not None:
        h = ActivityPenalty(bit_regularizer, name="concept_penalty")(h)
    if concept_dropout:
        h = layers.Dropout(concept_dropout, name="concept_dropout")(h)
    logits = layers.Dense(num_classes, dtype="float32", name="head")(h)
    return keras.Model(inputs, logits, name=name)


def _resolve(backbone, input_shape) -> keras.Model:
    if backbone == "small_cnn":
        if input_shape is None:
            raise ValueError(
                "The backbone 'small_cnn' needs input_shape=(height, width, channels)."
            )
        return small_cnn(input_shape)
    if not isinstance(backbone, keras.Model):
        raise ValueError(f"Received backbone={backbone!r}. Expected a Keras model or 'small_cnn'.")
    if input_shape is not None and tuple(input_shape) != tuple(backbone.input_shape[1:]):
        raise ValueError(
            f"Received input_shape={tuple(input_shape)} with a backbone for images of shape "
            f"{tuple(backbone.input_shape[1:])}. Leave input_shape out."
        )
    if len(backbone.output_shape) not in (2, 4):
        raise ValueError(
            f"Received a backbone with output shape {backbone.output_shape}. Expected feature maps "
            "(batch, h, w, channels) or features (batch, channels); for keras.applications, build "
            "it with include_top=False."
        )
    return backbone


def concept_maps(model: keras.Model) -> keras.Model:
    """The model from images to the map of each concept over the image.

    Linear map and normalisation act on each position of the feature maps as they do on their mean,
    so the mean of a map over its positions is exactly that concept's (normalised) logit.

    Args:
        model: A model that `icbm` built on a backbone with feature maps.

    Returns:
        A functional model from images to maps of shape (batch, h, w, num_concepts), with the
        weights that `model` has now.

    Raises:
        ValueError: If the model is no ICBM, or its backbone pools before its output.

    Example:

    >>> model = icbm(num_concepts=16, num_classes=3, input_shape=(8, 8, 1))
    >>> concept_maps(model).output_shape
    (None, 4, 4, 16)
    """
    names = {layer.name for layer in model.layers}
    if not {"concept_pool", "concept_logits"} <= names:
        raise ValueError(
            f"Model {model.name!r} has the layers {sorted(names)}. Expected one built by "
            "keras_htaf.models.icbm on a backbone that gives feature maps (then it has "
            "'concept_pool' and 'concept_logits')."
        )
    maps = model.get_layer("concept_logits")(model.get_layer("concept_pool").input)
    if "concept_norm" in names:
        norm = model.get_layer("concept_norm")
        # A copy: the layer itself accepts only the rank that it was built with.
        spatial = layers.BatchNormalization.from_config(norm.get_config())
        maps = spatial(maps)
        spatial.set_weights(norm.get_weights())
    return keras.Model(model.input, maps, name=f"{model.name}_maps")
