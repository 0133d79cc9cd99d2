"""Loops whose sections share row values: a row by one work-item, or by several that combine parts in local memory.

A group is some rows times some *lanes*, the work-items of one row. Which of its dims are which hangs on the vector
axis: along ``inner`` the lanes lie side by side, along ``outer`` the rows do. The text holds for any of both.

Lanes take the elements of the last inner axis in turns: ``WIDTH`` side by side each, as many as a vector unit takes
at once, each with an accumulator of its own. Every section shares them out alike, so that a lane loads what it stored.
"""

from __future__ import annotations

from collections.abc import Sequence

from ronn_codegen.clike.kernel import Grid, Sizes, Target
from ronn_codegen.clike.render import space
from ronn_codegen.clike.render.pointwise import folded, position, power_of_two
from ronn_codegen.clike.render.reduction import Reduction
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import Term
from ronn_codegen.loops.language import BITS, REDUCTIONS, Array, Instr, Loop, Section

_LONG = 8  # elements (or vectors) that a lane takes at least, where a row has more lanes than one


def _parts(loop: Loop) -> dict[str, str]:
    """What lanes share: arrays in local memory and their types."""
    found = (Reduction.of(i, s) for s in loop.sections for i in s.instrs if i.op in REDUCTIONS)
    return {name: t for r in found for name, t in r.parts.items()}


def shared_by(loop: Loop, target: Target) -> int:
    """Work-items of a group at most: so many that their parts of reductions fit local memory. 1: nothing is shared."""
    each = sum(BITS[t] // 8 for t in _parts(loop).values())
    return power_of_two(target.group, min(target.group, target.local_bytes // each)) if each else target.group


def body(loop: Loop, target: Target) -> list[str]:
    """What one work-item does."""
    return _Rows(loop, target).write()


def grid(loop: Loop, sizes: Sizes, target: Target) -> Grid:
    """As many lanes as a long row pays for, and as many rows beside them as fill a group."""
    dims = [int(sizes[f"d{k}"]) for k in range(loop.rank)]
    most, width = shared_by(loop, target), width_of(loop, target)
    others = [d for k, d in enumerate(dims[: loop.outer]) if k != loop.vector_axis]
    rows = 1
    for d in others:
        rows *= d
    last = dims[-1] if loop.inner else 1
    if loop.vector == "inner":
        # Where work-items are vectors, one core runs all lanes: they would only be in each other's way.
        lanes = 1 if width > 1 else power_of_two(last // _LONG, most)
        beside = power_of_two(rows // target.compute_units, most // lanes)
        return Grid((1, *folded(-(-rows // beside))), (lanes, beside, 1))
    along = dims[loop.outer - 1]
    beside = power_of_two(along, most)
    lanes = power_of_two(last // _LONG, most // beside) if target.width == 1 else 1
    return Grid((max(-(-along // beside), 1), *folded(rows)), (beside, lanes, 1))


def width_of(loop: Loop, target: Target) -> int:
    """Elements that a lane takes at once."""
    return power_of_two(target.width, 64) if loop.vector == "inner" else 1


class _Rows:
    def __init__(self, loop: Loop, target: Target) -> None:
        self.loop, self.target = loop, target
        self.inner = list(range(loop.outer, loop.rank))
        self.width = width_of(loop, target)
        self.shared = shared_by(loop, target)
        self.side = 0 if loop.vector == "inner" else 1
        self.row_of = {a.name: f"{a.name}_row" for a in loop.arrays if self._outer_terms(a)}
        self.terms: dict[int, Term] = {}
        self.leaves: dict[object, str] = {k: space.index(k) for k in range(loop.rank)}
        self.leaves["count"] = f"({space.product(self.inner)})"
        self.leaves["position"] = position(self.inner)
        self.lines: list[str] = []

    def write(self) -> list[str]:
        self._places()
        stored: dict[str, str] = {}
        for section in self.loop.sections:
            loaded = {i.array for i in section.instrs if i.op == "load"}
            if self.shared > 1 and any(stored.get(a, section.kind) != section.kind for a in loaded):
                self.lines.append("BARRIER_ALL();")
                stored = {}
            self.lines.append(f"/* {'once a row' if section.kind == 'row' else 'each element of a row'} */")
            (self._row if section.kind == "row" else self._each)(section)
            stored.update({i.array: section.kind for i in section.instrs if i.op == "store"})
        return self.lines

    # --- which row, which lane

    def _places(self) -> None:
        loop, add = self.loop, self.lines.append
        others = [k for k in range(loop.outer) if k != loop.vector_axis]
        conditions = []
        if self.shared > 1:
            self.lines += self._local()
            add(f"const i64 lane = LOCAL_ID({self.side}), lanes = LOCAL_SIZE({self.side});")
        if loop.vector == "outer":
            at = space.index(loop.vector_axis)
            add(f"const i64 {at}_wanted = GLOBAL_ID(0);")
            add(f"const i64 {at} = {at}_wanted < d{loop.vector_axis} ? {at}_wanted : d{loop.vector_axis} - 1;")
            conditions.append(f"{at}_wanted == {at}")
            row = "GROUP_ID(2) * GROUPS(1) + GROUP_ID(1)"
        else:
            row = "GLOBAL_ID(2) * GLOBAL_SIZE(1) + GLOBAL_ID(1)"
        if others:
            add(f"const i64 wanted = {row}, rows = {space.product(others)};")
            add("const i64 row = wanted < rows ? wanted : rows - 1;")
            conditions.append("wanted == row")
            self.lines += space.unflatten("row", others)
        else:
            conditions.append(f"{row} == 0")
        if loop.outer:
            add(f"if ({space.product(range(loop.outer))} == 0)")
            add("    return;")
        add(f"const i32 live = {' && '.join(conditions)}; /* others only wait at barriers */")
        for array in loop.arrays:
            if array.name in self.row_of:
                add(f"const i64 {self.row_of[array.name]} = {' + '.join(self._outer_terms(array))};")

    def _local(self) -> list[str]:
        return [f"LOCAL {t} {name}[{self.shared}];" for name, t in _parts(self.loop).items()]

    def _outer_terms(self, array: Array) -> list[str]:
        if array.is_scalar:
            return []
        vector = self.loop.vector_axis
        terms = space.offset(array, [k for k in range(self.loop.outer) if k != vector])
        if self.loop.vector == "outer":
            terms.append(space.along(array, vector, space.index(vector)))
        return [t for t in terms if t]

    def _element(self, array: Array, inside: bool) -> str:
        """The element at the current index; of the first index of a row where not ``inside``."""
        terms = [self.row_of.get(array.name, "")]
        if inside and not array.is_scalar:
            *outside, last = self.inner
            terms += space.offset(array, outside)
            at = space.index(last)
            if self.loop.vector == "inner":
                terms.append(space.along(array, last, at))
            elif space.stride(array, last) != "0":
                terms.append(f"{at} * {space.stride(array, last)}")
        return space.element(array, *terms)

    # --- sections

    def _row(self, section: Section) -> None:
        elements = {a.name: self._element(a, False) for a in self.loop.arrays}
        made, self.terms = statements(section.instrs, elements, elements, self.terms, self.leaves)
        first = "live && lane == 0" if self.shared > 1 else "live"
        stores = {f"{elements[i.array]} = " for i in section.instrs if i.op == "store"}
        for line in made:
            if any(line.startswith(s) for s in stores):
                self.lines += [f"if ({first})", f"    {line}"]
            else:
                self.lines.append(line)

    def _each(self, section: Section) -> None:
        reductions = {i: Reduction.of(i, section) for i in section.instrs if i.op in REDUCTIONS}
        straight = [i for i in section.instrs if i.op not in REDUCTIONS]
        for reduction in reductions.values():
            self.lines += reduction.start(self.width)
        lines, before = self.lines, self.lines
        self.lines = lines = []
        self._elements(straight, reductions)
        depth = 1
        before.append("if (live)")
        for k in self.inner[:-1]:
            before.append(
                "    " * depth + f"for (i64 {space.index(k)} = 0; {space.index(k)} < d{k}; ++{space.index(k)})"
            )
            depth += 1
        before += ["    " * depth + line for line in lines]
        self.lines = before
        for instr, reduction in reductions.items():
            self.lines += reduction.combine(self.width, self.shared, self.side)
            self.terms[instr.result] = Term(reduction.name, instr.dtype)

    def _elements(self, straight: Sequence[Instr], reductions: dict[Instr, Reduction]) -> None:
        """The loop over the last inner axis."""
        last, w = self.inner[-1], self.width
        at = space.index(last)
        lane, lanes = ("lane", "lanes") if self.shared > 1 else ("0", "1")
        if w == 1:
            self.lines.append(f"for (i64 {at} = {lane}; {at} < d{last}; {at} += {lanes}) {{")
            self._one(straight, reductions, "", "    ")
        else:
            step = f"{lanes} * {w}" if self.shared > 1 else str(w)
            first = f"{lane} * {w}" if self.shared > 1 else "0"
            self.lines.append(f"for (i64 first = {first}; first < d{last}; first += {step}) {{")
            self.lines.append(f"    if (first + {w} <= d{last})")
            self.lines.append(f"        for (i32 u = 0; u < {w}; ++u) {{")
            self.lines.append(f"            const i64 {at} = first + u;")
            self._one(straight, reductions, "[u]", " " * 12)
            self.lines.append("        }")
            self.lines.append("    else")
            self.lines.append(f"        for (i64 {at} = first; {at} < d{last}; ++{at}) {{")
            self._one(straight, reductions, "[0]", " " * 12)
            self.lines.append("        }")
        self.lines.append("}")

    def _one(self, straight: Sequence[Instr], reductions: dict[Instr, Reduction], u: str, indent: str) -> None:
        elements = {a.name: self._element(a, True) for a in self.loop.arrays}
        made, terms = statements(straight, elements, elements, self.terms, self.leaves)
        for instr, reduction in reductions.items():
            made += reduction.take(terms[instr.args[0]].text, self.leaves["position"], u)
        self.lines += [indent + line for line in made]
