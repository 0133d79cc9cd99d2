"""Selecting and accumulating along an axis, as ``ronn_codegen.templates.order`` does: the k first elements in order,
running sums and products. Of equal keys the lower position comes first."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.templates._keys import HEAP, KEY, SORT
from ronn_codegen.clike.templates._move import ONE, RUN, Typed, occupied, shares
from ronn_codegen.templates.jobs import ACCUMULATED

_SHARES = 16  # for as many has a lowering room
_COLUMNS = 16  # that a work-item accumulates at once


def _lines(sizes: Sizes, target: Target) -> Grid:
    return shares(min(int(sizes["outer"] * sizes["inner"]), _SHARES))


_SELECT = """\
/* The first k keys and places, in order, by a heap of the k first so far. */
DEVICE void ENTRY_select(const GLOBAL u8 *x, i64 step, i64 size, i64 infinity, i64 plain, i64 largest, i64 n,
    i64 k, GLOBAL i64 *keys, GLOBAL i64 *places) {
    for (i64 i = 0; i < k; i++) { /* an unfinished heap grows from its end */
        const i64 key = ENTRY_key(x + i * step, size, infinity, plain, largest);
        i64 at = i;
        while (at > 0 && keys[(at - 1) / 2] <= key) {
            keys[at] = keys[(at - 1) / 2];
            places[at] = places[(at - 1) / 2];
            at = (at - 1) / 2;
        }
        keys[at] = key;
        places[at] = i;
    }
    for (i64 i = k; i < n; i++) {
        const i64 key = ENTRY_key(x + i * step, size, infinity, plain, largest);
        if (key < keys[0]) ENTRY_sink(keys, places, k, key, i);
    }
    for (i64 left = k - 1; left > 0; left--) {
        const i64 key = keys[left], place = places[left], first = keys[0], home = places[0];
        ENTRY_sink(keys, places, left, key, place);
        keys[left] = first;
        places[left] = home;
    }
}
"""

top_k = Template(
    "top_k(x: u8*, values: u8*, indices: i64*, room: i64*, size, infinity, plain, largest, outer, n, inner, k)",
    """\
    GLOBAL i64 *keys = room + GLOBAL_ID(0) * (4 * n + 256);
    for (i64 unit = GLOBAL_ID(0); unit < outer * inner; unit += GLOBAL_SIZE(0)) {
        const i64 o = unit / inner, i = unit % inner, step = inner * size, to = o * k * inner + i;
        const GLOBAL u8 *source = x + (o * n * inner + i) * size;
        GLOBAL i64 *places = keys + n;
        if (k * 16 < n || n < 128) {
            ENTRY_select(source, step, size, infinity, plain, largest, n, k, keys, places);
        } else {
            for (i64 j = 0; j < n; j++) {
                keys[j] = ENTRY_key(source + j * step, size, infinity, plain, largest);
                places[j] = j;
            }
            places = ENTRY_sort(keys, n, keys + 2 * n, keys + 4 * n);
        }
        for (i64 j = 0; j < k; j++) {
            ENTRY_one(size, source + places[j] * step, values + (to + j * inner) * size);
            indices[to + j * inner] = places[j];
        }
    }""",
    functions=RUN + ONE + KEY + HEAP + _SELECT + SORT,
    tiles=_lines,
)
"""values and indices[outer, k, inner]: the first k in order of x[outer, n, inner], with their places. A work-item has
32 * n + 2048 bytes of ``room``."""


def _chains() -> str:
    lines = []
    for i, kind in enumerate(ACCUMULATED):
        mark = " /* f64 */" if kind == "f64" else ""
        unsigned = f"u{kind[1:]}" if kind[0] == "i" else kind  # integers wrap round
        for product, op in enumerate("+*"):
            first = "1" if product else "exclusive ? 0 : -0.0f" if kind[0] == "f" else "0"
            lines.append(
                f"        case {2 * i + product}: {{ {unsigned} sums[{_COLUMNS}]; "
                f"for (i64 c = 0; c < width; c++) sums[c] = {first}; "
                f"for (i64 t = 0; t < n; t++) {{ "
                f"const GLOBAL {unsigned} *a = (const GLOBAL {unsigned} *)x + start + t * step; "
                f"GLOBAL {unsigned} *b = (GLOBAL {unsigned} *)y + start + t * step; "
                f"for (i64 c = 0; c < width; c++) {{ const {unsigned} next = sums[c] {op} a[c]; "
                f"b[c] = exclusive ? sums[c] : next; sums[c] = next; }} }} break; }}{mark}\n"
            )
    return "".join(lines)


cumulative = Typed(
    "cumulative(x: u8*, y: u8*, status: i64*, what, size, exclusive, reverse, neutral: u8*, axis: u8*, wide,"
    " shape: i64*, rank)",
    f"""\
    i64 along = wide ? *(const GLOBAL i64 *)axis : (i64)*(const GLOBAL i32 *)axis;
    if (along < 0) along += rank;
    if (along < 0 || along >= rank) {{
        *status = 1;
        return;
    }}
    i64 outer = 1, inner = 1;
    const i64 n = shape[along];
    for (i64 d = 0; d < rank; d++) {{
        if (d < along) outer *= shape[d];
        else if (d > along) inner *= shape[d];
    }}
    const i64 blocks = (inner + {_COLUMNS - 1}) / {_COLUMNS}, step = reverse ? -inner : inner;
    for (i64 unit = GLOBAL_ID(0); unit < outer * blocks; unit += GLOBAL_SIZE(0)) {{
        const i64 begin = unit % blocks * {_COLUMNS};
        const i64 width = begin + {_COLUMNS} < inner ? {_COLUMNS} : inner - begin;
        const i64 start = (unit / blocks * n + (reverse ? n - 1 : 0)) * inner + begin;
        switch (what) {{
{_chains()}        default: *status = 1;
        }}
    }}""",
    tiles=occupied,
)
"""Running sums or products (``what``: 2 * kind + product) of x along the axis that stands at ``axis``."""
