"""What binary convolutions see beyond the border."""

import keras
import numpy as np
import pytest
from support import only, tensor, to_numpy

from keras_htaf.layers import (
    BinaryConv1D,
    BinaryConv2D,
    BinaryConv2DTranspose,
    BinaryDepthwiseConv2D,
    BinarySeparableConv2D,
)

ONES = {"kernel_initializer": "ones", "kernel_quantizer": "sign", "input_quantizer": "sign"}


@pytest.mark.parametrize(
    ("pad_values", "corner", "edge"), [(0, -4, -6), (1, 1, -3), (-1, -9, -9), (None, 1, -3)]
)
def test_value_beyond_the_border(pad_values, corner, edge):
    layer = BinaryConv2D(1, 3, padding="same", pad_values=pad_values, **ONES)
    y = to_numpy(layer(tensor(-np.ones((1, 3, 3, 1)))))[0, :, :, 0]
    np.testing.assert_array_equal(
        y, [[corner, edge, corner], [edge, -9, edge], [corner, edge, corner]]
    )


@pytest.mark.parametrize(
    ("quantizer", "value"),
    [("sign", 1), ("approx_sign", 1), ("heaviside", 0), ("dorefa", 0), ("ternary", 0), (None, 0)],
)
def test_default_is_a_value_that_inputs_have(quantizer, value):
    assert BinaryConv2D(1, 3, input_quantizer=quantizer).pad_value == value


@pytest.mark.parametrize("shape", [(6, 7), (5, 4)])
@pytest.mark.parametrize(
    ("size", "strides", "dilation"), [(3, 1, 1), (3, 2, 1), (3, 1, 2), (1, 3, 1)]
)
def test_is_where_keras_pads(shape, size, strides, dilation):
    """With inputs of 0 all but the padding vanishes, and what Keras pads with 0 is left out."""
    x = np.random.default_rng(0).normal(size=(2, *shape, 3))
    arguments = {"padding": "same", "strides": strides, "dilation_rate": dilation}
    found = BinaryConv2D(4, size, pad_values=1, **arguments)
    stock = keras.layers.Conv2D(4, size, use_bias=False, **arguments)
    y = to_numpy(found(tensor(x)))
    stock.build(x.shape)
    stock.set_weights(found.get_weights())
    assert found.compute_output_shape(x.shape) == y.shape
    # Padding with 1 is padding with 0 after 1 is taken away, but for what the kernel makes of 1.
    moved = to_numpy(stock(tensor(x - 1))) + found.get_weights()[0].sum((0, 1, 2))
    np.testing.assert_allclose(y, moved, atol=1e-5)


@pytest.mark.parametrize("layer", [BinaryDepthwiseConv2D, BinarySeparableConv2D])
def test_other_layers_pad_too(layer):
    arguments = {"filters": 1, "pointwise_initializer": "ones"}
    arguments = arguments if layer is BinarySeparableConv2D else {}
    layer = layer(kernel_size=3, padding="same", pad_values=1, **arguments)
    layer.depthwise_initializer = keras.initializers.Ones()
    y = to_numpy(layer(tensor(-np.ones((1, 3, 3, 1)))))
    np.testing.assert_array_equal(y[0, :2, :2, 0], [[1, -3], [-3, -9]])


def test_inputs_of_several_bits():
    """They are summed in multiples of 1/3, and so is the padding."""
    given = {**ONES, "input_quantizer": "dorefa"}
    layer = BinaryConv2D(1, 3, padding="same", pad_values=1, **given)
    y = to_numpy(layer(tensor(np.full((1, 3, 3, 1), 0.3))))[0, :2, :2, 0]
    np.testing.assert_allclose(y, [[19 / 3, 5], [5, 3]], rtol=1e-6)


def test_causal():
    layer = BinaryConv1D(1, 2, padding="causal", dilation_rate=2, **ONES)
    y = to_numpy(layer(tensor(-np.ones((1, 4, 1)))))
    np.testing.assert_array_equal(y.ravel(), [0, 0, -2, -2])


@only["tensorflow"]
def test_unknown_size():
    layer = BinaryConv2D(2, 3, strides=2, padding="same", input_quantizer="sign")
    inputs = keras.Input((None, None, 3))
    model = keras.Model(inputs, layer(inputs))
    x = np.random.default_rng(1).normal(size=(2, 5, 6, 3))
    np.testing.assert_allclose(model.predict(x, verbose=0), to_numpy(layer(tensor(x))), atol=1e-5)


@pytest.mark.parametrize("wrong", [2, -2, 0.5, "same", True])
def test_wrong_value(wrong):
    with pytest.raises(ValueError, match=r"Received pad_values=.*Expected -1, 0 or 1"):
        BinaryConv2D(1, 3, pad_values=wrong)


@pytest.mark.parametrize("size", [2, (3, 4)])
def test_even_kernel(size):
    with pytest.raises(ValueError, match="Expected odd sizes, pad_values=0 or padding='valid'"):
        BinaryConv2D(1, size, padding="same", input_quantizer="sign")
    for arguments in ({"padding": "valid", "pad_values": 1}, {"padding": "same", "pad_values": 0}):
        assert BinaryConv2D(1, size, input_quantizer="sign", **arguments).pad_value in (0, 1)


def same_by_hand(signs, kernel, strides, value):
    """A convolution of signs with TensorFlow's "same" padding, as its documentation states it."""
    sizes, k = signs.shape[1:3], kernel.shape[0]
    made = [-(-n // strides) for n in sizes]
    totals = [max((m - 1) * strides + k - n, 0) for m, n in zip(made, sizes, strict=True)]
    sides = [(0, 0), *[(t // 2, t - t // 2) for t in totals], (0, 0)]
    x = np.pad(signs, sides, constant_values=value)
    y = np.empty((len(x), *made, kernel.shape[-1]))
    for i, j in np.ndindex(*made):
        window = x[:, i * strides : i * strides + k, j * strides : j * strides + k]
        y[:, i, j] = np.tensordot(window, kernel, 3)
    return y, totals


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("strides", [1, 2, 3])
@pytest.mark.parametrize("shape", [(6, 6), (7, 7), (5, 8)])
def test_every_kernel_and_stride(size, strides, shape):
    """Exactly the sums by hand, or an error where an even kernel would be padded unevenly."""
    random = np.random.default_rng(size)
    x = random.normal(size=(2, *shape, 2))
    for value in (-1, 0, 1):
        arguments = {"strides": strides, "padding": "same", "pad_values": value}
        kernel = np.where(random.normal(size=(size, size, 2, 3)) >= 0, 1, -1)
        expected, totals = same_by_hand(np.where(x >= 0, 1, -1), kernel, strides, value)

        def call(value=value, kernel=kernel, arguments=arguments):
            layer = BinaryConv2D(
                3, size, input_quantizer="sign", kernel_quantizer="sign", **arguments
            )
            layer.build(x.shape)
            layer.kernel.assign(kernel)
            return layer.compute_output_shape(x.shape), to_numpy(layer(tensor(x)))

        if value and size % 2 == 0 and any(t % 2 for t in totals):
            with pytest.raises(ValueError, match="An even kernel that is padded more on one side"):
                call()
        else:
            shape_of_outputs, found = call()
            assert shape_of_outputs == expected.shape
            np.testing.assert_array_equal(found, expected)


def test_even_kernels_that_are_padded_evenly():
    """Dilated by 2, or with strides that leave as much on either side, for some sizes."""
    even = {"padding": "same", "pad_values": 1}
    BinaryConv2D(1, 2, dilation_rate=2, **even).build((None, 5, 5, 1))
    BinaryConv2D(1, 4, strides=2, **even).build((None, 6, 6, 1))
    with pytest.raises(ValueError, match="adds 3 values along spatial axis 1"):
        BinaryConv2D(1, 4, strides=2, **even).build((None, 6, 7, 1))
    with pytest.raises(ValueError, match="adds an unknown number of values along spatial axis 0"):
        BinaryConv2D(1, 4, strides=2, **even).build((None, None, 6, 1))
    layer = BinaryConv2D(1, 4, strides=2, **even)
    layer.build((None, 6, 6, 1))
    with pytest.raises(ValueError, match="adds 3 values along spatial axis 0"):
        layer(tensor(np.ones((1, 7, 6, 1))))


@pytest.mark.parametrize("size", [2, 3, 4, 5])
@pytest.mark.parametrize("padding", ["same", "valid"])
def test_transposed(size, padding):
    """It has nothing to pad: what an output gets is what inputs give it, wherever it is cut."""
    random = np.random.default_rng(size)
    x, kernel = random.normal(size=(2, 4, 5, 2)), random.normal(size=(size, size, 3, 2))
    signs, weights = np.where(x >= 0, 1, -1), np.where(kernel >= 0, 1, -1)
    for strides in (1, 2, 3):
        layer = BinaryConv2DTranspose(
            3, size, strides, padding, input_quantizer="sign", kernel_quantizer="sign"
        )
        layer.build(x.shape)
        layer.kernel.assign(kernel)
        made = [n * strides + max(size - strides, 0) for n in (4, 5)]
        y = np.zeros((2, *made, 3))
        for i, j in np.ndindex(4, 5):
            given = np.einsum("bc,hwoc->bhwo", signs[:, i, j], weights)
            y[:, i * strides : i * strides + size, j * strides : j * strides + size] += given
        if padding == "same":
            cut = max(size - strides, 0) // 2
            y = y[:, cut : cut + 4 * strides, cut : cut + 5 * strides]
        np.testing.assert_array_equal(to_numpy(layer(tensor(x))), y)
