"""Loops over time: each backend's equal the portable definitions, with their gradients."""

from itertools import product

import numpy as np
import pytest
from keras import ops
from support import BACKEND, dtype_of, gradient, tensor, to_numpy

from keras_htaf import backend, surrogates
from keras_htaf.backend import portable

RANDOM = np.random.default_rng(11)
X = RANDOM.normal(0.3, 0.8, (2, 7, 5))
UPSTREAM = RANDOM.normal(size=X.shape)
STATE = RANDOM.normal(0.4, 0.7, (2, 5))
G_STATE = tensor(RANDOM.normal(size=(2, 5)))
MASK = RANDOM.random((2, 7)) < 0.6
MASK[:, [0, -1]] = [[True, False], [False, True]]


def compiled(f):
    if BACKEND == "tensorflow":  # eagerly it is the definition itself
        import tensorflow as tf

        return tf.function(f)
    return f


def total(f, *arguments):
    """What a loss may depend on: all spikes and the last state."""
    spikes, state = f(*arguments)
    weighted = ops.sum(ops.cast(spikes, "float32") * tensor(UPSTREAM))
    return weighted + ops.sum(state * G_STATE)


RESETS = list(product(["subtract", "zero", "value", "none"], [False, True], [False, True]))
CASES = [
    *((*case, False, True) for case in RESETS),
    *((*case, True, True) for case in RESETS if case[0] in ("subtract", "value")),
]
if BACKEND == "tensorflow":
    CASES += [(*case, case[1], False) for case in RESETS]


@pytest.mark.parametrize(("reset", "late", "detach", "masked", "training"), CASES)
def test_integrate_and_fire(reset, late, detach, masked, training):
    neuron = backend.Firing(
        surrogates.ATan(1.5),
        reset,
        reset_value=-0.4 if reset == "value" else 0.0,
        at_threshold=late,
        late=late,
        detach=detach,
        trained=(True, True),
    )
    per_neuron = detach != late
    decay = tensor(RANDOM.uniform(0.5, 1.0, 5 if per_neuron else ()))
    threshold = tensor(RANDOM.uniform(0.5, 1.0, 5 if per_neuron else ()))
    x = np.where(MASK[..., None], X, np.nan) if masked else X
    arguments = tensor(x), tensor(STATE), decay, threshold
    numbers = tensor(2.0), tensor(0.7), tensor(MASK, "bool") if masked else None

    def native(*arguments):
        return backend.integrate_and_fire(neuron, *arguments, *numbers, training)

    def definition(*arguments):
        return portable.integrate_and_fire(neuron, *arguments, *numbers)

    spikes, state = compiled(native)(*arguments)
    expected, last = definition(*arguments)
    np.testing.assert_array_equal(to_numpy(spikes), to_numpy(expected))
    np.testing.assert_allclose(to_numpy(state), to_numpy(last), atol=1e-6)
    found = gradient(compiled(lambda *a: total(native, *a)), *arguments)
    wanted = gradient(lambda *a: total(definition, *a), *arguments)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=2e-5)


@pytest.mark.parametrize("training", [True, False])
def test_one_turn_nan_and_precision(training):
    neuron = backend.Firing(surrogates.HTAF(), "subtract")
    numbers = [tensor(v) for v in (0.9, 1.0, 8.0, 1.0)]
    x = tensor([[[2.0, np.nan, 0.5]]], "bfloat16")

    def run(x):
        state = tensor(np.zeros((1, 3)))
        return backend.integrate_and_fire(neuron, x, state, *numbers, None, training)

    spikes, state = compiled(run)(x)
    assert (dtype_of(spikes), dtype_of(state)) == ("bfloat16", "float32")
    np.testing.assert_array_equal(to_numpy(spikes), [[[1.0, np.nan, 0.0]]])
    np.testing.assert_array_equal(to_numpy(state), [[1.0, np.nan, 0.5]])


@pytest.mark.parametrize("masked", [False, True])
@pytest.mark.parametrize("training", [True, False] if BACKEND == "tensorflow" else [True])
@pytest.mark.parametrize("decay", [0.0, 1e-30, 1.0, [0.0, 1e-30, 0.5, 0.999999, 1.0]])
def test_linear_recurrence(decay, masked, training):
    """For decays at both ends: nothing is divided by their powers."""
    mask = tensor(MASK, "bool") if masked else None
    arguments = tensor(X), tensor(decay), tensor(STATE)

    def total(recurrence, trained):
        def run(x, decay, first):
            v = recurrence(x, decay, first, mask, trained, training)
            return ops.sum(v * tensor(UPSTREAM)) + ops.sum(v[:, -1] * G_STATE)

        return run

    native = compiled(lambda *a: backend.linear_recurrence(*a, mask, True, training))
    expected = portable.linear_recurrence(*arguments, mask)
    np.testing.assert_allclose(to_numpy(native(*arguments)), to_numpy(expected), atol=2e-6)
    wanted = gradient(total(portable.linear_recurrence, True), *arguments)
    found = gradient(compiled(total(backend.linear_recurrence, True)), *arguments)
    for one, other in zip(found, wanted, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)
    frozen = compiled(
        lambda x, first: total(backend.linear_recurrence, False)(x, arguments[1], first)
    )
    for one, other in zip(gradient(frozen, *arguments[::2]), wanted[::2], strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-5)


def step(inputs, state, parameters):
    v, last = state
    v = parameters["decay"] * v + inputs["x"] + 0.5 * ops.tanh(last)
    moved = ops.where(ops.expand_dims(inputs["on"], -1), v, state[0])
    return (ops.tanh(v), v * v), (moved, ops.sin(v))


@pytest.mark.parametrize("training", [True, False])
def test_scan(training):
    """Two outputs, two states, inputs that are no floats, and a parameter with a gradient."""
    on = tensor(RANDOM.random((2, 7)) < 0.6, "bool")
    arguments = tensor(X), tensor(STATE), tensor(STATE[::-1].copy()), tensor(0.8)

    def loop(scan):
        def run(x, v, w, decay):
            outputs, state = scan(step, {"x": x, "on": on}, (v, w), {"decay": decay}, training)
            return sum(ops.sum(y * tensor(UPSTREAM)) for y in outputs) + sum(map(ops.sum, state))

        return run

    found = compiled(loop(backend.scan))
    expected = loop(portable.scan)
    np.testing.assert_allclose(
        to_numpy(found(*arguments)), to_numpy(expected(*arguments)), rtol=1e-4
    )
    for one, other in zip(gradient(found, *arguments), gradient(expected, *arguments), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-4)
