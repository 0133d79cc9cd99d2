"""What templates that move elements share, as text: copies of runs and of elements, checked indices, places of rows.

Elements of every type are moved as so many bytes. An address that is not aligned to its element is read by bytes: views
may begin anywhere.
"""

from __future__ import annotations

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Size3, Sizes, Target, Template

SIZES = (1, 2, 4, 8, 16)
WORDS = {1: "u8", 2: "u16", 4: "u32", 8: "u64", 16: "ENTRY_pair"}
"""The type that an element of so many bytes is moved as."""

PAIR = """\
typedef struct { u64 low, high; } ENTRY_pair;
"""

RUN = f"""{PAIR}\
/* n bytes from x to y, which do not overlap. */
DEVICE void ENTRY_run(const GLOBAL u8 *RESTRICT x, GLOBAL u8 *RESTRICT y, i64 n) {{
    i64 i = 0;
    if ((((u64)x | (u64)y) & 7) == 0)
        for (; i + 16 <= n; i += 16) *(GLOBAL ENTRY_pair *)(y + i) = *(const GLOBAL ENTRY_pair *)(x + i);
    for (; i < n; i++) y[i] = x[i];
}}
"""

ONE = (
    """\
/* An element of so many bytes from x to y. */
DEVICE void ENTRY_one(i64 size, const GLOBAL u8 *x, GLOBAL u8 *y) {
    if (((((u64)x | (u64)y) & (u64)(size - 1)) & 7) != 0) {
        for (i64 i = 0; i < size; i++) y[i] = x[i];
        return;
    }
    switch (size) {
"""
    + "".join(f"    case {s}: *(GLOBAL {w} *)y = *(const GLOBAL {w} *)x; break;\n" for s, w in WORDS.items())
    + """\
    default: for (i64 i = 0; i < size; i++) y[i] = x[i];
    }
}
"""
)

INDEX = """\
/* Index i, of 8 bytes where wide, else of 4, counted from the front; -1 where it is not in -size .. size - 1. */
DEVICE i64 ENTRY_index(const GLOBAL u8 *indices, i64 i, i64 wide, i64 size) {
    i64 found = wide ? ((const GLOBAL i64 *)indices)[i] : (i64)((const GLOBAL i32 *)indices)[i];
    if (found < 0) found += size;
    return found >= 0 && found < size ? found : -1;
}
"""

ROW_START = """\
/* Where a row starts, in bytes: the table holds (size, stride) of rank dims, outermost first. */
DEVICE i64 ENTRY_start(i64 row, const GLOBAL i64 *table, i64 rank) {
    i64 at = 0;
    for (i64 d = rank - 1; d >= 0; d--) {
        at += row % table[2 * d] * table[2 * d + 1];
        row /= table[2 * d];
    }
    return at;
}
"""

COORDINATES = """\
/* The sum of a row's indices times their strides; -1 where one is out of range. */
DEVICE i64 ENTRY_place(const GLOBAL u8 *indices, i64 row, i64 depth, i64 wide, const GLOBAL i64 *table) {
    i64 at = 0;
    for (i64 d = 0; d < depth; d++) {
        const i64 found = ENTRY_index(indices, row * depth + d, wide, table[2 * d]);
        if (found < 0) return -1;
        at += found * table[2 * d + 1];
    }
    return at;
}
"""


def by_size(condition: str, body: str, default: str) -> str:
    """``body`` for elements of each size, where WORD is its type; ``default`` for other sizes and where ``condition``
    (that addresses are aligned to ``size``) does not hold."""
    cases = "".join(f"        case {s}: {body.replace('WORD', w)} break;\n" for s, w in WORDS.items())
    return f"        switch ({condition} ? size : 0) {{\n{cases}        default: {default}\n        }}\n"


@dataclass(frozen=True)
class Typed(Template):
    """A template some of whose lines are for float64, marked ``/* f64 */``: without it they are left out."""

    def source(self, entry: str, target: Target) -> str:
        text = super().source(entry, target)
        if target.doubles:
            return text
        return "".join(line for line in text.splitlines(keepends=True) if not line.endswith("/* f64 */\n"))


def shares(number: int) -> Grid:
    """So many work-items, each a group."""
    return Grid((max(number, 1), 1, 1))


def one_item(sizes: Sizes, target: Target) -> Grid:
    """One work-item: for what goes in order."""
    return shares(1)


def occupied(sizes: Sizes, target: Target) -> Grid:
    """Work-items enough to keep a device busy, for kernels that find out themselves how much there is to do."""
    local: Size3 = (max(target.group, 1), 1, 1)
    return Grid((max(4 * target.compute_units, 1), 1, 1), local)
