"""The primitives on PyTorch: `autograd.Function`s. Steps vmap, compile and differentiate twice;
neurons over time have first derivatives only.

On the CPU a fresh array of millions of elements costs more than the arithmetic on it, so
temporaries are overwritten where nothing else can see them: when no graph is being recorded, and
by numbers only (a tensor may carry a vmap dimension that the temporary lacks).
"""

from __future__ import annotations

import contextlib

import torch
from torch.autograd.function import once_differentiable

from keras_htaf.backend import firing, linear, portable
from keras_htaf.backend.portable import scan  # noqa: F401
from keras_htaf.backend.turns import beside, leaking, only

eager_scope = contextlib.nullcontext

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default  # (g, y) -> g * y * (1 - y)


def _wide(x):
    return x if x.dtype == torch.float64 else x.float()


def _scaled(temporary, factor):
    """temporary * factor, in place if that is safe."""
    return temporary * factor if torch.is_tensor(factor) else temporary.mul_(factor)


def _magnitude(x):
    # The derivative of abs at 0 is 0, which makes third derivatives at the threshold wrong.
    return torch.where(x < 0, -x, x) if torch.is_grad_enabled() else x.abs()


def _parts(x, alpha, beta):
    """q and p of `portable.py`."""
    q = _scaled(_magnitude(x), -2.0 * beta).sigmoid_()
    p = (q * (2.0 * alpha)).sub_(alpha).sigmoid_()
    return q, p


class _HTAF(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, alpha, beta):
        return _scaled((_wide(x) * beta).tanh_(), alpha).sigmoid_().to(x.dtype)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, *parameters = inputs
        # Numbers stay on ctx; tensors go through save_for_backward, so that autograd owns them.
        ctx.numbers = [None if torch.is_tensor(p) else p for p in parameters]
        ctx.save_for_backward(x, *(p for p in parameters if torch.is_tensor(p)))

    @staticmethod
    def backward(ctx, g):
        x, *tensors = ctx.saved_tensors
        tensors = iter(tensors)
        alpha, beta = (next(tensors) if n is None else n for n in ctx.numbers)
        wide, wide_g = _wide(x), _wide(g)
        q, p = _parts(wide, alpha, beta)
        # 4 alpha beta first: the small factors alone would underflow where the slope does not.
        gp = _scaled(_sigmoid_backward(wide_g, p), 4.0 * alpha * beta)
        gx = _sigmoid_backward(gp, q)
        galpha = gbeta = None
        if ctx.needs_input_grad[1]:
            u = torch.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
            galpha = (_sigmoid_backward(wide_g, p) * u).sum_to_size(alpha.shape).to(alpha.dtype)
        if ctx.needs_input_grad[2]:
            # x * slope has the limit 0 at infinite x, where the product would be NaN.
            gbeta = torch.where(q == 0, q, wide * gx) / beta
            gbeta = gbeta.sum_to_size(beta.shape).to(beta.dtype)
        # A parameter may be larger than x.
        gx = gx.sum_to_size(x.shape).to(x.dtype) if ctx.needs_input_grad[0] else None
        return gx, galpha, gbeta


def htaf(x, alpha, beta):
    return _HTAF.apply(x, alpha, beta)


htaf_inference = htaf


def htaf_slope(x, alpha, beta):
    q, p = _parts(_wide(x), alpha, beta)
    slope = (4.0 * alpha * beta) * q * (1.0 - q) * p * (1.0 - p)
    return slope.to(x.dtype)


class _Step(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, sharpness, scale, surrogate, forward, gain):
        return forward(x, sharpness)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, *parameters, ctx.surrogate, _, ctx.gain = inputs
        ctx.numbers = [None if torch.is_tensor(p) else p for p in parameters]
        ctx.save_for_backward(x, *(p for p in parameters if torch.is_tensor(p)))

    @staticmethod
    def backward(ctx, g):
        x, *tensors = ctx.saved_tensors
        tensors = iter(tensors)
        sharpness, scale = (next(tensors) if n is None else n for n in ctx.numbers)
        slope = ctx.surrogate.derivative(_wide(x) / scale, sharpness) / scale
        return (slope * _wide(g) * ctx.gain).to(x.dtype), None, None, None, None, None


def step(x, sharpness, surrogate, forward, gain, scale=1.0):
    return _Step.apply(x, sharpness, scale, surrogate, forward, gain)


class _Linear(torch.autograd.Function):
    """With as few operations a turn as there are, in place: each costs more than its arithmetic."""

    @staticmethod
    def forward(ctx, x, decay, first, on):
        v, state = torch.empty_like(x, memory_format=torch.contiguous_format), first
        for now, into, valid in zip(x.unbind(1), v.unbind(1), _turns(on, x), strict=True):
            torch.addcmul(now, state, decay, out=into)
            if valid is not None:
                into.copy_(torch.where(valid, into, state))
            state = into
        ctx.save_for_backward(v if ctx.needs_input_grad[1] else None, decay, first, on)
        return v

    @staticmethod
    @once_differentiable
    def backward(ctx, g):
        v, decay, first, on = ctx.saved_tensors
        gv = g.clone(memory_format=torch.contiguous_format)
        *others, after = gv.unbind(1)
        for into, valid in zip(reversed(others), _turns(on, g)[:0:-1], strict=True):
            into.addcmul_(after, leaking(decay, valid))
            after = into
        found = linear.of_constants(v, decay, first, gv, after, on)
        return only(gv, on), *found, None


def _turns(on, x):
    """A mask turn by turn."""
    return (None,) * x.shape[1] if on is None else on.unbind(1)


def linear_recurrence(x, decay, first, mask=None, trained=True, training=True):
    if torch.compiler.is_exporting():  # a program of plain operations
        return portable.linear_recurrence(x, decay, first, mask)
    return _Linear.apply(x, decay, first, beside(mask, x))


class _Fire(torch.autograd.Function):
    """In place, as `_Linear`."""

    @staticmethod
    def forward(ctx, neuron, x, state, decay, threshold, sharpness, scale, on):
        h = torch.empty(x.shape, dtype=state.dtype, device=x.device)
        spikes = torch.empty_like(h)
        fires = torch.ge if neuron.at_threshold else torch.gt
        first, s = state, fires(state, threshold).to(state.dtype)  # s if the reset is late
        turns = zip(x.unbind(1), h.unbind(1), spikes.unbind(1), _turns(on, x), strict=True)
        for now, into, out, valid in turns:
            before = state
            if neuron.late and neuron.reset == "subtract":
                torch.addcmul(now, state, decay, out=into).addcmul_(s, threshold, value=-1)
                state = into
            else:
                if neuron.late:
                    state = _after(neuron, state, s, threshold)
                torch.addcmul(now, state, decay, out=into)
                state = into
            if valid is not None:
                into.copy_(torch.where(valid, into, before))
            s = fires(into, threshold, out=out)
            if not neuron.late:
                state = _after(neuron, into, s, threshold)
                state = state if valid is None else torch.where(valid, state, before)
        if x.device.type != "cpu" or bool(torch.isnan(state).any()):
            spikes = torch.where(torch.isnan(h), h, spikes)
        ctx.neuron = neuron
        ctx.save_for_backward(h, first, decay, threshold, sharpness, scale, on)
        # Not a view of h.
        return only(spikes, on).to(x.dtype), state.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx, g, g_last):
        neuron, (h, first, decay, *numbers, on) = ctx.neuron, ctx.saved_tensors
        threshold, sharpness, scale = numbers
        if scale.device.type == "cpu":
            numbers = (threshold, sharpness, float(scale))
        gh = torch.empty_like(h)
        rows = max(1, _CACHED // max(1, h[:, 0].numel()))
        g = only(g, on)
        parts = zip(*(array.split(rows, 1) for array in (h, gh, g)), strict=True)
        for now, into, wide in parts:
            if neuron.follows:
                into.copy_(wide)
            else:
                torch.mul(neuron.slope(now, *numbers), wide, out=into)
        hs, ghs = h.unbind(1), gh.unbind(1)
        ons = _turns(on, h)
        end = firing.back_from_end(neuron, ghs[-1], hs[-1], g_last, numbers, ons[-1])
        after = end = ghs[-1].copy_(end)
        keep = torch.empty_like(first)
        silent = torch.lt if neuron.at_threshold else torch.le
        for t in range(len(hs) - 2, -1, -1):
            now, into = hs[t], ghs[t]
            if neuron.keeps and not neuron.follows:
                into.addcmul_(after, leaking(decay, ons[t + 1]))
            elif neuron.follows or on is not None:
                masks = ons[t], ons[t + 1]
                into.copy_(firing.back(neuron, into, now, after, decay, numbers, *masks))
            else:
                into.addcmul_(silent(now, threshold, out=keep).mul_(decay), after)
            after = into
        found = firing.of_constants(neuron, h, first, gh, after, end, decay, numbers, on, g_last)
        return None, only(gh, on).to(g.dtype), *found, None, None, None


def _after(neuron, h, s, threshold):
    if neuron.reset == "subtract":
        return torch.addcmul(h, s, threshold, value=-1)
    return neuron.after(h, s, threshold)


_CACHED = 2**17
"""Elements of an array that, with a few more, stays in a core's cache."""


def integrate_and_fire(
    neuron, x, state, decay, threshold, sharpness, scale, mask=None, training=True
):
    if torch.compiler.is_exporting():
        constants = decay, threshold, sharpness, scale
        return portable.integrate_and_fire(neuron, x, state, *constants, mask)
    on = beside(mask, x)
    return _Fire.apply(neuron, x, state, decay, threshold, sharpness, scale, on)


def gradients(loss, tensors):
    with torch.enable_grad():
        tensors = [t.detach().requires_grad_() for t in tensors]
        value = loss(*tensors)
        if not value.requires_grad:  # it depends on none of them
            return [torch.zeros_like(t) for t in tensors]
        return list(torch.autograd.grad(value, tensors, materialize_grads=True))


def random_state():
    # Of the current device alone: a rank has no business on the others.
    on_gpu = [torch.cuda.get_rng_state()] if torch.cuda.is_available() else []
    return [state.numpy() for state in (torch.get_rng_state(), *on_gpu)]


def set_random_state(states):
    cpu, *gpus = map(torch.as_tensor, states) if states else [torch.get_rng_state()]
    torch.set_rng_state(cpu)
    if gpus and torch.cuda.is_available():
        torch.cuda.set_rng_state(gpus[0])
