"""Losses over time: formulas in numpy, snnTorch's functional losses, gradients, training."""

import keras
import numpy as np
import pytest
from support import gradient, tensor, to_numpy

from keras_htaf import load_model, losses
from keras_htaf.metrics import SpikeCountAccuracy
from keras_htaf.regularizers import SpikeRate

RANDOM = np.random.default_rng(0)
LABELS = np.array([0, 2, 1, 2, 0, 1])
SPIKES = (RANDOM.uniform(size=(6, 7, 3)) < 0.3).astype("float32")
SPIKES[0] = 0  # nobody spikes
SPIKES[1, :, 0] = 0
POTENTIALS = RANDOM.normal(size=(6, 7, 3)).astype("float32")

EVERY = {
    "count": losses.SpikeCountCrossentropy(0.1),
    "rate": losses.SpikeRateCrossentropy(),
    "temporal": losses.TemporalCrossentropy(0.05, 0.5),
    "membrane": losses.MaxMembraneCrossentropy(),
    "latency": losses.LatencyCrossentropy(4.0),
    "mse": losses.SpikeCountMeanSquaredError(0.8, 0.1),
}


def crossentropy(logits, smoothing=0.0):
    """Of the labels, for logits of shape (..., batch, classes)."""
    log_p = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    targets = (1 - smoothing) * np.eye(3)[LABELS] + smoothing / 3
    return -(targets * log_p).sum(-1)


def first(spikes):
    """Steps before the first spike, one neuron at a time."""
    train = [list(s) for s in spikes.swapaxes(1, 2).reshape(-1, spikes.shape[1])]
    times = [s.index(1) if 1 in s else len(s) for s in train]
    return np.reshape(times, (len(spikes), -1)).astype(float)


def test_formulas():
    per_step = crossentropy(POTENTIALS.swapaxes(0, 1)).mean(0)
    distance = ((POTENTIALS - 0.5) ** 2).mean((1, 2))
    target = 7 * (0.1 + 0.7 * np.eye(3)[LABELS])
    expected = {
        "count": (SPIKES, crossentropy(SPIKES.sum(1), 0.1)),
        "rate": (SPIKES, crossentropy(SPIKES.swapaxes(0, 1)).mean(0)),
        "temporal": (POTENTIALS, 0.95 * per_step + 0.05 * distance),
        "membrane": (POTENTIALS, crossentropy(POTENTIALS.max(1))),
        "latency": (SPIKES, crossentropy(-first(SPIKES) / 4)),
        "mse": (SPIKES, ((SPIKES.sum(1) - target) ** 2).mean(-1) / 7),
    }
    for name, loss in EVERY.items():
        outputs, values = expected[name]
        for labels in (LABELS, LABELS[:, None]):
            found = to_numpy(loss(labels, tensor(outputs)))
            np.testing.assert_allclose(found, values.mean(), rtol=2e-5, err_msg=name)
        weights = np.arange(6.0)
        found = to_numpy(loss(LABELS, tensor(outputs), sample_weight=weights))
        np.testing.assert_allclose(found, (values * weights).mean(), rtol=2e-5, err_msg=name)


def test_losses_of_snntorch():
    theirs = pytest.importorskip("snntorch.functional")
    torch = pytest.importorskip("torch")
    spikes = SPIKES.copy()
    spikes[:, 5:] = 1  # all spike: a neuron that does not has another latency there
    pairs = {
        "count": (losses.SpikeCountCrossentropy(), theirs.ce_count_loss(), spikes),
        "rate": (losses.SpikeRateCrossentropy(), theirs.ce_rate_loss(), spikes),
        "tet": (losses.TemporalCrossentropy(), theirs.ce_rate_loss(), POTENTIALS),
        "membrane": (losses.MaxMembraneCrossentropy(), theirs.ce_max_membrane_loss(), POTENTIALS),
        "mse": (
            losses.SpikeCountMeanSquaredError(6 / 7, 1 / 7),
            theirs.mse_count_loss(correct_rate=6 / 7, incorrect_rate=1.001 / 7),
            spikes,
        ),
        "latency": (losses.LatencyCrossentropy(), theirs.ce_temporal_loss(), spikes),
    }
    for name, (ours, other, outputs) in pairs.items():
        x = torch.tensor(outputs.swapaxes(0, 1), requires_grad=True)
        value = other(x, torch.tensor(LABELS)).sum()
        found = to_numpy(ours(LABELS, tensor(outputs)))
        np.testing.assert_allclose(found, value.item(), rtol=1e-5, err_msg=name)
        if name == "latency":
            continue  # theirs is -1 at the first spike and 0 elsewhere
        value.backward()
        slopes = gradient(lambda s, ours=ours: ours(LABELS, s), tensor(outputs))
        np.testing.assert_allclose(slopes, x.grad.numpy().swapaxes(0, 1), atol=1e-6, err_msg=name)


def test_gradient_of_the_first_spike_is_the_difference():
    """Between a spike and none at each place, and finite where spikes multiply to 0."""
    found = gradient(losses.spikes.first_spike_time, tensor(SPIKES))
    for place in np.ndindex(SPIKES.shape):
        times = []
        for value in (0, 1):
            other = SPIKES.copy()
            other[place] = value
            times.append(first(other)[place[0], place[2]])
        assert found[place] == times[1] - times[0]


@pytest.mark.parametrize("name", EVERY)
def test_config_and_training(name, tmp_path):
    loss = EVERY[name]
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(loss))
    assert type(again) is type(loss)
    assert again.get_config() == loss.get_config()
    keras.utils.set_random_seed(0)
    inputs = keras.Input((None, 4))
    x = keras.layers.Masking()(inputs)
    model = keras.Model(inputs, keras.layers.Dense(3, activation="sigmoid")(x))
    model.compile(keras.optimizers.Adam(0.05), loss, metrics=[SpikeCountAccuracy()])
    x = RANDOM.normal(size=(6, 5, 4))
    history = model.fit(x, LABELS, epochs=4, verbose=0, batch_size=3).history
    assert history["loss"][-1] < history["loss"][0]
    assert 0 <= history["spike_count_accuracy"][-1] <= 1
    if name == "temporal":
        model.save(tmp_path / "model.keras")
        found = load_model(tmp_path / "model.keras").evaluate(x, LABELS, verbose=0)
        np.testing.assert_allclose(found, model.evaluate(x, LABELS, verbose=0), rtol=1e-5)


def test_accuracy_of_counts():
    metric = SpikeCountAccuracy()
    metric.update_state(LABELS, tensor(SPIKES))
    right = SPIKES.sum(1).argmax(-1) == LABELS
    assert float(metric.result()) == pytest.approx(right.mean())
    metric.reset_state()
    metric.update_state(LABELS[:, None], tensor(SPIKES), sample_weight=np.arange(6.0))
    assert float(metric.result()) == pytest.approx((right * np.arange(6)).sum() / 15)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(metric))
    assert again.get_config() == metric.get_config()


@pytest.mark.parametrize("name", [*EVERY, "smoothed"])
@pytest.mark.parametrize("wrong", [-1, 3])
def test_labels_of_no_class(name, wrong):
    """A sample that nobody can learn from is not one that costs nothing, on any backend."""
    loss = EVERY.get(name, losses.SmoothedCrossentropy())
    outputs = SPIKES.sum(1) if name == "smoothed" else SPIKES
    labels = np.where(np.arange(6) == 2, wrong, LABELS)
    found = to_numpy(loss.call(tensor(labels, "int32"), tensor(outputs)))
    np.testing.assert_array_equal(np.isnan(found), labels == wrong)
    assert np.isnan(to_numpy(EVERY["count"](labels, tensor(SPIKES))))
    metric = SpikeCountAccuracy()
    metric.update_state(labels[2:3], tensor(SPIKES[2:3]))
    assert float(metric.result()) == 0


@pytest.mark.parametrize("shape", [(2, 10, 4), (2, 5, 3, 3, 4)])
def test_rates_in_range(shape):
    low, high = 0.2, 0.5
    spikes = (RANDOM.uniform(size=shape) < [0.05, 0.3, 0.7, 1.0]).astype("float32")
    rates = spikes.mean(tuple(range(len(shape) - 1)))
    expected = 3 * np.maximum(0, low - rates) ** 2 + 2 * np.maximum(0, rates - high) ** 2
    regularizer = SpikeRate(low, high, below=3.0, above=2.0)
    np.testing.assert_allclose(to_numpy(regularizer(tensor(spikes))), expected.mean(), rtol=1e-5)
    slopes = gradient(regularizer, tensor(spikes)).reshape(-1, 4)
    np.testing.assert_array_equal(
        np.sign(slopes).mean(0), np.sign(rates - high) * (rates > high) - (rates < low)
    )
    again = keras.regularizers.get(keras.saving.serialize_keras_object(regularizer))
    assert again.get_config() == regularizer.get_config()


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: losses.SpikeCountCrossentropy(1.0), "Expected 0 <= label_smoothing < 1"),
        (lambda: losses.TemporalCrossentropy(-0.1), "Expected 0 <= regularization < 1"),
        (lambda: losses.LatencyCrossentropy(0.0), "temperature=0.0. Expected a positive"),
        (lambda: losses.SpikeCountMeanSquaredError(-0.1), "correct_rate=-0.1. Expected a rate"),
        (lambda: losses.SpikeCountMeanSquaredError(1, 2), "incorrect_rate=2"),
        (lambda: EVERY["count"](LABELS, SPIKES.sum(1)), "Expected .batch, time, classes"),
        (lambda: EVERY["rate"](LABELS, SPIKES[:, :0]), "at least one step"),
        (lambda: EVERY["count"](np.eye(3)[LABELS], SPIKES), "Expected integers of shape"),
        (lambda: EVERY["count"](LABELS[:1], SPIKES), "Expected integers of shape"),
        (lambda: SpikeCountAccuracy().update_state(LABELS, SPIKES[0]), "Expected .batch, time"),
        (lambda: SpikeCountAccuracy().update_state(LABELS, SPIKES[:, :0]), "at least one step"),
        (
            lambda: SpikeCountAccuracy().update_state(np.eye(3)[:1], SPIKES[:1]),
            "Expected integers of shape",
        ),
        (lambda: SpikeCountAccuracy().update_state([1], SPIKES), "Expected integers of shape"),
        (lambda: SpikeRate(-0.1), "Expected rates with 0 <= low <= high <= 1"),
        (lambda: SpikeRate(0.5, 0.2), "low=0.5, high=0.2"),
        (lambda: SpikeRate(above=-1.0), "above=-1.0. Expected a number >= 0"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
