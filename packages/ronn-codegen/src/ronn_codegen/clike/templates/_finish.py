"""What a kernel does to a sum before it is stored: an expression of the loop language, as C."""

from __future__ import annotations

from collections.abc import Callable

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Param
from ronn_codegen.loops.language import HALVES, Instr
from ronn_codegen.loops.write import Value, Writer


@dataclass(frozen=True)
class Finish:
    """A finish as structure: it loads ``sum``, elements of ``arrays`` and ``numbers`` (run-time parameters) by their
    names, and stores ``y``. ``sums``: the type of sums in the loop language."""

    sums: str
    arrays: tuple[Param, ...]
    numbers: tuple[Param, ...]
    instrs: tuple[Instr, ...]


class Loads:
    """What a finish may load beside the sum."""

    def __init__(self, writer: Writer) -> None:
        self._writer = writer
        self.arrays: list[Param] = []
        self.numbers: list[Param] = []

    def array(self, name: str, kind: str) -> Value:
        """The element of an array of ``kind`` that belongs to the sum; float16 and bfloat16 widened."""
        self.arrays.append(Param(name, f"{kind}*"))
        found = self._writer.load(self._writer.declare(name, kind))
        return found.cast("f32") if kind in HALVES else found

    def number(self, name: str, kind: str) -> Value:
        """A run-time parameter of kind f32, f64 or i64."""
        self.numbers.append(Param(name, kind))
        return self._writer.load(self._writer.declare(name, kind))


def finish(sums: str, kind: str, make: Callable[[Value, Loads], Value]) -> Finish:
    """The finish that stores ``make(sum, loads)`` as an element of ``kind``; sums are of type ``sums``."""
    writer = Writer(0, 1)
    loads = Loads(writer)
    with writer.each():
        made = make(writer.load(writer.declare("sum", sums)), loads)
        writer.store(writer.declare("y", kind), made.cast(kind))
    used, _, needed = writer.touched()
    (section,) = writer.sections(needed)
    return Finish(
        sums,
        tuple([p for p in loads.arrays if p.name in used]),
        tuple([p for p in loads.numbers if p.name in used]),
        section.instrs,
    )
