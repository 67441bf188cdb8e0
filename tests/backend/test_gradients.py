"""`backend.gradients`: closed forms, several tensors, tensors that the loss does not use."""

import numpy as np
import pytest
from keras import ops
from support import BACKEND, dtype_of, only, tensor, to_numpy

from keras_htaf import backend
from keras_htaf.backend import portable
from keras_htaf.layers import Sign

A = np.random.default_rng(0).normal(size=(3, 4))
B = np.random.default_rng(1).normal(size=(4, 2))
UPSTREAM = np.cos(np.arange(6.0)).reshape(3, 2)


def gradients(loss, *tensors):
    found = backend.gradients(loss, list(tensors))
    assert isinstance(found, list)
    assert [tuple(g.shape) for g in found] == [tuple(t.shape) for t in tensors]
    assert [dtype_of(g) for g in found] == [dtype_of(t) for t in tensors]
    return [to_numpy(g) for g in found]


def test_one_tensor():
    (found,) = gradients(lambda x: ops.sum(ops.sin(x)), tensor(A))
    np.testing.assert_allclose(found, np.cos(A), rtol=1e-5)


def test_several_tensors():
    """sum(UPSTREAM * (a b) * c): matrices and a number, in the order in which they are given."""

    def loss(a, b, c):
        return ops.sum(tensor(UPSTREAM) * (a @ b)) * c

    da, db, dc = gradients(loss, tensor(A), tensor(B), tensor(0.5))
    np.testing.assert_allclose(da, 0.5 * UPSTREAM @ B.T, rtol=1e-5)
    np.testing.assert_allclose(db, 0.5 * A.T @ UPSTREAM, rtol=1e-5)
    np.testing.assert_allclose(dc, np.sum(UPSTREAM * (A @ B)), rtol=1e-5)


@pytest.mark.parametrize("used", [[], [0], [2], [0, 1]])
def test_unconnected_tensors_give_zeros(used):
    tensors = [tensor(A), tensor(B), tensor(0.5)]

    def loss(*tensors):
        return sum((ops.sum(tensors[i] ** 2) for i in used), start=ops.sum(ops.ones((2,))))

    for i, (found, value) in enumerate(zip(gradients(loss, *tensors), tensors, strict=True)):
        expected = 2 * to_numpy(value) if i in used else np.zeros(value.shape)
        np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_no_tensors_are_changed_and_each_call_is_its_own():
    x = tensor(A)
    first, second = (gradients(lambda x: ops.sum(x**3), x)[0] for _ in range(2))
    np.testing.assert_array_equal(first, second)  # not accumulated
    np.testing.assert_allclose(first, 3 * A**2, rtol=1e-5)
    np.testing.assert_array_equal(to_numpy(x), np.float32(A))


def test_through_a_layer_whose_weights_are_constants():
    """d sum(UPSTREAM * step(x W)) / dx through a hard step, by its slope 2 g(u)."""
    layer = Sign("atan")
    (found,) = gradients(
        lambda x: ops.sum(tensor(UPSTREAM) * layer(x @ tensor(B))),
        tensor(A),
    )
    slope = 2 / (1 + (np.pi * (A @ B)) ** 2)
    np.testing.assert_allclose(found, (UPSTREAM * slope) @ B.T, rtol=1e-4)


def test_half_precision():
    (found,) = gradients(lambda x: ops.sum(x**2), tensor(A, "bfloat16"))
    np.testing.assert_allclose(found, 2 * to_numpy(tensor(A, "bfloat16")), rtol=1e-2)


@only["torch"]
def test_where_gradients_are_off():
    import torch

    with torch.no_grad():
        (found,) = gradients(lambda x: ops.sum(x**2), tensor(A))
    np.testing.assert_allclose(found, 2 * A, rtol=1e-6)
    parameter = torch.nn.Parameter(tensor(A))
    gradients(lambda x: ops.sum(x * parameter), tensor(A))
    assert parameter.grad is None


def test_no_portable_form():
    assert BACKEND in ("jax", "tensorflow", "torch")
    with pytest.raises(NotImplementedError, match=f"backend '{BACKEND}'.*Set KERAS_BACKEND"):
        portable.gradients(ops.sum, [tensor(A)])
