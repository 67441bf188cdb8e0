"""`Surrogate.width` against closed forms, against integrated slopes, and its errors."""

import math

import mpmath
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import tensor, to_numpy

from keras_htaf import surrogates
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


def swish_sign_width(share, s):
    """In z = s d: tanh(z/2) + z/2 sech(z/2)^2 = share, which rises up to z = 2.4."""

    def surplus(z):
        return mpmath.tanh(z / 2) + z / 2 * mpmath.sech(z / 2) ** 2 - share

    return float(mpmath.findroot(surplus, (0, 2.39), solver="anderson")) / s


def htaf_width(share, alpha, beta=0.5):
    """tanh(alpha/2 tanh(beta d)) = share tanh(alpha/2)."""
    u = 2 / alpha * math.atanh(share * math.tanh(alpha / 2))
    return math.atanh(u) / beta


WIDTHS = {
    HTAF: htaf_width,
    Sigmoid: lambda share, s: 2 / s * math.atanh(share),
    ATan: lambda share, s: 2 / (math.pi * s) * math.tan(math.pi * share / 2),
    FastSigmoid: lambda share, s: share / (1 - share) / s,
    SuperSpike: lambda share, s: share / (1 - share) / s,
    SoftSign: lambda share, s: share / (1 - share) / s,
    Erf: lambda share, s: float(mpmath.erfinv(share)) / s,
    Triangle: lambda share, s: (1 - math.sqrt(1 - share)) / s,
    ApproxSign: lambda share, s: (1 - math.sqrt(1 - share)) / s,
    Rectangle: lambda share, s: share / s,
    SwishSign: swish_sign_width,
    EDE: lambda share, s: math.atanh(share) / s,
}

every_class = pytest.mark.parametrize("cls", WIDTHS, ids=lambda c: c.__name__)
# Not smaller: G is computed in float32, of which HTAF's G - 1/2 then keeps few digits.
shares = st.floats(0.05, 0.99)
sharpnesses = st.floats(0.5, 50)
quickly = settings(max_examples=12, deadline=None, derandomize=True)


def sharp(cls, s, **options):
    return cls(1 / s if cls is Rectangle else s, **options)


def test_every_slope_has_a_width_here():
    assert set(WIDTHS) == set(surrogates._BY_NAME.values())


@every_class
@quickly
@given(share=shares, s=sharpnesses)
def test_closed_form(cls, share, s):
    assert sharp(cls, s).width(share) == pytest.approx(WIDTHS[cls](share, s), rel=1e-4)


@quickly
@given(share=shares, alpha=sharpnesses, beta=st.floats(1e-9, 1e9))
def test_closed_form_of_any_tail(share, alpha, beta):
    found = HTAF(alpha, beta).width(share)
    assert found == pytest.approx(htaf_width(share, alpha, beta), rel=1e-4)


@every_class
@pytest.mark.parametrize("normalized", [None, "peak", "area"])
@pytest.mark.parametrize(("share", "s"), [(0.2, 3.0), (0.5, 0.4), (0.8, 1.0)])
def test_holds_its_share_of_the_slope(cls, normalized, share, s):
    """The slope integrated over [-d, d], by the midpoint rule."""
    surrogate = sharp(cls, s, normalized=normalized)
    d = surrogate.width(share)
    middles = (np.arange(20_000) - 9_999.5) / 10_000 * d
    held = to_numpy(surrogate.derivative(tensor(middles))).mean() * 2 * d
    assert held == pytest.approx(share * surrogate.area, rel=2e-4)


@every_class
@quickly
@given(share=shares, s=sharpnesses)
def test_sharpness_argument(cls, share, s):
    assert cls().width(share, s) == sharp(cls, s).width(share)
    assert cls(normalized="area").width(share, s) == sharp(cls, s).width(share)


@every_class
def test_default_is_half(cls):
    assert cls().width() == cls().width(0.5)
    assert isinstance(cls().width(), float)


@every_class
@quickly
@given(small=shares, large=shares)
def test_grows_with_the_share(cls, small, large):
    small, large = sorted((small, large))
    assert cls().width(small) <= cls().width(large)


@every_class
def test_smallest_and_largest_shares(cls):
    """Near 0 the slope is as high as its peak; near 1 the last digits are float32's."""
    surrogate = cls()
    found = surrogate.width(1e-12)
    assert found == pytest.approx(1e-12 * surrogate.area / 2 / surrogate.peak, rel=1e-4)
    largest = surrogate.width(1 - 1e-12)
    assert surrogate.width(0.99) < largest < math.inf


def test_infinite_area():
    assert Rectangle(None).width() == math.inf
    assert Rectangle(None, normalized="peak").width(0.1, 3.0) == math.inf


@pytest.mark.parametrize("share", [0, 1, 0.0, 1.0, -0.1, 1.5, math.nan, math.inf])
@pytest.mark.parametrize("surrogate", [ATan(), Rectangle(None)], ids=repr)
def test_share_errors(surrogate, share):
    with pytest.raises(ValueError, match=r"Received share=.*Expected a number above 0 and below 1"):
        surrogate.width(share)


@every_class
@pytest.mark.parametrize("sharpness", [0, -1.0, math.nan, math.inf, "2"])
def test_sharpness_errors(cls, sharpness):
    with pytest.raises(ValueError, match=r"Received sharpness=.*Expected a positive finite number"):
        cls().width(0.5, sharpness)
