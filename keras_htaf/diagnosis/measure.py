"""The diagnosis of a model on data."""

from __future__ import annotations

import math

import keras
import numpy as np

from keras_htaf.diagnosis.advice import advise
from keras_htaf.diagnosis.passes import backward, forward
from keras_htaf.diagnosis.places import Place, gradient_norm, row
from keras_htaf.diagnosis.results import Diagnosis
from keras_htaf.diagnosis.task import scores, understand
from keras_htaf.hardening import distinct, other_steps, unit_steps
from keras_htaf.samples import pairs


def diagnose(model: keras.Model, x, y, loss=None, batch_size: int = 256) -> Diagnosis:
    """Measures what each step of a model receives, gives and passes back, and says what to mend.

    With z the inputs of a step, g its slope, h its smooth bit, b its exact bit, L the loss:

        rms        sqrt(mean z^2)              reach     95 % quantile of |z|
        covered    share of |z| <= d, where [-d, d] holds 95 % of the area of g
        passed     mean |g(z)| / g(0)          dead, always_on    share of units, over all samples
        gradient   sqrt(mean over samples of ||dL/dz||^2), divided by that of the last step
        softness   mean 4 h (1 - h)            error     mean |h - b|

    The gradient's norm is taken over all units and positions of a sample: linear maps of the usual
    initialisations preserve it, whatever their widths and strides. It contains the penalties that
    layers add to the loss.

    These are measured as `fit` would see them, with `training=True`: batch normalisation uses the
    statistics of the batch. (`x` is cut into batches of nearly equal size, of at most `batch_size`
    samples.) Accuracies are those of inference. Nothing in the model changes.

    There is advice where

        - more than 40 % of the inputs are not covered, and less than 10 % of the peak is passed;
          or 99 % are covered, and more than 97 % is passed; or all inputs are 0
        - more than 10 % of the units are dead, or always on, in 100 samples or more
        - a gradient is below 0.01 or above 100, or the last step's is 0
        - the model computes smooth steps, and exact ones lose more than half a point of accuracy
          and two standard errors, or raise the mean squared error by more than a tenth
        - there are fewer than 32 samples

    else `print` says that all is well. Of a model that computes exact steps, its smooth twin, which
    the gap compares it to, is a network that was trained only if the model was hardened.

    Args:
        model: A built model with one output whose steps are layers of `keras_htaf.layers`: nested,
            shared, in subclassed models and as activations too, but not in the cell of a
            `keras.layers.RNN`. Of a shared layer each call counts.
        x: Inputs, an array whose first axis is the batch.
        y: Integer labels of shape (n,) or (n, 1), one-hot labels of shape (n, classes), or targets
            of a regression.
        loss: A `keras.losses.Loss`, a function or a name. Default: the loss that the model is
            compiled with; if there is none, the cross-entropy (binary for a single output, sparse,
            categorical) for labels, else the mean squared error. Whether it takes logits or
            probabilities is then told by the last layer: softmax and sigmoid give probabilities. A
            loss that measures distances, such as `"mse"`, makes it a regression.
        batch_size: Default 256.

    Returns:
        A `Diagnosis`: `.layers`, one row for each step in the order of their first calls (the last
        of them is what gradients are relative to), `.scores`, `.advice`; `print` shows all of it,
        `.plot(path)` draws it, `.to_dict()` is for JSON.

    Raises:
        ValueError: If the model is not built, has no step or several outputs, x and y differ in
            length or are empty, x, y, an input of a step or a gradient is not finite, or the labels
            are not the classes of a cross-entropy's outputs.

    Example:

    >>> step = keras_htaf.layers.HTAF(name="step")
    >>> model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(8), step])
    >>> x = np.random.default_rng(0).normal(size=(100, 4))
    >>> diagnosis = diagnose(model, x, x.argmax(axis=1))
    >>> [(row.name, row.units, row.gradient) for row in diagnosis.layers]
    [('step', 8, 1.0)]
    """
    x, y = _checked(model, x, y, batch_size)
    outputs = _output_shape(model, x)
    task = understand(model, y, loss, outputs)

    places: list[Place] = []
    # Equal parts: a last batch of a few samples would have batch statistics like no other.
    parts = math.ceil(len(x) / batch_size)
    for inputs, targets in zip(
        np.array_split(x, parts), np.array_split(task.targets, parts), strict=True
    ):
        forward(model, inputs, places)
        if not places:
            raise ValueError(f"Model {model.name!r} calls none of its step layers.")
        backward(model, task.loss, inputs, targets, places)

    of_layer: dict[int, list[Place]] = {}
    for place in places:
        of_layer.setdefault(id(place.layer), []).append(place)
    norms = [gradient_norm(calls, len(x)) for calls in of_layer.values()]
    names = _names(model, [calls[0].layer for calls in of_layer.values()])
    layers = [
        row(name, calls, norm / norms[-1] if norms[-1] > 0 else None)
        for name, calls, norm in zip(names, of_layer.values(), norms, strict=True)
    ]

    try:
        measured, notes = scores(model, task, x, batch_size), []
    except ValueError as error:  # what is measured at the steps is useful all the same
        measured, notes = {}, [f"Smooth and exact steps could not be compared. {error}"]
    advice = advise(layers, measured, len(x), _normalises(model)) + notes
    return Diagnosis(model.name, len(x), task.name, measured, layers, advice)


def _checked(model, x, y, batch_size):
    if not isinstance(model, keras.Model):
        raise ValueError(f"Received {type(model).__name__}. Expected a keras.Model.")
    if not model.built:
        raise ValueError(
            f"Model {model.name!r} is not built. Call it on data (or give it an Input) first."
        )
    if not unit_steps(model):
        raise ValueError(
            f"Model {model.name!r} has no step layer (keras_htaf.layers.HTAF, Heaviside, Sign), so "
            f"there is nothing to diagnose.{other_steps(model)}"
        )
    if batch_size != int(batch_size) or batch_size < 1:
        raise ValueError(f"Received batch_size={batch_size!r}. Expected a positive integer.")
    return pairs(x, y)


def _normalises(model) -> bool:
    kinds = ("BatchNormalization", "LayerNormalization", "GroupNormalization", "RMSNormalization")
    return any(type(layer).__name__ in kinds for layer in model._flatten_layers())


def _names(model, layers):
    """Paths within the model, with "#2" and so on where nested models have steps of one path."""
    # Keras starts the paths of some models (sequential, subclassed) with the model's own name.
    own = f"{model.name}/"
    return distinct((layer.path or layer.name).removeprefix(own) for layer in layers)


def _output_shape(model, x):
    """The shape of the outputs for all of x. Also builds steps that Keras builds late."""
    with keras.StatelessScope():
        outputs = model(x[:1], training=False)
    if isinstance(outputs, (list, tuple, dict)):
        raise ValueError(
            f"Model {model.name!r} gives a {type(outputs).__name__} of {len(outputs)} outputs. "
            "Expected one tensor: diagnose keras.Model(model.inputs, model.outputs[0]), for "
            "instance."
        )
    return (len(x), *outputs.shape[1:])
