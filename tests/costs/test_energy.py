"""Energy of spiking networks: against counts by hand and by brute force."""

import json

import keras
import numpy as np
import pytest
from keras import layers as kl

import keras_htaf
from keras_htaf.callbacks.rates import count_spikes
from keras_htaf.layers import (
    ALIF,
    HTAF,
    IF,
    LI,
    LIF,
    CubaLIF,
    FoldTime,
    Heaviside,
    RateEncoding,
    ReduceTime,
    RepeatTime,
    Sign,
)


@pytest.fixture
def rng():
    keras.utils.set_random_seed(2)
    return np.random.default_rng(2)


def chain(shape, *layers):
    return keras.Sequential([keras.Input(shape), *layers])


def energy(model, x, **options):
    return keras_htaf.summary(model, x, **options).energy


def test_by_hand():
    """Inputs 1 1 0, 0 1 0, 0 0 0, 0 0 1 into two neurons, which fire at 2: weights 1 and 3."""
    kernel = np.array([[1.0, 3.0]] * 3)
    head = kl.Dense(4, use_bias=False, name="head")
    dense = kl.Dense(2, use_bias=False, name="dense")
    model = chain((4, 3), dense, IF(threshold=2.0, name="if"), head)
    dense.kernel.assign(kernel)
    x = np.array([[[1, 1, 0], [0, 1, 0], [0, 0, 0], [0, 0, 1]]], "float32")
    # The first neuron gets 2 1 0 1, and fires behind 2 once, at 3; the other gets 6 3 0 3, and
    # holds 4, 5, 3, 4 after the spikes that are subtracted at all four steps.
    found = energy(model, x)
    assert (found.steps, found.activation_bits, found.samples) == (4, 3, 1)
    dense, spiking, head = found.layers
    assert (dense.by_events, dense.density, dense.spike_rate) == (True, 4 / 12, None)
    assert (dense.spiking.macs, dense.spiking.acs) == (0, 4 * 2)
    assert dense.spiking.traffic == 8 * (4 + 8)
    assert (dense.quantized.macs, dense.quantized.acs) == (0, 6 * 3)
    assert dense.quantized.traffic == pytest.approx(6 * (4 + 3 / 8) + 2 * 3 / 8)
    assert dense.bit_operations == 6 * 3 * 32
    assert spiking.spike_rate == 5 / 8
    assert (spiking.spiking.macs, spiking.spiking.acs) == (0, 8 + 5)  # updates and resets
    assert spiking.spiking.traffic == 8 * 8
    assert (spiking.quantized.energy, spiking.bit_operations) == (0, 0)
    assert (head.spiking.acs, head.density) == (5 * 4, 5 / 8)
    assert found.spike_rate == {"if": 5 / 8}
    assert found.spiking.acs == 8 + 13 + 20
    assert found.spiking.energy == pytest.approx(0.9 * 41)
    assert found.quantized.energy == pytest.approx(0.9 * 3 * (6 + 8))


@pytest.mark.parametrize(
    ("neuron", "macs", "acs", "states"),
    [
        (LIF(threshold=1e6), 1, 0, 1),
        (LIF(threshold=1e6, decay=1.0), 0, 1, 1),
        (CubaLIF(threshold=1e6), 2, 0, 2),
        (CubaLIF(threshold=1e6, synaptic_decay=1.0), 1, 1, 2),
        (ALIF(threshold=1e6), 3, 0, 2),
        (LI(), 1, 0, 1),
    ],
    ids=lambda value: type(value).__name__,
)
def test_updates_of_neurons(neuron, macs, acs, states):
    (row,) = energy(chain((6, 5), neuron), np.ones((2, 6, 5))).layers
    assert (row.spiking.macs, row.spiking.acs) == (30 * macs, 30 * acs)
    assert row.spiking.traffic == 30 * states * 8
    assert row.steps == 6


CONVOLUTIONS = [
    (kl.Conv2D(6, 3, padding="same", dilation_rate=2), (5, 4, 2)),
    (kl.Conv2D(6, (3, 2), strides=2, padding="same", groups=2), (5, 4, 4)),
    (kl.DepthwiseConv2D(3, depth_multiplier=2, padding="same"), (5, 4, 3)),
    (kl.Conv1D(4, 3, strides=2), (9, 2)),
]


@pytest.mark.parametrize(
    ("layer", "shape"), CONVOLUTIONS, ids=[type(layer).__name__ for layer, _ in CONVOLUTIONS]
)
def test_a_spike_at_a_border_meets_fewer_weights(layer, shape, rng):
    """Each spike alone, through kernels of ones: what comes out counts its products."""
    x = (rng.random((2, 3, *shape)) < 0.3).astype("float32")
    model = chain((3, *shape), FoldTime(layer), LIF())
    layer.kernel.assign(np.ones(layer.kernel.shape))
    met = 0
    for place in np.argwhere(x):
        alone = np.zeros((1, *shape), "float32")
        alone[0, *place[2:]] = 1
        met += float(keras.ops.sum(layer(alone)))
    row = energy(model, x).layers[0]
    assert row.by_events
    assert row.spiking.acs == met / 2
    everything = keras_htaf.summary(model).layers[0].macs
    assert row.bit_operations == everything[32] / 3 * 2 * 32


def test_numbers_cost_products(rng):
    x = rng.normal(size=(4, 5, 3))
    x[:, :, 0] = 0
    for layers in ([], [Sign()], [kl.AveragePooling1D(1), kl.Rescaling(0.5)]):
        row = next(
            r for r in energy(chain((5, 3), *layers, kl.Dense(7), LIF()), x).layers if r.density
        )
        assert not row.by_events
        assert (row.spiking.macs, row.spiking.acs) == (5 * 21, 0)
        assert row.spiking.traffic == 105 * (4 + 4) + 35 * 4
        assert (row.quantized.macs, row.steps) == (21, 5)
        assert row.density == (1.0 if layers and type(layers[0]) is Sign else 2 / 3)


def test_what_comes_before_the_time_is_computed_once(rng):
    layers = [kl.Dense(4), RepeatTime(8), LIF(), ReduceTime("sum"), kl.Dense(2)]
    first, spiking, last = energy(chain((3,), *layers), rng.normal(size=(2, 3))).layers
    assert (first.steps, first.spiking.macs, first.quantized.macs) == (1, 12, 12)
    assert (spiking.steps, last.steps) == (8, 1)
    assert last.by_events  # counts: an addition for each spike
    assert last.spiking.acs == pytest.approx(2 * 4 * 8 * spiking.spike_rate)
    assert last.quantized.acs == 2 * 4 * 4
    found = energy(chain((3,), RateEncoding(8, seed=1), kl.Dense(4), LIF()), rng.random((2, 3)))
    dense = found.layers[0]
    assert dense.by_events
    assert dense.spiking.acs == pytest.approx(4 * 24 * dense.density)


def test_sums_of_spikes_cost_an_addition_each(rng):
    """As behind the sum of two branches; a multiplication where they are larger."""
    x = rng.integers(0, 3, (4, 5, 6, 6, 2)).astype("float32")
    convolution = kl.Conv2D(3, 3, padding="same")
    model = chain((5, 6, 6, 2), FoldTime(convolution), LIF())
    convolution.kernel.assign(np.ones(convolution.kernel.shape))
    row = energy(model, x).layers[0]
    assert row.by_events
    met = convolution(x.reshape(20, 6, 6, 2)) - convolution.bias
    assert row.spiking.acs == float(keras.ops.sum(met)) / 4
    assert row.density == pytest.approx((x > 0).mean())
    products = keras_htaf.summary(model).layers[0].macs[32]
    assert row.quantized.acs == pytest.approx(products / 5 * 4)  # 10 fits in 4 bits
    row = energy(model, 100 * x).layers[0]
    assert (row.by_events, row.spiking.macs, row.spiking.acs) == (False, products, 0)


@pytest.mark.parametrize("every", [True, False], ids=["all", "last"])
def test_padding_sets_nothing_off(every, rng):
    """The same spikes, and what they set off, as of the sequences without their padding."""

    def make(steps):
        first = [kl.Masking(9.0), kl.Dense(4, bias_initializer="ones"), LIF(name="lif")]
        last = LIF(name="last", threshold=0.1, return_sequences=every)
        return chain((steps, 5), *first, last, kl.Dense(3))

    model, short = make(6), make(4)
    short.set_weights(model.get_weights())
    x = rng.normal(size=(3, 4, 5))
    padded = np.concatenate([x, np.full((3, 2, 5), 9.0)], axis=1)
    found, expected = energy(model, padded), energy(short, x)
    for one, other in zip(found.layers, expected.layers, strict=True):
        if one.spike_rate is not None:
            assert one.spike_rate * 6 == pytest.approx(other.spike_rate * 4)
            spikes, chances = count_spikes(model, padded)[one.name]
            assert one.spike_rate == pytest.approx(spikes / chances)
    assert found.spike_rate["last"] > 0
    assert found.layers[-1].spiking.acs == expected.layers[-1].spiking.acs > 0


def test_recurrent_connections(rng):
    model = chain((6, 4), LIF(recurrent=True, name="lif", reset="zero"))
    x = 2 * rng.normal(size=(3, 6, 4))
    spikes = keras.ops.convert_to_numpy(model(x))
    found = energy(model, x)
    (row,) = found.layers
    echoes = spikes[:, :-1].sum() / 3 * 4
    assert echoes > 0
    assert (row.spiking.macs, row.spiking.acs) == (24, pytest.approx(echoes))
    assert row.spiking.traffic == pytest.approx(24 * 8 + echoes * 12)
    assert row.quantized is None
    assert found.quantized is None
    assert "recurrent" in str(keras_htaf.summary(model, x))
    assert keras_htaf.summary(model).layers[0].macs == {32: 6 * 16}


def test_bits_without_time(rng):
    model = chain((5,), kl.Dense(6), Heaviside(name="bits"), kl.Dense(3))
    x = rng.normal(size=(10, 5))
    first, bits, last = energy(model, x).layers
    share = float(keras.ops.mean(keras.Model(model.inputs, model.get_layer("bits").output)(x)))
    assert bits.spike_rate == pytest.approx(share, abs=1e-6)
    assert last.spiking.acs == pytest.approx(18 * share, abs=1e-4)
    assert (last.quantized.acs, first.spiking.macs) == (18, 30)


def test_smooth_networks_count_as_exact_ones_and_stay_as_they_are(rng):
    x = rng.normal(size=(7, 5, 3)).astype("float32")
    inner = chain((5, 4), LIF(threshold=0.1, forward="smooth"), kl.Dense(4))
    last = LIF(threshold=0.1, forward="smooth")
    model = chain((5, 3), kl.Dense(4), inner, last, FoldTime(HTAF()))
    before = keras.ops.convert_to_numpy(model(x))
    found = energy(model, x)
    again = energy(keras_htaf.harden(model), x, batch_size=3)
    assert [row.kind for row in found.layers] == ["Dense", "LIF", "Dense", "LIF", "HTAF"]
    assert found.layers[1].name == f"{inner.name}/{inner.layers[0].name}"
    for one, other in zip(found.layers, again.layers, strict=True):
        assert vars(one.spiking) == pytest.approx(vars(other.spiking))
    assert found.layers[3].spike_rate > 0
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(model(x)), before)


def test_a_layer_that_returns_its_last_spikes_fires_before_too(rng):
    x = 2 * rng.normal(size=(3, 6, 4))
    rates = [
        energy(chain((6, 4), LIF(return_sequences=every)), x).layers[0].spike_rate
        for every in (True, False)
    ]
    assert rates[0] == rates[1] > 0


def test_products_over_time_without_data():
    layers = [kl.Dense(7), LIF(), FoldTime(kl.Dense(2)), FoldTime(kl.ReLU()), ReduceTime()]
    found = keras_htaf.summary(chain((5, 3), *layers))
    assert [row.macs for row in found.layers] == [{32: 105}, {}, {32: 70}, {}, {}]
    assert [row.output_bits for row in found.layers] == [32, 1, 32, 32, 32]
    assert found.layers[2].kind == "FoldTime(Dense)"
    assert not found.uncounted
    unknown = keras_htaf.summary(chain((None, 3), *layers))
    assert len(unknown.uncounted) == 2


def test_text_markdown_and_dict(rng):
    model = chain((5, 3), kl.Dense(7, name="map"), LIF(name="lif"))
    x = rng.normal(size=(4, 5, 3))
    found = keras_htaf.summary(model, x)
    text, markdown = str(found), found.to_markdown()
    for part in ("spike rate", "4.6 pJ", "0.9 pJ", "640 pJ", "activations of 3 bits"):
        assert part in text
        assert part in markdown
    assert json.loads(json.dumps(found.to_dict()))["energy"]["steps"] == 5
    plain = keras_htaf.summary(model)
    assert plain.energy is None
    assert "energy" not in plain.to_dict()
    assert text.startswith(str(plain))


def test_errors(rng):
    model = chain((5, 3), LIF())
    one = np.ones((1, 5, 3))
    for x, options in ((one[:0], {}), (3.0, {}), (one, {"batch_size": 0})):
        with pytest.raises(ValueError, match="Received"):
            keras_htaf.summary(model, x, **options)
    a, b = keras.Input((5, 3)), keras.Input((5, 3))
    with pytest.raises(ValueError, match="has 2 inputs"):
        keras_htaf.summary(keras.Model([a, b], kl.Add()([a, b])), one)
