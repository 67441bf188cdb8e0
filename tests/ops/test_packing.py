"""Bits in bytes: numpy's order, the two dot products, symbolic tensors."""

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from keras import ops
from support import dtype_of

from keras_htaf.models import binary_mlp, binary_weights
from keras_htaf.ops import pack_bits, unpack_bits

A = np.array([1, -1, -1, 1, 1, -1, 1, 1])
W = np.array([1, 1, -1, -1, 1, -1, -1, 1])


def packed(x, axis=-1):
    found = pack_bits(x, axis)
    assert dtype_of(found) == "uint8"
    return ops.convert_to_numpy(found)


def popcount(packed):
    return int(np.unpackbits(packed).sum())


@settings(max_examples=15, deadline=None)
@given(
    st.sampled_from([(1,), (8,), (9,), (3, 11), (2, 16, 5)]),
    st.integers(-3, 2),
    st.sampled_from(["bits", "signs"]),
    st.integers(0, 99),
)
def test_order_is_that_of_numpy(shape, axis, coding, seed):
    axis = axis % len(shape) - len(shape) * (axis < 0)
    bits = np.random.default_rng(seed).integers(0, 2, shape)
    x = bits if coding == "bits" else 2 * bits - 1
    found = packed(x, axis)
    np.testing.assert_array_equal(found, np.packbits(bits, axis, "little"))
    again = unpack_bits(found, shape[axis], axis, coding)
    assert dtype_of(again) == "int8"
    np.testing.assert_array_equal(ops.convert_to_numpy(again), x)


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int8", "int32", "float16", "float32"])
def test_any_dtype(dtype):
    x = ops.convert_to_tensor(np.maximum(A, 0), dtype=dtype)
    assert packed(x).tolist() == [217]


def test_order_is_that_of_binary_weights():
    model = binary_mlp((5,), 3, width=6, depth=1)
    for path, codes in binary_weights(model).items():
        bits = binary_weights(model, packed=True)[path]
        np.testing.assert_array_equal(packed(codes.ravel()), bits)
        again = unpack_bits(bits, codes.size, coding="signs")
        np.testing.assert_array_equal(ops.convert_to_numpy(again).reshape(codes.shape), codes)


def signs(n):
    return st.lists(st.sampled_from([-1, 1]), min_size=n, max_size=n).map(np.array)


@settings(max_examples=15, deadline=None)
@given(st.sampled_from([1, 7, 8, 19]).flatmap(lambda n: st.tuples(signs(n), signs(n))))
def test_dot_products(vectors):
    a, w = vectors
    bits, xor, both = packed(a), packed(a) ^ packed(w), packed(a) & packed(w)
    assert len(a) - 2 * popcount(xor) == a @ w
    assert 2 * popcount(both) - popcount(bits) == np.maximum(a, 0) @ w


def test_dot_products_of_the_literature():
    a, w = packed(A), packed(W)
    assert 8 - 2 * popcount(a ^ w) == 2
    assert 2 * popcount(a & w) - popcount(a) == 1


@pytest.mark.parametrize("axis", [-1, 1])
def test_symbolic(axis):
    inputs = keras.Input((11, 3))
    middle = pack_bits(inputs, axis)
    assert middle.shape == {-1: (None, 11, 1), 1: (None, 2, 3)}[axis]
    outputs = unpack_bits(middle, {-1: 3, 1: 11}[axis], axis, "signs")
    assert outputs.shape == (None, 11, 3)
    model = keras.Model(inputs, [middle, outputs])
    x = np.random.default_rng(0).normal(size=(4, 11, 3))
    bytes_, values = model.predict(x, verbose=0)
    assert (str(bytes_.dtype), str(values.dtype)) == ("uint8", "int8")
    np.testing.assert_array_equal(bytes_, np.packbits(x > 0, axis, "little"))
    np.testing.assert_array_equal(values, np.where(x > 0, 1, -1))
    again = keras.Model.from_config(model.get_config())
    np.testing.assert_array_equal(again.predict(x, verbose=0)[0], bytes_)
    assert pack_bits(keras.Input((None,))).shape == (None, None)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: pack_bits(A, 1), r"Received axis=1 for a tensor of shape \(8,\)"),
        (lambda: pack_bits(1.0), r"Received axis=-1 for a tensor of shape \(\)"),
        (lambda: pack_bits(A, None), "Received axis=None"),
        (lambda: unpack_bits(A, 8), "Received packed of dtype int"),
        (lambda: unpack_bits(packed(A), 9), "Received n=9 for 1 bytes along axis 0"),
        (lambda: unpack_bits(packed(A), 0), "Received n=0"),
        (lambda: unpack_bits(packed(A), 8.0), r"Received n=8\.0"),
        (lambda: unpack_bits(packed(A), 8, coding="sign"), "Received coding='sign'"),
        (lambda: unpack_bits(keras.Input((2,)), 8), "Received packed of dtype float32"),
    ],
)
def test_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
