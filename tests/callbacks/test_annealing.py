"""AnnealSharpness: what the sharpness really is while the model trains."""

import warnings

import keras
import numpy as np
import pytest
from support import BACKEND, tensor, to_numpy

from keras_htaf.callbacks import AnnealSharpness
from keras_htaf.constraints import WeightClip
from keras_htaf.distillation import Distiller
from keras_htaf.hardening import step_layers
from keras_htaf.layers import HTAF, LIF, BinaryDense, Heaviside, Sign
from keras_htaf.surrogates import FastSigmoid

X = np.random.default_rng(0).normal(size=(12, 3)).astype("float32")
Y = np.ones((12, 2), "float32")

FORMULAS = {
    "exponential": lambda p: 2.0 * 8.0**p,
    "linear": lambda p: 2.0 + 14.0 * p,
    "cosine": lambda p: 16.0 - 14.0 * (1 + np.cos(np.pi * p)) / 2,
}


def make_model(step=None):
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2), step or HTAF()])
    model.compile("sgd", "mse")
    return model


@keras.saving.register_keras_serializable("test_annealing")
class Probe(keras.layers.Layer):
    """Gives the sharpness of its step as seen inside the compiled training step."""

    traces = 0

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.step = HTAF()

    def call(self, x):
        type(self).traces += 1
        # Read from the output of the step, as training sees it: alpha = logit(h) / tanh(beta x).
        h = self.step(keras.ops.zeros_like(x) + 0.1)
        return keras.ops.log(h / (1 - h)) / np.tanh(0.05)


class SeenInTraining(keras.callbacks.Callback):
    """The logged loss of a `probe_model`: the mean sharpness in the epoch's batches so far."""

    def __init__(self):
        super().__init__()
        self.values = []

    def on_train_batch_end(self, batch, logs=None):
        self.values.append(float(logs["loss"]))


def probe_model():
    inputs = keras.Input((3,))
    model = keras.Model(inputs, keras.layers.Dense(1, trainable=False)(Probe()(inputs)))
    model.layers[-1].set_weights([np.full((3, 1), 1 / 3), np.zeros(1)])
    model.compile("sgd", lambda y, h: keras.ops.mean(h))
    return model


def seen(callback, model=None, batches=2, data=None, **kwargs):
    """The sharpness in every training batch."""
    model = model or probe_model()
    watch = SeenInTraining()
    data = data or {"x": X, "y": Y[:, :1], "batch_size": 12 // batches}
    model.fit(**data, verbose=0, shuffle=False, callbacks=[callback, watch], **kwargs)
    means = np.array(watch.values).reshape(-1, batches)  # running means over an epoch
    sums = means * np.arange(1, batches + 1)
    return np.diff(sums, axis=1, prepend=0.0)


@pytest.mark.parametrize("schedule", FORMULAS)
def test_per_epoch(schedule):
    values = seen(AnnealSharpness(2.0, 16.0, schedule), epochs=5)
    expected = [[FORMULAS[schedule](e / 4)] * 2 for e in range(5)]
    np.testing.assert_allclose(values, expected, rtol=1e-4)


@pytest.mark.parametrize("schedule", FORMULAS)
def test_per_step(schedule):
    callback = AnnealSharpness(2.0, 16.0, schedule, frequency="step")
    values = seen(callback, epochs=3, batches=4)
    expected = FORMULAS[schedule](np.arange(12).reshape(3, 4) / 11)
    np.testing.assert_allclose(values, expected, rtol=2e-4)


def test_callable_and_downwards():
    values = seen(AnnealSharpness(schedule=lambda p: 5.0 - 3.0 * p), epochs=4)
    np.testing.assert_allclose(values[:, 0], [5.0, 4.0, 3.0, 2.0], rtol=1e-4)
    values = seen(AnnealSharpness(16.0, 4.0), epochs=3)
    np.testing.assert_allclose(values[:, 0], [16.0, 8.0, 4.0], rtol=1e-4)


@pytest.mark.parametrize(("epochs", "expected"), [(3, [2, 4, 8, 8]), (5, [2, 2**1.5, 4, 2**2.5])])
def test_epochs_other_than_those_of_fit(epochs, expected):
    values = seen(AnnealSharpness(2.0, 8.0, epochs=epochs), epochs=4)
    np.testing.assert_allclose(values[:, 0], expected, rtol=1e-4)


def test_one_epoch_trains_at_the_start():
    np.testing.assert_allclose(seen(AnnealSharpness(3.0, 9.0), epochs=1), 3.0, rtol=1e-4)


@pytest.mark.filterwarnings("ignore:.*ran out of data")
def test_data_of_unknown_length():
    """The first epoch trains at `start`; then the number of steps is known."""
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices((X, Y[:, :1])).batch(6).filter(lambda x, y: True)
    callback = AnnealSharpness(2.0, 12.0, frequency="step", schedule="linear")
    values = seen(callback, data={"x": data}, epochs=3)
    np.testing.assert_allclose(values, [[2, 2], [6, 8], [10, 12]], rtol=2e-4)
    values = seen(AnnealSharpness(2.0, 12.0, schedule="linear"), data={"x": data}, epochs=3)
    np.testing.assert_allclose(values[:, 0], [2, 7, 12], rtol=2e-4)


@pytest.mark.parametrize("frequency", ["epoch", "step"])
def test_resumed_is_uninterrupted(frequency):
    def callback():
        return AnnealSharpness(2.0, 16.0, frequency=frequency)

    whole = seen(callback(), epochs=5)
    model, one = probe_model(), callback()
    begun = seen(one, model, epochs=2)
    again = seen(one, model, initial_epoch=2, epochs=5)
    np.testing.assert_allclose(again, whole[2:], rtol=1e-5)
    assert np.all(begun <= 16.0 * (1 + 1e-4))
    other = seen(callback(), initial_epoch=2, epochs=5)  # a new process
    np.testing.assert_allclose(other, whole[2:], rtol=1e-5)
    begun = seen(AnnealSharpness(2.0, 16.0, frequency=frequency, epochs=5), epochs=2)
    np.testing.assert_allclose(begun, whole[:2], rtol=1e-5)


def test_logs_and_final_weights():
    model = make_model()
    history = model.fit(X, Y, epochs=3, verbose=0, callbacks=[AnnealSharpness(2.0, 8.0)]).history
    np.testing.assert_allclose(history["sharpness"], [2.0, 4.0, 8.0])
    assert float(to_numpy(model.layers[-1].sharpness)) == pytest.approx(8.0)
    assert np.any(model.get_weights()[0] != 0)


def test_it_does_not_stop_the_training():
    """Weights read anew by `fit` are those that training has reached, on JAX too."""

    def trained(*callbacks):
        keras.utils.set_random_seed(3)
        model = make_model(HTAF(4.0))
        model.fit(X, Y, epochs=3, batch_size=4, shuffle=False, verbose=0, callbacks=callbacks)
        return model.get_weights()

    constant = AnnealSharpness(schedule=lambda p: 4.0 + 1e-6 * p, frequency="step")
    for one, other in zip(trained(), trained(constant), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_every_kind_of_step():
    inputs = keras.Input((3,))
    x = keras.layers.Dense(4, activation=HTAF(name="inner"))(inputs)
    x = Sign("atan", per_channel=True, name="signs")(x)
    x = keras.Sequential([keras.layers.Dense(2), Heaviside("erf", name="bits")])(x)
    model = keras.Model(inputs, x)
    model.compile("sgd", "mse")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[AnnealSharpness(2.0, 5.0)])
    assert len(step_layers(model)) == 3
    for step in step_layers(model):
        np.testing.assert_allclose(to_numpy(step.sharpness), 5.0)
    only = AnnealSharpness(1.0, 7.0, layers=["signs", "inner"])
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[only])
    values = {step.name: to_numpy(step.sharpness).tolist() for step in step_layers(model)}
    assert values == {"signs": [7.0] * 4, "bits": 5.0, "inner": 7.0}


def test_layers_that_hold_steps_are_named():
    """Neurons, whose steps all have one name; of binary layers not the kernels' quantizers."""
    binary = BinaryDense(3, input_quantizer="sign", kernel_quantizer="sign", name="binary")
    model = keras.Sequential([keras.Input((2, 3)), LIF(name="one"), LIF(name="two"), binary])
    model.compile("sgd", "mse")
    neurons = [model.get_layer(name).spike for name in ("one", "two")]
    steps = (*neurons, binary.input_quantizer, binary.kernel_quantizer)
    one, two, inputs, kernel = weights = [step.sharpness for step in steps]
    x = np.ones((2, 2, 3))
    for names, annealed in (
        (["two"], [two]),
        (["spike"], [one, two]),
        (["one", "binary"], [one, inputs]),
        (["kernel_quantizer"], [kernel]),
    ):
        for weight in weights:
            weight.assign(3.0)
        model.fit(x, x, verbose=0, callbacks=[AnnealSharpness(5.0, 5.0, layers=names)])
        found = [float(to_numpy(weight)) == 5.0 for weight in weights]
        assert found == [any(weight is a for a in annealed) for weight in weights]
    with pytest.raises(ValueError, match=r"one/spike', .*two/spike'.* the names \['three'\]"):
        model.fit(x, x, verbose=0, callbacks=[AnnealSharpness(layers=["one", "three"])])


def test_a_step_that_is_only_an_activation_from_the_first_batch():
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(2, activation=HTAF(8.0))])
    model.layers[0].kernel.assign(np.zeros((3, 2)))
    model.layers[0].bias.assign(np.full(2, 0.1))
    model.compile("sgd", lambda y, h: keras.ops.mean(h))
    loss = model.fit(X, Y, verbose=0, batch_size=12, callbacks=[AnnealSharpness(2.0, 16.0)]).history
    assert loss["loss"][0] == pytest.approx(1 / (1 + np.exp(-2 * np.tanh(0.05))), rel=1e-5)


@pytest.mark.skipif(BACKEND == "torch", reason="torch runs eagerly")
def test_no_retracing():
    model = probe_model()
    seen(AnnealSharpness(2.0, 4.0, frequency="step"), model, epochs=1)
    traces = Probe.traces
    seen(AnnealSharpness(2.0, 16.0, frequency="step"), model, epochs=4)
    seen(AnnealSharpness(2.0, 16.0), model, epochs=3)
    assert Probe.traces == traces


@pytest.mark.skipif(BACKEND == "torch", reason="Keras on torch executes one step at a time")
def test_steps_per_execution():
    model = make_model()
    model.compile("sgd", "mse", steps_per_execution=2)
    model.fit(
        X,
        Y,
        batch_size=3,
        epochs=2,
        verbose=0,
        callbacks=[AnnealSharpness(2.0, 16.0, "linear", frequency="step")],
    )
    assert float(to_numpy(model.layers[-1].sharpness)) == pytest.approx(14.0)  # at batch 6 of 0..7


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"start": 0.0}, "Received start=0.0"),
        ({"start": 2.0, "end": float("nan")}, "Received end=nan"),
        ({"start": 2.0, "end": 1e30}, r"Received end=1e\+30\. Expected 1e-06 to 1e\+06"),
        ({"end": 2.0}, "Received no start. Expected start and end, or peak"),
        ({"start": 2.0, "end": 3.0, "peak": (1.0, 2.0)}, "Expected either"),
        ({"schedule": lambda p: 1.0, "peak": (1.0, 2.0)}, "a function as schedule. Expected"),
        ({"peak": 2.0}, "Received peak=2.0. Expected the two peaks"),
        ({"peak": (0.0, 2.0)}, r"Received peak\[0\]=0.0"),
        ({"layers": "bits"}, r"Expected a list of names: \['bits'\]"),
        ({"schedule": "sqrt"}, "Received schedule='sqrt'"),
        ({"frequency": "batch"}, "Received frequency='batch'"),
        ({"epochs": 0}, "Received epochs=0"),
        ({"schedule": lambda p: -1.0}, r"Received schedule\(progress\)=-1.0"),
        ({"layers": ["bots"]}, r"'.*bits'\].*with the names \['bots'\]"),
    ],
)
def test_errors(arguments, message):
    with pytest.raises(ValueError, match=message):
        make_model(HTAF(name="bits")).fit(X, Y, verbose=0, callbacks=[AnnealSharpness(**arguments)])


def slopes(model):
    """The slope at the threshold of each step, as the gradient sees it."""
    gains = [s.surrogate.sign_gain if s.rise == 2 else 1.0 for s in step_layers(model)]
    return [
        gain * float(to_numpy(s.surrogate.derivative(tensor(0.0), float(to_numpy(s.sharpness)))))
        for s, gain in zip(step_layers(model), gains, strict=True)
    ]


def test_a_peak_is_the_same_for_every_slope():
    """The bits' is the peak, the signs' twice that, also of slopes stated for signs."""
    steps = [HTAF(8.0, beta=0.3), Heaviside("atan"), Sign("triangle"), Sign("swish_sign")]
    steps += [Heaviside("approx_sign"), Sign(FastSigmoid(normalized="area")), Sign("ede")]
    model = keras.Sequential([keras.Input((3,)), *steps, keras.layers.Dense(2)])
    model.compile("sgd", "mse")
    anneal = AnnealSharpness(peak=(0.6, 1.5))
    history = model.fit(X, Y, epochs=2, verbose=0, callbacks=[anneal]).history
    assert history["peak"] == [0.6, 1.5]
    np.testing.assert_allclose(slopes(model), [1.5, 1.5, 3, 3, 1.5, 3, 3], rtol=1e-5)


def test_the_default_is_a_peak():
    model = make_model()
    model.fit(X, Y, epochs=3, verbose=0, callbacks=[AnnealSharpness()])
    assert float(to_numpy(model.layers[-1].sharpness)) == pytest.approx(16.0)
    assert AnnealSharpness().sharpness_at(0.5) == pytest.approx(0.5**0.5)


def test_a_slope_that_cannot_have_the_peak():
    model = make_model(Sign("fast_sigmoid", name="stuck"))
    with pytest.raises(ValueError, match=r"'stuck' cannot .* is 1 at every sharpness"):
        model.fit(X, Y, verbose=0, callbacks=[AnnealSharpness(peak=(0.25, 2.0))])


def test_model_without_steps():
    model = make_model(keras.layers.ReLU())
    with pytest.raises(ValueError, match="nothing to anneal"):
        model.fit(X, Y, verbose=0, callbacks=[AnnealSharpness()])


def test_per_channel_step_as_an_activation():
    step = HTAF(per_channel=True, name="step")
    model = keras.Sequential([keras.Input((4,)), keras.layers.Dense(3, activation=step)])
    model.compile("sgd", "mse")
    model(np.ones((2, 4)))  # on TensorFlow the step has no weight before, and annealing says so
    model.fit(
        np.ones((8, 4)), np.ones((8, 3)), epochs=2, verbose=0, callbacks=[AnnealSharpness(2, 8)]
    )
    np.testing.assert_array_equal(to_numpy(step.sharpness), [8.0, 8.0, 8.0])


@pytest.mark.parametrize("layers", [None, ["step"]])
def test_frozen_steps_keep_their_sharpness(layers):
    """Those of a teacher, and of a layer that is frozen from the beginning."""
    step, taught = HTAF(name="step"), HTAF(name="step")
    fixed = keras.layers.Dense(3, activation=HTAF(name="step"), trainable=False)
    student = keras.Sequential([keras.Input((3,)), fixed, step, keras.layers.Dense(2)])
    teacher = keras.Sequential([keras.Input((3,)), taught, keras.layers.Dense(2)])
    before = float(to_numpy(taught.sharpness))
    distiller = Distiller(student, teacher)
    distiller.compile("sgd")
    anneal = AnnealSharpness(2.0, 16.0, layers=layers)
    distiller.fit(X, epochs=2, verbose=0, callbacks=[anneal])
    found = [float(to_numpy(s.sharpness)) for s in (step, taught, fixed.activation)]
    assert found == [16.0, before, before]
    student.trainable = False
    student.compile("sgd", "mse")
    with pytest.raises(ValueError, match=r"step layers \[\] .*frozen ones left out"):
        student.fit(X, Y, verbose=0, callbacks=[anneal])


def binary_model(kernel_quantizer, clip=1.0, input_quantizer="sign"):
    layer = BinaryDense(
        2,
        input_quantizer=input_quantizer,
        kernel_quantizer=kernel_quantizer,
        kernel_constraint=WeightClip(clip),
    )
    return make_model(layer)


@pytest.mark.parametrize(
    ("quantizer", "end", "clip", "warns"),
    [
        ("ste_sign", 2.0, 1.0, True),
        ("xnor_sign", 4.0, 1.0, True),
        ("ternary", 2.0, 1.0, True),
        ("ste_sign", 2.0, 0.5, False),
        ("ste_sign", 1.0, 1.0, False),
        ("sign", 16.0, 1.0, False),
    ],
)
def test_a_slope_shorter_than_the_clip_warns(quantizer, end, clip, warns):
    model = binary_model(quantizer, clip)
    layers = ["kernel_quantizer"]
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        anneal = AnnealSharpness(0.5, end, layers=layers)
        model.fit(X, Y, epochs=3, verbose=0, callbacks=[anneal])
    found = [str(w.message) for w in caught if "get no gradient any more" in str(w.message)]
    assert len(found) == warns
    if warns:
        assert "kernel_quantizer of layer" in found[0]
    assert float(to_numpy(model.layers[-1].kernel_quantizer.sharpness)) == pytest.approx(end)


def test_ternary_inputs_are_annealed():
    model = binary_model("sign", input_quantizer="ternary")
    model.fit(X, Y, epochs=2, verbose=0, callbacks=[AnnealSharpness(1.0, 4.0)])
    layer = model.layers[-1]
    assert float(to_numpy(layer.input_quantizer.sharpness)) == 4.0
    assert float(to_numpy(layer.kernel_quantizer.sharpness)) == 8.0
