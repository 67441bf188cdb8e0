"""The steps as nodes and activations of functional models: spec, training, saving."""

import keras
import numpy as np
import pytest
from support import dtype_of, to_numpy

from keras_htaf import surrogates
from keras_htaf.ops import heaviside, htaf, sign

NODES = {
    "htaf": htaf,
    "htaf(4, 1)": lambda x: htaf(x, 4.0, beta=1.0),
    "htaf(array)": lambda x: htaf(x, np.array([1.0, 2.0, 4.0, 8.0])),
    "heaviside": heaviside,
    "heaviside(atan)": lambda x: heaviside(x, "atan"),
    "heaviside(HTAF)": lambda x: heaviside(x, surrogates.HTAF(2.0, 1.0, normalized="area")),
    "sign": sign,
    "sign(Rectangle)": lambda x: sign(x, surrogates.Rectangle(1.25)),
}


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_spec(node):
    for dtype, expected in [("float16", "float16"), ("bfloat16", "bfloat16"), ("int32", "float32")]:
        y = node(keras.KerasTensor((None, 3, 4), dtype=dtype))
        assert y.shape == (None, 3, 4)
        assert y.dtype == expected


def trained_and_reloaded(model, path):
    """One step of fit moves every kernel; the saved model gives the same outputs."""
    random = np.random.default_rng(0)
    x, y = random.normal(size=(16, 3)).astype("float32"), random.normal(size=(16, 1))
    before = [w.copy() for w in model.get_weights()]
    model.compile("sgd", "mse")
    history = model.fit(x, y, batch_size=16, epochs=1, verbose=0).history
    assert np.isfinite(history["loss"]).all()
    moved = [np.any(a != b) for a, b in zip(before, model.get_weights(), strict=True)]
    assert all(moved)
    model.save(path)
    reloaded = keras.saving.load_model(path)
    np.testing.assert_array_equal(reloaded.predict(x, verbose=0), model.predict(x, verbose=0))
    return reloaded


@pytest.mark.parametrize("node", NODES.values(), ids=NODES)
def test_nodes(node, tmp_path):
    keras.utils.set_random_seed(0)
    inputs = keras.Input((3,))
    hidden = node(keras.layers.Dense(4)(inputs))
    model = keras.Model(inputs, keras.layers.Dense(1)(hidden))
    trained_and_reloaded(model, tmp_path / "model.keras")


@pytest.mark.parametrize("activation", [htaf, heaviside, sign])
def test_activations(activation, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation=activation),
            keras.layers.Dense(4),
            keras.layers.Activation(activation),
            keras.layers.Dense(1),
        ]
    )
    reloaded = trained_and_reloaded(model, tmp_path / "model.keras")
    assert reloaded.layers[0].activation is activation


class Trainable(keras.layers.Layer):
    """HTAF whose parameters are weights, one for each channel."""

    def build(self, shape):
        self.alpha = self.add_weight(shape=shape[-1:], initializer="ones")
        self.beta = self.add_weight(shape=(), initializer="ones")

    def call(self, x):
        return htaf(x, self.alpha, self.beta)


def test_parameters_train():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((3,)), Trainable(), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    x = np.linspace(-2, 2, 48).reshape(16, 3)
    model.fit(x, x.sum(axis=1), batch_size=16, epochs=1, verbose=0)
    alpha, beta, *_ = model.get_weights()
    assert np.all(alpha != 1)
    assert beta != 1


@pytest.mark.parametrize("policy", ["mixed_bfloat16", "mixed_float16", "bfloat16"])
@pytest.mark.parametrize("activation", [htaf, heaviside, sign])
def test_dtype_policies(activation, policy):
    layer = keras.layers.Dense(4, activation=activation, dtype=policy)
    y = layer(np.ones((2, 3), "float32"))
    assert dtype_of(y) == layer.compute_dtype
    assert np.isfinite(to_numpy(y)).all()
