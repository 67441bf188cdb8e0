"""What every binary layer must do; each test class names its layer and the stock one."""

import inspect
import warnings

import keras
import numpy as np
import pytest
from keras import layers
from support import dtype_of, gradient, tensor, to_numpy

import keras_htaf
from keras_htaf import quantizers
from keras_htaf.constraints import WeightClip
from keras_htaf.layers import (
    BinaryConv1D,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinaryRNNCell,
    BinarySeparableConv2D,
    RSign,
)
from keras_htaf.quantizers import DoReFa, MagnitudeAwareSign, Sign

SCALED = {
    "magnitude_aware": lambda: "magnitude_aware_sign",
    "xnor": lambda: "xnor_sign",
    "dorefa": lambda: DoReFa(3, "weights"),
}


class BinaryLayerCase:
    layer: type
    stock: type
    arguments: dict = {}
    shape: tuple
    """Of one input."""
    keys = ("kernel",)
    """The kernels, as in `<key>_quantizer`."""
    policy_gives = "float16"
    """The dtype of the outputs with `dtype="mixed_float16"`."""

    def make(self, quantizer="ste_sign", **kwargs):
        kernels = {f"{key}_quantizer": quantizer for key in self.keys}
        clips = {f"{key}_constraint": WeightClip() for key in self.keys}
        given = {"input_quantizer": "ste_sign", **kernels, **clips, **self.arguments, **kwargs}
        return self.layer(**given)

    def model(self, **kwargs):
        keras.utils.set_random_seed(4)
        return keras.Sequential([keras.Input(self.shape), self.wrapped(self.make(**kwargs))])

    def wrapped(self, layer):
        return layer

    def binary(self, model):
        return model.layers[0]

    def data(self, n=4):
        return np.random.default_rng(3).normal(size=(n, *self.shape)).astype("float32")

    def expected(self, layer, x):
        """The stock layer, given signs and the quantized kernels."""
        stock = self.stock(**self.arguments, use_bias=layer.use_bias)
        stock.build((None, *self.shape))
        stock.set_weights(self.exact(layer))
        return to_numpy(stock(tensor(np.where(x >= 0, 1.0, -1.0))))

    def exact(self, layer):
        """The signs of the latent kernels, and the bias if there is one."""
        kernels = [to_numpy(getattr(layer, name)) for name in layer.kernel_quantizers]
        signs = [np.where(w >= 0, 1.0, -1.0) for w in kernels]
        return [*signs, to_numpy(layer.bias)] if layer.use_bias else signs

    @pytest.mark.parametrize("use_bias", [False, True])
    def test_is_the_stock_layer_with_signs(self, use_bias):
        model, x = self.model(use_bias=use_bias, bias_initializer="ones"), self.data()
        found = to_numpy(model(tensor(x)))
        np.testing.assert_array_equal(found, self.expected(self.binary(model), x))
        np.testing.assert_array_equal(to_numpy(keras_htaf.harden(model)(x)), found)

    def test_without_quantizers_it_is_the_stock_layer(self):
        none = {f"{key}_quantizer": None for key in ("input", *self.keys)}
        model, x = self.model(**none), self.data()
        stock = keras.Sequential(
            [keras.Input(self.shape), self.wrapped(self.stock(**self.arguments, use_bias=False))]
        )
        stock.set_weights(model.get_weights())
        np.testing.assert_allclose(to_numpy(model(x)), to_numpy(stock(x)), atol=1e-5)

    def test_trains_saves_and_loads(self, tmp_path):
        model, x = self.model(), self.data(8)
        model.compile(keras.optimizers.SGD(3.0), "mse")
        before = [to_numpy(w) for w in model.trainable_weights]
        model.fit(x, np.ones((8, *model.output_shape[1:])), batch_size=8, verbose=0)
        after = [to_numpy(w) for w in model.trainable_weights]
        assert len(after) == len(self.keys)
        assert all(np.any(a != b) for a, b in zip(after, before, strict=True))
        assert max(abs(w).max() for w in after) <= 1.0
        model.save(tmp_path / "model.keras")
        again = keras_htaf.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(to_numpy(again(x)), to_numpy(model(x)))
        assert self.binary(again).get_config() == self.binary(model).get_config()

    def test_policy(self):
        """Latent kernels and their signs do not pass through half precision."""
        model, x = self.model(dtype="mixed_float16", quantizer="sign"), self.data()
        layer = self.binary(model)
        for name in layer.kernel_quantizers:
            kernel = getattr(layer, name)
            assert dtype_of(kernel) == "float32"
            kernel.assign(1e-12 * np.sign(to_numpy(kernel)))
        y = model(x)
        assert dtype_of(y) == self.policy_gives
        np.testing.assert_allclose(to_numpy(y), self.expected(layer, x), atol=2e-2)

    def test_steps_are_found(self):
        model = self.model(quantizer="magnitude_aware_sign")
        found = keras_htaf.hardening.step_layers(model)
        assert {f"{key}_quantizer" for key in ("input", *self.keys)} <= {s.name for s in found}
        units = keras_htaf.hardening.unit_steps(model)
        assert len(units) == len(found) - len(self.keys)

    def test_scale_comes_out_of_the_sum(self):
        """With a scale for each output channel, the layer is its sign's outputs times a scale."""
        if len(self.keys) > 1:
            pytest.skip("two scales")
        scaled, plain = self.model(quantizer="magnitude_aware_sign"), self.model()
        plain.layers[0].kernel.assign(scaled.layers[0].kernel)
        x = self.data()
        ratio = to_numpy(scaled(x)) / np.where((y := to_numpy(plain(x))) == 0, np.nan, y)
        ratio = ratio.reshape(-1, ratio.shape[-1])
        np.testing.assert_allclose(np.nanmax(ratio, 0), np.nanmin(ratio, 0), rtol=1e-5)
        assert len(np.unique(np.round(np.nanmax(ratio, 0), 5))) > 1

    @pytest.mark.parametrize("inputs", ["ste_sign", "dorefa"])
    @pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
    def test_sums_are_exact(self, make, inputs):
        """Where codes sum to 0 so do the outputs, and no rounding chooses the next sign."""
        last = {f"{self.keys[-1]}_quantizer": make(), "input_quantizer": inputs}
        model, x = self.model(**last), self.data(64)
        layer = self.binary(model)
        stock = self.stock(**self.arguments, use_bias=False)
        stock.build((None, *self.shape))
        codes = [q.decompose(getattr(layer, w).value) for w, q in layer.kernel_quantizers.items()]
        stock.set_weights([to_numpy(code) for code, _ in codes])
        sums = to_numpy(stock(layer.input_quantizer.decompose(tensor(x))[0]))
        np.testing.assert_array_equal(sums, np.round(sums))
        assert np.any(sums == 0)
        found = to_numpy(model(tensor(x)))
        np.testing.assert_array_equal(np.sign(found), np.sign(sums))
        stock.set_weights([to_numpy(layer.quantized_kernel(w)) for w in layer.kernel_quantizers])
        expected = to_numpy(stock(layer.quantized_inputs(tensor(x))))
        np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)

    @pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
    def test_gradient_is_that_of_the_product(self, make, monkeypatch):
        model, x = self.model(**{f"{key}_quantizer": make() for key in self.keys}), self.data()
        layer = self.binary(model)
        kernels = [tensor(to_numpy(w)) for w in model.trainable_variables]
        upstream = np.random.default_rng(5).normal(size=(4, *model.output_shape[1:]))

        def outputs(x, *kernels):
            return model.stateless_call(kernels, model.non_trainable_variables, x)[0]

        found = gradient(outputs, tensor(x), *kernels, upstream=upstream)
        monkeypatch.setattr(layer, "kernel_parts", lambda w: (layer.quantized_kernel(w), 1.0))
        expected = gradient(outputs, tensor(x), *kernels, upstream=upstream)
        for a, b in zip(found, expected, strict=True):
            assert np.any(b != 0)
            np.testing.assert_allclose(a, b, rtol=0, atol=1e-6 * max(1, np.abs(b).max()))

    def test_warns_of_stuck_weights(self):
        key = self.keys[-1]
        with pytest.warns(UserWarning, match=f"{key}_constraint=.*WeightClip"):
            self.make(**{f"{key}_constraint": None})
        with pytest.warns(UserWarning, match="beyond 1,"):
            self.make(**{f"{key}_constraint": WeightClip(2.0)})
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            self.make(quantizer="sign", **{f"{key}_constraint": None})

    def test_name_of_the_constraint(self, recwarn):
        layer = self.make(**{f"{key}_constraint": "weight_clip" for key in self.keys})
        assert [layer.clip(key) for key in self.keys] == [1.0] * len(self.keys)
        assert not [w for w in recwarn if "never change again" in str(w.message)]

    def test_errors(self):
        with pytest.raises(ValueError, match="Received quantizer 'step'"):
            self.make(quantizer="step")
        sign = Sign()
        with pytest.raises(ValueError, match="one Sign object for several quantizers"):
            self.make(quantizer=sign, input_quantizer=sign)
        if self.layer is not BinaryRNNCell:
            with pytest.raises(ValueError, match="inputs of dtype int32"):
                self.make()(tensor(np.ones((1, *self.shape)), "int32"))


class TestDense(BinaryLayerCase):
    layer, stock = BinaryDense, layers.Dense
    arguments = {"units": 3}
    shape = (6,)

    def test_one_quantizer_for_two_layers(self):
        sign = Sign()
        first = BinaryDense(2, kernel_quantizer=sign)
        first.build((None, 3))
        with pytest.raises(ValueError, match="received a Sign object that another layer uses"):
            BinaryDense(2, input_quantizer=sign).build((None, 3))
        cell = BinaryRNNCell(2, state_quantizer=sign)
        with pytest.raises(ValueError, match="received a Sign object that another layer uses"):
            cell.build((None, 3))

    def test_kernel_of_integers(self):
        with pytest.raises(ValueError, match="a kernel of dtype int32 to quantize"):
            BinaryDense(2, kernel_quantizer="sign", dtype="int32").build((None, 3))

    def test_scale_of_the_wrong_axis(self):
        layer = BinaryDense(2, kernel_quantizer=MagnitudeAwareSign("htaf", axis=0))
        with pytest.raises(ValueError, match="Expected axis=-1, its output channels"):
            layer.build((None, 3))

    def test_keras_checks_the_units(self):
        with pytest.raises(ValueError, match="units"):
            BinaryDense(0)

    def test_learned_threshold_as_input_quantizer(self):
        layer = BinaryDense(1, input_quantizer=RSign(), kernel_initializer="ones")
        layer.build((None, 2))
        layer.input_quantizer.threshold.assign([1.0, -1.0])
        assert to_numpy(layer(tensor([[0.5, 0.5]])))[0, 0] == 0.0
        assert to_numpy(layer(tensor([[1.0, -1.0]])))[0, 0] == 2.0


class TestConv1D(BinaryLayerCase):
    layer, stock = BinaryConv1D, layers.Conv1D
    arguments = {"filters": 3, "kernel_size": 3}
    shape = (6, 2)


class TestConv2D(BinaryLayerCase):
    layer, stock = BinaryConv2D, layers.Conv2D
    arguments = {"filters": 4, "kernel_size": (3, 2), "groups": 2, "strides": 2}
    shape = (6, 5, 4)


class TestConv3D(BinaryLayerCase):
    layer, stock = BinaryConv3D, layers.Conv3D
    arguments = {"filters": 3, "kernel_size": 2}
    shape = (3, 3, 3, 2)


class TestConv2DTranspose(BinaryLayerCase):
    layer, stock = BinaryConv2DTranspose, layers.Conv2DTranspose
    arguments = {"filters": 3, "kernel_size": 3, "strides": 2, "padding": "same"}
    shape = (3, 4, 2)


class TestDepthwiseConv2D(BinaryLayerCase):
    layer, stock = BinaryDepthwiseConv2D, layers.DepthwiseConv2D
    arguments = {"kernel_size": (3, 2), "depth_multiplier": 2}
    shape = (5, 5, 3)
    keys = ("depthwise",)


class TestSeparableConv2D(BinaryLayerCase):
    layer, stock = BinarySeparableConv2D, layers.SeparableConv2D
    arguments = {"filters": 3, "kernel_size": 3}
    shape = (5, 5, 2)
    keys = ("depthwise", "pointwise")

    def test_scale_between_the_convolutions(self):
        arguments = {"filters": 2, "kernel_size": 2, "pointwise_initializer": "ones"}
        layer = self.make("magnitude_aware_sign", pointwise_quantizer=None, **arguments)
        x = self.data(16)
        layer.build(x.shape)
        depthwise = BinaryDepthwiseConv2D(2, input_quantizer="sign", depthwise_quantizer="sign")
        depthwise.build(x.shape)
        depthwise.kernel.assign(layer.depthwise_kernel)
        sums = to_numpy(depthwise(tensor(x)))
        scale = to_numpy(abs(layer.depthwise_kernel.value)).mean((0, 1)).ravel()
        found = to_numpy(layer(tensor(x)))
        np.testing.assert_allclose(found[..., 0], sums @ scale, rtol=1e-5, atol=1e-6)
        tied = np.all(sums == 0, -1)
        assert tied.any()
        np.testing.assert_array_equal(found[tied], 0)


class TestRNNCell(BinaryLayerCase):
    layer, stock = BinaryRNNCell, layers.SimpleRNNCell
    arguments = {"units": 3}
    shape = (4, 2)
    keys = ("kernel", "recurrent")
    policy_gives = "float32"  # the RNN layer has a policy of its own

    def make(self, **kwargs):
        return super().make(**{"state_quantizer": "ste_sign", **kwargs})

    def wrapped(self, layer):
        return layers.RNN(layer)

    def binary(self, model):
        return model.layers[0].cell

    def expected(self, layer, x):
        w, u = self.exact(layer)
        h = np.zeros((len(x), 3), "float32")
        for t in range(x.shape[1]):
            signs = (np.where(a >= 0, 1, -1) for a in (x[:, t], h))
            h = np.tanh(np.float32(next(signs) @ w + next(signs) @ u))
        return h

    def test_is_the_stock_layer_with_signs(self):
        model, x = self.model(), self.data()
        found = to_numpy(model(tensor(x)))
        np.testing.assert_allclose(found, self.expected(self.binary(model), x), atol=1e-6)

    def test_without_quantizers_it_is_the_stock_layer(self, **kwargs):
        none = dict.fromkeys(
            ["input_quantizer", "state_quantizer", "kernel_quantizer", "recurrent_quantizer"]
        )
        model, x = self.model(**none), self.data()
        stock = keras.Sequential(
            [keras.Input(self.shape), layers.RNN(layers.SimpleRNNCell(3, use_bias=False))]
        )
        stock.set_weights(model.get_weights())
        np.testing.assert_allclose(to_numpy(model(x)), to_numpy(stock(x)), atol=1e-5)

    @pytest.mark.parametrize("inputs", ["ste_sign", "dorefa"])
    @pytest.mark.parametrize("make", SCALED.values(), ids=SCALED)
    def test_sums_are_exact(self, make, inputs):
        """Each of the two products, the other being of zeros."""
        zeros = np.zeros((64, 4), "float32")
        for kernel, inputs_of, place in (("kernel", "input", 0), ("recurrent_kernel", "state", 1)):
            quantizers = {f"{key}_quantizer": make() for key in self.keys}
            quantizers |= {"input_quantizer": None, "state_quantizer": None}
            quantizers[f"{inputs_of}_quantizer"] = inputs
            cell = self.make(**quantizers, units=4, activation=None)
            cell.build((None, 4))
            x = np.random.default_rng(6).normal(size=(64, 4)).astype("float32")
            codes = getattr(cell, f"{inputs_of}_quantizer").decompose(tensor(x))[0]
            drawn = np.random.default_rng(7).normal(0, 0.5, (4, 4))
            getattr(cell, kernel).assign(drawn)
            latent = getattr(cell, kernel).value
            sums = to_numpy(codes) @ to_numpy(cell.kernel_quantizers[kernel].decompose(latent)[0])
            assert np.any(sums == 0)
            operands = [zeros, zeros]
            operands[place] = x
            found = to_numpy(cell(tensor(operands[0]), [tensor(operands[1])])[0])
            np.testing.assert_array_equal(np.sign(found), np.sign(sums))

    def test_scales_keep_the_slope_of_the_activation(self):
        """The mean slope of tanh behind sums of 128 signs, as they are and as large as weights."""
        slopes = {}
        for quantizer in ("ste_sign", "magnitude_aware_sign"):
            keras.utils.set_random_seed(4)
            cell = self.make(quantizer=quantizer, units=64)
            x, h = np.random.default_rng(6).normal(size=(2, 32, 64))
            slopes[quantizer] = np.mean(1 - to_numpy(cell(tensor(x), [tensor(h)])[0]) ** 2)
        assert slopes["ste_sign"] < 0.15
        assert slopes["magnitude_aware_sign"] > 0.3

    def test_no_dropout(self):
        with pytest.raises(ValueError, match=r"Received dropout=0.5 and recurrent_dropout=0.0"):
            self.make(dropout=0.5)


CHANNELS_FIRST = {
    "conv1d": (BinaryConv1D, {"filters": 3, "kernel_size": 3, "strides": 2}, (7, 4)),
    "causal": (BinaryConv1D, {"filters": 3, "kernel_size": 3, "padding": "causal"}, (7, 4)),
    "conv2d": (BinaryConv2D, {"filters": 3, "kernel_size": 3, "strides": 2}, (6, 5, 4)),
    "conv3d": (BinaryConv3D, {"filters": 3, "kernel_size": 3}, (3, 4, 5, 4)),
    "transpose": (BinaryConv2DTranspose, {"filters": 3, "kernel_size": 3, "strides": 2}, (3, 4, 2)),
    "depthwise": (BinaryDepthwiseConv2D, {"kernel_size": 3, "depth_multiplier": 2}, (5, 6, 3)),
    "separable": (BinarySeparableConv2D, {"filters": 3, "kernel_size": 3}, (5, 6, 3)),
}


@pytest.mark.parametrize("case", CHANNELS_FIRST)
def test_channels_first(case):
    """Padding, scales and bias go along the channels wherever these are."""
    make, arguments, shape = CHANNELS_FIRST[case]
    keys = make.kernels
    quantizers = {f"{key}_quantizer": "magnitude_aware_sign" for key in keys}
    clips = {f"{key}_constraint": WeightClip() for key in keys}
    arguments = {"padding": "same", "input_quantizer": "sign", "use_bias": True, **arguments}
    last = make(**arguments, **quantizers, **clips)
    first = make(**arguments, **quantizers, **clips, data_format="channels_first")
    x = np.random.default_rng(7).normal(size=(2, *shape))
    last.build(x.shape)
    last.bias.assign(np.arange(1.0, 1.0 + len(to_numpy(last.bias))))
    expected = to_numpy(last(tensor(x)))
    first.build(np.moveaxis(x, -1, 1).shape)
    first.set_weights(last.get_weights())
    found = to_numpy(first(tensor(np.moveaxis(x, -1, 1))))
    np.testing.assert_allclose(np.moveaxis(found, 1, -1), expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("name", ["ste_sign", "approx_sign", "ternary"])
def test_a_clipped_weight_can_come_back(name):
    quantizer = quantizers.get(name)
    layer = BinaryDense(
        1,
        kernel_quantizer=name,
        kernel_constraint=WeightClip(quantizer.reach),
        kernel_initializer=keras.initializers.Constant(quantizer.reach),
    )
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(keras.optimizers.SGD(0.5), "mse")
    model.fit(np.ones((64, 1)), -np.ones((64, 1)), batch_size=1, verbose=0)
    assert float(to_numpy(layer.kernel)[0, 0]) < 0


class Own(quantizers.Quantizer):
    def call(self, x):
        return x


def test_quantizers_of_your_own():
    """What they lack is said where it is needed."""
    with pytest.raises(
        ValueError, match="Received kernel_quantizer=Own, which does not say in how"
    ):
        BinaryDense(2, kernel_quantizer=Own())
    quantizer = Own()
    quantizer.precision = 1
    model = keras.Sequential([keras.Input((3,)), BinaryDense(2, kernel_quantizer=quantizer)])
    with pytest.raises(NotImplementedError, match=r"Quantizer Own .*Expected a method decompose"):
        keras_htaf.models.binary_weights(model)


def test_quantizers_that_do_not_fit():
    with pytest.raises(ValueError, match=r"Expected DoReFa\(mode='weights'\)"):
        BinaryDense(2, kernel_quantizer="dorefa")
    with pytest.raises(ValueError, match="scale would be a mean over the batch"):
        BinaryDense(2, input_quantizer="magnitude_aware_sign")


def test_bias_by_position():
    assert BinaryDense(3, "relu", True).use_bias
    assert not BinaryDense(3, "relu").use_bias


EVERY = [
    BinaryConv1D,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryConv3D,
    BinaryDense,
    BinaryDepthwiseConv2D,
    BinaryRNNCell,
    BinarySeparableConv2D,
]


@pytest.mark.parametrize("layer", EVERY)
def test_signature(layer):
    """What a user asks for by name stands in it, and by position it goes on as Keras's does."""
    own = inspect.signature(layer).parameters
    quantizer_names = {f"{key}_quantizer" for key in ("input", *layer.kernels)}
    assert quantizer_names <= set(own)
    assert all(own[name].default is None for name in quantizer_names)
    assert own["use_bias"].default is False
    assert ("pad_values" in own) == hasattr(layer, "pad_value")
    by_position = [name for name, p in own.items() if p.kind is p.POSITIONAL_OR_KEYWORD]
    (stock,) = [
        base for base in layer.__mro__ if base.__name__ == layer.__name__[len("Binary") :]
    ] or [layers.SimpleRNNCell]
    assert by_position == list(inspect.signature(stock).parameters)[: len(by_position)]
    assert inspect.Parameter.VAR_POSITIONAL not in {p.kind for p in own.values()}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"lora_rank": 2}, "received lora_rank=2, which BinaryDense does not have"),
        ({"lora_alpha": 2.0}, "received lora_alpha=2.0"),
        ({"dtype": "int8_from_float32"}, "received dtype='int8_from_float32'"),
        (
            {"quantization_config": keras.quantizers.Int8QuantizationConfig()},
            "received quantization_config=",
        ),
    ],
)
def test_no_low_rank_and_no_integers(arguments, message):
    with pytest.raises(ValueError, match=message):
        BinaryDense(3, kernel_quantizer="sign", **arguments)


def test_no_low_rank_and_no_integers_later():
    model = keras.Sequential([keras.Input((4,)), BinaryDense(3), layers.Dense(2)])
    with pytest.raises(ValueError, match="received a call of enable_lora"):
        model.layers[0].enable_lora(2)
    with pytest.raises(NotImplementedError, match="received a call of quantize"):
        model.layers[0].quantize("int8")
    with pytest.warns(UserWarning, match="received a call of quantize"):
        model.quantize("int8")
    assert model.layers[0].kernel.dtype == "float32"


@pytest.mark.parametrize(
    "make",
    [
        lambda: BinaryDense(2, kernel_quantizer="ste_sign"),
        lambda: BinaryConv2D(2, 3, kernel_quantizer="ste_sign"),
        lambda: BinaryConv2D.from_config(
            {"filters": 2, "kernel_size": 3, "kernel_quantizer": "ste_sign"}
        ),
    ],
)
def test_the_warning_names_the_users_line(make):
    with pytest.warns(UserWarning, match="never change again") as caught:
        make()
    own = [warning for warning in caught if "never change again" in str(warning.message)]
    assert [warning.filename for warning in own] == [__file__]
