"""Kernels on an OpenCL device."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import pyopencl as cl

from ronn.errors import ExecutionError, ProviderError
from ronn_codegen.clike.kernel import Grid, Param, Target
from ronn_codegen.clike.launcher import Argument, Entry, Launcher, Place
from ronn_codegen.clike.opencl import OpenCL

_NUMBERS = {"i64": np.int64, "f32": np.float32, "f64": np.float64}


class OpenCLLauncher(Launcher):
    """One in-order queue of one device."""

    def __init__(self, device: cl.Device, target: Target | None = None) -> None:
        self.device = device
        self.context = cl.Context([device])
        self.queue = cl.CommandQueue(self.context)
        self.target = target_of(device) if target is None else target

    def allocate(self, nbytes: int) -> cl.Buffer:
        return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, max(nbytes, 1))

    def free(self, memory: cl.Buffer) -> None:
        memory.release()

    def write(self, place: Place, array: np.ndarray) -> None:
        flat = array.reshape(-1).view(np.uint8)
        cl.enqueue_copy(self.queue, place.memory, flat, dst_offset=place.start, is_blocking=False)

    def read(self, place: Place, array: np.ndarray) -> None:
        flat = array.reshape(-1).view(np.uint8)
        cl.enqueue_copy(self.queue, flat, place.memory, src_offset=place.start, is_blocking=False)

    def build(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> dict[str, Entry]:
        if not sources:
            return {}
        text = self.target.dialect.prelude(doubles=self.target.doubles) + "\n" + "\n".join(sources.values())
        try:
            program = cl.Program(self.context, text).build()
        except cl.RuntimeError as e:
            raise ProviderError(f"{self.device.name} cannot compile kernels: {e}") from e
        made = {}
        for name in sources:
            kernel = cl.Kernel(program, name)
            local = kernel.get_work_group_info(cl.kernel_work_group_info.LOCAL_MEM_SIZE, self.device)
            made[name] = Entry(name, (program, name), params[name], int(local))
        return made

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Callable[[], None]:
        program, name = entry.handle
        kernel = cl.Kernel(program, name)
        given: list[Any] = []
        for param, argument in zip(entry.params, arguments, strict=True):
            if param.is_array:
                place = argument
                assert place is None or isinstance(place, Place)
                given += [None, np.int64(0)] if place is None else [place.memory, np.int64(place.start)]
            else:
                given.append(_NUMBERS[param.kind](argument))
        kernel.set_args(*given)
        whole = tuple(g * n for g, n in zip(grid.groups, grid.local, strict=True))
        queue, local = self.queue, grid.local

        def launch() -> None:
            cl.enqueue_nd_range_kernel(queue, kernel, whole, local)

        return launch

    def finish(self) -> None:
        try:
            self.queue.finish()
        except cl.Error as e:
            raise ExecutionError(f"{self.device.name}: {e}") from e


def target_of(device: cl.Device) -> Target:
    """What kernels for a device are made for, as it tells."""
    return Target(
        OpenCL(),
        group=min(64, device.max_work_group_size),
        local_bytes=int(device.local_mem_size),
        width=max(int(device.native_vector_width_float), 1),
        doubles="cl_khr_fp64" in device.extensions,
        compute_units=int(device.max_compute_units),
        cached=device.local_mem_type == cl.device_local_mem_type.GLOBAL,
    )
