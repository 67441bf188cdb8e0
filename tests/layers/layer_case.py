"""What every step layer must do; a test class inherits it and names its layer and formulas."""

import keras
import numpy as np
import pytest
from support import dtype_of, gradient, tensor, to_numpy

from keras_htaf import load_model

X = np.linspace(-3.1, 3.3, 24).reshape(4, 6)
UPSTREAM = np.cos(np.arange(24.0)).reshape(4, 6)
FORWARDS = pytest.mark.parametrize("forward", ["smooth", "hard"])


def derivatives(layer, x=X, upstream=UPSTREAM):
    """Gradients of sum(layer(x) * upstream) for x and for the sharpness."""
    trained, scale = layer.trainable_sharpness, tensor(to_numpy(layer.scale))

    def call(x, sharpness):
        weights = ([sharpness], [scale]) if trained else ([], [sharpness, scale])
        return layer.stateless_call(*weights, x)[0]

    return gradient(call, tensor(x), tensor(to_numpy(layer.sharpness)), upstream=upstream)


class LayerCase:
    layer: type
    """The layer under test."""
    arguments: dict = {}
    """Its arguments, but for those that a test sets."""
    trainable = "trainable_sharpness"
    """The name of its argument that makes the sharpness trainable."""
    surrogate = None
    """The slope that it must have, an object of keras_htaf.surrogates."""

    def make(self, **kwargs):
        layer = self.layer(**{**self.arguments, **kwargs})
        layer.build((None, 6))
        return layer

    def exact(self, x):
        """The exact step of the array x."""
        raise NotImplementedError

    def smooth(self, x):
        """The smooth step of the array x."""
        raise NotImplementedError

    def slope(self, x):
        """The derivative of `smooth`."""
        raise NotImplementedError

    def sharpness_derivative(self, x):
        """The derivative of `smooth` for the sharpness."""
        raise NotImplementedError

    def test_hard_is_exact(self):
        x = np.append(X[0], [0.0, -0.0, 1e-37, -1e-37, np.inf, -np.inf])
        np.testing.assert_array_equal(to_numpy(self.make(forward="hard")(tensor(x))), self.exact(x))

    def test_smooth_is_the_surrogate(self):
        y = to_numpy(self.make(forward="smooth")(tensor(X)))
        np.testing.assert_allclose(y, self.smooth(X), atol=1e-6)

    @FORWARDS
    @pytest.mark.parametrize("trained", [False, True])
    def test_gradient(self, forward, trained):
        layer = self.make(forward=forward, **{self.trainable: trained})
        gx, gs = derivatives(layer)
        np.testing.assert_allclose(gx, self.slope(X) * UPSTREAM, atol=2e-6)
        if trained:
            expected = np.sum(self.sharpness_derivative(X) * UPSTREAM)
            np.testing.assert_allclose(gs, expected, rtol=1e-3, atol=1e-6)

    @FORWARDS
    @pytest.mark.parametrize("axis", [-1, 1])
    def test_trained_per_channel(self, forward, axis):
        layer = self.layer(
            **{**self.arguments, self.trainable: True},
            forward=forward,
            per_channel=True,
            axis=axis,
        )
        x = np.stack([X, X[::-1] + 0.1, -X], axis=-1)  # (4, 6, 3)
        upstream = np.stack([UPSTREAM, 2 * UPSTREAM, 1 - UPSTREAM], axis=-1)
        y = to_numpy(layer(tensor(x)))
        shape = {-1: (3,), 1: (6, 1)}[axis]
        assert tuple(layer.sharpness.shape) == shape
        np.testing.assert_allclose(
            y, self.smooth(x) if forward == "smooth" else self.exact(x), atol=1e-6
        )
        _, gs = derivatives(layer, x, upstream)
        others = {-1: (0, 1), 1: (0, 2)}[axis]
        expected = np.sum(self.sharpness_derivative(x) * upstream, axis=others)
        np.testing.assert_allclose(gs.reshape(-1), expected, rtol=1e-3, atol=1e-5)

    @FORWARDS
    @pytest.mark.parametrize("trained", [False, True])
    def test_fit_moves_a_trained_sharpness(self, forward, trained):
        """One step of plain gradient descent takes away exactly the closed form's gradient."""
        layer = self.layer(**{**self.arguments, self.trainable: trained}, forward=forward)
        model = keras.Sequential([keras.Input((6,)), keras.layers.Identity(), layer])
        model.compile(keras.optimizers.SGD(0.1), lambda y, h: keras.ops.sum(y * h))
        before = float(to_numpy(layer.sharpness))
        model.fit(X, UPSTREAM, batch_size=4, verbose=0)
        expected = 0.1 * np.sum(self.sharpness_derivative(X) * UPSTREAM) if trained else 0.0
        moved = before - float(to_numpy(layer.sharpness))
        np.testing.assert_allclose(moved, expected, rtol=1e-3, atol=1e-6)

    def test_trained_sharpness_stays_positive(self):
        layer = self.layer(**{**self.arguments, self.trainable: True}, forward="smooth")
        model = keras.Sequential([keras.Input((6,)), layer])
        model.compile(keras.optimizers.SGD(1e4), lambda y, h: keras.ops.sum(y * h))
        model.fit(X, np.sign(self.sharpness_derivative(X)), batch_size=4, verbose=0)
        np.testing.assert_allclose(to_numpy(layer.sharpness), 1e-3)

    @FORWARDS
    @pytest.mark.parametrize("trained", [False, True])
    def test_training_flag_changes_rounding_only(self, forward, trained):
        layer = self.make(forward=forward, **{self.trainable: trained})
        one, other = (to_numpy(layer(tensor(X), training=t)) for t in (True, False))
        np.testing.assert_allclose(one, other, atol=1e-6, rtol=0)

    @FORWARDS
    def test_one_fit_reduces_the_loss(self, forward):
        random = np.random.default_rng(3)
        model = keras.Sequential(
            [
                keras.Input((6,)),
                keras.layers.Dense(16),
                self.layer(**self.arguments, forward=forward),
                keras.layers.Dense(1),
            ]
        )
        for dense in (model.layers[0], model.layers[2]):
            dense.set_weights([random.normal(0, 0.5, w.shape) for w in dense.weights])
        model.compile(keras.optimizers.SGD(0.02), "mse")
        x = random.normal(size=(64, 6))
        y = (x[:, :1] > 0) - 0.5 * (x[:, 1:2] > 0)
        before = model.evaluate(x, y, verbose=0)
        kernel = model.get_weights()[0]
        model.fit(x, y, batch_size=64, verbose=0)
        assert np.any(model.get_weights()[0] != kernel)  # the gradient passes the step
        assert model.evaluate(x, y, verbose=0) < before

    @FORWARDS
    @pytest.mark.parametrize("trained", [False, True])
    def test_config_round_trip(self, forward, trained):
        layer = self.layer(
            **{**self.arguments, self.trainable: trained},
            forward=forward,
            per_channel=True,
            axis=1,
            name="bits",
            dtype="mixed_float16",
        )
        twin = self.layer.from_config(layer.get_config())
        assert twin.get_config() == layer.get_config()
        assert (twin.surrogate, twin.forward_mode, twin.trainable_sharpness) == (
            self.surrogate,
            forward,
            trained,
        )
        again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(layer))
        assert type(again) is self.layer
        assert again.get_config() == layer.get_config()

    @FORWARDS
    def test_symbolic_eager_saved(self, forward, tmp_path):
        layer = self.layer(**self.arguments, forward=forward, per_channel=True)
        inputs = keras.Input((None, 6))
        outputs = layer(inputs)
        assert outputs.shape == (None, None, 6)
        model = keras.Model(inputs, outputs)
        layer.sharpness.assign(np.linspace(1.0, 4.0, 6))
        eager = to_numpy(layer(tensor(X[None])))
        np.testing.assert_allclose(model.predict(X[None], verbose=0), eager, atol=1e-6)
        model.save(tmp_path / "model.keras")
        reloaded = load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(reloaded.get_weights()[0], model.get_weights()[0])
        np.testing.assert_allclose(reloaded.predict(X[None], verbose=0), eager, atol=1e-6)

    @FORWARDS
    @pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16", "bfloat16"])
    @pytest.mark.parametrize("trained", [False, True])
    def test_dtype_policies(self, forward, policy, trained):
        layer = self.make(forward=forward, dtype=policy, **{self.trainable: trained})
        compute = policy.removeprefix("mixed_")
        y = layer(tensor(X))
        assert dtype_of(y) == compute
        assert dtype_of(layer.sharpness) == "float32"
        rounded = to_numpy(tensor(X, compute))
        if forward == "hard":
            np.testing.assert_array_equal(to_numpy(y), self.exact(rounded))
        else:
            np.testing.assert_allclose(to_numpy(y), self.smooth(rounded), atol=8e-3)
        gx, gs = derivatives(layer, rounded, np.ones_like(X))
        np.testing.assert_allclose(gx, self.slope(rounded), atol=8e-3 * self.slope(0.0), rtol=8e-3)
        assert np.isfinite(gs).all()

    @FORWARDS
    @pytest.mark.parametrize("scale", [0.3, 1.0, 4.0])
    @pytest.mark.parametrize("trained", [False, True])
    def test_scale(self, forward, scale, trained):
        """G(x / scale), or the exact step; backwards g(x / scale) / scale."""
        layer = self.make(forward=forward, **{self.trainable: trained})
        assert float(to_numpy(layer.scale)) == 1
        assert dtype_of(layer.scale) == "float32"
        assert not any(weight is layer.scale for weight in layer.trainable_weights)
        layer.scale.assign(scale)
        x = X / np.float32(scale)
        y = to_numpy(layer(tensor(X)))
        expected = self.smooth(x) if forward == "smooth" else self.exact(X)
        np.testing.assert_allclose(y, expected, atol=1e-6)
        gx, gs = derivatives(layer)
        np.testing.assert_allclose(gx, self.slope(x) / scale * UPSTREAM, atol=4e-6 / scale)
        if trained:
            expected = np.sum(self.sharpness_derivative(x) * UPSTREAM)
            np.testing.assert_allclose(gs, expected, rtol=1e-3, atol=1e-6)

    @FORWARDS
    def test_scale_per_channel(self, forward):
        """One scale for the layer beside a sharpness for each channel."""
        layer = self.make(forward=forward, per_channel=True)
        assert tuple(layer.scale.shape) == ()
        assert len(layer.weights) == 2
        layer.scale.assign(2.5)
        gx, _ = derivatives(layer)
        np.testing.assert_allclose(gx, self.slope(X / 2.5) / 2.5 * UPSTREAM, atol=2e-6)

    @pytest.mark.parametrize("policy", ["float16", "mixed_float16", "mixed_bfloat16", "float32"])
    def test_hard_is_exact_at_any_scale(self, policy):
        """Also where x / scale would be 0 in x's own precision."""
        least = 6e-8 if "16" in policy and "b" not in policy else 1e-30
        x = np.array([[1, -1, 3, -3, 1000, -1000]]) * least
        layer = self.make(forward="hard", dtype=policy)
        for scale in (1e-12, 1.0, 3e12):
            layer.scale.assign(scale)
            y = layer(tensor(x, policy.removeprefix("mixed_")))
            assert dtype_of(y) == policy.removeprefix("mixed_")
            np.testing.assert_array_equal(to_numpy(y), self.exact(x))

    @FORWARDS
    def test_scale_is_saved(self, forward, tmp_path):
        model = keras.Sequential([keras.Input((6,)), self.layer(**self.arguments, forward=forward)])
        model.layers[0].scale.assign(2.5)
        model.save(tmp_path / "model.keras")
        again = load_model(tmp_path / "model.keras")
        assert float(to_numpy(again.layers[0].scale)) == 2.5
        np.testing.assert_array_equal(again.predict(X, verbose=0), model.predict(X, verbose=0))

    @pytest.mark.parametrize("wrong", [0.0, -1.0, np.nan, np.inf])
    @pytest.mark.parametrize("name", ["sharpness", "scale"])
    def test_wrong_numbers_are_not_loaded(self, name, wrong):
        layer, store = self.make(), {}
        layer.save_own_variables(store)
        store["01"[name == "scale"]] = np.array(wrong, "float32")
        with pytest.raises(ValueError, match=f"gives step '{layer.name}' the {name} "):
            layer.load_own_variables(store)

    @FORWARDS
    def test_tapped(self, forward):
        """A tap sees inputs, in units of the layer before; it may replace them or set the scale."""
        layer = self.make(forward=forward)
        layer.scale.assign(2.0)
        received, given = [], []

        def shifted(x):
            received.append(to_numpy(x))
            layer.scale.assign(4.0)
            return x + 0.5

        before = to_numpy(layer(tensor(X)))
        layer.scale.assign(2.0)
        with layer.tapped(shifted, given.append):
            y = to_numpy(layer(tensor(X)))
        expected = (self.smooth if forward == "smooth" else self.exact)(X / 4 + 0.125)
        np.testing.assert_allclose(y, expected, atol=1e-6)
        np.testing.assert_array_equal(received, [np.float32(X)])
        np.testing.assert_array_equal([to_numpy(g) for g in given], [y])
        layer.scale.assign(2.0)
        np.testing.assert_array_equal(to_numpy(layer(tensor(X))), before)
        assert (len(received), len(given)) == (1, 1)

    def test_several_taps(self):
        """Each receives what the one before it gave; either hook may be left out."""
        layer, seen = self.make(), []

        def adding(number):
            def tap(x):
                seen.append(float(to_numpy(x)[0, 0]))
                return x + number

            return tap

        x = np.zeros((1, 6))
        with layer.tapped(adding(1.0)), layer.tapped(adding(2.0)), layer.tapped():
            with layer.tapped(observer=lambda y: seen.append("y")):
                layer(tensor(x))
            layer(tensor(x))
        layer(tensor(x))
        assert seen == [0.0, 1.0, "y", 0.0, 1.0]

    def test_taps_are_removed_after_an_exception(self):
        layer, seen = self.make(), []

        def failing(x):
            seen.append(x)
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError), layer.tapped(failing, seen.append):
            layer(tensor(X))
        with pytest.raises(KeyError), layer.tapped(failing, seen.append):
            raise KeyError
        assert to_numpy(layer(tensor(X))).shape == X.shape
        assert len(seen) == 1

    def test_masks_pass(self):
        inputs = keras.Input((4, 1))
        masked = keras.layers.Masking(mask_value=9.0)(inputs)
        steps = self.layer(**self.arguments, forward="hard")(masked)
        model = keras.Model(inputs, keras.layers.GlobalAveragePooling1D()(steps))
        x = np.array([[1.0, 2.0, -1.0, -1.0], [1.0, -2.0, 9.0, 9.0]])[..., None]
        expected = self.exact(np.array([1.0, -1.0])).mean()
        np.testing.assert_allclose(model.predict(x, verbose=0), [[expected], [expected]], atol=1e-6)

    def test_errors(self):
        with pytest.raises(ValueError, match="Received forward='soft'"):
            self.layer(**self.arguments, forward="soft")
        with pytest.raises(ValueError, match="Expected that axis to have a known size"):
            self.layer(**self.arguments, per_channel=True)(keras.Input((3, None)))
        with pytest.raises(ValueError, match="Received forward="):
            self.make().set_forward("exact")
