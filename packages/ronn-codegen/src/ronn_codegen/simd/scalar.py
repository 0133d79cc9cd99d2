"""Single elements of memory, addressed as vectors are: an integer address and an index in elements."""

from __future__ import annotations

from functools import cache
from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import intrinsic

from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.types import BITS, SCALARS


def _place(builder: Builder, address: Any, index: Any, elem: str) -> Any:
    return builder.gep(builder.inttoptr(address, ir.PointerType()), [index], source_etype=SCALARS[elem][0])


@cache
def peek(elem: str) -> Any:
    """An intrinsic ``(address, index) -> scalar``; small integers come as int64, f16 and bf16 as their bits."""
    llvm, kind = SCALARS[elem]
    widened = isinstance(llvm, ir.IntType)
    out = types.int64 if widened else kind

    @intrinsic
    def peek_(typing: Any, address: Any, index: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            stored = ir.IntType(16) if elem == "f16" else llvm
            place = builder.gep(builder.inttoptr(args[0], ir.PointerType()), [args[1]], source_etype=stored)
            value = builder.load(place, typ=stored, align=BITS[elem] // 8)
            if not widened or BITS[elem] == 64:
                return value
            wide = ir.IntType(64)
            return builder.sext(value, wide) if elem.startswith("i") else builder.zext(value, wide)

        return out(types.intp, types.intp), generate

    return peek_


@cache
def poke(elem: str) -> Any:
    """An intrinsic ``(address, index, value)``; an int64 is cut to the width of ``elem``."""
    llvm, kind = SCALARS[elem]
    narrowed = isinstance(llvm, ir.IntType)
    taken = types.int64 if narrowed else kind

    @intrinsic
    def poke_(typing: Any, address: Any, index: Any, value: Any) -> Any:
        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            given = args[2]
            if narrowed and BITS[elem] < 64:
                given = builder.trunc(given, llvm)
            builder.store(given, _place(builder, args[0], args[1], elem), align=BITS[elem] // 8)
            return context.get_dummy_value()

        return types.void(types.intp, types.intp, taken), generate

    return poke_
