"""Every slope against its own formula: value, derivative, peak, area, normalisation, limits."""

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dtype_of, every_compiler, gradient, tensor, to_numpy

from keras_htaf import surrogates
from keras_htaf.ops import htaf
from keras_htaf.surrogates import (
    EDE,
    HTAF,
    ApproxSign,
    ATan,
    Erf,
    FastSigmoid,
    Rectangle,
    Sigmoid,
    SoftSign,
    SuperSpike,
    SwishSign,
    Triangle,
)


def sigmoid(z):
    return 1 / (1 + mpmath.exp(-z))


def clipped(z):
    return max(-1, min(1, z))


# G(x) - 1/2 as a function of x and the sharpness, and where its derivative is not smooth.
FORMULAS = {
    HTAF: (lambda x, s: sigmoid(s * mpmath.tanh(x / 2)) - 0.5, []),
    Sigmoid: (lambda x, s: sigmoid(s * x) - 0.5, []),
    ATan: (lambda x, s: mpmath.atan(mpmath.pi * s * x / 2) / mpmath.pi, []),
    FastSigmoid: (lambda x, s: x / (1 + s * abs(x)), []),
    SuperSpike: (lambda x, s: x / (1 + s * abs(x)), []),
    SoftSign: (lambda x, s: s * x / 2 / (1 + s * abs(x)), []),
    Erf: (lambda x, s: mpmath.erf(s * x) / 2, []),
    Triangle: (lambda x, s: clipped(s * x) * (1 - abs(clipped(s * x)) / 2), [1]),
    Rectangle: (lambda x, s: clipped(s * x) / s, [1]),
    ApproxSign: (lambda x, s: clipped(s * x) * (2 - abs(clipped(s * x))), [1]),
    SwishSign: (lambda x, s: 2 * sigmoid(s * x) * (1 + s * x * sigmoid(-s * x)) - 1, []),
    EDE: (lambda x, s: max(1 / s, 1) * mpmath.tanh(s * x), []),
}

every_class = pytest.mark.parametrize("cls", FORMULAS, ids=lambda c: c.__name__)
sharpnesses = st.floats(0.05, 50)
quickly = settings(max_examples=20, deadline=None, derandomize=True)


def sharp(cls, s, **options):
    return cls(1 / s if cls is Rectangle else s, **options)


def test_every_slope_has_a_formula_here():
    assert set(FORMULAS) == set(surrogates._BY_NAME.values())


TABLE = {
    ATan: [1, 0.91017, 0.2884, 0.092],
    Sigmoid: [1, 0.961043, 0.419974, 0.070651],
    FastSigmoid: [1, 0.081633, 0.005487, 0.001479],
    SuperSpike: [1, 0.008264, 0.000384, 0.000098],
    SoftSign: [1, 0.694444, 0.25, 0.111111],
    Erf: [1.128379, 1.084135, 0.415107, 0.020667],
    Triangle: [1, 0.9, 0.5, 0],
    Rectangle: [1, 1, 1, 1],
    ApproxSign: [2, 1.8, 1, 0],
}


@pytest.mark.parametrize(
    ("cls", "expected"), TABLE.items(), ids=lambda c: getattr(c, "__name__", "")
)
def test_table(cls, expected):
    """REFERENCE.md, section 2, to all its digits."""
    found = to_numpy(cls().derivative(tensor([0, 0.1, 0.5, 1])))
    np.testing.assert_allclose(found, expected, atol=6e-7 if cls is not ATan else 6e-6)


def test_table_of_the_formulas_with_another_form():
    x = np.array([0, 0.1, 0.5, 1])
    found = to_numpy(SwishSign(5.0).derivative(tensor(x)))
    stated = 5 * (2 - 5 * x * np.tanh(2.5 * x)) / (1 + np.cosh(5 * x))
    np.testing.assert_allclose(found, stated, rtol=1e-5)
    found = to_numpy(EDE(0.1).derivative(tensor([0, 0.5, 1])))
    np.testing.assert_allclose(found, [1, 0.9975042, 0.9900663], rtol=1e-6)


@every_class
@pytest.mark.parametrize("s", [0.4, 1.0, 3.7, None])
def test_smooth_and_derivative(cls, s):
    """`smooth` is G, `derivative` its numerical derivative, away from the kinks."""
    surrogate = cls() if s is None else sharp(cls, s)
    s = surrogate.sharpness
    formula, kinks = FORMULAS[cls]
    x = np.linspace(-3.3, 3.3, 43) + 0.01
    x = np.concatenate([x[[np.all(np.abs(np.abs(s * v) - kinks) > 0.05) for v in x]], [0.0]])
    x = np.float32(x).astype("float64")
    smooth = [0.5 + formula(mpmath.mpf(v), s) for v in x]
    slopes = [mpmath.diff(lambda t: formula(t, s), mpmath.mpf(v)) for v in x]
    close = {"rtol": 2e-5, "atol": 1e-6 * max(1, surrogate.peak)}
    np.testing.assert_allclose(to_numpy(surrogate.smooth(tensor(x))), np.float64(smooth), **close)
    found = to_numpy(surrogate.derivative(tensor(x)))
    np.testing.assert_allclose(found, np.float64(slopes), **close)


@every_class
@quickly
@given(s=sharpnesses)
def test_at_zero(cls, s):
    surrogate = sharp(cls, s)
    assert to_numpy(surrogate.smooth(tensor(0.0))) == pytest.approx(0.5, abs=1e-6)
    found = to_numpy(surrogate.derivative(tensor(0.0)))
    assert found == pytest.approx(surrogate.peak, rel=1e-6)


def integral(surrogate):
    """Of the derivative over the whole line, by the trapezoid rule in t = atan(s x)."""
    t = np.linspace(-np.pi / 2, np.pi / 2, 200_002)[1:-1]
    x = np.tan(t) / surrogate.sharpness
    return np.trapezoid(to_numpy(surrogate.derivative(tensor(x))), x)


@every_class
@pytest.mark.parametrize("normalized", [None, "peak", "area"])
@pytest.mark.parametrize("s", [0.4, 2.0])
def test_area(cls, s, normalized):
    surrogate = sharp(cls, s, normalized=normalized)
    if normalized == "area":
        assert surrogate.area == pytest.approx(1, rel=1e-12)
    assert integral(surrogate) == pytest.approx(surrogate.area, rel=2e-4)


@every_class
@pytest.mark.parametrize("normalized", ["peak", "area"])
@quickly
@given(s=sharpnesses)
def test_normalization(cls, normalized, s):
    surrogate = sharp(cls, s, normalized=normalized)
    assert getattr(surrogate, normalized) == pytest.approx(1, rel=1e-12)
    found = to_numpy(surrogate.derivative(tensor(0.0)))
    assert found == pytest.approx(surrogate.peak, rel=2e-6)
    low, middle, high = to_numpy(surrogate.smooth(tensor([-np.inf, 0, np.inf])))
    assert middle == pytest.approx(0.5, abs=1e-6)
    assert high - low == pytest.approx(surrogate.area, rel=1e-5)


@every_class
def test_limits(cls):
    surrogate, x = cls(), tensor([-np.inf, np.inf, np.nan])
    area = surrogate.area
    expected = [0.5 - area / 2, 0.5 + area / 2, np.nan]
    np.testing.assert_allclose(to_numpy(surrogate.smooth(x)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(to_numpy(surrogate(x)), expected, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(to_numpy(surrogate.derivative(x)), [0, 0, np.nan])
    np.testing.assert_array_equal(gradient(surrogate, x), [0, 0, np.nan])


EDGES = [-30, -1.0001, -1, -0.5, -0.0, 0, 0.25, 0.5, 1, 1.5, 12]


@every_class
@pytest.mark.parametrize("normalized", [None, "area"])
@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_call_is_smooth_with_the_derivative_as_gradient(cls, normalized, dtype):
    surrogate, x = cls(normalized=normalized), tensor(EDGES, dtype)
    y = surrogate(x)
    assert dtype_of(y) == dtype
    relative = {"float32": 2e-6, "bfloat16": 8e-3}[dtype]
    np.testing.assert_allclose(to_numpy(y), to_numpy(surrogate.smooth(x)), rtol=relative, atol=6e-8)
    found, expected = gradient(surrogate, x), to_numpy(surrogate.derivative(x))
    np.testing.assert_allclose(found, expected, rtol=relative, atol=1e-37)


@every_compiler
def test_call_compiled(compiler):
    slopes = [cls(normalized=n) for cls in FORMULAS for n in (None, "peak")]
    x = tensor(EDGES)
    found = gradient(compiler(lambda x: sum(slope(x) for slope in slopes)), x)
    expected = sum(to_numpy(slope.derivative(x)) for slope in slopes)
    np.testing.assert_allclose(found, expected, rtol=1e-5)


@every_class
@pytest.mark.parametrize("normalized", [None, "area"])
def test_sharpness_per_channel(cls, normalized):
    """As a tensor, as a callback's weight would be: the same as one slope for each channel."""
    s, x = [0.5, 1.0, 4.0], np.linspace(-2, 2, 7)[:, None] * np.ones(3)
    surrogate = cls(normalized=normalized)
    channels = [sharp(cls, v, normalized=normalized) for v in s]
    for method in ("smooth", "derivative"):
        found = to_numpy(getattr(surrogate, method)(tensor(x), tensor(s)))
        expected = [to_numpy(getattr(c, method)(tensor(x[:, 0]))) for c in channels]
        np.testing.assert_allclose(found, np.stack(expected, 1), rtol=5e-6, atol=1e-7)
    found = gradient(lambda x: surrogate(x, tensor(s)), tensor(x))
    np.testing.assert_allclose(found, np.stack(expected, 1), rtol=5e-6, atol=1e-7)


def test_htaf_call_derives_its_sharpness():
    x, alpha = tensor([-2.0, 0.3, 5.0]), tensor([1.0, 4.0, 8.0])
    found = gradient(lambda a: HTAF(beta=0.7)(x, a), alpha)
    np.testing.assert_allclose(found, gradient(lambda a: htaf(x, a, 0.7), alpha), rtol=1e-6)


def test_unclipped_rectangle():
    surrogate, x = Rectangle(None), tensor([-1e30, 0.0, 2.0])
    np.testing.assert_array_equal(to_numpy(surrogate.derivative(x)), 1)
    np.testing.assert_array_equal(gradient(surrogate, x), 1)
    assert surrogate.area == np.inf
    assert surrogate.peak == Rectangle(None, normalized="peak").peak == 1


@every_class
def test_sign_gain(cls):
    """2 for what is stated for a bit, 1 for what the literature states for the sign itself."""
    stated_for_sign = cls in (Rectangle, ApproxSign, SwishSign, EDE)
    assert cls().sign_gain == (1 if stated_for_sign else 2)
    assert cls(normalized="area").sign_gain == cls(normalized="peak").sign_gain == 2
