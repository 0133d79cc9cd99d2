"""Unique, as ``ronn_codegen.templates.unique`` finds it: each element, or slice along an axis, once. One work-item goes
through them in order."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._keys import KEY, SORT
from ronn_codegen.clike.templates._move import ONE, RUN, one_item

_SLICES = """\
/* Slice a against slice b: -1, 0 or 1. */
DEVICE i64 ENTRY_compared(const GLOBAL u8 *x, i64 a, i64 b, i64 size, i64 infinity, i64 plain, i64 outer, i64 n,
    i64 inner) {
    for (i64 o = 0; o < outer; o++)
        for (i64 i = 0; i < inner; i++) {
            const i64 one = ENTRY_key(x + ((o * n + a) * inner + i) * size, size, infinity, plain, 0);
            const i64 two = ENTRY_key(x + ((o * n + b) * inner + i) * size, size, infinity, plain, 0);
            if (one != two) return one < two ? -1 : 1;
        }
    return 0;
}
/* The places of the slices in order, equal ones as they come, by merging runs. Returns where they are then. */
DEVICE GLOBAL i64 *ENTRY_merge(const GLOBAL u8 *x, GLOBAL i64 *places, GLOBAL i64 *to, i64 size, i64 infinity,
    i64 plain, i64 outer, i64 n, i64 inner) {
    for (i64 i = 0; i < n; i++) places[i] = i;
    for (i64 run = 1; run < n; run *= 2) {
        for (i64 start = 0; start < n; start += 2 * run) {
            const i64 middle = start + run < n ? start + run : n, end = middle + run < n ? middle + run : n;
            i64 a = start, b = middle;
            for (i64 j = start; j < end; j++) {
                const i64 first = b == end || (a < middle && ENTRY_compared(x, places[a], places[b], size, infinity,
                    plain, outer, n, inner) <= 0);
                to[j] = first ? places[a++] : places[b++];
            }
        }
        GLOBAL i64 *swapped = places;
        places = to;
        to = swapped;
    }
    return places;
}
"""

unique = Template(
    "unique(x: u8*, y: u8*, firsts: i64*, inverse: i64*, counts: i64*, total: i64*, room: i64*, size, infinity,"
    " plain, sorted, outer, n, inner)",
    """\
    if (GLOBAL_ID(0) != 0) return;
    const i64 single = outer * inner == 1;
    GLOBAL i64 *places = room;
    if (single) {
        for (i64 i = 0; i < n; i++) {
            room[i] = ENTRY_key(x + i * size, size, infinity, plain, 0);
            room[n + i] = i;
        }
        if (n) places = ENTRY_sort(room, n, room + 2 * n, room + 4 * n);
    } else {
        places = ENTRY_merge(x, room, room + n, size, infinity, plain, outer, n, inner);
    }
    i64 found = 0, before = 0;
    for (i64 j = 0; j < n; j++) {
        const i64 place = places[j];
        const i64 fresh = j == 0 || (single ? (places - n)[j] != (places - n)[j - 1]
            : ENTRY_compared(x, before, place, size, infinity, plain, outer, n, inner) != 0);
        if (fresh) {
            firsts[found] = place;
            counts[found] = 0;
            found++;
        }
        counts[found - 1]++;
        inverse[place] = found - 1;
        before = place;
    }
    if (!sorted) {
        GLOBAL i64 *which = room, *rank = room + n, *often = room + 2 * n;
        for (i64 i = 0; i < n; i++) which[i] = -1;
        for (i64 g = 0; g < found; g++) {
            which[firsts[g]] = g;
            often[g] = counts[g];
        }
        i64 at = 0;
        for (i64 i = 0; i < n; i++) {
            const i64 g = which[i];
            if (g < 0) continue;
            rank[g] = at;
            firsts[at] = i;
            counts[at] = often[g];
            at++;
        }
        for (i64 i = 0; i < n; i++) inverse[i] = rank[inverse[i]];
    }
    for (i64 o = 0; o < outer; o++)
        for (i64 g = 0; g < found; g++)
            for (i64 i = 0; i < inner; i++)
                ENTRY_one(size, x + ((o * n + firsts[g]) * inner + i) * size, y + ((o * found + g) * inner + i) * size);
    *total = found;""",
    functions=RUN + ONE + KEY + SORT + _SLICES,
    tiles=one_item,
)
"""y[outer, total, inner]: the slices of x[outer, n, inner] in order, else as they first come; where each stands first,
which one is in each place, how often each comes. ``room``: 32 * n + 2048 bytes."""
