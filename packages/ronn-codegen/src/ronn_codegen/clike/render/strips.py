"""Rows by work-items with vectors: each goes over its rows alone, ``width`` elements at once along the vector axis.

Along ``inner`` these are neighbours in a row, with an accumulator each; along ``outer`` they are neighbouring rows, and
row values are arrays. Loops of a fixed number of steps without dependences become vectors in the compiler.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.render import space
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import Term, c_type
from ronn_codegen.clike.render.walk import Walk
from ronn_codegen.loops.language import Array, Instr, Loop, Section


def width_of(target: Target) -> int:
    """Elements that a work-item takes at once: a power of two."""
    return 1 << (min(target.width, 64).bit_length() - 1)


class Strips(Walk):
    """The text for one work-item."""

    def __init__(self, loop: Loop, target: Target) -> None:
        super().__init__(loop, target)
        self.width = width_of(target)
        self.along_rows = loop.vector == "outer"

    def write(self) -> list[str]:
        self._places()
        for number, section in enumerate(self.loop.sections):
            if section.kind == "row":
                self.add("/* once a row */")
                self._row(section, [i for s in self.loop.sections[number + 1 :] for i in s.instrs])
            else:
                self.add("/* each element of a row */")
                self._each(section)
        return self.lines

    def _places(self) -> None:
        ends, w = [], self.width
        if self.along_rows:
            vector = self.loop.vector_axis
            self.add(f"const i64 first = GLOBAL_ID(0) * {w};")
            ends.append(f"first >= d{vector}")
        if self.others:
            self.add("const i64 row = GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1);")
            self.add(*space.unflatten("row", self.others))
            ends.append(space.beyond(self.others))
        if ends:
            self.add(f"if ({' || '.join(ends)})", "    return;")
        if self.along_rows:
            self.add(f"const i32 rows = d{vector} - first < {w} ? (i32)(d{vector} - first) : {w};")
        self.rows_begin()

    def element(self, array: Array, inside: bool) -> str:
        text = super().element(array, inside)
        vector = self.loop.vector_axis
        if not self.along_rows or array.is_scalar or array.strides[vector] == "0":
            return text
        more = space.along(array, vector, space.index(vector))
        return f"{array.name}[{more}]" if text.endswith("[0]") else f"{text[:-1]} + {more}]"

    def _row(self, section: Section, later: list[Instr]) -> None:
        at = self.elements(False)
        if not self.along_rows:
            made, self.terms = statements(section.instrs, at, at, self.terms, self.leaves)
            self.add(*made)
            return
        used = {a for i in later for a in i.args}
        lasting = [i for i in section.instrs if i.result in used]
        made, terms = statements(section.instrs, at, at, self.terms, self.leaves)
        kept = [i for i in lasting if terms[i.result].text == f"v{i.result}"]
        self.add(*(f"{c_type(i.dtype)} v{i.result}_of[{self.width}];" for i in kept))
        self.add("for (i32 u = 0; u < rows; ++u) {")
        self._at_row(1)
        self.add(*made, *(f"v{i.result}_of[u] = v{i.result};" for i in kept), indent=1)
        self.add("}")
        for i in lasting:
            self.terms[i.result] = Term(f"v{i.result}_of[u]", i.dtype) if i in kept else terms[i.result]

    def _at_row(self, indent: int) -> None:
        self.add(f"const i64 {space.index(self.loop.vector_axis)} = first + u;", indent=indent)

    def _each(self, section: Section) -> None:
        reductions = self.reductions(section)
        for reduction in reductions.values():
            self.add(*reduction.start(self.width))
        w = self.width
        if self.along_rows:
            depth = self.loops(self.inner)
            for condition, end in ((f"if (rows == {w})", w), ("else", "rows")):
                self.add(condition, f"    for (i32 u = 0; u < {end}; ++u) {{", indent=depth)
                self._at_row(depth + 2)
                self.one(section, reductions, "[u]", depth + 2)
                self.add("    }", indent=depth)
            for instr, reduction in reductions.items():
                self.terms[instr.result] = Term(f"{reduction.name}_of[u]", instr.dtype)
            return
        *outside, last = self.inner
        i, depth = space.index(last), self.loops(outside)
        self.add(f"for (i64 first = 0; first < d{last}; first += {w})", indent=depth)
        self.add(f"if (first + {w} <= d{last})", f"    for (i32 u = 0; u < {w}; ++u) {{", indent=depth + 1)
        self.add(f"const i64 {i} = first + u;", indent=depth + 3)
        self.one(section, reductions, "[u]", depth + 3)
        self.add("    }", "else", f"    for (i64 {i} = first; {i} < d{last}; ++{i}) {{", indent=depth + 1)
        self.one(section, reductions, "[0]", depth + 3)
        self.add("    }", indent=depth + 1)
        for instr, reduction in reductions.items():
            self.add(*reduction.across(w))
            self.terms[instr.result] = Term(reduction.name, instr.dtype)
