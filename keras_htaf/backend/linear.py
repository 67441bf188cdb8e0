"""Linear recurrences over time, forwards and backwards.

    v_t = d v_{t-1} + x_t    and with gv = dL/dv    gv_t = g_t + d gv_{t+1},    dL/dx_t = gv_t

What a parallel form of them costs beside these loops is in docs/results/spiking.md.
"""

from __future__ import annotations

from keras import ops

from keras_htaf.backend.turns import at, leaking, only, put, sum_to


def forward(x, decay, first, on=None):
    """v of all turns; at those that a mask takes out, v of the turn before."""

    def turn(t, loop):
        v, state = loop
        now = decay * state + v[:, t]
        if on is not None:
            now = ops.where(on[:, t], now, state)
        return put(v, t, now), now

    return ops.fori_loop(0, ops.shape(x)[1], turn, (x, first))[0]


def backward(v, decay, first, on, g):
    """The gradients for x, the decay and the first state; without v, None for the decay."""
    last = ops.shape(g)[1] - 1

    def turn(i, loop):
        gv, after = loop
        t = last - 1 - i
        now = gv[:, t] + leaking(decay, at(on, t + 1)) * after
        return put(gv, t, now), now

    gv, begin = ops.fori_loop(0, last, turn, (g, g[:, -1]))
    return only(gv, on), *of_constants(v, decay, first, gv, begin, on)


def of_constants(v, decay, first, gv, begin, on):
    """The gradients for the decay and the first state."""
    g_first = leaking(decay, at(on, 0)) * begin
    if v is None:
        return None, g_first
    turns = only(gv[:, 1:], None if on is None else on[:, 1:]) * v[:, :-1]
    return sum_to(only(begin, at(on, 0)) * first + ops.sum(turns, axis=1), decay), g_first
