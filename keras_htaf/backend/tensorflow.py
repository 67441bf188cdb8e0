"""The primitives on TensorFlow: `tf.custom_gradient` around closed forms, fused by XLA.

Plain TensorFlow runs one pass over memory for each operation, so the closed form, which has more
operations than automatic differentiation's, would be slower. `_forward` and `_backward` are
therefore small XLA kernels; inside a function that is compiled as a whole they are inlined. Their
shape was found by measuring (docs/results/activations.md):

- XLA on the CPU makes one kernel for each expensive value that has several readers. q is such a
  value, for both directions. p is written in two ways, so that it is not: three kernels, as many
  as automatic differentiation has.
- XLA's exponential, which guards against overflow and NaN, costs more than memory traffic does.
  `_exp` is only ever asked for bounded arguments and costs less.
"""

from __future__ import annotations

import functools
import math
import platform

import tensorflow as tf
from keras import tree

from keras_htaf.backend import firing, linear, portable
from keras_htaf.backend.portable import random_state, set_random_state  # noqa: F401
from keras_htaf.backend.turns import beside, wants_unrolled

eager_scope = tf.init_scope

# exp on [-ln2 / 2, ln2 / 2], relative error 2e-7.
_EXP = (0.008261163719, 0.041899967939, 0.166681289673, 0.499991327524, 0.999999523163, 1.0)

# Keras does not use XLA on macOS either.
_jit = tf.function(jit_compile=platform.system() != "Darwin", reduce_retracing=True)


@tf.custom_gradient
def _exp(v):
    """exp(v) for v in [-88, 88], 0 at -88."""
    if v.dtype == tf.float64:
        y = tf.exp(v)
    else:
        n = tf.round(v * (1.0 / math.log(2.0)))
        f = v - n * math.log(2.0)
        polynomial = _EXP[0]
        for coefficient in _EXP[1:]:
            polynomial = polynomial * f + coefficient
        # 2**n: adding 2**23 puts n, with the exponent's bias of 127, into the lowest bits.
        exponent = tf.bitcast(n + float(2**23 + 127), tf.int32)
        y = polynomial * tf.bitcast(tf.bitwise.left_shift(exponent, 23), tf.float32)
    return y, lambda g: g * y


def _wide(x):
    return x if x.dtype == tf.float64 else tf.cast(x, tf.float32)


def _q(wide, beta):
    # Not tf.abs, for the sake of third derivatives at 0.
    t = _exp(tf.maximum(tf.where(wide < 0, wide, -wide) * (2.0 * beta), -88.0))
    return t / (1.0 + t)


@_jit
def _forward(x, alpha, beta):
    wide = _wide(x)
    v = alpha - (2.0 * alpha) * _q(wide, beta)  # alpha * |tanh(beta x)|
    p = 1.0 / (1.0 + _exp(tf.minimum(v, 87.0)))
    return tf.cast(tf.where(wide > 0, 1.0 - p, p), x.dtype)


@_jit
def _backward(g, x, alpha, beta):
    wide = _wide(x)
    q = _q(wide, beta)
    w = _exp(tf.maximum((2.0 * alpha) * q - alpha, -87.0))  # p = w / (1 + w)
    # 4 alpha beta first: the small factors alone would underflow where the slope does not.
    slope = ((4.0 * alpha * beta) * q * (1.0 - q) * w) / tf.square(1.0 + w)
    return tf.cast(_wide(g) * slope, x.dtype)


@_jit
def _backward_parameters(g, x, alpha, beta):
    wide = _wide(x)
    q = _q(wide, beta)
    w = _exp(tf.maximum((2.0 * alpha) * q - alpha, -87.0))
    gp = _wide(g) * w / tf.square(1.0 + w)
    galpha = gp * tf.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
    # x * slope has the limit 0 at infinite x, where the product would be NaN.
    slope = (4.0 * alpha) * q * (1.0 - q) * gp
    gbeta = tf.where(q == 0.0, tf.zeros_like(slope), slope * wide)
    return _sum_to(galpha, alpha), _sum_to(gbeta, beta)


def _sum_to(array, like):
    """Sum `array` over the axes along which `like` was broadcast to its shape."""
    shape = tf.shape(like)
    _, axes = tf.raw_ops.BroadcastGradientArgs(s0=tf.shape(array), s1=shape)
    return tf.reshape(tf.reduce_sum(array, axes), shape)


def htaf(x, alpha, beta):
    return _differentiable(_forward, x, alpha, beta)


def htaf_inference(x, alpha, beta):
    """As `htaf`, forwards in plain operations: what a SavedModel of a smooth network holds.

    TensorFlow Serving may run without XLA, and converters to other formats do not know it.
    """
    return _differentiable(
        lambda x, a, b: tf.cast(tf.sigmoid(a * tf.tanh(b * _wide(x))), x.dtype), x, alpha, beta
    )


def _differentiable(forward, x, alpha, beta):
    # Numbers have no gradient, and so none is computed for them (eagerly, it would be).
    wanted = tf.is_tensor(alpha) or tf.is_tensor(beta)
    dtype = tf.float64 if x.dtype == tf.float64 else tf.float32
    alpha, beta = tf.convert_to_tensor(alpha, dtype), tf.convert_to_tensor(beta, dtype)

    @tf.custom_gradient
    def run(x, alpha, beta):
        def gradient(g):
            gx = _backward(g, x, alpha, beta)
            if alpha.shape.rank != 0 or beta.shape.rank != 0:
                gx = _sum_to(gx, x)  # a parameter may be larger than x
            return (gx, *(_backward_parameters(g, x, alpha, beta) if wanted else (None, None)))

        # A tape would else also record, and keep the intermediates of, what the kernel does.
        arguments = (tf.stop_gradient(a) for a in (x, alpha, beta))
        return forward(*arguments), gradient

    return run(x, alpha, beta)


def htaf_slope(x, alpha, beta):
    wide = _wide(x)
    q = tf.sigmoid(tf.where(wide < 0, wide, -wide) * (2.0 * beta))
    p = tf.sigmoid(alpha * (2.0 * q - 1.0))
    return tf.cast((4.0 * alpha * beta) * q * (1.0 - q) * p * (1.0 - p), x.dtype)


def step(x, sharpness, surrogate, forward, gain, scale=1.0):
    @tf.custom_gradient
    def run(x, sharpness, scale):
        def gradient(g):
            slope = gain * surrogate.derivative(_wide(x) / scale, sharpness) / scale
            return tf.cast(slope * _wide(g), x.dtype), None, None

        return forward(x, sharpness), gradient

    # Of a variable, such as a latent kernel: one that is read within `run` would want a gradient.
    return run(tf.convert_to_tensor(x), sharpness, scale)


def scan(step, inputs, state, parameters, training=True):
    """Eagerly a loop in Python, in a graph one of TensorFlow, in a training step XLA kernels.

    The kernel of the backward pass runs back over the states that the forward one has kept, and
    computes each turn anew: TensorFlow's own gradient of a loop keeps all intermediates.
    """
    known = all(x.shape[1] is not None for x in inputs.values())
    if tf.executing_eagerly() or (known and wants_unrolled()):
        return portable.scan(step, inputs, state, parameters)
    if not training:
        outputs, state, _ = _loop(step, inputs, state, parameters, keep=False)
        return outputs, state
    nest = (inputs, state, parameters)

    @tf.custom_gradient
    def run(*flat):
        # A tape would else also record what the kernel does.
        flat = [tf.stop_gradient(x) for x in flat]
        outputs, last, history = _kernel(lambda *a: _loop(step, *_like(nest, a), keep=True))(*flat)

        def gradient(*upstream):
            parts = (nest, history, upstream[: len(outputs)], upstream[len(outputs) :])
            arguments = [*flat, *history, *upstream]
            return _kernel(lambda *a: _backward_loop(step, *_like(parts, a)))(*arguments)

        return (*outputs, *last), gradient

    made = run(*tree.flatten(nest))
    return made[: -len(state)], made[-len(state) :]


def _kernel(f):
    return tf.function(f, jit_compile=platform.system() != "Darwin", autograph=False)


def _like(nest, flat):
    return tree.pack_sequence_as(nest, list(flat))


def _at(tensors, t):
    return {name: x[:, t] for name, x in tensors.items()}


def _arrays(tensors, length):
    return tuple(tf.TensorArray(x.dtype, length, element_shape=x.shape) for x in tensors)


def _written(arrays, t, tensors):
    return tuple(array.write(t, x) for array, x in zip(arrays, tensors, strict=True))


def _sequence(array):
    """What an array holds, as (batch, time, ...)."""
    x = array.stack()
    return tf.transpose(x, [1, 0, *range(2, len(x.shape))])


def _loop(step, inputs, state, parameters, keep):
    """(outputs, the last state, if `keep` the states before each turn, time first)."""
    first = next(iter(inputs.values()))
    length = tf.shape(first)[1] if first.shape[1] is None else first.shape[1]
    before = state if keep else ()

    def turn(t, state, outputs, history):
        y, after = step(_at(inputs, t), state, parameters)
        history = _written(history, t, state if keep else ())
        return t + 1, after, _written(outputs, t, y), history

    # The first turn, outside of the loop, says what outputs there are.
    y, after = step(_at(inputs, 0), state, parameters)
    outputs = _written(_arrays(y, length), 0, y)
    history = _written(_arrays(before, length), 0, before)
    _, state, outputs, history = tf.while_loop(
        lambda t, *_: t < length, turn, (tf.constant(1), after, outputs, history)
    )
    return tuple(_sequence(y) for y in outputs), state, tuple(x.stack() for x in history)


def _backward_loop(step, nest, history, upstream, last):
    """The gradients of all tensors in `nest`, flat; None for those that are no floats."""
    inputs, _, parameters = nest
    length = tf.shape(history[0])[0] if history[0].shape[0] is None else history[0].shape[0]
    floats = [name for name, x in inputs.items() if x.dtype.is_floating]
    numbers = [p for p in tree.flatten(parameters) if p.dtype.is_floating]

    def turn(i, g_state, g_numbers, g_inputs):
        t = length - 1 - i
        x, state = _at(inputs, t), tuple(before[t] for before in history)
        own = [x[name] for name in floats]
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch([*own, *state, *numbers])
            y, after = step(x, state, parameters)
        g_state, g_numbers_now, g_own = tape.gradient(
            (*y, *after),
            (state, numbers, own),
            [*(g[:, t] for g in upstream), *g_state],
            unconnected_gradients=tf.UnconnectedGradients.ZERO,
        )
        g_numbers = [g + now for g, now in zip(g_numbers, g_numbers_now, strict=True)]
        return i + 1, g_state, g_numbers, _written(g_inputs, t, g_own)

    zeros = [tf.zeros_like(p) for p in numbers]
    arrays = _arrays([inputs[name][:, 0] for name in floats], length)
    _, g_state, g_numbers, g_inputs = tf.while_loop(
        lambda i, *_: i < length, turn, (tf.constant(0), tuple(last), zeros, arrays)
    )
    found = dict(zip(floats, map(_sequence, g_inputs), strict=True))
    g_numbers = iter(g_numbers)
    flat = [next(g_numbers) if p.dtype.is_floating else None for p in tree.flatten(parameters)]
    return [*tree.flatten({name: found.get(name) for name in inputs}), *g_state, *flat]


def linear_recurrence(x, decay, first, mask=None, trained=True, training=True):
    if tf.executing_eagerly():
        return portable.linear_recurrence(x, decay, first, mask)
    on = beside(mask, x)
    if not training:  # an exported program has no XLA

        def turn(inputs, state, decay):
            v = decay * state[0] + inputs["x"]
            v = tf.where(inputs["on"], v, state[0]) if "on" in inputs else v
            return (v,), (v,)

        return scan(turn, _with(on, x), (first,), decay, training=False)[0][0]
    forward, backward = _linear_kernels()

    @tf.custom_gradient
    def run(*arguments):
        # A tape would else also record what the kernel does.
        arguments = [tf.stop_gradient(a) for a in arguments]
        v = forward(*arguments, on)

        def gradient(g):
            gx, *found = backward(v if trained else None, *arguments[1:], on, g)
            return (gx, *found) if trained else (gx, None, *found)

        return v, gradient

    return run(x, decay, first)


@functools.cache
def _linear_kernels():
    def backward(*arguments):
        return [found for found in linear.backward(*arguments) if found is not None]

    return _kernel(linear.forward), _kernel(backward)


def _with(on, x):
    return {"x": x} if on is None else {"x": x, "on": on}


def integrate_and_fire(
    neuron, x, state, decay, threshold, sharpness, scale, mask=None, training=True
):
    arguments = (x, state, decay, threshold, sharpness, scale)
    if tf.executing_eagerly():
        return portable.integrate_and_fire(neuron, *arguments, mask)
    on = beside(mask, x)
    if not training:

        def turn(inputs, state, constants):
            decay, threshold, sharpness, scale = constants

            def fire(distance):
                exact = lambda z, _: neuron.fire(z)  # noqa: E731
                return step(distance, sharpness, neuron.surrogate, exact, 1.0, scale)

            held = tf.stop_gradient if neuron.detach else lambda s: s
            now = tf.cast(inputs["x"], state[0].dtype)
            turned = (now, state[0], decay, threshold, fire, held, inputs.get("on"))
            s, after = neuron.turn(*turned)
            return (tf.cast(s, x.dtype),), (after,)

        constants = (decay, threshold, sharpness, scale)
        (spikes,), (last,) = scan(turn, _with(on, x), (state,), constants, training=False)
        return spikes, last
    forward, backward = _fire_kernels(neuron)

    @tf.custom_gradient
    def run(*arguments):
        arguments = [tf.stop_gradient(a) for a in arguments]
        spikes, last, h = forward(*arguments[:4], on)

        def gradient(*upstream):
            found = iter(backward(h, *arguments[1:], on, *upstream))
            gx, g_state = tf.cast(next(found), x.dtype), next(found)
            g_decay, g_threshold = (next(found) if t else None for t in neuron.trained)
            return gx, g_state, g_decay, g_threshold, None, None

        return (spikes, last), gradient

    return run(*arguments)


@functools.lru_cache(256)
def _fire_kernels(neuron):
    """The passes as XLA kernels, the same ones for equal neurons: a new one is compiled anew."""

    def forward(*arguments):
        return firing.forward(neuron, *arguments)

    def backward(h, first, decay, threshold, sharpness, scale, *others):
        found = firing.backward(neuron, h, first, decay, (threshold, sharpness, scale), *others)
        return [gradient for gradient in found if gradient is not None]

    return _kernel(forward), _kernel(backward)


def gradients(loss, tensors):
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(tensors)
        value = loss(*tensors)
    return tape.gradient(value, tensors, unconnected_gradients=tf.UnconnectedGradients.ZERO)
