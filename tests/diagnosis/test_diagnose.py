"""diagnose: each measure against networks that are computed by hand, and that it only looks."""

import json

import keras
import numpy as np
import pytest
from support import only, tensor, to_numpy

from keras_htaf import layers, surrogates
from keras_htaf.diagnosis import diagnose
from keras_htaf.diagnosis.places import Place, row
from keras_htaf.hardening import step_layers
from keras_htaf.layers import HTAF, Heaviside, Sign

register = keras.saving.register_keras_serializable(package="test_diagnose")
random = np.random.default_rng(7)
X = random.normal(size=(40, 4)).astype("float32")
Y = random.integers(0, 3, 40)
Dense = keras.layers.Dense


def model_of(*parts, inputs=4):
    """A sequential model whose kernels and biases are the same on every backend."""
    model = keras.Sequential([keras.Input((inputs,)), *parts])
    return seeded(model)


def seeded(model):
    weights = np.random.default_rng(8)
    for w in model.trainable_weights:
        if w.name in ("kernel", "bias"):
            w.assign(weights.normal(size=w.shape))
    return model


def only_row(step, x):
    """What is measured of a single step on these inputs."""
    place = Place(step)
    place.add(tensor(x))
    return row("step", [place], 1.0)


def triangle(z):
    """Slope and smooth bit of Triangle(1)."""
    c = np.clip(z, -1, 1)
    return 1 - np.abs(c), 0.5 + c * (1 - np.abs(c) / 2)


# ---------------------------------------------------------------------------- one step


def test_by_hand():
    """Four inputs in one unit, in units of the scale 2: 0, 0.5, -0.75, 1."""
    step = Heaviside("triangle", name="step")
    step.scale.assign(2.0)
    model = keras.Sequential([keras.Input((1,)), step])
    x = np.array([[0.0], [1.0], [-1.5], [2.0]])
    (row,) = diagnose(model, x, x, loss="mse", batch_size=3).layers
    # h = 0.5, 0.875, 0.03125, 1; bits 0, 1, 0, 1; 95 % of the area lie within 1 - sqrt(0.05).
    assert (row.name, row.surrogate, row.forward, row.units) == ("step", "Triangle", "hard", 1)
    assert row.rms == pytest.approx(np.sqrt(7.25 / 4))
    assert row.reach == pytest.approx(2.0, rel=0.01)
    assert row.width == pytest.approx(2 * (1 - np.sqrt(0.05)), rel=1e-3)
    assert row.covered == 0.75
    assert row.passed == pytest.approx((1 + 0.5 + 0.25 + 0) / 4)
    assert (row.dead, row.always_on) == (0, 0)
    assert row.gradient == 1.0
    assert row.softness == pytest.approx((1 + 4 * 0.875 * 0.125 + 4 * 0.03125 * 0.96875) / 4)
    assert row.error == pytest.approx((0.5 + 0.125 + 0.03125) / 4)


def test_units():
    """Dead, on once, always on; a tie is off for a bit and on for a sign; positions are samples."""
    x = np.array([[-1.0, -1.0, 2.0, 0.0], [-2.0, 1.0, 1.0, 0.0]])
    bits, signs = only_row(Heaviside(), x), only_row(Sign(), x)
    assert (bits.dead, bits.always_on) == (0.5, 0.25)
    assert (signs.dead, signs.always_on) == (0.25, 0.5)
    maps = only_row(Heaviside(), x.reshape(1, 2, 1, 4))
    assert (maps.dead, maps.always_on, maps.units) == (0.5, 0.25, 4)


@pytest.mark.parametrize("name", ["atan", "htaf", "fast_sigmoid", "swish_sign", "rectangle"])
@pytest.mark.parametrize("kind", [Heaviside, Sign])
def test_surrogates(kind, name):
    """In units of any scale, and as the step itself is when it is smooth."""
    step = kind(name, forward="smooth")
    step.scale.assign(0.3)
    found = only_row(step, X)
    surrogate, z = step.surrogate, X / np.float32(0.3)
    slope = np.abs(to_numpy(surrogate.derivative(z)))
    bit = to_numpy(step(X))
    bit = (1 + bit) / 2 if kind is Sign else bit
    assert found.covered == pytest.approx(np.mean(np.abs(z) <= surrogate.width(0.95)), abs=0.01)
    assert found.passed == pytest.approx(slope.mean() / surrogate.peak, rel=1e-4)
    assert found.softness == pytest.approx(np.mean(4 * bit * (1 - bit)), rel=1e-4, abs=1e-6)
    assert found.error == pytest.approx(np.mean(np.abs(bit - (X > 0))), rel=1e-4)
    assert found.reach == pytest.approx(np.quantile(np.abs(X), 0.95), rel=0.05)


def test_slope_of_infinite_area_covers_everything():
    found = only_row(Sign(surrogates.Rectangle(clip=None)), 100 * X)
    assert (found.covered, found.passed, found.width) == (1.0, 1.0, np.inf)


def test_sharpness_per_channel():
    step = Heaviside("triangle", per_channel=True)
    model = keras.Sequential([keras.Input((2,)), step])
    step.sharpness.assign([1.0, 10.0])
    x = np.array([[0.5, 0.5], [-0.5, -0.5]])
    (row,) = diagnose(model, x, x, loss="mse").layers
    assert row.covered == 0.5
    assert row.passed == pytest.approx(0.25)


def test_units_along_several_axes():
    step = Heaviside("triangle", axis=(1, 2))
    model = keras.Sequential([keras.Input((2, 3)), step])
    x = np.array([[[1.0, -1.0, -1.0], [1.0, 1.0, -1.0]], [[1.0, -1.0, 1.0], [1.0, -1.0, -1.0]]])
    (row,) = diagnose(model, x, x, loss="mse").layers
    assert (row.units, row.dead, row.always_on) == (6, 2 / 6, 2 / 6)


def test_inputs_of_zero():
    found = only_row(Heaviside(), np.zeros((3, 2)))
    assert (found.rms, found.reach, found.covered, found.passed) == (0, 0, 1, 1)


# ---------------------------------------------------------------------------- gradients


@pytest.mark.parametrize(("forward", "batch_size"), [("hard", 1), ("hard", 3), ("smooth", 256)])
def test_gradient_by_hand(forward, batch_size):
    """x -> step -> 0.5 b - 0.3 -> step -> 3 b + 1 under the squared error, whatever the batches."""
    first, second = (Heaviside("triangle", forward=forward) for _ in range(2))
    model = keras.Sequential([keras.Input((1,)), first, Dense(1), second, Dense(1)])
    model.set_weights([np.array(w, "float32") for w in unravel(model, 0.5, -0.3, 3.0, 1.0)])
    x, y = np.array([-0.5, 0.25, 0.75, 2.0])[:, None], np.array([0.0, 1.0, -2.0, 5.0])[:, None]

    slope1, smooth1 = triangle(x)
    z2 = 0.5 * (smooth1 if forward == "smooth" else x > 0) - 0.3
    slope2, smooth2 = triangle(z2)
    outputs = 3.0 * (smooth2 if forward == "smooth" else z2 > 0) + 1.0
    at_second = 2 * (outputs - y) * 3.0 * slope2
    at_first = at_second * 0.5 * slope1
    expected = np.sqrt(np.mean(at_first**2) / np.mean(at_second**2))

    rows = diagnose(model, x, y, loss="mse", batch_size=batch_size).layers
    assert [row.gradient for row in rows] == pytest.approx([expected, 1.0], rel=1e-5)


def unravel(model, *numbers):
    """The model's weights with its kernels and biases replaced, in order."""
    numbers = iter(numbers)
    for w in model.weights:
        shape = tuple(w.shape)
        yield np.full(shape, next(numbers)) if w.name in ("kernel", "bias") else to_numpy(w)


def test_gradient_is_a_norm_over_units():
    """An orthogonal map preserves it, so that wide and narrow steps are comparable."""
    rectangle = {"surrogate": surrogates.Rectangle(clip=None), "forward": "smooth"}
    model = keras.Sequential(
        [keras.Input((4,)), Sign(**rectangle), Dense(2, use_bias=False), Sign(**rectangle)]
    )
    kernel = np.linalg.qr(random.normal(size=(4, 2)))[0]
    model.layers[1].kernel.assign(kernel)
    rows = diagnose(model, X, X[:, :2], loss="mse").layers
    assert rows[0].gradient == pytest.approx(1.0, rel=1e-5)


def test_penalties_count():
    """A layer's penalty reaches the steps before it only."""
    penalty = layers.ActivityPenalty(keras.regularizers.L1(1.0))
    plain, penalised = (
        model_of(Heaviside("atan"), *between, Dense(3), Heaviside("atan"), Dense(3))
        for between in ([], [penalty])
    )
    (without, _), (with_it, _) = (diagnose(m, X, Y).layers for m in (plain, penalised))
    assert with_it.gradient > 2 * without.gradient


def test_no_gradient():
    """Beyond the slope of the last step: nothing to relate to."""
    model = keras.Sequential([keras.Input((4,)), HTAF(), Dense(3, "linear"), Heaviside("triangle")])
    model.layers[1].bias.assign([50.0] * 3)
    diagnosis = diagnose(model, X, Y)
    assert [row.gradient for row in diagnosis.layers] == [None, None]
    assert any("no gradient of the loss arrives" in sentence for sentence in diagnosis.advice)
    assert json.dumps(diagnosis.to_dict(), allow_nan=False)
    assert " - " in str(diagnosis)


# ---------------------------------------------------------------------------- all kinds of models


@register
class Subclassed(keras.Model):
    """Its steps are listed in another order than they are computed."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.head = Dense(3)
        self.late = Sign("atan", name="late")
        self.early = Dense(4, activation=HTAF(name="early"))

    def build(self, input_shape):
        self.early.build(input_shape)
        self.late.build(input_shape)
        self.head.build(input_shape)

    def call(self, x):
        return self.head(self.late(self.early(x) - 0.5))


def subclassed():
    model = Subclassed()
    model(X)
    return model


def nested():
    inputs = keras.Input((4,))
    inner = keras.Sequential([keras.Input((4,)), Dense(5), HTAF(name="deep")], name="inner")
    x = Sign("atan", name="outer")(Dense(3)(inner(inputs)))
    return keras.Model(inputs, Dense(3)(x))


def convolutional():
    conv = keras.layers.Conv2D(3, 2, activation=HTAF(name="maps", per_channel=True))
    head = [keras.layers.GlobalAveragePooling2D(), Heaviside(name="bits"), Dense(3)]
    return keras.Sequential([keras.Input((4,)), keras.layers.Reshape((2, 2, 1)), conv, *head])


@pytest.mark.parametrize(
    ("build", "names"),
    [
        (subclassed, ["early/early", "late"]),
        (nested, ["inner/deep", "outer"]),
        (convolutional, ["conv2d/maps", "bits"]),
    ],
    ids=lambda p: getattr(p, "__name__", ""),
)
def test_order_and_names(build, names):
    keras.utils.clear_session()
    diagnosis = diagnose(seeded(build()), X, Y)
    assert [row.name.replace("dense_1", "early") for row in diagnosis.layers] == names
    assert diagnosis.layers[-1].gradient == 1.0
    assert diagnosis.loss == "sparse_categorical_crossentropy"
    assert not any("could not be compared" in sentence for sentence in diagnosis.advice)


def test_steps_of_one_path():
    def block():
        inner = keras.Sequential([keras.Input((4,)), HTAF(name="step")], name="inner")
        return keras.Sequential([keras.Input((4,)), inner])

    model = keras.Sequential([keras.Input((4,)), block(), block(), Dense(3)])
    names = [row.name for row in diagnose(model, X, Y).layers]
    assert names == ["inner/step", "inner/step#2"]


def test_shared_step_counts_each_call():
    step, inputs = Heaviside("triangle"), keras.Input((2,))
    model = keras.Model(inputs, step(step(inputs) - 0.5))
    x = np.array([[-1.0, 0.5], [-0.5, 2.0]])
    diagnosis = diagnose(model, x, x, loss="mse")
    (row,) = diagnosis.layers
    both = np.concatenate([x, (x > 0) - 0.5])
    assert row.units == 4
    assert row.rms == pytest.approx(np.sqrt(np.mean(both**2)))
    assert row.passed == pytest.approx(np.mean(triangle(both)[0]))
    assert (row.dead, row.always_on, row.gradient) == (0.5, 0.5, 1.0)


def test_batch_normalisation_as_in_training():
    norm = keras.layers.BatchNormalization(epsilon=1e-6)
    model = model_of(norm, Heaviside("triangle"), Dense(3))
    norm.moving_mean.assign([9.0] * 4)
    (row,) = diagnose(model, X, Y).layers
    z = (X - X.mean(axis=0)) / X.std(axis=0)
    assert row.rms == pytest.approx(1.0, rel=1e-4)
    assert row.passed == pytest.approx(triangle(z)[0].mean(), rel=1e-4)


def test_half_precision():
    def build(policy):
        parts = (Dense(6, dtype=policy), HTAF(dtype=policy), Dense(3, dtype=policy))
        return model_of(*parts, Sign("atan", dtype=policy), Dense(3, dtype="float32"))

    whole, half = (diagnose(build(p), X, Y).layers for p in ("float32", "mixed_bfloat16"))
    for one, other in zip(whole, half, strict=True):
        for key in ("rms", "reach", "passed", "softness", "error", "gradient"):
            assert getattr(other, key) == pytest.approx(getattr(one, key), rel=0.05), key


def test_nothing_changes():
    """Weights, moving averages, generators of random numbers, metrics, modes and hooks."""
    keras.utils.set_random_seed(3)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            Dense(8, kernel_regularizer="l2"),
            keras.layers.BatchNormalization(),
            keras.layers.GaussianNoise(0.5),
            HTAF(trainable_alpha=True),
            keras.layers.Dropout(0.3, seed=1),
            layers.ActivityPenalty("l2"),
            Dense(3, activation=Heaviside()),
            Dense(3),
        ]
    )
    model.compile("adam", keras.losses.SparseCategoricalCrossentropy(True), metrics=["accuracy"])
    model.fit(X, Y, verbose=0)
    outputs = to_numpy(model(X))

    def state():
        metrics = [to_numpy(v) for v in model.metrics_variables]
        return [to_numpy(v) for v in model.variables + model.optimizer.variables] + metrics

    before = state()
    first = diagnose(model, X, Y, batch_size=16)
    for one, other in zip(before, state(), strict=True):
        np.testing.assert_array_equal(one, other)
    assert [step.forward_mode for step in step_layers(model)] == ["smooth", "hard"]
    assert all(not step._taps and not step._observers for step in step_layers(model))
    np.testing.assert_array_equal(to_numpy(model(X)), outputs)
    assert diagnose(model, X, Y, batch_size=16) == first  # with the same noise
    model.fit(X, Y, verbose=0)


# ---------------------------------------------------------------------------- tasks


def by_hand(model, x, hard):
    """Outputs of Dense, HTAF(2), Dense."""
    w1, b1, w2, b2 = (to_numpy(w) for w in model.trainable_weights)
    z = x @ w1 + b1
    return (z > 0 if hard else 1 / (1 + np.exp(-2 * np.tanh(0.5 * z)))) @ w2 + b2


@pytest.mark.parametrize("labels", [Y, Y[:, None], np.eye(3)[Y]], ids=["n", "n1", "one_hot"])
def test_classification(labels):
    model = model_of(Dense(6), HTAF(2.0), Dense(3))
    diagnosis = diagnose(model, X, labels, batch_size=16)
    smooth, hard = (by_hand(model, X, hard).argmax(axis=1) for hard in (False, True))
    assert diagnosis.scores == pytest.approx(
        {
            "smooth_accuracy": np.mean(smooth == Y),
            "hard_accuracy": np.mean(hard == Y),
            "gap": np.mean(smooth == Y) - np.mean(hard == Y),
            "disagreement": np.mean(smooth != hard),
        }
    )
    name = "categorical_crossentropy"
    assert diagnosis.loss == (
        name if labels.ndim == 2 and labels.shape[1] > 1 else f"sparse_{name}"
    )
    assert "points (gradients of" in str(diagnosis)


@pytest.mark.parametrize("targets", [X[:, :1], X[:, 0]], ids=["n1", "n"])
def test_regression(targets):
    model = model_of(Dense(6), HTAF(2.0), Dense(1))
    diagnosis = diagnose(model, X, targets, batch_size=16)
    assert diagnosis.loss == "mean_squared_error"
    expected = {
        f"{mode}_mean_squared_error": np.mean((by_hand(model, X, hard) - X[:, :1]) ** 2)
        for mode, hard in (("smooth", False), ("hard", True))
    }
    assert diagnosis.scores == pytest.approx(expected, rel=1e-4)
    assert "mean squared error" in str(diagnosis)


def test_one_hot_targets_of_a_distance_are_a_regression():
    model = model_of(Dense(6), HTAF(2.0), Dense(3))
    assert "gap" not in diagnose(model, X, np.eye(3)[Y], loss="mse").scores


@pytest.mark.parametrize(
    ("last", "logits"),
    [
        ([Dense(1)], True),
        ([Dense(1, activation="sigmoid")], False),
        ([Dense(1), keras.layers.Activation("sigmoid")], False),
    ],
    ids=["linear", "sigmoid", "layer"],
)
def test_single_output(last, logits):
    model = model_of(Dense(6), HTAF(2.0), *last)
    labels = (Y > 0).astype(int)
    diagnosis = diagnose(model, X, labels)
    assert diagnosis.loss == "binary_crossentropy"
    decisions = by_hand(model, X, hard=True)[:, 0] > 0
    assert diagnosis.scores["hard_accuracy"] == pytest.approx(np.mean(decisions == labels))
    loss = keras.losses.BinaryCrossentropy(from_logits=logits)
    given = diagnose(model, X, labels, loss=loss)
    assert given.scores == diagnosis.scores


def test_softmax_is_told_from_logits():
    """The gradients of the two are those of the same loss."""
    logits, probabilities, operation = (
        model_of(Heaviside("atan"), Dense(3), Heaviside("atan"), Dense(3), *end)
        for end in ([], [keras.layers.Softmax()], [])
    )
    operation = keras.Model(operation.inputs[0], keras.ops.softmax(operation.outputs[0]))
    expected = diagnose(logits, X, Y).layers[0].gradient
    for other in (probabilities, operation):
        assert diagnose(other, X, Y).layers[0].gradient == pytest.approx(expected, rel=1e-4)


def test_probabilities_as_targets():
    """Of a cross-entropy: smoothed one-hot labels are classes, several hot ones are not."""
    model = model_of(Dense(6), HTAF(2.0), Dense(3))
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    smoothed = 0.9 * np.eye(3)[Y] + 0.1 / 3
    assert diagnose(model, X, smoothed, loss=loss).scores["gap"] < 1
    assert "gap" not in diagnose(model, X, np.float32(X[:, :3] > 0), loss=loss).scores
    ignoring = keras.losses.SparseCategoricalCrossentropy(True, ignore_class=-1)
    assert "gap" not in diagnose(model, X, Y - 1, loss=ignoring).scores


def test_the_compiled_loss_is_used():
    model = model_of(Dense(6), HTAF(2.0), Dense(3, activation="softmax"))
    for loss in ("sparse_categorical_crossentropy", ["sparse_categorical_crossentropy"]):
        model.compile("sgd", loss)
        assert diagnose(model, X, Y.astype("float32")).scores["smooth_accuracy"] >= 0
    model.compile("sgd", "mae")
    assert diagnose(model, X, X[:, :3]).loss == "mean_absolute_error"
    assert diagnose(model, X, Y, loss="sparse_categorical_crossentropy").scores["gap"] < 1


def test_a_loss_of_ones_own():
    """Its targets may have any shape; then there is nothing to score."""
    model = model_of(Dense(6), HTAF(2.0), Dense(3))

    def own(y, outputs):
        return keras.ops.mean(keras.ops.square(outputs), axis=-1) * keras.ops.cast(y, "float32")

    diagnosis = diagnose(model, X, X[:, 0], loss=own)
    assert (diagnosis.loss, diagnosis.scores) == ("own", {})
    assert "on 40 samples (gradients of own)" in str(diagnosis)


def test_images_of_bytes():
    model = keras.Sequential([keras.Input((4,), dtype="uint8"), keras.layers.Rescaling(1 / 255)])
    model.add(Dense(3))
    model.add(HTAF())
    model.add(Dense(3))
    assert diagnose(model, random.integers(0, 256, (40, 4), "uint8"), Y).samples == 40


def test_a_model_that_cannot_be_rebuilt():
    @keras.saving.register_keras_serializable(package="test_diagnose")
    class Unsaved(keras.Model):
        def __init__(self, units):
            super().__init__()
            self.dense = Dense(units, activation=HTAF())

        def call(self, x):
            return self.dense(x)

    model = Unsaved(3)
    model(X)
    diagnosis = diagnose(model, X, Y)
    assert diagnosis.scores == {}
    assert len(diagnosis.layers) == 1
    assert any("cannot be rebuilt from its config" in sentence for sentence in diagnosis.advice)


# ---------------------------------------------------------------------------- errors


def test_errors():
    model = model_of(Dense(6), HTAF(), Dense(3))
    for wrong, match in [
        ((X[:-1], Y), "Received 39 inputs and 40 labels"),
        ((X[:0], Y[:0]), "at least one"),
        ((np.where(X > 1, np.nan, X), Y), r"Received x with \d+ values that are NaN"),
        ((X, np.full(40, np.inf)), "Received y with 40 values"),
        (([X, X[:3]], Y), "Expected one array|inhomogeneous"),
        (({"a": X}, Y), "Received x of dtype object"),
        ((X, Y + 1), r"Expected targets of the outputs' shape, or class labels from 0 to 2"),
    ]:
        with pytest.raises(ValueError, match=match):
            diagnose(model, *wrong)
    with pytest.raises(ValueError, match="Expected a positive integer"):
        diagnose(model, X, Y, batch_size=0)
    for labels in (Y + 1, Y - 1, Y + 0.5, np.eye(4)[Y], Y.astype(str)):
        with pytest.raises(ValueError, match=r"from 0 to 2 of shape|Received y of dtype <U"):
            diagnose(model, X, labels, loss="sparse_categorical_crossentropy")
    with pytest.raises(ValueError, match="Received 2 losses"):
        diagnose(model, X, Y, loss=["mse", "mae"])


@only["jax"]
def test_steps_within_a_compiled_loop():
    model = keras.Sequential([keras.Input((5, 4)), keras.layers.SimpleRNN(3, activation=HTAF())])
    with pytest.raises(ValueError, match="is called within a compiled loop"):
        diagnose(model, random.normal(size=(40, 5, 4)), Y)


def test_errors_about_the_model():
    with pytest.raises(ValueError, match=r"Received HTAF\. Expected a keras\.Model"):
        diagnose(HTAF(), X, Y)
    with pytest.raises(ValueError, match="is not built"):
        diagnose(keras.Sequential([HTAF()]), X, Y)
    with pytest.raises(ValueError, match="has no step layer"):
        diagnose(model_of(Dense(3)), X, Y)
    inputs = keras.Input((4,))
    two = keras.Model(inputs, [HTAF()(inputs), Dense(3)(inputs)])
    with pytest.raises(ValueError, match="list of 2 outputs"):
        diagnose(two, X, Y)
    broken = model_of(Dense(6), HTAF(name="bits"), Dense(3))
    broken.layers[0].bias.assign([np.nan] * 6)
    with pytest.raises(ValueError, match="Step 'bits' receives inputs that are not finite"):
        diagnose(broken, X, Y)
    broken = model_of(Dense(6), HTAF(name="bits"), Dense(3))
    broken.layers[2].bias.assign([np.nan] * 3)
    with pytest.raises(ValueError, match="gradient at step 'bits' is not finite"):
        diagnose(broken, X, Y)
