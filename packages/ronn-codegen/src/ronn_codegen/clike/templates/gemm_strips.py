"""Matrix products for devices with caches: Y = finish(A @ B) from registers, without local memory and barriers.

A work-item computes a tile of ``rows`` x ``Strip.columns`` sums, which it holds in vectors. B is read in panels of so
many columns: where it lies, if its rows are contiguous, or packed: ``[batch][panel][k][columns]``, zero beyond n.
Elements of A are read one by one, so that any strides will do.
"""

from __future__ import annotations

from functools import cache

import numpy as np

from ronn.cached import cached_property
from ronn.records import dataclass, replace
from ronn_codegen.clike.kernel import Grid, Param, Sizes, Target, Template, head
from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.clike.render.values import Term, c_type, cast
from ronn_codegen.clike.templates.gemm import Form, Operand, muladd, signature, size, with_functions
from ronn_codegen.native.declare import Signature

REGISTER = 32
"""Bytes of the vectors that are used: compilers of OpenCL split wider ones even where there are registers for them."""
MOST_STEPS = 128  # of k that one work-item packs


@dataclass(frozen=True)
class Strip:
    """rows x vectors of lanes."""

    rows: int
    vectors: int
    lanes: int

    @property
    def columns(self) -> int:
        return self.vectors * self.lanes


def strip_of(target: Target, kind: str, rows: int = 6) -> Strip:
    """The strip for sums of a kind, of at most so many rows."""
    vectors = target.dialect.vectors and target.width > 1
    lanes = REGISTER // size(kind) if vectors and kind in ("f32", "f64", "i32", "u32") else 1
    height = next(r for r in (6, 4, 2, 1) if r <= max(rows, 1))
    return Strip(min(height, 4), 4, 1) if lanes <= 1 else Strip(height, 2, lanes)


def wide(strip: Strip) -> Strip:
    """The strip for a B that is read where it lies: of few rows a wider one, so that more of a line is read at once."""
    return replace(strip, vectors={1: 8, 2: 4}.get(strip.rows, strip.vectors)) if strip.lanes > 1 else strip


@dataclass(frozen=True)
class StripProduct:
    """A product by work-items. The stored type of ``form.b`` is that of panels. ``packed``: they may be read as a whole
    (otherwise the last one only as far as there are columns)."""

    form: Form
    strip: Strip
    packed: bool

    @cached_property
    def params(self) -> tuple[Param, ...]:
        own = {"b_row": "b_step", "b_column": "b_panel"}
        return tuple(Param(own.get(p.name, p.name), p.kind) for p in self.form.params)

    @cached_property
    def signature(self) -> Signature:
        return signature("gemm_strips", self.params)

    @cached_property
    def text(self) -> str:
        return repr(self)

    def grid(self, sizes: Sizes, target: Target) -> Grid:
        m, n, batch = (int(sizes[s]) for s in ("m", "n", "batch"))
        return Grid((max(-(-m // self.strip.rows) * -(-n // self.strip.columns) * batch, 1), 1, 1))

    def source(self, entry: str, target: Target) -> str:
        s, form = self.strip, self.form
        rows = range(s.rows)
        zeros = "".join(f"    const i32 z{r} = a_zero[row{r} * a_zero_step];\n" for r in rows) if form.a.zero else ""
        whole = self._whole(target)
        if not self.packed:
            whole = f"    if (wide == COLUMNS) {{\n{whole}    }} else {{\n{self._part()}    }}\n"
        return with_functions(
            head(entry, self.params, target)
            + f"    enum {{ ROWS = {s.rows}, COLUMNS = {s.columns} }};\n"
            "    const i64 down = (m + ROWS - 1) / ROWS, across = (n + COLUMNS - 1) / COLUMNS;\n"
            "    const i64 group = GROUP_ID(0), e = group / (down * across);\n"
            "    const i64 i0 = group % down * ROWS, panel = group / down % across, j0 = panel * COLUMNS;\n"
            "    const i64 high = m - i0 < ROWS ? m - i0 : ROWS, wide = n - j0 < COLUMNS ? n - j0 : COLUMNS;\n"
            + form.offsets()
            + f"    const GLOBAL {c_type(form.b.stored)} *right = b + panel * b_panel;\n"
            + "".join(f"    const i64 row{r} = i0 + {r} < m ? i0 + {r} : m - 1;\n" for r in rows)
            + "".join(f"    const GLOBAL {c_type(form.a.stored)} *a{r} = a + row{r} * a_row;\n" for r in rows)
            + zeros
            + f"    {form.sums} sums[ROWS * COLUMNS];\n"
            + whole
            + "    for (i64 r = 0; r < high; r++) {\n"
            "        for (i64 c = 0; c < wide; c++) {\n"
            "            const i64 i = i0 + r, j = j0 + c;\n"
            + form.store("sums[r * COLUMNS + c]", " " * 12)
            + "\n        }\n    }\n}\n"
        )  # fmt: skip

    def _left(self, r: int) -> str:
        """The element of row r at step p, as it is multiplied."""
        form, place = self.form, f"a{r}[p * a_column]"
        if form.a.zero:
            return f"({form.sums})((i32){place} - z{r})"
        return cast(Term(place, form.a.stored), form.sums)

    def _whole(self, target: Target) -> str:
        """Sums of whole vectors."""
        s, sums, b = self.strip, self.form.sums, self.form.b.stored
        vector = sums if s.lanes == 1 else f"{sums}x{s.lanes}"
        zero = "0" if s.lanes == 1 else f"SPLAT_{vector}(0)"
        lines = [
            f"    {vector} " + ", ".join(f"s{r}_{c} = {zero}" for c in range(s.vectors)) + ";" for r in range(s.rows)
        ]
        lines.append("    for (i64 p = 0; p < k; p++) {")
        for c in range(s.vectors):
            place = f"right + p * b_step + {c * s.lanes}"
            if s.lanes == 1:
                value = f"*({place})" if b == sums else f"({sums})*({place})"
            else:
                value = f"LOAD_{vector}({place})" if b == sums else f"LOAD_{vector}_{b}({place})"
            lines.append(f"        const {vector} b{c} = {value};")
        for r in range(s.rows):
            value = self._left(r) if s.lanes == 1 else f"SPLAT_{vector}({self._left(r)})"
            lines.append(f"        const {vector} x{r} = {value};")
            lines += [f"        s{r}_{c} = {muladd(sums, f'x{r}', f'b{c}', f's{r}_{c}')};" for c in range(s.vectors)]
        lines.append("    }")
        for r in range(s.rows):
            for c in range(s.vectors):
                at = f"sums + {r * s.columns + c * s.lanes}"
                lines.append(f"    *({at}) = s{r}_{c};" if s.lanes == 1 else f"    STORE_{vector}({at}, s{r}_{c});")
        return "".join(f"{line}\n" for line in lines)

    def _part(self) -> str:
        """Sums of fewer columns than the strip has, one by one."""
        sums = self.form.sums
        cast = "" if self.form.b.stored == sums else f"({sums})"
        lines = [
            "        for (i64 c = 0; c < wide; c++) {",
            f"            {sums} " + ", ".join(f"t{r} = 0" for r in range(self.strip.rows)) + ";",
            "            for (i64 p = 0; p < k; p++) {",
            f"                const {sums} one = {cast}right[p * b_step + c];",
        ]
        lines += [
            f"                t{r} = {muladd(sums, self._left(r), 'one', f't{r}')};" for r in range(self.strip.rows)
        ]
        lines.append("            }")
        lines += [f"            sums[{r} * COLUMNS + c] = t{r};" for r in range(self.strip.rows)]
        lines.append("        }")
        return "".join(f"{line}\n" for line in lines)


def same(stored: str, sums: str) -> bool:
    """Whether elements are multiplied as they are stored: integers that wrap have no sign."""
    return stored == sums or (stored[0] in "iu" and sums[0] == "u" and stored[1:] == sums[1:])


@cache
def pack(operand: Operand, columns: int) -> Template:
    """The kernel that packs B: b[count, k, n] by strides, number ``e`` at ``offsets[e]``, to panels of ``columns``."""
    zero = "b_zero[j * b_zero_step]"
    value = operand.load("row[c * b_column]", zero)
    extra = f", b_zero: {operand.stored}*, b_zero_step" if operand.zero else ""
    body = f"""
        const i64 parts = (k + {MOST_STEPS - 1}) / {MOST_STEPS}, across = (n + {columns - 1}) / {columns};
        const i64 from = item % parts * {MOST_STEPS}, panel = item / parts % across, e = item / (parts * across);
        const i64 to = from + {MOST_STEPS} < k ? from + {MOST_STEPS} : k, j0 = panel * {columns};
        const i64 wide = n - j0 < {columns} ? n - j0 : {columns};
        GLOBAL {operand.staged} *line = packed + ((e * across + panel) * k + from) * {columns};
        for (i64 p = from; p < to; p++, line += {columns}) {{
            const GLOBAL {c_type(operand.stored)} *row = b + offsets[e] + p * b_row + j0 * b_column;
            for (i64 c = 0; c < {columns}; c++) {{
                const i64 j = j0 + c;
                line[c] = c < wide ? {value} : 0;
            }}
        }}"""
    return Template(
        functions=functions_in(body),
        form=f"gemm_pack(k, n, count, offsets: i64*, b: {operand.stored}*, b_row, b_column{extra},"
        f" packed: {operand.staged}*)",
        body=body,
        over=f"count * ((n + {columns - 1}) / {columns}) * ((k + {MOST_STEPS - 1}) / {MOST_STEPS})",
    )


@cache
def widen(stored: str) -> Template:
    """The kernel that makes float32 of float16 or bfloat16."""
    body = f"        y[item] = {cast(Term('x[item]', stored), 'f32')};"
    return Template(f"gemm_widen(x: {stored}*, y: f32*, n)", body, over="n", functions=functions_in(body))


def packed(b: np.ndarray, columns: int) -> np.ndarray:
    """B[count, k, n] in panels: [count, panels, k, columns]."""
    count, k, n = b.shape
    panels = -(-n // columns)
    made = np.zeros((count, k, panels * columns), b.dtype)
    made[:, :, :n] = b
    return np.ascontiguousarray(made.reshape(count, k, panels, columns).transpose(0, 2, 1, 3))
