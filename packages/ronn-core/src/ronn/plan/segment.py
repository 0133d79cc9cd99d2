"""Segments: runs of native calls that one launch executes.

A segment's argument blocks lie in one int64 array, a template that each frame copies. Addresses in the arena are
written once a frame; those of inputs, outputs and other arrays of their own at each run.
"""

from __future__ import annotations

import ctypes
import math
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import ExecutionError, ProviderError
from ronn.ir.graph import Value
from ronn.mapped import for_runs
from ronn.plan.lifetime import Lifetimes, Storage
from ronn.provider import Call
from ronn.provider.native import At, Engine, KernelCall, Scratch, Status
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.plan.stop import Stop
    from ronn.usage import Copies


@dataclass(frozen=True, slots=True)
class External:
    """An array outside of the arena that others make: its slot, its bytes, and the words (with offsets) that hold its
    address."""

    slot: int
    nbytes: int
    words: tuple[tuple[int, int], ...]
    value: Value


@dataclass(frozen=True, slots=True)
class Made:
    """An array that the segment makes before it runs: an output of the graph, or what Python reads next."""

    slot: int
    shape: tuple[int, ...]
    dtype: np.dtype
    words: tuple[tuple[int, int], ...]
    value: Value


@dataclass(frozen=True, slots=True)
class View:
    """A value that is part of another array: ``slot`` becomes bytes of ``home`` from ``shift`` on."""

    slot: int
    home: int
    shift: int
    shape: tuple[int, ...]
    dtype: np.dtype
    nbytes: int
    plain: bool  # of a dtype that NumPy itself has


@dataclass(frozen=True, slots=True)
class Found:
    """A value whose size the last call of a segment finds out: in the arena it lies in the ``size`` bytes from
    ``start`` on, and the size that ``shape`` leaves open is the int64 at ``count``."""

    slot: int
    start: int
    size: int
    count: int
    shape: tuple[int | None, ...]
    dtype: np.dtype
    value: Value

    def taken(self, arena: np.ndarray) -> np.ndarray:
        """A copy of it."""
        n = int(arena[self.count : self.count + 8].view(np.int64)[0])
        shape = tuple(n if d is None else d for d in self.shape)
        size = math.prod(shape) * self.dtype.itemsize
        if n < 0 or size > self.size:
            raise ProviderError(f"a kernel made %{self.value.name} {list(shape)}, which it has no room for")
        return arena[self.start : self.start + size].view(self.dtype).reshape(shape).copy()


class Segment:
    """Consecutive native calls of one engine, laid out for launching. ``visible``: slots that somebody outside of
    segments reads."""

    def __init__(
        self,
        engine: Engine,
        calls: Sequence[tuple[int, Call]],
        slots: Mapping[Value, int],
        lifetimes: Lifetimes,
        visible: Container[int],
    ) -> None:
        self.engine = engine
        self.calls = tuple(call for _, call in calls)
        self.kernels: list[KernelCall] = []
        self.owners: list[Call] = []
        self._words: list[int] = []
        self._starts: list[int] = []
        self._arena: list[tuple[int, int]] = []
        self._external: dict[Storage, list[tuple[int, int]]] = {}
        self._status: list[tuple[int, Call, str]] = []
        self._slots = slots
        self._visible = visible
        self._lifetimes = lifetimes
        self.indices = tuple(index for index, _ in calls)
        self._constants: dict[int, np.ndarray] = {}
        for index, call in calls:
            self._lay_out(index, call)
        self.found = tuple(f for index, call in calls for f in self._counted(index, call))
        self.made, self.views = self._outputs(dict.fromkeys(v for _, call in calls for v in call.outputs))
        self._finish()

    @property
    def constants(self) -> list[np.ndarray]:
        """Arrays of constants that the kernels read where they lie."""
        return list(self._constants.values())

    # --- building

    def _outputs(self, produced: Mapping[Value, None]) -> tuple[tuple[Made, ...], tuple[View, ...]]:
        made, views = [], []
        found = {f.value for f in self.found}
        for value in produced:
            storage = self._lifetimes.storage.get(value)
            if value in found or not value.name or storage is None or not storage.external or value.dtype is None:
                continue
            shape, dtype = value.tensor.static_shape, value.dtype.numpy
            if storage.home is value:
                made.append(Made(self._slots[value], shape, dtype, tuple(self._external.pop(storage, ())), value))
            elif storage.home is not None and self._slots[value] in self._visible:
                shift = self._lifetimes.shift.get(value, 0)
                size = value.tensor.size * dtype.itemsize
                plain = dtype.isbuiltin == 1
                views.append(View(self._slots[value], self._slots[storage.home], shift, shape, dtype, size, plain))
        return tuple(made), tuple(views)

    def _counted(self, index: int, call: Call) -> Iterator[Found]:
        assert call.native is not None
        for j, counted in call.native.counted.items():
            value = call.outputs[j]
            if value.name:
                assert value.dtype is not None
                memory, count = (self._lifetimes.scratch[index, n] for n in (counted.memory, counted.count))
                slot, size = self._slots[value], memory.size
                assert size is not None
                yield Found(slot, memory.offset, size, count.offset, counted.shape, value.dtype.numpy, value)

    def _lay_out(self, index: int, call: Call) -> None:
        assert call.native is not None
        if index in self._lifetimes.joined:
            return
        for kernel in call.native.kernels:
            self.kernels.append(kernel)
            self.owners.append(call)
            self._starts.append(len(self._words))
            words = self._words
            for word in kernel.words:
                words.append(word if type(word) is int else self._word(word, index, call))

    def _word(self, word: Any, index: int, call: Call) -> int:
        place = len(self._words)
        if isinstance(word, At):
            return self._address(word, place)
        if isinstance(word, Scratch):
            self._arena.append((place, self._lifetimes.scratch[index, word.index].offset + word.offset))
            return 0
        if isinstance(word, Status):
            self._status.append((place, call, word.message))
            return 0
        return int(word)

    def _address(self, at: At, place: int) -> int:
        value = at.value
        storage = self._lifetimes.storage.get(value)
        offset = self._lifetimes.shift.get(value, 0) + at.offset
        if storage is not None and not storage.external:
            self._arena.append((place, storage.offset + offset))
            return 0
        home = value if storage is None or storage.home is None else storage.home
        if home.data is not None:
            data = constant(home)
            self._constants[id(data)] = data
            return address(data) + offset
        if storage is None:
            raise ProviderError(f"%{value.name} is used before it is made")
        self._external.setdefault(storage, []).append((place, offset))
        return 0

    def _finish(self) -> None:
        self.template = np.array(self._words, np.int64)
        self._arena_words = np.array([p for p, _ in self._arena], np.int64)
        self._arena_offsets = np.array([o for _, o in self._arena], np.int64)
        self.external = tuple(
            External(self._slots[s.home], s.home.tensor.size * s.home.dtype.numpy.itemsize, tuple(words), s.home)
            for s, words in self._external.items()
            if s.home is not None and s.home.dtype is not None
        )
        self._clean = bytes(8 * len(self._status))
        starts = np.array(self._starts, np.int64)
        self.steps = np.zeros((len(self.kernels), 3), np.int64)
        if len(self.kernels):
            self.steps[:, 0] = [k.address for k in self.kernels]
            self.steps[:, 1] = starts * 8
            self.steps[:, 2] = [k.chunks for k in self.kernels]


def constant(value: Value) -> np.ndarray:
    """The array of a constant, in C order: kept on the value, so that its address stays good."""
    assert value.data is not None
    data = value.data = for_runs(value.data)
    if not data.flags.c_contiguous:
        data = value.data = np.ascontiguousarray(data)
    return data


_DATA = object.__basicsize__  # where an ndarray object holds the address of its data: behind the object's own header
_read = ctypes.c_ssize_t.from_address


def _address(array: np.ndarray) -> int:
    place: int = array.__array_interface__["data"][0]
    return place


def _address_fast(array: np.ndarray) -> int:
    return _read(id(array) + _DATA).value


def _header_is_plain() -> bool:
    """Whether ndarray objects are laid out as NumPy's C API says, so that the address need not be asked for."""
    import sys

    samples: list[np.ndarray] = [np.zeros(3), np.zeros((2, 5), np.int8)[:, 1:]]
    return sys.implementation.name == "cpython" and all(_address_fast(a) == _address(a) for a in samples)


address: Callable[[np.ndarray], int] = _address_fast if _header_is_plain() else _address
"""Where an array's first element lies."""


class Bound:
    """A segment with the addresses of one frame's arena."""

    __slots__ = ("_arena", "_blocks", "_copies", "_launch", "_segment", "_steps", "_verdicts", "_words", "clock")

    def __init__(self, segment: Segment, arena: np.ndarray | None, copies: Copies | None = None) -> None:
        self._segment = segment
        self._copies = copies
        self._arena = np.empty(0, np.uint8) if arena is None else arena
        self._blocks = segment.template.copy()
        if arena is not None and len(segment._arena_words):
            self._blocks[segment._arena_words] = segment._arena_offsets + address(arena)
        self._verdicts = np.zeros(len(segment._status), np.int64)
        for i, (place, _, _) in enumerate(segment._status):
            self._blocks[place] = address(self._verdicts) + 8 * i
        self._steps = segment.steps.copy()
        self._steps[:, 1] += address(self._blocks) if self._blocks.size else 0
        self._words = self._blocks.data
        self._launch = segment.engine.bind(self._steps)
        self.clock: np.ndarray | None = None

    def run(self, slots: list[Any], stop: Stop) -> None:
        """Runs the kernels on what the slots hold, and fills the slots that others read; arrays that are there already
        are written to.

        Raises ExecutionError with the message of a kernel that failed, CancelledError when ``stop`` ended the run.
        """
        segment = self._segment
        self.fill(slots)
        if self.clock is not None:
            segment.engine.launch(self._steps, self.clock)
        elif segment.kernels:
            step = self._launch(stop, 0)
            while step:
                if stop.due:
                    self._verdicts[:] = 0
                    raise stop.error(segment.owners[step])
                step = self._launch(stop, step)
        if segment._status:
            self.check()
        for found in segment.found:
            slots[found.slot] = found.taken(self._arena)

    def fill(self, slots: list[Any], empty: Callable[..., np.ndarray] = np.empty) -> None:
        """Makes the outputs that are not there, and writes the addresses of everything outside of the arena."""
        segment, words = self._segment, self._words
        for made in segment.made:
            array = slots[made.slot]
            if array is None:
                array = slots[made.slot] = empty(made.shape, made.dtype)
            start = address(array)
            for place, offset in made.words:
                words[place] = start + offset
        for external in segment.external:
            array = slots[external.slot]
            if not isinstance(array, np.ndarray):
                array = slots[external.slot] = np.asarray(array)
            if not array.flags.c_contiguous:
                # The slot keeps the copy alive as long as its address is in use.
                array = slots[external.slot] = np.ascontiguousarray(array)
                if self._copies is not None and external.value.producer is None:
                    self._copies.count(ins=1)
            if array.nbytes != external.nbytes:
                raise ProviderError(f"a kernel was handed {array.nbytes} bytes where the plan has {external.nbytes}")
            start = address(array)
            for place, offset in external.words:
                words[place] = start + offset
        for view in segment.views:
            slots[view.slot] = _part(slots[view.home], view)

    def check(self) -> None:
        """Raises KernelFailure when a kernel has set its status word."""
        segment = self._segment
        if segment._status and self._verdicts.tobytes() != segment._clean:
            failed = int(np.flatnonzero(self._verdicts)[0])
            self._verdicts[:] = 0
            _, call, message = segment._status[failed]
            raise KernelFailure(message, call)


def _part(home: np.ndarray, view: View) -> np.ndarray:
    if view.plain and home.flags.c_contiguous and home.dtype.isbuiltin == 1:
        return np.ndarray(view.shape, view.dtype, home, view.shift)
    flat = np.ascontiguousarray(home).reshape(-1).view(np.uint8)
    return flat[view.shift : view.shift + view.nbytes].view(view.dtype).reshape(view.shape)


class KernelFailure(ExecutionError):
    """Carries the call whose kernel failed to the plan, which adds the node and its inputs."""

    def __init__(self, message: str, call: Call) -> None:
        super().__init__(message)
        self.call = call
