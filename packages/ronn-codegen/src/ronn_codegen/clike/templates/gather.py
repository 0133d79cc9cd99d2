"""Gathering: rows or elements of a tensor at computed positions, as ``ronn_codegen.templates.gather`` does.

Positions are checked: one out of range sets the word at ``status``, and nothing is read there. A work-item makes about
a kilobyte of the result.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import COORDINATES, INDEX, ONE, ROW_START, RUN, by_size

_STRIP = 256  # elements of a row of indices that a work-item does
_PER = "(1024 / inner + 1)"  # rows that a work-item does
_PIECES = "((inner + block - 1) / block)"


def _rows(number: str) -> str:
    """How many work-items there are for so many rows, in pieces of ``block`` bytes."""
    return f"({number} * {_PIECES} + {_PER} - 1) / {_PER}"


def _each_unit(number: str, found: str, source: str, to: str) -> str:
    """For the units of a work-item, the piece from byte ``at`` on of row ``row``: copied where ``found`` is a place."""
    return f"""\
        const i64 pieces = {_PIECES}, per = {_PER}, units = {number} * pieces;
        const i64 end = (item + 1) * per < units ? (item + 1) * per : units;
        for (i64 unit = item * per; unit < end; unit++) {{
            const i64 row = unit / pieces, at = unit % pieces * block;
            const i64 found = {found};
            if (found < 0) {{
                *status = 1;
                continue;
            }}
            const GLOBAL u8 *source = x + {source} + at;
            GLOBAL u8 *to = y + {to} + at;
            if (inner <= 16) ENTRY_one(inner, source, to);
            else ENTRY_run(source, to, inner - at < block ? inner - at : block);
        }}"""


gather = Template(
    "gather(x: u8*, indices: u8*, y: u8*, status: i64*, wide, outer, axis, count, inner, block)",
    _each_unit(
        "(outer * count)", "ENTRY_index(indices, row % count, wide, axis)", "(row / count * axis + found) * inner",
        "row * inner",
    ),
    _rows("(outer * count)"),
    RUN + ONE + INDEX,
)  # fmt: skip
"""y[outer, count, inner] = x[outer, axis, inner] at indices[count]; inner and block in bytes."""

_ELEMENT = (
    "for (i64 j = first; j < end; j++) {{ const i64 found = ENTRY_index(indices, row * n + j, wide, axis); "
    "if (found < 0) *status = 1; else {} }}"
)
_ELEMENTS = by_size(
    "(((u64)from | (u64)y | (u64)step | (u64)stride) & (u64)(size - 1) & 7) == 0",
    _ELEMENT.format("((GLOBAL WORD *)y)[row * n + j] = *(const GLOBAL WORD *)(from + j * step + found * stride);"),
    _ELEMENT.format("ENTRY_run(from + j * step + found * stride, y + (row * n + j) * size, size);"),
)

gather_elements = Template(
    "gather_elements(x: u8*, indices: u8*, y: u8*, status: i64*, wide, size, axis, stride, table: i64*, rank, rows, n,"
    " step)",
    f"""\
        const i64 strips = (n + {_STRIP - 1}) / {_STRIP}, row = item / strips, first = item % strips * {_STRIP};
        const i64 end = first + {_STRIP} < n ? first + {_STRIP} : n;
        const GLOBAL u8 *from = x + ENTRY_start(row, table, rank);
{_ELEMENTS}""",
    f"rows * ((n + {_STRIP - 1}) / {_STRIP})",
    RUN + INDEX + ROW_START,
)
"""y[i] = x[... indices[i] ...] for rows of n elements; row r starts in x where the table says."""

gather_nd = Template(
    "gather_nd(x: u8*, indices: u8*, y: u8*, status: i64*, wide, depth, table: i64*, rows, per_batch, batch, inner,"
    " block)",
    _each_unit(
        "rows", "ENTRY_place(indices, row, depth, wide, table)", "row / per_batch * batch + found", "row * inner"
    ),
    _rows("rows"),
    RUN + ONE + INDEX + COORDINATES,
)
"""Row r of y, of ``inner`` bytes, is the one of x at the coordinates indices[r, depth]."""

reverse_sequence = Template(
    "reverse_sequence(x: u8*, lengths: u8*, y: u8*, status: i64*, wide, batches, steps, batch_stride, step_stride,"
    " inner)",
    """\
        const i64 b = item / steps, t = item % steps, at = b * batch_stride;
        const i64 length = wide ? ((const GLOBAL i64 *)lengths)[b] : (i64)((const GLOBAL i32 *)lengths)[b];
        if (length < 0 || length > steps) {
            *status = 1;
            continue;
        }
        const i64 s = t < length ? length - 1 - t : t;
        ENTRY_run(x + at + s * step_stride, y + at + t * step_stride, inner);""",
    "batches * steps",
    RUN,
)
"""The first lengths[b] of the steps of batch b, each of ``inner`` bytes, in reverse; the others as they are."""
