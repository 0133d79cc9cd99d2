"""What the ways of walking over rows have in common."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.render import space
from ronn_codegen.clike.render.pointwise import position
from ronn_codegen.clike.render.reduction import Reduction
from ronn_codegen.clike.render.statements import statements
from ronn_codegen.clike.render.values import Term
from ronn_codegen.loops.language import REDUCTIONS, Array, Instr, Loop, Section


class Walk:
    """Writes the sections of a loop for one work-item; ``lines`` is the text so far."""

    def __init__(self, loop: Loop, target: Target) -> None:
        self.loop, self.target = loop, target
        self.inner = list(range(loop.outer, loop.rank))
        self.others = [k for k in range(loop.outer) if k != loop.vector_axis]
        self.row_of = {a.name: f"{a.name}_row" for a in loop.arrays if self.row_terms(a)}
        self.terms: dict[int, Term] = {}
        self.leaves: dict[object, str] = {k: space.index(k) for k in range(loop.rank)}
        self.leaves["count"] = f"({space.product(self.inner)})"
        self.leaves["position"] = position(self.inner)
        self.lines: list[str] = []

    def add(self, *lines: str, indent: int = 0) -> None:
        self.lines += ["    " * indent + line for line in lines]

    def write(self) -> list[str]:
        """All of the body."""
        raise NotImplementedError(f"{type(self).__name__}.write")

    def row_terms(self, array: Array) -> Sequence[str]:
        """The terms of where a row begins in an array."""
        return [] if array.is_scalar else space.offset(array, self.others)

    def rows_begin(self) -> None:
        """Declares where the row begins in each array."""
        for array in self.loop.arrays:
            if array.name in self.row_of:
                self.add(f"const i64 {self.row_of[array.name]} = {' + '.join(self.row_terms(array))};")

    def element(self, array: Array, inside: bool) -> str:
        """The element at the current index; of the first index of a row where not ``inside``."""
        terms = [self.row_of.get(array.name, "")]
        if inside and not array.is_scalar and self.inner:
            *outside, last = self.inner
            terms += space.offset(array, outside)
            if self.loop.vector == "inner":
                terms.append(space.along(array, last, space.index(last)))
            else:
                terms += space.offset(array, [last])
        return space.element(array, *terms)

    def elements(self, inside: bool) -> dict[str, str]:
        return {a.name: self.element(a, inside) for a in self.loop.arrays}

    def reductions(self, section: Section) -> dict[Instr, Reduction]:
        return {i: Reduction.of(i, section) for i in section.instrs if i.op in REDUCTIONS}

    def one(self, section: Section, reductions: dict[Instr, Reduction], u: str, indent: int) -> None:
        """One element: the statements, and what reductions take into the accumulator ``u``."""
        at = self.elements(True)
        straight = (i for i in section.instrs if i.op not in REDUCTIONS)
        made, terms = statements(straight, at, at, self.terms, self.leaves)
        for instr, reduction in reductions.items():
            made += reduction.take(terms[instr.args[0]].text, self.leaves["position"], u)
        self.add(*made, indent=indent)

    def loops(self, axes: Iterable[int], indent: int = 0) -> int:
        """Opens loops over axes, one in another; gives how deep that is."""
        for k in axes:
            i = space.index(k)
            self.add(f"for (i64 {i} = 0; {i} < d{k}; ++{i})", indent=indent)
            indent += 1
        return indent
