"""A part as a program for a C-like device: kernels, where everything lies in its memory, and the launches in order.

What a run needs lies in one arena: inputs, results on the way, outputs, scratch memory, words that kernels set when
they fail. Constants lie in memory of their own, which the programs of a launcher share.
"""

from __future__ import annotations

import hashlib
import threading
import weakref
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import ExecutionError, ProviderError
from ronn.plan.lifetime import analyse, nbytes
from ronn.plan.memory import align, place
from ronn.plan.segment import address
from ronn.plan.stop import running
from ronn.provider.contract import Call, Part
from ronn.provider.native import At, Counted, Engine, NativeWork, Scratch, Status
from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Kernel
from ronn_codegen.clike.launcher import Argument, Entry, Launcher, Place
from ronn_codegen.clike.loops import kernel_of
from ronn_codegen.lowering import Lowering, group_interface

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value


@dataclass(frozen=True, slots=True)
class Step:
    """One launch: the kernel, the words of its arguments, its grid, and which nodes it is for."""

    kernel: Kernel
    entry: str
    words: Sequence[Any]
    grid: Grid
    nodes: tuple[Node, ...]
    call: int
    flops: int
    nbytes: int


class Program:
    """The kernels of a part, compiled, and the layout of its memory. Runs may go on in parallel: each takes a frame."""

    def __init__(self, part: Part, made: Sequence[Lowering], launcher: Launcher) -> None:
        self.part, self.launcher = part, launcher
        needed = set(part.outputs)
        calls = [_call(c, needed) for c in made]
        # A last call that takes the outputs keeps them to the end.
        calls.append(Call(_nothing, tuple(part.outputs), (), ()))
        self._lifetimes, self._end = analyse(calls, part.inputs, ()), len(calls)
        for value, storage in self._lifetimes.storage.items():
            if storage.external and storage.home is value:
                storage.size, storage.external = nbytes(value), False
                storage.last = max(self._lifetimes.last_use.get(v, storage.last) for v in (value, *storage.values))
                if value.data is not None:  # a result is its bytes: they lie in the arena from the start
                    storage.last = self._end
        self.counted = {v: (i, found) for i, c in enumerate(made) for v, found in self._found(i, c)}
        self.failures: list[str] = []
        self.steps = [step for i, c in enumerate(made) for step in self._steps(i, c)]
        self.status_start = align(place(self._lifetimes.arena_storages(), alignment=launcher.target.alignment))
        self.arena_bytes = self.status_start + max(8 * len(self.failures), 8)
        self._constants = {address(a): a for c in made for a in c.kept}
        self.entries = self._build()
        self._idle: list[Frame] = []
        self._lock = threading.Lock()

    def _found(self, number: int, c: Lowering) -> Iterator[tuple[Value, Counted]]:
        """The outputs whose sizes kernels find out; their scratch memory is read after the last kernel."""
        for j, counted in c.counts.items():
            for index in (counted.memory, counted.count):
                storage = self._lifetimes.scratch[number, index]
                storage.last = self._end
            yield c.node.outputs[j], counted

    def _steps(self, number: int, c: Lowering) -> list[Step]:
        found = []
        for p in c.pending:
            kernel = c.context.library.kernel(p.module, p.name) if p.generated is None else kernel_of(p.generated)
            words = [self._numbered(w) for w in p.words]
            # Floats lie in words by their bits.
            kinds = [(q, _number(q.kind, w)) for q, w in zip(kernel.params, words, strict=True)]
            sizes = {q.name: w for q, w in kinds if not q.is_array}
            grid = kernel.grid(sizes, self.launcher.target)
            words = [w for _, w in kinds]
            found.append(Step(kernel, entry_of(kernel), words, grid, c.nodes, number, p.flops, p.nbytes))
        return found

    def _numbered(self, word: Any) -> Any:
        if not isinstance(word, Status):
            return word
        self.failures.append(word.message)
        return _Failure(len(self.failures) - 1)

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

    def where(self, value: Value, arena: Any) -> Place:
        """The place of a value of the part in an arena."""
        storage = self._lifetimes.storage[value]
        size = nbytes(value)
        assert size is not None
        return Place(arena, storage.offset + self._lifetimes.shift.get(value, 0), size)

    @property
    def held(self) -> list[Value]:
        """Constants whose bytes are results: the arena has them from the start."""
        return [v for v, s in self._lifetimes.storage.items() if v.data is not None and s.home is v]

    def found(self, value: Value, arena: Any) -> tuple[Place, Place]:
        """The places of a counted output and of its count."""
        number, counted = self.counted[value]
        memory, count = (self._lifetimes.scratch[number, i] for i in (counted.memory, counted.count))
        return Place(arena, memory.offset, memory.size or 0), Place(arena, count.offset, 8)

    def argument(self, step: Step, word: Any, is_array: bool, arena: Any) -> Argument:
        """What a word is on the device."""
        if isinstance(word, At):
            if word.value.data is not None:
                return _inside(constant(self.launcher, word.value.data), word.offset)
            return _inside(self.where(word.value, arena), word.offset)
        if isinstance(word, Scratch):
            storage = self._lifetimes.scratch[step.call, word.index]
            return _inside(Place(arena, storage.offset, storage.size or 0), word.offset)
        if isinstance(word, _Failure):
            return Place(arena, self.status_start + 8 * word.index, 8)
        if is_array:
            return None if word == 0 else constant(self.launcher, self._constants[word])
        return word

    # --- running

    def __call__(self, *arrays: np.ndarray) -> Any:
        """One run on host arrays; gives host arrays."""
        frame = self._take()
        try:
            results = frame.run(arrays)
        finally:
            with self._lock:
                self._idle.append(frame)
        return results[0] if len(results) == 1 else results

    def _take(self) -> Frame:
        with self._lock:
            if self._idle:
                return self._idle.pop()
        return Frame(self)

    def close(self) -> None:
        """Gives the memory of all frames back."""
        with self._lock:
            frames, self._idle = self._idle, []
        for frame in frames:
            self.launcher.free(frame.arena)


class Frame:
    """What one run at a time uses: an arena, and launches bound to it."""

    def __init__(self, program: Program) -> None:
        self.program, launcher = program, program.launcher
        self.arena = launcher.allocate(program.arena_bytes)
        self.launches: list[Callable[[], None]] = []
        for step in program.steps:
            pairs = zip(step.words, step.kernel.params, strict=True)
            arguments = [program.argument(step, w, p.is_array, self.arena) for w, p in pairs]
            self.launches.append(launcher.bind(program.entries[step.entry], arguments, step.grid))
        self.failed = np.zeros(len(program.failures), np.int64)
        for value in program.held:
            assert value.data is not None
            if value.data.nbytes:
                launcher.write(program.where(value, self.arena), np.ascontiguousarray(value.data))
        launcher.finish()

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        program, launcher = self.program, self.program.launcher
        stop = running.stop
        held = []  # until all is done
        for value, array in zip(program.part.inputs, arrays, strict=True):
            array = np.ascontiguousarray(array)
            held.append(array)
            if array.nbytes:
                launcher.write(program.where(value, self.arena), array)
        status = Place(self.arena, program.status_start, self.failed.nbytes)
        if self.failed.size:
            self.failed[...] = 0
            launcher.write(status, self.failed)
        for launch in self.launches:
            if stop is not None and stop.due:
                launcher.finish()
                raise stop.error()
            launch()
        results = []
        for value in program.part.outputs:
            assert value.dtype is not None
            if value in program.counted:
                results.append(self._counted(value))
                continue
            out = np.empty(value.tensor.static_shape, value.dtype.numpy)
            if out.nbytes:
                launcher.read(program.where(value, self.arena), out)
            results.append(out)
        if self.failed.size:
            launcher.read(status, self.failed)
        launcher.finish()
        for number in np.flatnonzero(self.failed):
            raise ExecutionError(program.failures[int(number)])
        return results

    def _counted(self, value: Value) -> np.ndarray:
        """An output whose size the kernels have found out."""
        launcher, (place, at) = self.program.launcher, self.program.found(value, self.arena)
        count = np.zeros(1, np.int64)
        launcher.read(at, count)
        launcher.finish()
        assert value.dtype is not None
        shape = [int(count[0]) if n is None else n for n in self.program.counted[value][1].shape]
        out = np.empty(shape, value.dtype.numpy)
        if out.nbytes:
            launcher.read(Place(place.memory, place.start, out.nbytes), out)
        return out


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
    native = NativeWork(_ENGINE, (), c.scratch, c.aliases)
    return Call(_nothing, inputs, outputs, c.nodes, inplace=c.inplace_inputs, native=native)


_ENGINE = Engine()


def _nothing(*_: Any) -> None:
    """In the place of the function of a call that a device runs."""


def entry_of(kernel: Kernel) -> str:
    """The name of a kernel's function: equal for equal texts."""
    name = "".join(ch if ch.isalnum() else "_" for ch in kernel.signature.name)
    return f"{name}_{hashlib.sha256(kernel.text.encode()).hexdigest()[:10]}"


# --- constants

_held: weakref.WeakKeyDictionary[Launcher, dict[int, tuple[Any, Place]]] = weakref.WeakKeyDictionary()


def constant(launcher: Launcher, array: np.ndarray) -> Place:
    """Where a constant lies in the device's memory: written once, as long as the host has it."""
    known = _held.setdefault(launcher, {})
    found = known.get(id(array))
    if found is not None and found[0]() is array:
        return found[1]
    whole = np.ascontiguousarray(array)
    made = Place(launcher.allocate(max(whole.nbytes, 1)), 0, whole.nbytes)
    if whole.nbytes:
        launcher.write(made, whole)
        launcher.finish()
    key = id(array)

    def forget(ref: Any) -> None:
        held = known.get(key)
        if held is not None and held[0] is ref:
            del known[key]
            launcher.free(made.memory)

    known[key] = (weakref.ref(array, forget), made)
    return made
