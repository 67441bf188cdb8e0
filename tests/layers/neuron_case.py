"""What layers of neurons are compared with: a loop in Python over their turns."""

import keras
import numpy as np
from keras import ops
from support import BACKEND, gradient, tensor, to_numpy

from keras_htaf.backend import portable


def plain(layer, x, mask=None):
    """The layer's outputs by a loop in Python, differentiated by the backend itself."""

    def step(inputs, state, parameters):
        def spike(distance):
            return layer.spike.pure_call(distance, *parameters["spike"], True)

        y, after = layer.turn(inputs["x"], state, parameters, spike)
        if mask is None:
            return (y,), after
        on = ops.reshape(inputs["mask"], (-1, 1))
        after = tuple(ops.where(on, new, old) for new, old in zip(after, state, strict=True))
        return (ops.where(on, y, ops.zeros_like(y)),), after

    inputs = {"x": x} if mask is None else {"x": x, "mask": tensor(mask, "bool")}
    (y,), state = portable.scan(step, inputs, layer.first_state(x[:, 0]), layer.parameters())
    return y, state


def in_graph(f):
    """`f` as a training step would compile it."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        return tf.function(f)
    if BACKEND == "jax":
        import jax

        return jax.jit(f)
    return f


def stateless(layer, call):
    """`call(x)` as a function of x and the layer's weights, and the weights."""
    weights = [tensor(to_numpy(w)) for w in layer.weights]

    def run(x, *values):
        mapping = list(zip(layer.weights, values, strict=True))
        with keras.StatelessScope(state_mapping=mapping):
            return call(x)

    return run, weights


def check_gradients(layer, x, upstream, mask=None):
    """Those of outputs and last states, for the inputs and all weights, are those of the loop."""
    mask = None if mask is None else tensor(mask, "bool")

    def total(run):
        def weighted(x):
            y, state = run(x)
            return ops.sum(y * upstream) + sum(ops.sum(ops.sin(s)) for s in state)

        return weighted

    run, weights = stateless(layer, total(lambda x: layer.run(x, mask=mask, training=True)))
    reference, _ = stateless(layer, total(lambda x: plain(layer, x, mask)))
    found = gradient(in_graph(run), tensor(x), *weights)
    expected = gradient(reference, tensor(x), *weights)
    assert np.abs(expected[0]).max() > 1e-3
    for weight, one, other in zip([None, *layer.weights], found, expected, strict=True):
        at = weight.path if weight is not None else "x"
        if weight is not None and not weight.trainable and "spike" not in at:
            continue  # nobody wants one
        np.testing.assert_allclose(one, other, rtol=1e-3, atol=5e-5, err_msg=at)
