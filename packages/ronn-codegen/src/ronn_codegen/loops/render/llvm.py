"""Prints a loop as an LLVM module: explicit vectors, masked tails, several vectors at a time.

Every entry point is ``void kernel(const int64 *block, int64 worker, int64 workers)``. The index space is cut along
outer axes, or along the vector axis where there are few rows: never through a reduction, so any number of workers gives
the same bits.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir

from ronn_codegen.loops.language import BITS, ELEMENTARY, Array, Instr, Loop, Section
from ronn_codegen.loops.render.flow import Flow, Word, word
from ronn_codegen.loops.render.memory import Memory
from ronn_codegen.loops.render.reduce import Reduction
from ronn_codegen.loops.render.values import Values, lane
from ronn_codegen.simd.emit import I64, Lanes, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.vectors import Vector

ENTRY = "kernel"
Group = list[Vector]
"""The values of one instruction for the vectors that are worked on together."""

_HEAVY = ELEMENTARY | {"pow", "div", "rem"}


def render(loop: Loop, target: Target) -> Any:
    """An llvmlite IR module with the function ``kernel``."""
    module = ir.Module(ENTRY)
    _Renderer(loop, target, module).run()
    return module


def lanes_of(loop: Loop, target: Target) -> int:
    """Lanes that fill a vector with the widest type that the loop computes with."""
    bits = [BITS[a.dtype] for a in loop.arrays]
    bits += [BITS[i.dtype] for i in loop.instrs() if i.dtype and i.dtype != "bool"]
    periods = [a.period for a in loop.arrays if a.period]
    return min([target.lanes(max(bits)), *periods])


class _Renderer:
    def __init__(self, loop: Loop, target: Target, module: Any) -> None:
        self.loop, self.target = loop, target
        self.lanes = lanes_of(loop, target)
        self.flow = Flow(module, ENTRY)
        self.memory = Memory(self.flow, target, self.lanes)
        self.ops = Values(target)
        self.stored = loop.stored()
        self.masked = all(target.masked(BITS[a.dtype]) for a in loop.arrays)
        self.rows: dict[int, Group] = {}  # row values
        self.hoisted: dict[str, Vector] = {}
        params = {name: self.flow.param(i) for i, name in enumerate(loop.params())}
        self.base = {a.name: self.memory.pointer(params[a.name]) for a in loop.arrays}
        self.dims = [params[f"d{k}"] for k in range(loop.rank)]
        self.strides = {
            (a.name, k): params[f"{a.name}_{k}"] if s == "s" else word(int(s == "1"))
            for a in loop.arrays
            for k, s in enumerate(a.strides)
        }
        self.index: dict[int, Word] = {}
        self.position: Callable[[int], Vector]
        self.inner_axes = range(loop.outer, loop.rank)

    def run(self) -> None:
        loop, flow = self.loop, self.flow
        for array in loop.arrays:
            if array.is_scalar and array.name not in self.stored:
                self.hoisted[array.name] = self.memory.broadcast(self.base[array.name], array.dtype, word(0))
        axes = [k for k in range(loop.outer) if k != loop.vector_axis]
        rows = word(1)
        for k in axes:
            rows = flow.b.mul(rows, self.dims[k])
        if loop.vector == "inner" and loop.reduces:
            low, high = word(0), self.dims[loop.vector_axis]
            first, last = flow.share(rows)
        else:
            first, last, low, high = self._split(rows, self.dims[loop.vector_axis])
        self._each_row(axes, first, last, lambda offsets: self._row(offsets, low, high))
        flow.finish()

    def _split(self, rows: Word, n: Word) -> tuple[Word, Word, Word, Word]:
        """Whole rows for each worker where there are many, else a slice of every row (in multiples of 64)."""
        flow, b = self.flow, self.flow.b
        block = b.and_(b.add(b.sdiv(b.add(n, b.sub(flow.workers, word(1))), flow.workers), word(63)), word(-64))
        low = flow.smaller(n, b.mul(block, flow.worker))
        high = flow.smaller(n, b.add(low, block))
        first, last = flow.share(rows)
        whole = b.icmp_signed(">=", rows, b.mul(flow.workers, word(4)))
        whole = b.or_(whole, b.icmp_signed("<", n, b.mul(flow.workers, word(64))))
        pick = b.select
        return (
            pick(whole, first, word(0)), pick(whole, last, rows), pick(whole, word(0), low), pick(whole, n, high),
        )  # fmt: skip

    # --- outer axes

    def _each_row(self, axes: list[int], first: Word, last: Word, emit: Callable[[dict[str, Word]], None]) -> None:
        """Walks rows ``first`` to ``last`` of the index space of ``axes``, with the offset of each array."""
        flow, b = self.flow, self.flow.b
        if not axes:
            with flow.when(b.icmp_signed("<", first, last)):
                emit({a.name: word(0) for a in self.loop.arrays})
            return
        arrays = [a for a in self.loop.arrays if not a.is_scalar]
        places = {k: flow.variable(I64) for k in axes}
        offsets = {a.name: flow.variable(I64) for a in arrays}
        rest = first
        start = dict.fromkeys(offsets, word(0))
        for k in reversed(axes):
            at = rest if k == axes[0] else b.srem(rest, self._positive(k))
            rest = b.sdiv(rest, self._positive(k)) if k != axes[0] else rest
            flow.set(places[k], at)
            start = {n: b.add(o, b.mul(at, self.strides[n, k])) for n, o in start.items()}
        for name, offset in start.items():
            flow.set(offsets[name], offset)
        with flow.counted(first, last):
            for k in axes:
                self.index[k] = flow.get(places[k])
            emit({a.name: flow.get(offsets[a.name]) if not a.is_scalar else word(0) for a in self.loop.arrays})
            self._advance(list(axes), places, offsets)

    def _positive(self, axis: int) -> Word:
        """A dim to divide by: 1 where it is 0, and nothing runs."""
        b = self.flow.b
        return b.select(b.icmp_signed("==", self.dims[axis], word(0)), word(1), self.dims[axis])

    def _advance(self, axes: list[int], places: dict[int, Any], offsets: dict[str, Any]) -> None:
        """One step along the last of ``axes``, carried into the ones before it."""
        flow, b = self.flow, self.flow.b
        axis = axes.pop()
        at = b.add(flow.get(places[axis]), word(1))
        flow.set(places[axis], at)
        for name, place in offsets.items():
            flow.set(place, b.add(flow.get(place), self.strides[name, axis]))
        if axes:
            with flow.when(b.icmp_signed("==", at, self.dims[axis])):
                flow.set(places[axis], word(0))
                for name, place in offsets.items():
                    back = b.mul(self.dims[axis], self.strides[name, axis])
                    flow.set(place, b.sub(flow.get(place), back))
                self._advance(axes, places, offsets)

    # --- one row (or one strip of rows side by side)

    def _row(self, offsets: dict[str, Word], low: Word, high: Word) -> None:
        self.rows = {}
        if self.loop.vector == "inner":
            for section in self.loop.sections:
                if section.kind == "row":
                    self._straight(section, offsets)
                else:
                    self._inner(section, offsets, low, high)
            return

        def strip(j: Word, unroll: int, count: Word | None) -> None:
            self.rows = {}
            for section in self.loop.sections:
                if section.kind == "row":
                    self.rows.update(self._body(section, offsets, j, unroll, count))
                else:
                    self._outer(section, offsets, j, unroll, count)

        self._vectors(self.loop.sections, low, high, strip)

    def _manner(self, sections: Sequence[Section]) -> tuple[int, bool]:
        """How many vectors to work on together, and whether single vectors without a mask have a loop of their own:
        in long bodies that is not worth its code."""
        heavy = sum(i.op in _HEAVY for s in sections for i in s.instrs)
        return (2 if heavy else 4), heavy < 2 or not self.masked

    def _vectors(
        self, sections: Sequence[Section], low: Word, high: Word, emit: Callable[[Word, int, Word | None], None]
    ) -> None:
        """Cuts ``range(low, high)`` into groups of vectors, single vectors, and what is left."""
        flow, b, n = self.flow, self.flow.b, self.lanes
        unroll, singles = self._manner(sections)
        step = n * unroll
        with flow.counted(low, b.sub(high, word(step - 1)), step) as j:
            emit(j, unroll, None)
        if singles:
            with flow.counted(j, b.sub(high, word(n - 1)), n) as j:
                emit(j, 1, None)
            with flow.when(b.icmp_signed("<", j, high)):
                emit(j, 1, b.sub(high, j))
        else:
            with flow.counted(j, high, n) as j:
                emit(j, 1, flow.smaller(b.sub(high, j), word(n)))

    def _straight(self, section: Section, offsets: dict[str, Word]) -> None:
        """A row section whose row values fill all lanes alike."""
        self.rows.update(self._body(section, offsets, None, 1, None))

    def _inner(self, section: Section, offsets: dict[str, Word], low: Word, high: Word) -> None:
        """An each section with vectors along the last inner axis."""
        reductions = self._reductions(section, self._manner([section])[0])
        outermost = list(self.inner_axes)[:-1]

        def innermost(at: dict[str, Word], position: Word) -> None:
            outside = dict(self.hoisted)
            loaded = {i.array for i in section.instrs if i.op == "load"}
            for array in self.loop.arrays:
                if array.name in loaded and array.strides[-1] == "0" and array.name not in self.stored:
                    if array.name not in self.hoisted:
                        place = self.base[array.name]
                        self.hoisted[array.name] = self.memory.broadcast(place, array.dtype, at[array.name])

            def body(j: Word, unroll: int, count: Word | None) -> None:
                start = self.flow.b.add(position, j)
                self.position = lambda u: self._positions(start, u)
                values = self._body(section, at, j, unroll, count)
                for instr, reduction in reductions.items():
                    reduction.combine(values[instr.args[0]], self.position, count)

            self._vectors([section], low, high, body)
            self.hoisted = outside

        self._nest(outermost, offsets, word(0), innermost)
        for instr, reduction in reductions.items():
            self.rows[instr.result] = [reduction.across()]

    def _outer(self, section: Section, offsets: dict[str, Word], j: Word, unroll: int, count: Word | None) -> None:
        """An each section of a strip of rows: scalar loops over the inner axes."""
        reductions = self._reductions(section, unroll)

        def element(at: dict[str, Word], position: Word) -> None:
            self.position = lambda u: self._same_position(position)
            values = self._body(section, at, j, unroll, count)
            for instr, reduction in reductions.items():
                reduction.combine(values[instr.args[0]], self.position, None)

        self._nest(list(self.inner_axes), offsets, word(0), element)
        for instr, reduction in reductions.items():
            self.rows[instr.result] = reduction.alongside()

    def _nest(
        self, axes: list[int], offsets: dict[str, Word], position: Word, emit: Callable[[dict[str, Word], Word], None]
    ) -> None:
        """Loops over ``axes``, one in another; ``position`` is the index flattened over the inner axes."""
        if not axes:
            emit(offsets, position)
            return
        b, axis = self.flow.b, axes[0]
        with self.flow.counted(word(0), self.dims[axis]) as i:
            self.index[axis] = i
            at = {n: b.add(o, b.mul(i, self.strides[n, axis])) for n, o in offsets.items()}
            # What one step along this axis is worth: the product of the dims behind it.
            weight = word(1)
            for k in range(axis + 1, self.loop.rank):
                weight = b.mul(weight, self.dims[k])
            self._nest(axes[1:], at, b.add(position, b.mul(i, weight)), emit)

    def _positions(self, start: Word, u: int) -> Vector:
        return self.memory.iota(self.flow.b.add(start, word(u * self.lanes)))

    def _same_position(self, position: Word) -> Vector:
        return Vector(self.flow.b, Lanes("i64", self.lanes), splat(self.flow.b, position, self.lanes))

    def _reductions(self, section: Section, groups: int) -> dict[Instr, Reduction]:
        found = {}
        for instr in section.instrs:
            reduction = Reduction.of(instr, section, self.flow, self.lanes)
            if reduction is not None:
                reduction.start(groups)
                found[instr] = reduction
        return found

    # --- instructions

    def _body(
        self, section: Section, offsets: dict[str, Word], j: Word | None, unroll: int, count: Word | None
    ) -> dict[int, Group]:
        """Emits the instructions for ``unroll`` vectors from index ``j`` on (None: one element, in every lane)."""
        values: dict[int, Group] = {}

        def group(number: int) -> Group:
            found = values.get(number)
            if found is None:
                found = self.rows[number]
            return found if len(found) == unroll else found[:1] * unroll

        for instr in section.instrs:
            if instr.op == "store":
                self._store(instr, offsets, j, group(instr.args[0]), count)
            elif instr.op == "load":
                values[instr.result] = self._load(instr.array, offsets, j, unroll, count)
            elif instr.op in ("const", "index", "position", "count"):
                values[instr.result] = self._leaf(instr, j, unroll)
            elif not Reduction.is_one(instr):
                args = [group(a) for a in instr.args]
                values[instr.result] = [
                    self.ops.apply(instr.op, instr.dtype, vectors) for vectors in zip(*args, strict=True)
                ]
        return {**values, **{a: group(a) for i in section.instrs if Reduction.is_one(i) for a in i.args}}

    def _where(self, array: Array, offset: Word, j: Word | None, u: int) -> tuple[Word, Word | None]:
        """The offset of vector ``u`` and the stride between its lanes (None: side by side)."""
        b, axis = self.flow.b, self.loop.vector_axis
        at = b.add(j, word(u * self.lanes))
        if array.period:  # lanes divide it, so that no vector goes over its end
            return b.add(offset, b.and_(at, word(array.period - 1))), None
        if array.strides[axis] == "1":
            return b.add(offset, at), None
        stride = self.strides[array.name, axis]
        return b.add(offset, b.mul(at, stride)), stride

    def _load(self, name: str, offsets: dict[str, Word], j: Word | None, unroll: int, count: Word | None) -> Group:
        if name in self.hoisted:
            return [self.hoisted[name]] * unroll
        array = self.loop.array(name)
        base, dtype = self.base[name], array.dtype
        if j is None or array.strides[self.loop.vector_axis] == "0":
            return [self.memory.broadcast(base, dtype, offsets[name])] * unroll
        places = [self._where(array, offsets[name], j, u) for u in range(unroll)]
        return [self.memory.load(base, dtype, offset, stride, count) for offset, stride in places]

    def _store(self, instr: Instr, offsets: dict[str, Word], j: Word | None, group: Group, count: Word | None) -> None:
        array = self.loop.array(instr.array)
        base, dtype = self.base[array.name], array.dtype
        if j is None or array.strides[self.loop.vector_axis] == "0":
            self.memory.store_first(base, dtype, offsets[array.name], group[0])
            return
        for u, value in enumerate(group):
            offset, stride = self._where(array, offsets[array.name], j, u)
            self.memory.store(base, dtype, offset, stride, count, value)

    def _leaf(self, instr: Instr, j: Word | None, unroll: int) -> Group:
        b = self.flow.b
        like = Lanes(lane(instr.dtype), self.lanes)
        if instr.op == "const":
            shaped = Vector(b, like, None)
            return [self.ops.const(shaped, instr.dtype, instr.number if instr.number is not None else 0)] * unroll
        if instr.op == "position":
            return [self.position(u) for u in range(unroll)]
        if instr.op == "count":
            total = word(1)
            for k in self.inner_axes:
                total = b.mul(total, self.dims[k])
            return [Vector(b, like, splat(b, total, self.lanes))] * unroll
        if instr.number == self.loop.vector_axis and j is not None:
            return [self.memory.iota(b.add(j, word(u * self.lanes))) for u in range(unroll)]
        return [Vector(b, like, splat(b, self.index[int(instr.number or 0)], self.lanes))] * unroll
