"""FlipRatio: against signs that are recorded by hand."""

import keras
import numpy as np
import pytest
from binary_case import X, fit, make_model
from support import to_numpy

from keras_htaf.callbacks import FlipRatio
from keras_htaf.layers import BinaryDense, BinarySeparableConv2D, Heaviside, RSign
from keras_htaf.optimizers import Bop, SplitOptimizer


class Record(keras.callbacks.Callback):
    """The signs of the binary kernel before training and after each step."""

    def on_train_begin(self, logs=None):
        self.signs = []
        self.on_train_batch_end(0)

    def on_train_batch_end(self, batch, logs=None):
        self.signs.append(to_numpy(self.model.get_layer("binary").kernel) >= 0)


PARTS = {"bop": lambda: Bop(1e-4, 0.3), "latent": lambda: keras.optimizers.SGD(0.1)}


@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("frequency", ["epoch", "step"])
def test_equals_counting(frequency, part):
    model, record = make_model(), Record()
    if part == "latent":
        model.get_layer("binary").kernel.assign(np.full((6, 5), -0.004))
    optimizer = SplitOptimizer(model, PARTS[part](), "adam")
    logs = fit(model, optimizer, epochs=3, callbacks=[FlipRatio(frequency), record])
    every = 3 if frequency == "epoch" else 1
    signs = np.array(record.signs[::every])
    ratios = np.mean(signs[1:] != signs[:-1], axis=(1, 2)).reshape(3, -1).mean(1)
    assert np.any(ratios > 0)
    np.testing.assert_allclose(logs["flip_ratio"], ratios)
    np.testing.assert_allclose(logs["flip_ratio/binary"], ratios)


class Flip(keras.callbacks.Callback):
    """Turns the first row of some kernels in each epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        for layer, weight in (("a", "kernel"), ("b", "pointwise_kernel")):
            variable = getattr(self.model.get_layer(layer), weight)
            value = to_numpy(variable)
            value[..., 0] *= -1
            variable.assign(value)


def test_labels_and_totals():
    a = BinaryDense(4, kernel_quantizer="sign", name="a")
    b = BinarySeparableConv2D(
        2, 1, depthwise_quantizer="sign", pointwise_quantizer="sign", name="b"
    )
    layers = [keras.Input((6,)), a, keras.layers.Reshape((2, 2, 1)), b]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callbacks = [Flip(), FlipRatio()]
    logs = model.fit(X, np.ones((24, 2, 2, 2)), epochs=2, verbose=0, callbacks=callbacks).history
    del logs["loss"]
    expected = {"a": 6 / 24, "b/depthwise_kernel": 0.0, "b/pointwise_kernel": 1 / 2}
    expected = {f"flip_ratio/{label}": [ratio] * 2 for label, ratio in expected.items()}
    assert logs == {"flip_ratio": [7 / 27] * 2, **expected}


class Assign(keras.callbacks.Callback):
    """Gives the kernel of the first layer one value after the other."""

    def __init__(self, *values):
        super().__init__()
        self.values = values

    def on_epoch_begin(self, epoch, logs=None):
        kernel = self.model.layers[0].kernel
        kernel.assign(np.full(kernel.shape, self.values[epoch]))


QUANTIZERS = {
    "heaviside": (lambda: Heaviside("ste"), [0.0, -1.0, 0.5]),
    "learned": (lambda: RSign("ste"), [0.25, -0.5, 0.75]),
}


@pytest.mark.parametrize("name", QUANTIZERS)
def test_the_bit_that_the_quantizer_makes(name):
    """Which is not whether a weight is at least 0: there is a flip in the third epoch only."""
    make, values = QUANTIZERS[name]
    options = {"kernel_quantizer": make(), "kernel_constraint": "max_norm"}
    layer = BinaryDense(2, kernel_initializer="zeros", **options)
    model = keras.Sequential([keras.Input((6,)), layer])
    if name == "learned":
        layer.kernel_quantizer.threshold.assign(np.full(2, 0.5))
    model.compile(keras.optimizers.SGD(0.0), "mse")
    callbacks = [Assign(*values), FlipRatio()]
    logs = model.fit(X, np.ones((24, 2)), epochs=3, verbose=0, callbacks=callbacks).history
    assert logs["flip_ratio"] == [0.0, 0.0, 1.0]


def test_a_kernel_frozen_meanwhile():
    """Called by hand, since on JAX `fit` itself does not survive such a change."""
    model, ratio = make_model(), FlipRatio()
    kernel = model.get_layer("binary").kernel
    ratio.set_model(model)
    ratio.on_train_begin()
    for trainable, expected in ((True, 1.0), (False, 0.0), (True, 0.0)):
        model.get_layer("binary").trainable = trainable
        ratio.on_epoch_begin(0)
        if expected:
            kernel.assign(-to_numpy(kernel))
        ratio.on_epoch_end(0, logs := {})
        assert logs["flip_ratio/binary"] == expected


@pytest.mark.parametrize("frequency", ["epoch", "step"])
def test_it_does_not_disturb_the_training(frequency):
    one, two = make_model(), make_model()
    fit(one, "adam")
    fit(two, "adam", callbacks=[FlipRatio(frequency)])
    for a, b in zip(one.get_weights(), two.get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-6)


def test_errors():
    with pytest.raises(ValueError, match="Received frequency='batch'"):
        FlipRatio("batch")
    with pytest.raises(ValueError, match="no trainable binary kernel in model"):
        fit(make_model(quantizer=None), "sgd", callbacks=[FlipRatio()])


def test_layers_of_one_name():
    """Of nested models, or of the two copies in a Bidirectional; each is counted by itself."""
    second = BinaryDense(1, kernel_quantizer="sign", name="binary")
    model = keras.Sequential(
        [keras.Input((6,)), make_model(), keras.Sequential([keras.Input((2,)), second])]
    )
    ratio = FlipRatio()
    ratio.set_model(model)
    ratio.on_train_begin()
    for turned, expected in ((False, 0.0), (True, 1.0)):
        ratio.on_epoch_begin(0)
        if turned:
            second.kernel.assign(-to_numpy(second.kernel))
        ratio.on_epoch_end(0, logs := {})
        assert logs["flip_ratio/binary"] == 0.0
        assert logs["flip_ratio/binary#2"] == expected
