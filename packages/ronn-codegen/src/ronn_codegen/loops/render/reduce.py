"""Reductions: accumulators in vectors, combined lane by lane and then across lanes in a fixed order."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

from llvmlite import ir

from ronn_codegen.loops.language import BITS, POSITIONS, REDUCTIONS, Instr, LoopError, Section
from ronn_codegen.loops.render.flow import Flow, Word
from ronn_codegen.simd.emit import I32, I64, Lanes, halves, splat
from ronn_codegen.simd.vectors import Vector, constant, largest, select

Positions = Callable[[int], Vector]
"""The positions (i64) of the elements of vector ``u``, over the inner axes."""


def _neutral(op: str, dtype: str) -> float | int:
    """What leaves a reduction as it is."""
    if op in ("sum", "prod"):
        return 0 if op == "sum" else 1
    if op in ("largest", "peak", "argmax", "lastmax"):
        return -math.inf if dtype.startswith("f") else -(1 << (BITS[dtype] - 1)) if dtype.startswith("i") else 0
    if dtype.startswith("f"):
        return math.inf
    return (1 << (BITS[dtype] - 1)) - 1 if dtype.startswith("i") else (1 << BITS[dtype]) - 1


class Reduction:
    """The accumulators of one reduction."""

    def __init__(self, op: str, dtype: str, flow: Flow, lanes: int) -> None:
        self.op, self.dtype, self.flow, self.lanes = op, dtype, flow, lanes
        self.vec = Lanes(dtype, lanes)
        self.places: list[Any] = []

    @staticmethod
    def is_one(instr: Instr) -> bool:
        """Whether an instruction is a reduction."""
        return instr.op in REDUCTIONS

    @classmethod
    def of(cls, instr: Instr, section: Section, flow: Flow, lanes: int) -> Reduction | None:
        """The reduction that ``instr`` is; None for another instruction."""
        if instr.op not in REDUCTIONS:
            return None
        made = next((i for i in section.instrs if i.result == instr.args[0]), None)
        if made is None:
            raise LoopError(f"%{instr.result} = {instr.op} reduces a row value")
        return (_Position if instr.op in POSITIONS else cls)(instr.op, made.dtype, flow, lanes)

    def start(self, groups: int) -> None:
        """Makes ``groups`` accumulators and sets them."""
        neutral = constant(self.flow.b, self.vec, _neutral(self.op, self.dtype))
        self.places = [self.flow.variable(self.vec.llvm) for _ in range(groups)]
        for place in self.places:
            self.flow.set(place, neutral.value)

    def _read(self, place: Any, vec: Lanes) -> Vector:
        return Vector(self.flow.b, vec, self.flow.get(place, vec.llvm))

    def combine(self, values: list[Vector], positions: Positions, count: Word | None) -> None:
        """Takes in vectors, of which lanes before ``count`` count."""
        for place, value in zip(self.places, values, strict=False):
            if count is not None:
                value = select(self._mask(count), value, _neutral(self.op, self.dtype))
            self.flow.set(place, self._join(self._read(place, self.vec), value).value)

    def _mask(self, count: Word) -> Vector:
        b = self.flow.b
        steps = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        mask = b.icmp_signed("<", steps, splat(b, count, self.lanes))
        return Vector(b, Lanes("mask", self.lanes), mask)

    def _join(self, a: Vector, b: Vector) -> Vector:
        if self.op == "sum":
            return a + b
        if self.op == "prod":
            return a * b
        if not a.vec.is_float:
            return a.do("maximum" if self.op == "largest" else "minimum", b)
        if self.op == "peak":
            return largest(b, a)
        # The accumulator stays where it is NaN; the value comes in where it is NaN.
        keeps = b < a if self.op == "largest" else a < b
        return select(keeps | a.is_nan(), a, b)

    def alongside(self) -> list[Vector]:
        """The results where every lane is a row of its own."""
        return [self._read(place, self.vec) for place in self.places]

    def across(self) -> Vector:
        """The result over all accumulators and lanes, in every lane."""
        parts = self.alongside()
        while len(parts) > 1:
            parts = [self._join(a, b) for a, b in zip(parts[::2], parts[1::2], strict=True)]
        vector = parts[0]
        b, lanes = self.flow.b, self.lanes
        while lanes > 1:
            low, high = halves(b, vector.value, lanes)
            lanes //= 2
            half = Lanes(self.dtype, lanes)
            vector = self._join(Vector(b, half, low), Vector(b, half, high))
        scalar = b.extract_element(vector.value, ir.Constant(I32, 0))
        return Vector(b, self.vec, splat(b, scalar, self.lanes))


class _Position(Reduction):
    """The position of an extreme. Next to each best value stands its position; NaN is more extreme than any number."""

    def start(self, groups: int) -> None:
        super().start(groups)
        self.index = Lanes("i64", self.lanes)
        self.at = [self.flow.variable(self.index.llvm) for _ in range(groups)]
        for place in self.at:
            self.flow.set(place, constant(self.flow.b, self.index, -1).value)  # none yet

    def combine(self, values: list[Vector], positions: Positions, count: Word | None) -> None:
        for u, value in enumerate(values):
            best, at, position = self._read(self.places[u], self.vec), self._read(self.at[u], self.index), positions(u)
            takes = self._better(value, position, best, at)
            if count is not None:
                takes = takes & self._mask(count)
            self.flow.set(self.places[u], select(takes, value, best).value)
            self.flow.set(self.at[u], select(takes, position, at).value)

    def _better(self, value: Vector, position: Vector, best: Vector, at: Vector) -> Vector:
        """Where ``value`` is more extreme than ``best``, or as extreme and on the wanted side, or the first at all."""
        beats = best < value if self.op.endswith("max") else value < best
        equal = value.equals(best)
        if value.vec.is_float:
            beats = beats | (value.is_nan() & best.is_nan().inverted())
            equal = equal | (value.is_nan() & best.is_nan())
        side = at < position if self.op.startswith("last") else position < at
        return beats | (equal & side) | at.equals(-1)

    def across(self) -> Vector:
        b, lanes = self.flow.b, self.lanes
        parts = [
            (self._read(p, self.vec), self._read(a, self.index)) for p, a in zip(self.places, self.at, strict=True)
        ]
        while len(parts) > 1:
            parts = [self._pair(x, y) for x, y in zip(parts[::2], parts[1::2], strict=True)]
        best, at = parts[0]
        while lanes > 1:
            cut = [halves(b, v.value, lanes) for v in (best, at)]
            lanes //= 2
            vec, index = Lanes(self.dtype, lanes), Lanes("i64", lanes)
            low, high = ((Vector(b, vec, v), Vector(b, index, p)) for v, p in zip(*cut, strict=True))
            best, at = self._pair(low, high)
        return Vector(b, self.index, splat(b, b.extract_element(at.value, ir.Constant(I32, 0)), self.lanes))

    def _pair(self, a: tuple[Vector, Vector], b: tuple[Vector, Vector]) -> tuple[Vector, Vector]:
        takes = self._better(b[0], b[1], a[0], a[1]) & b[1].differs(-1)
        return select(takes, b[0], a[0]), select(takes, b[1], a[1])

    def alongside(self) -> list[Vector]:
        return [self._read(place, self.index) for place in self.at]
