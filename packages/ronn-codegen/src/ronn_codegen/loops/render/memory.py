"""Vectors of array elements: contiguous, broadcast or strided; whole, or only the first ``count`` lanes."""

from __future__ import annotations

from typing import Any

from llvmlite import ir

from ronn_codegen.loops.render.flow import Flow, Word, word
from ronn_codegen.simd.emit import BITS, I32, I64, LLVM, Lanes, llvm_call, splat, suffix
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.vectors import Vector


def element(dtype: str) -> str:
    """The vector layer's name of a stored element: bools are bytes."""
    return "u8" if dtype == "bool" else dtype


class Memory:
    """Loads and stores vectors of ``lanes`` elements."""

    def __init__(self, flow: Flow, target: Target, lanes: int) -> None:
        self.flow, self.target, self.lanes = flow, target, lanes
        self._spare: dict[str, Any] = {}

    def mask(self, count: Word) -> Any:
        """The lanes before ``count`` (1 ... lanes) as an LLVM vector of i1."""
        b, n = self.flow.b, self.lanes
        wide = max(64, n)
        count = count if wide == 64 else b.zext(count, ir.IntType(wide))
        ones = ir.Constant(ir.IntType(wide), (1 << wide) - 1)
        bits = b.lshr(ones, b.sub(ir.Constant(ir.IntType(wide), wide), count))
        if n < wide:
            bits = b.trunc(bits, ir.IntType(n))
        return b.bitcast(bits, ir.VectorType(ir.IntType(1), n))

    def broadcast(self, base: Any, dtype: str, offset: Word) -> Vector:
        """One element in every lane."""
        b, elem = self.flow.b, element(dtype)
        place = b.gep(base, [offset], source_etype=LLVM[elem])
        scalar = b.load(place, typ=LLVM[elem], align=BITS[elem] // 8)
        return self._loaded(dtype, splat(b, scalar, self.lanes))

    def load(self, base: Any, dtype: str, offset: Word, stride: Word | None, count: Word | None) -> Vector:
        """Elements from ``offset`` on, ``stride`` apart (None: side by side). Lanes from ``count`` on are undefined."""
        b, elem = self.flow.b, element(dtype)
        vec = Lanes(elem, self.lanes)
        align = BITS[elem] // 8
        if stride is not None and count is None:
            return self._loaded(dtype, self._gather(base, elem, offset, stride))
        place = b.gep(base, [offset], source_etype=LLVM[elem])
        if count is None:
            return self._loaded(dtype, b.load(place, typ=vec.llvm, align=align))
        if stride is None and self.target.masked(BITS[elem]):
            name = f"llvm.masked.load.{suffix(vec)}.p0"
            zero = ir.Constant(vec.llvm, None)
            value = llvm_call(b, name, vec.llvm, place, ir.Constant(I32, align), self.mask(count), zero)
            return self._loaded(dtype, value)
        spare = self._buffer(elem)
        with self.flow.counted(word(0), count) as k:
            at = k if stride is None else b.mul(k, stride)
            source = b.gep(place, [at], source_etype=LLVM[elem])
            scalar = b.load(source, typ=LLVM[elem], align=align)
            b.store(scalar, b.gep(spare, [k], source_etype=LLVM[elem]), align=align)
        return self._loaded(dtype, b.load(spare, typ=vec.llvm, align=align))

    def _loaded(self, dtype: str, value: Any) -> Vector:
        elem = element(dtype)
        vector = Vector(self.flow.b, Lanes(elem, self.lanes), value)
        return vector.differs(0) if dtype == "bool" else vector

    def _gather(self, base: Any, elem: str, offset: Word, stride: Word) -> Any:
        b = self.flow.b
        out = ir.Constant(ir.VectorType(LLVM[elem], self.lanes), ir.Undefined)
        for lane in range(self.lanes):
            scalar = b.load(b.gep(base, [offset], source_etype=LLVM[elem]), typ=LLVM[elem], align=BITS[elem] // 8)
            out = b.insert_element(out, scalar, ir.Constant(I32, lane))
            offset = b.add(offset, stride)
        return out

    def store(
        self, base: Any, dtype: str, offset: Word, stride: Word | None, count: Word | None, value: Vector
    ) -> None:
        """Writes the lanes (those before ``count``) to ``offset`` and on."""
        b, elem = self.flow.b, element(dtype)
        vec = Lanes(elem, self.lanes)
        align = BITS[elem] // 8
        bits = b.zext(value.value, vec.llvm) if dtype == "bool" else value.value
        place = b.gep(base, [offset], source_etype=LLVM[elem])
        if stride is None and count is None:
            b.store(bits, place, align=align)
            return
        if stride is None and self.target.masked(BITS[elem]):
            name = f"llvm.masked.store.{suffix(vec)}.p0"
            llvm_call(b, name, ir.VoidType(), bits, place, ir.Constant(I32, align), self.mask(count))
            return
        spare = self._buffer(elem)
        b.store(bits, spare, align=align)
        with self.flow.counted(word(0), word(self.lanes) if count is None else count) as k:
            scalar = b.load(b.gep(spare, [k], source_etype=LLVM[elem]), typ=LLVM[elem], align=align)
            at = k if stride is None else b.mul(k, stride)
            b.store(scalar, b.gep(place, [at], source_etype=LLVM[elem]), align=align)

    def store_first(self, base: Any, dtype: str, offset: Word, value: Vector) -> None:
        """Writes lane 0 alone."""
        b, elem = self.flow.b, element(dtype)
        scalar = b.extract_element(value.value, ir.Constant(I32, 0))
        if dtype == "bool":
            scalar = b.zext(scalar, LLVM[elem])
        b.store(scalar, b.gep(base, [offset], source_etype=LLVM[elem]), align=BITS[elem] // 8)

    def _buffer(self, elem: str) -> Any:
        """A vector's worth of memory of our own, zero at first."""
        if elem not in self._spare:
            self._spare[elem] = self.flow.buffer(ir.VectorType(LLVM[elem], self.lanes))
        return self._spare[elem]

    def pointer(self, address: Word) -> Any:
        return self.flow.b.inttoptr(address, ir.PointerType())

    def iota(self, start: Word) -> Vector:
        """start, start + 1 ... as i64."""
        b = self.flow.b
        steps = ir.Constant(ir.VectorType(I64, self.lanes), list(range(self.lanes)))
        return Vector(b, Lanes("i64", self.lanes), b.add(splat(b, start, self.lanes), steps))
