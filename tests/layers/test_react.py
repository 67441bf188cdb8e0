"""ReActNet's shifted sign and PReLU, and the learned scale."""

import keras
import numpy as np
import pytest
from support import gradient, tensor, to_numpy

import keras_htaf
from keras_htaf.layers import LearnedScale, RPReLU, RSign

X = np.random.default_rng(5).normal(size=(4, 6, 3))
UPSTREAM = np.random.default_rng(6).normal(size=X.shape)


def gradients(layer, x=X):
    """For x, then for the trained weights."""

    def call(x, *weights):
        others = [tensor(to_numpy(v)) for v in layer.non_trainable_variables]
        return layer.stateless_call(list(weights), others, x)[0]

    weights = [tensor(to_numpy(v)) for v in layer.trainable_variables]
    return gradient(call, tensor(x), *weights, upstream=UPSTREAM)


@pytest.mark.parametrize(
    ("axis", "shape"), [(-1, (3,)), (1, (6, 1)), ((1, 2), (6, 3)), ([-1, 1], (6, 3))]
)
def test_rsign(axis, shape):
    layer = RSign(axis=axis)
    layer.build((None, 6, 3))
    a = np.random.default_rng(7).normal(size=shape).astype("float32")
    layer.threshold.assign(a)
    z = X - a
    np.testing.assert_array_equal(to_numpy(layer(tensor(X))), np.where(z >= 0, 1, -1))
    gx, ga = gradients(layer)
    expected = np.maximum(2 - 2 * abs(z), 0) * UPSTREAM
    np.testing.assert_allclose(gx, expected, atol=1e-6)
    others = {(3,): (0, 1), (6, 1): (0, 2), (6, 3): 0}[shape]
    np.testing.assert_allclose(ga.ravel(), -expected.sum(others).ravel(), atol=1e-5)


def test_several_axes_are_saved_and_hardened(tmp_path):
    """A threshold, and a sharpness, for each channel of each row; columns share them."""
    sign = RSign(axis=(1, 3), per_channel=True, forward="smooth")
    others = [LearnedScale(axis=(1, 3)), RPReLU(axis=[1, 3])]
    model = keras.Sequential([keras.Input((2, 5, 3)), sign, *others])
    a = np.random.default_rng(7).normal(size=(2, 1, 3)).astype("float32")
    sign.threshold.assign(a)
    trained = model.trainable_weights
    assert [tuple(w.shape) for w in (sign.sharpness, *trained)] == [(2, 1, 3)] * 6
    model.save(tmp_path / "model.keras")
    hard = keras_htaf.harden(keras_htaf.load_model(tmp_path / "model.keras"))
    assert hard.layers[0].axis == (1, 3)
    x = np.random.default_rng(8).normal(size=(4, 2, 5, 3)).astype("float32")
    np.testing.assert_array_equal(to_numpy(hard.layers[0](tensor(x))), np.where(x >= a, 1, -1))


def test_rprelu():
    layer = RPReLU()
    layer.build((None, 6, 3))
    c, b, d = np.random.default_rng(8).normal(size=(3, 3)).astype("float32")
    for weight, value in zip(
        (layer.input_shift, layer.slope, layer.output_shift), (c, b, d), strict=True
    ):
        weight.assign(value)
    z = X - c
    np.testing.assert_allclose(to_numpy(layer(tensor(X))), np.where(z > 0, z, b * z) + d, atol=1e-6)
    gx, gc, gb, gd = gradients(layer)
    np.testing.assert_allclose(gx, np.where(z > 0, 1, b) * UPSTREAM, atol=1e-5)
    np.testing.assert_allclose(gc, -gx.sum((0, 1)), atol=1e-5)
    np.testing.assert_allclose(gb, (np.minimum(z, 0) * UPSTREAM).sum((0, 1)), atol=1e-5)
    np.testing.assert_allclose(gd, UPSTREAM.sum((0, 1)), atol=1e-5)


def test_learned_scale():
    layer = LearnedScale(axis=1)
    layer.build((None, 6, 3))
    layer.factor.assign(np.arange(6.0).reshape(6, 1))
    np.testing.assert_allclose(to_numpy(layer(tensor(X))), X * np.arange(6.0)[:, None], rtol=1e-6)


def test_saved_and_hardened(tmp_path):
    make = [RSign("atan", forward="smooth"), RPReLU(), LearnedScale()]
    model = keras.Sequential([keras.Input((6, 3)), *make])
    model.compile("sgd", "mse")
    model.fit(X, UPSTREAM, verbose=0)
    assert all(np.any(to_numpy(w) != 0) for w in model.trainable_weights)
    model.save(tmp_path / "model.keras")
    again = keras_htaf.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(to_numpy(again(X)), to_numpy(model(X)))
    hard = keras_htaf.harden(model).layers[0]
    z = X - to_numpy(hard.threshold)
    np.testing.assert_array_equal(to_numpy(hard(tensor(X))), np.where(z >= 0, 1, -1))


@pytest.mark.parametrize("layer", [RSign, RPReLU, LearnedScale])
def test_unknown_channels(layer):
    with pytest.raises(ValueError, match="Expected that axis to have a known size"):
        layer()(keras.Input((3, None)))
