"""ActivityPenalty: the regularizer's value, whatever the batch size."""

import keras
import numpy as np
import pytest
from support import to_numpy

import keras_htaf
from keras_htaf.layers import ActivityPenalty
from keras_htaf.regularizers import BitDiversity


@pytest.mark.parametrize("batch", [1, 8, 100])
def test_value_does_not_depend_on_the_batch_size(batch):
    layer = ActivityPenalty(BitDiversity(1.0, 1.0))
    x = np.ones((batch, 4), "float32")
    np.testing.assert_array_equal(to_numpy(layer(x)), x)
    assert float(layer.losses[0]) == 1.0


def test_round_trip_and_training(tmp_path):
    model = keras.Sequential(
        [
            keras.Input((3,)),
            keras.layers.Dense(4, activation="sigmoid"),
            ActivityPenalty(BitDiversity(2.0, 0.0)),
        ]
    )
    model.compile("sgd", "mse")
    x = np.random.default_rng(0).normal(size=(16, 3))
    plain = keras.Model(model.inputs, model.layers[0].output)
    usage = np.mean((2 * plain.predict(x, verbose=0).mean(axis=0) - 1) ** 2)
    zeros = np.mean(plain.predict(x, verbose=0) ** 2)
    assert model.evaluate(x, np.zeros((16, 4)), verbose=0) == pytest.approx(
        zeros + 2 * usage, rel=1e-4
    )
    model.fit(x, np.zeros((16, 4)), verbose=0)
    model.save(tmp_path / "model.keras")
    loaded = keras_htaf.load_model(tmp_path / "model.keras")
    assert loaded.layers[1].regularizer.get_config() == {"usage": 2.0, "decorrelation": 0.0}
