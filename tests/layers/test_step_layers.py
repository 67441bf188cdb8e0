"""The layers HTAF, Heaviside and Sign."""

import numpy as np
import pytest
from layer_case import LayerCase, X, derivatives
from support import dtype_of, tensor, to_numpy

from keras_htaf import ops, surrogates
from keras_htaf.layers import HTAF, Heaviside, Sign

ALL_SURROGATES = [
    surrogates.HTAF(4.0, 0.5),
    surrogates.HTAF(4.0, 0.5, normalized="area"),
    surrogates.HTAF(4.0, 0.5, normalized="peak"),
    *map(surrogates.get, ["sigmoid", "atan", "fast_sigmoid", "soft_sign", "erf", "triangle"]),
    *map(surrogates.get, ["rectangle", "approx_sign", "swish_sign"]),
    surrogates.EDE(2.0),
]


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


class Bits:
    def exact(self, x):
        return (x > 0).astype(float)


class TestHTAF(Bits, LayerCase):
    layer = HTAF
    arguments = {"alpha": 3.0, "beta": 0.7}
    trainable = "trainable_alpha"
    surrogate = surrogates.HTAF(3.0, 0.7)

    def smooth(self, x):
        return sigmoid(3.0 * np.tanh(0.7 * x))

    def slope(self, x):
        h = self.smooth(x)
        return 3.0 * 0.7 * (1 - np.tanh(0.7 * x) ** 2) * h * (1 - h)

    def sharpness_derivative(self, x):
        h = self.smooth(x)
        return np.tanh(0.7 * x) * h * (1 - h)

    def test_is_the_op(self):
        y = to_numpy(self.make()(tensor(X)))
        np.testing.assert_allclose(y, to_numpy(ops.htaf(tensor(X), 3.0, 0.7)), atol=1e-6)

    def test_defaults(self):
        layer = HTAF()
        assert layer.forward_mode == "smooth"
        assert layer.surrogate == surrogates.HTAF(8.0, 0.5)
        assert not layer.trainable_sharpness

    @pytest.mark.parametrize("wrong", [0, -1.0, float("nan"), float("inf"), "8", None])
    def test_wrong_parameters(self, wrong):
        with pytest.raises(ValueError, match="Received alpha="):
            HTAF(alpha=wrong)
        with pytest.raises(ValueError, match="Received beta="):
            HTAF(beta=wrong)


class ATan:
    surrogate = surrogates.ATan(1.5)
    arguments = {"surrogate": surrogate}
    gain = 1.0

    def smooth(self, x):
        return self.gain * np.arctan(np.pi / 2 * 1.5 * x) / np.pi + 0.5 * (self.gain == 1)

    def slope(self, x):
        return self.gain * 0.75 / (1 + (np.pi / 2 * 1.5 * x) ** 2)

    def sharpness_derivative(self, x):
        return self.gain * x / 2 / (1 + (np.pi / 2 * 1.5 * x) ** 2)


class TestHeaviside(ATan, Bits, LayerCase):
    layer = Heaviside


class Signs:
    layer = Sign

    def exact(self, x):
        return np.where(x >= 0, 1.0, -1.0)


class TestSign(ATan, Signs, LayerCase):
    gain = 2.0


class TestSignOfASignSlope(Signs, LayerCase):
    """A slope that the literature states for a sign is not doubled."""

    surrogate = surrogates.EDE(2.0)
    arguments = {"surrogate": surrogate}

    def smooth(self, x):
        return np.tanh(2.0 * x)

    def slope(self, x):
        return 2.0 * (1 - np.tanh(2.0 * x) ** 2)

    def sharpness_derivative(self, x):
        return x * (1 - np.tanh(2.0 * x) ** 2)


@pytest.mark.parametrize(("layer", "forward"), [(Heaviside, "smooth"), (Sign, "hard")])
@pytest.mark.parametrize("surrogate", ALL_SURROGATES, ids=repr)
def test_every_surrogate_trains_its_sharpness(layer, forward, surrogate):
    """The gradient for the sharpness is the smooth step's, by finite differences."""
    step = layer(surrogate, forward=forward, trainable_sharpness=True)
    step.build(X.shape)
    _, found = derivatives(step, upstream=np.ones_like(X) + X)
    values = []
    for relative in (1.01, 0.99):
        smooth = layer(surrogate, forward="smooth")
        smooth.build(X.shape)
        smooth.sharpness.assign(surrogate.sharpness * relative)
        values.append(np.sum(to_numpy(smooth(tensor(X))) * (1 + X)))
    expected = (values[0] - values[1]) / (0.02 * surrogate.sharpness)
    np.testing.assert_allclose(found, expected, rtol=0.02, atol=2e-4)


@pytest.mark.parametrize("layer", [Heaviside, Sign])
def test_defaults_are_hard(layer):
    assert layer().forward_mode == "hard"
    assert layer().surrogate == surrogates.get("htaf")
    with pytest.raises(ValueError, match="Received surrogate"):
        layer("step")


@pytest.mark.parametrize("layer", [Heaviside(), Sign()])
def test_integers_and_nan(layer):
    assert np.isnan(to_numpy(layer(tensor([[np.nan, 1.0]])))[0, 0])
    whole = layer(np.arange(-2, 3))
    assert dtype_of(whole) == "float32"
    np.testing.assert_array_equal(to_numpy(whole), to_numpy(layer(np.arange(-2.0, 3.0))))
