"""Bop: the numbers of the reference, kernels of -1 and +1 only."""

import keras
import numpy as np
import pytest
from binary_case import X, make_model
from support import dtype_of, tensor, to_numpy

import keras_htaf
from keras_htaf.initializers import RandomSign
from keras_htaf.layers import BinaryDense
from keras_htaf.optimizers import Bop

W = np.array([[1.0, 1.0, -1.0, -1.0, 1.0, -1.0]])
G = np.array([[1.0, -1.0, -1.0, 1.0, 0.5, -0.5]])
MOMENTA = [[0.5, -0.5, -0.5, 0.5, 0.25, -0.25], [0.75, -0.75, -0.75, 0.75, 0.375, -0.375]]
KERNELS = [[-1.0, 1.0, 1.0, -1.0, 1.0, 1.0], [-1.0, 1.0, 1.0, -1.0, -1.0, 1.0]]


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_parity(dtype):
    """Ties make +1, whatever the sign was; the average is float32 under every dtype."""
    w = keras.Variable(W, dtype=dtype)
    bop = Bop(threshold=0.25, gamma=0.5)
    bop.build([w])
    assert dtype_of(bop.momenta[0]) == "float32"
    for momentum, kernel in zip(MOMENTA, KERNELS, strict=True):
        bop.apply([tensor(G, dtype)], [w])
        np.testing.assert_array_equal(to_numpy(bop.momenta[0]), [momentum])
        np.testing.assert_array_equal(to_numpy(w), [kernel])


def make_binary(initializer=None):
    """One binary layer, and a loss whose gradient for its kernel is G in every step."""
    layer = BinaryDense(6, kernel_initializer=initializer or RandomSign(seed=1))
    return keras.Sequential([keras.Input((1,)), layer])


def fit(model, steps, initial=0):
    """`steps` steps of gradient G; one epoch is one step."""
    ones = np.ones((1, 1)), G
    model.fit(*ones, epochs=initial + steps, initial_epoch=initial, verbose=0)


@keras.saving.register_keras_serializable("test_bop")
def linear(y, prediction):
    return keras.ops.sum(y * prediction, axis=-1)


def test_parity_in_fit():
    model = make_binary()
    model.set_weights([W])
    model.compile(Bop(threshold=0.25, gamma=0.5), linear)
    for kernel in KERNELS:
        fit(model, 1)
        np.testing.assert_array_equal(to_numpy(model.weights[0]), [kernel])


def test_gamma_follows_a_schedule():
    schedule = keras.optimizers.schedules.PiecewiseConstantDecay([0], [0.5, 0.25])
    model = make_binary()
    model.set_weights([W])
    model.compile(Bop(threshold=100.0, gamma=schedule), linear)
    fit(model, 2)
    np.testing.assert_allclose(to_numpy(model.optimizer.momenta[0]), G * (0.75 * 0.5 + 0.25))
    np.testing.assert_array_equal(to_numpy(model.weights[0]), W)


@pytest.mark.parametrize("latent", [False, True])
def test_saved_mid_training(tmp_path, latent):
    """Whatever the layers' initial kernels are, which a loaded model has at first."""
    model = make_binary(initializer="glorot_uniform" if latent else None)
    model.set_weights([W])
    schedule = keras.optimizers.schedules.ExponentialDecay(0.3, 1, 0.9)
    model.compile(Bop(threshold=0.3, gamma=schedule), linear)
    fit(model, 1)
    model.save(tmp_path / "m.keras")
    loaded = keras_htaf.load_model(tmp_path / "m.keras")
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for each in (model, loaded):
        fit(each, 2, initial=1)
    pairs = zip(model.optimizer.variables, loaded.optimizer.variables, strict=True)
    for one, other in [*pairs, (model.weights[0], loaded.weights[0])]:
        np.testing.assert_array_equal(to_numpy(one), to_numpy(other))


def test_weights_loaded_later_become_signs():
    model = make_binary()
    model.compile(Bop(threshold=100.0), linear)
    fit(model, 1)
    model.set_weights([W * [[0.1, 0.0, 0.2, 3.0, 1.0, 1e-9]]])
    fit(model, 1)
    np.testing.assert_array_equal(to_numpy(model.weights[0]), W)


def test_initializer():
    values = to_numpy(RandomSign(seed=2)((50, 40), dtype="float16"))
    assert np.unique(values).tolist() == [-1, 1]
    assert abs(values.mean()) < 0.1
    again = keras.initializers.deserialize(keras.initializers.serialize(RandomSign(seed=2)))
    np.testing.assert_array_equal(values, to_numpy(again((50, 40), dtype="float16")))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"threshold": -1.0}, "Received threshold=-1.0"),
        ({"threshold": "a"}, "Received threshold='a'"),
        ({"threshold": None}, "Received threshold=None"),
        ({"gamma": "a"}, "Received gamma='a'"),
        ({"threshold": float("nan")}, "Received threshold=nan"),
        ({"gamma": 0.0}, "Received gamma=0.0"),
        ({"gamma": 1.5}, "Received gamma=1.5"),
        ({"gamma": True}, "Received gamma=True"),
    ],
)
def test_bad_numbers(arguments, message):
    with pytest.raises(ValueError, match=message):
        Bop(**arguments)


def test_float_kernel():
    model = keras.Sequential([keras.Input((6,)), keras.layers.Dense(2, name="float")])
    model.compile(Bop(), "mse")
    with pytest.raises(ValueError, match=r"Bop received \[.*float/kernel.*SplitOptimizer"):
        model.fit(X, np.ones((24, 2)), verbose=0)


@pytest.mark.parametrize("bias", [True, False])
def test_float_kernel_and_an_optimizer_from_its_config(bias):
    """Whose values are checked late, since a loaded model builds it before it has its weights."""
    model = keras.Sequential(
        [keras.Input((6,)), keras.layers.Dense(2, use_bias=bias, name="float")]
    )
    model.compile(Bop.from_config(Bop().get_config()), "mse")
    with pytest.raises(ValueError, match=r"Bop received \[.*float/kernel"):
        model.fit(X, np.ones((24, 2)), verbose=0)


def test_signs_assigned_after_an_optimizer_from_its_config_is_built():
    model = make_binary(initializer="glorot_uniform")
    bop = Bop.from_config(Bop(threshold=0.25, gamma=0.5).get_config())
    bop.build(model.trainable_variables)
    model.set_weights([W])
    for kernel in KERNELS:
        bop.apply([tensor(G)], model.trainable_variables)
        np.testing.assert_array_equal(to_numpy(model.weights[0]), [kernel])


def test_other_weights():
    """A normalisation's gains, which are 1 at first, are no binary kernel."""
    norm = keras.layers.BatchNormalization(center=False, name="norm")
    with pytest.raises(ValueError, match="norm/gamma"):
        Bop().build(keras.Sequential([keras.Input((6,)), norm]).trainable_variables)
    with pytest.raises(ValueError, match=r"dense.*/kernel.*dense.*/bias"):
        Bop().build(make_model().trainable_variables)
