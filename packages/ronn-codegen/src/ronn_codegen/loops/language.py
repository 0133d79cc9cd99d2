"""The loop language: what a kernel does to the elements of its arrays, without saying how a device does it.

A ``Loop`` runs over an index space of ``outer`` and then ``inner`` axes, outermost first. Dims, strides and addresses
are run-time parameters; the text holds only structure. Its sections run in order for each index of the outer axes:

* ``each``: once for every index of the inner axes. Reductions (``sum``, ``largest`` ...) combine over all of them, and
  give a *row value* that later sections use.
* ``row``: once. Computes with row values, loads and stores elements that do not depend on the inner axes.

A pointwise kernel is one ``each`` section without reductions. ``vector`` names the axis that vectors lie along: the
last ``inner`` axis, or the last ``outer`` one (then a row value is a vector of rows).

A stride is ``0`` (broadcast), ``1`` (elements side by side), ``%16`` (side by side, and again from the first after 16
elements; 4, 8 or 16) or ``s`` (a parameter, in elements). On other than the vector axis it is ``s``, unless it is ``0``
on every axis: a scalar.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from ronn.records import dataclass

BITS = {
    "f32": 32, "f64": 64, "f16": 16, "bf16": 16, "bool": 8,
    **{f"{sign}{bits}": bits for bits in (8, 16, 32, 64) for sign in "iu"},
}  # fmt: skip
FLOATS = frozenset({"f32", "f64"})
HALVES = frozenset({"f16", "bf16"})  # loaded, stored and cast, nothing else
INTEGERS = frozenset(f"{sign}{bits}" for bits in (8, 16, 32, 64) for sign in "iu")

PERIODS = (4, 8, 16)
"""What an operand may repeat after: the lengths of blocks of channels."""

# What each operation takes; the result has the type of the last operand, a comparison gives bool.
ELEMENTARY = frozenset({
    "exp", "log", "tanh", "erf", "sigmoid", "sin", "cos", "tan", "asin", "acos", "atan", "sinh", "cosh", "asinh",
    "acosh", "atanh", "expm1", "log1p",
})  # fmt: skip
UNARY = {
    **dict.fromkeys(ELEMENTARY, FLOATS),
    **dict.fromkeys(("sqrt", "floor", "ceil", "rint", "trunc", "isnan"), FLOATS),
    **dict.fromkeys(("neg", "abs"), FLOATS | INTEGERS),
    "not": INTEGERS | {"bool"},
}
BINARY = {
    **dict.fromkeys(("add", "sub", "mul", "div", "max", "min", "lt", "le"), FLOATS | INTEGERS),
    **dict.fromkeys(("eq", "ne"), FLOATS | INTEGERS | {"bool"}),
    **dict.fromkeys(("and", "or", "xor"), INTEGERS | {"bool"}),
    **dict.fromkeys(("shl", "shr", "rem"), INTEGERS),
    "pow": FLOATS,
    "copysign": FLOATS,
}
COMPARISONS = frozenset({"lt", "le", "eq", "ne", "isnan"})
TERNARY = frozenset({"select", "fma"})
# The position (over the inner axes, i64) of the extreme: the first one, or the last.
POSITIONS = frozenset({"argmax", "argmin", "lastmax", "lastmin"})
REDUCTIONS = {
    **dict.fromkeys(("sum", "prod", "largest", "smallest"), FLOATS | INTEGERS),
    "peak": FLOATS,  # the largest, NaN left out
    **dict.fromkeys(POSITIONS, FLOATS | INTEGERS),
}
LEAVES = frozenset({"load", "const", "index", "position", "count"})


class LoopError(ValueError):
    """A loop that breaks the rules of the language, or a text that does not parse."""


@dataclass(frozen=True, slots=True)
class Array:
    """An operand: its element type and its stride along each axis (``0``, ``1`` or ``s``)."""

    name: str
    dtype: str
    strides: tuple[str, ...]

    @property
    def period(self) -> int:
        """After how many elements it begins again along the vector axis; 0 when it does not."""
        return next((int(s[1:]) for s in self.strides if s[0] == "%"), 0)

    @property
    def is_scalar(self) -> bool:
        """Whether it is one element for the whole index space."""
        return all(s == "0" for s in self.strides)


class Instr(NamedTuple):
    """One instruction. ``result`` is its number, -1 for a store; ``args`` are numbers of results.

    ``array`` is what load and store touch; ``number`` is the value of const and the axis of index. ``position`` is the
    index over the inner axes as one, ``count`` how many they have.
    """

    result: int
    op: str
    dtype: str
    args: tuple[int, ...] = ()
    array: str = ""
    number: float | int | None = None


@dataclass(frozen=True, slots=True)
class Section:
    """``each`` or ``row``, and its instructions."""

    kind: str
    instrs: tuple[Instr, ...]


@dataclass(frozen=True, slots=True)
class Loop:
    """A kernel. ``str`` gives its text, which ``text.parse`` reads back."""

    outer: int
    inner: int
    vector: str
    arrays: tuple[Array, ...]
    sections: tuple[Section, ...]

    @property
    def rank(self) -> int:
        return self.outer + self.inner

    @property
    def vector_axis(self) -> int:
        return self.rank - 1 if self.vector == "inner" else self.outer - 1

    @property
    def reduces(self) -> bool:
        """Whether sections share row values: then a share of the work is a set of whole rows."""
        return len(self.sections) > 1 or any(i.op in REDUCTIONS for i in self.instrs())

    def instrs(self) -> Iterator[Instr]:
        """Every instruction in order."""
        for section in self.sections:
            yield from section.instrs

    def array(self, name: str) -> Array:
        """The array called ``name``."""
        for array in self.arrays:
            if array.name == name:
                return array
        raise LoopError(f"no array is called {name!r}")

    def stored(self) -> frozenset[str]:
        """Names of the arrays that are written."""
        return frozenset(i.array for i in self.instrs() if i.op == "store")

    def params(self) -> tuple[str, ...]:
        """Names of the run-time parameters: addresses, dims ``d0`` ..., then strides ``x_0`` ... that are ``s``."""
        strides = [f"{a.name}_{k}" for a in self.arrays for k, s in enumerate(a.strides) if s == "s"]
        return (*(a.name for a in self.arrays), *(f"d{k}" for k in range(self.rank)), *strides)

    def __str__(self) -> str:
        from ronn_codegen.loops.text import print_loop

        return print_loop(self)


def verify(loop: Loop) -> Loop:
    """``loop`` itself. LoopError, naming the instruction, when it breaks a rule."""
    if loop.vector not in ("inner", "outer") or (loop.inner if loop.vector == "inner" else loop.outer) < 1:
        raise LoopError(f"vectors lie along the last {loop.vector!r} axis, and there is none")
    if len({a.name for a in loop.arrays}) != len(loop.arrays):
        raise LoopError("two arrays have one name")
    for array in loop.arrays:
        _verify_array(loop, array)
    seen: dict[int, str] = {}
    for section in loop.sections:
        if section.kind not in ("each", "row"):
            raise LoopError(f"a section is 'each' or 'row', not {section.kind!r}")
        local: dict[int, str] = {}
        lasting: dict[int, str] = {}
        for instr in section.instrs:
            _verify_instr(loop, section.kind, instr, {**seen, **local})
            if instr.result in seen or instr.result in local or instr.result in lasting:
                raise LoopError(f"%{instr.result} is made twice")
            if instr.op in REDUCTIONS:
                lasting[instr.result] = instr.dtype
            elif instr.result >= 0:
                local[instr.result] = instr.dtype
        seen.update(lasting if section.kind == "each" else {**lasting, **local})
    return loop


def _verify_array(loop: Loop, array: Array) -> None:
    if array.dtype not in BITS:
        raise LoopError(f"{array.name} has no element type {array.dtype!r}")
    if len(array.strides) != loop.rank:
        raise LoopError(f"{array.name} has {len(array.strides)} strides for {loop.rank} axes")
    for axis, stride in enumerate(array.strides):
        allowed = ("0", "1", "s", *(f"%{n}" for n in PERIODS)) if axis == loop.vector_axis else ("s",)
        if stride not in allowed and not array.is_scalar:
            raise LoopError(f"{array.name} has stride {stride!r} along axis {axis}")


def _verify_instr(loop: Loop, kind: str, instr: Instr, known: dict[int, str]) -> None:
    def fail(why: str) -> LoopError:
        return LoopError(f"%{instr.result} = {instr.op}: {why}")

    for arg in instr.args:
        if arg not in known:
            raise fail(f"%{arg} is not known here")
    types = [known[a] for a in instr.args]
    op = instr.op
    if op in ("load", "store"):
        if loop.array(instr.array).dtype != (instr.dtype if op == "load" else types[0]):
            raise fail(f"{instr.array} holds {loop.array(instr.array).dtype}")
        return
    if op in LEAVES:
        if op != "const" and instr.dtype != "i64":
            raise fail("gives i64")
        if op == "position" and kind != "each":
            raise fail("stands in a row section")
        if op == "index" and not (isinstance(instr.number, int) and 0 <= instr.number < loop.rank):
            raise fail("names no axis")
        return
    if op == "cast":
        return
    if op == "bits":  # the same bits as another type of the same width
        if len(types) != 1 or BITS[types[0]] != BITS[instr.dtype] or "bool" in (types[0], instr.dtype):
            raise fail(f"does not take {', '.join(types)} to {instr.dtype}")
        return
    if op == "select":
        expected, arity, good = types[-1], 3, types[:2] == ["bool", types[-1]]
    elif op == "fma":
        expected, arity, good = types[-1], 3, set(types) <= FLOATS
    elif op in UNARY or op in REDUCTIONS:
        expected, arity, good = types[0], 1, types[0] in {**UNARY, **REDUCTIONS}[op]
        expected = "i64" if op in POSITIONS else expected
    elif op in BINARY:
        expected, arity, good = types[0], 2, types[0] in BINARY[op] and types[0] == types[-1]
    else:
        raise fail("no such operation")
    if op in REDUCTIONS and kind != "each":
        raise fail("stands in a row section")
    expected = "bool" if op in COMPARISONS else expected
    if len(types) != arity or not good or instr.dtype != expected:
        raise fail(f"does not take {', '.join(types)} to {instr.dtype}")
