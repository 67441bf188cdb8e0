"""Neurons with a closed form are the loop over their turns: outputs, states and gradients."""

import numpy as np
import pytest
from keras import ops
from neuron_case import check_gradients, in_graph, plain, stateless
from support import gradient, tensor, to_numpy

from keras_htaf import layers
from keras_htaf.layers.spiking import closed

SHAPE = (3, 6, 4)
UPSTREAM = np.random.default_rng(1).normal(size=SHAPE).astype("float32")


CASES = (
    "LIF subtract late masked",
    "LIF zero masked",
    "LIF value late",
    "LIF none masked",
    "IF zero late masked",
    "PLIF value masked",
    "CubaLIF subtract masked",
    "CubaLIF subtract late masked",
    "CubaLIF zero",
    "LI - masked",
)


def drawn(case):
    """A layer whose other options are at random, inputs, and a mask or None."""
    random = np.random.default_rng(CASES.index(case))
    pick = lambda *values: values[random.integers(len(values))]  # noqa: E731
    kind, reset, *words = case.split()
    options = {"per_neuron": pick(True, False)}
    if kind != "IF":
        options |= {"decay": float(random.uniform(0.3, 0.99)), "scale_input": pick(True, False)}
        options |= {"trainable_decay": pick(True, True, False)}
    if kind != "LI":
        options |= {"reset": reset, "rest": pick(0.0, -0.4, 0.3), "trainable_threshold": True}
        options |= {"reset_value": -0.2 if reset == "value" else 0.0}
        options |= {"detach_reset": pick(True, False), "fires_at_threshold": pick(True, False)}
        options |= {"reset_next_step": "late" in words}
        options |= {"forward": "smooth" if reset == "none" else "hard"}
    mask = random.random(SHAPE[:2]) < 0.6 if "masked" in words else None
    size = 3.0 if options.get("scale_input") else 1.0
    x = size * random.normal(0.3, 0.8, SHAPE).astype("float32")
    return getattr(layers, kind)(**options), x, mask


def check(layer, x, mask):
    layer.build(SHAPE)
    assert closed.of(layer, mask) is not None
    y, state = layer.run(tensor(x), mask=None if mask is None else tensor(mask, "bool"))
    expected, last = plain(layer, tensor(x), mask)
    np.testing.assert_allclose(to_numpy(y), to_numpy(expected), atol=1e-5)
    for one, other in zip(state, last, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-5)
    check_gradients(layer, x, tensor(UPSTREAM), mask)


@pytest.mark.parametrize("case", CASES)
def test_any_options(case):
    check(*drawn(case))


@pytest.mark.parametrize("library", ["spikingjelly", "norse", "spyx"])
def test_conventions_with_trained_decay(library):
    """With scaled inputs the decay's gradient comes from two places."""
    layer = layers.LIF.like(library, trainable_decay=True, trainable_threshold=True)
    x = np.random.default_rng(5).normal(0.8, 1.6, SHAPE).astype("float32")
    check(layer, x, None)


@pytest.mark.parametrize("kind", ["LIF", "LI"])
def test_padding_of_nan(kind):
    """Masked inputs reach no gradient, that of a decay which scales them included."""
    layer = getattr(layers, kind)(scale_input=True, trainable_decay=True)
    mask = np.arange(18).reshape(SHAPE[:2]) % 3 > 0
    x = np.random.default_rng(4).normal(0.8, 4.0, SHAPE).astype("float32")
    layer.build(SHAPE)

    def total(x):
        y, state = layer.run(x, mask=tensor(mask, "bool"), training=True)
        return ops.sum(y * tensor(UPSTREAM)) + ops.sum(state[0])

    run, weights = stateless(layer, total)
    padded = np.where(mask[..., None], x, [np.nan, np.inf, -np.inf, np.nan]).astype("float32")
    expected, found = (gradient(in_graph(run), tensor(a), *weights)[:2] for a in (x, padded))
    for one, other in zip(found, expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_who_has_one():
    masked = np.ones(SHAPE[:2], "bool")
    assert closed.of(layers.LIF(reset="none", forward="smooth"), masked) is not None
    for layer in (
        layers.ALIF(),
        layers.LIF(recurrent=True),
        layers.LIF(forward="smooth"),
        layers.LIF.like("spyx"),
        layers.CubaLIF(reset="zero", reset_next_step=True),
    ):
        assert closed.of(layer, masked) is None
