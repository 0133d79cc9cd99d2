"""Kernels on an OpenCL device."""

from __future__ import annotations

import hashlib
import re
import threading
from collections.abc import Callable, Mapping, Sequence
from time import monotonic
from typing import Any

import numpy as np
import pyopencl as cl

from ronn.errors import DeviceLostError, MemoryLimitError, ProviderError, RonnError
from ronn.forks import renew_after_fork
from ronn.listeners import current_run, emit
from ronn.plan.budget import size_text
from ronn_codegen.clike.kernel import Grid, Param, Target
from ronn_codegen.clike.launcher import Argument, Entry, Launcher, Place
from ronn_codegen.clike.opencl import OpenCL
from ronn_provider_npu.cache import ProgramCache
from ronn_provider_npu.discovery import about
from ronn_provider_npu.failures import failure
from ronn_provider_npu.queue import OpenCLQueue

OPTIONS: tuple[str, ...] = ()
"""What the compiler of devices is told."""
_LINES = 12  # of a compiler's log that errors show


class OpenCLLauncher(Launcher):
    """One context of one device. Runs have queues of their own (``queue``); what the launcher itself does is in order.

    staging: bytes of each of the two pinned buffers that large transfers of a queue go through; None: as the device is:
        none for one that shares the host's memory, else 4 MiB.
    """

    def __init__(self, device: cl.Device, target: Target | None = None, *, staging: int | None = None) -> None:
        self.device = device
        self.name = device.name.strip()
        try:
            self.context = cl.Context([device])
        except cl.Error as e:
            raise failure(self.name, e, "making a context") from e
        self.target = target_of(device) if target is None else target
        self.alignment = max(int(device.mem_base_addr_align) // 8, 64)
        self.largest = int(device.max_mem_alloc_size)
        self.staging = (0 if _shares_memory(device) else 4 << 20) if staging is None else staging
        self.lost: RonnError | None = None
        """Why nothing runs on it any more."""
        self.cache = ProgramCache(about(device))
        self._entries: dict[str, Entry] = {}
        self._programs: dict[int, tuple[cl.Program, dict[str, str]]] = {}  # not kept yet, by the ``id``
        self._building = threading.Lock()
        self._own: OpenCLQueue | None = None
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: what drivers and their threads were doing is lost."""
        self._building = threading.Lock()
        self.lost = DeviceLostError(
            f"{self.name} was in use before this process was forked, and OpenCL does not work in children",
            hint='start processes with multiprocessing.get_context("spawn"), or make the first session after the fork',
        )

    def check(self) -> None:
        """Raises DeviceLostError where nothing runs any more."""
        if self.lost is not None:
            raise DeviceLostError(self.lost.message, hint=self.lost.hint)

    def failure(self, error: cl.Error, doing: str) -> RonnError:
        """The error to raise for one of OpenCL."""
        made = failure(self.name, error, doing)
        if isinstance(made, DeviceLostError):
            self.lost = made
        return made

    # --- memory

    def allocate(self, nbytes: int) -> cl.Buffer:
        self.check()
        if self.largest is not None and nbytes > self.largest:
            told = (
                f"{self.name} allocates at most {size_text(self.largest)} at once, and {size_text(nbytes)} are needed"
            )
            raise MemoryLimitError(told)
        try:
            return cl.Buffer(self.context, cl.mem_flags.READ_WRITE, max(nbytes, 1))
        except cl.Error as e:
            raise self.failure(e, f"{size_text(nbytes)} of memory") from e

    def free(self, memory: cl.Buffer) -> None:
        memory.release()

    def part(self, whole: Place) -> Place:
        return Place(whole.memory.get_sub_region(whole.start, whole.nbytes), 0, whole.nbytes)

    # --- compiling

    def build(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> dict[str, Entry]:
        self.check()
        with self._building:
            missing = {name: text for name, text in sources.items() if name not in self._entries}
            if missing:
                self._load(missing, params)
                missing = {name: text for name, text in missing.items() if name not in self._entries}
            if missing:
                self._compile(missing, params)
        return {name: self._entries[name] for name in sources}

    def _prelude(self) -> str:
        return self.target.dialect.prelude(doubles=self.target.doubles) + "\n"

    def _key(self, text: str) -> str:
        """What a kernel is found by: its text and all that stands in front of it."""
        return hashlib.sha256("\0".join((self._prelude(), *OPTIONS, text)).encode()).hexdigest()

    def _load(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> None:
        """Takes what is in the cache. A program that the driver refuses is deleted there."""
        keys = {self._key(text): name for name, text in sources.items()}
        for packed in self.cache.find(keys):
            binary = self.cache.load(packed)
            if binary is None:
                continue
            try:
                program = cl.Program(self.context, [self.device], [binary]).build(cache_dir=False)
                for key, entry in packed.kernels.items():
                    if key in keys:
                        self._entries[keys[key]] = self._entry(program, entry, params[keys[key]], keys[key])
            except cl.Error:
                self.cache.drop(packed)

    def _compile(self, sources: Mapping[str, str], params: Mapping[str, Sequence[Param]]) -> None:
        began = monotonic()
        program = self._built(sources)
        self.compiles += len(sources)
        emit(
            "KernelsCompiled",
            level=f"OpenCL C on {self.name}",
            kernels=tuple(sources),
            seconds=monotonic() - began,
            run=current_run(),
        )
        for name in sources:
            self._entries[name] = self._entry(program, name, params[name], name)
        self._programs[id(program)] = (program, {self._key(text): name for name, text in sources.items()})

    def _built(self, sources: Mapping[str, str]) -> cl.Program:
        """A program of all kernels. ProviderError that names the kernel and shows the lines that do not compile."""
        try:
            return self._made(self._prelude() + "\n".join(sources.values()))
        except cl.Error as e:
            if getattr(e, "code", None) != cl.status_code.BUILD_PROGRAM_FAILURE:
                raise self.failure(e, "compiling") from e
            whole = e
        for name, text in sources.items():  # which of them it is
            try:
                self._made(self._prelude() + text)
            except cl.Error as e:
                raise ProviderError(
                    f"{self.name} cannot compile kernel {name!r}",
                    detail=told(self._prelude() + text, str(e)),
                    hint="RONN_DEBUG=4 shows the source of every kernel",
                ) from e
        raise ProviderError(f"{self.name} cannot compile {len(sources)} kernels together: {whole}") from whole

    def _made(self, text: str) -> cl.Program:
        return cl.Program(self.context, text).build(options=list(OPTIONS), cache_dir=False)

    def _entry(self, program: cl.Program, found: str, params: Sequence[Param], name: str) -> Entry:
        kernel = cl.Kernel(program, found)
        local = kernel.get_work_group_info(cl.kernel_work_group_info.LOCAL_MEM_SIZE, self.device)
        return Entry(name, (program, found), params, int(local))

    def keep(self, entries: Mapping[str, Entry]) -> None:
        """Writes programs that were compiled here to the cache, once their kernels have run: PoCL compiles each for the
        sizes of its groups then, and has that in the program too."""
        for entry in entries.values():
            program, _ = entry.handle
            kept = self._programs.pop(id(program), None)
            if kept is not None:
                try:
                    binary = program.get_info(cl.program_info.BINARIES)[0]
                except cl.Error:
                    continue
                self.cache.store(kept[1], bytes(binary))

    # --- running

    def queue(self) -> OpenCLQueue:
        return OpenCLQueue(self, self.staging)

    def _in_order(self) -> OpenCLQueue:
        if self._own is None:
            self._own = OpenCLQueue(self)
        return self._own

    def write(self, place: Place, array: np.ndarray) -> None:
        queue = self._in_order()
        if queue.write(place, array) is not None:
            queue.finish()

    def read(self, place: Place, array: np.ndarray) -> None:
        self._in_order().read(place, array, None)

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Callable[[], Any]:
        launch = self._in_order().bind(entry, arguments, grid)
        return lambda: launch(())

    def finish(self) -> None:
        self._in_order().finish()


def _shares_memory(device: cl.Device) -> bool:
    """Whether the device works on the host's memory."""
    return bool(device.type & cl.device_type.CPU) or bool(device.host_unified_memory)


_WHERE = re.compile(r":(\d+):\d+:")


def told(text: str, log: str) -> str:
    """The lines of a text that a compiler's log calls wrong, and the first of what it says."""
    source = text.splitlines()
    wrong = [line for line in log.splitlines() if "error" in line]
    numbers = dict.fromkeys(int(m[1]) for line in wrong for m in _WHERE.finditer(line))
    shown = [f"  {n:5} | {source[n - 1]}" for n in list(numbers)[:_LINES] if 0 < n <= len(source)]
    said = wrong if wrong else log.splitlines()
    return "\n".join([*shown, *(f"  {line}" for line in said[:_LINES])])


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
