"""Counting kernels: products of bits, blocked for registers and cache.

A product of -1/+1 with -1/+1 is +1 where the bits are equal: over K of them the sum is
K - 2 popcount(a xor w). All codes of inputs and kernels come down to such a count, so that what is
here counts, scales and compares, and does not know the codes (`operations.product` does).

    inputs     uint16, (n, height, width, units): 16 channels to a unit, the first channel in its
               lowest bit; bits beyond the last channel are 0
    kernel     uint64, (panels, words, 16): a panel is 16 output channels, and a vector register
               takes 8 of them; a word is 64 inputs, in the order in which `_gather` lays out the
               window of an output
    counts     of a tile of rows by a panel stay in registers for all words. The word of a row is
               broadcast to all channels, so that no vector is ever summed up within itself

The tile is written in LLVM's language, since compiled loops over arrays do not keep its counts in
registers; `llvm.ctpop` becomes VPOPCNTQ where the CPU has it, and lookups of nibbles elsewhere.
Machine code is cached on disk by CPU (beside this file, or where NUMBA_CACHE_DIR says).
"""

from __future__ import annotations

import numpy as np
from llvmlite import ir
from numba import njit, types
from numba.core import cgutils
from numba.extending import intrinsic

PANEL = 16
"""Output channels of a panel, and channels of a unit."""
BLOCK = 64
"""Rows that are gathered at once: they and a panel stay in the first two caches."""
ROWS = 8
"""Rows of a tile: with 2 vectors a panel, their counts take 16 registers of 512 bits."""

_WORD, _INDEX = ir.IntType(64), ir.IntType(32)
_VECTOR = ir.VectorType(_WORD, 8)


def _tile(rows: int, masked: bool):
    """The kernel's inmost part, for a tile of `rows` rows and one panel."""

    @intrinsic
    def tile(context, words, inputs, kernel, counts):
        """Counts, int64 (rows, 16), of bits that differ or, if masked, that both have.

        The rows, of `words` words each, lie one after the other; all but `words` are addresses.
        """

        def generate(target, build, signature, arguments):
            words, *addresses = arguments
            inputs, kernel, counts = (build.inttoptr(a, _WORD.as_pointer()) for a in addresses)
            popcount = _popcount(build.module)
            combine = build.and_ if masked else build.xor
            starts = [build.gep(inputs, [build.mul(words, _WORD(r))]) for r in range(rows)]
            before, loop = build.block, build.append_basic_block("words")
            build.branch(loop)
            build.position_at_end(loop)
            word = build.phi(_WORD)
            before_word = [[build.phi(_VECTOR) for _ in range(2)] for _ in starts]
            place = build.gep(kernel, [build.mul(word, _WORD(PANEL))])
            halves = [build.load(_vector_at(build, place, 8 * h), align=8) for h in range(2)]
            after_word = []
            for start, sums in zip(starts, before_word, strict=True):
                row = _broadcast(build, build.load(build.gep(start, [word])))
                products = [build.call(popcount, [combine(row, half)]) for half in halves]
                after_word.append([build.add(s, p) for s, p in zip(sums, products, strict=True)])
            following = build.add(word, _WORD(1))
            build.cbranch(
                build.icmp_signed("<", following, words),
                loop,
                end := build.append_basic_block("end"),
            )
            word.add_incoming(_WORD(0), before)
            word.add_incoming(following, loop)
            for r, row in enumerate(after_word):
                for h, half in enumerate(row):
                    before_word[r][h].add_incoming(_VECTOR(None), before)
                    before_word[r][h].add_incoming(half, loop)
            build.position_at_end(end)
            for r, row in enumerate(after_word):
                for h, half in enumerate(row):
                    place = _vector_at(build, counts, PANEL * r + 8 * h)
                    build.store(half, place, align=8)
            return target.get_dummy_value()

        return types.void(types.intp, types.uintp, types.uintp, types.uintp), generate

    return tile


def _popcount(module):
    kind = ir.FunctionType(_VECTOR, [_VECTOR])
    return cgutils.get_or_insert_function(module, kind, "llvm.ctpop.v8i64")


def _vector_at(build, start, offset: int):
    return build.bitcast(build.gep(start, [_WORD(offset)]), _VECTOR.as_pointer())


def _broadcast(build, word):
    undefined = _VECTOR(ir.Undefined)
    first = build.insert_element(undefined, word, _INDEX(0))
    return build.shuffle_vector(first, undefined, ir.VectorType(_INDEX, 8)(None))


_xor_tile, _xor_row = _tile(ROWS, False), _tile(1, False)
_and_tile, _and_row = _tile(ROWS, True), _tile(1, True)


def _comparison(number, operation: str):
    """A function of the addresses of 16 numbers and of 16 limits: a bit for each comparison."""

    @intrinsic
    def compare(context, numbers, limits):
        def generate(target, build, signature, arguments):
            vector = ir.VectorType(number, PANEL)
            numbers, limits = (
                build.load(build.inttoptr(a, vector.as_pointer()), align=4) for a in arguments
            )
            if isinstance(number, ir.IntType):
                bits = build.icmp_signed(operation, numbers, limits)
            else:
                bits = build.fcmp_ordered(operation, numbers, limits)
            return build.bitcast(bits, ir.IntType(PANEL))

        return types.uint16(types.uintp, types.uintp), generate

    return compare


_at_most = _comparison(_WORD, "<=")
at_least = _comparison(ir.FloatType(), ">=")
"""Of float32: bit i is 1 where number i >= limit i."""


@intrinsic
def _scaled(context, counts, base, factor, out):
    """base + factor * count of the panel at the addresses, in float32, whose integers are exact."""

    def generate(target, build, signature, arguments):
        words, floats = ir.VectorType(_WORD, PANEL), ir.VectorType(ir.FloatType(), PANEL)
        counts, base, factor, out = arguments
        counts = build.load(build.inttoptr(counts, words.as_pointer()), align=8)
        counts = build.sitofp(build.trunc(counts, ir.VectorType(_INDEX, PANEL)), floats)
        base = build.load(build.inttoptr(base, floats.as_pointer()), align=4)
        undefined = floats(ir.Undefined)
        factor = build.insert_element(undefined, factor, _INDEX(0))
        factor = build.shuffle_vector(factor, undefined, ir.VectorType(_INDEX, PANEL)(None))
        numbers = build.fadd(base, build.fmul(factor, counts))
        build.store(numbers, build.inttoptr(out, floats.as_pointer()), align=4)
        return target.get_dummy_value()

    return types.void(types.uintp, types.uintp, types.float32, types.uintp), generate


@njit(cache=True, nogil=True)
def _gather(x, first, window, pad, rows):
    """The windows of inputs of outputs from `first` on, as units one after the other.

    `x` is (n, height, width * units). `window` is kernel height and width, strides, dilations, rows
    and columns beyond the upper left border, output height and width; `pad` the units of a pixel
    beyond the border.
    """
    kh, kw, sh, sw, dh, dw, top, left, oh, ow = window
    _, height, width = x.shape
    units = pad.shape[0]
    image, place = divmod(first, oh * ow)
    y, z = divmod(place, ow)
    for r in range(rows.shape[0]):
        at, j0 = 0, (z * sw - left) * units
        for a in range(kh):
            i = y * sh - top + a * dh
            whole = dw == 1 and 0 <= i < height and j0 >= 0 and j0 + kw * units <= width
            if whole:
                for u in range(kw * units):
                    rows[r, at + u] = x[image, i, j0 + u]
            else:
                for b in range(kw):
                    j = j0 + b * dw * units
                    inside = 0 <= i < height and 0 <= j < width
                    for u in range(units):
                        rows[r, at + b * units + u] = x[image, i, j + u] if inside else pad[u]
            at += kw * units
        z += 1
        if z == ow:
            z, y = 0, y + 1
            if y == oh:
                y, image = 0, image + 1


@njit(cache=True, nogil=True)
def _count(words, rows, panel, masked, counts):
    """The counts of the first rows of a block with one panel."""
    length = words.shape[1]
    weights, r = panel.ctypes.data, 0
    while r < rows:
        inputs, sums = words.ctypes.data + r * length * 8, counts.ctypes.data + r * PANEL * 8
        if r + ROWS <= rows:
            if masked:
                _and_tile(length, inputs, weights, sums)
            else:
                _xor_tile(length, inputs, weights, sums)
            r += ROWS
        else:
            if masked:
                _and_row(length, inputs, weights, sums)
            else:
                _xor_row(length, inputs, weights, sums)
            r += 1


@njit(cache=True, nogil=True)
def _block(task, groups, x, window, pad, kernel):
    """A task's rows, gathered, the first of them, and its first and last panel."""
    block, group = divmod(task, groups)
    first = block * BLOCK
    rows = min(BLOCK, x.shape[0] * window[8] * window[9] - first)
    panels = kernel.shape[0]
    words = np.zeros((rows, kernel.shape[1]), np.uint64)
    _gather(x, first, window, pad, words.view(np.uint16))
    return words, first, group * panels // groups, (group + 1) * panels // groups


@njit(cache=True, nogil=True)
def sums(x, kernel, masked, window, pad, groups, classes, base, factor, out, begin, end):
    """out = base + factor * count, float32, (rows, 16 panels).

    Tasks from `begin` to `end`; `groups` is in how many the panels of a block of rows are split.
    `base` is float32, (classes, 16 panels); `classes` the class of each position of an output,
    which differ near a border if inputs beyond it are 0 among -1 and +1.
    """
    channels = out.shape[1]
    for task in range(begin, end):
        words, first, panel, last = _block(task, groups, x, window, pad, kernel)
        counts = np.empty((BLOCK, PANEL), np.int64)
        for p in range(panel, last):
            _count(words, words.shape[0], kernel[p], masked, counts)
            place = first % classes.shape[0]
            for r in range(words.shape[0]):
                start = base.ctypes.data + (classes[place] * channels + p * PANEL) * 4
                to = out.ctypes.data + ((first + r) * channels + p * PANEL) * 4
                _scaled(counts.ctypes.data + r * PANEL * 8, start, factor, to)
                place = place + 1 if place + 1 < classes.shape[0] else 0


@njit(cache=True, nogil=True)
def bits(x, kernel, masked, window, pad, groups, classes, limits, flips, out, begin, end):
    """out = (count <= limit) xor flip, uint16, (rows, panels).

    `limits` is int64, (classes, 16 panels), with `classes` as for `sums`; `flips` a unit for each
    panel.
    """
    panels = out.shape[1]
    for task in range(begin, end):
        words, first, panel, last = _block(task, groups, x, window, pad, kernel)
        counts = np.empty((BLOCK, PANEL), np.int64)
        for p in range(panel, last):
            _count(words, words.shape[0], kernel[p], masked, counts)
            place = first % classes.shape[0]
            for r in range(words.shape[0]):
                limit = limits.ctypes.data + (classes[place] * panels + p) * PANEL * 8
                unit = _at_most(counts.ctypes.data + r * PANEL * 8, limit)
                out[first + r, p] = unit ^ flips[p]
                place = place + 1 if place + 1 < classes.shape[0] else 0
