"""Runs loops on an OpenCL device, and on the processor by the LLVM renderer, on the same arrays."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache

import numpy as np
import pyopencl as cl

from ronn.records import replace
from ronn_codegen.clike.kernel import Grid
from ronn_codegen.clike.launcher import Entry, Place
from ronn_codegen.clike.loops import kernel_of
from ronn_codegen.clike.program import entry_of
from ronn_codegen.loops.kernel import LoopKernel
from ronn_codegen.loops.nest import Bound
from ronn_codegen.native.library import Kernel, library
from ronn_provider_npu.launcher import OpenCLLauncher

TYPES = {
    "f32": np.float32, "f64": np.float64, "f16": np.float16, "i8": np.int8, "u8": np.uint8, "i16": np.int16,
    "u16": np.uint16, "i32": np.int32, "u32": np.uint32, "i64": np.int64, "u64": np.uint64, "bool": np.bool_,
}  # fmt: skip
NAMES = {np.dtype(t): n for n, t in TYPES.items()}


@cache
def launcher(width: int) -> OpenCLLauncher:
    """The first device, as one with vectors of ``width`` float32; 1: of work-items that share rows."""
    device = cl.get_platforms()[0].get_devices()[0]
    made = OpenCLLauncher(device)
    return OpenCLLauncher(device, replace(made.target, width=width))


@cache
def _entry(kernel: LoopKernel, width: int) -> Entry:
    text, device = kernel_of(kernel), launcher(width)
    name = entry_of(text)
    return device.build({name: text.source(name, device.target)}, {name: text.params})[name]


def steps(array: np.ndarray) -> tuple[int, ...]:
    """Strides in elements."""
    return tuple(s // array.itemsize for s in array.strides)


def on_device(
    bound: Bound, arrays: Mapping[str, np.ndarray], width: int = 16, grid: Grid | None = None
) -> dict[str, np.ndarray]:
    """The arrays (whole ones, in C order) after the loop has run on copies of them; ``grid`` is another than the
    kernel's own."""
    device, kernel = launcher(width), kernel_of(bound.kernel)
    places = {}
    for name, array in arrays.items():
        places[name] = Place(device.allocate(max(array.nbytes, 1)), 0, array.nbytes)
        if array.nbytes:
            device.write(places[name], array)
    arguments = [places[str(bound.arrays[p.name])] if p.is_array else bound.sizes[p.name] for p in kernel.params]
    device.bind(
        _entry(bound.kernel, width), arguments, kernel.grid(bound.sizes, device.target) if grid is None else grid
    )()
    back = {name: np.empty_like(array) for name, array in arrays.items()}
    for name, array in back.items():
        if array.nbytes:
            device.read(places[name], array)
    device.finish()
    for place in places.values():
        device.free(place.memory)
    return back


def on_processor(bound: Bound, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """The same by machine code of the LLVM renderer."""
    copies = {name: a.copy() for name, a in arrays.items()}
    kernel = Kernel(library().generated(bound.kernel), bound.kernel.signature)
    kernel(*[
        copies[str(bound.arrays[name])].ctypes.data if name in bound.arrays else bound.sizes[name]
        for name, _ in bound.kernel.signature.params
    ])  # fmt: skip
    return copies
