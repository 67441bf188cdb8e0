"""ReLU networks as spiking ones: rates, thresholds, what cannot be converted."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from support import tensor, to_numpy

import keras_htaf
from keras_htaf.layers import IF
from keras_htaf.models import initial_state, streaming, to_spiking

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(40, 8, 8, 2)).astype("float32")


def randomized(model):
    weights = np.random.default_rng(1)
    model.set_weights([w + np.abs(weights.normal(0, 0.1, w.shape)) for w in model.get_weights()])
    return model


def network():
    """All that can be converted, with a sum and a concatenation of different scales."""
    inputs = keras.Input((8, 8, 2))
    x = stock.Rescaling(0.5)(inputs)
    x = stock.Conv2D(4, 3, padding="same", use_bias=False, name="conv1")(x)
    x = first = stock.ReLU(name="relu1")(stock.BatchNormalization()(x))
    x = stock.DepthwiseConv2D(3, padding="same", activation="relu", name="conv2")(x)
    x = stock.BatchNormalization()(stock.AveragePooling2D(2)(stock.Add()([x, first])))
    x = stock.Activation("relu", name="relu3")(stock.Dropout(0.2)(x))
    x = stock.Concatenate(axis=3)([x, stock.AveragePooling2D(2)(first)])
    x = stock.Concatenate()([x, stock.AveragePooling2D(2)(inputs)])
    x = stock.Flatten()(x)
    x = stock.Dense(12, activation="relu6", name="dense")(x)
    return randomized(keras.Model(inputs, stock.Dense(3, activation="softmax", name="head")(x)))


def test_error_shrinks_with_time():
    model = network()
    expected = model.predict(X, verbose=0)
    errors = []
    for steps in (8, 64):
        spiking = to_spiking(model, X, steps, percentile=100)
        errors.append(np.abs(spiking.predict(X, verbose=0) - expected).mean())
    assert errors[1] < errors[0] / 4
    assert errors[1] < 0.1 * np.abs(expected - expected.mean(0)).mean() + 1e-3
    neurons = [layer for layer in spiking.layers if isinstance(layer, IF)]
    assert [layer.name for layer in neurons] == [
        f"{name}_spikes" for name in ("relu1", "conv2", "relu3", "dense")
    ]
    look = keras.Model(spiking.input, [layer.output for layer in neurons])
    for spikes in look.predict(X, verbose=0):
        assert set(np.unique(spikes)) == {0, 1}
    assert float(to_numpy(neurons[-1].threshold)) <= 6


def test_thresholds_are_percentiles():
    model = keras.Sequential([keras.Input((8, 8, 2)), stock.Flatten(), stock.Dense(9, "relu")])
    model.add(stock.Dense(2))
    activity = to_numpy(model.layers[1](X.reshape(40, -1)))
    spiking = to_spiking(model, X, 8, percentile=90.0, name="mine")
    assert spiking.name == "mine"
    (neurons,) = [layer for layer in spiking.layers if isinstance(layer, IF)]
    threshold = float(to_numpy(neurons.threshold))
    assert threshold == pytest.approx(np.percentile(activity, 90), rel=1e-5)
    # A rate is the rounded activity, up to one spike a step.
    spikes = to_numpy(keras.Model(spiking.input, neurons.output)(X)).sum(1)
    expected = np.clip(np.floor(activity / threshold * 8 + 0.5), 0, 8)
    assert (spikes == expected).mean() > 0.99


def test_data_are_taken_as_the_model_takes_them():
    """Bytes as floats, and any number of samples by batches."""
    model = images(stock.Rescaling(1 / 255), stock.Conv2D(2, 3, activation="relu", name="conv"))
    x = RANDOM.integers(0, 256, (150, 8, 8, 2), "uint8")
    activity = to_numpy(model.layers[1](model.layers[0](x.astype("float32"))))
    for data in (x, x.astype("float64"), tensor(x)):
        threshold = to_spiking(model, data, percentile=99.0).get_layer("conv_spikes").threshold
        assert float(to_numpy(threshold)) == pytest.approx(np.percentile(activity, 99), rel=1e-4)


def test_goes_on(tmp_path):
    """It trains, is saved, and streams: the output after t steps is that of t steps."""
    model = keras.Sequential([keras.Input((6,)), stock.Dense(8, "relu"), stock.Dense(2)])
    x = tensor(RANDOM.normal(size=(16, 6)))
    spiking = to_spiking(model, x, 4)
    streamed = streaming(spiking, 2)
    y, *state = streamed([x, *initial_state(streamed, 16)])
    y, *state = streamed([x, *state])
    np.testing.assert_allclose(to_numpy(y), to_numpy(spiking(x)), atol=1e-5)
    spiking.compile("adam", "mse")
    assert np.isfinite(spiking.fit(to_numpy(x), np.zeros((16, 2)), verbose=0).history["loss"][0])
    spiking.save(tmp_path / "model.keras")
    again = keras_htaf.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(to_numpy(again(x)), to_numpy(spiking(x)), atol=1e-5)


def images(*given):
    return keras.Sequential([keras.Input((8, 8, 2)), *given, stock.Flatten(), stock.Dense(2)])


def test_max_pooling():
    before = images(stock.MaxPooling2D(2), stock.Conv2D(2, 3, activation="relu"))
    expected = before.predict(X, verbose=0)
    # With nothing cut off, what is left is due to the number of steps.
    errors = [
        np.abs(to_spiking(before, X, steps, percentile=100).predict(X, verbose=0) - expected).max()
        for steps in (16, 64, 256)
    ]
    assert errors[1] < 0.1
    assert errors[2] < errors[1] / 2 < errors[0] / 4
    behind = images(stock.Conv2D(2, 3, activation="relu"), stock.MaxPooling2D(2))
    with pytest.raises(ValueError, match="Expected average pooling, or max_pooling="):
        to_spiking(behind, X)
    spiking = to_spiking(behind, X, 4, max_pooling="spikes")
    assert np.isfinite(spiking.predict(X, verbose=0)).all()


def twice():
    dense, inputs = stock.Dense(4, activation="relu"), keras.Input((4,))
    return keras.Model(inputs, dense(dense(inputs)))


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: to_spiking(images(), X, 0), "num_steps=0"),
        (lambda: to_spiking(images(), X, percentile=0), "Expected 0 < percentile <= 100"),
        (lambda: to_spiking(images(), X, max_pooling="mean"), "max_pooling='mean'"),
        (lambda: to_spiking(images(), X), "has no ReLU"),
        (lambda: to_spiking(images(stock.ReLU()), X[:0]), "at least one sample"),
        (lambda: to_spiking(images(stock.ReLU()), X * np.nan), "NaN or infinite"),
        (lambda: to_spiking(images(stock.Rescaling(1e30), stock.ReLU()), 1e20 * X), "not all fin"),
        (lambda: to_spiking(images(stock.ReLU()), X[0]), r"\('samples', 8, 8, 2\)"),
        (lambda: to_spiking(images(stock.ReLU()), X[..., :1]), r"shape \(40, 8, 8, 1\)"),
        (lambda: to_spiking(images(stock.ReLU()), [X[0], X[0, 0]]), "Expected one array of"),
        (lambda: to_spiking(images(stock.ReLU(), stock.ELU()), X), "ELU 'elu.*' cannot be"),
        (lambda: to_spiking(images(stock.ReLU(), stock.Dense(2, "tanh")), X), "'tanh'"),
        (lambda: to_spiking(images(stock.ReLU(negative_slope=0.1)), X), "negative_slope=0.1"),
        (lambda: to_spiking(twice(), X[:, 0, 0, :].repeat(2, 1)), "is called twice"),
        (lambda: to_spiking(stock.Dense(2), X), "Expected a functional model"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
