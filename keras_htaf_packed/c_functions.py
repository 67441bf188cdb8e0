"""The C functions that a header is made of, see `c_header`.

`@` stands for the prefix of the header's names. Bits lie as in `bits`: 16 channels to a uint16.
"""

from __future__ import annotations

import re

HEAD = """\
typedef struct {
    int height, width, channels, units; /* of an input; units of 16 channels hold a pixel's bits */
    int kh, kw, sh, sw, dh, dw;         /* kernel, strides, dilations: rows, columns */
    int top, left, oh, ow;              /* beyond the border; rows and columns of the output */
} @window;
"""
"""What all headers begin with."""

FUNCTIONS = {
    "pixel": """\
/* Where the window's place (a, b) of the output (y, z) is: a pixel's number, or -1 outside. */
static int @pixel(const @window *w, int y, int z, int a, int b)
{
    const int i = y * w->sh - w->top + a * w->dh, j = z * w->sw - w->left + b * w->dw;
    return i < 0 || i >= w->height || j < 0 || j >= w->width ? -1 : i * w->width + j;
}
""",
    "bit": """\
static int @bit(const uint16_t *units, long i)
{
    return units[i / 16] >> (i % 16) & 1;
}
""",
    "octet_bit": """\
static int @octet_bit(const uint8_t *octets, long i)
{
    return octets[i / 8] >> (i % 8) & 1;
}
""",
    "count": """\
static int @count(uint32_t v)
{
    v = v - (v >> 1 & 0x55555555u);
    v = (v & 0x33333333u) + (v >> 2 & 0x33333333u);
    return (int)(((v + (v >> 4)) & 0x0f0f0f0fu) * 0x01010101u >> 24);
}
""",
    "sum": """\
/* The sum of a window of bits x by one filter; signs stand for 2 b - 1, bits for b. */
static int32_t @sum(const @window *w, const uint16_t *x, int x_signs, const uint16_t *kernel,
                    int k_signs, int beyond, int y, int z)
{
    int32_t sum = 0;
    for (int a = 0; a < w->kh; a++)
        for (int b = 0; b < w->kw; b++, kernel += w->units) {
            const int at = @pixel(w, y, z, a, b);
            const uint16_t *p = at < 0 ? x : x + (long)at * w->units;
            int ones = 0;
            for (int u = 0; u < w->units; u++) {
                const uint32_t v = p[u], k = kernel[u];
                if (at < 0)
                    ones += @count(k);
                else if (x_signs && k_signs)
                    sum -= 2 * @count(v ^ k);
                else if (x_signs)
                    sum += @count(v & k) - @count(k & ~v);
                else
                    sum += @count(v & k) - (k_signs ? @count(v & ~k) : 0);
            }
            if (at < 0)
                sum += beyond * (k_signs ? 2 * ones - w->channels : ones);
            else if (x_signs && k_signs)
                sum += w->channels;
        }
    return sum;
}
""",
    "product_numbers": """\
static void @product_numbers(const @window *w, const uint16_t *x, int x_signs,
                             const uint16_t *kernel, int k_signs, int beyond, int filters,
                             float *out)
{
    const long size = (long)w->kh * w->kw * w->units;
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++)
            for (int f = 0; f < filters; f++)
                *out++ = (float)@sum(w, x, x_signs, kernel + f * size, k_signs, beyond, y, z);
}
""",
    "product_bits": """\
static void @product_bits(const @window *w, const uint16_t *x, int x_signs, const uint16_t *kernel,
                          int k_signs, int beyond, int filters, const int32_t *threshold,
                          const uint8_t *flip, uint16_t *out)
{
    const long size = (long)w->kh * w->kw * w->units;
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++, out += (filters + 15) / 16)
            for (int f = 0; f < filters; f++) {
                const int32_t sum = @sum(w, x, x_signs, kernel + f * size, k_signs, beyond, y, z);
                const int bit = (sum >= threshold[f]) ^ @octet_bit(flip, f);
                out[f / 16] = (uint16_t)((f % 16 ? out[f / 16] : 0) | bit << f % 16);
            }
}
""",
    "depthwise": """\
static void @depthwise(const @window *w, const uint16_t *x, int x_signs, const uint8_t *kernel,
                       int k_signs, int beyond, int multiplier, float *out)
{
    const long octets = ((long)w->kh * w->kw * w->channels + 7) / 8;
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++)
            for (int c = 0; c < w->channels; c++)
                for (int m = 0; m < multiplier; m++) {
                    int32_t sum = 0;
                    for (int a = 0; a < w->kh; a++)
                        for (int b = 0; b < w->kw; b++) {
                            const int at = @pixel(w, y, z, a, b);
                            const long i = ((long)a * w->kw + b) * w->channels + c;
                            const int k = @octet_bit(kernel + m * octets, i);
                            const int v = at < 0 ? 0 : @bit(x + (long)at * w->units, c);
                            const int value = at < 0 ? beyond : x_signs ? 2 * v - 1 : v;
                            sum += value * (k_signs ? 2 * k - 1 : k);
                        }
                    *out++ = (float)sum;
                }
}
""",
    "linear": """\
/* The kernel is of numbers, or of bits; each group of inputs has filters / groups outputs. */
static void @linear(const @window *w, const float *x, const float *kernel, const uint8_t *bits,
                    int k_signs, int beyond, int filters, int groups, const float *bias, float *out)
{
    const int depth = w->channels / groups;
    const long octets = ((long)w->kh * w->kw * depth + 7) / 8;
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++)
            for (int f = 0; f < filters; f++) {
                const int first = f / (filters / groups) * depth;
                float sum = 0.0f;
                for (int a = 0; a < w->kh; a++)
                    for (int b = 0; b < w->kw; b++) {
                        const int at = @pixel(w, y, z, a, b);
                        for (int c = 0; c < depth; c++) {
                            const long i = ((long)a * w->kw + b) * depth + c;
                            const float v =
                                at < 0 ? (float)beyond : x[(long)at * w->channels + first + c];
                            if (kernel)
                                sum += v * kernel[i * filters + f];
                            else if (@octet_bit(bits + f * octets, i))
                                sum += v;
                            else if (k_signs)
                                sum -= v;
                        }
                    }
                *out++ = bias ? sum + bias[f] : sum;
            }
}
""",
    "lookup": """\
/* Dense layers of bits, in runs of channels, each of which begins with a unit. */
static void @lookup(long rows, int units, int signs, int runs, const int32_t *run,
                    const uint16_t *x, const float *kernel, const float *bias, int filters,
                    float *out)
{
    for (long r = 0; r < rows; r++, x += units)
        for (int f = 0; f < filters; f++) {
            const uint16_t *p = x;
            long k = f;
            float sum = 0.0f;
            for (int i = 0; i < runs; p += (run[i++] + 15) / 16)
                for (int c = 0; c < run[i]; c++, k += filters) {
                    if (@bit(p, c))
                        sum += kernel[k];
                    else if (signs)
                        sum -= kernel[k];
                }
            *out++ = bias ? sum + bias[f] : sum;
        }
}
""",
    "step": """\
static void @step(long rows, int channels, const float *x, const float *threshold,
                  const uint8_t *flip, uint16_t *out)
{
    for (long r = 0; r < rows; r++, out += (channels + 15) / 16)
        for (int c = 0; c < channels; c++) {
            const int bit = (*x++ >= threshold[c]) ^ @octet_bit(flip, c);
            out[c / 16] = (uint16_t)((c % 16 ? out[c / 16] : 0) | bit << c % 16);
        }
}
""",
    "unpack": """\
/* Bits in runs of channels, each of which begins with a unit. */
static void @unpack(long rows, int signs, int runs, const int32_t *run,
                    const uint16_t *x, float *out)
{
    for (long r = 0; r < rows; r++)
        for (int i = 0; i < runs; x += (run[i++] + 15) / 16)
            for (int c = 0; c < run[i]; c++)
                *out++ = (float)(signs ? 2 * @bit(x, c) - 1 : @bit(x, c));
}
""",
    "any": """\
static void @any(const @window *w, const uint16_t *x, const uint16_t *flip, uint16_t *out)
{
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++)
            for (int u = 0; u < w->units; u++) {
                unsigned found = 0;
                for (int a = 0; a < w->kh; a++)
                    for (int b = 0; b < w->kw; b++) {
                        const int at = @pixel(w, y, z, a, b);
                        if (at >= 0)
                            found |= (unsigned)x[(long)at * w->units + u] ^ flip[u];
                    }
                *out++ = (uint16_t)(found ^ flip[u]);
            }
}
""",
    "pool": """\
static void @pool(const @window *w, const float *x, int mean, float *out)
{
    for (int y = 0; y < w->oh; y++)
        for (int z = 0; z < w->ow; z++)
            for (int c = 0; c < w->channels; c++) {
                float found = 0.0f;
                int seen = 0;
                for (int a = 0; a < w->kh; a++)
                    for (int b = 0; b < w->kw; b++) {
                        const int at = @pixel(w, y, z, a, b);
                        if (at >= 0) {
                            const float v = x[(long)at * w->channels + c];
                            found = mean ? found + v : seen == 0 || v > found ? v : found;
                            seen++;
                        }
                    }
                *out++ = mean ? found / (float)seen : found;
            }
}
""",
    "affine": """\
static void @affine(long size, int channels, const float *x, const float *scale,
                    const float *offset, const float *mean, float *out)
{
    for (long i = 0; i < size; i++) {
        const int c = (int)(i % channels);
        const float product = (mean ? x[i] - mean[c] : x[i]) * scale[c];
        out[i] = product + offset[c];
    }
}
""",
    "clip": """\
static void @clip(long size, const float *x, float low, float high, float *out)
{
    for (long i = 0; i < size; i++)
        out[i] = x[i] < low ? low : x[i] > high ? high : x[i];
}
""",
    "rprelu": """\
static void @rprelu(long size, int channels, const float *x, const float *shift, const float *slope,
                    const float *offset, float *out)
{
    for (long i = 0; i < size; i++) {
        const int c = (int)(i % channels);
        const float z = x[i] - shift[c], kept = slope[c] * z;
        out[i] = (z > 0.0f ? z : kept) + offset[c];
    }
}
""",
    "add": """\
static void @add(long size, const float *x, const float *y, float *out)
{
    for (long i = 0; i < size; i++)
        out[i] = x[i] + y[i];
}
""",
    "place_numbers": """\
/* Columns from `first` on, of rows of `from`, to rows of `to`. */
static void @place_numbers(long rows, int from, int first, int count, const float *x, int to,
                           float *out)
{
    for (long r = 0; r < rows; r++)
        for (int c = 0; c < count; c++)
            out[r * to + c] = x[r * from + first + c];
}
""",
    "place_bits": """\
static void @place_bits(long rows, int from, const uint16_t *x, int to, uint16_t *out)
{
    for (long r = 0; r < rows; r++)
        for (int c = 0; c < from; c++)
            out[r * to + c] = x[r * from + c];
}
""",
}
"""In the order in which they are written."""


def with_what_they_use(names: set[str]) -> list[str]:
    """The texts of functions and of those that they call, in order."""
    pending, needed = list(names), set()
    while pending:
        name = pending.pop()
        if name not in needed:
            needed.add(name)
            pending += [used for used in re.findall(r"@(\w+)\(", FUNCTIONS[name])]
    return [text for name, text in FUNCTIONS.items() if name in needed]
