"""Loops over units, each the bits of 16 channels; `first` and `last` are rows of the output."""

from __future__ import annotations

import numpy as np
from numba import njit

from keras_htaf_packed.kernels.counting import PANEL, at_least


@njit(cache=True, nogil=True)
def step(x, limits, flips, out, first, last):
    """out = (x >= limit) xor flip, uint16, (rows, units), for float32 x of (rows, channels).

    `limits` are float32, (16 units,), above every number behind the last channel.
    """
    channels = x.shape[1]
    whole = channels // PANEL
    for row in range(first, last):
        start = x.ctypes.data + row * channels * 4
        for u in range(whole):
            at = u * PANEL * 4
            out[row, u] = at_least(start + at, limits.ctypes.data + at) ^ flips[u]
        if whole < out.shape[1]:
            unit = 0
            for c in range(whole * PANEL, channels):
                unit |= np.int64(x[row, c] >= limits[c]) << (c % PANEL)
            out[row, whole] = np.uint16(unit) ^ flips[whole]


@njit(cache=True, nogil=True)
def any_of(x, window, before, after, out, first, last):
    """out = (OR over a window of (x xor before)) xor after; x is (n, height, width, units).

    `window` as for `counting._gather`, without what lies beyond the border.
    """
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = window
    _, height, width, units = x.shape
    for row in range(first, last):
        image, y = divmod(row, oh)
        for z in range(ow):
            for u in range(units):
                unit = np.uint16(0)
                for a in range(kh):
                    i = y * sh - top + a * dh
                    for b in range(kw):
                        j = z * sw - left + b * dw
                        if 0 <= i < height and 0 <= j < width:
                            unit |= x[image, i, j, u] ^ before[u]
                out[image, y, z, u] = unit ^ after[u]


@njit(cache=True, nogil=True)
def each_channel(x, kernel, masked, window, pad, classes, base, factor, out, first, last):
    """out = base + factor * count of each channel by itself, float32, (rows, channels, multiplier).

    `x` is (n, height, width, units), `kernel` uint16, (multiplier, kh * kw, units); the rest as for
    `counting.sums`.
    """
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = window
    _, height, width, units = x.shape
    _, channels, multiplier = out.shape
    for row in range(first, last):
        image, place = divmod(row, oh * ow)
        i0, j0 = place // ow * sh - top, place % ow * sw - left
        kind = classes[place % classes.shape[0]]
        counts = np.empty(PANEL, np.int32)
        for m in range(multiplier):
            for u in range(units):
                counts[:] = 0
                for a in range(kh):
                    i = i0 + a * dh
                    for b in range(kw):
                        j = j0 + b * dw
                        inside = 0 <= i < height and 0 <= j < width
                        unit = np.int32(x[image, i, j, u] if inside else pad[u])
                        weights = np.int32(kernel[m, a * kw + b, u])
                        found = unit & weights if masked else unit ^ weights
                        for c in range(PANEL):
                            counts[c] += (found >> c) & 1
                start = u * PANEL
                for c in range(min(PANEL, channels - start)):
                    at = (start + c) * multiplier + m
                    out[row, start + c, m] = base[kind, at] + factor * np.float32(counts[c])


@njit(cache=True, nogil=True)
def look_up(x, tables, bias, out):
    """out = bias + the sum that each 4 bits of x choose; x is (rows, units), out (rows, filters).

    `tables` are float32, (4 units, 16, filters).
    """
    rows, filters = out.shape
    for row in range(rows):
        for n in range(filters):
            out[row, n] = bias[n]
        for u in range(x.shape[1]):
            unit = np.int64(x[row, u])
            a, b = tables[4 * u, unit & 15], tables[4 * u + 1, unit >> 4 & 15]
            c, d = tables[4 * u + 2, unit >> 8 & 15], tables[4 * u + 3, unit >> 12]
            for n in range(filters):
                out[row, n] += (a[n] + b[n]) + (c[n] + d[n])
