"""A part as a program for a C-like device: kernels, where everything lies in its memory, and the launches in order.

What a run needs lies in one arena: inputs, results on the way, outputs, scratch memory, words that kernels set when
they fail. Constants lie in memory of their own, which the programs of a launcher share.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn import knobs
from ronn.errors import MemoryLimitError, ProviderError
from ronn.forks import renew_after_fork
from ronn.plan.budget import size_text
from ronn.plan.lifetime import Storage, analyse, nbytes
from ronn.plan.memory import align, largest, place
from ronn.plan.segment import address
from ronn.provider.contract import Call, DeviceMemory, Held, Part
from ronn.provider.native import At, Counted, Engine, KernelCall, NativeWork, Scratch, Status
from ronn.records import dataclass
from ronn_codegen.clike.constants import Constant, constants_of
from ronn_codegen.clike.frame import Frame
from ronn_codegen.clike.guard import MARGIN, GuardedFrame
from ronn_codegen.clike.kernel import Grid, Kernel
from ronn_codegen.clike.launcher import Argument, Entry, Launcher, Place
from ronn_codegen.clike.loops import kernel_of
from ronn_codegen.lowering import Lowering, group_interface

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value

_MAX_IDLE_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: the kernel, the words of its arguments, its grid, and which nodes it is for.

    call: number of the lowering that it is of; number: which of the kernels of that.
    """

    kernel: Kernel
    entry: str
    words: Sequence[Any]
    grid: Grid
    nodes: tuple[Node, ...]
    call: int
    number: int


class Program(DeviceMemory):
    """The kernels of a part, compiled, and the layout of its memory. Runs may go on in parallel: each takes a frame."""

    def __init__(self, part: Part, made: Sequence[Lowering], launcher: Launcher) -> None:
        self.part, self.launcher = part, launcher
        self.guard = knobs.GUARD.get()
        needed = set(part.outputs)
        self.calls = [_call(c, needed) for c in made]
        # A last call that takes the outputs keeps them to the end.
        self.lifetimes = analyse([*self.calls, Call(_nothing, tuple(part.outputs), (), ())], part.inputs, ())
        for value, storage in self.lifetimes.storage.items():
            if storage.external and storage.home is value:
                storage.size, storage.external = nbytes(value), False
                storage.last = max(self.lifetimes.last_use.get(v, storage.last) for v in (value, *storage.values))
                storage.values = storage.values if storage.values else [value]
                if value.data is not None:  # a result is its bytes: they lie in the arena from the start
                    storage.last = len(made)
        self.fixed = [(v, v.data) for v, s in self.lifetimes.storage.items() if v.data is not None and s.home is v]
        """Constants whose bytes are results: arenas have them from the start."""
        self.counted = {v: (i, found) for i, c in enumerate(made) for v, found in self._counted(i, c)}
        """Outputs whose sizes kernels find out: the number of their call, and where they are."""
        self.failures: list[tuple[str, Node]] = []
        """What it means when the words that kernels set are not 0, and of which nodes."""
        self.steps = [step for i, c in enumerate(made) for step in self._steps(i, c)]
        self._lay_out()
        self._constants = self._held(made)
        before = launcher.compiles
        self.entries = self._build()
        self.compiles = launcher.compiles - before
        self.inner = (_transfer("Upload", part.inputs), *self.calls, _transfer("Download", part.outputs))
        """What it does, for profiles."""
        self._idle: list[Frame] = []
        self._frames = 0
        self._keep = _MAX_IDLE_FRAMES
        self._lock = threading.Lock()
        self._fresh = True
        renew_after_fork(self)
        _programs.setdefault(launcher, weakref.WeakSet()).add(self)

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def _counted(self, number: int, c: Lowering) -> Iterator[tuple[Value, Counted]]:
        """Those of a lowering; their scratch memory is read after the last kernel."""
        for j, counted in c.counts.items():
            for index in (counted.memory, counted.count):
                self.lifetimes.scratch[number, index].last = len(self.calls)
            yield c.node.outputs[j], counted

    def _steps(self, number: int, c: Lowering) -> list[Step]:
        found = []
        for k, p in enumerate(c.pending):
            kernel = c.context.library.kernel(p.module, p.name) if p.generated is None else kernel_of(p.generated)
            words = [self._numbered(w, c) for w in p.words]
            # Floats lie in words by their bits.
            kinds = [(q, _number(q.kind, w)) for q, w in zip(kernel.params, words, strict=True)]
            sizes = {q.name: w for q, w in kinds if not q.is_array}
            grid = kernel.grid(sizes, self.launcher.target)
            words = [w for _, w in kinds]
            found.append(Step(kernel, entry_of(kernel), words, grid, c.nodes, number, k))
        return found

    def _numbered(self, word: Any, c: Lowering) -> Any:
        if not isinstance(word, Status):
            return word
        self.failures.append((word.message, c.node))
        return _Failure(len(self.failures) - 1)

    def _lay_out(self) -> None:
        """Gives everything its place. MemoryLimitError where the device cannot hold it in one piece."""
        step = max(self.launcher.alignment, self.launcher.target.alignment)
        self.storages = [s for s in self.lifetimes.arena_storages() if s.size is not None]
        whole = place(self.storages, align(MARGIN, step) if self.guard else 0, alignment=step)
        self.status = (align(whole, step), max(8 * len(self.failures), 8))
        self.arena_bytes = align(sum(self.status), step)
        self.failed_words = len(self.failures)
        limit = self.launcher.largest
        if limit is not None and self.arena_bytes > limit:
            raise MemoryLimitError(
                f"one run of {len(self.part.nodes)} nodes needs {size_text(self.arena_bytes)} in one piece, and the "
                f"device allocates at most {size_text(limit)}",
                node=self.part.nodes[0],
                detail=self.told_largest(),
                hint="run smaller inputs, or list another provider behind this one",
            )

    def told_largest(self) -> str:
        """The largest tensors, for messages."""
        return "  largest  " + "; ".join(f"{text} {size_text(size)}" for size, text in largest(self.lifetimes))

    def _held(self, made: Sequence[Lowering]) -> dict[int, Constant]:
        """The constants that the steps name: by the ``id`` of values, or by the address that stands in words."""
        known = constants_of(self.launcher)
        arrays = {address(a): a for c in made for a in c.kept if isinstance(a, np.ndarray)}
        found: dict[int, Constant] = {}
        for step in self.steps:
            for param, word in zip(step.kernel.params, step.words, strict=True):
                if isinstance(word, At):
                    if word.value.data is not None and id(word.value) not in found:
                        found[id(word.value)] = known.of(word.value.data)
                elif param.is_array and isinstance(word, int) and word != 0 and word not in found:
                    found[word] = known.of(arrays[word])
        self._values = [w.value for step in self.steps for w in step.words if isinstance(w, At)]  # keeps ids
        return found

    def _build(self) -> dict[str, Entry]:
        kernels = {step.entry: step.kernel for step in self.steps}
        target = self.launcher.target
        sources = {name: kernel.source(name, target) for name, kernel in kernels.items()}
        entries = self.launcher.build(sources, {name: kernel.params for name, kernel in kernels.items()})
        for entry in entries.values():
            if entry.local_bytes > target.local_bytes:
                raise ProviderError(
                    f"kernel {entry.name} takes {entry.local_bytes} bytes of on-chip memory, and may use "
                    f"{target.local_bytes}",
                    hint="a lowering made it larger than its target allows: that is a defect of the lowering",
                )
        return entries

    # --- where things lie

    def storage(self, value: Value) -> Storage:
        """The storage of a value of the part that is no constant."""
        return self.lifetimes.storage[value]

    def is_constant(self, value: Value) -> bool:
        """Whether a value that a step names lies outside of arenas."""
        return id(value) in self._constants

    def argument(self, step: Step, number: int, parts: dict[int, Place]) -> Argument:
        """What a word of a step is on the device, for an arena whose storages are ``parts`` (by ``id``)."""
        word = step.words[number]
        if isinstance(word, At):
            constant = self._constants.get(id(word.value))
            return _inside(self.where(word.value, parts) if constant is None else constant.place, word.offset)
        if isinstance(word, Scratch):
            return _inside(parts[id(self.lifetimes.scratch[step.call, word.index])], word.offset)
        if isinstance(word, _Failure):
            return Place(parts[STATUS].memory, parts[STATUS].start + 8 * word.index, 8)
        if step.kernel.params[number].is_array:
            return None if word == 0 else self._constants[word].place
        return word

    def where(self, value: Value, parts: dict[int, Place]) -> Place:
        """Where a value lies that is no constant."""
        size = nbytes(value)
        assert size is not None
        whole = parts[id(self.lifetimes.storage[value])]
        return Place(whole.memory, whole.start + self.lifetimes.shift.get(value, 0), size)

    def found(self, value: Value, parts: dict[int, Place]) -> tuple[Place, Place]:
        """Where a counted output lies, and its count."""
        number, counted = self.counted[value]
        memory, count = (parts[id(self.lifetimes.scratch[number, i])] for i in (counted.memory, counted.count))
        return memory, Place(count.memory, count.start, 8)

    # --- running

    def __call__(self, *arrays: np.ndarray) -> Any:
        """One run on host arrays; gives host arrays.

        Raises ExecutionError naming the node that failed, DeviceLostError, MemoryLimitError, CancelledError.
        """
        # Lists of frames are popped and appended without a lock: a fork may come at any moment.
        try:
            frame = self._idle.pop()
        except IndexError:
            frame = self._new_frame()
        try:
            results = frame.run(arrays)
        finally:
            if frame.sound and len(self._idle) < self._keep:
                self._idle.append(frame)
            else:
                self._drop(frame)
        if self._fresh:
            self._fresh = False
            self.launcher.keep(self.entries)
        return results[0] if len(results) == 1 else results

    def _new_frame(self) -> Frame:
        if self.budget is not None:
            self.budget.take(self.arena_bytes)
        try:
            frame = self._allocated()
        except BaseException:
            if self.budget is not None:
                self.budget.give(self.arena_bytes)
            raise
        with self._lock:
            self._frames += 1
        return frame

    def _allocated(self) -> Frame:
        kind = GuardedFrame if self.guard else Frame
        try:
            return kind(self)
        except MemoryLimitError:
            for other in list(_programs.get(self.launcher, ())):
                other.trim()
        try:
            return kind(self)
        except MemoryLimitError as e:
            text = f"{e.message}; a run of {len(self.part.nodes)} nodes needs {size_text(self.arena_bytes)}"
            hint = "run smaller inputs or fewer runs at once, or list another provider behind this one"
            raise MemoryLimitError(text, node=self.part.nodes[0], detail=self.told_largest(), hint=hint) from e

    def _drop(self, frame: Frame) -> None:
        frame.close()
        with self._lock:
            self._frames -= 1
        if self.budget is not None:
            self.budget.give(self.arena_bytes)

    def held(self) -> Held:
        constants = {c.key: c.place.nbytes for c in self._constants.values()}
        return Held(constants, self.arena_bytes, self._frames, len(self._idle))

    def trim(self) -> None:
        while self._idle:
            try:
                frame = self._idle.pop()
            except IndexError:
                break
            self._drop(frame)

    def close(self) -> None:
        """Gives the memory of all frames back; that of runs in progress when they are over."""
        self._keep = 0
        self.trim()


STATUS = -1
"""In the place of a storage's ``id``: the words that kernels set when they fail."""


@dataclass(frozen=True, slots=True)
class _Failure:
    """A word that becomes the address of the word of failure number ``index``."""

    index: int


def _inside(at: Place, offset: int) -> Place:
    return Place(at.memory, at.start + offset, at.nbytes - offset) if offset else at


def _number(kind: str, word: Any) -> Any:
    if kind == "f32":
        return float(np.uint32(word).view(np.float32))
    return float(np.int64(word).view(np.float64)) if kind == "f64" else word


def _call(c: Lowering, needed: set[Value]) -> Call:
    if len(c.nodes) == 1:
        inputs, outputs = c.node.inputs, c.node.outputs
    else:
        inputs, outputs = group_interface(c.nodes, needed)
    kernels = [KernelCall(p.name, 0, p.words, flops=p.flops, nbytes=p.nbytes) for p in c.pending]
    native = NativeWork(_ENGINE, kernels, c.scratch, c.aliases)
    return Call(_nothing, inputs, outputs, c.nodes, inplace=c.inplace_inputs, native=native)


def _transfer(what: str, values: Sequence[Value]) -> Call:
    kernels = [KernelCall(f"{what.lower()} %{v.name}", 0, (), nbytes=nbytes(v) or 0) for v in values]
    return Call(_nothing, tuple(values), tuple(values), (), native=NativeWork(_ENGINE, kernels), title=what)


_ENGINE = Engine()
_programs: weakref.WeakKeyDictionary[Launcher, weakref.WeakSet[Program]] = weakref.WeakKeyDictionary()


def _nothing(*_: Any) -> None:
    """In the place of the function of a call that a device runs."""


def entry_of(kernel: Kernel) -> str:
    """The name of a kernel's function: equal for equal texts."""
    name = "".join(ch if ch.isalnum() else "_" for ch in kernel.signature.name)
    return f"{name}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:10]}"
