"""Scattering: updates written to computed positions of a tensor, as ``ronn_codegen.templates.scatter`` does.

``y`` holds a copy of the tensor already. Updates of one place are applied in their order by one work-item: work-items
have no places in common.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import COORDINATES, INDEX, ONE, ROW_START, RUN, Typed
from ronn_codegen.templates.jobs import REDUCTION_KINDS, REDUCTIONS

_STRIP = 16  # elements of a row that a work-item does, where those are different places
_BLOCK = 64  # elements of an update that a work-item does


def _reduced(reduction: str, kind: str) -> str:
    """NaN goes through the largest and the smallest of floats, and -0 is less than 0."""
    if reduction in ("add", "mul"):
        op = "+" if reduction == "add" else "*"
        if kind[0] == "f":
            return f"old {op} new"
        wide = "u64" if kind[1:] == "64" else "u32"  # sums wrap round
        return f"({kind})(({wide})old {op} ({wide})new)"
    sign = ">" if reduction == "max" else "<"
    if kind[0] != "f":
        return f"new {sign} old ? new : old"
    bits = f"AS_U{kind[1:]}"
    zeros = f"({bits}(old) {'&' if reduction == 'max' else '|'} {bits}(new)) == {bits}(old) ? old : new"
    return f"old != old ? old : new != new ? new : old == new ? ({zeros}) : new {sign} old ? new : old"


def _cases() -> str:
    lines = []
    for i, reduction in enumerate(REDUCTIONS):
        for j, kind in enumerate(REDUCTION_KINDS):
            mark = " /* f64 */" if kind == "f64" else ""
            lines.append(
                f"    case {16 * (1 + i) + j}: {{ const {kind} old = *(GLOBAL {kind} *)y; "
                f"const {kind} new = *(const GLOBAL {kind} *)x; "
                f"*(GLOBAL {kind} *)y = {_reduced(reduction, kind)}; return 0; }}{mark}\n"
            )
    return "".join(lines)


_UPDATE = (
    """\
/* The element at y becomes its reduction with the one at x; 1 where this device has no such numbers. */
DEVICE i64 ENTRY_update(i64 how, const GLOBAL u8 *x, GLOBAL u8 *y) {
    switch (how) {
"""
    + _cases()
    + """\
    }
    return 1;
}
"""
)

_WIDTHS = f"((step != 0) * ((n + {_STRIP - 1}) / {_STRIP} - 1) + 1)"

scatter_elements = Typed(
    "scatter_elements(updates: u8*, indices: u8*, y: u8*, status: i64*, wide, how, size, axis, stride, table: i64*,"
    " rank, rows, n, step, parts)",
    f"""\
        const i64 widths = {_WIDTHS}, part = rows / parts, p = item / widths, w = item % widths;
        const i64 first = widths > 1 ? w * {_STRIP} : 0;
        const i64 end = widths > 1 && first + {_STRIP} < n ? first + {_STRIP} : n;
        for (i64 row = p * part; row < (p + 1) * part; row++) {{
            GLOBAL u8 *to = y + ENTRY_start(row, table, rank);
            for (i64 j = first; j < end; j++) {{
                const i64 found = ENTRY_index(indices, row * n + j, wide, axis);
                if (found < 0) {{
                    *status = 1;
                    continue;
                }}
                const GLOBAL u8 *source = updates + (row * n + j) * size;
                GLOBAL u8 *place = to + j * step + found * stride;
                if (how == 0) ENTRY_one(size, source, place);
                else if (ENTRY_update(how, source, place)) *status = 1;
            }}
        }}""",
    f"parts * {_WIDTHS}",
    RUN + ONE + INDEX + ROW_START + _UPDATE,
)
"""y[... indices[i] ...] takes updates[i]. The rows fall into ``parts`` that have no place in common; columns have none
either, unless they lie along the axis."""

scatter_nd = Typed(
    "scatter_nd(updates: u8*, indices: u8*, y: u8*, status: i64*, wide, how, size, depth, table: i64*, rows, inner)",
    f"""\
        const i64 first = item * {_BLOCK}, end = first + {_BLOCK} < inner ? first + {_BLOCK} : inner;
        for (i64 row = 0; row < rows; row++) {{
            const i64 found = ENTRY_place(indices, row, depth, wide, table);
            const GLOBAL u8 *source = updates + row * inner * size;
            GLOBAL u8 *to = y + found;
            if (found < 0) *status = 1;
            else if (how == 0 && end - first == 1) ENTRY_one(size, source + first * size, to + first * size);
            else if (how == 0) ENTRY_run(source + first * size, to + first * size, (end - first) * size);
            else
                for (i64 j = first; j < end; j++)
                    if (ENTRY_update(how, source + j * size, to + j * size)) *status = 1;
        }}""",
    f"(inner + {_BLOCK - 1}) / {_BLOCK}",
    RUN + ONE + INDEX + COORDINATES + _UPDATE,
)
"""The row of y at the coordinates indices[r, depth] takes row r of the updates: ``inner`` elements."""

tensor_scatter = Template(
    "tensor_scatter(updates: u8*, starts: u8*, y: u8*, status: i64*, wide, circular, batches, outer, axis, length,"
    " inner)",
    """\
        i64 start = 0;
        const i64 b = item / outer;
        if (starts) start = wide ? ((const GLOBAL i64 *)starts)[b] : (i64)((const GLOBAL i32 *)starts)[b];
        if (circular == 0 && (start < 0 || start + length > axis)) {
            *status = 1;
            continue;
        }
        start = (start % axis + axis) % axis;
        for (i64 i = 0; i < length; i++)
            ENTRY_run(updates + (item * length + i) * inner, y + (item * axis + (start + i) % axis) * inner, inner);""",
    "batches * outer",
    RUN,
)
"""updates[batches, outer, length, inner] written to y[batches, outer, axis, inner] from starts[batch] on."""
