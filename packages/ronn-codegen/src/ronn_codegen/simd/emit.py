"""Small pieces of LLVM IR that intrinsics are made of."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba.core import cgutils

from ronn_codegen.simd.types import BITS, Vec

Builder = Any
I32 = ir.IntType(32)


def suffix(vec: Vec) -> str:
    """LLVM's name of a vector type in intrinsics: ``v16f32``."""
    kind = "f" if vec.is_float else "i"
    return f"v{vec.lanes}{kind}{BITS[vec.elem]}"


def llvm_call(builder: Builder, name: str, out: Any, *args: Any) -> Any:
    """A call of an LLVM intrinsic."""
    fn = cgutils.get_or_insert_function(builder.module, ir.FunctionType(out, [a.type for a in args]), name)
    return builder.call(fn, args)


def splat(builder: Builder, scalar: Any, lanes: int) -> Any:
    """A vector with ``scalar`` in every lane."""
    vector = ir.VectorType(scalar.type, lanes)
    undefined = ir.Constant(vector, ir.Undefined)
    first = builder.insert_element(undefined, scalar, ir.Constant(I32, 0))
    return builder.shuffle_vector(first, undefined, ir.Constant(ir.VectorType(I32, lanes), [0] * lanes))


def first_lanes(builder: Builder, count: Any, lanes: int) -> Any:
    """The mask of the lanes before ``count`` (an integer; none when it is not positive)."""
    wide = ir.VectorType(ir.IntType(64), lanes)
    return builder.icmp_signed("<", ir.Constant(wide, list(range(lanes))), splat(builder, count, lanes))
