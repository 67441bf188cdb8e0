"""Integrate-and-fire neurons over time, forwards, and backwards in closed form.

With the potential h_t before and u_t after the reset by s_t, and decay d,

    h_t = d u_{t-1} + x_t,    s_t = fire(h_t - threshold),    u_t = h_t - s_t threshold, or the like

the gradient is a recurrence of one array: with g = dL/ds_t and f' the slope,

    dL/dh_t = (g + dL/du_t du/ds) f'(h_t - threshold) + dL/du_t du/dh,    dL/du_t = d dL/dh_{t+1}

where du/ds counts unless it is detached. If the reset comes late, in the next update, the state is
h, and a threshold that it subtracts is not multiplied by d.

Memory bounds all of it. So the loops overwrite copies, of x by h and of g f' by dL/dh, and hold no
more than the recurrence; h alone is kept; and the rest is done for all steps at once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from keras import ops


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

    def turn(self, x, state, decay, threshold, fire=None, held=lambda s: s):
        """(spikes, state): all of a turn; `held` sees the spikes that reset."""
        fire = fire or self.fire
        before = held(fire(state - threshold)) if self.late else None
        h = self.charged(x, state, decay, threshold, before)
        s = fire(h - threshold)
        return s, h if self.late else self.after(h, held(s), threshold)

    def slope(self, h, threshold, sharpness, scale):
        if isinstance(scale, float) and scale == 1.0:
            return self.surrogate.derivative(h - threshold, sharpness)
        inverse = 1.0 / scale
        return self.surrogate.derivative((h - threshold) * inverse, sharpness) * inverse

    def back(self, g, h, leak, taken, threshold, *numbers):
        """dL/dh_t from dL/du_t, `leak`, and dL / d(what a reset subtracts), -`taken`.

        g is multiplied by the slope already, unless the gradient `follows` resets.
        """
        if self.follows:
            reset = -threshold * taken if self.keeps else (self.reset_value - h) * leak
            g = (g + reset) * self.slope(h, threshold, *numbers)
        return g + (leak if self.keeps else (1.0 - self.fire(h - threshold)) * leak)

    def decayed(self, h, threshold):
        """What the next turn multiplies by the decay."""
        if self.reset == "none" or (self.late and self.reset == "subtract"):
            return h
        return self.after(h, self.fire(h - threshold), threshold)


def forward(neuron, x, state, decay, threshold):
    """(spikes, the last state, h)."""

    def turn(t, loop):
        h, state = loop
        s = neuron.fire(state - threshold) if neuron.late else None
        now = neuron.charged(h[:, t], state, decay, threshold, s)
        if not neuron.late:
            state = neuron.after(now, neuron.fire(now - threshold), threshold)
        return _put(h, t, now), now if neuron.late else state

    start = (ops.cast(x, state.dtype), state)
    h, last = ops.fori_loop(0, ops.shape(x)[1], turn, start)
    return ops.cast(neuron.fire(h - threshold), x.dtype), last, h


def backward(neuron, h, first, decay, numbers, g, g_last):
    """The gradients for x, the first state, the decay and the threshold, the last two or None."""
    last = ops.shape(h)[1] - 1
    g = ops.cast(g, h.dtype)
    wide = g if neuron.follows else g * neuron.slope(h, *numbers)
    end = back_from_end(neuron, wide[:, -1], h[:, -1], g_last, numbers)

    def turn(i, loop):
        gh, after = loop
        t = last - 1 - i
        now = back(neuron, gh[:, t], h[:, t], after, decay, numbers)
        return _put(gh, t, now), now

    gh, begin = ops.fori_loop(0, last, turn, (_put(wide, last, end), end))
    return gh, *of_constants(neuron, h, first, gh, begin, end, decay, numbers, g_last)


def _put(x, t, value):
    """x with x[:, t] = value; in place where x is what a loop carries."""
    return ops.slice_update(x, [0, t, *[0] * (len(x.shape) - 2)], ops.expand_dims(value, 1))


def back(neuron, g, h, after, decay, numbers):
    """dL/dh from that of the turn after."""
    leak = decay * after
    return neuron.back(g, h, leak, after if neuron.late else leak, *numbers)


def back_from_end(neuron, g, h, g_last, numbers):
    """dL/dh of the last turn, from the gradient for the state that it leaves."""
    if not neuron.late:
        return neuron.back(g, h, g_last, g_last, *numbers)
    if neuron.follows:
        g = g * neuron.slope(h, *numbers)
    return g + g_last  # no reset follows


def of_constants(neuron, h, first, gh, begin, end, decay, numbers, g_last):
    """The gradients for the first state, the decay and the threshold, from dL/dh of all turns."""
    threshold = numbers[0]
    if neuron.late:
        g_first = back(neuron, ops.zeros_like(first), first, begin, decay, numbers)
    else:
        g_first = decay * begin
    g_decay = g_threshold = None
    if neuron.trained[0]:
        kept = neuron.decayed(first, threshold) if neuron.late else first
        total = begin * kept + ops.sum(gh[:, 1:] * neuron.decayed(h[:, :-1], threshold), axis=1)
        g_decay = _sum_to(total, decay)
    if neuron.trained[1]:
        leak = decay * gh[:, 1:]
        taken = gh[:, 1:] if neuron.late else leak
        total = ops.sum(_lowered(neuron, gh[:, :-1], h[:, :-1], leak, taken, threshold), axis=1)
        if neuron.late:
            total = total + g_last - end
            total = total + _lowered(neuron, g_first, first, decay * begin, begin, threshold)
        else:
            total = total + _lowered(neuron, end, h[:, -1], g_last, g_last, threshold)
        g_threshold = _sum_to(total, threshold)
    return g_first, g_decay, g_threshold


def _lowered(neuron, gh, h, leak, taken, threshold):
    """What a turn contributes to the threshold's gradient, from dL/dh and what it was made of."""
    s = neuron.fire(h - threshold)
    through = gh - (leak if neuron.keeps else (1.0 - s) * leak)
    return -through - taken * s if neuron.reset == "subtract" else -through


def _sum_to(gradient, parameter):
    """The sum over the axes along which a number, or one for each neuron, was repeated."""
    return ops.sum(gradient, axis=tuple(range(len(gradient.shape) - len(parameter.shape))))
