"""Builders of spiking networks: structure, coding, readouts, training, streams."""

import keras
import numpy as np
import pytest
from keras import layers as stock
from support import tensor, to_numpy

import keras_htaf
from keras_htaf import layers, losses
from keras_htaf.models import (
    initial_state,
    spiking_mlp,
    spiking_resnet,
    spiking_vgg,
    streaming,
)

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(6, 8, 8, 2)).astype("float32")
EVENTS = (RANDOM.uniform(size=(6, 4, 8, 8, 2)) < 0.3).astype("float32")
LABELS = np.arange(6) % 3

BUILDERS = {
    "mlp": lambda shape, **options: spiking_mlp(shape, 3, width=12, **options),
    "vgg": lambda shape, **options: spiking_vgg(shape, 3, filters=(4, 6), **options),
    "resnet": lambda shape, **options: spiking_resnet(
        shape, 3, width=3, **{"blocks": 1, **options}
    ),
}
every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))


def built(build, shape=(8, 8, 2), seed=0, **options):
    keras.utils.set_random_seed(seed)
    if options.get("encoding", "direct") == "direct":
        options.setdefault("num_steps", 3)
    return build(shape, **options)


def test_direct_coding_is_the_same_image_at_each_step():
    """Also where the maps before the first neurons are computed once."""
    once = built(BUILDERS["vgg"])
    each = built(BUILDERS["vgg"], (3, 8, 8, 2), encoding=None)
    each.set_weights(once.get_weights())
    frames = np.repeat(IMAGES[:, None], 3, 1)
    for model, x in ((once, IMAGES), (each, frames)):
        model.compile("sgd", "mse")
        model.fit(x, np.zeros((6, 3)), batch_size=6, verbose=0)
    for one, other in zip(once.weights, each.weights, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-5)
    np.testing.assert_allclose(
        once.predict(IMAGES, verbose=0), each.predict(frames, verbose=0), atol=1e-5
    )


def test_the_mlp_is_its_formula():
    model = built(BUILDERS["mlp"], normalization=None, readout="count", num_steps=5)
    one, bias, two, more = (w for w in model.get_weights() if w.ndim)
    x = IMAGES.reshape(6, -1) @ one + bias
    u, v, count = np.zeros_like(x), 0.0, 0.0
    for _ in range(5):
        u = 0.9 * u + x
        s = u > 1
        u = u - s
        v = 0.9 * v + s @ two + more
        count = count + (v > 1)
        v = v - (v > 1)
    assert 0 < count.mean() < 5
    np.testing.assert_array_equal(to_numpy(model(IMAGES)), count)


@pytest.mark.parametrize("readout", ["count", "membrane", "mean"])
def test_readouts(readout):
    y = to_numpy(built(BUILDERS["mlp"], readout=readout)(IMAGES))
    assert y.shape == (6, 3)
    sequences = built(BUILDERS["mlp"], readout=readout, return_sequences=True)
    assert sequences.output_shape == (None, 3, 3)
    steps = to_numpy(sequences(IMAGES))
    reduced = {"count": np.sum, "membrane": np.max, "mean": np.mean}[readout](steps, axis=1)
    np.testing.assert_allclose(y, reduced, atol=1e-5)
    if readout == "count":
        assert set(np.unique(steps)) <= {0, 1}


def test_normalisation_by_the_threshold():
    for kind, factor in (("threshold", 0.4), ("batch", 1.0)):
        model = built(
            BUILDERS["vgg"], normalization=kind, neuron_options={"threshold": 0.4}, readout="count"
        )
        gammas = [w for w in model.weights if w.path.endswith("gamma")]
        assert len(gammas) == 3
        np.testing.assert_allclose([to_numpy(g).mean() for g in gammas], factor, rtol=1e-6)
    plain = built(BUILDERS["vgg"], normalization=None)
    assert not [layer for layer in plain.layers if layer.name.endswith("norm")]
    assert all(plain.get_layer(n).use_bias for n in ("conv1",))


@pytest.mark.parametrize(
    ("options", "threshold", "decay"),
    [
        ({"neuron": lambda **options: layers.LIF(0.7, threshold=0.5, **options)}, 0.5, 0.7),
        ({"neuron": "if"}, 1.0, 1.0),
        ({"neuron": "plif", "neuron_options": {"tau": 4.0}}, 1.0, 0.75),
        ({"neuron_options": {"decay": [0.6] * 6 + [0.8] * 6, "per_neuron": True}}, 1.0, 0.7),
    ],
    ids=["function", "if", "plif", "apart"],
)
def test_what_follows_the_neurons(options, threshold, decay):
    """Normalisation has their threshold, the potentials of the readout their decay."""
    model = built(BUILDERS["mlp"], readout="membrane", **options)
    gamma = to_numpy(model.get_layer("layer1_norm").gamma)
    np.testing.assert_allclose(gamma, threshold, rtol=1e-6)
    found = model.get_layer("head_potential").get_config()["decay"]
    assert found == pytest.approx(decay)


@pytest.mark.parametrize("connect", ["add", "and", "iand"])
def test_connections(connect):
    options = {"threshold": 0.02}
    model = built(
        BUILDERS["resnet"], connect=connect, blocks=2, neuron_options=options, num_steps=2
    )
    for weight in model.weights:
        if weight.path.endswith("beta"):
            weight.assign(np.full(weight.shape, 0.02))  # something fires whatever the weights
    places = [layer for layer in model.layers if layer.name.endswith("_connect")]
    assert len(places) == 6
    first = "stage1_block1"
    names = [f"{first}_conv2_spikes", "stem_spikes", f"{first}_connect"]
    look = keras.Model(model.input, [model.get_layer(name).output for name in names])
    a, x, y = look.predict(9 * IMAGES, verbose=0)
    expected = {"add": a + x, "and": a * x, "iand": (1 - a) * x}[connect]
    np.testing.assert_array_equal(y, expected)
    assert a.any()
    assert x.any()


@pytest.mark.parametrize(
    ("neuron", "kind"),
    [
        *(("if", layers.IF), ("plif", layers.PLIF), ("cuba", layers.CubaLIF)),
        *(("alif", layers.ALIF), (layers.LIF, layers.LIF)),
    ],
)
def test_neurons(neuron, kind):
    surrogate = keras_htaf.surrogates.ATan(3.0)
    options = {"surrogate": surrogate, "forward": "smooth"}
    model = built(BUILDERS["mlp"], neuron=neuron, neuron_options=options)
    found = [layer for layer in model.layers if isinstance(layer, kind)]
    assert [layer.name for layer in found] == ["layer1_spikes", "head_spikes"]
    assert all(layer.spike.surrogate == surrogate for layer in found)
    hard = to_numpy(keras_htaf.harden(model)(IMAGES))
    np.testing.assert_array_equal(hard, np.round(hard))
    assert (to_numpy(model(IMAGES)) != hard).any()


@every_builder
def test_trains_and_saves(build, tmp_path):
    model = built(build, num_steps=2, readout="mean")
    model.compile(keras.optimizers.Adam(1e-2), losses.SmoothedCrossentropy())
    before = [to_numpy(w) for w in model.trainable_weights]
    history = model.fit(IMAGES, LABELS, epochs=6, verbose=0, batch_size=6).history
    assert history["loss"][-1] < history["loss"][0]
    # All kernels have a gradient, through the neurons behind them.
    moved = {
        w.path
        for w, b in zip(model.trainable_weights, before, strict=True)
        if (to_numpy(w) != b).any()
    }
    assert {w.path for w in model.trainable_weights if w.path.endswith("kernel")} <= moved
    expected = model.predict(IMAGES, verbose=0)
    model.save(tmp_path / "model.keras")
    again = keras_htaf.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(IMAGES, verbose=0), expected, atol=1e-5)


def test_events_of_any_length_and_losses_over_time():
    model = built(
        BUILDERS["vgg"], (None, 8, 8, 2), encoding=None, readout="count", return_sequences=True
    )
    model.compile(
        keras.optimizers.Adam(1e-2),
        losses.SpikeCountCrossentropy(),
        metrics=[keras_htaf.metrics.SpikeCountAccuracy()],
    )
    history = model.fit(EVENTS, LABELS, epochs=2, verbose=0, batch_size=6).history
    assert np.isfinite(history["loss"]).all()
    assert model(EVENTS[:2, :3]).shape == (2, 3, 3)


def test_encoding_layers():
    population = [layers.PopulationEncoding(3), layers.LatencyEncoding(4)]
    for encoding in (layers.RateEncoding(4, seed=0), keras.Sequential(population)):
        model = built(BUILDERS["mlp"], encoding=encoding)
        assert model.get_layer("layer1_spikes").output.shape == (None, 4, 12)
    assert np.isfinite(model.predict(np.abs(IMAGES), verbose=0)).all()


def test_digits():
    """A few seconds of the real thing."""
    digits = keras_htaf.datasets.load("digits", validation=0.0, normalize="standard")
    x, y = digits.test.arrays()
    keras.utils.set_random_seed(0)
    model = spiking_mlp(digits.image_shape, 10, num_steps=8, width=96)
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    model.fit(digits.train.batches(64, shuffle=True), epochs=4, verbose=0)
    assert np.mean(model.predict(x, batch_size=64, verbose=0).argmax(-1) == y) > 0.9


def run(streamed, x, chunks):
    """Each piece's outputs, as numpy."""
    state, made = initial_state(streamed, len(x)), []
    for i in range(chunks):
        steps = streamed.inputs[0].shape[1]
        piece = x[:, i * steps : (i + 1) * steps] if x.ndim == 5 else x
        y, *state = streamed([tensor(piece), *state], training=False)
        made.append(to_numpy(y))
    return made


@pytest.mark.parametrize(
    ("neuron", "readout"), [("lif", "count"), ("alif", "membrane"), ("cuba", "mean")]
)
def test_streams_of_an_image(neuron, readout):
    model = built(BUILDERS["mlp"], num_steps=6, neuron=neuron, readout=readout)
    streamed = streaming(model, 2)
    made = run(streamed, IMAGES, 3)
    np.testing.assert_allclose(made[-1], model.predict(IMAGES, verbose=0), atol=1e-5)
    assert (made[0] != made[-1]).any()


def test_streams_of_events(tmp_path):
    build = BUILDERS["vgg"]
    options = {"encoding": None, "readout": "membrane", "normalization": "batch"}
    model = built(build, (4, 8, 8, 2), **options, return_sequences=True)
    model(3 * EVENTS, training=True)
    streamed = streaming(model, 2)
    expected = model.predict(EVENTS, verbose=0)
    made = run(streamed, EVENTS, 2)
    np.testing.assert_allclose(np.concatenate(made, 1), expected, atol=1e-5)
    streamed.save(tmp_path / "model.keras")
    again = keras_htaf.load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(run(again, EVENTS, 2)[1], made[1], atol=1e-5)
    reduced = built(build, (4, 8, 8, 2), **options)
    reduced.set_weights(model.get_weights())
    np.testing.assert_allclose(run(streaming(reduced, 2), EVENTS, 2)[1], expected.max(1), atol=1e-5)


def test_streams_of_random_spikes():
    """Each piece draws anew, and the mean converges to the intensities."""
    layers_ = [layers.RateEncoding(4, seed=0), layers.ReduceTime("mean")]
    streamed = streaming(keras.Sequential([keras.Input((200,)), *layers_]), 20)
    made = run(streamed, np.full((1, 200), 0.3, "float32"), 20)
    assert (made[0] != made[1]).any()
    np.testing.assert_allclose(made[-1], 0.3, atol=0.12)


def test_streams_of_other_models():
    inputs = keras.Input((None, 4))
    x = layers.DeltaEncoding(0.3, "negative", "first")(inputs)
    x = stock.LayerNormalization()(x)
    x = layers.PLIF(recurrent=True)(stock.Dropout(0.5)(x))
    x = layers.LI(return_sequences=False)(stock.Dense(3)(x))
    model = keras.Model(inputs, stock.Dense(2)(x))
    x = RANDOM.normal(size=(2, 6, 4)).astype("float32")
    streamed = streaming(model, 3)
    assert len(streamed.inputs) == 5
    state = initial_state(streamed, 2)
    for i in (0, 3):
        y, *state = streamed([tensor(x[:, i : i + 3]), *state])
    np.testing.assert_allclose(to_numpy(y), to_numpy(model(x)), atol=1e-5)


def sequence(*given, **options):
    return keras.Sequential([keras.Input((4, 6), **options), *given])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: spiking_mlp((4,), 2, num_steps=0), "num_steps=0. Expected a positive integer"),
        (lambda: spiking_mlp((4,), 0), "num_outputs=0"),
        (lambda: spiking_mlp(4, 2), "Expected a tuple of sizes"),
        (lambda: spiking_mlp((4,), 2, neuron="hodgkin"), "neuron='hodgkin'. Expected one of"),
        (lambda: spiking_mlp((4,), 2, neuron=layers.LIF()), "each place gets its own"),
        (lambda: spiking_mlp((4,), 2, neuron_options=0.9), "Expected a dict"),
        (lambda: spiking_mlp((4,), 2, neuron_options={"threshold": -1.0}), "threshold=-1.0"),
        (lambda: spiking_mlp((4,), 2, neuron_options={"decay": 1.5}), "decay=1.5"),
        (lambda: spiking_mlp((4,), 2, normalization="layer"), "normalization='layer'"),
        (lambda: spiking_mlp((4,), 2, readout="last"), "readout='last'"),
        (lambda: spiking_mlp((4,), 2, encoding="rate"), "encoding='rate'. Expected 'direct'"),
        (
            lambda: spiking_mlp((4,), 2, num_steps=4, encoding=layers.RateEncoding(4)),
            "Expected num_steps for direct coding only",
        ),
        (
            lambda: spiking_mlp((4,), 2, encoding=layers.PopulationEncoding()),
            "puts a time axis behind",
        ),
        (lambda: spiking_mlp((4,), 2, encoding=None), "Expected .time, ...."),
        (lambda: spiking_vgg((0, 8, 8, 2), 2, encoding=None), "at least one step"),
        (lambda: spiking_vgg((8, 8), 2), "Expected .height, width, channels"),
        (lambda: spiking_vgg((4, 4, 1), 2), "at least 8 x 8"),
        (lambda: spiking_vgg((None, 8, 1), 2, filters=(4,)), "known sizes to flatten"),
        (lambda: spiking_vgg((8, 8, 1), 2, filters=()), "at least one convolution"),
        (lambda: spiking_vgg((8, 8, 1), 2, pooling="sum"), "pooling='sum'"),
        (lambda: spiking_resnet((8, 8, 1), 2, connect="or"), "connect='or'. Expected one of"),
        (lambda: spiking_resnet((8, 8, 1), 2, depth=50), "depth=50"),
        (lambda: streaming(BUILDERS["mlp"]((4,)), 0), "chunk=0"),
        (lambda: streaming(stock.Dense(2)), "Expected a functional model"),
        (
            lambda: streaming(sequence(layers.LIF(), stock.GlobalAveragePooling1D())),
            "may need the whole of a sequence",
        ),
        (lambda: streaming(sequence(stock.BatchNormalization(axis=1))), "whole of a sequence"),
        (lambda: streaming(sequence(stock.BatchNormalization(axis=-2))), "whole of a sequence"),
        (lambda: streaming(sequence(layers.LIF(go_backwards=True))), "go_backwards=True"),
        (
            lambda: streaming(sequence(layers.LIF(stateful=True), batch_size=2)),
            "stateful=True",
        ),
        (
            lambda: streaming(BUILDERS["mlp"]((4,), encoding=layers.LatencyEncoding(4))),
            "LatencyEncoding",
        ),
        (lambda: initial_state(BUILDERS["mlp"]((4,)), 2), "no states among its inputs"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()
