"""Vectorized maps on JAX and torch: over inputs, over parameters, and per-sample gradients."""

import numpy as np
import pytest
from support import BACKEND, tensor, to_numpy

from keras_htaf.ops import heaviside, htaf, sign
from keras_htaf.surrogates import HTAF, ATan

if BACKEND == "jax":
    from jax import grad, vmap
elif BACKEND == "torch":
    import torch
    from torch.func import grad

    def vmap(f, in_axes=0, out_axes=0):
        return torch.vmap(f, in_axes, out_axes)
else:
    pytest.skip("TensorFlow has no vmap", allow_module_level=True)

X = np.random.default_rng(0).normal(size=(6, 3)) * 2
STEPS = [
    pytest.param(lambda x: htaf(x, 4.0, 1.0), id="htaf"),
    pytest.param(lambda x: heaviside(x, HTAF(4.0, 1.0)), id="heaviside"),
    pytest.param(lambda x: sign(x, "rectangle"), id="sign"),
    pytest.param(ATan(), id="atan"),
]


def assert_close(actual, expected):
    np.testing.assert_allclose(to_numpy(actual), to_numpy(expected), rtol=2e-6)


@pytest.mark.parametrize("f", STEPS)
@pytest.mark.parametrize("axis", [0, 1])
def test_over_inputs(f, axis):
    x = tensor(X)
    assert_close(vmap(f, in_axes=axis, out_axes=axis)(x), f(x))


@pytest.mark.parametrize("f", STEPS)
def test_gradient_per_sample(f):
    """The gradient of sum((w * f(w * x))) in w for each row of x, against a loop."""
    w = tensor([0.5, -1.0, 2.0])
    slope = grad(lambda w, x: (w * f(w * x)).sum())
    rows = tensor(X)
    expected = np.stack([to_numpy(slope(w, row)) for row in rows])
    assert_close(vmap(slope, in_axes=(None, 0))(w, rows), tensor(expected))


def test_over_parameters():
    x, alpha, beta = tensor(X), tensor([1.0, 2.0, 4.0, 8.0]), tensor([0.5, 1.0, 1.5, 2.0])
    found = vmap(lambda a, b: htaf(x, a, b))(alpha, beta)
    assert_close(found, htaf(x, alpha[:, None, None], beta[:, None, None]))
    found = vmap(lambda a: htaf(x, a, 1.0))(alpha)
    assert_close(found, htaf(x, alpha[:, None, None], 1.0))


def test_gradients_of_parameters_per_sample():
    alpha, beta, rows = tensor([1.0, 4.0, 9.0]), tensor(0.5), tensor(X)
    slopes = grad(lambda a, b, x: htaf(x, a, b).sum(), (0, 1))
    found = vmap(slopes, in_axes=(None, None, 0))(alpha, beta, rows)
    loop = [slopes(alpha, beta, row) for row in rows]
    for actual, expected in zip(found, zip(*loop, strict=True), strict=True):
        assert_close(actual, tensor(np.stack([to_numpy(e) for e in expected])))


def test_second_derivative_per_sample():
    curvature = grad(grad(lambda x: htaf(x, 4.0, 1.0)))
    x = tensor(X[:, 0])
    assert_close(vmap(curvature)(x), tensor(np.stack([to_numpy(curvature(v)) for v in x])))
