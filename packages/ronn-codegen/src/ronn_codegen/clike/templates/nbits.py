"""Products of float32 rows with block-quantised weights of 4 or 8 bits, which become float32 in registers.

The weights are laid out as ``ronn_codegen.templates.nbits_pack`` says. A work-item takes a few columns of a few rows:
value after value is shifted out of the words of its columns and scaled with ``scale * q + offset`` of its block.
"""

from __future__ import annotations

from functools import partial

from ronn_codegen.clike.kernel import Target, Template

ROWS = 4
"""Rows that a work-item takes."""


def columns_of(target: Target) -> int:
    """Columns of a panel: a vector that one work-item takes, or one for each of as many work-items."""
    return 8 if target.width > 1 else 32


def _constants(target: Target, rows: int) -> dict[str, int]:
    return {"COLUMNS": columns_of(target), "UNITS": 8 if target.width > 1 else 1, "ROWS": rows}


def _nbits(bits: int, rows: int) -> Template:
    """y[m, n] = a[m, blocks * block] @ weights + bias; ``a_row`` bytes between rows, bias padded to whole panels."""
    name = f"nbits{bits}_f32" if rows == ROWS else f"nbits{bits}_one_f32"
    return Template(
        f"{name}(a: f32*, m, blocks, block, n, packed: i32*, bias: f32*, y: f32*, a_row)",
        f"""
        const i64 parts = (n + COLUMNS - 1) / COLUMNS * (COLUMNS / UNITS), first = item / parts * ROWS;
        const i64 at = item % parts * UNITS, words = block / {32 // bits}, last = m - 1;
        const GLOBAL u32 *own = (const GLOBAL u32 *)packed + at / COLUMNS * blocks * (2 + words) * COLUMNS;
        f32 sums[ROWS * UNITS], scales[UNITS], offsets[UNITS], values[UNITS];
        own += at % COLUMNS;
        for (int r = 0; r < ROWS; r++)
            for (int j = 0; j < UNITS; j++)
                sums[r * UNITS + j] = bias[at + j];
        for (i64 number = 0; number < blocks; number++) {{
            for (int j = 0; j < UNITS; j++) {{
                scales[j] = AS_F32(own[j]);
                offsets[j] = AS_F32(own[COLUMNS + j]);
            }}
            own += 2 * COLUMNS;
            for (i64 w = 0; w < words; w++, own += COLUMNS)
                for (int i = 0; i < {32 // bits}; i++) {{
                    const i64 k = number * block + {32 // bits} * w + i;
                    for (int j = 0; j < UNITS; j++)
                        values[j] = (f32)(i32)(own[j] >> ({bits} * i) & {(1 << bits) - 1}u) * scales[j] + offsets[j];
                    for (int r = 0; r < ROWS; r++) {{
                        const f32 element = a[(first + r < last ? first + r : last) * (a_row / 4) + k];
                        for (int j = 0; j < UNITS; j++)
                            sums[r * UNITS + j] += element * values[j];
                    }}
                }}
        }}
        for (int r = 0; r < ROWS && first + r < m; r++)
            for (int j = 0; j < UNITS && at + j < n; j++)
                y[(first + r) * n + at + j] = sums[r * UNITS + j];
""",
        over="(m + ROWS - 1) / ROWS * ((n + COLUMNS - 1) / COLUMNS * (COLUMNS / UNITS))",
        constants=partial(_constants, rows=rows),
    )


NBITS4, NBITS8, NBITS4_ONE, NBITS8_ONE = (_nbits(bits, rows) for rows in (ROWS, 1) for bits in (4, 8))
