"""Layers of neurons: equal to loops over their steps; masks, states, precision, files, errors."""

import keras
import numpy as np
import pytest
from keras import ops
from neuron_case import check_gradients, in_graph, plain
from support import BACKEND, dtype_of, gradient, tensor, to_numpy

from keras_htaf import calibrate, callbacks, diagnose, harden, layers, load_model, soften
from keras_htaf.callbacks.gap import softness
from keras_htaf.export import export

RANDOM = np.random.default_rng(3)
X = RANDOM.normal(0.4, 0.8, (3, 6, 4)).astype("float32")
UPSTREAM = RANDOM.normal(size=X.shape).astype("float32")

NEURONS = {
    "LIF": {},
    "LIF late": {"reset_next_step": True, "reset": "value", "reset_value": -0.3},
    "LIF early": {"fires_before_update": True, "detach_reset": False},
    "LIF recurrent": {"recurrent": True, "scale_input": True, "rest": 0.1},
    "LIF scaled": {"scale_input": True, "rest": 0.2, "reset": "zero"},
    "IF": {"reset": "zero", "fires_at_threshold": True},
    "PLIF": {"detach_reset": False},
    "CubaLIF": {"reset_next_step": True, "reset": "zero"},
    "ALIF": {"recurrent": True},
    "LI": {"scale_input": True},
}
every_neuron = pytest.mark.parametrize("name", NEURONS)


def make(name, cell=None, **more):
    kind, options = name.split()[0], {**NEURONS[name], **more}
    keras.utils.set_random_seed(0)
    if cell:
        return getattr(layers, f"{kind}Cell")(cell, **options)
    return getattr(layers, kind)(**options)


@pytest.mark.parametrize(
    ("name", "forward"),
    [*((name, "hard") for name in NEURONS), ("LIF late", "smooth"), ("ALIF", "smooth")],
)
def test_layer_is_loop(name, forward):
    """Outputs, and gradients for the inputs and for all weights."""
    options = {} if name == "LI" else {"forward": forward, "trainable_threshold": True}
    layer = make(name, trainable_decay=True, **options) if name != "IF" else make(name, **options)
    layer.build(X.shape)
    np.testing.assert_allclose(to_numpy(layer(X)), to_numpy(plain(layer, tensor(X))[0]), atol=1e-5)
    check_gradients(layer, X, tensor(UPSTREAM))


@every_neuron
def test_cell_is_layer(name):
    """Inside keras.layers.RNN, which compiles it its own way."""
    layer, rnn = make(name), keras.layers.RNN(make(name, 4), return_sequences=True)
    expected = to_numpy(layer(X))
    y = rnn(X)
    rnn.cell.set_weights(layer.get_weights())
    np.testing.assert_allclose(to_numpy(rnn(X)), expected, atol=1e-5)
    assert dtype_of(y) == "float32"
    again = keras.layers.RNN.from_config(rnn.get_config())
    assert again.cell.get_config() == rnn.cell.get_config()


@every_neuron
def test_masks(name):
    """Padding changes nothing but the steps that it masks, where neurons are silent and wait."""
    layer = make(name, return_state=True)
    short, *state = (to_numpy(v) for v in layer(X[:, :4]))
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 1], [0] * 6], "bool")
    padded = np.full_like(X, 7.0)
    for row, on in enumerate(mask[:2]):
        padded[row, on] = X[row, :4]
    found, *states = (to_numpy(v) for v in layer(padded, mask=mask))
    for row, on in enumerate(mask[:2]):
        np.testing.assert_allclose(found[row, on], short[row], atol=1e-6)
        np.testing.assert_array_equal(found[row, ~on], 0)
        for one, other in zip(states, state, strict=True):
            np.testing.assert_allclose(one[row], other[row], atol=1e-6)
    np.testing.assert_array_equal(found[2], 0)
    np.testing.assert_allclose(states[-1][2], to_numpy(layer.first_state(X[:, 0])[-1])[2])


def test_masked_gradient():
    mask = RANDOM.random(X.shape[:2]) < 0.6
    layer = layers.LIF()
    layer.build(X.shape)
    run = in_graph(lambda x: layer(x, mask=tensor(mask, "bool"), training=True))
    expected = gradient(lambda x: plain(layer, x, mask)[0], tensor(X), upstream=UPSTREAM)
    found = gradient(run, tensor(X), upstream=UPSTREAM)
    np.testing.assert_allclose(found, expected, atol=1e-5)
    np.testing.assert_array_equal(found[~mask], 0)


def test_masks_of_models():
    """A mask that Keras passes on, and the last step that it leaves."""
    inputs = keras.Input((6, 1))
    masked = keras.layers.Masking(mask_value=9.0)(inputs)
    last = layers.LI(decay=0.5, return_sequences=False)(layers.LIF(reset="none")(masked))
    model = keras.Model(inputs, last)
    x = np.array([[2, 0, 9, 9, 9, 9], [2, 0, -3, 9, 9, 9.0]])[..., None]
    np.testing.assert_allclose(model.predict(x, verbose=0), [[1.5], [0.75]], atol=1e-6)


@every_neuron
def test_states_carry_on(name):
    """A run in two parts is the whole run, with the states handed over."""
    layer = make(name, return_state=True)
    whole, *last = layer(X)
    first, *state = layer(X[:, :2])
    state = [to_numpy(s).tolist() for s in state]
    second, *state = layer(X[:, 2:], initial_state=state)
    joined = np.concatenate([to_numpy(first), to_numpy(second)], axis=1)
    np.testing.assert_allclose(joined, to_numpy(whole), atol=1e-6)
    for one, other in zip(state, last, strict=True):
        np.testing.assert_allclose(to_numpy(one), to_numpy(other), atol=1e-6)
    assert [dtype_of(s) for s in last] == ["float32"] * len(layer.state_names)


@pytest.mark.parametrize("name", ["LIF late", "CubaLIF", "LIF", "LI"])
def test_stateful(name):
    """Chunks through `predict` are one long run; `fit` keeps states too; `reset_states` rests."""
    whole = to_numpy(make(name)(X))
    layer = make(name, stateful=True)
    model = keras.Sequential([keras.Input((2, 4), batch_size=3), layer])
    for _ in range(2):
        chunks = [model.predict(X[:, t : t + 2], batch_size=3, verbose=0) for t in (0, 2, 4)]
        np.testing.assert_allclose(np.concatenate(chunks, axis=1), whole, atol=1e-6)
        layer.reset_states()
    np.testing.assert_allclose(to_numpy(layer(X[:, :2])), whole[:, :2], atol=1e-6)
    kept = [to_numpy(weight) for weight in layer.weights if weight.name.startswith("state_")]
    assert np.abs(kept[-1]).max() > 0
    layer.reset_states()
    # What is trained comes before the states, whose assignment the backward pass must outlive.
    before = keras.layers.Dense(4, use_bias=False, kernel_initializer="identity")
    model = keras.Sequential([keras.Input((2, 4), batch_size=3), before, layer])
    model.compile("sgd", "mse")
    model.fit(X[:, :2], UPSTREAM[:, :2], batch_size=3, shuffle=False, verbose=0)
    assert np.abs(to_numpy(before.kernel) - np.eye(4)).max() > 1e-4
    found = [to_numpy(weight) for weight in layer.weights if weight.name.startswith("state_")]
    np.testing.assert_allclose(found, kept, atol=1e-6)
    with pytest.raises(ValueError, match="Expected batches of the same size"):
        layer(X[:1])


@every_neuron
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_stateful_chunks_are_one_run(name, masked):
    mask = RANDOM.random(X.shape[:2]) < 0.7 if masked else np.ones(X.shape[:2], "bool")
    options = [{"mask": mask[:, t]} if masked else {} for t in (slice(None), slice(2), slice(2, 6))]
    expected = to_numpy(make(name)(X, **options[0]))
    layer = make(name, stateful=True)
    for _ in range(2):
        chunks = [layer(X[:, :2], **options[1]), layer(X[:, 2:], **options[2])]
        found = np.concatenate([to_numpy(y) for y in chunks], axis=1)
        np.testing.assert_allclose(found, expected, atol=1e-6)
        layer.reset_states()


def test_go_backwards():
    layer = layers.LIF(go_backwards=True)
    expected = to_numpy(layers.LIF()(X[:, ::-1].copy()))
    np.testing.assert_array_equal(to_numpy(layer(X)), expected)
    mask = np.array([[1, 1, 1, 1, 0, 0]] * 3, "bool")
    np.testing.assert_array_equal(to_numpy(layer.compute_mask(X, mask)), mask[:, ::-1])


@pytest.mark.parametrize("sequences", [True, False])
def test_go_backwards_with_a_mask(sequences):
    mask = np.array([[1, 1, 1, 1, 0, 0], [0, 1, 1, 0, 1, 0], [0] * 6], "bool")
    for kind in (layers.LIF, layers.LI):
        layer = kind(return_sequences=sequences)
        expected = to_numpy(layer(X[:, ::-1].copy(), mask=mask[:, ::-1].copy()))
        layer.go_backwards = True
        for given in (mask, 0.5 * mask):
            np.testing.assert_array_equal(to_numpy(layer(X, mask=given)), expected)


@pytest.mark.parametrize("sequences", [True, False])
def test_symbolic_shapes(sequences):
    options = {"return_sequences": sequences, "return_state": True, "dtype": "mixed_bfloat16"}
    inputs = keras.Input((5, 2, 3))
    y, current, potential = layers.CubaLIF(**options)(inputs)
    assert y.shape == ((None, 5, 2, 3) if sequences else (None, 2, 3))
    assert current.shape == potential.shape == (None, 2, 3)
    assert (y.dtype, current.dtype) == ("bfloat16", "float32")
    found = keras.Model(inputs, [y, current])(np.ones((2, 5, 2, 3)))
    assert [tuple(f.shape[1:]) for f in found] == [tuple(s.shape[1:]) for s in (y, current)]
    assert [dtype_of(f) for f in found] == ["bfloat16", "float32"]


def test_constants_per_neuron():
    layer = layers.LIF(per_neuron=True, trainable_decay=True, trainable_threshold=True)
    x = np.ones((2, 3, 2, 5), "float32")
    layer.build(x.shape)
    assert [tuple(w.shape) for w in layer.trainable_weights] == [(2, 5)] * 2
    layer.threshold.assign(np.where(np.eye(2, 5), 0.5, 1.5))
    y = to_numpy(layer(x))
    np.testing.assert_array_equal(y[0, 0], np.eye(2, 5))
    np.testing.assert_array_equal(y[0, 1], 1)


def test_trained_constants_stay_sensible():
    layer = layers.LIF(trainable_decay=True, trainable_threshold=True)
    model = keras.Sequential([keras.Input((6, 4)), layer])
    model.compile(keras.optimizers.SGD(1e5), lambda y, s: ops.sum(y * s))
    for sign in (1.0, -1.0):
        model.fit(X, sign * UPSTREAM, batch_size=3, verbose=0)
        assert 0 < float(to_numpy(layer.decay)) <= 1
        assert float(to_numpy(layer.threshold)) >= np.float32(1e-3)


def test_training_moves_no_constant_that_it_is_given():
    """What starts below the bounds of training stays there."""
    options = {"trainable_decay": True, "trainable_threshold": True}
    layer = layers.LIF(decay=1e-5, threshold=1e-4, **options)
    model = keras.Sequential([keras.Input((6, 4)), layer])
    model.compile(keras.optimizers.SGD(0.0), "mse")
    model.fit(X, X, verbose=0)
    np.testing.assert_allclose([to_numpy(w) for w in layer.trainable_weights], [1e-5, 1e-4])


@pytest.mark.parametrize("kind", [layers.LIF, layers.PLIF, layers.ALIF])
def test_constants_that_begin_apart(kind, tmp_path):
    decays, thresholds = np.linspace(0.3, 0.9, 4), [[0.5], [1.5]]
    layer = kind(decay=decays, threshold=thresholds, per_neuron=True)
    model = keras.Sequential([keras.Input((6, 2, 4)), layer])
    x = 2 * np.stack([X, X[::-1]], axis=2)
    spikes = to_numpy(model(x))
    for row, column, decay, threshold in ((0, 3, 0.9, 0.5), (1, 1, 0.5, 1.5)):
        one = kind(decay=decay, threshold=threshold)(x[:, :, row, column, None])
        np.testing.assert_array_equal(spikes[:, :, row, column], to_numpy(one)[..., 0])
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.layers[0].get_config() == layer.get_config()
    np.testing.assert_array_equal(to_numpy(again(x)), spikes)


def test_like_takes_arguments_as_its_class_does():
    """In their order too, in place of those that are preset."""
    assert layers.LIF.like("spikingjelly", 0.9).get_config()["decay"] == 0.9
    found = layers.CubaLIF.like("norse", 0.7, 0.6, 0.5).get_config()
    names = ("synaptic_decay", "decay", "threshold", "reset")
    assert [found[name] for name in names] == [0.7, 0.6, 0.5, "zero"]
    assert layers.IF.like("spyx", 0.4).get_config()["threshold"] == 0.4
    cell = layers.LIFCell.like("norse", 4, decay=0.8).get_config()
    assert (cell["units"], cell["decay"], cell["scale_input"]) == (4, 0.8, True)
    assert layers.LIF.like("norse", tau=4.0).get_config()["decay"] == 0.75
    with pytest.raises(TypeError, match="too many positional"):
        layers.LIF.like("norse", 0.9, 1.0, 2.0)


def test_presets_that_follow_other_arguments():
    for late in (True, False):
        assert layers.LIF.like("snntorch", reset_next_step=late).neuron.detach_reset is late
    same = layers.CubaLIF.like("snntorch", reset_next_step=False, detach_reset=True)
    assert same.neuron.detach_reset is True
    options = {"reset": "value", "reset_value": -0.2}
    assert layers.IF.like("spikingjelly", **options).neuron.rest == -0.2
    assert layers.LIF.like("spikingjelly", **options, rest=0.1).neuron.rest == 0.1


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "float64"])
def test_dtype_policies(policy):
    if BACKEND == "jax" and policy == "float64":
        pytest.skip("off by default")
    layer = layers.LIF(recurrent=keras.layers.Dense(4, dtype=policy), dtype=policy)
    compute = policy.removeprefix("mixed_")
    y = layer(tensor(X, compute))
    assert dtype_of(y) == compute
    assert dtype_of(layer.decay) == ("float64" if policy == "float64" else "float32")
    assert set(np.unique(to_numpy(y))) == {0.0, 1.0}
    assert dtype_of(layers.LIF(dtype=policy)(np.ones((1, 2, 3), "int32"))) == compute


@every_neuron
def test_saved(name, tmp_path):
    layer = make(name, per_neuron=True)
    model = keras.Sequential([keras.Input((6, 4)), layer])
    layer.set_weights([w * 0.9 for w in layer.get_weights()])
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert again.layers[0].get_config() == layer.get_config()
    expected = model.predict(X, verbose=0)
    np.testing.assert_allclose(again.predict(X, verbose=0), expected, atol=1e-6)


def test_exported(tmp_path):
    """A SavedModel with the states as explicit inputs and outputs, for chunks of any length."""
    inputs, states = keras.Input((None, 4)), [keras.Input((4,)) for _ in range(2)]
    layer = layers.CubaLIF(return_state=True)
    model = keras.Model([inputs, *states], layer(inputs, initial_state=states))
    zeros = np.zeros((3, 4), "float32")
    expected = [to_numpy(y) for y in layer(X)]
    export(model, tmp_path / "artifact", verify=False)
    tensorflow = pytest.importorskip("tensorflow")
    artifact = tensorflow.saved_model.load(str(tmp_path / "artifact"))
    first, *state = artifact.serve([tensorflow.constant(a) for a in (X[:, :1], zeros, zeros)])
    second, *state = artifact.serve([tensorflow.constant(X[:, 1:]), *state])
    joined = np.concatenate([first, second], axis=1)
    np.testing.assert_array_equal(joined, expected[0])
    np.testing.assert_allclose(state, expected[1:], atol=1e-6)


def spiking_model(**options):
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((6, 4)),
            keras.layers.Dense(5),
            layers.LIF(**options),
            layers.LI(return_sequences=False),
        ]
    )
    model.compile("sgd", "mse")
    return model


def test_harden_and_soften():
    model = spiking_model(forward="smooth", recurrent=True)
    smooth = model.predict(X, verbose=0)
    hard = harden(model)
    assert hard.layers[1].get_config()["forward"] == "hard"
    spikes = hard.layers[1](hard.layers[0](X))
    assert set(np.unique(to_numpy(spikes))) <= {0.0, 1.0}
    np.testing.assert_allclose(soften(hard).predict(X, verbose=0), smooth, atol=1e-5)


def test_annealing():
    model = spiking_model(forward="smooth")
    annealed = callbacks.AnnealSharpness(2.0, 8.0)
    history = model.fit(X, np.ones((3, 5)), epochs=2, verbose=0, callbacks=[annealed])
    assert history.history["sharpness"] == [2.0, 8.0]
    assert float(to_numpy(model.layers[1].spike.sharpness)) == 8.0


@pytest.mark.parametrize("options", [{}, {"forward": "smooth"}, {"reset_next_step": True}])
def test_calibrate_and_look(options):
    """A step sees all its distances at once, although they come one after the other."""
    model = spiking_model(**options)
    before = model(X)
    seen = []
    with model.layers[1].spike.tapped(lambda d: seen.append(to_numpy(d)) or d, seen.append):
        np.testing.assert_allclose(to_numpy(model(X)), to_numpy(before), atol=1e-5)
    distance, spikes = seen
    assert distance.shape == (3, 6, 5)
    if "forward" not in options:
        np.testing.assert_array_equal(to_numpy(spikes), distance > 0)
        assert softness(model, X) == 0.0
    else:
        assert 0 < softness(model, X) < 1
    scales = calibrate(model, X)
    width = model.layers[1].spike.surrogate.width(0.5)
    if "forward" not in options:  # a smooth spike's scale changes the distances
        (scale,) = scales.values()
        np.testing.assert_allclose(scale, np.quantile(np.abs(distance), 0.5) / width, rtol=1e-5)


def test_diagnose():
    """The gradient at the distances is that which reaches the layer's inputs through the spikes."""
    model = spiking_model()
    found = diagnose(model, X, np.ones((3, 5), "float32"), loss="mse")
    (row,) = found.layers
    assert row.units == 5
    assert row.gradient > 0


def test_errors():
    for decay in (0.0, 1.5, -0.5, float("nan"), "fast", True, [0.5, 1.5], [], [[0.5], []]):
        with pytest.raises(ValueError, match=r"Expected 0 < decay <= 1"):
            layers.LIF(decay=decay)
    with pytest.raises(ValueError, match=r"Received synaptic_tau=1"):
        layers.CubaLIF(synaptic_tau=1)
    with pytest.raises(ValueError, match=r"decay=0\.5 and tau=2\. Expected one"):
        layers.LIF(decay=0.5, tau=2)
    for option in ({"decay": [0.5, 0.6]}, {"threshold": [1.0]}, {"tau": (3.0, 4.0)}):
        with pytest.raises(ValueError, match=r"Received arrays as .* per_neuron=True"):
            layers.LIF(**option)
    for kind in (layers.LIF, layers.LI, layers.CubaLIF):
        with pytest.raises(ValueError, match="Received a decay of 1 with scale_input=True"):
            kind(decay=1.0, scale_input=True)
    for threshold in (0, -1.0, float("inf"), None, True, [1.0, 0.0]):
        with pytest.raises(ValueError, match="Received threshold="):
            layers.ALIF(threshold=threshold)
    for adaptation in (-1, True, "none"):
        with pytest.raises(ValueError, match=f"Received adaptation={adaptation!r}"):
            layers.ALIF(adaptation=adaptation)
    with pytest.raises(ValueError, match="IF neurons do not leak"):
        layers.IF(decay=0.5)
    for option in ({"recurrent": True}, {"trainable_threshold": True}, {"spike": {}}):
        with pytest.raises(ValueError, match="LI neurons do not fire"):
            layers.LI(**option)
    with pytest.raises(ValueError, match="Expected a decay below 1"):
        layers.PLIF(decay=1.0)
    with pytest.raises(ValueError, match=r"Received reset='soft'"):
        layers.LIF(reset="soft")
    with pytest.raises(ValueError, match=r"Received recurrent=3"):
        layers.LIF(recurrent=3)
    with pytest.raises(ValueError, match=r"Received library='brian'. Expected one of \['norse'"):
        layers.LIF.like("brian")
    with pytest.raises(ValueError, match=r"Received units=0"):
        layers.LIFCell(0)
    with pytest.raises(ValueError, match=r"Expected \(batch, 4\)"):
        layers.LIFCell(4).build((2, 3))


def test_shape_errors():
    layer = layers.LIF()
    with pytest.raises(ValueError, match="with at least one step"):
        layer(np.ones((3, 0, 4)))
    with pytest.raises(ValueError, match=r"a mask of shape \(3, 5\)"):
        layer(X, mask=np.ones((3, 5), "bool"))
    with pytest.raises(ValueError, match=r"a mask of shape \(3, 6, 4\)"):
        layer(X, mask=np.ones((3, 6, 4), "bool"))
    with pytest.raises(ValueError, match=r"Expected 1 \(potential\), of shapes \[\(3, 4\)\]"):
        layer(X, initial_state=[np.ones((3, 5))])
    with pytest.raises(ValueError, match="Expected a known size"):
        layers.LIF(stateful=True)(keras.Input((6, 4)))
    for options in ({}, {"stateful": True}):
        with pytest.raises(ValueError, match="keeps no states"):
            layers.LIF(**options).reset_states()
    with pytest.raises(ValueError, match="Expected neurons whose number is known"):
        layers.LIF(per_neuron=True)(keras.Input((6, None)))
    with pytest.raises(ValueError, match=r"an array of shape \(3,\). Expected one that broadcasts"):
        layers.LIF(decay=[0.5, 0.6, 0.7], per_neuron=True)(X)
    with pytest.raises(ValueError, match=r"makes \(3,\) of that. Expected the same shape"):
        layers.LIF(recurrent=keras.layers.Dense(3))(X)


@pytest.mark.parametrize(
    ("recurrent", "changed"),
    [
        (lambda: keras.layers.BatchNormalization(), "moving_mean"),
        (lambda: keras.Sequential([keras.layers.Dense(4), keras.layers.Dropout(0.5)]), "seed"),
        (lambda: keras.layers.Dropout(0.5), "seed"),
        (lambda: keras.layers.Dense(4, activity_regularizer="l2"), "losses"),
        (lambda: keras.Sequential([keras.layers.ActivityRegularization(0.1)]), "losses"),
        (lambda: layers.ActivityPenalty("l2"), "losses"),
    ],
    ids=["moving statistics", "seeds within", "seeds", "losses", "losses within", "penalties"],
)
def test_recurrent_layers_that_keep_something(recurrent, changed):
    with pytest.raises(ValueError, match=rf"whose calls change \[.*{changed}"):
        layers.LIF(recurrent=recurrent())(X)
    frozen = keras.layers.BatchNormalization(trainable=False)
    assert layers.LIF(recurrent=frozen)(X).shape == X.shape
