"""calibrate: each step's scale from the data, and nothing else."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras.utils import PyDataset
from support import tensor, to_numpy

from keras_htaf import calibrate, harden, layers, load_model, surrogates
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.hardening import step_layers

register = keras.saving.register_keras_serializable(package="test_calibration")
RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(200, 5)).astype("float32")
KERNELS = [RANDOM.normal(size=shape).astype("float32") for shape in ((5, 7), (7, 6), (6, 2))]
ATAN = surrogates.ATan(2.0)


def expected_scale(inputs, surrogate, share=0.5):
    return np.quantile(np.abs(inputs), share) / surrogate.width(share)


def scale_of(layer):
    return float(to_numpy(layer.scale))


def scales_of(model):
    return [scale_of(layer) for layer in step_layers(model)]


def only(*steps, size=5):
    """The model that is these layers and nothing before them."""
    return keras.Sequential([keras.Input((size,)), *steps])


def mlp(first, second, *between):
    """dense, step, whatever is between, dense, step, dense; with KERNELS."""
    dense = [keras.layers.Dense(k.shape[1], use_bias=False) for k in KERNELS]
    model = only(dense[0], first, *between, dense[1], second, dense[2])
    for layer, kernel in zip(dense, KERNELS, strict=True):
        layer.set_weights([kernel])
    return model


def smooth(surrogate, x):
    return to_numpy(surrogate.smooth(tensor(x)))


# The scale


@pytest.mark.parametrize("share", [0.1, 0.5, 0.75, 0.99])
@pytest.mark.parametrize("forward", ["smooth", "hard"])
@pytest.mark.parametrize("layer", [layers.Sign, layers.Heaviside])
def test_quantile_over_width(layer, forward, share):
    """Sizes 1 .. 101: their quantile is 1 + 100 share; ATan's width tan(pi share / 2) / pi."""
    x = np.arange(1.0, 102.0)[:, None] * np.where(np.arange(101) % 2, 1.0, -1.0)[:, None]
    step = layer(ATAN, forward=forward)
    found = calibrate(only(step, size=1), x, share)
    expected = (1 + 100 * share) / (np.tan(np.pi * share / 2) / np.pi)
    assert found == {step.path: pytest.approx(expected, rel=1e-5)}
    assert scale_of(step) == found[step.path]


def test_default_is_half():
    one, other = only(layers.Sign(ATAN)), only(layers.Sign(ATAN))
    assert [*calibrate(one, X).values()] == [*calibrate(other, X, 0.5).values()]


SURROGATES = [
    surrogates.HTAF(2.0, 0.5),
    surrogates.HTAF(8.0, 2.0, normalized="area"),
    *(cls() for cls in dict.fromkeys(surrogates._BY_NAME.values())),
]


@pytest.mark.parametrize("surrogate", SURROGATES, ids=repr)
@settings(max_examples=8, deadline=None, derandomize=True)
@given(
    share=st.floats(0.05, 0.95),
    spread=st.floats(1e-4, 1e4),
    tail=st.sampled_from(["normal", "laplace", "standard_cauchy"]),
    seed=st.integers(0, 99),
)
def test_the_same_share_of_slope_and_data(surrogate, share, spread, tail, seed):
    """[-r, r] holds `share` of the inputs z and `share` of the area of g(z / scale) / scale."""
    z = np.float32(getattr(np.random.default_rng(seed), tail)(size=(101, 3)) * spread)
    step = layers.Sign(surrogate)
    scale = calibrate(only(step, size=3), z, share)[step.path]
    r = np.quantile(np.abs(z), share)
    assert np.mean(np.abs(z) <= r) == pytest.approx(share, abs=1 / z.size)
    low, high = smooth(surrogate, np.array([-r, r]) / scale)
    assert (high - low) / surrogate.area == pytest.approx(share, abs=1e-4)


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_half_precision(policy):
    step = layers.Sign(ATAN, dtype=policy)
    found = calibrate(only(step), X)[step.path]
    assert found == pytest.approx(expected_scale(X, ATAN), rel=1e-2)
    assert keras.backend.standardize_dtype(step.scale.dtype) == "float32"


def test_current_sharpness_counts():
    step = layers.Sign(ATAN)
    step.sharpness.assign(6.0)
    found = calibrate(only(step), X)[step.path]
    assert found == pytest.approx(expected_scale(X, surrogates.ATan(6.0)), rel=1e-5)


def test_per_channel_sharpness_counts_by_its_mean():
    step = layers.Sign(ATAN, per_channel=True)
    model = only(step)
    step.sharpness.assign([1.0, 2.0, 3.0, 4.0, 5.0])
    found = calibrate(model, X)[step.path]
    assert found == pytest.approx(expected_scale(X, surrogates.ATan(3.0)), rel=1e-5)


def test_what_keeps_the_scale():
    """Inputs that are 0 for at least the share, or so small; a slope of infinite area."""
    mostly = np.where(np.arange(1000).reshape(200, 5) % 10 < 4, X, 0.0)
    for inputs in (np.zeros_like(X), mostly, np.full_like(X, 1e-45)):
        step = layers.Sign(ATAN)
        model = only(step)
        step.scale.assign(2.5)
        assert calibrate(model, inputs) == {step.path: 2.5}
        assert scale_of(step) == 2.5
    assert calibrate(model, mostly, share=0.9)[step.path] != 2.5
    step = layers.Sign(surrogates.Rectangle(None))
    assert calibrate(only(step), X) == {step.path: 1.0}


# The order


def test_each_step_on_what_calibrated_steps_give():
    """Recomputed layer by layer: G(u_1 / scale_1), not G(u_1), goes into the second map."""
    one, other = surrogates.HTAF(2.0, 0.5), surrogates.Erf(3.0)
    model = mlp(layers.Heaviside(one, "smooth"), layers.Sign(other, "smooth"))
    found = [*calibrate(model, 10 * X, 0.4).values()]
    first = 10 * X @ KERNELS[0]
    scales = [expected_scale(first, one, 0.4)]
    second = smooth(one, first / scales[0]) @ KERNELS[1]
    scales.append(expected_scale(second, other, 0.4))
    np.testing.assert_allclose(found, scales, rtol=1e-4)
    uncalibrated = expected_scale(smooth(one, first) @ KERNELS[1], other, 0.4)
    assert abs(uncalibrated / scales[1] - 1) > 0.05
    # It is where it leads to: a second time, it stays there.
    np.testing.assert_allclose([*calibrate(model, 10 * X, 0.4).values()], found, rtol=1e-6)


@register
class Backwards(keras.Model):
    """Lists its layers in another order than that of its computation."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.last = layers.Heaviside(ATAN, "smooth", name="last")
        self.first = layers.Heaviside(ATAN, "smooth", name="first")

    def call(self, x):
        return self.last(self.first(x) - 0.25)


def test_order_of_computation():
    model = Backwards()
    model(X)
    found = calibrate(model, 5 * X)
    assert [path.split("/")[-1] for path in found] == ["first", "last"]
    first = expected_scale(5 * X, ATAN)
    last = expected_scale(smooth(ATAN, 5 * X / first) - 0.25, ATAN)
    np.testing.assert_allclose([*found.values()], [first, last], rtol=1e-4)
    np.testing.assert_allclose(scales_of(model), [last, first], rtol=1e-4)


def test_shared_step_is_set_at_its_first_call():
    step = layers.Heaviside(ATAN, "smooth")
    inputs = keras.Input((5,))
    model = keras.Model(inputs, step(100 * step(inputs)))
    assert [*calibrate(model, X)] == [step.path]
    assert scale_of(step) == pytest.approx(expected_scale(X, ATAN), rel=1e-5)


def test_batch_statistics_are_used():
    """The step sees (x - mean) / deviation of this batch, whatever the moving averages are."""
    norm, step = keras.layers.BatchNormalization(epsilon=0.0), layers.Sign(ATAN)
    x = 3 * X + np.arange(5)
    calibrate(only(norm, step), x)
    normalised = (x - x.mean(0)) / x.std(0)
    assert scale_of(step) == pytest.approx(expected_scale(normalised, ATAN), rel=1e-4)


# Where steps are


def test_step_as_an_activation():
    model = only(keras.layers.Dense(7, activation=layers.Sign(ATAN), use_bias=False))
    model.layers[0].kernel.assign(KERNELS[0])
    (step,) = step_layers(model)
    found = calibrate(model, X)
    assert found == {step.path: pytest.approx(expected_scale(X @ KERNELS[0], ATAN), rel=1e-4)}
    assert scale_of(step) == found[step.path]


def part(kernel):
    """A functional model with a step that is always called "step"."""
    inputs = keras.Input((len(kernel),))
    dense = keras.layers.Dense(kernel.shape[1], use_bias=False)
    model = keras.Model(inputs, layers.Sign(ATAN, name="step")(dense(inputs)))
    dense.set_weights([kernel])
    return model


def test_nested_models_with_steps_of_one_name():
    parts = [part(kernel) for kernel in KERNELS]
    inputs = keras.Input((5,))
    model = keras.Model(inputs, parts[2](parts[1](parts[0](inputs))))
    expected, s = [], X
    for kernel in KERNELS:
        expected.append(expected_scale(s @ kernel, ATAN))
        s = np.where(s @ kernel >= 0, 1.0, -1.0)
    found = calibrate(model, X)
    np.testing.assert_allclose([*found.values()], expected, rtol=1e-4)
    np.testing.assert_allclose(scales_of(model), expected, rtol=1e-4)
    assert len(found) == 3
    assert all("step" in path for path in found)


@pytest.mark.parametrize("kind", [list, dict])
def test_several_inputs(kind):
    one, other = (keras.Input((5,), name=name) for name in "ab")
    step = layers.Sign(ATAN)
    y = step(keras.layers.Add()([one, other]))
    names = {"a": one, "b": other}
    arrays = {"a": X, "b": X[::-1]}
    inputs, arrays = (names, arrays) if kind is dict else ([one, other], [*arrays.values()])
    calibrate(keras.Model(inputs, y), arrays)
    assert scale_of(step) == pytest.approx(expected_scale(X + X[::-1], ATAN), rel=1e-5)


# Only scales


def with_state(seed=1):
    """Moving averages, a random generator, losses, a compiled optimizer."""
    keras.utils.set_random_seed(seed)
    dense = keras.layers.Dense
    model = only(
        keras.layers.BatchNormalization(),
        keras.layers.Dropout(0.5, seed=3),
        dense(7, kernel_regularizer="l2"),
        layers.HTAF(2.0, activity_regularizer="l2"),
        keras.layers.GaussianNoise(0.1, seed=4),
        dense(3),
        layers.Sign(ATAN, per_channel=True),
    )
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), "mse")
    model.train_on_batch(X, np.ones((200, 3)))
    return model


def test_only_scales_change():
    model = with_state()
    variables = [*model.variables, *model.optimizer.variables]
    assert any("seed_generator" in v.path for v in variables)
    before = [to_numpy(v) for v in variables]
    model(X)
    losses = len(model.losses)
    first = calibrate(model, X)
    changed = {v.path for v, b in zip(variables, before, strict=True) if np.any(to_numpy(v) != b)}
    assert changed == {step.scale.path for step in step_layers(model)}
    assert len(changed) == 2
    model(X)
    assert len(model.losses) == losses == 2
    assert not any(step._taps or step._observers for step in step_layers(model))
    # The generators were not advanced, so the same noise gives the same scales.
    assert calibrate(model, X) == first


def test_hard_outputs_stay():
    model = mlp(layers.Sign(ATAN), layers.Heaviside("htaf"), keras.layers.BatchNormalization())
    before = model.predict(X, verbose=0)
    calibrate(model, X)
    assert all(scale != 1 for scale in scales_of(model))
    np.testing.assert_array_equal(model.predict(X, verbose=0), before)


def test_smooth_outputs_follow():
    """Also of a predict function that was compiled before."""
    model = mlp(layers.Heaviside(ATAN, "smooth"), layers.Heaviside(ATAN, "smooth"))
    model.predict(X, verbose=0)
    one, other = calibrate(model, X).values()
    s = smooth(ATAN, X @ KERNELS[0] / one)
    expected = smooth(ATAN, s @ KERNELS[1] / other) @ KERNELS[2]
    np.testing.assert_allclose(model.predict(X, verbose=0), expected, rtol=1e-4, atol=1e-4)


# Training, saving


def trainable(forward):
    model = mlp(layers.Sign(ATAN, forward), layers.Sign(ATAN, forward))
    model.compile(keras.optimizers.SGD(0.1), "mse")
    return model


def kernels(model):
    return [to_numpy(v) for v in model.trainable_variables]


@pytest.mark.parametrize("forward", ["smooth", "hard"])
def test_a_compiled_training_step_sees_the_scale(forward):
    """After steps at scale 1, one step at the new scale is that of a model that never had 1."""
    y = np.float32(X[:, :2] > 0)
    trained, stale = trainable(forward), trainable(forward)
    for model in (trained, stale):
        model.train_on_batch(X, y)
        model.fit(X, y, batch_size=200, verbose=0)
    fresh = trainable(forward)
    fresh.set_weights(trained.get_weights())
    assert calibrate(trained, 10 * X) == {
        path: pytest.approx(scale, rel=1e-6)
        for path, scale in zip(
            (step.path for step in step_layers(trained)),
            calibrate(fresh, 10 * X).values(),
            strict=True,
        )
    }
    before = kernels(trained)
    for model in (trained, stale, fresh):
        model.train_on_batch(X, y)
    moved = [a - b for a, b in zip(kernels(trained), before, strict=True)]
    right = [a - b for a, b in zip(kernels(fresh), before, strict=True)]
    wrong = [a - b for a, b in zip(kernels(stale), before, strict=True)]
    for one, other in zip(moved, right, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
    assert np.abs(moved[0] - wrong[0]).max() > 0.1 * np.abs(wrong[0]).max()
    # and in fit
    scales = scales_of(trained)
    for model in (trained, fresh):
        model.fit(X, y, batch_size=200, epochs=2, verbose=0)
    for one, other in zip(kernels(trained), kernels(fresh), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)
    assert scales_of(trained) == scales


def test_scales_are_kept(tmp_path):
    """By annealing, hardening, saving and loading, and by a model rebuilt from its weights."""
    model = trainable("smooth")
    scales = [*calibrate(model, 4 * X).values()]
    callback = AnnealSharpness(1.0, 3.0, frequency="step")
    model.fit(X, X[:, :2], batch_size=50, epochs=2, verbose=0, callbacks=[callback])
    assert [float(to_numpy(step.sharpness)) for step in step_layers(model)] == [3.0, 3.0]
    assert scales_of(model) == scales
    assert scales_of(harden(model)) == scales
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert scales_of(again) == scales
    np.testing.assert_allclose(again.predict(X, verbose=0), model.predict(X, verbose=0), rtol=1e-6)
    twin = trainable("hard")
    twin.set_weights(model.get_weights())
    assert scales_of(twin) == scales


# Errors


@pytest.mark.parametrize("share", [0, 1, -0.5, 1.5, float("nan"), "0.5"])
def test_share_errors(share):
    with pytest.raises(ValueError, match=r"Received share=.*Expected a number above 0 and below 1"):
        calibrate(only(layers.Sign()), X, share)


def test_model_errors():
    with pytest.raises(ValueError, match=r"'fresh' is not built\. Call it on data first"):
        calibrate(keras.Sequential([layers.Sign()], name="fresh"), X)
    with pytest.raises(ValueError, match=r"Received Sign\. Expected a keras\.Model"):
        calibrate(layers.Sign(), X)
    with pytest.raises(ValueError, match=r"receives no inputs\. Expected at least one sample"):
        calibrate(only(layers.Sign()), X[:0])
    with pytest.raises(ValueError, match="'plain' has no step layer"):
        calibrate(keras.Sequential([keras.Input((5,)), keras.layers.ReLU()], name="plain"), X)


def test_batches_that_are_none():
    model = only(layers.Sign(ATAN))
    assert calibrate(model, X.tolist()) == calibrate(model, X)
    with pytest.raises(ValueError, match=r"shape \(5,\), a single sample. Expected a batch"):
        calibrate(model, X[0])
    for wrong in (PyDataset(), iter([X]), {"x": "y"}, None):
        with pytest.raises(ValueError, match=r"Received x of type \w+\. Expected one batch"):
            calibrate(model, wrong)
    with pytest.raises(ValueError, match="Received x that is no array"):
        calibrate(model, [X[:2], X[:3]])
    with pytest.warns(UserWarning, match="received 1 sample. .* batch normalisation"):
        calibrate(model, X[:1])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_inputs_that_are_not_finite(bad):
    """The second step's: then the first keeps its scale too, and no tap is left."""
    add = keras.layers.Rescaling(1.0)
    model = only(layers.Sign(ATAN), add, layers.HTAF(2.0, name="bits"))
    add.offset = bad
    with pytest.raises(ValueError, match="Step 'bits' receives inputs that are not finite"):
        calibrate(model, X)
    assert scales_of(model) == [1.0, 1.0]
    assert not any(step._taps for step in step_layers(model))
    add.offset = 0.5
    calibrate(model, X)
    with pytest.raises(ValueError, match="Check the data"):
        calibrate(model, np.where(X > 2, bad, X))


def test_step_within_a_compiled_loop():
    """Which the cell of an RNN is on JAX; TensorFlow and torch loop eagerly."""
    cell = keras.layers.SimpleRNNCell(3, activation=layers.Sign(name="spike"))
    model = keras.Sequential([keras.Input((4, 2)), keras.layers.RNN(cell)])
    if keras.config.backend() != "jax":
        assert calibrate(model, np.ones((2, 4, 2)))
        return
    with pytest.raises(ValueError, match="Step 'spike' is called within a compiled loop"):
        calibrate(model, np.ones((2, 4, 2)))
