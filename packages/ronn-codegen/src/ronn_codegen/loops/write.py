"""Writing loops: values with Python's operators, gathered section by section.

w = Writer(outer=0, inner=1)
x, y = w.array("x", "f32", "1"), w.array("y", "f32", "1")
with w.each():
    w.store(y, w.load(x) * 2.0)
loop = w.finish()
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from ronn_codegen.loops.language import (
    BITS,
    COMPARISONS,
    FLOATS,
    HALVES,
    POSITIONS,
    Array,
    Instr,
    Loop,
    LoopError,
    Section,
    verify,
)

Number = float | int | bool


class Value:
    """The result of an instruction: its number and its type. ``==`` and ``!=`` are identity; use ``eq`` and ``ne``."""

    __slots__ = ("dtype", "number", "op", "result", "writer")

    def __init__(self, writer: Writer, instr: Instr) -> None:
        self.writer, self.result, self.dtype = writer, instr.result, instr.dtype
        self.op, self.number = instr.op, instr.number

    @property
    def is_float(self) -> bool:
        return self.dtype in FLOATS

    def const(self, number: Number) -> Value:
        """A constant of the same type."""
        return self.writer.const(number, self.dtype)

    def do(self, op: str, *others: Value | Number) -> Value:
        """The instruction ``op`` on this and others; numbers become constants of this type."""
        args = [self, *(o if isinstance(o, Value) else self.const(o) for o in others)]
        if any(a.dtype != self.dtype for a in args):
            raise LoopError(f"{op} of {', '.join(a.dtype for a in args)}")
        return self.writer.emit(op, "bool" if op in COMPARISONS else self.dtype, args)

    def cast(self, dtype: str) -> Value:
        """Converted by value; integers wrap, floats to integers truncate."""
        return self if dtype == self.dtype else self.writer.emit("cast", dtype, [self])

    def bits(self, dtype: str) -> Value:
        """The same bits as another type of the same width."""
        return self.writer.emit("bits", dtype, [self])

    def __add__(self, other: Value | Number) -> Value:
        return self.do("add", other)

    def __radd__(self, other: Number) -> Value:
        return self.const(other).do("add", self)

    def __sub__(self, other: Value | Number) -> Value:
        return self.do("sub", other)

    def __rsub__(self, other: Number) -> Value:
        return self.const(other).do("sub", self)

    def __mul__(self, other: Value | Number) -> Value:
        return self.do("mul", other)

    def __rmul__(self, other: Number) -> Value:
        return self.const(other).do("mul", self)

    def __truediv__(self, other: Value | Number) -> Value:
        return self.do("div", other)

    def __rtruediv__(self, other: Number) -> Value:
        return self.const(other).do("div", self)

    def __neg__(self) -> Value:
        return self.do("neg")

    def __abs__(self) -> Value:
        return self.do("abs")

    def __and__(self, other: Value | Number) -> Value:
        return self.do("and", other)

    def __or__(self, other: Value | Number) -> Value:
        return self.do("or", other)

    def __xor__(self, other: Value | Number) -> Value:
        return self.do("xor", other)

    def __invert__(self) -> Value:
        return self.do("not")

    def __lt__(self, other: Value | Number) -> Value:
        return self.do("lt", other)

    def __le__(self, other: Value | Number) -> Value:
        return self.do("le", other)

    def __gt__(self, other: Value | Number) -> Value:
        return (other if isinstance(other, Value) else self.const(other)).do("lt", self)

    def __ge__(self, other: Value | Number) -> Value:
        return (other if isinstance(other, Value) else self.const(other)).do("le", self)

    def eq(self, other: Value | Number) -> Value:
        return self.do("eq", other)

    def ne(self, other: Value | Number) -> Value:
        return self.do("ne", other)

    def max(self, other: Value | Number) -> Value:
        """The larger, NaN where either is."""
        return self.do("max", other)

    def min(self, other: Value | Number) -> Value:
        """The smaller, NaN where either is."""
        return self.do("min", other)


def where(condition: Value, yes: Value | Number, no: Value | Number) -> Value:
    """``yes`` where the condition (bool) holds, else ``no``; at least one of them is a value."""
    like = yes if isinstance(yes, Value) else no
    if not isinstance(like, Value):
        raise TypeError("where takes at least one value")
    a, b = (x if isinstance(x, Value) else like.const(x) for x in (yes, no))
    if condition.dtype != "bool" or a.dtype != b.dtype:
        raise LoopError(f"where of {condition.dtype}, {a.dtype}, {b.dtype}")
    return condition.writer.emit("select", like.dtype, [condition, a, b])


class Writer:
    """Builds a ``Loop``. An instruction that the open section has already is not written twice."""

    def __init__(self, outer: int, inner: int, vector: str = "inner") -> None:
        self.outer, self.inner, self.vector = outer, inner, vector
        self._arrays: list[Array] = []
        self._types: dict[str, str] = {}
        self._sections: list[Section] = []
        self._open: list[Instr] | None = None
        self._known: dict[tuple[object, ...], Value] = {}
        self._next = 0

    def array(self, name: str, dtype: str, strides: Sequence[str] | str) -> str:
        """Declares an array; gives its name back."""
        self._arrays.append(Array(name, dtype, tuple(strides.split() if isinstance(strides, str) else strides)))
        return self.declare(name, dtype)

    def declare(self, name: str, dtype: str) -> str:
        """An array whose strides are not known yet; then only ``instructions`` gives the result."""
        self._types[name] = dtype
        return name

    @contextmanager
    def each(self) -> Iterator[None]:
        """Opens a section that runs for every index of the inner axes."""
        yield from self._section("each")

    @contextmanager
    def row(self) -> Iterator[None]:
        """Opens a section that runs once for each index of the outer axes."""
        yield from self._section("row")

    def _section(self, kind: str) -> Iterator[None]:
        self._open, self._known = [], {}
        yield
        self._sections.append(Section(kind, tuple(self._open)))
        self._open = None

    def emit(self, op: str, dtype: str, args: Sequence[Value], array: str = "", number: Number | None = None) -> Value:
        """Appends an instruction to the open section, or finds it there."""
        if self._open is None:
            raise RuntimeError("no section is open")
        numbers = tuple([a.result for a in args])
        key = (op, dtype, numbers, array, None if number is None else repr(number))
        known = self._known.get(key)
        if known is not None:
            return known
        instr = Instr(self._next, op, dtype, numbers, array, number)
        self._next += 1
        self._open.append(instr)
        made = self._known[key] = Value(self, instr)
        return made

    def load(self, array: str) -> Value:
        """The element of ``array`` at the current index."""
        return self.emit("load", self._types[array], [], array)

    def store(self, array: str, value: Value) -> None:
        """Writes the element of ``array`` at the current index."""
        if self._open is None:
            raise RuntimeError("no section is open")
        self._open.append(Instr(-1, "store", "", (value.result,), array))
        self._known = {k: v for k, v in self._known.items() if k[0] != "load" or k[3] != array}

    def const(self, number: Number, dtype: str) -> Value:
        """A constant, rounded to the type."""
        return self.emit("const", dtype, [], number=rounded(number, dtype))

    def index(self, axis: int) -> Value:
        """The current index along ``axis``, i64."""
        return self.emit("index", "i64", [], number=axis)

    def position(self) -> Value:
        """The current index over the inner axes as one, i64."""
        return self.emit("position", "i64", [])

    def count(self) -> Value:
        """How many indices the inner axes have, i64."""
        return self.emit("count", "i64", [])

    def reduce(self, op: str, value: Value) -> Value:
        """``value`` combined over the inner axes; to be used in later sections."""
        return self.emit(op, "i64" if op in POSITIONS else value.dtype, [value])

    def touched(self) -> tuple[dict[str, None], set[str], set[int]]:
        """The arrays that are loaded or stored, in order of first use; those that are stored; the results needed for
        that. What nothing uses is left out."""
        needed: set[int] = set()
        stored: set[str] = set()
        arrays: list[str] = []
        for section in reversed(self._sections):
            for i in reversed(section.instrs):
                if i.op == "store" or i.result in needed:
                    needed.update(i.args)
                    if i.array:
                        arrays.append(i.array)
                        if i.op == "store":
                            stored.add(i.array)
        return dict.fromkeys(reversed(arrays)), stored, needed

    def sections(
        self, needed: set[int], names: Mapping[str, str] | None = None, axes: Mapping[int, int] | None = None
    ) -> tuple[Section, ...]:
        """The sections with needed instructions only, numbered anew; arrays and axes renamed."""
        numbers: dict[int, int] = {}
        kept = []
        for section in self._sections:
            instrs = []
            for result, op, dtype, args, array, number in section.instrs:
                if op != "store":
                    if result not in needed:
                        continue
                    numbers[result] = result = len(numbers)
                    if axes is not None and op == "index":
                        number = axes[int(number or 0)]
                given = tuple([numbers[a] for a in args])
                instrs.append(
                    Instr(result, op, dtype, given, array if names is None or not array else names[array], number)
                )
            if instrs:
                kept.append(Section(section.kind, tuple(instrs)))
        return tuple(kept)

    def finish(self) -> Loop:
        """The loop, verified, with what nothing uses left out."""
        used, _, needed = self.touched()
        arrays = tuple(a for a in self._arrays if a.name in used)
        return verify(Loop(self.outer, self.inner, self.vector, arrays, self.sections(needed)))


def rounded(number: Number, dtype: str) -> Number:
    """``number`` as a constant of ``dtype``: what the type can hold, as a Python number."""
    if dtype == "bool":
        return bool(number)
    if dtype == "f32":
        try:
            return float(struct.unpack("<f", struct.pack("<f", float(number)))[0])
        except OverflowError:
            return float("inf") if number > 0 else float("-inf")
    if dtype == "f64" or dtype in HALVES:
        return float(number)
    bits = BITS[dtype]
    wrapped = int(number) & ((1 << bits) - 1)
    return wrapped - (1 << bits) if dtype.startswith("i") and wrapped >> (bits - 1) else wrapped
