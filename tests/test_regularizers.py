"""BitDiversity against numpy."""

import keras
import numpy as np
import pytest
from support import gradient, tensor, to_numpy

from keras_htaf.regularizers import BitDiversity

random = np.random.default_rng(0)
BITS = (random.uniform(size=(40, 5)) > [0.2, 0.4, 0.5, 0.6, 0.8]).astype("float32")
BITS[:, 1] = BITS[:, 0]  # two bits that always agree


def terms(h):
    """Usage and decorrelation, by the docstring's formula (numpy's own correlation)."""
    h = h.reshape(-1, h.shape[-1]).astype("float64")
    usage = np.mean((2 * h.mean(0) - 1) ** 2)
    rho = np.corrcoef(h.T)
    k = h.shape[1]
    return usage, (np.sum(rho**2) - k) / (k * (k - 1))


@pytest.mark.parametrize("shape", [(40, 5), (4, 10, 5), (2, 5, 4, 5)])
def test_formula(shape):
    h = BITS.reshape(shape)
    usage, decorrelation = terms(h)
    found = to_numpy(BitDiversity(0.7, 0.0)(tensor(h)))
    np.testing.assert_allclose(found, 0.7 * usage, rtol=1e-5)
    found = to_numpy(BitDiversity(0.0, 2.0)(tensor(h)))
    np.testing.assert_allclose(found, 2.0 * decorrelation, rtol=1e-2)  # eps in the variance
    both = to_numpy(BitDiversity(0.7, 2.0)(tensor(h)))
    np.testing.assert_allclose(both, 0.7 * usage + 2.0 * decorrelation, rtol=1e-2)


@pytest.mark.parametrize("dead", [0.0, 1.0])
def test_dead_bits(dead):
    """They have the full usage penalty, no correlation, and a finite gradient that revives them."""
    h = BITS.copy()
    h[:, 2:4] = dead
    _, alive = terms(h[:, [0, 1, 4]])
    found = to_numpy(BitDiversity(0.0, 1.0)(tensor(h)))
    np.testing.assert_allclose(found, alive * (3 * 2) / (5 * 4), rtol=1e-2)
    g = gradient(BitDiversity(1.0, 1.0), tensor(h))
    assert np.isfinite(g).all()
    assert np.all(np.sign(g[:, 2:4]) == (1.0 if dead else -1.0))
    everything = gradient(BitDiversity(), tensor(np.full((8, 3), dead)))
    assert np.isfinite(everything).all()


@pytest.mark.parametrize("shape", [(1, 4), (6, 1)])
def test_one_sample_or_one_bit(shape):
    value = to_numpy(BitDiversity(1.0, 1.0)(tensor(np.ones(shape))))
    np.testing.assert_allclose(value, 1.0, rtol=1e-6)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision(dtype):
    expected = to_numpy(BitDiversity()(tensor(BITS)))
    np.testing.assert_allclose(to_numpy(BitDiversity()(tensor(BITS, dtype))), expected, rtol=1e-6)


def test_config_round_trip():
    config = keras.saving.serialize_keras_object(BitDiversity(0.3, 0.4))
    again = keras.saving.deserialize_keras_object(config)
    assert isinstance(again, BitDiversity)
    assert (again.usage, again.decorrelation) == (0.3, 0.4)


@pytest.mark.parametrize("wrong", [{"usage": -1.0}, {"decorrelation": float("nan")}])
def test_errors(wrong):
    with pytest.raises(ValueError, match="Expected a number >= 0"):
        BitDiversity(**wrong)
