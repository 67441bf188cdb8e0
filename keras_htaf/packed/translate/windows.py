"""Windows of Keras's layers as attributes of packed operations."""

from __future__ import annotations


def geometry(layer, shape: tuple[int, ...]) -> dict:
    """The attributes of a window, for an input of a shape; sequences are images of one row."""
    sizes = layer.kernel_size if hasattr(layer, "kernel_size") else layer.pool_size
    strides = layer.strides
    dilation = getattr(layer, "dilation_rate", None) or 1
    dilation = (dilation,) * len(sizes) if isinstance(dilation, int) else dilation
    before, after = [], []
    for size, kernel, stride, step in zip(shape, sizes, strides, dilation, strict=False):
        reach = step * (kernel - 1)
        total = max(reach - (size - 1) % stride, 0) if layer.padding == "same" else 0
        before.append(reach if layer.padding == "causal" else total // 2)
        after.append(total - total // 2 if layer.padding == "same" else 0)
    ones, none = [1] * (2 - len(sizes)), [0] * (2 - len(sizes))
    return {
        "kernel_size": [*ones, *map(int, sizes)],
        "strides": [*ones, *map(int, strides)],
        "dilation": [*ones, *map(int, dilation)],
        "padding": [*none, *map(int, before), *none, *map(int, after)],
    }
