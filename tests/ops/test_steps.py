"""What the steps take and give: values, limits, dtypes, inputs of every kind, errors."""

from functools import partial

import keras
import numpy as np
import pytest
from keras import ops
from support import BACKEND, WIDEST, dtype_of, every_compiler, gradient, rounded, tensor, to_numpy

from keras_htaf import surrogates
from keras_htaf.ops import heaviside, htaf, sign

STEPS = {"htaf": htaf, "heaviside": heaviside, "sign": sign}
HARD = {"heaviside": heaviside, "sign": sign}

every_step = pytest.mark.parametrize("step", STEPS.values(), ids=STEPS)
every_hard_step = pytest.mark.parametrize("step", HARD.values(), ids=HARD)
every_dtype = pytest.mark.parametrize("dtype", sorted({"bfloat16", "float16", "float32", WIDEST}))


def composition(x, alpha, beta):
    return 1 / (1 + np.exp(-alpha * np.tanh(beta * np.asarray(x, "float64"))))


@pytest.mark.parametrize(("alpha", "beta"), [(8.0, 0.5), (4.0, 1.0), (1.0, 0.1)])
def test_htaf_is_its_formula(alpha, beta):
    x = np.linspace(-50, 50, 401)
    found = to_numpy(htaf(tensor(x, WIDEST), alpha, beta))
    relative = {"float64": 1e-14, "float32": 4e-6}[WIDEST]  # alpha units in the last place
    np.testing.assert_allclose(found, composition(x, alpha, beta), rtol=relative)


def test_defaults():
    np.testing.assert_allclose(to_numpy(htaf([-1.0, 2.0])), composition([-1, 2], 8, 0.5), rtol=1e-6)
    slope = surrogates.HTAF(8.0, 0.5)
    x = tensor([-1.0, 0.0, 2.0])
    for step in HARD.values():
        expected = gradient(partial(step, surrogate=slope), x)
        np.testing.assert_array_equal(gradient(step, x), expected)


# REFERENCE.md, section 3; no name of the table is left out on any backend.
X = [-1.5, -1, -0.5, -0.0, 0.25, 1, 1.0001, 3]


@every_dtype
@pytest.mark.parametrize("name", ["htaf", "rectangle"])
def test_hard_values(name, dtype):
    x = tensor(X, dtype)
    np.testing.assert_array_equal(to_numpy(sign(x, name)), [-1, -1, -1, 1, 1, 1, 1, 1])
    np.testing.assert_array_equal(to_numpy(heaviside(x, name)), [0, 0, 0, 0, 1, 1, 1, 1])
    zeros = tensor([0.0, -0.0], dtype)
    np.testing.assert_array_equal(to_numpy(sign(zeros, name)), 1)
    np.testing.assert_array_equal(to_numpy(heaviside(zeros, name)), 0)


STATED = {
    # Slopes that the literature states for a sign: sign passes them on as they are.
    "ste": (surrogates.Rectangle(), [0, 1, 1, 1, 1, 1, 0, 0]),
    "clip 1.25": (surrogates.Rectangle(1.25), [0, 1, 1, 1, 1, 1, 1, 0]),
    "no clip": (surrogates.Rectangle(None), [1] * 8),
    "approx_sign": (surrogates.ApproxSign(), [0, 0, 1, 2, 1.5, 0, 0, 0]),
    "swish_sign": (
        surrogates.SwishSign(5.0),
        [-0.0303402, -0.1949923, -0.0846216, 5, 2.2620474, -0.1949923, -0.1949311, -0.0000398],
    ),
}


@every_hard_step
@pytest.mark.parametrize(("surrogate", "expected"), STATED.values(), ids=STATED)
def test_parity_of_gradients(surrogate, expected, step):
    found = gradient(lambda x: step(x, surrogate), tensor(X))
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=5e-8)


@every_compiler
@every_hard_step
def test_parity_of_gradients_compiled(step, compiler):
    """All rows in one graph."""

    def rows(x):
        return ops.stack([step(x[i], s) for i, (s, _) in enumerate(STATED.values())])

    found = gradient(compiler(rows), tensor([X] * len(STATED)))
    expected = [row for _, row in STATED.values()]
    np.testing.assert_allclose(found, expected, rtol=1e-6, atol=5e-8)


def test_upstream_gradient_multiplies():
    upstream = np.arange(8.0) - 3
    found = gradient(lambda x: heaviside(x, "ste"), tensor(X), upstream=upstream)
    np.testing.assert_array_equal(found, [0, -2, -1, 0, 1, 2, 0, 0])


@pytest.mark.parametrize("surrogate", surrogates._BY_NAME)
@every_hard_step
def test_hard_gradient_is_the_slope_times_the_gain(step, surrogate):
    surrogate = surrogates.get(surrogate)
    gain = 1.0 if step is heaviside else surrogate.sign_gain
    x = tensor([-30.0, -1.0, -0.4, -0.0, 0.0, 0.1, 0.5, 1.0, 7.0])
    found = gradient(lambda x: step(x, surrogate), x)
    np.testing.assert_allclose(found, gain * to_numpy(surrogate.derivative(x)), rtol=1e-6)


def several(x):
    names = "atan", "swish_sign", "triangle", "erf"
    return sum(k * heaviside(x, name) + sign(x, name) / k for k, name in enumerate(names, 1))


@pytest.mark.parametrize("f", [*STEPS.values(), several, surrogates.ATan()])
@every_compiler
def test_compilers_agree(f, compiler):
    x = tensor([[-20.0, -1.0, -0.3], [0.0, 0.7, 11.0]])
    np.testing.assert_allclose(to_numpy(compiler(f)(x)), to_numpy(f(x)), rtol=1e-6)
    np.testing.assert_allclose(gradient(compiler(f), x), gradient(f, x), rtol=2e-6)


@every_dtype
@every_step
def test_dtype_in_is_dtype_out(step, dtype):
    x = tensor([-2.0, 0.5], dtype)
    assert dtype_of(step(x)) == dtype_of(x)
    assert dtype_of(step(x, *([tensor(4.0)] if step is htaf else []))) == dtype_of(x)


@pytest.mark.parametrize("shape", [(), (0,), (1,), (2, 0, 3), (2, 3, 4, 5)], ids=str)
@every_step
def test_shapes(step, shape):
    x = tensor(np.zeros(shape))
    assert tuple(step(x).shape) == shape
    assert gradient(step, x).shape == shape


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float32"])
@every_compiler
def test_limits(compiler, dtype):
    f = compiler(lambda x: ops.stack([htaf(x[0]), heaviside(x[1]), sign(x[2])]))
    x = tensor([[-np.inf, np.inf, np.nan]] * 3, dtype)
    values, slopes = to_numpy(f(x)), gradient(f, x)
    smallest, largest = rounded(composition([-np.inf, np.inf], 8.0, 0.5), dtype)
    expected = [[smallest, largest, np.nan], [0, 1, np.nan], [-1, 1, np.nan]]
    np.testing.assert_allclose(values, expected, rtol={"float32": 1e-6}.get(dtype, 0))
    np.testing.assert_array_equal(slopes, [[0, 0, np.nan]] * 3)


KINDS = {
    "float": 0.5,
    "int": 2,
    "bool": True,
    "list": [[-1, 2], [0, 3]],
    "tuple": (-0.5, 0.5),
    "int8": np.array([-3, 0, 4], "int8"),
    "float32": np.array([-3, 0, 4], "float32"),
    "scalar": np.float32(0.25),
    "float16": np.array([-3, 0, 4], "float16"),
}


@pytest.mark.parametrize("x", KINDS.values(), ids=KINDS)
def test_inputs_of_every_kind(x):
    x64 = np.asarray(x, "float64")
    np.testing.assert_allclose(to_numpy(htaf(x)), composition(x64, 8, 0.5), rtol=2e-3)
    np.testing.assert_array_equal(to_numpy(heaviside(x)), x64 > 0)
    np.testing.assert_array_equal(to_numpy(sign(x)), np.where(x64 >= 0, 1, -1))
    half = getattr(x, "dtype", None) == np.float16
    assert dtype_of(htaf(x)) == dtype_of(sign(x)) == ("float16" if half else "float32")


PARAMETERS = {
    "int": 4,
    "numpy float64": np.float64(4.0),
    "numpy int": np.int64(4),
    "numpy array, no axes": np.array(4.0),
    "numpy array": np.full(3, 4.0),
    "numpy integers": np.full((2, 1), 4),
    "tensor": tensor(4.0),
    "float16 tensor": tensor([4.0, 4.0, 4.0], "float16"),
    "variable": keras.Variable(4.0, trainable=False),
    "float64 variable": keras.Variable([4.0, 4.0, 4.0], dtype=WIDEST),
}


@pytest.mark.parametrize("dtype", sorted({"float32", WIDEST}))
@pytest.mark.parametrize("alpha", PARAMETERS.values(), ids=PARAMETERS)
def test_parameters_of_every_kind(alpha, dtype):
    points = np.array([[-1.0, 0.5, 3.0], [0.0, -9.0, 2.0]])
    x = tensor(points, dtype)
    found = htaf(x, alpha, 1.0)
    assert dtype_of(found) == dtype
    np.testing.assert_allclose(to_numpy(found), composition(points, 4, 1), rtol=1e-6)
    slope = to_numpy(surrogates.HTAF(4.0, 1.0).derivative(x))
    np.testing.assert_allclose(gradient(lambda x: htaf(x, alpha, 1.0), x), slope, rtol=2e-6)


@every_compiler
def test_variables_compiled(compiler):
    """A new value of a variable needs no new trace, except on JAX, where it is an argument."""
    x, alpha = tensor([-1.0, 0.5, 3.0]), keras.Variable(4.0, trainable=False)
    f = compiler(lambda x: htaf(x, alpha, 1.0) + heaviside(x, "atan"))
    bits = np.array([0, 1, 1])
    np.testing.assert_allclose(to_numpy(f(x)), composition(x, 4, 1) + bits, rtol=1e-6)
    if BACKEND != "jax":
        alpha.assign(2.0)
        np.testing.assert_allclose(to_numpy(f(x)), composition(x, 2, 1) + bits, rtol=1e-6)


WRONG = [
    0,
    -1.0,
    float("nan"),
    float("inf"),
    "4",
    "sharp",
    None,
    [1, 2],
    np.float64(-2),
    np.array(0),
]


@pytest.mark.parametrize("name", ["alpha", "beta"])
@pytest.mark.parametrize("value", [*WRONG, np.array([1.0, -1.0])], ids=repr)
@pytest.mark.parametrize("x", [0.5, keras.KerasTensor((None, 3))], ids=["eager", "symbolic"])
def test_wrong_parameters(x, value, name):
    with pytest.raises(ValueError, match=rf"(?s)Received {name}=.*Expected .*positive"):
        htaf(x, **{name: value})


@every_hard_step
@pytest.mark.parametrize("surrogate", ["relu", "", None, 3, len, {"class_name": "x"}], ids=repr)
def test_wrong_surrogates(step, surrogate):
    with pytest.raises(ValueError, match=r"(?s)Received surrogate.*Expected"):
        step([0.5], surrogate)
