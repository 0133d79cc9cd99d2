"""Vector types as kernels use them: loading, storing, making vectors.

Memory is addressed by an integer address and an index in elements, so that kernels run on raw pointers: nothing here
checks a bound. ``load`` and ``store`` take any alignment.
"""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ronn_codegen.simd.emit import I32, Builder, first_lanes, llvm_call, place, splat, suffix
from ronn_codegen.simd.types import BITS, Vec


class VectorType:
    """What kernels use of one vector type. Bind the attributes to names outside of the compiled function."""

    def __init__(self, elem: str, lanes: int) -> None:
        vec = Vec(elem, lanes)
        self.type, self.elem, self.lanes = vec, elem, lanes
        self.load, self.load_first = _loads(vec)
        self.store, self.store_first = _stores(vec)
        self.splat = _splat(vec)
        self.broadcast = _broadcast(vec)
        self.iota = _iota(vec)
        self.gather = _gather(vec)

    def __repr__(self) -> str:
        return f"VectorType({self.elem}x{self.lanes})"


def _loads(vec: Vec) -> tuple[Any, Any]:
    align = BITS[vec.elem] // 8

    @intrinsic
    def load(typing: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return builder.load(place(builder, args[0], args[1], vec.elem), typ=vec.llvm, align=align)

        return vec(types.intp, types.intp), generate

    @intrinsic
    def load_first(typing: Any, address: Any, index: Any, count: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            at = place(builder, args[0], args[1], vec.elem)
            mask = first_lanes(builder, args[2], vec.lanes)
            zero = ir.Constant(vec.llvm, None)
            return llvm_call(
                builder, f"llvm.masked.load.{suffix(vec)}.p0", vec.llvm, at, ir.Constant(I32, align), mask, zero
            )

        return vec(types.intp, types.intp, types.intp), generate

    return load, load_first


def _stores(vec: Vec) -> tuple[Any, Any]:
    align = BITS[vec.elem] // 8

    @intrinsic
    def store(typing: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            builder.store(args[2], place(builder, args[0], args[1], vec.elem), align=align)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, vec), generate

    @intrinsic
    def store_first(typing: Any, address: Any, index: Any, value: Any, count: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            at = place(builder, args[0], args[1], vec.elem)
            mask = first_lanes(builder, args[3], vec.lanes)
            name = f"llvm.masked.store.{suffix(vec)}.p0"
            llvm_call(builder, name, ir.VoidType(), args[2], at, ir.Constant(I32, align), mask)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, vec, types.intp), generate

    return store, store_first


def _splat(vec: Vec) -> Any:
    @intrinsic
    def splat_(typing: Any, scalar: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return splat(builder, args[0], vec.lanes)

        return vec(vec.scalar), generate

    return splat_


def _broadcast(vec: Vec) -> Any:
    """One element of memory in every lane."""

    @intrinsic
    def broadcast(typing: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            scalar = builder.load(place(builder, args[0], args[1], vec.elem), typ=vec.llvm.element)
            return splat(builder, scalar, vec.lanes)

        return vec(types.intp, types.intp), generate

    return broadcast


def _iota(vec: Vec) -> Any:
    @intrinsic
    def iota(typing: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return ir.Constant(vec.llvm, list(range(vec.lanes)))

        return vec(), generate

    return iota


def _gather(vec: Vec) -> Any:
    """Elements at ``address[index + lane * stride]``, lane by lane."""

    @intrinsic
    def gather(typing: Any, address: Any, index: Any, stride: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            out = ir.Constant(vec.llvm, ir.Undefined)
            at = args[1]
            for lane in range(vec.lanes):
                element = builder.load(place(builder, args[0], at, vec.elem), typ=vec.llvm.element)
                out = builder.insert_element(out, element, ir.Constant(I32, lane))
                at = builder.add(at, args[2])
            return out

        return vec(types.intp, types.intp, types.intp), generate

    return gather
