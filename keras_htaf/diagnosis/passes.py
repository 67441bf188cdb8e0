"""The forward and the backward pass over one batch, which leave the model as it is.

What is assigned within a stateless scope, such as moving averages and the state of random numbers,
is dropped at its end. So both passes over a batch also see the same dropout (but on torch only
dropout that has a seed: Keras draws the other from torch's global generator).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from itertools import count

import keras
from keras import ops

from keras_htaf import backend
from keras_htaf.diagnosis.places import Place
from keras_htaf.hardening import unit_steps
from keras_htaf.quantizers import Step


def forward(model: keras.Model, x, places: list[Place]) -> None:
    """Calls the model as `fit` does, and adds what its steps receive to `places`.

    The i-th call of a step is measured at the i-th place, which is made when it is missing.
    """
    calls = count()

    def look(layer):
        def tap(inputs):
            i = next(calls)
            try:
                if i == len(places):
                    places.append(Place(layer))
                places[i].add(inputs)
            except (TypeError, NotImplementedError) as error:  # of JAX and of TensorFlow
                raise ValueError(
                    f"Step {layer.name!r} is called within a compiled loop, such as the cell of a "
                    "keras.layers.RNN, where its inputs have no values. Expected steps that are "
                    "called eagerly."
                ) from error
            return inputs

        return tap

    with _tapped(model, look), keras.StatelessScope():
        model(x, training=True)


def backward(model: keras.Model, loss: Callable, x, y, places: list[Place]) -> None:
    """Adds the loss's gradient at each place, right after `forward` of the same inputs.

    The loss is that of `fit`, with the penalties that layers add, times the number of samples: a
    sample's gradient then does not depend on the size of its batch.
    """

    def value(*probes):
        feed = iter(probes)
        probed = _tapped(model, lambda layer: lambda inputs: inputs + next(feed))
        with probed, keras.StatelessScope(collect_losses=True) as scope:
            outputs = ops.cast(model(x, training=True), "float32")
            total = ops.mean(loss(ops.convert_to_tensor(y), outputs))
            for penalty in scope.losses:  # not those on weights, which no step changes
                total = total + ops.cast(penalty, "float32")
            return total * len(x)

    probes = [ops.zeros(place.shape, place.dtype) for place in places]
    for place, gradient in zip(places, backend.gradients(value, probes), strict=True):
        place.add_gradient(gradient)


@contextmanager
def _tapped(model: keras.Model, tap_of: Callable[[Step], Callable]) -> Iterator[None]:
    with ExitStack() as stack:
        for layer in unit_steps(model):
            stack.enter_context(layer.tapped(tap_of(layer)))
        yield
