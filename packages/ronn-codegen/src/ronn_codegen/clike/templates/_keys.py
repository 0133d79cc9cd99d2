"""Keys of elements, and sorting by them, as text: int64 in the order of the elements, as in
``ronn_codegen.templates.order``."""

from __future__ import annotations

KEY = """\
/* The key of an element: -0 equal to 0, NaN above everything, complemented where the largest come first. */
DEVICE i64 ENTRY_key(const GLOBAL u8 *x, i64 size, i64 infinity, i64 plain, i64 largest) {
    const i64 top = (i64)(~(u64)0 >> 1);
    i64 bits = 0;
    switch (size) {
    case 1: bits = *(const GLOBAL i8 *)x; break;
    case 2: bits = *(const GLOBAL i16 *)x; break;
    case 4: bits = *(const GLOBAL i32 *)x; break;
    default: bits = *(const GLOBAL i64 *)x;
    }
    if (infinity) {
        const i64 magnitude = bits & (top >> (64 - 8 * size));
        bits = magnitude > infinity ? top : bits < 0 ? -magnitude : magnitude;
    } else if (plain) {
        bits = size == 8 ? bits ^ (-top - 1) : bits & (((i64)1 << 8 * size) - 1);
    }
    return largest ? ~bits : bits;
}
"""

SORT = """\
/* Sorts n pairs byte by byte, equal keys as they come; other has room for as many, counts for 256 numbers. Returns
   where the places are then; the keys lie n numbers before them. */
DEVICE GLOBAL i64 *ENTRY_sort(GLOBAL i64 *keys, i64 n, GLOBAL i64 *other, GLOBAL i64 *counts) {
    i64 low = keys[0], high = keys[0];
    for (i64 i = 1; i < n; i++) {
        if (keys[i] < low) low = keys[i];
        if (keys[i] > high) high = keys[i];
    }
    const u64 width = (u64)high - (u64)low;
    for (i64 shift = 0; shift < 64 && width >> shift != 0; shift += 8) {
        for (i64 d = 0; d < 256; d++) counts[d] = 0;
        for (i64 i = 0; i < n; i++) counts[(((u64)keys[i] - (u64)low) >> shift) & 255]++;
        i64 before = 0;
        for (i64 d = 0; d < 256; d++) {
            const i64 count = counts[d];
            counts[d] = before;
            before += count;
        }
        for (i64 i = 0; i < n; i++) {
            const i64 at = counts[(((u64)keys[i] - (u64)low) >> shift) & 255]++;
            other[at] = keys[i];
            other[n + at] = keys[n + i];
        }
        GLOBAL i64 *swapped = keys;
        keys = other;
        other = swapped;
    }
    return keys + n;
}
"""

HEAP = """\
/* Puts (key, place) into the heap of n pairs, whose top is the last in order, in place of its top. */
DEVICE void ENTRY_sink(GLOBAL i64 *keys, GLOBAL i64 *places, i64 n, i64 key, i64 place) {
    i64 at = 0;
    for (;;) {
        i64 child = 2 * at + 1;
        if (child >= n) break;
        if (child + 1 < n && (keys[child + 1] > keys[child] ||
                              (keys[child + 1] == keys[child] && places[child + 1] > places[child]))) child++;
        if (keys[child] < key || (keys[child] == key && places[child] < place)) break;
        keys[at] = keys[child];
        places[at] = places[child];
        at = child;
    }
    keys[at] = key;
    places[at] = place;
}
"""
