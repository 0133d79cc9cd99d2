"""The elementary functions of ``simd.elementary`` as numba intrinsics. Each is expanded where it is called."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

from numba.core.errors import TypingError
from numba.extending import intrinsic

from ronn_codegen.simd import elementary
from ronn_codegen.simd.emit import Builder
from ronn_codegen.simd.types import Vec
from ronn_codegen.simd.vectors import Vector


class VectorMath:
    """The functions for one vector type: ``exp``, ``log``, ``tanh``, ``erf``, ``sigmoid``, ``sin``, ``cos``."""

    def __init__(self, vec: Vec) -> None:
        self.exp = _function(vec, elementary.exp)
        self.log = _function(vec, elementary.log)
        self.sigmoid = _function(vec, elementary.sigmoid)
        self.tanh = _function(vec, elementary.tanh)
        self.erf = _function(vec, elementary.erf)
        self.sin = _function(vec, elementary.sin)
        self.cos = _function(vec, elementary.cos)


@cache
def vector_math(lanes: int) -> VectorMath:
    """The functions on ``f32`` vectors of so many lanes."""
    return VectorMath(Vec("f32", lanes))


def _function(vec: Vec, write: Callable[[Vector], Vector]) -> Any:
    @intrinsic
    def function(typing: Any, x: Any) -> Any:
        if x != vec:
            raise TypingError(f"{write.__name__} takes {vec}, not {x}")

        def generate(context: Any, builder: Builder, signature: Any, args: Any) -> Any:
            return write(Vector(builder, vec, args[0])).value

        return vec(vec), generate

    return function
