"""Derivatives of HTAF in x, alpha and beta, of every order that people use, in closed form."""

from itertools import product

import mpmath
import numpy as np
import pytest
from support import BACKEND, WIDEST, derivative, every_compiler, gradient, only, tensor, to_numpy

from keras_htaf.ops import heaviside, htaf, sign
from keras_htaf.surrogates import HTAF

FIRST = {"float64": 1e-12, "float32": 1e-5}[WIDEST]


def closed_form(x, alpha, beta):
    """d htaf / dx, dalpha, dbeta in float64, each of the shape that x, alpha, beta broadcast to."""
    t = np.exp(-2 * np.abs(beta * x))
    sech2, u = 4 * t / (1 + t) ** 2, np.tanh(beta * x)
    mass = 1 / (2 + 2 * np.cosh(alpha * u))
    return alpha * beta * sech2 * mass, u * mass, alpha * x * sech2 * mass


def summed_to(array, shape):
    """The gradient of what was broadcast from `shape`."""
    extra = array.ndim - len(shape)
    axes = [i for i in range(array.ndim) if i < extra or shape[i - extra] == 1]
    return array.sum(axis=tuple(axes)).reshape(shape)


SHAPES = [(), (1,), (5,), (1, 1, 1, 5), (2, 1, 4, 1), (2, 3, 4, 5)]


def example(shape):
    """x, alpha, beta, an upstream gradient, and the three gradients expected."""
    random = np.random.default_rng(0)
    x, upstream = random.normal(size=(2, 2, 3, 4, 5))
    alpha, beta = random.uniform(1, 9, shape), random.uniform(0.3, 2, shape)
    full = closed_form(3 * x, alpha, beta)
    likes = (x, alpha, beta)
    expected = [summed_to(d * upstream, like.shape) for d, like in zip(full, likes, strict=True)]
    return 3 * x, alpha, beta, upstream, expected


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_parameters_of_every_shape(shape):
    *inputs, upstream, expected = example(shape)
    found = gradient(htaf, *[tensor(a, WIDEST) for a in inputs], upstream=upstream)
    for actual, exact in zip(found, expected, strict=True):
        assert actual.shape == exact.shape
        np.testing.assert_allclose(actual, exact, rtol=FIRST, atol=FIRST)


@every_compiler
def test_parameters_of_every_shape_compiled(compiler):
    """All shapes in one graph; its gradient in x is the sum of theirs."""

    def total(x, *parameters):
        return sum(htaf(x, *pair) for pair in zip(parameters[::2], parameters[1::2], strict=True))

    examples = [example(shape) for shape in SHAPES]
    x, upstream = examples[0][0], examples[0][3]
    parameters = [tensor(p, WIDEST) for _, *pair, _, _ in examples for p in pair]
    found = gradient(compiler(total), tensor(x, WIDEST), *parameters, upstream=upstream)
    exact = [e for *_, expected in examples for e in expected[1:]]
    for actual, expected in zip(found, [sum(e[4][0] for e in examples), *exact], strict=True):
        assert actual.shape == expected.shape
        np.testing.assert_allclose(actual, expected, rtol=FIRST, atol=FIRST)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16", "float16"])
def test_parameters_of_half_precision_inputs_are_float32(dtype):
    x = np.array([0.25, 0.5, 1.5, 3.0])
    inputs = tensor(x, dtype), tensor(4.0), tensor(1.0)
    _, alpha, beta = gradient(htaf, *inputs)
    expected = [d.sum() for d in closed_form(x, 4.0, 1.0)[1:]]
    np.testing.assert_allclose([alpha, beta], expected, rtol=1e-5)


@pytest.mark.parametrize("shape", [(0,), (0, 3), (2, 0, 3)])
def test_empty_batch(shape):
    parameters = tensor(np.ones(3)) if len(shape) > 1 else tensor(1.0)
    x, alpha, beta = gradient(htaf, tensor(np.zeros(shape)), parameters, parameters)
    assert x.shape == shape
    np.testing.assert_array_equal(alpha, np.zeros(parameters.shape))
    np.testing.assert_array_equal(beta, np.zeros(parameters.shape))


@every_compiler
def test_infinite_inputs(compiler):
    x, alpha, beta = gradient(
        compiler(htaf), tensor([-np.inf, np.inf, np.inf]), tensor(4.0), tensor(1.0)
    )
    limit = 1 / (2 + 2 * np.cosh(4))
    np.testing.assert_array_equal(x, 0)
    np.testing.assert_allclose(alpha, limit, rtol=1e-5)
    assert beta == 0


def test_only_one_argument_differentiated():
    x, alpha, beta = tensor([0.5, -1.0]), tensor(4.0), tensor(1.0)
    together = gradient(htaf, x, alpha, beta)
    apart = [
        gradient(lambda x: htaf(x, alpha, beta), x),
        gradient(lambda alpha: htaf(x, alpha, beta), alpha),
        gradient(lambda beta: htaf(x, alpha, beta), beta),
        gradient(lambda alpha: htaf(x, alpha, 1.0), alpha),
    ]
    for actual, expected in zip(apart, [*together, together[1]], strict=True):
        np.testing.assert_allclose(actual, expected, rtol=1e-6)


POINTS = [0.0, 0.3, -0.7, 1.25, -4.0, 8.0, 14.0]
ORDERS = [o for n in (2, 3) for o in product(range(n + 1), repeat=3) if sum(o) == n]


def exact_derivative(order, x, alpha=4.0, beta=1.25):
    with mpmath.workdps(60):

        def f(x, alpha, beta):
            return 1 / (1 + mpmath.exp(-alpha * mpmath.tanh(beta * x)))

        return float(mpmath.diff(f, (mpmath.mpf(x), alpha, beta), order))


@pytest.mark.parametrize("order", ORDERS, ids=str)
def test_higher_derivatives(order):
    """All second and third derivatives, pure and mixed, at 0, around it and in the tail."""
    f = htaf
    for argument in np.repeat([0, 1, 2], order):
        f = derivative(f, int(argument))
    x = tensor(POINTS, WIDEST)
    full = [tensor(np.full(len(POINTS), v), WIDEST) for v in (4.0, 1.25)]
    exact = [exact_derivative(order, v) for v in POINTS]
    relative = {"float64": 1e-11, "float32": 2e-5}[WIDEST]
    np.testing.assert_allclose(to_numpy(f(x, *full)), exact, rtol=relative, atol=1e-30)


@pytest.mark.parametrize("step", [heaviside, sign])
def test_higher_derivatives_of_hard_steps_are_those_of_the_slope(step):
    gain = 1.0 if step is heaviside else 2.0
    f, x = lambda x: step(x, HTAF(4.0, 1.25)), tensor(POINTS, WIDEST)
    for order in (1, 2, 3):
        f = derivative(f)
        exact = [gain * exact_derivative((order, 0, 0), v) for v in POINTS]
        relative = {"float64": 1e-11, "float32": 2e-5}[WIDEST]
        np.testing.assert_allclose(to_numpy(f(x)), exact, rtol=relative, atol=1e-30)


@pytest.mark.skipif(BACKEND == "torch", reason="torch.compile has no double backward")
@every_compiler
def test_second_derivative_compiled(compiler):
    f = derivative(compiler(lambda x: htaf(x, 4.0, 1.25)))
    exact = [exact_derivative((2, 0, 0), v) for v in POINTS]
    np.testing.assert_allclose(gradient(f, tensor(POINTS)), exact, rtol=2e-5, atol=1e-30)


@only["jax"]
def test_jax_forward_mode():
    import jax
    import jax.numpy as jnp

    x, alpha, beta = jnp.asarray([-8.0, 0.0, 0.5, 14.0]), jnp.asarray(4.0), jnp.asarray(1.25)
    primals = x, alpha, beta
    for i, exact in enumerate(closed_form(*map(np.float64, primals))):
        tangents = [
            jnp.ones_like(p) if i == j else jnp.zeros_like(p) for j, p in enumerate(primals)
        ]
        value, tangent = jax.jvp(htaf, primals, tuple(tangents))
        np.testing.assert_allclose(value, htaf(*primals), rtol=1e-6)
        np.testing.assert_allclose(tangent, exact, rtol=1e-5, atol=1e-30)


@only["jax"]
@pytest.mark.parametrize(("outer", "inner"), [("jacfwd", "jacrev"), ("jacrev", "jacfwd")])
def test_jax_hessian(outer, inner):
    import jax

    def f(v):
        return htaf(v[0], v[1], v[2])

    point = np.array([-0.7, 4.0, 1.25], "float32")
    hessian = getattr(jax, outer)(getattr(jax, inner)(f))(point)
    units = np.eye(3, dtype=int)
    exact = [[exact_derivative(tuple(a + b), -0.7) for a in units] for b in units]
    np.testing.assert_allclose(hessian, exact, rtol=2e-5)


@only["torch"]
def test_torch_gradcheck():
    import torch

    x = torch.linspace(-3, 3, 12, dtype=torch.float64).reshape(4, 3).requires_grad_()
    alpha = torch.tensor([2.0, 4.0, 8.0], dtype=torch.float64, requires_grad=True)
    beta = torch.tensor([[0.5], [1.0], [2.0], [0.7]], dtype=torch.float64, requires_grad=True)
    for inputs in [(x, alpha, beta), (x, alpha.sum(), beta), (x, 4.0, beta), (x, alpha, 0.5)]:
        assert torch.autograd.gradcheck(htaf, inputs, check_batched_grad=True)
        assert torch.autograd.gradgradcheck(htaf, inputs)


@only["torch"]
@pytest.mark.parametrize("name", ["htaf", "atan", "swish_sign", "ede"])
def test_torch_gradgradcheck_of_hard_steps(name):
    """The step itself has no gradient to check; its slope has."""
    import torch

    x = torch.tensor([-1.1, -0.4, 0.2, 0.9], dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(derivative(lambda x: heaviside(x, name)), (x,))
    assert torch.autograd.gradgradcheck(derivative(lambda x: sign(x, name)), (x,))


@only["torch"]
@every_compiler
def test_torch_functional_gradient(compiler):
    import torch

    x = torch.tensor([-5.0, 0.0, 0.3, 9.0])
    slope = compiler(torch.func.grad(lambda x: htaf(x, 4.0, 1.0).sum()))(x)
    np.testing.assert_allclose(slope, closed_form(x.double().numpy(), 4.0, 1.0)[0], rtol=1e-5)


@only["tensorflow"]
@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("shape", [(None, 3), (None, None), None], ids=str)
def test_tensorflow_unknown_shapes(shape, jit_compile):
    """One trace serves every batch, the empty one too."""
    import tensorflow as tf

    signature = [tf.TensorSpec(shape), tf.TensorSpec((3,))]
    slopes = tf.function(
        derivative(lambda x, a: htaf(x, a, 0.5), 0, 1), signature, jit_compile=jit_compile
    )
    alpha = np.array([1.0, 4.0, 8.0])
    for batch in (5, 2, 0):
        x = np.linspace(-3, 4, 3 * batch).reshape(batch, 3)
        dx, dalpha = slopes(tensor(x), tensor(alpha))
        expected = gradient(lambda x, a: htaf(x, a, 0.5), tensor(x), tensor(alpha))
        np.testing.assert_allclose(dx, expected[0], rtol=2e-6)
        np.testing.assert_allclose(dalpha, expected[1], rtol=1e-5)


def test_parameters_larger_than_x():
    x, alpha = tensor(np.array([-1.0, 0.5, 2.0])), tensor(np.array([[2.0], [5.0]]))
    gx, galpha = gradient(lambda x, alpha: htaf(x, alpha, 0.5), x, alpha)
    rows = [gradient(lambda x, a=a: htaf(x, a, 0.5), x) for a in (2.0, 5.0)]
    np.testing.assert_allclose(gx, np.sum(rows, axis=0), rtol=1e-5)
    assert galpha.shape == (2, 1)
