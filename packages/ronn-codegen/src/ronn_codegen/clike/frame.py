"""Frames: what one run at a time uses on a device, and how a run goes.

Everything is given to the device without waiting for it: inputs, kernels, and each output behind the kernel that makes
it. Runs that may be stopped stay a few kernels ahead of the device and no more, for what it was given cannot be taken
back.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import CancelledError, ExecutionError, ProviderError, RonnError
from ronn.plan.stop import NEVER, running
from ronn.provider.native import At
from ronn_codegen.clike.launcher import Launch, Place, Ticket

if TYPE_CHECKING:
    from ronn.ir.graph import Value
    from ronn_codegen.clike.program import Program

_AHEAD = 8
"""Kernels that a run which may be stopped gives to the device before it waits for the first of them."""


class Frame:
    """An arena, a queue, and launches bound to them. ``sound``: it can be used for another run."""

    def __init__(self, program: Program) -> None:
        from ronn_codegen.clike.program import STATUS

        self.program, launcher = program, program.launcher
        self.sound = True
        self.arena = launcher.allocate(program.arena_bytes)
        try:
            self.queue = launcher.queue()
            self.parts = {
                id(s): launcher.part(Place(self.arena, s.offset, max(s.size or 0, 1))) for s in program.storages
            }
            self.parts[STATUS] = launcher.part(Place(self.arena, *program.status))
            self._bind()
        except BaseException:
            launcher.free(self.arena)
            raise
        for value, data in program.fixed:
            if data.nbytes:
                launcher.write(program.where(value, self.parts), np.ascontiguousarray(data))
        launcher.finish()
        self._inputs = [(v, program.where(v, self.parts)) for v in program.part.inputs]
        self._counted = [j for j, v in enumerate(program.part.outputs) if v in program.counted]
        """Numbers of the outputs whose sizes are known when the kernels have run."""
        outputs = [(v, v in program.counted) for v in program.part.outputs]
        self._places = [None if counted else program.where(v, self.parts) for v, counted in outputs]
        self._shapes = [((0,) if counted else v.tensor.static_shape, _dtype(v)) for v, counted in outputs]
        self._tickets: list[Ticket] = [None] * len(self.launches)
        self._failed = np.zeros(program.failed_words, np.int64)
        self._zeros = np.zeros(program.failed_words, np.int64)
        at = self.parts[STATUS]
        self._status = Place(at.memory, at.start, self._failed.nbytes)
        self._dirty = True  # words of failures may hold anything

    def _bind(self) -> None:
        """The launches; for each the numbers of the inputs that it is the first to need, and of the outputs that are
        there behind it."""
        program = self.program
        launches: list[Launch] = []
        waiting = {i: program.storage(v) for i, v in enumerate(program.part.inputs)}
        makers: dict[int, int] = {}
        needs: list[list[int]] = []
        for n, step in enumerate(program.steps):
            arguments = [program.argument(step, k, self.parts) for k in range(len(step.words))]
            launches.append(self.queue.bind(program.entries[step.entry], arguments, step.grid))
            touched = {
                id(program.storage(w.value))
                for w in step.words
                if isinstance(w, At) and not program.is_constant(w.value)
            }
            first = [i for i, s in waiting.items() if id(s) in touched]
            for i in first:
                del waiting[i]
            needs.append(first)
            for v in program.calls[step.call].outputs:
                if v in program.lifetimes.storage:
                    makers[id(program.storage(v))] = n
        reads: list[list[int]] = [[] for _ in program.steps]
        self._given: list[tuple[int, int | None]] = []  # outputs that no kernel makes: inputs, or constants (None)
        for j, v in enumerate(program.part.outputs):
            if v in program.counted:
                continue
            maker = makers.get(id(program.storage(v)))
            if maker is not None:
                reads[maker].append(j)
            else:
                given = enumerate(program.part.inputs)
                source = next((i for i, x in given if program.storage(x) is program.storage(v)), None)
                self._given.append((j, source))
        self.launches = list(zip(launches, needs, reads, strict=True))

    def run(self, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
        """One run on host arrays; gives host arrays."""
        queue, stop, clock = self.queue, running.stop, running.clock
        if clock is not None:
            queue.clock(True)
        step, cleared = 0, self._dirty and self._zeros.size > 0
        try:
            if cleared:
                queue.write(self._status, self._zeros)
            self._dirty = True
            held, written = [], []  # until all is done
            for (_, place), array in zip(self._inputs, arrays, strict=True):
                array = np.ascontiguousarray(array)
                held.append(array)
                written.append(queue.write(place, array) if array.nbytes else None)
            results = [np.empty(shape, dtype) for shape, dtype in self._shapes]
            watched = stop is not None and stop is not NEVER
            tickets = self._tickets
            for step, (launch, needs, reads) in enumerate(self.launches):
                if watched:
                    assert stop is not None
                    if step >= _AHEAD:
                        queue.wait(tickets[step - _AHEAD])
                    if (stop.reason is not None or stop.deadline is not None) and stop.due:
                        raise stop.error(self.program.calls[self.program.steps[step].call])
                after = [written[i] for i in needs if written[i] is not None] if needs else ()
                tickets[step] = ticket = launch(after)
                if reads:
                    self._read(reads, results, ticket)
            for j, source in self._given:
                self._read((j,), results, None if source is None else written[source])
            if self._failed.size:
                queue.read(self._status, self._failed, tickets[-1])
            queue.finish()
            for j in self._counted:
                results[j] = self._found(j)
        except CancelledError:
            queue.finish()
            raise
        except RonnError as e:
            self.sound = False
            raise self._named(e, step) from e
        except BaseException:
            self.sound = False  # a signal, say: what was given to the device goes on
            queue.finish()
            raise
        finally:
            if clock is not None:
                self._note(clock, cleared)
        self._check()
        return results

    def _read(self, numbers: Sequence[int], results: Sequence[np.ndarray], ticket: Ticket) -> None:
        for j in numbers:
            place = self._places[j]
            if place is not None and results[j].nbytes:
                self.queue.read(place, results[j], ticket)

    def _found(self, number: int) -> np.ndarray:
        """An output whose size the kernels have found out."""
        value = self.program.part.outputs[number]
        place, at = self.program.found(value, self.parts)
        count = np.zeros(1, np.int64)
        self.queue.read(at, count, None)
        self.queue.finish()
        shape = [int(count[0]) if n is None else n for n in self.program.counted[value][1].shape]
        out = np.empty(shape, _dtype(value))
        if out.nbytes > place.nbytes or count[0] < 0:
            raise ProviderError(f"a kernel made %{value.name} {shape}, which it has no room for")
        if out.nbytes:
            self.queue.read(Place(place.memory, place.start, out.nbytes), out, None)
            self.queue.finish()
        return out

    def _check(self) -> None:
        """ExecutionError for the first kernel that set its word."""
        self._dirty = bool(self._failed.any())
        if self._dirty:
            message, node = self.program.failures[int(np.flatnonzero(self._failed)[0])]
            hint = "look at the values of its inputs: `session.run(..., trace=[...])` returns them"
            raise ExecutionError(f"{node.op_id} failed: {message}", node=node, hint=hint)

    def _named(self, error: RonnError, step: int) -> RonnError:
        """The error of a device, with the node and the kernel that it was at."""
        steps = self.program.steps
        known = next(
            (n for n, t in enumerate(self._tickets[: step + 1]) if t is not None and self.queue.failed(t)), None
        )
        if not steps or error.node_label is not None:
            return error
        at = steps[step if known is None else known]
        where = "in" if known is not None else "at or before"
        text = f"{error.message} ({where} kernel {at.kernel.signature.name!r})"
        return type(error)(text, node=at.nodes[0], hint=error.hint)

    def _note(self, clock: list[tuple[int, int, float, float]], cleared: bool) -> None:
        """Tells a profile what the device did, in the order in which it was given to it."""
        timeline = self.queue.timeline()
        self.queue.clock(False)
        if timeline is None:
            return
        keys: list[tuple[int, int] | None] = [None] if cleared else []
        program, last = self.program, len(self.program.inner) - 1
        keys += [(0, i) for i, (v, _) in enumerate(self._inputs) if v.tensor.size]
        for n, (_, _, reads) in enumerate(self.launches):
            keys.append((program.steps[n].call + 1, program.steps[n].number))
            keys += [(last, j) for j in reads if np.prod(self._shapes[j][0], dtype=np.int64)]
        keys += [(last, j) for j, _ in self._given if np.prod(self._shapes[j][0], dtype=np.int64)]
        for key, timed in zip(keys, timeline, strict=False):
            if key is not None:
                clock.append((*key, timed.begin / 1e9, (timed.end - timed.begin) / 1e9))

    def close(self) -> None:
        """Gives queue and memory back."""
        self.queue.close()
        self.launches, self.parts = [], {}
        self.program.launcher.free(self.arena)


def _dtype(value: Value) -> Any:
    assert value.dtype is not None
    return value.dtype.numpy
