"""The plan: flat steps over numbered slots. ``run`` has no hooks and no look-ups by name."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np

from ronn.cached import cached_property
from ronn.errors import CancelledError, ExecutionError, MemoryLimitError, ProviderError, RonnError
from ronn.forks import renew_after_fork
from ronn.ir.graph import Value
from ronn.mapped import files_of, for_runs
from ronn.plan.budget import Budget
from ronn.plan.frame import Frame, make_arena
from ronn.plan.guard import MARGIN, GuardedBound
from ronn.plan.lifetime import Lifetimes, analyse
from ronn.plan.memory import heap_peak, largest, place
from ronn.plan.out import Place, over_inputs, places
from ronn.plan.segment import Bound, KernelFailure, Segment
from ronn.plan.stop import NEVER, Stop, running
from ronn.provider import Call, DeviceMemory
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.usage import Copies

_NONE = 0  # the slot of omitted inputs
_MAX_IDLE_FRAMES = 4


@dataclass(frozen=True, slots=True)
class Step:
    """One call over slots: ``outs`` are slots (-1: nobody wants it); ``arena``: the outputs are there already.

    ``segment`` is the number of the segment that this step launches instead of calling ``fn``; -1 for none.
    """

    fn: Callable[..., Any]
    ins: tuple[int, ...]
    outs: tuple[int, ...]
    arena: tuple[bool, ...]
    into: bool
    frees: tuple[int, ...]
    call: Call
    segment: int = -1


class Recorder(Protocol):
    """Told when steps begin and end, while a run is profiled."""

    def begin(self, plan: Plan, step: Step, segments: Sequence[Bound]) -> None: ...

    def end(self) -> None: ...


def _where_to_look(call: Call) -> str:
    given = [v.name for v in call.inputs if v is not None and v.producer is None and not v.is_const]
    if given:
        return f"look at the values of {', '.join(map(repr, given))}, which the run was given"
    return "`session.run(..., trace=[...])` returns the values that go into the node"


class Plan:
    """Calls of one graph, ready to run on values of fixed types.

    Runs may go on in parallel: each takes a frame from a small pool, and makes a new one when the pool is empty.
    """

    def __init__(
        self,
        calls: Sequence[Call],
        inputs: Sequence[Value],
        outputs: Sequence[Value],
        *,
        check: bool = False,
        guard: bool = False,
        budget: Budget | None = None,
    ) -> None:
        self.calls = tuple(calls)
        self.outputs = tuple(outputs)
        lifetimes = analyse(self.calls, inputs, outputs)
        self.arena_size = place(lifetimes.arena_storages(), MARGIN if guard else 0)
        self.guard = guard
        self.heap_size = heap_peak(lifetimes)
        self.largest = largest(lifetimes)
        self.check = check
        self.budget = budget
        self.over_inputs = {} if guard else over_inputs(self.calls, lifetimes.last_use, inputs, outputs)
        """By the number of the output, the numbers of the inputs that a run may be told to make it over."""
        self._number(inputs, outputs)
        self._arena_slots = self._arena_views(lifetimes)
        self.segments: list[Segment] = []
        self.steps = self._make_steps(lifetimes)
        self._calls_python = any(step.segment < 0 for step in self.steps)
        self._clear = self._assigned_slots()
        self._finds = len({f.slot for s in self.segments for f in s.found} & set(self.output_slots))
        arrays = [a for a in self._template if isinstance(a, np.ndarray)]
        self._files = files_of([*arrays, *(a for s in self.segments for a in s.constants)])
        self.fresh = self._makes_each_output()
        """Whether each output is an array that the run makes, or part of one that no other output is part of."""
        self._idle: list[Frame] = []
        self._frames: list[Frame] = []
        self._past_runs = 0
        self._lock = threading.Lock()
        renew_after_fork(self)  # each by itself: a thread may be giving back one that its session has dropped already
        self.keep = _MAX_IDLE_FRAMES
        self.used = False
        self.recorder: Recorder | None = None
        self.copies: Copies | None = None
        """Told of the arrays that runs copy on their way in and out."""
        self.inner: list[Plan] = []
        self.signature = ""
        """Types of the inputs of the run that it was made for, as text."""
        self.compiles = 0
        self.closers: list[Callable[[], None]] = []
        self.devices: list[DeviceMemory] = []
        """What the compiled parts hold in the memory of devices; of all plans inside, too, but for tails."""

    # --- building

    def _number(self, inputs: Sequence[Value], outputs: Sequence[Value]) -> None:
        self._slot: dict[Value, int] = {}
        self._template: list[Any] = [None]

        def slot(value: Value) -> int:
            if value not in self._slot:
                self._slot[value] = len(self._template)
                self._template.append(None)
            return self._slot[value]

        self.input_slots = [slot(v) for v in inputs]
        for call in self.calls:
            for v in (*call.inputs, *call.outputs):
                if v is not None and v.name:
                    slot(v)
        self.output_slots = [slot(v) for v in outputs]
        for value in (*self._seen_by_python(), *outputs):
            if value.data is not None:
                self._template[self._slot[value]] = value.data = for_runs(value.data, aligned=True)

    def _seen_by_python(self) -> Iterator[Value]:
        """Inputs whose arrays must lie in slots: of calls of Python functions, and those that outputs are parts of."""
        for call in self.calls:
            parts = None if call.native is None else {source for source, _ in call.native.alias.values()}
            yield from (v for i, v in enumerate(call.inputs) if v is not None and (parts is None or i in parts))

    def _arena_views(self, lifetimes: Lifetimes) -> list[tuple[int, int, int, np.dtype, tuple[int, ...]]]:
        """Where in the arena the values lie that Python sees."""
        seen = dict.fromkeys(
            v for c in self.calls if c.native is None for v in (*c.inputs, *c.outputs) if v is not None
        )
        views = []
        for value in seen:
            storage = lifetimes.storage.get(value)
            if storage is not None and storage.offset >= 0 and storage.size is not None and value.dtype is not None:
                t = value.tensor
                start = storage.offset + lifetimes.shift.get(value, 0)
                size = t.size * value.dtype.numpy.itemsize
                views.append((self._slot[value], start, size, value.dtype.numpy, t.static_shape))
        return views

    def _make_steps(self, lifetimes: Lifetimes) -> tuple[Step, ...]:
        in_arena = {v[0] for v in self._arena_slots}
        keep = in_arena | {self._slot[v] for v in self._slot if v.is_const} | {_NONE} | set(self.output_slots)
        steps: list[Step] = []
        seen = (v for call in self.calls if call.native is None for v in call.inputs if v is not None)
        visible = {*self.output_slots, *(self._slot[v] for v in seen)}
        run: list[tuple[int, Call]] = []  # native calls that wait for the end of their segment
        frees_of = [self._frees(i, call, lifetimes, keep) for i, call in enumerate(self.calls)]

        def end_segment() -> None:
            if run:
                engine = run[0][1].native.engine  # type: ignore[union-attr]
                frees = tuple(sorted({slot for i, _ in run for slot in frees_of[i]}))
                steps.append(Step(run[0][1].fn, (), (), (), False, frees, run[0][1], len(self.segments)))
                self.segments.append(Segment(engine, run, self._slot, lifetimes, visible))
                run.clear()

        for i, call in enumerate(self.calls):
            if call.native is not None:
                if run and run[0][1].native.engine is not call.native.engine:  # type: ignore[union-attr]
                    end_segment()
                run.append((i, call))
                if call.native.counted:
                    end_segment()
                continue
            end_segment()
            ins = tuple(_NONE if v is None else self._slot[v] for v in call.inputs)
            outs = tuple(self._slot[v] if v.name else -1 for v in call.outputs)
            arena = tuple(o in in_arena for o in outs)
            steps.append(Step(call.fn, ins, outs, arena, call.into, frees_of[i], call))
        end_segment()
        return tuple(steps)

    def _frees(self, i: int, call: Call, lifetimes: Lifetimes, keep: set[int]) -> tuple[int, ...]:
        dying = [v for v in call.inputs if v is not None and lifetimes.last_use.get(v) == i]
        unused = [v for v in call.outputs if v.name and v not in lifetimes.last_use]
        return tuple(sorted({self._slot[v] for v in (*dying, *unused)} - keep))

    def _assigned_slots(self) -> tuple[int, ...]:
        """Slots that a run puts something into, and that must be empty when it is over."""
        arena = {v[0] for v in self._arena_slots}
        filled = {*self.input_slots, *(o for step in self.steps for o in step.outs if o > _NONE)}
        for segment in self.segments:
            filled |= {m.slot for m in segment.made} | {v.slot for v in segment.views} | {f.slot for f in segment.found}
        return tuple(sorted(filled - arena))

    def _makes_each_output(self) -> bool:
        homes = {m.slot: m.slot for s in self.segments for m in s.made}
        homes |= {f.slot: f.slot for s in self.segments for f in s.found}
        homes |= {v.slot: v.home for s in self.segments for v in s.views if v.home in homes}
        found = [homes[s] for s in self.output_slots if s in homes]
        return len(found) == len(self.output_slots) == len(set(found))

    def _new_frame(self) -> Frame:
        if self.budget is not None:
            self.budget.take(self.arena_size)
        slots = list(self._template)
        arena = None
        if self.arena_size:
            arena = make_arena(self.arena_size)
            for slot, offset, size, dtype, shape in self._arena_slots:
                slots[slot] = arena[offset : offset + size].view(dtype).reshape(shape)
        bind = GuardedBound if self.guard else Bound
        frame = Frame(slots, arena, [bind(s, arena, self.copies) for s in self.segments])
        with self._lock:
            self._frames.append(frame)
        return frame

    def _drop(self, frame: Frame) -> None:
        with self._lock:
            self._frames.remove(frame)
            self._past_runs += frame.runs
        if self.budget is not None:
            self.budget.give(self.arena_size)

    # --- running

    @cached_property
    def places(self) -> dict[int, Place]:
        """By the number of the output, where a run takes arrays to make it in."""
        return places(self.output_slots, self.segments, self.steps)

    def run(
        self, values: Sequence[Any], stop: Stop | None = None, given: Mapping[int, np.ndarray] | None = None
    ) -> list[Any]:
        """Runs on values in input order; returns the outputs. They may alias inputs or constants, never the arena.

        ``stop`` can end the run between kernels; None: the stop of the run that this one is part of, if any.
        ``given`` has arrays by slots of ``places``: results are made there as far as kernels can.

        Raises ExecutionError naming the node that failed, CancelledError when stopped, MemoryLimitError when the budget
        has no room for the run, ModelError when constants lie in a file that has been written.
        """
        for file in self._files:
            file.check()
        if stop is None:
            stop = NEVER if running.stop is None else running.stop
        budget = self.budget
        if budget is not None:
            budget.take(self.heap_size)
        frame = outer = None
        if self._calls_python:
            outer, running.stop = running.stop, stop
        try:
            # Lists of frames are popped and appended without a lock: a fork may come at any moment.
            try:
                frame = self._idle.pop()
            except IndexError:
                frame = self._new_frame()
            slots = frame.slots
            for slot, value in zip(self.input_slots, values, strict=True):
                slots[slot] = value
            if given is not None:
                for slot, array in given.items():
                    slots[slot] = array
            self._walk(slots, frame.segments, stop)
            results = [slots[s] for s in self.output_slots]
            if not self.fresh and frame.arena is not None:
                results = self._detached(results, frame.arena)
            if self._finds and self.copies is not None:
                self.copies.count(outs=self._finds)
        finally:
            if self._calls_python:
                running.stop = outer
            if frame is not None:
                slots = frame.slots
                for slot in self._clear:
                    slots[slot] = None
                frame.runs += 1
                if len(self._idle) < self.keep:
                    self._idle.append(frame)
                else:
                    self._drop(frame)
            if budget is not None:
                budget.give(self.heap_size)
        return results

    def _detached(self, results: list[Any], arena: np.ndarray) -> list[Any]:
        """Results of their own, where kernels returned views of the arena."""
        made = [_detach(r, arena) for r in results]
        if self.copies is not None:
            copied = sum(m is not r and isinstance(r, np.ndarray) for m, r in zip(made, results, strict=True))
            if copied:
                self.copies.count(outs=copied)
        return made

    def _walk(self, slots: list[Any], segments: Sequence[Bound], stop: Stop) -> None:
        step = None
        recorder = self.recorder
        try:
            for step in self.steps:
                if (stop.reason is not None or stop.deadline is not None) and stop.due:
                    raise stop.error(step.call)
                if recorder is not None:
                    recorder.begin(self, step, segments)
                if step.segment >= 0:
                    segments[step.segment].run(slots, stop)
                else:
                    self._call(step, slots)
                if recorder is not None:
                    recorder.end()
                for slot in step.frees:
                    slots[slot] = None
        except KernelFailure as e:
            raise self._failure(e.call, e, slots) from None
        except CancelledError:
            raise
        except RonnError as e:
            if step is not None and getattr(e, "node_label", None) is None:
                raise self._failure(step.call, e, slots) from e
            raise
        except Exception as e:
            assert step is not None
            raise self._failure(step.call, e, slots) from e

    def _call(self, step: Step, slots: list[Any]) -> None:
        """Calls the step's function on what the slots hold, and puts its results into slots."""
        args = [slots[i] for i in step.ins]
        outs = step.outs
        if step.into and len(outs) == 1:
            result = step.fn(*args, out=slots[outs[0]] if outs[0] >= 0 else None)
        elif step.into:
            arrays = [slots[o] if o >= 0 else None for o in outs]
            result = step.fn(*args, out=arrays)
        else:
            result = step.fn(*args)
        if len(outs) == 1:
            if step.arena[0]:
                if result is not slots[outs[0]]:
                    raise self._not_filled(step)
            elif outs[0] >= 0:
                slots[outs[0]] = np.asarray(result) if isinstance(result, np.generic) else result
        else:
            self._store(step, result, slots)
        if self.check and step.call.on_host:
            _check_types(step, slots)

    def _store(self, step: Step, result: Any, slots: list[Any]) -> None:
        if not isinstance(result, (tuple, list)) or len(result) < len(step.outs):
            got = len(result) if isinstance(result, (tuple, list)) else type(result).__name__
            raise ProviderError(f"the kernel returned {got} instead of {len(step.outs)} outputs")
        for slot, in_arena, value in zip(step.outs, step.arena, result, strict=False):
            if in_arena:
                if value is not slots[slot]:
                    raise self._not_filled(step)
            elif slot >= 0:
                slots[slot] = np.asarray(value) if isinstance(value, np.generic) else value

    def _not_filled(self, step: Step) -> ProviderError:
        return ProviderError("the kernel takes out= but returned another array", node=step.call.nodes[0])

    def _failure(self, call: Call, error: Exception, slots: Sequence[Any]) -> RonnError:
        node = call.nodes[0] if call.nodes else None
        got = "\n".join(
            f"  got      %{v.name} = {v.type if call.native is not None else describe_array(slots[self._slot[v]])}"
            for v in call.inputs
            if v is not None
        )
        keeps_kind = isinstance(error, RonnError) and not isinstance(error, KernelFailure)
        kind: type[RonnError] = type(error) if keeps_kind else ExecutionError  # type: ignore[assignment]
        if kind is ExecutionError and isinstance(error, MemoryError):
            cure = "run smaller inputs, or give the process more memory"
            return MemoryLimitError(f"memory ran out: {error}", node=node, detail=got, hint=cure)
        text = error.message if isinstance(error, RonnError) else f"{type(error).__name__}: {error}"
        hint = error.hint if isinstance(error, RonnError) else None
        if kind is ExecutionError and hint is None:
            hint = _where_to_look(call)
        op = node.op_id if node is not None else "a fused part"
        return kind(f"{op} failed: {text}", node=node, detail=got, hint=hint)

    # --- resources

    @property
    def ends(self) -> tuple[list[Value], list[Value]]:
        """The values of its inputs and outputs, in order."""
        values = {slot: value for value, slot in self._slot.items()}
        return [values[s] for s in self.input_slots], [values[s] for s in self.output_slots]

    def all_plans(self) -> list[Plan]:
        """This plan, those of its subgraphs and its tail's."""
        return [self, *(q for p in self.inner for q in p.all_plans())]

    @property
    def runs(self) -> int:
        """Finished runs."""
        with self._lock:
            return self._past_runs + sum(f.runs for f in self._frames)

    @property
    def frames(self) -> tuple[int, int]:
        """How many frames there are, and how many of them no run uses."""
        return len(self._frames), len(self._idle)

    @property
    def need(self) -> int:
        """Bytes that one run needs: its arena and what it allocates, as far as sizes are known."""
        there = (memory.held().arena for p in self.all_plans() for memory in p.devices)
        return sum(p.arena_size + p.heap_size for p in self.all_plans()) + sum(there)

    def constants(self) -> list[np.ndarray]:
        """Arrays of the constants that the calls read."""
        return [v.data for v in self._slot if v.data is not None]

    def packed(self) -> list[np.ndarray]:
        """Arrays that providers made of constants, and hold on to."""
        natives = (c.native for c in self.calls if c.native is not None)
        return [a for native in natives for a in native.keep if isinstance(a, np.ndarray)]

    def trim(self) -> None:
        """Gives the memory of idle frames back."""
        for plan in self.all_plans():
            while plan._idle:
                try:
                    frame = plan._idle.pop()
                except IndexError:
                    break
                plan._drop(frame)
            for memory in plan.devices:
                memory.trim()

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def retire(self) -> None:
        """Gives everything back as soon as the last run in progress is over."""
        for plan in self.all_plans():
            plan.keep = 0
        self.trim()
        for plan in self.all_plans():
            for close in plan.closers:
                weakref.finalize(self, close)
            plan.closers = []
            # Graphs are full of cycles: their constants would wait for the garbage collector.
            weakref.finalize(self, _forget, list(plan._slot)).atexit = False

    def close(self) -> None:
        """Gives memory and what compiled parts hold back. Runs in progress finish on what they hold themselves."""
        for plan in self.all_plans():
            plan.keep = 0
        self.trim()
        for plan in self.all_plans():
            while plan.closers:
                plan.closers.pop()()
            _forget(plan._slot)  # frames hold the arrays that they use


def _forget(values: Iterable[Value]) -> None:
    for value in values:
        value.data = None


def _detach(value: Any, arena: np.ndarray) -> Any:
    """A copy where ``value`` lies in the arena (a view that a kernel made of one of its buffers)."""
    if isinstance(value, np.ndarray):
        return value.copy() if np.may_share_memory(value, arena) else value
    if isinstance(value, list) and not (value and isinstance(value[0], dict)):  # maps hold numbers and strings
        return [_detach(v, arena) for v in value]
    return value


def _check_types(step: Step, slots: Sequence[Any]) -> None:
    """Holds what a kernel returned against the inferred types (RONN_VERIFY=1)."""
    for value, slot in zip(step.call.outputs, step.outs, strict=True):
        if slot < 0 or value.dtype is None:
            continue
        got = slots[slot]
        if got is None and not value.uses:
            continue
        if not isinstance(got, np.ndarray):
            if value.tensor.shape is not None and hasattr(got, "dtype"):
                continue
            raise ProviderError(
                f"the kernel returned {type(got).__name__} for %{value.name}: {value.type}", node=step.call.nodes[0]
            )
        shape = value.tensor.shape
        wrong_dtype = got.dtype != value.dtype.numpy and not (value.dtype.bits == 0 and got.dtype.kind in "OUST")
        wrong_shape = shape is not None and (
            got.ndim != len(shape) or any(isinstance(d, int) and d != g for d, g in zip(shape, got.shape, strict=True))
        )
        if wrong_dtype or wrong_shape:
            raise ProviderError(
                f"the kernel returned {describe_array(got)} for %{value.name}: {value.type}", node=step.call.nodes[0]
            )


def describe_array(value: Any) -> str:
    """``f32[1,3]``, or the kind of thing that is not an array."""
    if value is None:
        return "nothing"
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    if shape is not None and dtype is not None:
        return f"{dtype}{list(shape)}"
    if isinstance(value, list):
        return f"sequence of {len(value)}"
    return type(value).__name__


__all__ = ["Frame", "Plan", "Step", "describe_array"]
