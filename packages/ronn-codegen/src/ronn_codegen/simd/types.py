"""Vector types for numba: ``Vec("f32", 16)`` is an LLVM vector, kept in registers, passed by value."""

from __future__ import annotations

from typing import Any

from numba import types
from numba.extending import models, register_model

from ronn_codegen.simd.emit import BITS, LLVM, Shaped

__all__ = ["BITS", "SCALARS", "Vec", "VecModel"]

_NUMBA = {
    "f32": types.float32, "f64": types.float64, "f16": types.uint16, "bf16": types.uint16, "mask": types.boolean,
    "i8": types.int8, "i16": types.int16, "i32": types.int32, "i64": types.int64,
    "u8": types.uint8, "u16": types.uint16, "u32": types.uint32, "u64": types.uint64,
}  # fmt: skip
SCALARS = {elem: (LLVM[elem], _NUMBA[elem]) for elem in BITS}
"""The LLVM type and the numba type of each element; f16 and bf16 are bits to numba."""


class Vec(Shaped, types.Type):
    """A vector of ``lanes`` elements; ``elem`` is a name of ``SCALARS``. ``mask`` vectors hold one bit a lane."""

    def __init__(self, elem: str, lanes: int) -> None:
        self.elem = elem
        self.lanes = lanes
        super().__init__(name=f"Vec({elem}x{lanes})")

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
