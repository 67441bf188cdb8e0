"""The quantizers: values, gradients and codes, with the numbers that the literature gives."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support import dtype_of, gradient, tensor, to_numpy

from keras_htaf import quantizers, surrogates
from keras_htaf.constraints import WeightClip
from keras_htaf.quantizers import DoReFa, Heaviside, MagnitudeAwareSign, Sign, Ternary, XNORSign

X = [-1.5, -1, -0.5, -0.0, 0.25, 1, 1.0001, 3]
SIGNS = [-1, -1, -1, 1, 1, 1, 1, 1]
NAMES = sorted(quantizers._BY_NAME)


def values(quantizer, x):
    return to_numpy(quantizer(tensor(x)))


def slopes(quantizer, x, upstream=None):
    return gradient(lambda z: quantizer(z), tensor(x), upstream=upstream)


@pytest.mark.parametrize(
    ("quantizer", "expected"),
    [
        ("ste_sign", [0, 1, 1, 1, 1, 1, 0, 0]),
        (Sign(surrogates.Rectangle(1.25)), [0, 1, 1, 1, 1, 1, 1, 0]),
        (Sign(surrogates.Rectangle(None)), [1] * 8),
        ("approx_sign", [0, 0, 1, 2, 1.5, 0, 0, 0]),
        (
            "swish_sign",
            [-0.0303402, -0.1949923, -0.0846216, 5, 2.2620474, -0.1949923, -0.1949311, -3.98e-5],
        ),
        (Sign(surrogates.EDE(0.1)), 1 - np.tanh(0.1 * np.array(X)) ** 2),
    ],
    ids=str,
)
def test_sign(quantizer, expected):
    quantizer = quantizers.get(quantizer)
    np.testing.assert_array_equal(values(quantizer, X), SIGNS)
    np.testing.assert_allclose(slopes(quantizer, X), expected, rtol=2e-6, atol=6e-8)


def test_sign_of_a_bit_slope():
    """HTAF is stated for a bit; a sign rises by 2."""
    found = slopes(quantizers.get("sign"), X)
    np.testing.assert_allclose(found, 2 * to_numpy(surrogates.HTAF().derivative(tensor(X))))


def test_heaviside():
    quantizer = quantizers.get("ste_heaviside")
    np.testing.assert_array_equal(values(quantizer, X), [0, 0, 0, 0, 1, 1, 1, 1])
    np.testing.assert_array_equal(slopes(quantizer, X), [0, 1, 1, 1, 1, 1, 0, 0])


def test_ternary():
    x = [-0.06, -0.05, -0.01, 0, 0.05, 0.06]
    np.testing.assert_array_equal(values(Ternary(), x), [-1, -1, 0, 0, 1, 1])
    np.testing.assert_array_equal(slopes(Ternary(), X), [0, 1, 1, 1, 1, 1, 0, 0])
    twn = Ternary(ternary_weight_networks=True)
    np.testing.assert_array_equal(values(twn, [-1, -0.5, 0.1, 0.2, 0.6]), [-1, -1, 0, 0, 1])
    np.testing.assert_array_equal(values(twn, [0.335, 1.105]), [0, 1])  # the threshold is 0.504
    for zero in (twn, Ternary(0.0)):
        np.testing.assert_array_equal(values(zero, [0.0, -0.0]), 0)
    np.testing.assert_array_equal(values(Ternary(0.0), [-1e-9, 1e-9]), [-1, 1])
    # The threshold is not differentiated.
    np.testing.assert_array_equal(slopes(twn, X), [0, 1, 1, 1, 1, 1, 0, 0])


def test_magnitude_aware():
    w = [[0.5, -2.0], [-1.5, 1.0]]
    quantizer = MagnitudeAwareSign()
    np.testing.assert_array_equal(values(quantizer, w), [[1, -1.5], [-1, 1.5]])
    np.testing.assert_array_equal(slopes(quantizer, w), [[1, 0], [0, 1.5]])
    np.testing.assert_array_equal(to_numpy(quantizer.decompose(tensor(w))[1]), [[1, 1.5]])


def test_xnor():
    w = np.array([[0.5], [-0.25], [1.5], [-1]])
    upstream = np.array([[1.0], [2], [3], [4]])
    np.testing.assert_array_equal(values(XNORSign(), w), 0.6875 * np.sign(w))
    found = slopes(XNORSign(), w, upstream)
    np.testing.assert_allclose(found, [[0.1875], [1.875], [0], [3.25]], rtol=1e-6)


def test_xnor_channels_do_not_mix():
    w = np.array([[0.5, -0.5], [-0.25, 3.0], [1.5, 0.0], [-1, 0.1]])
    found = slopes(XNORSign(), w, np.array([[1.0, 0], [2, 0], [3, 0], [4, 0]]))
    np.testing.assert_allclose(found[:, 0], [0.1875, 1.875, 0, 3.25], rtol=1e-6)
    np.testing.assert_array_equal(found[:, 1], 0)


def test_dorefa_activations():
    x = [0.1, 0.25, 0.5, 0.7, 1.2]
    np.testing.assert_allclose(values(DoReFa(2), x), [0, 1 / 3, 2 / 3, 2 / 3, 1], rtol=1e-6)
    found = slopes(DoReFa(2), [-0.001, 0.0, 0.5, 1.0, 1.001])
    np.testing.assert_array_equal(found, [0, 1, 1, 1, 0])


def test_dorefa_weights():
    w = np.array([-2.0, -0.3, 0.0, 0.1, 1.0])
    limited = np.tanh(w) / np.tanh(2.0)
    expected = 2 * np.round(3 * (limited / 2 + 0.5)) / 3 - 1
    quantizer = DoReFa(2, "weights")
    np.testing.assert_allclose(values(quantizer, w), expected, atol=1e-6)
    found = slopes(quantizer, w)
    np.testing.assert_allclose(found, (1 - np.tanh(w) ** 2) / np.tanh(2.0), rtol=1e-5)
    assert np.isfinite(values(quantizer, np.zeros(3))).all()


@pytest.mark.parametrize("axis", [0, 1, -1, (0, 2), (-2, -1)])
@pytest.mark.parametrize("quantizer", [MagnitudeAwareSign, XNORSign])
def test_scale_along_axes(quantizer, axis):
    w = np.random.default_rng(1).normal(size=(3, 4, 5))
    axes = tuple(a % 3 for a in (axis if isinstance(axis, tuple) else (axis,)))
    size = np.minimum(abs(w), 1) if quantizer is XNORSign else abs(w)
    expected = size.mean(tuple({0, 1, 2} - set(axes)), keepdims=True)
    layer = quantizers.get(keras.saving.serialize_keras_object(quantizer(axis=axis)))
    np.testing.assert_allclose(values(layer, w), expected * np.sign(w), rtol=1e-5)


MAKERS = [
    *[lambda name=name: quantizers.get(name) for name in NAMES],
    lambda: Ternary(ternary_weight_networks=True),
    lambda: DoReFa(3, "weights"),
]


@pytest.mark.parametrize("make", MAKERS)
@pytest.mark.parametrize("policy", ["float32", "mixed_bfloat16", "float16"])
def test_codes_times_scale(make, policy):
    keras.config.set_dtype_policy(policy)
    try:
        quantizer = make()
    finally:
        keras.config.set_dtype_policy("float32")
    x = tensor(np.random.default_rng(2).normal(size=(6, 4)), quantizer.compute_dtype)
    codes, scale = quantizer.decompose(x)
    assert dtype_of(codes) == quantizer.compute_dtype
    codes = to_numpy(codes)
    np.testing.assert_array_equal(codes, np.round(codes))
    assert len(np.unique(codes)) <= 2**quantizer.precision
    scale = scale if isinstance(scale, float) else to_numpy(scale)
    tolerance = 1e-6 if policy == "float32" else 8e-3
    np.testing.assert_allclose(to_numpy(quantizer(x)), codes * scale, rtol=tolerance)
    parts, scale = quantizer.parts(x)
    np.testing.assert_array_equal(to_numpy(parts), codes)
    scale = scale if isinstance(scale, float) else to_numpy(scale)
    np.testing.assert_allclose(to_numpy(quantizer(x)), codes * scale, rtol=tolerance)


@pytest.mark.parametrize("make", MAKERS)
def test_gradient_of_the_parts(make):
    quantizer = make()
    x = tensor(np.random.default_rng(3).normal(size=(6, 4)))
    upstream = np.random.default_rng(4).normal(size=(6, 4))

    def product(x):
        codes, scale = quantizer.parts(x)
        return codes * scale

    expected = slopes(quantizer, x, upstream)
    np.testing.assert_allclose(gradient(product, x, upstream=upstream), expected, atol=1e-6)


@pytest.mark.parametrize("make", MAKERS)
def test_config_and_symbolic(make):
    quantizer = make()
    again = quantizers.get(keras.saving.serialize_keras_object(quantizer))
    assert type(again) is type(quantizer)
    assert again.get_config() == quantizer.get_config()
    assert quantizer(keras.Input((5, 3))).shape == (None, 5, 3)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.floats(-4, 4, width=32, allow_subnormal=False), min_size=6, max_size=6))
def test_a_quantized_value_is_quantized_already(numbers):
    x = np.array(numbers).reshape(3, 2)
    for quantizer in (Sign(), Ternary(), DoReFa(3)):
        once = values(quantizer, x)
        np.testing.assert_array_equal(values(quantizer, once), once)


def test_get():
    assert quantizers.get(None) is None
    sign = Sign("atan")
    assert quantizers.get(sign) is sign
    assert quantizers.get("ste_sign").surrogate == surrogates.Rectangle()
    assert isinstance(quantizers.get("Heaviside"), Heaviside)
    assert quantizers.get("sign", name="bits").name == "bits"
    assert [quantizers.get(n).precision for n in ("sign", "heaviside", "ternary")] == [1, 1, 2]
    assert DoReFa(4).precision == 4


@pytest.mark.parametrize("wrong", ["step", 3, np.sign, Sign, {"class_name": "Dense"}])
def test_get_refuses(wrong):
    with pytest.raises(ValueError, match=r"Received quantizer .*Expected") as error:
        quantizers.get(wrong)
    assert ("plain function or a class" in str(error.value)) == callable(wrong)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Ternary(-0.1), "Received threshold=-0.1"),
        (lambda: Ternary(np.nan), "Received threshold=nan"),
        (lambda: Ternary(surrogate="step"), "Received surrogate"),
        (lambda: DoReFa(0), "Received k_bit=0"),
        (lambda: DoReFa(2.0), "Received k_bit=2.0"),
        (lambda: DoReFa(1, "weights"), "use MagnitudeAwareSign"),
        (lambda: DoReFa(2, "kernel"), "Received mode='kernel'"),
        (lambda: WeightClip(0), "Received clip_value=0"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_reach():
    """There the slope still moves a weight; beyond 1, the support of all of them, it is 0."""
    for name in NAMES:
        quantizer = quantizers.get(name)
        if np.isfinite(quantizer.reach):
            inside, beyond = slopes(quantizer, [[quantizer.reach], [1.001]])
            assert abs(inside) > 0.04, name
            assert beyond == 0, name
    assert Sign(surrogates.Rectangle(None)).reach == np.inf
    assert XNORSign("htaf").reach == 1.0
    assert quantizers.get("ste_sign").reach == 1.0
    assert quantizers.get("approx_sign").reach == 0.95


def test_names_of_larq():
    for name, kind in (("ste_tern", Ternary), ("dorefa_quantizer", DoReFa)):
        assert type(quantizers.get(name)) is kind


def test_reach_at_another_sharpness():
    assert XNORSign().reach_at(0.5) == 1.0
    assert quantizers.get("ste_sign").reach_at(2.0) == 0.5
    assert Sign("approx_sign").reach_at(0.5) == pytest.approx(1.9)
    assert Ternary().reach_at(4.0) == 0.25
    assert Sign(surrogates.Rectangle(None)).reach_at(9.0) == np.inf
    assert Sign().reach_at(99.0) == np.inf


def test_sharpness_of_a_ternary_is_a_weight():
    quantizer = Ternary()
    quantizer.sharpness.assign(2.0)
    x = [-1.0, -0.5, 0.25, 0.6]
    np.testing.assert_array_equal(slopes(quantizer, x), [0, 1, 1, 0])
    np.testing.assert_array_equal(values(quantizer, x), [-1, -1, 1, 1])
    assert not quantizer.trainable_weights
    for wrong in (0.0, -1.0, np.nan):
        with pytest.raises(ValueError, match="Expected positive finite numbers"):
            quantizer.load_own_variables({"0": np.array(wrong, "float32")})
