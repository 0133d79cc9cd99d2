"""What one run gives to an OpenCL device: kernels in order, and large transfers beside them.

Small transfers go through the queue of the kernels. Large ones have a queue of their own, so that they overlap with
kernels, which wait for what they read by events. Where a device cannot read the host's memory as it is, large transfers
go through two pinned buffers in turn: one is filled while the other one is on its way.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import pyopencl as cl

from ronn_codegen.clike.kernel import Grid
from ronn_codegen.clike.launcher import Argument, Entry, Launch, Place, Queue, Ticket, Timed
from ronn_provider_npu.failures import failure

if TYPE_CHECKING:
    from ronn_provider_npu.launcher import OpenCLLauncher

LARGE = 1 << 20
"""Bytes from which a transfer goes beside the kernels."""
_NUMBERS = {"i64": np.int64, "f32": np.float32, "f64": np.float64}


class OpenCLQueue(Queue):
    """Command queues of one run at a time. ``staging``: bytes of each of the two pinned buffers; 0 for none."""

    _launcher: OpenCLLauncher

    def __init__(self, launcher: OpenCLLauncher, staging: int = 0) -> None:
        super().__init__(launcher)
        self._staging = staging
        self._halves: list[_Half] = []
        self._turn = 0
        self._late: list[tuple[Place, np.ndarray, Ticket, _Noted | None]] = []  # reads through pinned buffers
        self._beside: cl.CommandQueue | None = None
        self._given: list[cl.Event] = []  # of transfers: one that is dropped is waited for
        self._timed = False
        self._noted: list[_Noted] = []
        self._started = 0
        self._main = self._made()

    def _made(self) -> cl.CommandQueue:
        launcher = self._launcher
        launcher.check()
        flags = cl.command_queue_properties.PROFILING_ENABLE if self._timed else 0
        try:
            return cl.CommandQueue(launcher.context, launcher.device, properties=flags)
        except cl.Error as e:
            raise self._failure(e, "making a queue") from e

    def _failure(self, error: cl.Error, doing: str) -> Exception:
        return self._launcher.failure(error, doing)

    def _other(self) -> cl.CommandQueue:
        if self._beside is None:
            self._beside = self._made()
        return self._beside

    # --- moving

    def write(self, place: Place, array: np.ndarray) -> Ticket:
        self._launcher.check()
        flat = array.reshape(-1).view(np.uint8)
        noted = self._note("upload")
        try:
            if flat.nbytes < LARGE:
                event = cl.enqueue_copy(self._main, place.memory, flat, dst_offset=place.start, is_blocking=False)
                self._keep(noted, event)
                return None
            if self._staging:
                return self._staged(place, flat, noted)
            event = cl.enqueue_copy(self._other(), place.memory, flat, dst_offset=place.start, is_blocking=False)
            self._keep(noted, event)
            self._other().flush()
            return event
        except cl.Error as e:
            raise self._failure(e, f"an upload of {flat.nbytes} bytes") from e

    def read(self, place: Place, array: np.ndarray, after: Ticket) -> None:
        flat = array.reshape(-1).view(np.uint8)
        noted = self._note("download")
        try:
            if flat.nbytes < LARGE or after is None:
                wait = None if after is None else [after]
                event = cl.enqueue_copy(
                    self._main, flat, place.memory, src_offset=place.start, is_blocking=False, wait_for=wait
                )
                self._keep(noted, event)
            elif self._staging:
                self._late.append((place, flat, after, noted))
            else:
                event = cl.enqueue_copy(
                    self._other(), flat, place.memory, src_offset=place.start, is_blocking=False, wait_for=[after]
                )
                self._keep(noted, event)
                self._main.flush()
        except cl.Error as e:
            raise self._failure(e, f"a download of {flat.nbytes} bytes") from e

    def _half(self) -> _Half:
        """The pinned buffer whose turn it is; what it was used for is over."""
        while len(self._halves) < 2:
            self._halves.append(_Half(self._launcher.context, self._other(), self._staging))
        self._turn = 1 - self._turn
        half = self._halves[self._turn]
        half.finish()
        return half

    def _staged(self, place: Place, flat: np.ndarray, noted: _Noted | None) -> Ticket:
        event = None
        for start in range(0, flat.nbytes, self._staging):
            chunk, half = flat[start : start + self._staging], self._half()
            part = half.host[: chunk.nbytes]
            part[...] = chunk
            half.event = event = cl.enqueue_copy(
                self._other(), place.memory, part, dst_offset=place.start + start, is_blocking=False
            )
            _add(noted, event)
            self._other().flush()
        return event

    def _read_late(self) -> None:
        late, self._late = self._late, []
        self._main.flush()
        for place, flat, after, noted in late:
            for start in range(0, flat.nbytes, self._staging):
                chunk, half = flat[start : start + self._staging], self._half()
                half.event = cl.enqueue_copy(
                    self._other(), half.host[: chunk.nbytes], place.memory, src_offset=place.start + start,
                    is_blocking=False, wait_for=[after],
                )  # fmt: skip
                half.goes_to = chunk
                _add(noted, half.event)
                self._other().flush()
        for half in self._halves:
            half.finish()

    # --- kernels

    def bind(self, entry: Entry, arguments: Sequence[Argument], grid: Grid) -> Launch:
        program, name = entry.handle
        kernel = cl.Kernel(program, name)
        given: list[Any] = []
        for param, argument in zip(entry.params, arguments, strict=True):
            if param.is_array:
                assert argument is None or isinstance(argument, Place)
                given += [None, np.int64(0)] if argument is None else [argument.memory, np.int64(argument.start)]
            else:
                given.append(_NUMBERS[param.kind](cast("Any", argument)))
        try:
            kernel.set_args(*given)
        except cl.Error as e:
            raise self._failure(e, f"kernel {name}") from e
        whole = tuple(g * n for g, n in zip(grid.groups, grid.local, strict=True))
        local, enqueue = grid.local, cl.enqueue_nd_range_kernel

        def launch(after: Sequence[Ticket]) -> Ticket:
            try:
                if after:
                    event = enqueue(self._main, kernel, whole, local, wait_for=after)
                else:
                    event = enqueue(self._main, kernel, whole, local)
            except cl.Error as e:
                raise self._failure(e, f"kernel {name}") from e
            if self._timed:
                _add(self._note(name), event)
            return event

        return launch

    # --- waiting

    def wait(self, ticket: Ticket) -> None:
        try:
            ticket.wait()
        except cl.Error as e:
            raise self._failure(e, "a kernel") from e

    def failed(self, ticket: Ticket) -> bool:
        try:
            return bool(ticket.command_execution_status < 0)
        except cl.Error:
            return True

    def finish(self) -> None:
        self._launcher.check()
        try:
            if self._late:
                self._read_late()
            self._main.finish()
            if self._beside is not None:
                self._beside.finish()
            self._given.clear()
        except cl.Error as e:
            self._late.clear()
            raise self._failure(e, "the end of a run") from e

    def _keep(self, noted: _Noted | None, event: cl.Event) -> None:
        self._given.append(event)
        _add(noted, event)

    # --- times

    def _note(self, name: str) -> _Noted | None:
        if not self._timed:
            return None
        self._noted.append(_Noted(name, [], time.perf_counter_ns()))
        return self._noted[-1]

    def clock(self, on: bool) -> None:
        self._noted = []
        if on != self._timed:
            self._timed = on
            self._main, self._beside = self._made(), None

    def timeline(self) -> Sequence[Timed] | None:
        try:
            # The device's clock beside the host's: by the least of what lies between giving and queueing.
            gaps = [n.events[0].profile.queued - n.given for n in self._noted if n.events]
            shift = min(gaps, default=0)
            return [
                Timed(n.name, n.events[0].profile.start - shift, n.events[-1].profile.end - shift)
                for n in self._noted
                if n.events
            ]
        except cl.Error:
            return None  # a run that failed

    def close(self) -> None:
        for half in self._halves:
            half.close()
        self._halves = []


class _Noted:
    """What was given to a queue while the clock was on; ``given``: when, nanoseconds of the host."""

    __slots__ = ("events", "given", "name")

    def __init__(self, name: str, events: list[cl.Event], given: int) -> None:
        self.name, self.events, self.given = name, events, given


def _add(noted: _Noted | None, event: cl.Event) -> None:
    if noted is not None:
        noted.events.append(event)


class _Half:
    """A pinned buffer of the host, and the transfer that it is used for."""

    def __init__(self, context: cl.Context, queue: cl.CommandQueue, nbytes: int) -> None:
        flags = cl.mem_flags.READ_WRITE | cl.mem_flags.ALLOC_HOST_PTR
        self._queue = queue
        self._buffer = cl.Buffer(context, flags, nbytes)
        maps = cl.map_flags.READ | cl.map_flags.WRITE
        self.host: np.ndarray
        self.host, _ = cl.enqueue_map_buffer(queue, self._buffer, maps, 0, (nbytes,), np.uint8)
        self.event: cl.Event | None = None
        self.goes_to: np.ndarray | None = None

    def finish(self) -> None:
        """Waits for the transfer, and brings what was read to where it goes."""
        if self.event is not None:
            self.event.wait()
            self.event = None
        if self.goes_to is not None:
            self.goes_to[...] = self.host[: self.goes_to.nbytes]
            self.goes_to = None

    def close(self) -> None:
        self.event = self.goes_to = None
        cast("cl.MemoryMap", self.host.base).release(self._queue)
        self._buffer.release()


__all__ = ["LARGE", "OpenCLQueue", "failure"]
