"""Between float32 and bytes, and arithmetic on quantised bytes: as ``ronn_codegen.templates.quantize``.

Rounding is to nearest, ties to even; ``low`` and ``high`` clamp before the zero point is added. Bytes are taken as
unsigned: signed ones are flipped by 128 (``flip``), and so are their zero points.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template

MINMAX = Template(
    "minmax_f32(x: f32*, n, partial: f32*, blocks)",
    """
        f32 low = 0.0f, high = 0.0f;
        for (i64 i = n * item / blocks; i < n * (item + 1) / blocks; i++) {
            low = fmin(low, x[i]);
            high = fmax(high, x[i]);
        }
        partial[2 * item] = low;
        partial[2 * item + 1] = high;
""",
    over="blocks",
)
"""Of each of ``blocks`` equal parts the least and largest element, or 0 where that lies further out."""

RANGE = Template(
    "range_u8(partial: f32*, count, scale: f32*, zero: u8*)",
    """
        f32 low = 0.0f, high = 0.0f;
        for (i64 i = 0; i < count; i++) {
            low = fmin(low, partial[2 * i]);
            high = fmax(high, partial[2 * i + 1]);
        }
        f32 step = (high - low) / 255.0f;
        if (!(step > 0.0f))
            step = 1.0f;
        scale[0] = step;
        zero[0] = (u8)rint(fmin(fmax(-low / step, 0.0f), 255.0f));
""",
    over="1",
)
"""Scale and zero point that bring the range of ``count`` partial ones to 0..255."""

QUANTIZE = Template(
    "quantize_u8(x: f32*, y: u8*, rows, k, pitch, scale_at: f32*, zero_at: u8*)",
    """
        const i32 zero = zero_at[0];
        const f32 whole = rint(fmin(fmax(x[item] / scale_at[0], (f32)-zero), (f32)(255 - zero)));
        y[item / k * pitch + item % k] = (u8)((i32)whole + zero);
""",
    over="rows * k",
)
"""Rows of k floats to rows of bytes ``pitch`` apart."""

QUANTIZE_BIAS = Template(
    "quantize_bias(x: f32*, y: i32*, n, scale: f32*, factor_at: f32*)",
    """
        y[item] = (i32)floor(fmin(fmax(x[item] / (factor_at[0] * scale[item]), -1e9f), 1e9f));
""",
    over="n",
)
"""y = floor(x / (factor * scale)), a factor for each column and one that lies in memory."""

LUT = Template(
    "int8_lut(x: u8*, y: u8*, n, lut: u8*)",
    """
        y[item] = lut[x[item]];
""",
    over="n",
)

BINARY = Template(
    "int8_binary(a: u8*, b: u8*, y: u8*, rows, n, b_period, b_row, b_step, product, a_zero, b_zero, a_gain: f32,"
    " b_gain: f32, bias: f32, low: f32, high: f32, out_zero, flip)",
    """
        const i64 r = item / n, i = item % n;
        const i32 p = a[item] ^ (i32)flip, q = b[r % b_period * b_row + i * b_step] ^ (i32)flip;
        f32 real;
        if (product)
            real = (f32)((p - (i32)a_zero) * (q - (i32)b_zero)) * a_gain;
        else
            real = (f32)p * a_gain + (f32)q * b_gain + bias;
        y[item] = (u8)(((i32)rint(fmin(fmax(real, low), high)) + (i32)out_zero) ^ (i32)flip);
""",
    over="rows * n",
)
"""a * a_gain + b * b_gain + bias, or (a - a_zero) * (b - b_zero) * a_gain, on rows of n bytes. Row r of b begins at
``b + r % b_period * b_row``; its elements are b_step (0 or 1) apart."""

SOFTMAX = Template(
    "int8_softmax(x: u8*, y: u8*, rows, n, table: f32*, scale: f32, zero, low, high, flip)",
    """
        const GLOBAL u8 *row = x + item * n;
        i32 most = 0;
        for (i64 i = 0; i < n; i++)
            most = (row[i] ^ (i32)flip) > most ? row[i] ^ (i32)flip : most;
        f32 total = 0.0f;
        for (i64 i = 0; i < n; i++)
            total += table[most - (row[i] ^ (i32)flip)];
        for (i64 i = 0; i < n; i++) {
            const i64 whole = (i64)rint(table[most - (row[i] ^ (i32)flip)] / total / scale) + zero;
            y[item * n + i] = (u8)(whole < low ? low : whole > high ? high : whole);
        }
""",
    over="rows",
)
"""Softmax of rows of n bytes; ``table`` holds exp(-d * x_scale) for each distance d from the largest byte."""
