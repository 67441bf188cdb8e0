"""The tail of HTAF's gradient against 50 digits, in the dtypes and compilers people train with."""

from functools import cache

import keras
import ml_dtypes
import mpmath
import numpy as np
import pytest
from keras import ops
from support import every_compiler, gradient, rounded, tensor

from keras_htaf import backend, surrogates
from keras_htaf.ops import heaviside, htaf

TOLERANCE = {"float32": 1e-5, "bfloat16": 1e-2, "float16": 1e-2}
PARAMETERS = [(alpha, beta) for alpha in (2.0, 4.0, 8.0, 16.0) for beta in (0.5, 1.0)]

every_dtype = pytest.mark.parametrize("dtype", TOLERANCE)


def exact_slope(x, alpha, beta):
    with mpmath.workdps(50):
        x, alpha, beta = mpmath.mpf(x), mpmath.mpf(alpha), mpmath.mpf(beta)
        y = 1 / (1 + mpmath.exp(-alpha * mpmath.tanh(beta * x)))
        return float(alpha * beta * mpmath.sech(beta * x) ** 2 * y * (1 - y))


@cache
def grid(alpha, beta, dtype):
    """Every |beta x| <= 40 in steps of 0.1, as `dtype` can hold it, and the exact slopes."""
    x = np.unique(rounded(np.linspace(-40 / beta, 40 / beta, 801), dtype))
    return x, np.array([exact_slope(v, alpha, beta) for v in x])


def assert_slopes(actual, exact, dtype):
    tiny = float(ml_dtypes.finfo(dtype).tiny)
    normal = exact >= tiny
    np.testing.assert_allclose(actual[normal], exact[normal], rtol=TOLERANCE[dtype])
    # Where the exact slope is not a normal number, 0 and subnormals are all that is left.
    assert np.all((actual[~normal] >= 0) & (actual[~normal] <= tiny))


@every_dtype
@pytest.mark.parametrize(("alpha", "beta"), PARAMETERS)
def test_tail(alpha, beta, dtype):
    x, exact = grid(alpha, beta, dtype)
    x = tensor(x, dtype)
    slope = surrogates.HTAF(alpha, beta)
    assert_slopes(gradient(lambda x: htaf(x, alpha, beta), x), exact, dtype)
    assert_slopes(gradient(lambda x: heaviside(x, slope), x), exact, dtype)
    assert_slopes(gradient(slope, x), exact, dtype)


@every_dtype
@every_compiler
def test_tail_compiled(compiler, dtype):
    """All parameters at once, as arrays of the shape of x."""
    x, alpha, beta, exact = [], [], [], []
    for a, b in PARAMETERS:
        points, slopes = grid(a, b, dtype)
        x.append(points)
        exact.append(slopes)
        alpha.append(np.full(points.shape, a))
        beta.append(np.full(points.shape, b))
    x, alpha, beta, exact = map(np.concatenate, (x, alpha, beta, exact))
    found, _, _ = gradient(compiler(htaf), tensor(x, dtype), tensor(alpha), tensor(beta))
    assert_slopes(found, exact, dtype)


TABLE = [
    (0, 1.0),
    (1, 7.2765340e-2),
    (2, 5.7320586e-3),
    (3, 7.1045848e-4),
    (5, 1.2833497e-5),
    (8, 3.1802832e-8),
    (12, 1.0668655e-11),
    (20, 1.2005989e-18),
    (40, 5.1005696e-36),
]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize(("x", "exact"), TABLE)
def test_table(x, exact, dtype):
    assert exact_slope(x, 4, 1) == pytest.approx(exact, rel=1e-7)
    found = gradient(lambda x: htaf(x, 4.0, 1.0), tensor([x, -x], dtype))
    np.testing.assert_allclose(found, exact, rtol=TOLERANCE[dtype])
    found = ops.convert_to_numpy(backend.htaf_slope(tensor([x, -x]), 4.0, 1.0))
    np.testing.assert_allclose(found, exact, rtol=1e-5)


# torch's tanh rounds to 1 a little later than the others'.
FIRST_LOST = 9.5 if keras.config.backend() == "torch" else 8


@pytest.mark.parametrize(
    ("dtype", "lost"), [("float32", [FIRST_LOST, 12, 20, 40]), ("bfloat16", [5, 8, 12, 40])]
)
def test_automatic_differentiation_loses_the_tail(dtype, lost):
    def plain(x):
        return ops.sigmoid(4.0 * ops.tanh(1.0 * x))

    x = tensor(lost, dtype)
    assert np.all(gradient(plain, x) == 0.0)
    assert np.all(gradient(lambda x: htaf(x, 4.0, 1.0), x) > 0.0)
