"""What makes HTAF heavy-tailed: each line of REFERENCE.md, section 1, over random parameters."""

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from support import tensor, to_numpy

from keras_htaf.ops import htaf
from keras_htaf.surrogates import HTAF, Sigmoid

alphas = st.floats(0.1, 30)
betas = st.floats(0.05, 8)
quickly = settings(max_examples=40, deadline=None, derandomize=True)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def values(x, alpha, beta):
    return to_numpy(htaf(tensor(x), alpha, beta))


def slopes(surrogate, x):
    return to_numpy(surrogate.derivative(tensor(x)))


@quickly
@given(alphas, betas)
def test_slope_at_zero(alpha, beta):
    assert slopes(HTAF(alpha, beta), 0.0) == pytest.approx(alpha * beta / 4, rel=1e-6)
    assert HTAF(alpha, beta).peak == pytest.approx(alpha * beta / 4, rel=1e-12)


@quickly
@given(alphas, betas)
def test_range_and_total_mass(alpha, beta):
    y = values(np.array([-np.inf, -1e4, -1, 0, 1, 1e4, np.inf]), alpha, beta)
    assert np.all(np.diff(y) >= 0)
    assert y[3] == 0.5
    np.testing.assert_allclose(y + y[::-1], 1, rtol=1e-6)
    np.testing.assert_allclose(y[[0, -1]], sigmoid(np.array([-alpha, alpha])), rtol=2e-5)
    assert HTAF(alpha, beta).area == pytest.approx(np.tanh(alpha / 2), rel=1e-12)
    assert y[-1] - y[0] == pytest.approx(np.tanh(alpha / 2), rel=2e-5)


@quickly
@given(alphas, betas, st.floats(0.05, 5))
def test_mass_near_zero(alpha, beta, d):
    """Inside [-d, d]. It is more than a sigmoid of the same tail has there exactly as long as
    beta d < alpha / 2 tanh(beta d): never if alpha <= 2, and near zero, not for every d, above."""
    d /= beta
    x = np.linspace(-d, d, 4001)
    inside = np.trapezoid(slopes(HTAF(alpha, beta), x), x)
    assert inside == pytest.approx(np.tanh(alpha / 2 * np.tanh(beta * d)), rel=2e-4)
    same_tail = np.trapezoid(slopes(Sigmoid(2 * beta), x), x)
    assert same_tail == pytest.approx(np.tanh(beta * d), rel=2e-4)
    assume(abs(inside / same_tail - 1) > 1e-3)
    assert (inside > same_tail) == (alpha / 2 * np.tanh(beta * d) > beta * d)
    assert alpha > 2 or inside < same_tail


@quickly
@given(st.floats(2.01, 30), betas)
def test_more_mass_near_zero_whenever_alpha_is_above_2(alpha, beta):
    d = 0.5 * np.sqrt(3 * (1 - 2 / alpha)) / beta  # tanh(z) > z - z^3 / 3
    assert np.tanh(alpha / 2 * np.tanh(beta * d)) > np.tanh(beta * d)
    low, high = values([-d, d], alpha, beta)
    assert high - low > np.tanh(beta * d) * (1 - 1e-5)


@quickly
@given(alphas, betas)
def test_tail_decays_like_exp_minus_two_beta_x(alpha, beta):
    near, far = slopes(HTAF(alpha, beta), np.array([12.0, 20.0]) / beta)
    assert far / near == pytest.approx(np.exp(-2 * 8), rel=1e-4)


@quickly
@given(st.floats(0.75, 5), betas)
def test_heavier_than_the_sigmoid_of_the_same_slope_if_and_only_if_alpha_is_above_2(alpha, beta):
    x = np.array([12.0, 14.0]) / beta
    near, far = slopes(HTAF(alpha, beta), x) / slopes(Sigmoid(alpha * beta), x)
    assert far / near == pytest.approx(np.exp((alpha - 2) * 2), rel=1e-3)
    assume(abs(alpha - 2) > 1e-2)
    assert (far > near) == (alpha > 2)


@pytest.mark.parametrize(("alpha", "ratio"), [(4, 4.3), (6, 35), (2, 0.443)])
def test_ratio_to_the_sigmoid_of_the_same_slope(alpha, ratio):
    heavy, sigmoid = HTAF(alpha, 1.0), Sigmoid(alpha)
    assert heavy.peak == sigmoid.peak
    found = slopes(heavy, 2.0) / slopes(sigmoid, 2.0)
    assert found == pytest.approx(ratio, rel=0.02)


@quickly
@given(alphas, betas, st.floats(0.01, 10))
def test_distance_to_the_step(alpha, beta, d):
    outside = np.float32(d / beta) * np.array([1, 1.001, 2, 10, 1e6])
    bound = sigmoid(-alpha * np.tanh(beta * outside[0]))
    assert np.all(values(-outside, alpha, beta) <= bound * (1 + 1e-4))
    assert np.all(1 - values(outside, alpha, beta) <= bound + 1e-6)
