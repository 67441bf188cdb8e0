"""The primitives on JAX: `custom_jvp`, so forward and reverse mode and every order work."""

from __future__ import annotations

from functools import partial

import jax
import jax.numpy as jnp
from jax.custom_derivatives import SymbolicZero


def _wide(x):
    return x if x.dtype == jnp.float64 else x.astype(jnp.float32)


def _parts(x, alpha, beta):
    """q and p of `portable.py`. Not jnp.abs, for the sake of third derivatives at 0."""
    q = jax.nn.sigmoid(-2.0 * beta * jnp.where(x < 0, -x, x))
    p = jax.nn.sigmoid(alpha * (2.0 * q - 1.0))
    return q, p


def _slope(alpha, beta, q, p):
    return 4.0 * alpha * beta * (q * (1.0 - q)) * (p * (1.0 - p))


@jax.custom_jvp
def _htaf(x, alpha, beta):
    return jax.nn.sigmoid(alpha * jnp.tanh(beta * _wide(x))).astype(x.dtype)


def _htaf_jvp(primals, tangents):
    x, alpha, beta = primals
    wide = _wide(x)
    q, p = _parts(wide, alpha, beta)
    # The forward value from q and p as well: XLA then needs no second pair of exponentials.
    y = jnp.where(wide > 0, 1.0 - p, p)
    slope = _slope(alpha, beta, q, p)
    tx, talpha, tbeta = tangents
    tangent = jnp.zeros_like(y)
    if not isinstance(tx, SymbolicZero):
        tangent += slope * tx.astype(y.dtype)
    if not isinstance(talpha, SymbolicZero):
        u = jnp.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
        tangent += u * (p * (1.0 - p)) * talpha
    if not isinstance(tbeta, SymbolicZero):
        # x * slope has the limit 0 at infinite x, where the product would be NaN.
        tangent += jnp.where(slope == 0, slope, wide) * slope / beta * tbeta
    return y.astype(x.dtype), tangent.astype(x.dtype)


_htaf.defjvp(_htaf_jvp, symbolic_zeros=True)


@jax.jit
def htaf(x, alpha, beta):
    return _htaf(x, alpha, beta)


@jax.jit
def htaf_slope(x, alpha, beta):
    q, p = _parts(_wide(x), alpha, beta)
    return _slope(alpha, beta, q, p).astype(x.dtype)


@partial(jax.custom_jvp, nondiff_argnums=(2, 3, 4))
def step(x, sharpness, surrogate, forward, gain):
    return forward(x, sharpness)


@step.defjvp
def _step_jvp(surrogate, forward, gain, primals, tangents):
    x, sharpness = primals
    slope = gain * surrogate.derivative(_wide(x), sharpness)
    return forward(x, sharpness), (slope * tangents[0].astype(slope.dtype)).astype(x.dtype)
