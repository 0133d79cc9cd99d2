"""Runs loops on arrays, at every level of instructions that this processor has."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import cache

import numpy as np
import pytest

from ronn_codegen.loops.nest import Bound, Nest
from ronn_codegen.loops.text import parse
from ronn_codegen.native.library import Kernel, library
from ronn_codegen.native.machine import machine

TYPES = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "i8": np.int8, "u8": np.uint8, "i16": np.int16,
    "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64, "bool": np.bool_,
}  # fmt: skip
NAMES = {np.dtype(t): n for n, t in TYPES.items()}


@cache
def _runs(level: str) -> bool:
    try:
        machine(level)
    except ValueError:
        return False
    return True


LEVELS = [pytest.param(level, marks=[] if _runs(level) else pytest.mark.skip(reason=f"this processor lacks {level}"))
          for level in ("avx512", "avx2", "baseline")]  # fmt: skip
"""16, 8 and 4 lanes of float32."""


def steps(array: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(s // array.itemsize for s in array.strides)


def execute(bound: Bound, arrays: Mapping[str, np.ndarray], level: str, workers: int = 1) -> None:
    """Runs a loop, whose arrays' keys name entries of ``arrays``, as so many shares."""
    assert parse(bound.kernel.text) == bound.loop
    kernel = Kernel(library(level).generated(bound.kernel), bound.kernel.signature)
    words = [
        arrays[str(bound.arrays[name])].ctypes.data if name in bound.arrays else bound.sizes[name]
        for name, _ in bound.kernel.signature.params
    ]
    for worker in range(workers):
        kernel(*words, worker=worker, workers=workers)


def elementwise(
    write: Callable[..., object], inputs: Sequence[np.ndarray], dtype: np.dtype, level: str, workers: int = 1
) -> np.ndarray:
    """``write`` of the elements of ``inputs``, broadcast, with guards behind the result that must stay."""
    inputs = [np.asarray(x) for x in inputs]
    shape = np.broadcast_shapes(*(x.shape for x in inputs))
    nest = Nest(shape)
    arrays = {f"x{i}": x for i, x in enumerate(inputs)}
    memory = np.full(max(int(np.prod(shape)), 1) + 64, 1, dtype)
    arrays["y"] = memory[: int(np.prod(shape))].reshape(shape)
    with nest.writer.each():
        values = [nest.load(f"x{i}", NAMES[x.dtype], steps(np.broadcast_to(x, shape))) for i, x in enumerate(inputs)]
        nest.store("y", NAMES[np.dtype(dtype)], steps(arrays["y"]), write(*values))  # type: ignore[arg-type]
    execute(nest.finish(), arrays, level, workers)
    assert (memory[int(np.prod(shape)) :] == 1).all(), "written past the end"
    return np.array(arrays["y"])
