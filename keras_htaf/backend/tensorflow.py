"""The primitives on TensorFlow: `tf.custom_gradient` around closed forms."""

from __future__ import annotations

import tensorflow as tf


def _wide(x):
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _parts(x, alpha, beta):
    """q and p of `portable.py`. Not tf.abs, for the sake of third derivatives at 0."""
    q = tf.sigmoid(tf.where(x < 0, x, -x) * (2.0 * beta))
    p = tf.sigmoid((2.0 * alpha) * q - alpha)
    return q, p


def _sigmoid_grad(y, dy):
    return tf.raw_ops.SigmoidGrad(y=y, dy=dy)  # dy * y * (1 - y) in one pass


def _sum_to(array, like):
    """Sum `array` over the axes along which `like` was broadcast to its shape."""
    shape = tf.shape(like)
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(array), s1=shape)
    return tf.cast(tf.reshape(tf.reduce_sum(array, axes), shape), like.dtype)


@tf.custom_gradient
def _htaf(x, alpha, beta):
    wide = _wide(x)
    y = tf.sigmoid(alpha * tf.tanh(beta * wide))

    def gradient(g):
        q, p = _parts(wide, alpha, beta)
        gp = _sigmoid_grad(p, _wide(g))
        # The factor first: TensorFlow flushes the subnormal numbers that would come before it to 0.
        gx = _sigmoid_grad(q, gp * (4.0 * alpha * beta))
        u = tf.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
        # x * slope has the limit 0 at infinite x, where the product would be NaN.
        gbeta = tf.where(gx == 0, gx, wide * gx) / beta
        return tf.cast(gx, x.dtype), _sum_to(gp * u, alpha), _sum_to(gbeta, beta)

    return tf.cast(y, x.dtype), gradient


def _read(value, x=None):
    """`value` as a tensor: `tf.custom_gradient` refuses variables that it was not told of, and
    would make a number float32 whatever the dtype of `x`."""
    if isinstance(value, (int, float)):
        return tf.constant(value, tf.float64 if x.dtype == tf.float64 else tf.float32)
    return tf.convert_to_tensor(value)


def htaf(x, alpha, beta):
    return _htaf(_read(x), _read(alpha, x), _read(beta, x))


def htaf_slope(x, alpha, beta):
    q, p = _parts(_wide(x), alpha, beta)
    return tf.cast(4.0 * alpha * beta * (q * (1.0 - q)) * (p * (1.0 - p)), x.dtype)


def step(x, sharpness, surrogate, forward, gain):
    @tf.custom_gradient
    def hard(x, sharpness):
        def gradient(g):
            slope = gain * surrogate.derivative(_wide(x), sharpness)
            return tf.cast(slope * _wide(g), x.dtype), None

        return forward(x, sharpness), gradient

    return hard(_read(x), _read(sharpness, x))
