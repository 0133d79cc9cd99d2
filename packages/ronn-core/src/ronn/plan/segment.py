"""Segments: runs of native calls that one launch executes.

A segment's argument blocks lie in one int64 array, a template that each frame copies. Addresses in the arena are
written once a frame; those of inputs, outputs and other arrays of their own at each run.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ronn.errors import ExecutionError, ProviderError
from ronn.ir.graph import Value
from ronn.plan.lifetime import Lifetimes, Storage
from ronn.provider import Call
from ronn.provider.native import At, Engine, KernelCall, Scratch, Status


@dataclass(frozen=True, slots=True)
class External:
    """An array outside of the arena: its slot, its bytes, and the words (with offsets) that hold its address."""

    slot: int
    nbytes: int
    words: tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Made:
    """An array that the segment makes before it runs: an output of the graph, or what Python reads next."""

    slot: int
    shape: tuple[int, ...]
    dtype: np.dtype


@dataclass(frozen=True, slots=True)
class View:
    """A value that is part of another array: ``slot`` becomes bytes of ``home`` from ``shift`` on."""

    slot: int
    home: int
    shift: int
    shape: tuple[int, ...]
    dtype: np.dtype


class Segment:
    """Consecutive native calls of one engine, laid out for launching."""

    def __init__(
        self, engine: Engine, calls: Sequence[tuple[int, Call]], slots: Mapping[Value, int], lifetimes: Lifetimes
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
        self._lifetimes = lifetimes
        produced = {v for _, call in calls for v in call.outputs}
        self.made, self.views = self._outputs(produced)
        for index, call in calls:
            self._lay_out(index, call)
        self._finish()

    # --- building

    def _outputs(self, produced: set[Value]) -> tuple[tuple[Made, ...], tuple[View, ...]]:
        made, views = [], []
        for value in produced:
            storage = self._lifetimes.storage.get(value)
            if not value.name or storage is None or not storage.external or value.dtype is None:
                continue
            shape, dtype = value.tensor.static_shape, value.dtype.numpy
            if storage.home is value:
                made.append(Made(self._slots[value], shape, dtype))
            elif storage.home is not None:
                shift = self._lifetimes.shift.get(value, 0)
                views.append(View(self._slots[value], self._slots[storage.home], shift, shape, dtype))
        return tuple(made), tuple(views)

    def _lay_out(self, index: int, call: Call) -> None:
        assert call.native is not None
        for kernel in call.native.kernels:
            self.kernels.append(kernel)
            self.owners.append(call)
            self._starts.append(len(self._words))
            for word in kernel.words:
                self._words.append(self._word(word, index, call))

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
            return address(constant(home)) + offset
        if storage is None:
            raise ProviderError(f"%{value.name} is used before it is made")
        self._external.setdefault(storage, []).append((place, offset))
        return 0

    def _finish(self) -> None:
        self.template = np.array(self._words, np.int64)
        self._arena_words = np.array([p for p, _ in self._arena], np.int64)
        self._arena_offsets = np.array([o for _, o in self._arena], np.int64)
        self.external = tuple(
            External(self._slots[s.home], s.home.tensor.size * s.home.dtype.numpy.itemsize, tuple(words))
            for s, words in self._external.items()
            if s.home is not None and s.home.dtype is not None
        )
        starts = np.array(self._starts, np.int64)
        self.steps = np.zeros((len(self.kernels), 3), np.int64)
        if len(self.kernels):
            self.steps[:, 0] = [k.address for k in self.kernels]
            self.steps[:, 1] = starts * 8
            self.steps[:, 2] = [k.chunks for k in self.kernels]

    def bind(self, arena: np.ndarray | None) -> Bound:
        """The segment for one frame."""
        return Bound(self, arena)


def constant(value: Value) -> np.ndarray:
    """The array of a constant, in C order: kept on the value, so that its address stays good."""
    data = value.data
    assert data is not None
    if not data.flags.c_contiguous:
        data = value.data = np.ascontiguousarray(data)
    return data


def address(array: np.ndarray) -> int:
    """Where the array's first element lies."""
    place: int = array.__array_interface__["data"][0]
    return place


class Bound:
    """A segment with the addresses of one frame's arena."""

    __slots__ = ("_blocks", "_held", "_segment", "_steps", "_verdicts", "clock")

    def __init__(self, segment: Segment, arena: np.ndarray | None) -> None:
        self._segment = segment
        self._blocks = segment.template.copy()
        if arena is not None and len(segment._arena_words):
            self._blocks[segment._arena_words] = segment._arena_offsets + address(arena)
        self._verdicts = np.zeros(len(segment._status), np.int64)
        for i, (place, _, _) in enumerate(segment._status):
            self._blocks[place] = address(self._verdicts) + 8 * i
        self._steps = segment.steps.copy()
        self._steps[:, 1] += address(self._blocks) if self._blocks.size else 0
        self.clock: np.ndarray | None = None

    def run(self, slots: list[Any]) -> None:
        """Runs the kernels on what the slots hold, and fills the slots that others read.

        Raises ExecutionError with the message of a kernel that failed.
        """
        segment, blocks = self._segment, self._blocks
        for made in segment.made:
            slots[made.slot] = np.empty(made.shape, made.dtype)
        held = None
        for external in segment.external:
            array = slots[external.slot]
            if not array.flags.c_contiguous:
                array = np.ascontiguousarray(array)
                held = [array] if held is None else [*held, array]
            if array.nbytes != external.nbytes:
                raise ProviderError(f"a kernel was handed {array.nbytes} bytes where the plan has {external.nbytes}")
            start = array.__array_interface__["data"][0]
            for place, offset in external.words:
                blocks[place] = start + offset
        for view in segment.views:
            slots[view.slot] = _part(slots[view.home], view)
        if len(self._steps):
            segment.engine.launch(self._steps, self.clock)
        if len(self._verdicts) and self._verdicts.any():
            failed = int(np.flatnonzero(self._verdicts)[0])
            self._verdicts[:] = 0
            _, call, message = segment._status[failed]
            raise KernelFailure(message, call)


def _part(home: np.ndarray, view: View) -> np.ndarray:
    size = int(np.prod(view.shape, dtype=np.int64)) * view.dtype.itemsize
    flat = np.ascontiguousarray(home).reshape(-1).view(np.uint8)
    return flat[view.shift : view.shift + size].view(view.dtype).reshape(view.shape)


class KernelFailure(ExecutionError):
    """Carries the call whose kernel failed to the plan, which adds the node and its inputs."""

    def __init__(self, message: str, call: Call) -> None:
        super().__init__(message)
        self.call = call
