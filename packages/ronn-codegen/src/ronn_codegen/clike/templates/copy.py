"""All copies between strided arrays: a table of jobs (``ronn_codegen.templates.jobs``), each a box of elements.

A work-item does the units, strips of rows, whose weights fall into its share.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import RUN, by_size
from ronn_codegen.templates.jobs import EACH, FIELDS, FILL, SLOTS
from ronn_codegen.templates.jobs import RUN as RUNS

_SHARE = 4096  # weight of a work-item's share: that of a unit of bytes
_TILE = 16  # columns of a plane that are done at once

_ALIGNED = "(((u64)x | (u64)y | (u64)xr | (u64)xc | (u64)yr | (u64)yc) & (u64)(size - 1) & 7) == 0"
_EACH = (
    "for (i64 r = 0; r < rows; r++) { const GLOBAL u8 *a = x + r * xr; GLOBAL u8 *b = y + r * yr; "
    "for (i64 c = 0; c < n; c++) *(GLOBAL WORD *)(b + c * yc) = *(const GLOBAL WORD *)(a + c * xc); }"
)
_PLANE = (
    f"for (i64 first = 0; first < n; first += {_TILE}) {{ "
    f"const i64 end = first + {_TILE} < n ? first + {_TILE} : n; "
    "for (i64 r = 0; r < rows; r++) for (i64 c = first; c < end; c++) "
    "((GLOBAL WORD *)(y + r * yr))[c] = *(const GLOBAL WORD *)(x + r * size + c * xc); }"
)
_FILL = (
    "for (i64 r = 0; r < rows; r++) { const WORD value = *(const GLOBAL WORD *)(x + r * xr); "
    "GLOBAL WORD *b = (GLOBAL WORD *)(y + r * yr); for (i64 c = 0; c < n; c++) b[c] = value; }"
)
_BYTES = (
    "for (i64 r = 0; r < rows; r++) for (i64 c = 0; c < n; c++) for (i64 i = 0; i < size; i++) "
    "y[r * yr + c * yc + i] = x[r * xr + c * xc + i];"
)
_BOX = (
    "(i64 size, const GLOBAL u8 *RESTRICT x, i64 xr, i64 xc,\n"
    "    GLOBAL u8 *RESTRICT y, i64 yr, i64 yc, i64 rows, i64 n) {\n"
)

_FUNCTIONS = f"""{RUN}\
/* Rows of n elements at any stride. */
DEVICE void ENTRY_each{_BOX}{by_size(_ALIGNED, _EACH, _BYTES)}}}
/* A plane whose source has its rows, not its columns, one after another. */
DEVICE void ENTRY_plane{_BOX}{by_size(_ALIGNED, _PLANE, _BYTES)}}}
/* Each row of the destination is one element of the source, n times. */
DEVICE void ENTRY_fill{_BOX}{by_size(_ALIGNED, _FILL, _BYTES)}}}
"""

_BODY = f"""\
        GLOBAL u8 *places[{SLOTS}] = {{{", ".join(f"p{i}" for i in range(SLOTS))}}};
        const i64 low = total * item / items, high = total * (item + 1) / items;
        for (i64 j = 0; j < count; j++) {{
            const GLOBAL i64 *job = jobs + {FIELDS} * j;
            const i64 start = job[0], weight = job[1], units = job[2], kind = job[3], strips = job[4], height = job[5];
            const i64 xr = job[10], xc = job[11], yr = job[14], yc = job[15], size = job[28];
            i64 first = (low - start + weight - 1) / weight, last = (high - start + weight - 1) / weight;
            first = low <= start ? 0 : first < units ? first : units;
            last = high <= start ? 0 : last < units ? last : units;
            for (i64 unit = first; unit < last; unit++) {{
                const i64 strip = unit % strips, row = strip * height;
                const i64 rows = strip + 1 < strips ? height : job[6] - row;
                const GLOBAL u8 *x = places[job[8]] + job[9] + row * xr;
                GLOBAL u8 *y = places[job[12]] + job[13] + row * yr;
                i64 rest = unit / strips;
                for (i64 d = 16; d < 28; d += 3) {{
                    const i64 at = rest % job[d];
                    rest /= job[d];
                    x += at * job[d + 1];
                    y += at * job[d + 2];
                }}
                if (kind == {RUNS}) {{
                    if (x != y || xr != yr) /* else the result has taken the place of the source */
                        for (i64 r = 0; r < rows; r++) ENTRY_run(x + r * xr, y + r * yr, job[7]);
                }} else if (kind == {EACH}) {{
                    ENTRY_each(size, x, xr, xc, y, yr, yc, rows, job[7]);
                }} else if (kind == {FILL}) {{
                    ENTRY_fill(size, x, xr, 0, y, yr, yc, rows, job[7]);
                }} else {{
                    ENTRY_plane(size, x, xr, xc, y, yr, yc, rows, job[7]);
                }}
            }}
        }}"""

_PLACES = ", ".join(f"p{i}: u8*" for i in range(SLOTS))
copy = Template(f"copy({_PLACES}, jobs: i64*, count, total)", _BODY, f"total / {_SHARE} + 1", _FUNCTIONS)
