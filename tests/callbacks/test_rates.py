"""SpikeRates: against the spikes that the layers give."""

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf.callbacks import SpikeRates
from keras_htaf.layers import IF, LI, LIF


@pytest.fixture
def data():
    rng = np.random.default_rng(8)
    return 2 * rng.normal(size=(12, 6, 3)).astype("float32"), rng.normal(size=(12, 4))


def make_model():
    keras.utils.set_random_seed(4)
    inner = [keras.Input((6, 5)), IF(0.6, name="inner"), keras.layers.Dense(4)]
    model = keras.Sequential(
        [
            keras.Input((6, 3)),
            keras.layers.Dense(5),
            LIF(0.8, name="first"),
            keras.Sequential(inner),
            LIF(recurrent=True, return_sequences=False, name="last"),
        ]
    )
    model.compile(keras.optimizers.SGD(0.2), "mse")
    return model


def test_rates_are_those_of_the_spikes(data):
    x, y = data
    model = make_model()
    callback = SpikeRates(x, batch_size=5, every=2)
    logs = model.fit(x, y, epochs=2, verbose=0, callbacks=[callback]).history
    first = model.get_layer("first").output
    nested = model.layers[2].layers
    spikes = to_numpy(keras.Model(model.inputs, first)(x))
    inner = to_numpy(nested[0](spikes.astype("float32")))
    last = to_numpy(model.layers[-1].run(nested[1](inner.astype("float32")))[0])
    expected = {"first": spikes, "inner": inner, "last": last}
    for name, values in expected.items():
        np.testing.assert_allclose(logs[f"spike_rate/{name}"], [values.mean()], rtol=1e-6)
    every = np.concatenate([values.reshape(-1) for values in expected.values()])
    np.testing.assert_allclose(logs["spike_rate"], [every.mean()], rtol=1e-6)
    assert 0.02 < every.mean() < 0.98


def test_looking_changes_nothing(data):
    x, y = data
    weights = []
    for callbacks in ([], [SpikeRates(x)]):
        keras.utils.set_random_seed(4)
        layers = [keras.layers.Dense(4), LIF(return_sequences=False)]
        model = keras.Sequential([keras.Input((6, 3)), *layers])
        model.compile("adam", "mse")
        model.fit(x, y, epochs=2, verbose=0, shuffle=False, callbacks=callbacks)
        weights.append([to_numpy(w) for w in model.weights])
    for before, after in zip(*weights, strict=True):
        np.testing.assert_array_equal(before, after)


def test_errors(data):
    x, _ = data
    for arguments in ({"x": x[:0]}, {"x": 3.0}, {"x": x, "every": 0}, {"x": x, "batch_size": 1.5}):
        with pytest.raises(ValueError, match="Received"):
            SpikeRates(**arguments)
    model = keras.Sequential([keras.Input((6, 3)), keras.layers.Dense(4), LI()])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="found the spiking layers"):
        model.fit(x, np.zeros((12, 6, 4)), verbose=0, callbacks=[SpikeRates(x)])
