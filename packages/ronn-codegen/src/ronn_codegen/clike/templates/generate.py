"""Tensors that are mostly a constant, as ``ronn_codegen.templates.generate`` does: triangles, one-hot vectors."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.templates._move import ONE, RUN

trilu = Template(
    "trilu(x: u8*, y: u8*, zeros: u8*, k: i64*, upper, size, batches, rows, columns)",
    """\
        const i64 given = *k;
        const i64 shift = given < -rows - 1 ? -rows - 1 : given > columns + 1 ? columns + 1 : given;
        i64 edge = item % rows + shift + (upper ? 0 : 1); /* the lower triangle holds the diagonal k too */
        edge = (edge < 0 ? 0 : edge > columns ? columns : edge) * size;
        const i64 at = item * columns * size;
        ENTRY_run(upper ? zeros : x + at, y + at, edge);
        ENTRY_run((upper ? x + at : zeros) + edge, y + at + edge, columns * size - edge);""",
    "batches * rows",
    RUN,
)
"""The upper (else lower) triangle of x[batches, rows, columns] from the diagonal k on."""

one_hot = Template(
    "one_hot(indices: u8*, values: u8*, y: u8*, kind, size, outer, depth, inner)",
    """\
        i64 found;
        if (kind == 2) {
            const f32 exact = ((const GLOBAL f32 *)indices)[item];
            if (!(exact >= -(f32)depth && exact < (f32)depth)) continue;
            found = (i64)exact;
            if ((f32)found != exact) continue;
        } else {
            found = kind == 1 ? ((const GLOBAL i64 *)indices)[item] : (i64)((const GLOBAL i32 *)indices)[item];
        }
        if (found < 0) found += depth;
        if (found >= 0 && found < depth)
            ENTRY_one(size, values + size, y + ((item / inner * depth + found) * inner + item % inner) * size);""",
    "outer * inner",
    RUN + ONE,
)
"""y[outer, index, inner] is values[1] for each of indices[outer, inner]; one out of range is left out."""
