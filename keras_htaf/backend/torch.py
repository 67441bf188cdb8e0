"""The primitives on PyTorch: `autograd.Function`s that vmap, compile and differentiate twice.

Backward passes are written in differentiable operations, so a second backward is exact too.
In-place operations are used only on arrays that nothing else needs: at millions of elements the
allocation of a temporary costs more than the arithmetic.
"""

from __future__ import annotations

import torch

_sigmoid_backward = torch.ops.aten.sigmoid_backward.default  # (g, y) -> g * y * (1 - y)


def _wide(x):
    return x if x.dtype == torch.float64 else x.float()


def _parts(x, alpha, beta):
    """q and p of `portable.py`. Not x.abs(), for the sake of third derivatives at 0."""
    magnitude = x * torch.ones((), dtype=x.dtype, device=x.device).copysign(x)
    q = (magnitude * (-2.0 * beta)).sigmoid_()
    p = (q * (2.0 * alpha)).sub_(alpha).sigmoid_()
    return q, p


class _HTAF(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, alpha, beta):
        return ((_wide(x) * beta).tanh_() * alpha).sigmoid_().to(x.dtype)

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
        gp = _sigmoid_backward(wide_g, p)
        gx = _sigmoid_backward(gp, q) * (4.0 * alpha * beta)
        galpha = gbeta = None
        if ctx.needs_input_grad[1]:
            u = torch.where(wide < 0, 2.0 * q - 1.0, 1.0 - 2.0 * q)
            galpha = (gp * u).sum_to_size(alpha.shape).to(alpha.dtype)
        if ctx.needs_input_grad[2]:
            # x * slope has the limit 0 at infinite x, where the product would be NaN.
            gbeta = torch.where(gx == 0, gx, wide * gx) / beta
            gbeta = gbeta.sum_to_size(beta.shape).to(beta.dtype)
        return gx.to(x.dtype) if ctx.needs_input_grad[0] else None, galpha, gbeta


def htaf(x, alpha, beta):
    return _HTAF.apply(x, alpha, beta)


def htaf_slope(x, alpha, beta):
    q, p = _parts(_wide(x), alpha, beta)
    slope = 4.0 * alpha * beta * (q * (1.0 - q)) * (p * (1.0 - p))
    return slope.to(x.dtype)


class _Step(torch.autograd.Function):
    generate_vmap_rule = True

    @staticmethod
    def forward(x, sharpness, surrogate, forward, gain):
        return forward(x, sharpness)

    @staticmethod
    def setup_context(ctx, inputs, output):
        x, sharpness, ctx.surrogate, _, ctx.gain = inputs
        ctx.number = None if torch.is_tensor(sharpness) else sharpness
        ctx.save_for_backward(x, *([sharpness] if ctx.number is None else []))

    @staticmethod
    def backward(ctx, g):
        x, *sharpness = ctx.saved_tensors
        sharpness = sharpness[0] if sharpness else ctx.number
        slope = ctx.surrogate.derivative(_wide(x), sharpness)
        return (slope * _wide(g) * ctx.gain).to(x.dtype), None, None, None, None


def step(x, sharpness, surrogate, forward, gain):
    return _Step.apply(x, sharpness, surrogate, forward, gain)
