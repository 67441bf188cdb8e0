"""harden, soften and observe_steps, on every way of building a Keras model."""

import keras
import numpy as np
import pytest
from support import to_numpy

from keras_htaf import calibrate, diagnose, harden, load_model, ops, soften
from keras_htaf.hardening import observe_steps, step_layers
from keras_htaf.layers import HTAF, BinaryDense, Heaviside, Sign

register = keras.saving.register_keras_serializable(package="test_hardening")
X = np.random.default_rng(0).normal(size=(16, 5)).astype("float32")


@register
class Block(keras.layers.Layer):
    """A custom layer with a step inside."""

    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.dense = keras.layers.Dense(units)
        self.bits = HTAF(3.0)

    def build(self, input_shape):
        self.dense.build(input_shape)
        self.bits.build((*input_shape[:-1], self.units))

    def call(self, x):
        return self.bits(self.dense(x))

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class Subclassed(keras.Model):
    def __init__(self, units=4, **kwargs):
        super().__init__(**kwargs)
        self.units = units
        self.block = Block(units)
        self.signs = Sign("atan", forward="smooth")

    def build(self, input_shape):
        self.block.build(input_shape)
        self.signs.build((*input_shape[:-1], self.units))

    def call(self, x):
        return self.signs(self.block(x) - 0.5)

    def get_config(self):
        return {**super().get_config(), "units": self.units}


@register
class WithoutConfig(keras.Model):
    def __init__(self, units):
        super().__init__()
        self.dense = keras.layers.Dense(units, activation=HTAF())

    def call(self, x):
        return self.dense(x)


def functional():
    inputs = keras.Input((5,))
    x = keras.layers.Dense(8)(inputs)
    bits, signs = HTAF(name="bits")(x), Sign("atan", forward="smooth", name="signs")(x)
    return keras.Model(inputs, keras.layers.Concatenate()([bits, signs]))


def sequential():
    layers = [keras.layers.Dense(8), keras.layers.BatchNormalization(), HTAF(2.0, per_channel=True)]
    return keras.Sequential([keras.Input((5,)), *layers])


def nested():
    inputs = keras.Input((5,))
    return keras.Model(
        inputs, keras.Sequential([keras.layers.Dense(5), HTAF()])(functional()(inputs))
    )


def custom_layer():
    return keras.Sequential([keras.Input((5,)), Block(), keras.layers.Dense(3), Block(2)])


def activation():
    return keras.Sequential([keras.Input((5,)), keras.layers.Dense(4, activation=HTAF(3.0))])


def activation_layer():
    return keras.Sequential([keras.Input((5,)), keras.layers.Activation(HTAF(3.0))])


def subclassed():
    model = Subclassed()
    model(X)
    return model


def shared():
    step, dense = HTAF(), keras.layers.Dense(5)
    inputs = keras.Input((5,))
    return keras.Model(inputs, step(dense(step(dense(inputs)))))


MODELS = {
    f.__name__: (f, steps)
    for f, steps in [
        (functional, 2),
        (sequential, 1),
        (nested, 3),
        (custom_layer, 2),
        (activation, 1),
        (activation_layer, 1),
        (subclassed, 2),
        (shared, 1),
    ]
}
every_model = pytest.mark.parametrize(("build", "steps"), MODELS.values(), ids=MODELS)


def modes(model):
    return {layer.forward_mode for layer in step_layers(model)}


def make(build):
    """The model with seeded weights, the sharpnesses among them unlike their initial values."""
    keras.utils.set_random_seed(1)
    model = build()
    random = np.random.default_rng(2)
    model.set_weights([perturbed(w, random) for w in model.weights])
    return model


def perturbed(weight, random):
    noise = random.normal(0, 0.1, weight.shape)
    return to_numpy(weight) + (np.abs(noise) if weight.name == "sharpness" else noise)


@every_model
def test_harden(build, steps):
    model = make(build)
    outputs, weights = model.predict(X, verbose=0), model.get_weights()
    config = model.get_config()
    hard = harden(model)

    assert hard is not model
    assert len(step_layers(hard)) == len(step_layers(model)) == steps
    assert modes(hard) == {"hard"}
    with observe_steps(hard) as seen:
        hard(X)
    assert len(seen) == steps
    for values in seen.values():
        for value in map(to_numpy, values):
            assert len(np.unique(value)) <= 2
            assert np.isin(value, [-1.0, 0.0, 1.0]).all()
    for one, other in zip(weights, hard.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)

    # The original is untouched, and stays so when its twin changes.
    hard.set_weights([w + 1.0 for w in weights])
    assert modes(model) == {"smooth"}
    assert model.get_config() == config
    np.testing.assert_array_equal(model.predict(X, verbose=0), outputs)


@every_model
def test_soften_undoes_harden(build, steps):
    model = make(build)
    softened = soften(harden(model))
    assert modes(softened) == {"smooth"}
    np.testing.assert_allclose(
        softened.predict(X, verbose=0), model.predict(X, verbose=0), atol=1e-6
    )


@every_model
def test_saved_hard_stays_hard(build, steps, tmp_path):
    hard = harden(make(build))
    hard.save(tmp_path / "hard.keras")
    again = load_model(tmp_path / "hard.keras")
    assert modes(again) == {"hard"}
    np.testing.assert_array_equal(again.predict(X, verbose=0), hard.predict(X, verbose=0))
    softened = soften(again)
    softened.save(tmp_path / "soft.keras")
    assert modes(load_model(tmp_path / "soft.keras")) == {"smooth"}


@every_model
def test_weights_alone_carry_the_mode(build, steps, tmp_path):
    hard = harden(make(build))
    hard.save_weights(tmp_path / "hard.weights.h5")
    fresh = make(build)
    fresh.load_weights(tmp_path / "hard.weights.h5")
    assert modes(fresh) == {"hard"}


def test_compiled_state_is_kept():
    model = make(sequential)
    model.compile(keras.optimizers.Adam(0.123), "mse", metrics=["mae"])
    hard = harden(model)
    assert hard.compiled
    assert float(hard.optimizer.learning_rate) == pytest.approx(0.123)
    assert hard.optimizer is not model.optimizer
    results = hard.evaluate(X, np.zeros((16, 8)), verbose=0, return_dict=True)
    assert results["loss"] == pytest.approx(np.mean(hard.predict(X, verbose=0) ** 2), rel=1e-5)
    assert "mae" in results
    assert not harden(make(sequential)).compiled


def test_hard_models_train():
    hard = harden(make(functional))
    hard.compile("sgd", "mse")
    before = hard.get_weights()[0]
    hard.fit(X, np.ones((16, 16)), verbose=0)
    assert np.any(hard.get_weights()[0] != before)


def test_frozen_layers_stay_frozen():
    model = make(sequential)
    model.layers[0].trainable = False
    assert len(harden(model).trainable_weights) == len(model.trainable_weights)


@pytest.mark.parametrize("function", [harden, soften])
def test_errors(function):
    with pytest.raises(ValueError, match=r"Received HTAF\. Expected a keras\.Model"):
        function(HTAF())
    with pytest.raises(ValueError, match="is not built"):
        function(keras.Sequential([HTAF()]))
    with pytest.raises(ValueError, match="has no step layer"):
        function(keras.Sequential([keras.Input((2,)), keras.layers.Dense(2)]))
    model = WithoutConfig(3)
    model(X)
    with pytest.raises(ValueError, match="cannot be rebuilt from its config"):
        function(model)


def test_quantizers_that_are_no_steps():
    """They are exact always, so hardening copies the model; there is nothing to soften."""
    quantizers = {"input_quantizer": "dorefa", "kernel_quantizer": "ternary"}
    layer = BinaryDense(3, kernel_constraint="max_norm", **quantizers)
    model = keras.Sequential([keras.Input((5,)), layer])
    hard = harden(model)
    assert hard is not model
    np.testing.assert_array_equal(to_numpy(hard(X)), to_numpy(model(X)))
    with pytest.raises(ValueError, match="has no step layer"):
        soften(model)


NODES = {
    "smooth": lambda x: ops.htaf(x, 4.0),
    "hard": lambda x: ops.sign(x) + ops.heaviside(x, "atan"),
}


@pytest.mark.parametrize(("forward", "function"), [("smooth", harden), ("hard", soften)])
def test_functions_cannot_change_their_mode(forward, function):
    inputs = keras.Input((5,))
    node = keras.Model(inputs, HTAF()(NODES[forward](inputs)))
    activation = {"smooth": ops.htaf, "hard": ops.heaviside}[forward]
    dense = keras.Sequential([keras.Input((5,)), keras.layers.Dense(2, activation), HTAF()])
    for model in (node, dense):
        use = rf"uses keras_htaf.ops.\w+ in '\w+'.* always {forward} and cannot be made"
        with pytest.raises(ValueError, match=use):
            function(model)
        other = soften if function is harden else harden
        assert len(step_layers(other(model))) == 1


@pytest.mark.parametrize(("function", "name"), [(ops.htaf, "htaf"), (ops.heaviside, "heaviside")])
def test_functions_in_place_of_layers_are_named(function, name):
    inputs = keras.Input((5,))
    model = keras.Model(inputs, keras.layers.Dense(2)(function(inputs)))
    use = rf"uses keras_htaf.ops.{name} in '\w+'"
    for ask in (harden, lambda m: diagnose(m, X, X[:, 0]), lambda m: calibrate(m, X)):
        with pytest.raises(ValueError, match=use):
            ask(model)


def test_what_cannot_be_compiled_again_warns():
    model = make(sequential)
    model.compile("sgd", lambda y, z: keras.ops.mean(z))
    with pytest.warns(UserWarning, match="is not compiled"):
        hard = harden(model)
    assert not hard.compiled
    assert hard.predict(X, verbose=0).shape == (16, 8)


def test_observe_steps_leaves_nothing_behind():
    model = make(shared)
    (step,) = step_layers(model)
    with observe_steps(model) as seen:
        outputs = model(X)
        model(X[:3])
    assert list(seen) == [step.path]
    assert [v.shape[0] for v in seen[step.path]] == [16, 16, 3, 3]  # called twice in each call
    np.testing.assert_array_equal(to_numpy(seen[step.path][1]), to_numpy(outputs))
    model(X)
    assert len(seen[step.path]) == 4
    with pytest.raises(ZeroDivisionError), observe_steps(model):
        1 / 0  # noqa: B018
    assert step._observers == []


def test_step_layers_of_every_kind():
    model = keras.Sequential([keras.Input((2,)), HTAF(), Heaviside(), Sign(), Block(3)])
    assert [type(layer) for layer in step_layers(model)] == [HTAF, Heaviside, Sign, HTAF]


def test_steps_of_one_path():
    """Keras gives steps of nested models the same path; none may hide another."""

    def part():
        inputs = keras.Input((3,))
        return keras.Model(inputs, Sign(name="step")(inputs))

    inputs = keras.Input((3,))
    model = keras.Model(inputs, part()(HTAF(name="step")(part()(inputs))))
    with observe_steps(model) as seen:
        model(X[:, :3])
    assert list(seen) == ["step", "step#2", "step#3"]
    assert [len(outputs) for outputs in seen.values()] == [1, 1, 1]
