"""DiscretizationGap: its quantities against numpy, and that it only looks."""

import keras
import numpy as np
import pytest

from keras_htaf.callbacks import AnnealSharpness, DiscretizationGap
from keras_htaf.callbacks.gap import decide, softness
from keras_htaf.layers import HTAF, BinaryRNNCell, Heaviside, Sign

random = np.random.default_rng(5)
X = random.normal(size=(50, 4)).astype("float32")
Y = random.integers(0, 3, 50)


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def make_model(outputs=3, forward="smooth"):
    """Half of the units are bits, half signs; weights are the same on every backend."""
    inputs = keras.Input((4,))
    bits = HTAF(1.5, forward=forward, name="bits")(keras.layers.Dense(5, name="a")(inputs))
    signs = Sign("sigmoid", forward=forward, name="signs")(keras.layers.Dense(3, name="b")(inputs))
    x = keras.layers.Concatenate()([bits, signs])
    model = keras.Model(inputs, keras.layers.Dense(outputs, name="head")(x))
    weights = np.random.default_rng(6)
    for layer in ("a", "b", "head"):
        for w in model.get_layer(layer).weights:
            w.assign(weights.normal(size=w.shape))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    return model


def by_hand(model, x, hard):
    """Scores and smooth bits of `make_model` in numpy."""
    (ka, ba), (kb, bb), (kh, bh) = (
        [np.asarray(w, "float64") for w in model.get_layer(name).get_weights()]
        for name in ("a", "b", "head")
    )
    za, zb = x @ ka + ba, x @ kb + bb
    if hard:
        bits, positive = (za > 0) * 1.0, (zb >= 0) * 1.0
    else:
        bits, positive = sigmoid(1.5 * np.tanh(0.5 * za)), sigmoid(4.0 * zb)
    units = np.concatenate([bits, positive], axis=1)
    return np.concatenate([bits, 2 * positive - 1], axis=1) @ kh + bh, units


def measured(model, y=Y, **kwargs):
    """What the callback logs in one epoch of a training that changes nothing."""
    targets = np.zeros((50, model.output_shape[-1]))
    callback = DiscretizationGap(X, y, **kwargs)
    logs = model.fit(X, targets, verbose=0, callbacks=[callback]).history
    return {key: value[0] for key, value in logs.items() if key != "loss"}


@pytest.mark.parametrize("batch_size", [256, 7])
@pytest.mark.parametrize("labels", [Y, Y[:, None], np.eye(3)[Y]], ids=["n", "n1", "one_hot"])
def test_equals_numpy(labels, batch_size):
    model = make_model()
    smooth, units = by_hand(model, X, hard=False)
    hard, _ = by_hand(model, X, hard=True)
    smooth, hard = smooth.argmax(1), hard.argmax(1)
    assert np.any(smooth != hard)  # or the test would say little
    expected = {
        "smooth_accuracy": np.mean(smooth == Y),
        "hard_accuracy": np.mean(hard == Y),
        "gap": np.mean(smooth == Y) - np.mean(hard == Y),
        "disagreement": np.mean(smooth != hard),
        "softness": np.mean(4 * units * (1 - units)),
    }
    assert measured(model, labels, batch_size=batch_size) == pytest.approx(expected, abs=1e-6)


@pytest.mark.parametrize("threshold", [0.0, 0.5])
def test_single_output(threshold):
    model = make_model(outputs=1)
    y = (Y > 0).astype(int)
    logs = measured(model, y, threshold=threshold)
    for kind in ("smooth", "hard"):
        scores, _ = by_hand(model, X, hard=kind == "hard")
        expected = np.mean((scores[:, 0] > threshold) == y)
        assert logs[f"{kind}_accuracy"] == pytest.approx(expected)


def test_hard_model_has_both_twins():
    """A model that trains with hard steps is measured smooth all the same."""
    assert measured(make_model(forward="hard")) == pytest.approx(measured(make_model()), abs=1e-6)


def test_softness():
    assert softness(make_model(forward="hard"), X, batch_size=8) == 0.0
    undecided = keras.Sequential([keras.Input((4,)), HTAF()])
    assert softness(undecided, np.zeros((3, 4), "float32")) == 1.0
    assert softness(keras.Sequential([keras.Input((4,)), Sign(forward="smooth")]), 0 * X) == 1.0
    activation = keras.Sequential([keras.Input((4,)), keras.layers.Dense(2, activation=HTAF())])
    assert 0 < softness(activation, X, batch_size=20) < 1


def test_units_within_a_loop():
    """On JAX the cell of an RNN has no values to look at; its units are left out of the mean."""
    cell = BinaryRNNCell(2, input_quantizer=Sign("sigmoid", forward="smooth"))
    x = np.zeros((4, 3, 2), "float32")
    recurrent = keras.Sequential([keras.Input((3, 2)), keras.layers.RNN(cell)])
    on_jax = keras.config.backend() == "jax"
    np.testing.assert_equal(softness(recurrent, x), np.nan if on_jax else 1.0)
    model = keras.Sequential([recurrent, Sign("sigmoid", forward="smooth")])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    gap = DiscretizationGap(x, np.zeros(4))
    logs = model.fit(x, np.zeros((4, 2)), verbose=0, callbacks=[gap]).history
    assert logs["softness"] == [1.0]


def test_decide():
    np.testing.assert_array_equal(decide([[0.1, 0.3], [0.5, -1.0]]), [1, 0])
    np.testing.assert_array_equal(decide([[0.1], [0.5], [0.6]]), [0, 0, 1])
    np.testing.assert_array_equal(decide([[-0.1], [0.1]], threshold=0), [0, 1])


@pytest.mark.parametrize(
    ("every", "epochs", "expected"), [(1, 3, 3), (2, 5, 3), (3, 6, 2), (9, 2, 1)]
)
def test_every(every, epochs, expected):
    logs = (
        make_model()
        .fit(
            X,
            np.zeros((50, 3)),
            epochs=epochs,
            verbose=0,
            callbacks=[DiscretizationGap(X, Y, every=every)],
        )
        .history
    )
    assert len(logs["gap"]) == expected


def test_training_is_not_disturbed():
    def trained(*callbacks):
        keras.utils.set_random_seed(4)
        inputs = keras.Input((4,))
        x = keras.layers.Dropout(0.3)(keras.layers.Dense(8)(inputs))
        x = HTAF()(keras.layers.BatchNormalization()(x))
        model = keras.Model(inputs, keras.layers.Dense(3)(x))
        model.compile(keras.optimizers.Adam(0.01), keras.losses.SparseCategoricalCrossentropy(True))
        anneal = AnnealSharpness(2.0, 8.0, frequency="step")
        model.fit(X, Y, epochs=3, batch_size=10, verbose=0, callbacks=[anneal, *callbacks])
        return model.get_weights()

    for one, other in zip(trained(), trained(DiscretizationGap(X, Y)), strict=True):
        np.testing.assert_array_equal(one, other)


def test_measures_the_weights_of_each_epoch():
    """The twins follow the model, and a callback that is used again forgets the last model."""
    callback = DiscretizationGap(X, Y)
    for outputs in (3, 4):
        model = make_model(outputs)
        model.compile(keras.optimizers.SGD(0.5), "mse")
        logs = model.fit(
            X, np.ones((50, outputs)), epochs=3, verbose=0, callbacks=[callback]
        ).history
        scores, _ = by_hand(model, X, hard=True)
        assert logs["hard_accuracy"][-1] == pytest.approx(np.mean(scores.argmax(1) == Y))
        assert len(set(logs["softness"])) > 1


def test_errors():
    with pytest.raises(ValueError, match="Received 50 inputs and 49 labels"):
        DiscretizationGap(X, Y[:-1])
    with pytest.raises(ValueError, match="at least one"):
        DiscretizationGap(X[:0], Y[:0])
    for wrong in ({"every": 0}, {"batch_size": 0}):
        with pytest.raises(ValueError, match="Expected a positive"):
            DiscretizationGap(X, Y, **wrong)
    with pytest.raises(ValueError, match="Received x with 1 values that are NaN"):
        DiscretizationGap(np.where(X[3, 2] == X, np.nan, X), Y)
    with pytest.raises(ValueError, match="Received y of dtype <U"):
        DiscretizationGap(X, Y.astype(str))
    for labels in (Y + 1, Y - 1, Y + 0.5, X[:, 0], X[:, :3], np.eye(4)[Y]):
        with pytest.raises(ValueError, match=r"Received labels of shape .* from 0 to 2 of shape"):
            measured(make_model(), labels)
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3)])
    model.compile("sgd", "mse")
    with pytest.raises(ValueError, match="has no step layer"):
        model.fit(X, np.zeros((50, 3)), verbose=0, callbacks=[DiscretizationGap(X, Y)])


def test_mixed_precision_and_heaviside():
    model = keras.Sequential(
        [keras.Input((4,)), Heaviside(forward="smooth", dtype="mixed_bfloat16")]
    )
    model.compile("sgd", "mse")
    logs = model.fit(X, np.zeros((50, 4)), verbose=0, callbacks=[DiscretizationGap(X, Y)]).history
    h = sigmoid(8 * np.tanh(0.5 * X))
    assert logs["softness"][0] == pytest.approx(np.mean(4 * h * (1 - h)), abs=0.01)


def test_softness_of_steps_of_one_path():
    """A bit of 1/2 and signs, exact ones, whose path is the same."""

    def part(step):
        inputs = keras.Input((4,))
        return keras.Model(inputs, step(inputs))

    inputs = keras.Input((4,))
    x = part(Sign(name="step"))(inputs)
    x = keras.layers.Rescaling(0.0)(x)
    model = keras.Model(inputs, part(HTAF(name="step"))(x))
    assert softness(model, X) == pytest.approx(0.5)
