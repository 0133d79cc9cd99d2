"""Vector types for numba: ``Vec("f32", 16)`` is an LLVM vector, kept in registers, passed by value."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import types
from numba.extending import models, register_model

SCALARS = {
    "f32": (ir.FloatType(), types.float32),
    "f64": (ir.DoubleType(), types.float64),
    "i8": (ir.IntType(8), types.int8),
    "u8": (ir.IntType(8), types.uint8),
    "i16": (ir.IntType(16), types.int16),
    "i32": (ir.IntType(32), types.int32),
    "i64": (ir.IntType(64), types.int64),
    "bf16": (ir.IntType(16), types.uint16),  # bits: storage only
    "f16": (ir.HalfType(), types.uint16),
    "mask": (ir.IntType(1), types.boolean),
}
BITS = {"f32": 32, "f64": 64, "i8": 8, "u8": 8, "i16": 16, "i32": 32, "i64": 64, "bf16": 16, "f16": 16, "mask": 1}


class Vec(types.Type):
    """A vector of ``lanes`` elements; ``elem`` is a name of ``SCALARS``. ``mask`` vectors hold one bit a lane."""

    def __init__(self, elem: str, lanes: int) -> None:
        self.elem = elem
        self.lanes = lanes
        super().__init__(name=f"Vec({elem}x{lanes})")

    @property
    def is_float(self) -> bool:
        return self.elem in ("f32", "f64", "f16")

    @property
    def is_signed(self) -> bool:
        return self.elem.startswith("i")

    @property
    def llvm(self) -> Any:
        return ir.VectorType(SCALARS[self.elem][0], self.lanes)

    @property
    def scalar(self) -> Any:
        """The numba type of one element."""
        return SCALARS[self.elem][1]

    @property
    def mask(self) -> Vec:
        return Vec("mask", self.lanes)

    def like(self, elem: str) -> Vec:
        """As many lanes of another element."""
        return Vec(elem, self.lanes)


@register_model(Vec)
class VecModel(models.PrimitiveModel):
    """A vector is one LLVM value."""

    def __init__(self, manager: Any, vec: Vec) -> None:
        super().__init__(manager, vec, vec.llvm)
