"""Outputs whose size is found out while they are made, as ``ronn_codegen.templates.counted`` does: NonZero, Compress.

A work-item does a block of elements; how many of the blocks before are not zero says where its results go.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import ONE, RUN
from ronn_codegen.templates.jobs import COUNTED_BLOCK

_BLOCKS = f"(n + {COUNTED_BLOCK - 1}) / {COUNTED_BLOCK}"

_SET = """\
/* Whether one of the bits of element i that are set in keep is set. */
DEVICE i64 ENTRY_set(const GLOBAL u8 *x, i64 i, i64 size, i64 keep) {
    const i64 bits = size == 1 ? (i64)((const GLOBAL i8 *)x)[i] : size == 2 ? (i64)((const GLOBAL i16 *)x)[i]
        : size == 4 ? (i64)((const GLOBAL i32 *)x)[i] : ((const GLOBAL i64 *)x)[i];
    return (bits & keep) != 0;
}
"""

_RANGE = f"const i64 first = item * {COUNTED_BLOCK}, end = first + {COUNTED_BLOCK} < n ? first + {COUNTED_BLOCK} : n;"

count = Template(
    "count(x: u8*, counts: i64*, n, size, keep)",
    f"""\
        {_RANGE}
        i64 found = 0;
        for (i64 i = first; i < end; i++) found += ENTRY_set(x, i, size, keep);
        counts[item] = found;""",
    _BLOCKS,
    _SET,
)
"""How many elements of each block of x[n] are not zero; ``keep``: the bits that count."""

nonzero = Template(
    "nonzero(x: u8*, counts: i64*, y: i64*, total: i64*, n, size, keep, shape: i64*, rank)",
    f"""\
        {_RANGE}
        i64 at = 0, whole = 0;
        for (i64 b = 0; b < {_BLOCKS}; b++) {{
            if (b == item) at = whole;
            whole += counts[b];
        }}
        if (item == 0) *total = whole;
        for (i64 i = first; i < end; i++) {{
            if (!ENTRY_set(x, i, size, keep)) continue;
            i64 rest = i;
            for (i64 d = rank - 1; d >= 0; d--) {{
                y[d * whole + at] = rest % shape[d];
                rest /= shape[d];
            }}
            at++;
        }}""",
    f"(n == 0) + {_BLOCKS}",
    _SET,
)
"""Where the elements of x that are not zero stand: y[rank, total], all of it one after another."""

compress = Template(
    "compress(x: u8*, places: i64*, total: i64*, y: u8*, outer, n, inner)",
    """\
        const i64 kept = *total;
        for (i64 i = 0; i < kept; i++) {
            const GLOBAL u8 *source = x + (item * n + places[i]) * inner;
            if (inner <= 16) ENTRY_one(inner, source, y + (item * kept + i) * inner);
            else ENTRY_run(source, y + (item * kept + i) * inner, inner);
        }""",
    "outer",
    RUN + ONE,
)
"""y[outer, total, inner] = x[outer, n, inner] at the ``total`` places; inner counts bytes."""
