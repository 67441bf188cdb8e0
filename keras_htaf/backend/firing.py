"""Integrate-and-fire neurons over time, forwards, and backwards in closed form.

With the potential h_t before and u_t after the reset by s_t, and decay d,

    h_t = d u_{t-1} + x_t,    s_t = fire(h_t - threshold),    u_t = h_t - s_t threshold, or the like

the gradient is a recurrence of one array: with g = dL/ds_t and f' the slope,

    dL/dh_t = (g + dL/du_t du/ds) f'(h_t - threshold) + dL/du_t du/dh,    dL/du_t = d dL/dh_{t+1}

where du/ds counts unless it is detached. If the reset comes late, in the next update, the state is
h, and a threshold that it subtracts is not multiplied by d.

A step that a mask takes out, `on` being false, has no input, no spike and d = 1: h_t is the state
before it, and so is the state after it. x may be anything there, NaN too.

Memory bounds all of it. So the loops overwrite copies, of x by h and of g f' by dL/dh, and hold no
more than the recurrence; h alone is kept; and the rest is done for all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops

from keras_htaf.backend.turns import at, leaking, only, put, sum_to


@dataclass(frozen=True)
class Firing:
    """What a neuron does, beside its numbers."""

    surrogate: Any
    reset: str
    """Of the potential by a spike: "subtract", "zero", "value" or "none"."""
    reset_value: float = 0.0
    at_threshold: bool = False
    """Whether a potential fires that is the threshold."""
    late: bool = False
    detach: bool = True
    trained: tuple[bool, bool] = (False, False)
    """Whether a gradient is wanted for the decay and for the threshold."""

    @property
    def follows(self) -> bool:
        """Whether the gradient passes through the spikes of the reset."""
        return not (self.detach or self.reset == "none")

    @property
    def keeps(self) -> bool:
        """Whether du/dh = 1, the potential being shifted if anything."""
        return self.reset in ("subtract", "none")

    def fire(self, distance):
        """1 where a distance from the threshold fires, else 0; NaN stays NaN."""
        fires = distance >= 0 if self.at_threshold else distance > 0
        return ops.where(ops.isnan(distance), distance, ops.cast(fires, distance.dtype))

    def after(self, h, s, threshold):
        """The potential after the reset."""
        if self.reset == "none":
            return h
        if self.reset == "subtract":
            return h - s * threshold
        kept = (1.0 - s) * h
        return kept + s * self.reset_value if self.reset == "value" else kept

    def charged(self, x, state, decay, threshold, s):
        """h from the state before, of which s is the spike if the reset is late."""
        if not self.late:
            return decay * state + x
        if self.reset == "subtract":
            return decay * state + x - s * threshold
        return decay * self.after(state, s, threshold) + x

    def turn(self, x, state, decay, threshold, fire, held, on=None):
        """(spikes, state): all of a turn; `held` sees the spikes that reset."""
        x = only(x, on)  # a gradient of 0 times NaN is NaN
        before = held(fire(state - threshold)) if self.late else None
        h = self.charged(x, state, decay, threshold, before)
        s = fire(h - threshold)
        after = h if self.late else self.after(h, held(s), threshold)
        return only(s, on), after if on is None else ops.where(on, after, state)

    def slope(self, h, threshold, sharpness, scale):
        if isinstance(scale, float) and scale == 1.0:
            return self.surrogate.derivative(h - threshold, sharpness)
        inverse = 1.0 / scale
        return self.surrogate.derivative((h - threshold) * inverse, sharpness) * inverse

    def back(self, g, h, leak, taken, resets, threshold, *numbers):
        """dL/dh_t from dL/du_t, `leak`, and dL / d(what a reset subtracts), -`taken`.

        g is multiplied by the slope already, unless the gradient `follows` resets, which there are
        where `resets` is true.
        """
        if self.follows:
            reset = -threshold * taken if self.keeps else (self.reset_value - h) * leak
            g = (g + only(reset, resets)) * self.slope(h, threshold, *numbers)
        if self.keeps:
            return g + leak
        return g + (1.0 - only(self.fire(h - threshold), resets)) * leak

    def decayed(self, h, threshold, on):
        """What the next turn multiplies by the decay."""
        if self.reset == "none" or (self.late and self.reset == "subtract"):
            return h
        s = self.fire(h - threshold)
        return self.after(h, s if self.late else only(s, on), threshold)


def forward(neuron, x, state, decay, threshold, on=None):
    """(spikes, the last state, h); `on` as `beside` gives it.

    The loop carries h alone, also where the state is what a reset leaves of it: XLA on the CPU
    would compute both from an array that it overwrites, and copy that in every turn.
    """

    def charged(x, state, on):
        s = neuron.fire(state - threshold) if neuron.late else None
        h = neuron.charged(x, state, decay, threshold, s)
        return h if on is None else ops.where(on, h, state)

    def left(h, on):
        if neuron.late:
            return h
        return neuron.after(h, only(neuron.fire(h - threshold), on), threshold)

    def turn(t, loop):
        h, before = loop
        now = charged(h[:, t], left(before, at(on, t - 1)), at(on, t))
        return put(h, t, now), now

    h = ops.cast(x, state.dtype)
    first = charged(h[:, 0], state, at(on, 0))
    h, end = ops.fori_loop(1, ops.shape(x)[1], turn, (put(h, 0, first), first))
    spikes = only(neuron.fire(h - threshold), on)
    return ops.cast(spikes, x.dtype), left(end, at(on, -1)), h


def backward(neuron, h, first, decay, numbers, on, g, g_last):
    """The gradients for x, the first state, the decay and the threshold, the last two or None."""
    last = ops.shape(h)[1] - 1
    g = only(ops.cast(g, h.dtype), on)
    wide = g if neuron.follows else g * neuron.slope(h, *numbers)
    end = back_from_end(neuron, wide[:, -1], h[:, -1], g_last, numbers, at(on, -1))

    def turn(i, loop):
        gh, after = loop
        t = last - 1 - i
        now = back(neuron, gh[:, t], h[:, t], after, decay, numbers, at(on, t), at(on, t + 1))
        return put(gh, t, now), now

    gh, begin = ops.fori_loop(0, last, turn, (put(wide, last, end), end))
    found = of_constants(neuron, h, first, gh, begin, end, decay, numbers, on, g_last)
    return only(gh, on), *found


def back(neuron, g, h, after, decay, numbers, on=None, next_on=None):
    """dL/dh from that of the turn after; `on` and `next_on` are of these two turns."""
    leak = leaking(decay, next_on) * after
    if neuron.late:
        return neuron.back(g, h, leak, after, next_on, *numbers)
    return neuron.back(g, h, leak, leak, on, *numbers)


def back_from_end(neuron, g, h, g_last, numbers, on):
    """dL/dh of the last turn, from the gradient for the state that it leaves."""
    if not neuron.late:
        return neuron.back(g, h, g_last, g_last, on, *numbers)
    if neuron.follows:
        g = g * neuron.slope(h, *numbers)
    return g + g_last  # no reset follows


def of_constants(neuron, h, first, gh, begin, end, decay, numbers, on, g_last):
    """The gradients for the first state, the decay and the threshold, from dL/dh of all turns."""
    threshold = numbers[0]
    first_on, before = at(on, 0), None if on is None else on[:, :-1]
    later = None if on is None else on[:, 1:]
    leak = leaking(decay, first_on) * begin
    g_first = leak
    if neuron.late:
        zeros = ops.zeros_like(first)
        g_first = back(neuron, zeros, first, begin, decay, numbers, None, first_on)
    g_decay = g_threshold = None
    if neuron.trained[0]:
        kept = neuron.decayed(first, threshold, None) if neuron.late else first
        turns = only(gh[:, 1:], later) * neuron.decayed(h[:, :-1], threshold, before)
        g_decay = sum_to(only(begin, first_on) * kept + ops.sum(turns, axis=1), decay)
    if neuron.trained[1]:
        leaks = leaking(decay, later) * gh[:, 1:]
        taken, resets = (gh[:, 1:], later) if neuron.late else (leaks, before)
        turns = _lowered(neuron, gh[:, :-1], h[:, :-1], leaks, taken, resets, threshold)
        total = ops.sum(turns, axis=1)
        if neuron.late:
            total = total + g_last - end
            total = total + _lowered(neuron, g_first, first, leak, begin, first_on, threshold)
        else:
            edge = end, h[:, -1], g_last, g_last, at(on, -1)
            total = total + _lowered(neuron, *edge, threshold)
        g_threshold = sum_to(total, threshold)
    return g_first, g_decay, g_threshold


def _lowered(neuron, gh, h, leak, taken, resets, threshold):
    """What a turn contributes to the threshold's gradient, from dL/dh and what it was made of."""
    s = only(neuron.fire(h - threshold), resets)
    through = gh - (leak if neuron.keeps else (1.0 - s) * leak)
    return -through - taken * s if neuron.reset == "subtract" else -through
