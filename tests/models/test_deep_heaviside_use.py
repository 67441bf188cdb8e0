"""deep_heaviside_network in use: heads, hardening, saving, policies, training, errors."""

import keras
import numpy as np
import pytest
from support import dtype_of, to_numpy

from keras_htaf import calibrate, datasets, harden, load_model, soften
from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.hardening import observe_steps, step_layers
from keras_htaf.models import deep_heaviside_network

RANDOM = np.random.default_rng(0)
X = RANDOM.normal(size=(64, 4, 4, 2)).astype("float32")


def small(num_outputs=4, **kwargs):
    options = {"depth": 3, "width": 8, "stages": 2, **kwargs}
    return deep_heaviside_network((4, 4, 2), num_outputs, **options)


def regression(targets, num_outputs=1, **kwargs):
    return small(num_outputs, targets=targets, **kwargs)


def predictions(model):
    return to_numpy(model(X))


def perturbed(model):
    """The model with all weights moved, moving means and variances and scales too."""
    random = np.random.default_rng(1)
    for weight in model.weights:
        noise = random.normal(0, 0.2, weight.shape)
        positive = weight.name in ("sharpness", "scale", "gamma", "moving_variance")
        weight.assign(to_numpy(weight) + (np.abs(noise) if positive else noise))
    return model


# The head of a regression

TARGETS = RANDOM.normal([1000.0, -0.2], [50.0, 0.001], (64, 2))


def test_moments_are_in_head_scale():
    scale = regression(TARGETS, 2).get_layer("head_scale")
    np.testing.assert_allclose(scale.input_mean, TARGETS.mean(0), rtol=1e-12)
    np.testing.assert_allclose(scale.input_variance, TARGETS.var(0), rtol=1e-12)
    keras.utils.set_random_seed(0)
    model = regression(TARGETS, 2)
    keras.utils.set_random_seed(0)
    unscaled = small(2)
    assert "head_scale" not in {layer.name for layer in unscaled.layers}
    expected = predictions(unscaled) * TARGETS.std(0) + TARGETS.mean(0)
    np.testing.assert_allclose(predictions(model), expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(64,), (64, 1), [64]])
def test_targets_of_one_variable(shape):
    """Arrays and lists, also of integers."""
    targets = np.arange(64.0)
    targets = [*range(64)] if shape == [64] else targets.reshape(shape)
    scale = regression(targets).get_layer("head_scale")
    assert scale.input_mean == [31.5]
    assert scale.input_variance == [pytest.approx((64**2 - 1) / 12)]


@pytest.mark.parametrize("constant", [0.0, 0.1, 1 / 3, -7e6])
def test_constant_targets(constant):
    """Their deviation would be 0, or, by rounding, next to it."""
    targets = np.stack([np.full(1000, constant), np.arange(1000.0)], 1)
    scale = regression(targets, 2).get_layer("head_scale")
    assert list(scale.input_variance) == [1.0, pytest.approx(np.var(np.arange(1000)))]
    assert scale.input_mean[0] == pytest.approx(constant)
    assert np.isfinite(predictions(regression([constant]))).all()


def test_several_targets_when_images_are_channels_first():
    keras.config.set_image_data_format("channels_first")
    try:
        assert np.isfinite(predictions(regression(TARGETS, 2))).all()
    finally:
        keras.config.set_image_data_format("channels_last")


def test_learns_in_units_of_one():
    """As on standardised targets: with them, gradient descent gives the same weights."""
    mean, deviation = TARGETS[:, :1].mean(), TARGETS[:, :1].std()
    pairs = [
        (small(1, depth=2), (TARGETS[:, :1] - mean) / deviation, 0.01),
        (regression(TARGETS[:, 0], depth=2), TARGETS[:, :1], 0.01 / deviation**2),
    ]
    pairs[1][0].set_weights(pairs[0][0].get_weights())
    for model, y, rate in pairs:
        model.compile(keras.optimizers.SGD(rate), "mse")
        model.fit(X, y, batch_size=64, epochs=3, shuffle=False, verbose=0)
    one, other = (predictions(model) for model, _, _ in pairs)
    np.testing.assert_allclose(one * deviation + mean, other, rtol=1e-4)


@pytest.mark.parametrize(
    ("targets", "num_outputs"),
    [
        (np.ones((5, 3)), 2),
        (np.ones(5), 2),
        (np.ones((5, 2, 1)), 2),
        (np.ones(()), 1),
        ([], 1),
        (np.ones((0, 2)), 2),
        ([1.0, np.nan], 1),
        ([1.0, np.inf], 1),
    ],
)
def test_target_errors(targets, num_outputs):
    with pytest.raises(ValueError, match=r"Received targets of shape .*Expected finite numbers of"):
        regression(targets, num_outputs)


# Hard, soft, saved

KINDS = {
    "dense": {},
    "dense, linear": {"linear_share": 0.25, "skip": "dense"},
    "convolutional": {"kind": "convolutional", "skip": "dense", "coding": "bit"},
    "convolutional, linear": {"kind": "convolutional", "linear_share": 0.5},
    "layer norm": {"normalization": "layer", "skip": None, "surrogate": "atan"},
}
every_kind = pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)


@every_kind
def test_harden_and_soften(options):
    """The twins are what the builder itself gives with the other forward mode."""
    hard, smooth = (perturbed(small(forward=f, **options)) for f in ("hard", "smooth"))
    smooth.set_weights(hard.get_weights())
    assert np.abs(predictions(hard) - predictions(smooth)).max() > 1e-2
    np.testing.assert_allclose(predictions(soften(hard)), predictions(smooth), atol=1e-5)
    hardened = harden(smooth)
    np.testing.assert_allclose(predictions(hardened), predictions(hard), atol=1e-5)
    with observe_steps(hardened) as seen:
        hardened(X)
    bits = {0.0, 1.0} if options.get("coding") == "bit" else {-1.0, 1.0}
    assert [set(np.unique(to_numpy(s))) for (s,) in seen.values()] == [bits] * 3


@every_kind
@pytest.mark.parametrize("extra", [{}, {"activation": "relu"}, {"targets": [1.0, 3.0]}], ids=str)
def test_save_and_load(options, extra, tmp_path):
    if "targets" in extra:
        model = perturbed(regression(extra["targets"], **options))
    else:
        model = perturbed(small(**options, **extra))
    model.save(tmp_path / "model.keras")
    again = load_model(tmp_path / "model.keras")
    assert [layer.name for layer in again.layers] == [layer.name for layer in model.layers]
    for one, other in zip(again.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_allclose(predictions(again), predictions(model), rtol=1e-6)


@pytest.fixture
def mixed_bfloat16():
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("mixed_bfloat16")
    yield
    keras.config.set_dtype_policy(before)


@pytest.mark.parametrize("kind", ["dense, linear", "convolutional"])
def test_mixed_precision(kind, mixed_bfloat16):
    """Maps in bfloat16, exact bits, weights and outputs in float32."""
    model = regression(np.zeros((2, 4)), 4, **KINDS[kind])
    assert model.get_layer("layer2_map").compute_dtype == "bfloat16"
    assert {dtype_of(w) for w in model.weights} == {"float32"}
    with observe_steps(model) as seen:
        assert dtype_of(model(X)) == "float32"
    for (s,) in seen.values():
        assert dtype_of(s) == "bfloat16"
        assert len(np.unique(to_numpy(s))) == 2


def test_learns_in_mixed_precision(mixed_bfloat16):
    model = small(linear_share=0.25)
    model.compile(keras.optimizers.SGD(0.01), "mse")
    calibrate(model, X)
    first, *_, last = [float(model.train_on_batch(X, np.zeros((64, 4)))) for _ in range(4)]
    assert 0 < last < first


# Training


def compiled(model, rate, steps):
    model.compile(
        keras.optimizers.Adam(keras.optimizers.schedules.CosineDecay(rate, steps)),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    return model


def trained_accuracy(model, train, test, rate, epochs, batch_size=64):
    """Of the hard network, trained as its docstring says."""
    x, y = train
    calibrate(model, x[:256])
    compiled(model, rate, epochs * -(-len(x) // batch_size))
    anneal = AnnealSharpness(2.0, 16.0, frequency="step")
    model.fit(x, y, batch_size, epochs, verbose=0, callbacks=[anneal])
    assert {s.forward_mode for s in step_layers(model)} == {"hard"}
    return model.evaluate(*test, verbose=0, return_dict=True)["accuracy"]


def test_dense_network_learns_digits():
    """Measured with seeds 0 to 3 on the three backends: 94.2% to 96.7%."""
    pytest.importorskip("sklearn")
    keras.utils.set_random_seed(0)
    digits = datasets.load("digits")
    model = deep_heaviside_network(digits.image_shape, 10, depth=4, width=64)
    accuracy = trained_accuracy(model, digits.train.arrays(), digits.test.arrays(), 5e-3, epochs=5)
    assert accuracy >= 0.9


def stripes(count, seed):
    """Noisy waves along the rows (class 0) or the columns (1), in any phase."""
    random = np.random.default_rng(seed)
    y = random.integers(0, 2, count)
    wave = np.sin((np.arange(8) + random.integers(0, 4, (count, 1))) * np.pi / 2 + 0.3)
    x = np.where(y[:, None, None] == 0, wave[:, :, None], wave[:, None, :])
    return (x + random.normal(0, 0.5, x.shape))[..., None].astype("float32"), y


def test_convolutional_network_learns_stripes():
    """Measured with seeds 0 to 3 on the three backends: 100%."""
    keras.utils.set_random_seed(0)
    model = deep_heaviside_network((8, 8, 1), 2, kind="convolutional", depth=3, width=8, stages=2)
    accuracy = trained_accuracy(model, stripes(400, 0), stripes(400, 1), 1e-2, 6, batch_size=50)
    assert accuracy >= 0.95


# Errors


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"num_outputs": 0}, r"num_outputs=0\. Expected a positive integer"),
        ({"num_outputs": True}, "num_outputs=True"),
        ({"depth": 0}, "depth=0"),
        ({"depth": 2.0}, r"depth=2\.0"),
        ({"width": -1}, "width=-1"),
        ({"width": "8"}, "width='8'"),
        ({"linear_share": 1}, r"linear_share=1\. Expected 0 <= share < 1"),
        ({"linear_share": -0.1}, r"linear_share=-0\.1"),
        ({"linear_share": float("nan")}, "linear_share=nan"),
        ({"linear_share": None}, "linear_share=None"),
        ({"kind": "conv"}, r"kind='conv'\. Expected one of \('dense', 'convolutional'\)"),
        ({"skip": "no"}, "skip='no'. Expected one of"),
        ({"normalization": True}, "normalization=True. Expected one of"),
        ({"coding": "signs"}, "coding='signs'. Expected one of"),
        ({"forward": "exact"}, "forward='exact'. Expected one of"),
        ({"surrogate": "step"}, "Received surrogate 'step'"),
        ({"input_shape": 64}, r"input_shape=64\. Expected a tuple of sizes"),
        ({"activation": keras.layers.ReLU()}, "which all layers would share"),
        ({"num_outputs": 1, "targets": [1e-9, -1e-9]}, "Expected 1e-6 to 1e18: give the"),
        ({"input_shape": ()}, r"input_shape=\(\)\. Expected known, positive sizes"),
        ({"input_shape": (None,)}, r"input_shape=\(None,\)"),
        ({"input_shape": (3, 0)}, r"input_shape=\(3, 0\)"),
        ({"kind": "convolutional", "stages": 0}, "stages=0. Expected 1 <= stages <= depth"),
        ({"kind": "convolutional", "stages": 4}, r"stages=4\. Expected .* depth \(3\)"),
        ({"kind": "convolutional", "stages": 1.0}, r"stages=1\.0"),
        ({"kind": "convolutional", "stages": True}, "stages=True"),
        ({"kind": "convolutional", "input_shape": (8, 8)}, r"input_shape=\(8, 8\)\. Expected \(h"),
        ({"kind": "convolutional", "input_shape": (8, 3, 1)}, r"at least 4 x 4 pixels"),
        ({"kind": "convolutional", "stages": 1, "input_shape": (0, 8, 1)}, r"shape=\(0, 8, 1\)"),
        ({"kind": "convolutional", "input_shape": (8, 8, None)}, r"input_shape=\(8, 8, None\)"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        deep_heaviside_network(
            **{"input_shape": (8, 8, 1), "num_outputs": 2, "depth": 3, "width": 4, **arguments}
        )
