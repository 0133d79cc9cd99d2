"""The columns of DeformConv: windows whose taps are moved by offsets of their own, as ``ronn_codegen.templates.deform``
makes them."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import occupied

deform_columns = Template(
    "deform_columns(x: f32*, offset: f32*, mask: f32*, y: f32*, room: u8*, batches, channels, parts, table: i64*)",
    """\
    const i64 h = table[0], w = table[1], kw = table[3], taps = table[2] * kw, ow = table[5], places = table[4] * ow;
    const i64 items = batches * channels * taps * places;
    for (i64 item = GLOBAL_ID(0); item < items; item += GLOBAL_SIZE(0)) {
        const i64 at = item % places, tap = item / places % taps, channel = item / places / taps % channels;
        const i64 image = item / places / taps / channels, part = image * parts + channel / (channels / parts);
        GLOBAL const f32 *moved = offset + 2 * (part * taps + tap) * places;
        GLOBAL const f32 *source = x + (image * channels + channel) * h * w;
        f32 v = (f32)(at / ow * table[6] - table[10] + tap / kw * table[8]) + moved[at];
        f32 u = (f32)(at % ow * table[7] - table[11] + tap % kw * table[9]) + moved[places + at];
        v = v == v ? fmin(fmax(v, -1073741824.0f), 1073741824.0f) : -1073741824.0f;
        u = u == u ? fmin(fmax(u, -1073741824.0f), 1073741824.0f) : -1073741824.0f;
        const f32 tv = v - floor(v), tu = u - floor(u);
        const i64 top = (i64)floor(v), left = (i64)floor(u);
        f32 total = 0;
        for (i64 k = 0; k < 4; k++) {
            const i64 r = top + k / 2, q = left + k % 2;
            const f32 weight = (k / 2 ? tv : 1 - tv) * (k % 2 ? tu : 1 - tu);
            if (r >= 0 && r < h && q >= 0 && q < w) total += source[r * w + q] * weight;
        }
        y[item] = mask ? total * mask[(part * taps + tap) * places + at] : total;
    }""",
    tiles=occupied,
)
