"""Rows by the work-items of a group, its *lanes*, which combine their parts in local memory; or by one lane each.

A group is some rows times some lanes. Along ``inner`` the lanes lie side by side, along ``outer`` the rows do. The text
holds for any of both. Lanes take the elements of the last inner axis in turns, in every section alike, so that a lane
loads what it stored.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.render import space
from ronn_codegen.clike.render.reduction import Reduction
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import Term
from ronn_codegen.clike.render.walk import Walk
from ronn_codegen.loops.language import BITS, REDUCTIONS, Array, Loop, Section


def parts_of(loop: Loop) -> dict[str, str]:
    """What lanes share: arrays in local memory and their types."""
    found = (Reduction.of(i, s) for s in loop.sections for i in s.instrs if i.op in REDUCTIONS)
    return {name: t for r in found for name, t in r.parts.items()}


def shared_by(loop: Loop, target: Target) -> int:
    """Work-items of a group at most: so many that their parts of reductions fit local memory. 1: nothing is shared."""
    each = sum(BITS[t] // 8 for t in parts_of(loop).values())
    return max(min(target.group, target.local_bytes // each if each else target.group), 1)


class Lanes(Walk):
    """The text for one work-item."""

    def __init__(self, loop: Loop, target: Target) -> None:
        super().__init__(loop, target)
        self.shared = shared_by(loop, target)
        self.side = 0 if loop.vector == "inner" else 1
        self.first = "live && lane == 0" if self.shared > 1 else "live"  # what one work-item of a row does

    def write(self) -> list[str]:
        self._places()
        stored: dict[str, str] = {}
        for section in self.loop.sections:
            loaded = {i.array for i in section.instrs if i.op == "load"}
            if self.shared > 1 and any(stored.get(a, section.kind) != section.kind for a in loaded):
                self.add("BARRIER_ALL();")
                stored = {}
            self.add(f"/* {'once a row' if section.kind == 'row' else 'each element of a row'} */")
            (self._row if section.kind == "row" else self._each)(section)
            stored.update({i.array: section.kind for i in section.instrs if i.op == "store"})
        return self.lines

    def _places(self) -> None:
        conditions, vector = [], self.loop.vector_axis
        if self.shared > 1:
            self.add(*(f"LOCAL {t} {name}[{self.shared}];" for name, t in parts_of(self.loop).items()))
            self.add(f"const i64 lane = LOCAL_ID({self.side}), lanes = LOCAL_SIZE({self.side});")
        row = "GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1)"
        if self.side == 1:
            at = space.index(vector)
            self.add(f"const i64 {at}_wanted = GLOBAL_ID(0);")
            self.add(f"const i64 {at} = {at}_wanted < d{vector} ? {at}_wanted : d{vector} - 1;")
            conditions.append(f"{at}_wanted == {at}")
            row = "GROUP_ID(2) * GROUPS(1) + GROUP_ID(1)"
        if self.others:
            self.add(f"const i64 wanted = {row}, rows = {space.product(self.others)};")
            self.add("const i64 row = wanted < rows ? wanted : rows - 1;")
            conditions.append("wanted == row")
        else:
            conditions.append(f"{row} == 0")
        if self.loop.outer:
            self.add(f"if ({space.product(range(self.loop.outer))} == 0)", "    return;")
        if self.others:
            self.add(*space.unflatten("row", self.others))
        self.add(f"const i32 live = {' && '.join(conditions)}; /* others only wait at barriers */")
        self.rows_begin()

    def row_terms(self, array: Array) -> list[str]:
        terms = list(super().row_terms(array))
        if self.loop.vector == "outer" and not array.is_scalar:
            vector = self.loop.vector_axis
            terms.append(space.along(array, vector, space.index(vector)))
        return [t for t in terms if t]

    def _row(self, section: Section) -> None:
        at = self.elements(False)
        stores = {name: f"if ({self.first}) {text}" for name, text in at.items()}
        made, self.terms = statements(section.instrs, at, stores, self.terms, self.leaves)
        self.add(*made)

    def _each(self, section: Section) -> None:
        reductions = self.reductions(section)
        for reduction in reductions.values():
            self.add(*reduction.start(1))
        if self.inner:
            *outside, last = self.inner
            lane, lanes = ("lane", "lanes") if self.shared > 1 else ("0", "1")
            i = space.index(last)
            self.add("if (live)")
            depth = self.loops(outside, 1)
            self.add(f"for (i64 {i} = {lane}; {i} < d{last}; {i} += {lanes}) {{", indent=depth)
        else:  # a row is one element
            depth = 0
            self.add(f"if ({self.first}) {{")
        self.one(section, reductions, "", depth + 1)
        self.add("}", indent=depth)
        for instr, reduction in reductions.items():
            if self.shared > 1:
                self.add(*reduction.combine(self.side))
            self.terms[instr.result] = Term(reduction.name, instr.dtype)
