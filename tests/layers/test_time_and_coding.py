"""FoldTime, RepeatTime, ReduceTime and the encodings, against loops, formulas and snnTorch."""

import keras
import numpy as np
import pytest
from keras import layers
from support import dtype_of, tensor, to_numpy

from keras_htaf import load_model
from keras_htaf.layers import (
    LIF,
    DeltaEncoding,
    FoldTime,
    LatencyEncoding,
    PopulationEncoding,
    RateEncoding,
    ReduceTime,
    RepeatTime,
)

RANDOM = np.random.default_rng(0)
FRAMES = RANDOM.normal(size=(3, 4, 6, 6, 2)).astype("float32")
SEQUENCE = RANDOM.normal(size=(3, 4, 5)).astype("float32")
MASK = np.array([[1, 1, 1, 0], [1, 0, 1, 0], [0, 0, 0, 0]], bool)

STATELESS = {
    "conv": (lambda: layers.Conv2D(3, 3, padding="same"), FRAMES),
    "dense": (lambda: layers.Dense(3), SEQUENCE),
    "flatten": (layers.Flatten, FRAMES),
    "max_pooling": (lambda: layers.MaxPooling2D(2), FRAMES),
    "average": (layers.GlobalAveragePooling2D, FRAMES),
}


@pytest.mark.parametrize("name", STATELESS)
def test_folded_is_each_step(name):
    make, x = STATELESS[name]
    layer = FoldTime(make())
    y = to_numpy(layer(x))
    steps = [to_numpy(layer.layer(x[:, t])) for t in range(x.shape[1])]
    np.testing.assert_allclose(y, np.stack(steps, 1), atol=1e-6)
    assert layer.compute_output_shape(x.shape) == y.shape
    assert layer.compute_output_shape((None, *x.shape[1:])) == (None, *y.shape[1:])


@pytest.mark.parametrize("time", [4, None])
def test_unknown_batch_and_time(time, tmp_path):
    inputs = keras.Input((time, 6, 6, 2))
    x = FoldTime(layers.Conv2D(3, 3), name="conv")(inputs)
    assert x.shape == (None, time, 4, 4, 3)
    x = FoldTime(layers.BatchNormalization())(x)
    model = keras.Model(inputs, ReduceTime("sum")(FoldTime(layers.Flatten())(x)))
    model.compile("sgd", "mse")
    model.fit(FRAMES, np.zeros((3, 48)), verbose=0)
    expected = model.predict(FRAMES, verbose=0)
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    np.testing.assert_allclose(again.predict(FRAMES, verbose=0), expected, atol=1e-6)
    np.testing.assert_allclose(model.predict(FRAMES[:1], verbose=0), expected[:1], atol=1e-5)


@pytest.mark.parametrize("x", [SEQUENCE, FRAMES], ids=["dense", "conv"])
@pytest.mark.parametrize("mask", [None, MASK], ids=["plain", "masked"])
def test_normalisation_over_batch_and_time(x, mask):
    layer = FoldTime(layers.BatchNormalization(epsilon=1e-6))
    y = to_numpy(
        layer(tensor(x), mask=None if mask is None else tensor(mask, "bool"), training=True)
    )
    seen = x.reshape(12, -1, x.shape[-1])[slice(None) if mask is None else mask.ravel()]
    mean, var = seen.mean((0, 1)), seen.var((0, 1))
    np.testing.assert_allclose(y, (x - mean) / np.sqrt(var + 1e-6), atol=1e-4)
    np.testing.assert_allclose(to_numpy(layer.layer.moving_mean), 0.01 * mean, atol=1e-5)


def test_masks_pass():
    masked = layers.Masking()(tensor(SEQUENCE * MASK[..., None]))
    for layer in (FoldTime(layers.Dense(2)), DeltaEncoding(), PopulationEncoding(3)):
        np.testing.assert_array_equal(
            to_numpy(keras.ops.cast(layer.compute_mask(masked, tensor(MASK, "bool")), "float32")),
            MASK,
        )
    assert ReduceTime().compute_mask(masked, tensor(MASK, "bool")) is None


def test_repeat():
    y = to_numpy(RepeatTime(3)(FRAMES))
    np.testing.assert_array_equal(y, np.repeat(FRAMES[:, None], 3, 1))


@pytest.mark.parametrize("reduction", ["sum", "mean", "max", "last"])
@pytest.mark.parametrize("x", [SEQUENCE, FRAMES], ids=["dense", "conv"])
def test_reduce(reduction, x):
    functions = {"sum": np.sum, "mean": np.mean, "max": np.max, "last": lambda x, axis: x[-1]}
    layer, expected = ReduceTime(reduction), []
    np.testing.assert_allclose(
        to_numpy(layer(x)),
        x[:, -1] if reduction == "last" else functions[reduction](x, axis=1),
        atol=1e-6,
    )
    for sample, valid in zip(x, MASK, strict=True):
        kept = sample[valid]
        expected.append(functions[reduction](kept, axis=0) if len(kept) else np.zeros_like(x[0, 0]))
    found = to_numpy(layer(tensor(x), mask=tensor(MASK, "bool")))
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_rate():
    x = np.array([[0.0, 0.25, 1.0, 7.0, -1.0]], "float32")
    layer = RateEncoding(4000, seed=3)
    first, second = to_numpy(layer(x)), to_numpy(layer(x))
    assert first.shape == (1, 4000, 5)
    assert set(np.unique(first)) == {0, 1}
    np.testing.assert_allclose(first.mean(1)[0], [0, 0.25, 1, 1, 0], atol=0.03)
    assert (first != second).any()
    twin = RateEncoding.from_config(layer.get_config())
    np.testing.assert_array_equal(to_numpy(twin(x)), first)
    np.testing.assert_array_equal(to_numpy(twin(x)), second)
    shared = RateEncoding(4000, seed=keras.random.SeedGenerator(3))
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(shared))
    np.testing.assert_array_equal(to_numpy(again(x)), first)
    np.testing.assert_allclose(
        to_numpy(RateEncoding(4000, gain=0.5, seed=0)(x)).mean(1)[0, 2], 0.5, atol=0.03
    )


def test_rate_draws_in_inference():
    model = keras.Sequential([keras.Input((50,)), RateEncoding(4, seed=0)])
    x = np.full((2, 50), 0.5)
    assert (model.predict(x, verbose=0) != model.predict(x, verbose=0)).any()


def latency(x, steps, code, tau, a, normalize, below):
    """The docstring's formula, one number at a time."""
    spikes = np.zeros(steps)
    if x < a:
        if below == "last":
            spikes[-1] = 1
        return spikes
    time = {"log": lambda x: np.log(x / (x - a)), "linear": lambda x: 1 - x}[code]
    least = a + (1e-7 if code == "log" else 0)
    t = time(max(x, least)) * ((steps - 1) / time(least) if normalize else tau)
    if round(t) < steps:
        spikes[round(t)] = 1
    return spikes


@pytest.mark.parametrize("code", ["log", "linear"])
@pytest.mark.parametrize("normalize", [True, False])
@pytest.mark.parametrize("below", ["silent", "last"])
def test_latency(code, normalize, below):
    x = np.array([[0, 0.01, 0.1, 0.1004, 0.13, 0.2, 0.47, 0.83, 1.0]])
    layer = LatencyEncoding(9, code, None if normalize else 3.0, 0.1, normalize, below)
    expected = [latency(v, 9, code, 3.0, 0.1, normalize, below) for v in x[0]]
    y = to_numpy(layer(x.astype("float32")))
    np.testing.assert_array_equal(y[0, :, 3:], np.stack(expected, -1)[:, 3:])
    np.testing.assert_array_equal(y[0, :, :2], np.stack(expected, -1)[:, :2])


@pytest.mark.parametrize("code", ["log", "linear"])
def test_latency_of_snntorch(code):
    spikegen = pytest.importorskip("snntorch.spikegen")
    torch = pytest.importorskip("torch")
    x = np.append(RANDOM.uniform(0.02, 1, 60), 0.0).astype("float32")
    linear = code == "linear"
    theirs = spikegen.latency(
        torch.tensor(x), 20, 0.01, normalize=True, linear=linear, clip=True
    ).numpy()
    tau = 19.0 if linear else None
    layer = LatencyEncoding(20, code, tau, normalize=not linear)  # linear: they ignore a
    found = to_numpy(layer(x[None]))[0]
    assert (found.argmax(0) != theirs.argmax(0)).mean() < 0.04  # roundings of x - a
    np.testing.assert_array_equal(found.sum(0), theirs.sum(0))


@pytest.mark.parametrize("off_spikes", [None, "negative", "channels"])
@pytest.mark.parametrize("initial", ["zero", "first"])
def test_delta(off_spikes, initial):
    spikegen = pytest.importorskip("snntorch.spikegen")
    torch = pytest.importorskip("torch")
    x = RANDOM.normal(size=(2, 7, 3)).astype("float32")
    layer = DeltaEncoding(0.5, off_spikes, initial)
    y = to_numpy(layer(x))
    assert layer.compute_output_shape(x.shape) == y.shape
    if off_spikes == "channels":
        y = y[..., :3] - y[..., 3:] if y.min() >= 0 else None
    theirs = spikegen.delta(
        torch.tensor(x.swapaxes(0, 1)), 0.5, initial == "first", off_spikes is not None
    )
    np.testing.assert_array_equal(y, theirs.numpy().swapaxes(0, 1))


@pytest.mark.parametrize("initial", ["zero", "first"])
def test_delta_of_what_is_not_masked(initial):
    """Masked steps are silent, and what they hold (NaN, say) changes nothing."""
    options = {"threshold": 0.3, "off_spikes": "negative", "initial": initial, "return_state": True}
    x = np.where(MASK[..., None], SEQUENCE, np.nan)
    y, state = DeltaEncoding(**options)(tensor(x), mask=tensor(MASK, "bool"))
    for row, valid in enumerate(MASK[:2]):
        expected, last = DeltaEncoding(**options)(SEQUENCE[row : row + 1, valid])
        np.testing.assert_array_equal(to_numpy(y)[row, valid], to_numpy(expected)[0])
        np.testing.assert_array_equal(to_numpy(state)[row], to_numpy(last)[0])
    np.testing.assert_array_equal(to_numpy(y)[~MASK], 0)
    np.testing.assert_array_equal(to_numpy(state)[2], 0.0 if initial == "zero" else np.nan)


def test_masked_delta_of_any_length():
    inputs = keras.Input((None, 2))
    model = keras.Model(inputs, DeltaEncoding(1.0)(layers.Masking(mask_value=9.0)(inputs)))
    x = np.array([9.0, 2.0, 9.0, 2.5, 3.0, 9.0])[None, :, None] * np.ones(2)
    y = model.predict(x, verbose=0)
    np.testing.assert_array_equal(y[0], np.array([0, 1, 0, 0, 0, 0])[:, None] * np.ones(2))
    np.testing.assert_array_equal(model.predict(x[:, :4], verbose=0), y[:, :4])


def test_population():
    x = RANDOM.uniform(-1, 2, size=(4, 3)).astype("float32")
    y = to_numpy(PopulationEncoding(6, -1.0, 2.0, 2.0)(x)).reshape(4, 3, 6)
    centres = -1 + 3 * (2 * np.arange(1, 7) - 3) / 8
    expected = np.exp(-((x[..., None] - centres) ** 2) / (2 * (3 / 8) ** 2))
    np.testing.assert_allclose(y, expected, atol=1e-6)


EVERY = {
    "fold": lambda **k: FoldTime(layers.Dense(2, dtype=k["dtype"]), **k),
    "repeat": lambda **k: RepeatTime(3, **k),
    "reduce": lambda **k: ReduceTime("max", **k),
    "rate": lambda **k: RateEncoding(3, 0.5, 1, **k),
    "latency": lambda **k: LatencyEncoding(3, "linear", 2.0, 0.2, False, "last", **k),
    "delta": lambda **k: DeltaEncoding(0.3, "channels", "first", **k),
    "population": lambda **k: PopulationEncoding(3, -1.0, 1.0, 2.0, **k),
}


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("policy", ["float32", "mixed_float16"])
def test_configs_policies_and_symbols(name, policy):
    layer = EVERY[name](name="mine", dtype=policy)
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
    assert again.get_config() == layer.get_config()
    y = layer(tensor(SEQUENCE))
    assert dtype_of(y) == policy.removeprefix("mixed_")
    symbolic = layer(keras.Input((4, 5)))
    assert symbolic.shape == (None, *y.shape[1:])
    assert layer.compute_output_shape((3, 4, 5)) == tuple(y.shape)


@pytest.mark.parametrize("name", [name for name in EVERY if name != "fold"])
def test_integers_are_numbers(name):
    x = np.array([[3, 0], [-2, 1], [5, 5]], "int32")[None]
    expected = EVERY[name](dtype="float32")(x.astype("float32"))
    layer = EVERY[name](dtype="float32")
    y = layer(x)
    assert dtype_of(y) == layer(keras.Input((3, 2), dtype="int32")).dtype == "float32"
    np.testing.assert_array_equal(to_numpy(y), to_numpy(expected))


def test_counts_grow_on_in_half_precision():
    layer = ReduceTime("mean", return_state=True, dtype="mixed_bfloat16")
    x, state = np.ones((2, 200, 3), "float32"), None
    for _ in range(3):
        y, *state = layer(tensor(x), initial_state=state)
    assert dtype_of(y) == "bfloat16"
    np.testing.assert_array_equal(to_numpy(state[0]), 600)
    np.testing.assert_array_equal(to_numpy(state[1]), 600)
    np.testing.assert_array_equal(to_numpy(y), 1)
    symbolic = layer(keras.Input((200, 3)))
    assert [s.dtype for s in symbolic] == [dtype_of(v) for v in (y, *state)]


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: RepeatTime(0), "num_steps=0. Expected a positive integer"),
        (lambda: RepeatTime(2.0), "num_steps=2.0"),
        (lambda: RateEncoding(-1), "num_steps=-1"),
        (lambda: RateEncoding(4, gain=-1.0), "gain=-1.0. Expected a positive"),
        (lambda: LatencyEncoding(0), "num_steps=0"),
        (lambda: LatencyEncoding(4, "sqrt"), "code='sqrt'. Expected one of"),
        (lambda: LatencyEncoding(4, threshold=0.0), "threshold=0.0. Expected 0 < threshold < 1"),
        (lambda: LatencyEncoding(4, tau=0.0, normalize=False), "tau=0.0"),
        (lambda: LatencyEncoding(4, tau=2.0), "tau=2.0 with normalize=True"),
        (lambda: LatencyEncoding(4, below="first"), "below='first'"),
        (lambda: DeltaEncoding(-0.1), "threshold=-0.1"),
        (lambda: DeltaEncoding(off_spikes=True), "off_spikes=True. Expected one of"),
        (lambda: DeltaEncoding()(np.ones(3)), "Expected .batch, time"),
        (lambda: DeltaEncoding(off_spikes="channels")(np.ones((3, 2))), "channels"),
        (lambda: PopulationEncoding(2), "neurons=2. Expected an integer of at least 3"),
        (lambda: PopulationEncoding(4, 1.0, 1.0), "Expected low < high"),
        (lambda: ReduceTime("median"), "reduction='median'"),
        (lambda: ReduceTime()(np.ones((2, 0, 3))), "at least one step"),
        (lambda: FoldTime("conv"), "layer='conv'. Expected a keras.layers.Layer"),
        (lambda: FoldTime(layers.Dense(2))(np.ones(3)), "at least one step"),
        (lambda: FoldTime(layers.Dense(2))(np.ones((3, 0, 4))), "at least one step"),
        (lambda: FoldTime(LIF()), "has a memory"),
        (lambda: FoldTime(keras.Sequential([ReduceTime()])), "has a memory"),
    ],
)
def test_errors(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("layer", [ReduceTime("sum"), DeltaEncoding(), FoldTime(layers.ReLU())])
@pytest.mark.parametrize("shape", [(3, 1), (1, 4), (3, 4, 5), (4, 3)])
def test_masks_of_other_shapes(layer, shape):
    with pytest.raises(ValueError, match=r"a mask of shape .* Expected \(batch, time\), \(3, 4\)"):
        layer(tensor(SEQUENCE), mask=tensor(np.ones(shape), "bool"))


@pytest.mark.parametrize(
    ("layer", "shapes"),
    [
        (ReduceTime("mean"), [(3, 5)]),
        (ReduceTime("last"), [(3, 5), (1,)]),
        (ReduceTime("sum"), [(1, 5)]),
        (DeltaEncoding(), [(3, 1)]),
        (DeltaEncoding(), [(3, 5), (3,)]),
    ],
)
def test_states_of_other_shapes(layer, shapes):
    with pytest.raises(ValueError, match=r"an initial_state of shapes .* Expected \d \(\w+"):
        layer(tensor(SEQUENCE), initial_state=[tensor(np.ones(shape)) for shape in shapes])


STATEFUL = {
    **{
        name: lambda name=name, **k: ReduceTime(name, **k)
        for name in ("sum", "mean", "max", "last")
    },
    "delta": lambda **k: DeltaEncoding(0.5, "channels", **k),
    "delta, first": lambda **k: DeltaEncoding(0.5, "negative", "first", **k),
}


@pytest.mark.parametrize("name", STATEFUL)
@pytest.mark.parametrize("masked", [False, True], ids=["plain", "masked"])
def test_chunks_are_one_run(name, masked):
    whole, layer = STATEFUL[name](), STATEFUL[name](return_state=True)
    reduces = isinstance(layer, ReduceTime)
    options = {"mask": tensor(MASK, "bool")} if masked else {}
    expected = to_numpy(whole(tensor(SEQUENCE), **options))
    state, made = layer.first_state(tensor(SEQUENCE[:, 0])), []
    assert len(state) == len(layer.state_names)
    for piece in (slice(0, 1), slice(1, 3), slice(3, 4)):
        options = {"mask": tensor(MASK[:, piece], "bool")} if options else {}
        y, *state = layer(tensor(SEQUENCE[:, piece]), initial_state=list(state), **options)
        assert [tuple(s.shape) for s in (y, *state)] == [
            tuple(s) for s in layer.compute_output_shape(SEQUENCE[:, piece].shape)
        ]
        made.append(to_numpy(y))
    np.testing.assert_allclose(
        made[-1] if reduces else np.concatenate(made, 1), expected, atol=1e-6
    )
