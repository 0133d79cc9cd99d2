"""MaxUnpool and MaxRoiPool, as ``ronn_codegen.templates.windows`` does them."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import ONE, PAIR

max_unpool = Template(
    "max_unpool(x: u8*, indices: i64*, y: u8*, status: i64*, n, size, table: i64*)",
    """\
        i64 rest = indices[item], total = 1, to = 0;
        int inside = 1;
        for (i64 d = 0; d < 5; d++) total *= table[d];
        if (rest < 0 || rest >= total) {
            *status = 1;
            continue;
        }
        for (i64 d = 4; d >= 0; d--) {
            const i64 at = rest % table[d];
            rest /= table[d];
            inside = inside && at < table[5 + d];
            to += at * table[10 + d];
        }
        if (inside) ENTRY_one(size, x + item * size, y + to * size);""",
    "n",
    PAIR + ONE,
)

max_roi_pool = Template(
    "max_roi_pool(x: f32*, rois: f32*, y: f32*, status: i64*, batches, channels, high, wide, regions, down, across, "
    "scale: f32)",
    """\
        const i64 k = item % across, i = item / across % down, channel = item / across / down % channels;
        GLOBAL const f32 *roi = rois + item / across / down / channels * 5;
        const i64 image = (i64)roi[0];
        if (!(roi[0] > -1) || image < 0 || image >= batches) {
            *status = 1;
            continue;
        }
        GLOBAL const f32 *source = x + (image * channels + channel) * high * wide;
        const i64 left = ENTRY_whole(roi[1] * scale + 0.5f), top = ENTRY_whole(roi[2] * scale + 0.5f);
        const i64 right = ENTRY_whole(roi[3] * scale + 0.5f), low = ENTRY_whole(roi[4] * scale + 0.5f);
        const i64 first = ENTRY_edge(top, low, down, i, high, 0), last = ENTRY_edge(top, low, down, i + 1, high, 1);
        const i64 begin = ENTRY_edge(left, right, across, k, wide, 0);
        const i64 end = ENTRY_edge(left, right, across, k + 1, wide, 1);
        f32 best = -INFINITY;
        for (i64 v = first; v < last; v++) {
            for (i64 u = begin; u < end; u++) {
                const f32 value = source[v * wide + u];
                if (value > best || value != value) best = value;
            }
        }
        y[item] = first < last && begin < end ? best : 0;""",
    "regions * channels * down * across",
    """\
DEVICE i64 ENTRY_whole(f32 v) { return v == v ? (i64)floor(fmin(fmax(v, -1e15f), 1e15f)) : 0; }

/* Where bin k begins, or (up) ends: exact in integers. */
DEVICE i64 ENTRY_edge(i64 start, i64 end, i64 bins, i64 k, i64 size, i64 up)
{
    const i64 length = end - start + 1 > 1 ? end - start + 1 : 1;
    const i64 at = start + (up ? (k * length + bins - 1) / bins : k * length / bins);
    return at < 0 ? 0 : at > size ? size : at;
}
""",
)
