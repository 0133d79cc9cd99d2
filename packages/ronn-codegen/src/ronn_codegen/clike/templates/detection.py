"""Sampling at computed positions, as ``ronn_codegen.templates.detection`` does, one work-item an element: GridSample,
RoiAlign, AffineGrid, and Col2Im, whose images gather what the columns add to them."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import Typed, occupied
from ronn_codegen.templates.jobs import REDUCTION_KINDS

_POSITIONS = """\
/* v mirrored at the borders until it lies between them. */
DEVICE f32 ENTRY_reflected(f32 v, f32 low, f32 high)
{
    const f32 span = high - low;
    if (span <= 0) return low;
    if (!(v < low || v > high)) return v;
    const f32 distance = v < low ? low - v : v - high, turns = floor(distance / span);
    const f32 rest = distance - turns * span;
    const int even = turns - 2 * floor(turns / 2) == 0;
    return even == (v < low) ? low + rest : high - rest;
}

/* Where g falls among the n elements of a dim. */
DEVICE f32 ENTRY_position(f32 g, i64 n, i64 taps, i64 padding, i64 align)
{
    const f32 size = (f32)n;
    f32 p = align ? (g + 1) / 2 * (size - 1) : ((g + 1) * size - 1) / 2;
    if (taps == 1) p = rint(p);
    if (padding == 1 && taps != 4) p = fmin(fmax(p, 0.0f), size - 1);
    else if (padding == 2) p = ENTRY_reflected(p, align ? 0.0f : -0.5f, align ? size - 1 : size - 0.5f);
    return p != p ? -1 : fmin(fmax(p, -1073741824.0f), 1073741824.0f);
}

/* The element of a dim that a tap reads; -1 for none. */
DEVICE i64 ENTRY_pixel(i64 at, i64 n, i64 padding, i64 align)
{
    if (at >= 0 && at < n) return at;
    if (padding == 0) return -1;
    if (padding == 2) {
        const f32 low = align ? 0.0f : -0.5f;
        at = (i64)ENTRY_reflected((f32)at, low, (f32)n - 1 - low);
    }
    return at < 0 ? 0 : at > n - 1 ? n - 1 : at;
}

/* The weight of tap k of 4 for a position t behind tap 1. */
DEVICE f32 ENTRY_cubic(f32 t, i64 k)
{
    const f32 a = -0.75f;
    if (k == 0 || k == 3) {
        const f32 d = k == 0 ? t + 1 : 2 - t;
        return ((a * d - 5 * a) * d + 8 * a) * d - 4 * a;
    }
    const f32 d = k == 1 ? t : 1 - t;
    return ((a + 2) * d - (a + 3)) * d * d + 1;
}
"""

grid_sample = Template(
    "grid_sample(x: f32*, grid: f32*, y: f32*, room: u8*, shape: i64*, rank, batches, channels, plane, points, taps, "
    "padding, align)",
    """\
        const i64 point = item % points, channel = item / points % channels, image = item / points / channels;
        GLOBAL const f32 *source = x + (image * channels + channel) * plane;
        i64 places[12], stride = 1, count = 1;
        f32 weights[12];
        for (i64 d = rank - 1; d >= 0; d--) {
            const i64 n = shape[d];
            const f32 p = ENTRY_position(grid[(image * points + point) * rank + rank - 1 - d], n, taps, padding, align);
            const f32 base = floor(p), t = p - base;
            for (i64 k = 0; k < taps; k++) {
                const i64 place = ENTRY_pixel((i64)base + k - (taps == 4), n, padding, align);
                places[4 * d + k] = place < 0 ? -1 : place * stride;
                weights[4 * d + k] = taps == 1 ? 1 : taps == 2 ? (k ? t : 1 - t) : ENTRY_cubic(t, k);
            }
            stride *= n;
            count *= taps;
        }
        f32 total = 0;
        for (i64 c = 0; c < count; c++) {
            i64 rest = c, at = 0;
            f32 w = 1;
            for (i64 d = rank - 1; d >= 0; d--) {
                const i64 k = 4 * d + rest % taps;
                rest /= taps;
                at = at < 0 || places[k] < 0 ? -1 : at + places[k];
                w *= weights[k];
            }
            if (at >= 0) total += source[at] * w;
        }
        y[item] = total;""",
    "batches * channels * points",
    _POSITIONS,
)

roi_align = Template(
    "roi_align(x: f32*, rois: f32*, batch: u8*, y: f32*, status: i64*, wide, batches, channels, high, wide_pixels, "
    "regions, bins_high, bins_wide, samples, scale: f32, shifted, largest)",
    """\
        const i64 bins = bins_high * bins_wide, b = item % bins, channel = item / bins % channels;
        const i64 region = item / bins / channels;
        const i64 image = wide ? ((GLOBAL const i64 *)batch)[region] : (i64)((GLOBAL const i32 *)batch)[region];
        if (image < 0 || image >= batches) {
            *status = 1;
            continue;
        }
        GLOBAL const f32 *source = x + (image * channels + channel) * high * wide_pixels, *roi = rois + 4 * region;
        const f32 shift = shifted ? 0.5f : 0.0f, left = roi[0] * scale - shift, top = roi[1] * scale - shift;
        f32 width = roi[2] * scale - shift - left, height = roi[3] * scale - shift - top;
        if (!shifted) {
            width = fmax(width, 1.0f);
            height = fmax(height, 1.0f);
        }
        const f32 across = width / (f32)bins_wide, down = height / (f32)bins_high;
        const i64 nx = samples > 0 ? samples : across > 0 ? (i64)ceil(fmin(across, 1e9f)) : 0;
        const i64 ny = samples > 0 ? samples : down > 0 ? (i64)ceil(fmin(down, 1e9f)) : 0;
        f32 total = 0;
        for (i64 s = 0; s < nx * ny; s++) {
            f32 v = top + (f32)(b / bins_wide) * down + ((f32)(s / nx) + 0.5f) * down / (f32)ny;
            f32 u = left + (f32)(b % bins_wide) * across + ((f32)(s % nx) + 0.5f) * across / (f32)nx;
            const int inside = v >= -1 && v <= (f32)high && u >= -1 && u <= (f32)wide_pixels;
            v = fmax(v, 0.0f);
            u = fmax(u, 0.0f);
            i64 r = (i64)fmin(v, (f32)(high - 1)), q = (i64)fmin(u, (f32)(wide_pixels - 1));
            const f32 tv = r >= high - 1 ? 0 : v - (f32)r, tu = q >= wide_pixels - 1 ? 0 : u - (f32)q;
            const i64 below = (r + 1 < high ? r + 1 : high - 1) * wide_pixels;
            const i64 beside = q + 1 < wide_pixels ? q + 1 : wide_pixels - 1;
            r *= wide_pixels;
            const f32 a = source[r + q] * ((1 - tv) * (1 - tu)), c = source[r + beside] * ((1 - tv) * tu);
            const f32 d = source[below + q] * (tv * (1 - tu)), e = source[below + beside] * (tv * tu);
            if (largest) {
                const f32 value = inside ? fmax(fmax(a, c), fmax(d, e)) : 0;
                total = s == 0 ? value : fmax(total, value);
            } else if (inside) {
                total += a + c + d + e;
            }
        }
        y[item] = largest || nx * ny < 2 ? total : total / (f32)(nx * ny);""",
    "regions * channels * bins_high * bins_wide",
)

affine_grid = Template(
    "affine_grid(theta: f32*, axes: f32*, y: f32*, shape: i64*, rank, batches, points)",
    """\
        const i64 i = item % rank;
        i64 rest = item / rank % points, line = 0;
        GLOBAL const f32 *row = theta + (item / rank / points * rank + i) * (rank + 1);
        f32 total = 0;
        for (i64 d = 0; d < rank; d++) line += shape[d];
        for (i64 j = 0; j < rank; j++) {
            const i64 n = shape[rank - 1 - j];
            line -= n;
            total += row[j] * axes[line + rest % n];
            rest /= n;
        }
        y[item] = total + row[rank];""",
    "batches * points * rank",
)

_CASES = "".join(
    f"        case {16 + i}: {{ {t} total = 0; ENTRY_GATHER({t}); ((GLOBAL {t} *)y)[item] = total; break; }}"
    + (" /* f64 */\n" if t == "f64" else "\n")
    for i, t in enumerate(REDUCTION_KINDS)
)

col2im = Typed(
    "col2im(x: u8*, y: u8*, how, size, planes, table: i64*)",
    f"""\
    const i64 h = table[0], v = table[6], w = table[12], items = planes * h * v * w;
    const i64 taps = table[1] * table[7] * table[13], places = table[2] * table[8] * table[14];
    for (i64 item = GLOBAL_ID(0); item < items; item += GLOBAL_SIZE(0)) {{
        const i64 plane = item / (h * v * w), a = item / (v * w) % h, b = item / w % v, c = item % w;
        switch (how) {{
{_CASES}        }}
    }}""",
    functions="""\
/* Which window has the element `at` of a dim at its tap; -1 for none. */
DEVICE i64 ENTRY_window(i64 at, i64 tap, GLOBAL const i64 *dim)
{
    const i64 from = at + dim[5] - tap * dim[4], n = from / dim[3];
    return from < 0 || from % dim[3] != 0 || n >= dim[2] ? -1 : n;
}
#undef ENTRY_GATHER
#define ENTRY_GATHER(T) \\
    for (i64 t = 0; t < taps; t++) { \\
        const i64 i = ENTRY_window(a, t / (table[7] * table[13]), table); \\
        const i64 j = ENTRY_window(b, t / table[13] % table[7], table + 6); \\
        const i64 k = ENTRY_window(c, t % table[13], table + 12); \\
        if (i < 0 || j < 0 || k < 0) continue; \\
        total += ((GLOBAL const T *)x)[(plane * taps + t) * places + (i * table[8] + j) * table[14] + k]; \\
    }
""",
    tiles=occupied,
)
