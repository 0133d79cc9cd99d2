"""Takes the times: runs of a plan with a clock inside, and without."""

from __future__ import annotations

import statistics
import threading
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from ronn import host
from ronn.plan.lifetime import nbytes
from ronn.plan.plan import Plan, Step
from ronn.plan.segment import Bound, address
from ronn.plan.stop import running
from ronn.profile.data import NATIVE, PYTHON, GraphNode, KernelTime, Profile, Span
from ronn.profile.work import flops_of
from ronn.provider import Call
from ronn.provider.native import At, Engine, KernelCall
from ronn.records import dataclass
from ronn.threads import default_threads

Key = tuple[int, int]
"""A kernel: number of its call, number of the kernel in the call (-1: a function)."""


@dataclass(slots=True)
class _Open:
    plan: Plan
    step: Step
    bound: Bound | None
    start: float
    inside: float = 0.0  # seconds of steps of sub-plans
    clock: list[tuple[int, int, float, float]] | None = None  # the one that was there before


class Recording:
    """Steps of one run, as the plan tells them; those of other threads are left out. ``overhead``: seconds that noting
    them down took. ``covered``: seconds in which anything of ``spans`` ran."""

    def __init__(self, calls: dict[int, int]) -> None:
        self.times: dict[Key, list[float]] = {}
        self.spans: list[tuple[Key, float, float]] = []
        self.overhead = 0.0
        self.covered = 0.0
        self._calls = calls
        self._open: list[_Open] = []
        self._thread = threading.get_ident()

    def begin(self, plan: Plan, step: Step, segments: Sequence[Bound]) -> None:
        if threading.get_ident() != self._thread:
            return
        entered = time.perf_counter()
        bound = None
        if step.segment >= 0:
            bound = segments[step.segment]
            bound.clock = np.zeros(len(plan.segments[step.segment].kernels) + 1, np.int64)
        clock = running.clock
        if step.call.inner:
            running.clock = []
        started = time.perf_counter()
        self._open.append(_Open(plan, step, bound, started, clock=clock))
        self.overhead += started - entered

    def end(self) -> None:
        now = time.perf_counter()
        if threading.get_ident() != self._thread:
            return
        done = self._open.pop()
        if done.step.segment < 0 and done.step.call.inner:
            noted, running.clock = running.clock, done.clock
            self._add_inner(done.step.call, noted if noted is not None else [])
        elif done.bound is None:
            self._add((self._calls[id(done.step.call)], -1), done.start, now - done.start - done.inside)
        else:
            self._add_kernels(done, now)
        if self._open:
            self._open[-1].inside += time.perf_counter() - done.start
        self.overhead += time.perf_counter() - now

    def _add(self, key: Key, start: float, seconds: float) -> None:
        self.times.setdefault(key, []).append(seconds)
        self.spans.append((key, start, seconds))
        self.covered += seconds

    def _add_inner(self, call: Call, noted: Sequence[tuple[int, int, float, float]]) -> None:
        for number, kernel, start, seconds in noted:
            self._add((self._calls[id(call.inner[number])], kernel), start, seconds)
        end = float("-inf")
        for _, _, start, seconds in sorted(noted, key=lambda n: n[2]):
            self.covered -= min(max(end - start, 0.0), seconds)  # counted already
            end = max(end, start + seconds)

    def _add_kernels(self, done: _Open, now: float) -> None:
        assert done.bound is not None
        clock, done.bound.clock = done.bound.clock, None
        segment = done.plan.segments[done.step.segment]
        assert clock is not None
        ticks = clock * segment.engine.tick
        # The kernels ran at the end of the step: what came before is the making of outputs and addresses.
        offset = now - ticks[-1]
        number, last = 0, None
        for i, call in enumerate(segment.owners):
            number = number + 1 if call is last else 0
            last = call
            self._add((self._calls[id(call)], number), float(ticks[i] + offset), float(ticks[i + 1] - ticks[i]))


def profile_plan(
    plan: Plan, run: Callable[[], Any], *, model: str, signature: str, runs: int = 20, warmup: int = 3
) -> Profile:
    """Profiles ``run``, which runs ``plan`` once, ``runs`` times with a clock and as often without."""
    for _ in range(warmup):
        run()
    plans = plan.all_plans()
    calls = [(c, int(p is not plan)) for p in plans for call in p.calls for c in _inside(call)]
    numbers = {id(call): i for i, (call, _) in enumerate(calls)}
    walls, recordings = [], []
    for _ in range(runs):  # in turn, so that whatever else the machine does falls on both
        started = time.perf_counter()
        run()
        walls.append(time.perf_counter() - started)
        recording = Recording(numbers)
        try:
            for p in plans:
                p.recorder = recording
            started = time.perf_counter()
            run()
            recordings.append((time.perf_counter() - started, started, recording))
        finally:
            for p in plans:
                p.recorder = None
            running.clock = None
    kernels, index = _kernels([c for c, _ in calls], [r for _, _, r in recordings])
    _, start, quickest = min(recordings, key=lambda r: r[0])
    spans = [Span(index[key], t - start, seconds) for key, t, seconds in quickest.spans if key in index]
    engine = _engine(plan)
    return Profile(
        model=model,
        signature=signature,
        threads=int(getattr(engine, "threads", 1)),
        runs=runs,
        wall=statistics.median(walls),
        fastest=min(walls),
        python=statistics.median(
            total - r.overhead - r.covered for total, _, r in recordings
        ),
        kernels=kernels,
        graph=_graph(calls),
        spans=sorted(spans, key=lambda s: s.start),
        ceilings=None if engine is None else engine.ceilings(),
        machine={**host.cpu(), "threads": default_threads()},
    )


def _inside(call: Call) -> Sequence[Call]:
    return call.inner if call.inner else (call,)


def _engine(plan: Plan) -> Engine | None:
    return next((s.engine for p in plan.all_plans() for s in p.segments), None)


def _kernels(calls: Sequence[Call], recordings: Sequence[Recording]) -> tuple[list[KernelTime], dict[Key, int]]:
    keys = dict.fromkeys(key for r in recordings for key, _, _ in r.spans)
    found: list[KernelTime] = []
    for key in keys:
        call = calls[key[0]]
        per_run = [sum(r.times.get(key, ())) for r in recordings]
        times = max(len(r.times.get(key, ())) for r in recordings)
        node = call.nodes[0] if call.nodes else None
        ops = "+".join(dict.fromkeys(n.op for n in call.nodes)) if call.nodes else call.title
        about: dict[str, Any] = {
            "node": ", ".join(n.label for n in call.nodes),
            "ops": ops,
            "provider": node.provider if node is not None and node.provider is not None else "",
            "call": key[0],
            "seconds": statistics.median(per_run),
            "calls": times,
        }
        if key[1] < 0:
            found.append(KernelTime(ops, kind=PYTHON, flops=flops_of(call), nbytes=_traffic(call), **about))
        else:
            assert call.native is not None
            kernel = call.native.kernels[key[1]]
            flops, moved = kernel.flops, kernel.nbytes
            if not flops and key[1] == len(call.native.kernels) - 1 and not any(k.flops for k in call.native.kernels):
                flops = flops_of(call)
            moved = moved if moved else _touched(call, kernel)
            found.append(KernelTime(kernel.name, kind=NATIVE, shares=kernel.chunks, flops=flops, nbytes=moved, **about))
    return found, {key: i for i, key in enumerate(keys)}


def _traffic(call: Call) -> int:
    values = dict.fromkeys(v for v in (*call.inputs, *call.outputs) if v is not None and v.name)
    return sum(nbytes(v) or 0 for v in values)


def _touched(call: Call, kernel: KernelCall) -> int:
    """Bytes of the operands that a kernel is given the addresses of, constants included."""
    assert call.native is not None
    values = dict.fromkeys(w.value for w in kernel.words if isinstance(w, At))
    words = {w for w in kernel.words if isinstance(w, int)}
    kept = (a for a in call.native.keep if isinstance(a, np.ndarray) and address(a) in words)
    return sum(nbytes(v) or 0 for v in values) + sum(a.nbytes for a in kept)


def _graph(calls: Sequence[tuple[Call, int]]) -> list[GraphNode]:
    made: dict[int, int] = {}
    nodes = []
    for i, (call, depth) in enumerate(calls):
        node = call.nodes[0] if call.nodes else None
        sources = dict.fromkeys(made[id(v)] for v in call.inputs if v is not None and id(v) in made)
        results = [v for v in call.outputs if v.name]
        nodes.append(
            GraphNode(
                i,
                node.label if node is not None else "",
                "+".join(n.op for n in call.nodes) if call.nodes else call.title,
                node.provider if node is not None and node.provider is not None else "",
                PYTHON if call.native is None else NATIVE,
                tuple(sources),
                ", ".join(str(v.type) for v in results),
                sum(nbytes(v) or 0 for v in results),
                depth,
            )
        )
        made.update((id(v), i) for v in results)
    return nodes
