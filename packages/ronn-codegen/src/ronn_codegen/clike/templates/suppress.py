"""NonMaxSuppression, as ``ronn_codegen.templates.suppress`` finds it: of boxes that overlap, the best ones."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.templates._move import shares

_SHARES = 16  # for as many has a lowering room


def _groups(sizes: Sizes, target: Target) -> Grid:
    return shares(min(int(sizes["groups"]), _SHARES))


_BOXES = """\
/* Two corners and the area of a box. */
typedef struct { f32 y1, x1, y2, x2, area; } ENTRY_box;
DEVICE ENTRY_box ENTRY_corners(const GLOBAL f32 *given, i64 centred) {
    ENTRY_box box;
    if (centred) {
        const f32 high = given[3] * 0.5f, wide = given[2] * 0.5f;
        box.y1 = given[1] - high, box.x1 = given[0] - wide, box.y2 = given[1] + high, box.x2 = given[0] + wide;
    } else {
        box.y1 = fmin(given[0], given[2]), box.y2 = fmax(given[0], given[2]);
        box.x1 = fmin(given[1], given[3]), box.x2 = fmax(given[1], given[3]);
    }
    box.area = (box.y2 - box.y1) * (box.x2 - box.x1);
    return box;
}
/* Whether a box shares more than so much of the union with another. */
DEVICE i64 ENTRY_overlaps(ENTRY_box box, const GLOBAL f32 *given, i64 centred, f32 iou) {
    const ENTRY_box other = ENTRY_corners(given, centred);
    const f32 high = fmin(box.y2, other.y2) - fmax(box.y1, other.y1);
    const f32 wide = fmin(box.x2, other.x2) - fmax(box.x1, other.x1);
    const f32 shared = fmax(high, 0.0f) * fmax(wide, 0.0f);
    return shared > 0.0f && shared / (box.area + other.area - shared) > iou;
}
"""

suppress = Template(
    "suppress(boxes: f32*, scores: f32*, found: i64*, kept: i64*, limit: i64*, iou: f32*, least: f32*, room: i64*,"
    " groups, classes, n, bound, centred)",
    """\
    GLOBAL i64 *keys = room + GLOBAL_ID(0) * ((16 * n + 20 * (bound + 64) + 8192 + 2048) / 8 / 2 * 2);
    const i64 given = *limit;
    const i64 most = given < 0 ? 0 : given < bound ? given : bound;
    for (i64 g = GLOBAL_ID(0); g < groups; g += GLOBAL_SIZE(0)) {
        /* Candidates by falling scores, equal ones by their number. */
        i64 count = 0;
        for (i64 j = 0; j < n && most > 0; j++) {
            const f32 score = scores[g * n + j];
            if (least && !(score > *least)) continue;
            const i64 bits = (i64)AS_U32(score), magnitude = bits & 0x7fffffff;
            const i64 key = magnitude > 0x7f800000 ? 0x7fffffff : bits >> 31 ? magnitude : -magnitude;
            i64 at = count++;
            keys[at] = key * ((i64)1 << 32) + j;
        }
        ENTRY_words(keys, count, keys + n, keys + 2 * n);
        i64 done = 0;
        for (i64 c = 0; c < count && done < most; c++) {
            const i64 number = keys[c] & 0xffffffff;
            const GLOBAL f32 *image = boxes + 4 * (g / classes) * n;
            const ENTRY_box box = ENTRY_corners(image + 4 * number, centred);
            i64 fits = 1;
            for (i64 k = 0; k < done && fits; k++)
                fits = !ENTRY_overlaps(box, image + 4 * found[g * bound + k], centred, *iou);
            if (fits) found[g * bound + done++] = number;
        }
        kept[g] = done;
    }""",
    functions="""\
/* Sorts n words byte by byte; other has room for as many, counts for 256 numbers. */
DEVICE void ENTRY_words(GLOBAL i64 *words, i64 n, GLOBAL i64 *other, GLOBAL i64 *counts) {
    if (n <= 32) {
        for (i64 i = 1; i < n; i++) {
            const i64 word = words[i];
            i64 j = i;
            for (; j > 0 && words[j - 1] > word; j--) words[j] = words[j - 1];
            words[j] = word;
        }
        return;
    }
    for (i64 shift = 32; shift < 64; shift += 8) { /* they come by their number; the sign is turned round */
        for (i64 d = 0; d < 256; d++) counts[d] = 0;
        for (i64 i = 0; i < n; i++) counts[(((u64)words[i] ^ ((u64)1 << 63)) >> shift) & 255]++;
        i64 before = 0;
        for (i64 d = 0; d < 256; d++) {
            const i64 count = counts[d];
            counts[d] = before;
            before += count;
        }
        for (i64 i = 0; i < n; i++) other[counts[(((u64)words[i] ^ ((u64)1 << 63)) >> shift) & 255]++] = words[i];
        GLOBAL i64 *swapped = words;
        words = other;
        other = swapped;
    }
}
"""
    + _BOXES,
    tiles=_groups,
)
"""found[groups, bound] and kept[groups]: the boxes that each class of each image keeps, best first, and how many. A
work-item has 16 * n + 20 * (bound + 64) + 8192 + 2048 bytes of ``room``."""

listed = Template(
    "listed(found: i64*, kept: i64*, y: i64*, total: i64*, groups, classes, bound)",
    """\
        i64 at = 0, whole = 0;
        for (i64 g = 0; g < groups; g++) {
            if (g == item) at = whole;
            whole += kept[g];
        }
        if (item == 0) *total = whole;
        for (i64 i = 0; item < groups && i < kept[item]; i++, at++) {
            y[3 * at] = item / classes;
            y[3 * at + 1] = item % classes;
            y[3 * at + 2] = found[item * bound + i];
        }""",
    "groups + (groups == 0)",
)
"""y[total, 3]: (image, class, box) of what ``suppress`` found."""
