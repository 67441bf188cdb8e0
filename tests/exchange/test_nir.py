"""NIR: what is written comes back with the same spikes, and what cannot be is refused."""

import sys

import keras
import numpy as np
import pytest
from keras import layers as kl
from support import to_numpy

import keras_htaf
from keras_htaf.exchange import from_nir, to_nir
from keras_htaf.layers import ALIF, IF, LI, LIF, PLIF, CubaLIF, FoldTime, ReduceTime, RepeatTime

nir = pytest.importorskip("nir")
quietly = pytest.mark.filterwarnings("ignore:NIR has no place")


@pytest.fixture
def rng():
    keras.utils.set_random_seed(5)  # of the layers' weights
    return np.random.default_rng(11)


def chain(shape, *layers):
    return keras.Sequential([keras.Input((None, *shape)), *layers])


def scatter(model, rng):
    """Gives each weight another value, the same on each backend."""
    for weight in model.weights:
        shape, name = tuple(weight.shape), weight.name
        if "kernel" in name:
            weight.assign(rng.normal(size=shape) / np.sqrt(np.prod(shape[:-1])))
        elif name in ("decay", "synaptic_decay", "threshold", "moving_variance") and shape:
            weight.assign(0.5 + 0.4 * rng.random(shape))
        elif name in ("bias", "beta", "moving_mean"):
            weight.assign(rng.normal(size=shape) / 5)


def outputs(model, x):
    made = model(x)
    return [to_numpy(y) for y in (made if isinstance(made, list) else [made])]


def assert_round_trip(model, rng, size, tmp_path, **options):
    scatter(model, rng)
    x = 3 * rng.normal(size=size)
    path = tmp_path / "network.nir"
    to_nir(model, path, **options)
    again = from_nir(path)
    for y, y_again in zip(outputs(model, x), outputs(again, x), strict=True):
        np.testing.assert_array_equal(y_again, y)
        assert np.mean(y != 0) > 0.02
        assert np.ptp(y) > 0
    return again


RESETS = [
    {},
    {"reset": "zero"},
    {"reset": "value", "reset_value": -0.4},
    {"reset": "none"},
    {"reset_next_step": True},
    {"reset": "zero", "reset_next_step": True},
    {"fires_before_update": True},
    {"fires_at_threshold": True},
    {"scale_input": True, "threshold": 0.2},
    {"rest": -0.5, "reset": "zero"},
    {"per_neuron": True},
    {"recurrent": True},
    {"recurrent": "biased", "reset": "zero"},
]


@quietly
@pytest.mark.parametrize(
    ("kind", "options"),
    [(LIF, options) for options in RESETS] + [(CubaLIF, RESETS[i]) for i in (0, 2, 5, 8, 12)],
    ids=lambda value: value.__name__ if isinstance(value, type) else str(value),
)
def test_neurons_come_back(kind, options, rng, tmp_path):
    if options.get("recurrent") == "biased":
        options = {**options, "recurrent": kl.Dense(4, bias_initializer="ones")}
    model = chain((3,), kl.Dense(4), kind(decay=0.85, name="spikes", **options))
    again = assert_round_trip(model, rng, (2, 15, 3), tmp_path)
    old, new = model.layers[-1], again.get_layer("spikes")
    assert type(new) is kind
    assert new.neuron == old.neuron
    assert (new.is_recurrent, new.per_neuron) == (old.is_recurrent, old.per_neuron)


@quietly
def test_other_neurons_come_back(rng, tmp_path):
    layers = [kl.Dense(4), IF(0.7), kl.Dense(4), PLIF(tau=3.0), kl.Dense(2), LI(0.75)]
    again = assert_round_trip(chain((3,), *layers), rng, (2, 9, 3), tmp_path)
    assert [type(layer) for layer in again.layers[2::2]] == [IF, LIF, LI]  # the decay is fixed


def test_where_potentials_start_comes_back(rng, tmp_path):
    """As networks that were converted from ReLU do; NIR's IF itself starts from 0."""
    model = chain((3,), kl.Dense(4), IF(0.7, rest=0.35, name="spikes"))
    with pytest.warns(UserWarning, match=r"starts from 0\.35"):
        again = assert_round_trip(model, rng, (2, 9, 3), tmp_path)
    assert again.get_layer("spikes").neuron.rest == 0.35


@quietly
def test_images_come_back(rng, tmp_path):
    model = chain(
        (9, 8, 2),
        FoldTime(kl.Conv2D(4, (3, 2), padding="same", groups=2)),
        LIF(per_neuron=True),
        FoldTime(kl.AveragePooling2D(2)),
        FoldTime(kl.DepthwiseConv2D(3, depth_multiplier=2, use_bias=False, padding="same")),
        FoldTime(kl.BatchNormalization()),
        IF(0.4),
        FoldTime(kl.Conv2D(3, 2, strides=2, dilation_rate=1)),
        FoldTime(kl.Flatten()),
        LIF(per_neuron=True, decay=0.6),
        kl.Dropout(0.5),
        kl.Dense(5, use_bias=False),
        FoldTime(kl.BatchNormalization()),
        LIF(threshold=0.2),
    )
    assert_round_trip(model, rng, (2, 6, 9, 8, 2), tmp_path)


@quietly
def test_global_pooling_comes_back(rng, tmp_path):
    pool = FoldTime(kl.GlobalAveragePooling2D())
    model = chain((3, 4, 5), LIF(), pool, kl.Dense(2), LIF(threshold=0.05))
    assert_round_trip(model, rng, (2, 8, 3, 4, 5), tmp_path)


@quietly
def test_branches_nested_models_and_two_outputs(rng, tmp_path):
    inner = chain((4,), kl.Dense(4), LIF(name="inner"))
    x = keras.Input((None, 3))
    a = LIF(name="a")(kl.Dense(4)(x))
    b = kl.Add()([a, inner(a), inner(a)])
    model = keras.Model(x, [LIF(name="b")(b), a])
    again = assert_round_trip(model, rng, (2, 8, 3), tmp_path)
    assert {"a", "b", "inner", "inner_1"} <= {layer.name for layer in again.layers}


@quietly
def test_recurrence_behind_a_flattened_image(rng, tmp_path):
    back = kl.Dense(12, bias_initializer="uniform")
    model = chain((2, 2, 3), FoldTime(kl.Flatten()), LIF(recurrent=back), kl.Dense(2), LI())
    assert_round_trip(model, rng, (2, 8, 2, 2, 3), tmp_path)


def test_parameters_are_those_of_the_differential_equation():
    dt = 1e-3
    layers = [
        LIF(decay=0.9, reset="value", reset_value=-0.5, rest=0.25, name="lif"),
        LIF(decay=0.75, scale_input=True, reset="zero", name="scaled"),
        CubaLIF(synaptic_decay=0.5, decay=0.9, reset="zero", name="cuba"),
        IF(reset="zero", threshold=2.0, name="if"),
        LI(decay=0.98, name="li"),
    ]
    nodes = to_nir(chain((2,), *layers), dt=dt).nodes
    expected = {
        "lif": {"tau": 0.01, "r": 10, "v_leak": 0.25, "v_threshold": 1, "v_reset": -0.5},
        "scaled": {"tau": 0.004, "r": 1, "v_leak": 0, "v_threshold": 1, "v_reset": 0},
        "cuba": {"tau_syn": 0.002, "tau_mem": 0.01, "w_in": 2, "r": 10, "v_leak": 0},
        "if": {"r": 1, "v_threshold": 2, "v_reset": 0},
        "li": {"tau": 0.05, "r": 50, "v_leak": 0},
    }
    for name, fields in expected.items():
        for field, value in fields.items():
            np.testing.assert_allclose(getattr(nodes[name], field), [value] * 2, rtol=1e-5)


def test_graph_equals_euler_integration(rng):
    """A graph of no tool: gains, leaks and time constants of its own."""
    n, dt = 3, 5e-4
    tau, r, leak = np.array([2e-3, 1e-3, 4e-3]), np.array([2.0, 0.5, 7.0]), np.full(n, 0.2)
    node = nir.LIF(tau, r, leak, v_threshold=np.array([0.4, 0.5, 0.6]), v_reset=np.full(n, -0.1))
    graph = nir.NIRGraph.from_list(nir.Scale(np.array([1.0, 2.0, 0.5])), node)
    x = rng.normal(size=(1, 25, n)) * 2
    v, expected = leak.copy(), []
    for current in x[0] * [1.0, 2.0, 0.5]:
        v = v + dt / tau * (leak - v + r * current)
        expected.append(v > node.v_threshold)
        v = np.where(expected[-1], node.v_reset, v)
    (spikes,) = outputs(from_nir(graph, dt=dt), x)
    np.testing.assert_array_equal(spikes[0], expected)
    assert 0.1 < np.mean(expected) < 0.9


def test_synaptic_graph_equals_euler_integration(rng):
    n, dt = 2, 1e-4
    ones = np.ones(n)
    node = nir.CubaLIF(3e-4 * ones, 5e-4 * ones, 2.5 * ones, 0 * ones, ones, w_in=1.5 * ones)
    x = rng.normal(size=(1, 25, n)) * 3
    i, v, expected = 0 * ones, 0 * ones, []
    for current in x[0]:
        i = i + dt / node.tau_syn * (-i + node.w_in * current)
        v = v + dt / node.tau_mem * (-v + node.r * i)
        expected.append(v > 1)
        v = np.where(expected[-1], 0, v)
    (spikes,) = outputs(from_nir(nir.NIRGraph.from_list(node)), x)
    np.testing.assert_array_equal(spikes[0], expected)
    assert np.any(expected)


def test_subgraphs_sums_of_pixels_and_padding(rng):
    pool = nir.SumPool2d(np.array([3, 3]), np.array([3, 3]), np.array([0, 0]))
    inner = nir.NIRGraph(
        {
            "in": nir.Input(np.array([1, 6, 6])),
            "pool": pool,
            "flat": nir.Flatten({"input": np.array([1, 2, 2])}, 0),
            "out": nir.Output(np.array([4])),
        },
        [("in", "pool"), ("pool", "flat"), ("flat", "out")],
    )
    conv = nir.Conv2d((4, 4), np.ones((1, 1, 1, 1), "float32"), 1, 1, 1, 1, np.zeros(1))
    graph = nir.NIRGraph(
        {
            "input": nir.Input(np.array([1, 4, 4])),
            "conv": conv,
            "inner": inner,
            "output": nir.Output(np.array([4])),
        },
        [("input", "conv"), ("conv", "inner"), ("inner", "output")],
    )
    x = rng.integers(0, 2, (2, 3, 4, 4, 1)).astype("float32")
    model = from_nir(graph)
    padded = np.pad(x[..., 0], ((0, 0), (0, 0), (1, 1), (1, 1)))
    sums = padded.reshape(2, 3, 2, 3, 2, 3).sum(axis=(3, 5)).reshape(2, 3, 4)
    np.testing.assert_array_equal(outputs(model, x)[0], sums)
    assert model.get_layer("inner_pool").layer.trainable is False


def test_a_flattened_image_at_the_end_has_the_order_of_the_graph(rng):
    shape = np.array([2, 2, 3])
    graph = nir.NIRGraph.from_list(nir.Input(shape), nir.Flatten({"input": shape}, 0))
    x = rng.normal(size=(2, 4, 2, 3, 2)).astype("float32")
    (y,) = outputs(from_nir(graph), x)
    np.testing.assert_array_equal(y, np.moveaxis(x, -1, 2).reshape(2, 4, 12))


def test_options_take_the_place_of_the_file(rng):
    model = chain((3,), kl.Dense(4), LIF(decay=0.9, reset_next_step=True, name="spikes"))
    with pytest.warns(UserWarning, match=r"spikes \(reset 'subtract', in the next step\)"):
        graph = to_nir(model)
    for node in graph.nodes.values():
        node.metadata = {}
    x = 3 * rng.normal(size=(2, 20, 3))
    assert from_nir(graph).get_layer("spikes").neuron.reset == "zero"
    options = {"reset": "subtract", "reset_next_step": True, "surrogate": "atan"}
    again = from_nir(graph, **options)
    np.testing.assert_array_equal(outputs(again, x)[0], outputs(model, x)[0])
    assert type(again.get_layer("spikes").spike.surrogate).__name__ == "ATan"


def test_what_other_readers_do_alike_is_written_without_a_warning(recwarn):
    options = [{"reset": "zero"}, {"reset": "value", "reset_value": -0.3}]
    late = [LIF(**option, reset_next_step=True) for option in options]
    to_nir(chain((3,), *(LIF(**option) for option in options), *late, LI()))
    assert not [w for w in recwarn if "NIR" in str(w.message)]


@pytest.mark.parametrize("reset", [{"reset": "zero"}, {"reset": "value", "reset_value": -0.4}])
def test_a_reset_in_the_next_step_fires_like_one_in_the_same(reset, rng):
    x = 3 * rng.normal(size=(2, 20, 4))
    spikes = [to_numpy(LIF(rest=0.1, reset_next_step=late, **reset)(x)) for late in (0, 1)]
    np.testing.assert_array_equal(*spikes)
    assert 0 < spikes[0].mean() < 1


def test_smooth_spikes_are_warned_of():
    with pytest.warns(UserWarning, match=r"odd \(smooth spikes, which keras_htaf\.harden makes"):
        to_nir(chain((3,), LIF(reset="zero", forward="smooth", name="odd")))


def test_the_step_of_a_file_is_the_one_it_was_written_with(tmp_path):
    to_nir(chain((3,), LIF(decay=0.8, reset="zero", name="spikes")), tmp_path / "a.nir", dt=1e-3)
    decay = from_nir(tmp_path / "a.nir").get_layer("spikes").get_config()["decay"]
    assert decay == pytest.approx(0.8, abs=1e-6)


@pytest.mark.parametrize(
    ("layers", "message"),
    [
        ([kl.Dense(2, "relu")], "'odd'.*activation, relu"),
        ([ALIF()], "thresholds do not adapt"),
        ([ReduceTime()], "ends the time axis"),
        ([kl.LSTM(2)], "no node for it"),
        ([LIF(return_sequences=False)], "return_sequences=True"),
        ([FoldTime(kl.BatchNormalization())], "right before it"),
        ([LI(decay=1.0)], "decay of 1"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value[0]).__name__,
)
def test_what_cannot_be_written(layers, message):
    layers[0].name = "odd"
    with pytest.raises(ValueError, match=message):
        to_nir(chain((3,), *layers))


@pytest.mark.parametrize(
    ("layer", "message"),
    [
        (kl.Conv2D(2, 3, strides=2, padding="same"), "as many on both sides"),
        (kl.AveragePooling2D(2, padding="same"), "padded zeros"),
        (kl.MaxPooling2D(2), "means and sums"),
        (kl.Flatten(), "ends with a flattened image"),
        (kl.Dense(2), "use Flatten"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_what_images_cannot_do(layer, message):
    with pytest.raises(ValueError, match=message):
        to_nir(chain((6, 5, 2), FoldTime(layer)))


def test_other_models_that_cannot_be_written(tmp_path):
    with pytest.raises(ValueError, match="begin the model behind it"):
        to_nir(keras.Sequential([keras.Input((4, 3)), RepeatTime(3), kl.Flatten()]))
    with pytest.raises(ValueError, match="known sizes"):
        to_nir(chain((3, 2), kl.Dense(2)))
    with pytest.raises(ValueError, match=r"Received <.*keras\.Input"):
        to_nir(keras.Sequential([kl.Dense(2)]), tmp_path / "x.nir")
    x = keras.Input((None, 3))
    with pytest.raises(ValueError, match="adds a signal to itself"):
        to_nir(keras.Model(x, kl.Add()([x, x])))
    with pytest.raises(ValueError, match="dt=0"):
        to_nir(chain((3,), LIF()), dt=0)
    assert not list(tmp_path.iterdir())


def single(node, size=2):
    return nir.NIRGraph.from_list(nir.Input(np.array([size])), node, nir.Output(np.array([size])))


ONES = np.ones(2)


@pytest.mark.parametrize(
    ("node", "message"),
    [
        (nir.Delay(ONES), "'delay' .Delay.*no delays"),
        (nir.Threshold(ONES), "use IF"),
        (nir.LIF(1e-4 * ONES, ONES, 0 * ONES, ONES), r"not in \(0, 1\]; pass the dt"),
        (nir.LIF(1e-3 * ONES, ONES, 0 * ONES, ONES, np.arange(2.0)), "v_reset differs"),
        (nir.LI(1e-3 * ONES, ONES, ONES), "v_leak is not 0"),
    ],
    ids=lambda value: value if isinstance(value, str) else type(value).__name__,
)
def test_what_cannot_be_read(node, message):
    with pytest.raises(ValueError, match=message):
        from_nir(single(node))


def test_graphs_that_cannot_be_read(tmp_path):
    lif = nir.LIF(1e-3 * ONES, ONES, 0 * ONES, ONES)
    graph = single(lif)
    graph.nodes["second"], graph.nodes["third"] = lif, lif
    graph.edges += [("lif", "second"), ("second", "third"), ("third", "lif")]
    with pytest.raises(ValueError, match="form a loop"):
        from_nir(graph)
    with pytest.raises(ValueError, match="resets"):
        from_nir(single(lif), resets="zero")
    with pytest.raises(ValueError, match="Received int"):
        from_nir(3)
    with pytest.raises(FileNotFoundError):
        from_nir(tmp_path / "none.nir")


def test_without_the_package(monkeypatch):
    monkeypatch.setitem(sys.modules, "nir", None)
    with pytest.raises(ImportError, match=r"keras-htaf\[nir\]"):
        to_nir(chain((3,), LIF()))


@quietly
def test_a_model_that_is_read_trains_and_hardens(rng):
    model = from_nir(to_nir(chain((3,), kl.Dense(4), LIF(forward="smooth"), kl.Dense(2), LI())))
    model.compile("adam", "mse")
    x = rng.normal(size=(4, 5, 3))
    history = model.fit(x, np.ones((4, 5, 2)), epochs=1, verbose=0)
    assert np.isfinite(history.history["loss"][0])
    assert keras_htaf.harden(model).layers[2].spike.forward_mode == "hard"
