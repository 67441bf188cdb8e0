"""Gradients and compilers of the backend that the tests run on, behind one face.

gradient(f, x, alpha)            numpy gradients of sum(f(x, alpha))
derivative(derivative(f), 1)     d2 sum(f) / dx dalpha, a function of tensors
@every_compiler                  runs a test with `compiler` = eager, jit, tf.function, ...
"""

import shutil
from functools import partial

import keras
import ml_dtypes
import numpy as np
import pytest
from keras import ops

BACKEND = keras.config.backend()

if BACKEND == "jax":
    import jax
elif BACKEND == "tensorflow":
    import tensorflow as tf
elif BACKEND == "torch":
    import torch

WIDEST = "float32" if BACKEND == "jax" else "float64"
"""The most precise dtype that the backend has by default."""

only = {
    name: pytest.mark.skipif(name != BACKEND, reason=f"is about {name}")
    for name in ("jax", "tensorflow", "torch")
}


def tensor(x, dtype="float32"):
    return ops.convert_to_tensor(x, dtype=dtype)


def dtype_of(x):
    return keras.backend.standardize_dtype(x.dtype)


def to_numpy(x):
    """`x` as a float64 array, exactly, whatever its dtype."""
    exact = x if dtype_of(x) == "float64" else ops.cast(x, "float32")
    return np.asarray(ops.convert_to_numpy(exact), "float64")


def rounded(x, dtype):
    """The numbers of `dtype` nearest to `x`, as a float64 array."""
    return np.asarray(x, ml_dtypes.finfo(dtype).dtype).astype("float64")


def derivative(f, *arguments):
    """The function of the same tensors that gives d sum(f) / d argument, for each of `arguments`.

    It is differentiable and compilable again. `arguments` are positions, by default the first; one
    position gives a tensor, several give a list. On JAX it is traced: differentiation operation by
    operation would compile each of them.
    """
    positions = arguments or (0,)

    def derivatives(*inputs):
        if BACKEND == "jax":
            return jax.jit(jax.grad(lambda *a: f(*a).sum(), positions))(*inputs)
        if BACKEND == "tensorflow":
            with tf.GradientTape() as tape:
                tape.watch(inputs)
                y = f(*inputs)
            return tape.gradient(
                y,
                [inputs[i] for i in positions],
                unconnected_gradients=tf.UnconnectedGradients.ZERO,
            )
        inputs = [a if a.requires_grad else a.detach().requires_grad_() for a in inputs]
        return torch.autograd.grad(
            f(*inputs).sum(),
            [inputs[i] for i in positions],
            create_graph=True,
            materialize_grads=True,
        )

    if len(positions) > 1:
        return derivatives
    return lambda *inputs: derivatives(*inputs)[0]


def gradient(f, *inputs, upstream=None):
    """Gradients of sum(f(*inputs) * upstream) as numpy: an array for one input, else a list."""

    def weighted(*inputs):
        y = f(*inputs)
        return y if upstream is None else y * ops.cast(upstream, y.dtype)

    found = derivative(weighted, *range(len(inputs)))(*inputs)
    return to_numpy(found) if len(inputs) == 1 else [to_numpy(g) for g in found]


def _eager(f):
    return f


def _torch_compile(f):
    torch.compiler.reset()  # a function has few compiled versions before torch gives up on it
    return torch.compile(f, fullgraph=True)


def _compilers():
    yield "eager", _eager, ()
    if BACKEND == "jax":
        yield "jit", jax.jit, ()
    elif BACKEND == "tensorflow":
        yield "tf.function", tf.function, ()
        yield "xla", partial(tf.function, jit_compile=True), ()
    elif BACKEND == "torch":
        missing = pytest.mark.skipif(
            not (shutil.which("g++") or shutil.which("clang++")), reason="needs a C++ compiler"
        )
        yield "torch.compile", _torch_compile, missing


every_compiler = pytest.mark.parametrize(
    "compiler", [pytest.param(f, id=name, marks=marks) for name, f, marks in _compilers()]
)
