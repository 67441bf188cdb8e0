"""The primitives on JAX. Steps have a `custom_jvp`, so forward and reverse mode and
every order work; loops over time have a `custom_vjp`, so reverse mode only.

What is said in `tensorflow.py` about XLA on the CPU holds here too: a value with several readers is
a kernel of its own, so p is written in two ways; and a bounded exponential is cheaper than XLA's.
"""

from __future__ import annotations

import contextlib
import math
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax.custom_derivatives import SymbolicZero

from keras_htaf.backend import firing, linear
from keras_htaf.backend.portable import random_state, set_random_state  # noqa: F401
from keras_htaf.backend.turns import beside

eager_scope = contextlib.nullcontext

# exp on [-ln2 / 2, ln2 / 2], relative error 2e-7.
_EXP = (0.008261163719, 0.041899967939, 0.166681289673, 0.499991327524, 0.999999523163, 1.0)


@jax.custom_jvp
def _exp(v):
    """exp(v) for v in [-88, 88], 0 at -88."""
    if v.dtype == jnp.float64:
        return jnp.exp(v)
    n = jnp.round(v * (1.0 / math.log(2.0)))
    f = v - n * math.log(2.0)
    polynomial = _EXP[0]
    for coefficient in _EXP[1:]:
        polynomial = polynomial * f + coefficient
    # 2**n: adding 2**23 puts n, with the exponent's bias of 127, into the lowest bits.
    exponent = jax.lax.bitcast_convert_type(n + float(2**23 + 127), jnp.int32)
    return polynomial * jax.lax.bitcast_convert_type(exponent << 23, jnp.float32)


@_exp.defjvp
def _exp_jvp(primals, tangents):
    y = _exp(*primals)
    return y, y * tangents[0]


def _wide(x):
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _q_and_w(wide, alpha, beta):
    """q of `portable.py`, and w such that p = w / (1 + w)."""
    # Not jnp.abs, for the sake of third derivatives at 0.
    t = _exp(jnp.maximum(jnp.where(wide < 0, wide, -wide) * (2.0 * beta), -88.0))
    q = t / (1.0 + t)
    return q, _exp(jnp.maximum((2.0 * alpha) * q - alpha, -87.0))


def _slope(alpha, beta, q, w):
    # 4 alpha beta first: the small factors alone would underflow where the slope does not.
    return ((4.0 * alpha * beta) * q * (1.0 - q) * w) / jnp.square(1.0 + w)


@jax.custom_jvp
def _htaf(x, alpha, beta):
    return jax.nn.sigmoid(alpha * jnp.tanh(beta * _wide(x))).astype(x.dtype)


def _htaf_jvp(primals, tangents):
    x, alpha, beta = primals
    wide = _wide(x)
    q, w = _q_and_w(wide, alpha, beta)
    p = 1.0 / (1.0 + _exp(jnp.minimum(alpha - (2.0 * alpha) * q, 87.0)))
    y = jnp.where(wide > 0, 1.0 - p, p)
    tx, talpha, tbeta = tangents
    # Terms are summed only if there are several: a zero to start from would be saved too.
    terms = []
    if not isinstance(tx, SymbolicZero):
        terms.append(_slope(alpha, beta, q, w) * tx.astype(y.dtype))
    if not isinstance(talpha, SymbolicZero):
        u = jnp.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
        terms.append(u * w / jnp.square(1.0 + w) * talpha)
    if not isinstance(tbeta, SymbolicZero):
        # x * slope has the limit 0 at infinite x, where the product would be NaN.
        finite = jnp.where(q == 0, 0.0, wide)
        terms.append(_slope(alpha, 1.0, q, w) * finite * tbeta)
    tangent = sum(terms[1:], terms[0]) if terms else jnp.zeros_like(y)
    return y.astype(x.dtype), tangent.astype(x.dtype)


_htaf.defjvp(_htaf_jvp, symbolic_zeros=True)


@jax.jit
def htaf(x, alpha, beta):
    return _htaf(x, alpha, beta)


htaf_inference = htaf


@jax.jit
def htaf_slope(x, alpha, beta):
    return _slope(alpha, beta, *_q_and_w(_wide(x), alpha, beta)).astype(x.dtype)


def step(x, sharpness, surrogate, forward, gain, scale=1.0):
    return _step(x, sharpness, scale, surrogate, forward, gain)


@partial(jax.custom_jvp, nondiff_argnums=(3, 4, 5))
def _step(x, sharpness, scale, surrogate, forward, gain):
    return forward(x, sharpness)


@_step.defjvp
def _step_jvp(surrogate, forward, gain, primals, tangents):
    x, sharpness, scale = primals
    slope = gain * surrogate.derivative(_wide(x) / scale, sharpness) / scale
    return forward(x, sharpness), (slope * tangents[0].astype(slope.dtype)).astype(x.dtype)


def scan(step, inputs, state, parameters, training=True):
    """A loop that slices its inputs, and whose backward loop computes each turn anew.

    `jax.lax.scan` would want time first, and its own gradient would keep intermediates: two
    transpositions and several arrays of the inputs' size, in a loop that memory bounds. The price
    is forward mode.
    """
    # With the step, so that both are forgotten together. What takes no attributes is compiled anew.
    run = getattr(step, "_scan", None)
    if run is None:
        run = jax.jit(partial(_scan, step))
        with contextlib.suppress(AttributeError):
            step._scan = run
    return run(inputs, state, parameters)


def _at(tensors, t):
    return {name: jax.lax.dynamic_index_in_dim(x, t, 1, False) for name, x in tensors.items()}


def _written(arrays, t, values, axis=1):
    write = jax.lax.dynamic_update_index_in_dim
    return tuple(write(a, v, t, axis) for a, v in zip(arrays, values, strict=True))


def _loop(step, inputs, state, parameters, keep):
    """(outputs, the last state, if `keep` the states before each turn, time first)."""
    length = next(iter(inputs.values())).shape[1]
    made, _ = jax.eval_shape(step, _at(inputs, 0), state, parameters)
    outputs = tuple(jnp.empty((y.shape[0], length, *y.shape[1:]), y.dtype) for y in made)
    history = tuple(jnp.empty((length, *v.shape), v.dtype) for v in state) if keep else ()

    def turn(t, loop):
        outputs, state, history = loop
        y, after = step(_at(inputs, t), state, parameters)
        return _written(outputs, t, y), after, _written(history, t, state if keep else (), 0)

    return jax.lax.fori_loop(0, length, turn, (outputs, state, history))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _scan(step, inputs, state, parameters):
    return _loop(step, inputs, state, parameters, keep=False)[:2]


def _scan_forward(step, inputs, state, parameters):
    outputs, last, history = _loop(step, inputs, state, parameters, keep=True)
    return (outputs, last), (inputs, history, parameters)


def _scan_backward(step, kept, upstream):
    inputs, history, parameters = kept
    g_outputs, g_last = upstream
    length = history[0].shape[0]
    floats = {name: x for name, x in inputs.items() if jnp.issubdtype(x.dtype, jnp.floating)}

    def turn(i, loop):
        t = length - 1 - i
        g_inputs, g_state, g_parameters = loop
        others = _at({name: x for name, x in inputs.items() if name not in floats}, t)
        state = tuple(jax.lax.dynamic_index_in_dim(v, t, 0, False) for v in history)
        _, pullback = jax.vjp(
            lambda own, *arguments: step({**others, **own}, *arguments),
            *(_at(floats, t), state, parameters),
        )
        g_now = tuple(jax.lax.dynamic_index_in_dim(g, t, 1, False) for g in g_outputs)
        g_own, g_state, g_now = pullback((g_now, g_state))
        g_inputs = _written(g_inputs, t, [g_own[name] for name in floats])
        return g_inputs, g_state, jax.tree.map(jnp.add, g_parameters, g_now)

    empty = tuple(jnp.empty_like(x) for x in floats.values())
    zeros = jax.tree.map(jnp.zeros_like, parameters)
    found, g_state, g_parameters = jax.lax.fori_loop(0, length, turn, (empty, g_last, zeros))
    # Only where there is none, since an exported program does not know the shapes.
    others = [(name, x.shape) for name, x in inputs.items() if name not in floats]
    none = {name: np.zeros(shape, jax.dtypes.float0) for name, shape in others}
    return {**none, **dict(zip(floats, found, strict=True))}, g_state, g_parameters


_scan.defvjp(_scan_forward, _scan_backward)


@partial(jax.jit, static_argnums=(4, 5))
def linear_recurrence(x, decay, first, mask=None, trained=True, training=True):
    return _linear(trained, x, decay, first, beside(mask, x))


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _linear(trained, x, decay, first, on):
    return linear.forward(x, decay, first, on)


def _linear_forward(trained, x, decay, first, on):
    v = linear.forward(x, decay, first, on)
    return v, (v if trained else None, decay, first, on)


def _linear_backward(trained, kept, g):
    return *linear.backward(*kept, g), None


_linear.defvjp(_linear_forward, _linear_backward)


@partial(jax.jit, static_argnums=(0, 8))
def integrate_and_fire(
    neuron, x, state, decay, threshold, sharpness, scale, mask=None, training=True
):
    on = beside(mask, x)
    return _fire(neuron, x, state, decay, threshold, sharpness, scale, on)


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _fire(neuron, x, state, decay, threshold, sharpness, scale, on):
    return firing.forward(neuron, x, state, decay, threshold, on)[:2]


def _fire_forward(neuron, x, state, decay, threshold, sharpness, scale, on):
    numbers = threshold, sharpness, scale
    spikes, last, h = firing.forward(neuron, x, state, decay, threshold, on)
    return (spikes, last), (h, state, decay, numbers, on)


def _fire_backward(neuron, kept, upstream):
    gx, g_state, *found = firing.backward(neuron, *kept, *upstream)
    return gx.astype(upstream[0].dtype), g_state, *found, None, None, None


_fire.defvjp(_fire_forward, _fire_backward)


def gradients(loss, tensors):
    return list(jax.grad(loss, argnums=tuple(range(len(tensors))))(*tensors))
