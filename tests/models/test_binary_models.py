"""Builders of binary networks: structure, twins, training, saving, exact kernels."""

import math

import keras
import numpy as np
import pytest
from keras import layers
from numpy_network import check_by_hand

import keras_htaf
from keras_htaf.constraints import WeightClip
from keras_htaf.layers import HTAF, BinaryDense, RPReLU, RSign, Sign
from keras_htaf.layers.binary.base import BinaryLayer
from keras_htaf.models import binary_mlp, binary_resnet, binary_vgg, binary_weights

RANDOM = np.random.default_rng(0)
IMAGES = RANDOM.normal(size=(8, 8, 8, 2)).astype("float32")
LABELS = np.arange(8) % 3

BUILDERS = {
    "mlp": lambda **options: binary_mlp((8, 8, 2), 3, width=16, depth=2, **options),
    "vgg": lambda **options: binary_vgg((8, 8, 2), 3, filters=(4, 4, 6, 6), **options),
    "binarynet": lambda **options: binary_vgg(
        (8, 8, 2), 3, filters=(4, 4), dense_units=(8,), ends="binary", **options
    ),
    "bireal": lambda **options: binary_resnet((8, 8, 2), 3, width=4, **options),
    "react": lambda **options: binary_resnet((8, 8, 2), 3, width=4, block="react", **options),
}
every_builder = pytest.mark.parametrize("build", BUILDERS.values(), ids=list(BUILDERS))


def predictions(model):
    return model.predict(IMAGES, verbose=0)


def compiled(model):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.Adam(1e-2), loss, metrics=["accuracy"])
    return model


@every_builder
def test_trains_saves_and_hardens(build, tmp_path):
    keras.utils.set_random_seed(0)
    model = compiled(build())
    before = binary_weights(model)
    history = model.fit(IMAGES, LABELS, epochs=8, verbose=0).history
    assert history["loss"][-1] < history["loss"][0]
    after = binary_weights(model)
    assert any((before[path] != after[path]).any() for path in before)
    expected = predictions(model)
    assert expected.dtype == "float32"
    model.save(tmp_path / "model.keras")
    np.testing.assert_allclose(
        predictions(keras_htaf.load_model(tmp_path / "model.keras")), expected, atol=1e-5
    )
    np.testing.assert_allclose(check_by_hand(model, IMAGES), expected, atol=1e-5)


@every_builder
def test_hardened_outputs_are_those_of_its_signs(build):
    keras.utils.set_random_seed(1)
    check_by_hand(build(), IMAGES[:3])


@every_builder
def test_float_twin(build):
    twin = build(binary=False)
    assert not any(isinstance(layer, BinaryLayer) for layer in twin.layers)
    assert not keras_htaf.hardening.step_layers(twin)
    assert not binary_weights(twin)
    binary = keras_htaf.summary(build())
    plain = keras_htaf.summary(twin)
    assert set(plain.weights) == {32}
    thresholds = sum(
        math.prod(layer.input_quantizer.threshold.shape)
        for layer in build().layers
        if isinstance(getattr(layer, "input_quantizer", None), RSign)
    )
    assert sum(plain.weights.values()) == sum(binary.weights.values()) - thresholds
    assert sum(plain.macs.values()) == sum(binary.macs.values())
    assert np.isfinite(predictions(twin)).all()


@every_builder
def test_each_layer_has_its_own_quantizers(build):
    quantizer = Sign(keras_htaf.surrogates.ATan(3.0))
    model = build(input_quantizer=quantizer, kernel_quantizer=Sign("erf"))
    steps = keras_htaf.hardening.step_layers(model)
    assert len({id(step) for step in steps}) == len(steps)
    assert quantizer not in steps
    kinds = {type(step.surrogate).__name__ for step in steps}
    assert kinds == {"ATan", "Erf"}
    constraints = [layer.kernel_constraint for layer in model.layers if hasattr(layer, "kernel")]
    assert constraints == [None] * len(constraints)


def test_kernels_are_clipped_to_where_their_slope_ends():
    for name, expected in (("ste_sign", 1.0), ("approx_sign", 0.95), ("sign", None)):
        layer = binary_mlp((4,), 2, width=4, kernel_quantizer=name).get_layer("layer2")
        if expected is None:
            assert layer.kernel_constraint is None
        else:
            assert isinstance(layer.kernel_constraint, WeightClip)
            assert layer.kernel_constraint.clip_value == expected


def test_published_sizes():
    """VGG-Small's 4.6 million binary weights, ResNet-20's 0.27 and ResNet-18's 11 million."""
    vgg = keras_htaf.summary(binary_vgg((32, 32, 3), 10))
    convolutions = 9 * (128 * 128 + 128 * 256 + 256 * 256 + 256 * 512 + 512 * 512)
    assert vgg.weights[1] == convolutions == 4571136
    assert vgg.weights[32] == 9 * 3 * 128 + 2 * (128 + 128 + 256 + 256 + 512 + 512) + 81930
    twenty = keras_htaf.summary(binary_resnet((32, 32, 3), 10))
    assert twenty.weights[1] == 9 * (6 * 16**2 + 16 * 32 + 5 * 32**2 + 32 * 64 + 5 * 64**2)
    eighteen = keras_htaf.summary(binary_resnet((224, 224, 3), 1000, depth=18, stem="large"))
    assert eighteen.weights[1] == 10985472
    assert eighteen.layers[0].output_shape == (112, 112, 64)
    assert twenty.binary_share["macs"] > 0.95


def test_ends():
    model = binary_vgg((8, 8, 3), 2, filters=(4, 4), ends="binary")
    assert keras_htaf.summary(model).layers[0].weights == {1: 108}
    assert model.get_layer("head_norm")
    model = binary_mlp((5,), 2, width=4, ends="float")
    assert keras_htaf.summary(model).layers[0].weights == {32: 20}
    assert type(model.get_layer("head")) is layers.Dense
    assert model.get_layer("head_activation").activation is keras.activations.hard_tanh


def test_dropout_gives_signs():
    model = binary_mlp((16,), 2, width=8, dropout=0.4)
    assert len([layer for layer in model.layers if isinstance(layer, layers.Dropout)]) == 4
    keras.utils.set_random_seed(0)
    x = np.ones((4, 16), "float32")
    first, second = (keras.ops.convert_to_numpy(model(x, training=True)) for _ in range(2))
    assert (first != second).any()


def test_annealing_is_for_units_unless_kernels_are_named():
    from keras_htaf.callbacks import AnnealSharpness

    for layers_, expected in ((None, (9.0, 1.0)), (["kernel_quantizer"], (8.0, 9.0))):
        model = compiled(BUILDERS["mlp"]())
        model.fit(IMAGES, LABELS, verbose=0, callbacks=[AnnealSharpness(9.0, 9.0, layers=layers_)])
        layer = model.get_layer("layer2")
        quantizers = layer.input_quantizer, layer.kernel_quantizer
        found = tuple(float(quantizer.sharpness.numpy()) for quantizer in quantizers)
        assert found == expected


@every_builder
def test_distilled_in_two_steps(build):
    """Binary activations first; the same weights then give the twin with binary kernels."""
    from keras_htaf.distillation import Distiller, transfer_weights

    keras.utils.set_random_seed(2)
    first, second = build(kernel_quantizer=None), build()
    assert not binary_weights(first)
    distiller = Distiller(first, compiled(build(binary=False)))
    distiller.compile(keras.optimizers.Adam(1e-2))
    history = distiller.fit(IMAGES, epochs=3, verbose=0).history
    assert history["divergence"][-1] < history["divergence"][0]
    transfer_weights(first, second)
    latent = first.get_layer("head").get_weights()[0]
    np.testing.assert_array_equal(second.get_layer("head").get_weights()[0], latent)


def test_react_has_learned_activations():
    model = BUILDERS["react"]()
    assert sum(isinstance(layer, RPReLU) for layer in model.layers) == 18
    quantizers = [layer.input_quantizer for layer in model.layers if isinstance(layer, BinaryLayer)]
    assert all(isinstance(q, RSign) for q in quantizers)
    assert all(q.surrogate == keras_htaf.surrogates.HTAF() for q in quantizers)


def test_packed_weights():
    model = binary_mlp((5,), 3, width=3, depth=1)
    codes, packed = binary_weights(model), binary_weights(model, packed=True)
    for path, kernel in codes.items():
        assert kernel.dtype == np.int8
        assert set(np.unique(kernel)) <= {-1, 1}
        latent = keras.ops.convert_to_numpy(next(w for w in model.weights if w.path == path))
        np.testing.assert_array_equal(kernel, np.where(latent >= 0, 1, -1))
        bits = packed[path]
        assert bits.dtype == np.uint8
        for i, value in enumerate(kernel.ravel()):
            assert (bits[i // 8] >> (i % 8)) & 1 == (value > 0)


def test_kernels_of_one_path():
    def block():
        inputs = keras.Input((3,))
        outputs = BinaryDense(3, kernel_quantizer="sign", name="binary")(inputs)
        return keras.Model(inputs, outputs)

    inputs = keras.Input((3,))
    found = binary_weights(keras.Model(inputs, block()(block()(inputs))))
    assert list(found) == ["binary/kernel", "binary/kernel#2"]


@pytest.mark.parametrize(
    ("build", "message"),
    [
        (lambda: binary_mlp((4,), 0), r"num_outputs=0\. Expected a positive integer"),
        (lambda: binary_mlp((4,), 2, width=2.0), r"width=2\.0"),
        (lambda: binary_mlp((4,), 2, depth=True), "depth=True"),
        (lambda: binary_mlp((4,), 2, ends="both"), r"ends='both'\. Expected one of"),
        (lambda: binary_mlp(784, 2), r"input_shape=784\. Expected a tuple of sizes"),
        (lambda: binary_mlp((None, 28), 2), "Expected known, positive sizes"),
        (lambda: binary_mlp((4,), 2, input_quantizer=None), r"input_quantizer=None\. .* binary=F"),
        (lambda: binary_mlp((4,), 2, kernel_quantizer="no"), "Received quantizer 'no'"),
        (lambda: binary_vgg((8, 8), 2), r"input_shape=\(8, 8\)\. Expected \(height"),
        (lambda: binary_vgg((4, 8, 3), 2), "at least 8 x 8 pixels"),
        (lambda: binary_vgg((None, None, 3), 2), "Expected known sizes to flatten"),
        (lambda: binary_vgg((8, 8, 3), 2, filters=()), "at least one convolution"),
        (lambda: binary_vgg((8, 8, 3), 2, filters=8), r"filters=8\. Expected a tuple of positive"),
        (lambda: binary_vgg((8, 8, 3), 2, dense_units=8), "dense_units=8"),
        (lambda: binary_vgg((8, 8, 3), 2, filters=(4, 0)), r"filters\[1\]=0"),
        (lambda: binary_vgg((8, 8, 3), 2, dense_units=(0,)), r"dense_units\[0\]=0"),
        (lambda: binary_resnet((8, 8, 3), 2, depth=19), r"depth=19\. Expected one of \(18, 20\)"),
        (lambda: binary_resnet((8, 8, 3), 2, block="real"), "block='real'"),
        (lambda: binary_resnet((8, 8, 3), 2, stem="tiny"), "stem='tiny'"),
        (lambda: binary_resnet((8, 8, 3), 2, width=0), "width=0"),
        (lambda: binary_resnet((3, 8, 3), 2), "at least 4 x 4 pixels"),
        (lambda: binary_resnet((31, 64, 3), 2, depth=18, stem="large"), "at least 32 x 32 pixels"),
        (lambda: binary_weights(keras.Sequential([HTAF()])), "Expected a built keras.Model"),
    ],
)
def test_errors(build, message):
    with pytest.raises(ValueError, match=message):
        build()
