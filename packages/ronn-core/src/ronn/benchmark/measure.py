"""Opens, warms up, and measures in turn."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn import host
from ronn._version import __version__
from ronn.benchmark import machine
from ronn.benchmark.data import RONN, Agreement, Benchmark, MemoryUse, Row, Start
from ronn.benchmark.peers import agreement, check_peer
from ronn.benchmark.timing import PAUSE_S, Taken, Taker, in_turn, parallel
from ronn.errors import OptionError, RonnError
from ronn.records import dataclass, field

if TYPE_CHECKING:
    from ronn.session import Session

_DRIFT = 0.05  # by which times change from the first third of the runs to the last, from where it is worth a word
_TAIL = 2.0  # P99 over P50
_FEW = 100  # runs, under which a P99 is hardly more than the longest run
_PATIENCE = 10  # times the seconds given: a model that slow is not worth several rounds

Progress = Callable[[str, float], None]
"""Told what is being done, and how much of it all is done (0 to 1)."""


@dataclass(frozen=True, slots=True)
class Feed:
    """Inputs by name, what their sizes are called (``batch=8``; empty for the only ones), how many items they are."""

    inputs: Mapping[str, Any]
    name: str = ""
    items: int = 1


@dataclass
class _State:
    session: Session
    sessions: dict[int, Session] = field(default_factory=dict)
    own: list[Session] = field(default_factory=list)  # to close
    starts: list[Start] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    agreements: dict[str, Agreement] = field(default_factory=dict)
    peers: dict[tuple[str, int, str], Callable[[], object]] = field(default_factory=dict)


_Key = tuple[str, str, int, int]


def default_threads(most: int) -> list[int]:
    """1, 2, 4 ... and the most."""
    return sorted({*(1 << i for i in range(most.bit_length()) if 1 << i <= most), most})


def benchmark(
    session: Session,
    feeds: Sequence[Feed],
    *,
    seconds: float = 10.0,
    threads: Sequence[int] | None = None,
    callers: Sequence[int] | None = None,
    against: Sequence[str] = (),
    load_seconds: float | None = None,
    memory_before: int | None = None,
    progress: Progress = lambda what, share: None,
) -> Benchmark:
    """Measures ``session`` on ``feeds``, for about ``seconds`` in all: bursts of every way to run are taken in turn.

    threads: how many a run may use, each a row (default: 1, 2, 4 ... up to what the process may). callers: how many
    threads of Python call at once, each a row (default: 1, and as many as there are processors).
    against: other runtimes (``onnxruntime``), measured in turn with ``session``, with as many threads and callers.
    load_seconds, memory_before: what loading took, and bytes of the process before, where the caller has measured them.

    Raises OptionError for a bad argument or a runtime that is not installed, and what a run raises.
    """
    most = host.threads()["number"]
    counts = _counts("threads", default_threads(most) if threads is None else threads)
    together = _counts("callers", sorted({1, most}) if callers is None else callers)
    if seconds <= 0:
        raise OptionError(f"seconds={seconds}: some time is needed")
    versions = {RONN: __version__, **{name: check_peer(name) for name in against}}
    state = _State(session)
    state.notes += machine.conditions()
    try:
        progress("first run", 0.0)
        memory = _start(state, feeds, load_seconds, memory_before)
        takers = _takers(state, feeds, counts, together, against)
        before = machine.Counters.now()
        began = time.perf_counter()
        taken = in_turn(
            takers,
            seconds,
            pause=PAUSE_S if against else 0.0,
            advance=lambda share: progress("measuring", share),
        )
        spent = time.perf_counter() - began
        state.notes += machine.disturbances(before, machine.Counters.now())
    finally:
        for other in state.own:
            other.close()
    items = {f.name: f.items for f in feeds}
    rows = [Row.of(*key, items[key[1]], t.times, t.wall) for key, t in taken.items() if t.times]
    if not rows:
        raise RonnError("stopped before anything was measured")
    if len(rows) < len(taken):
        state.notes.append(f"Stopped early: {len(taken) - len(rows)} of {len(taken)} rows were not measured.")
    state.notes += _about(rows, taken, spent, seconds)
    inputs = feeds[0].inputs
    signature = ", ".join(f"{name} {_type(value)}" for name, value in inputs.items())
    return Benchmark(
        model=Path(str(session.model.ir.source)).name,
        signature=signature,
        rows=rows,
        starts=state.starts,
        memory=memory,
        machine=machine.describe(),
        versions=versions,
        agreements=state.agreements,
        notes=state.notes,
        seconds=spent,
    )


def _counts(what: str, given: Sequence[int]) -> list[int]:
    found = list(dict.fromkeys(given))
    if not found or any(n < 1 for n in found):
        raise OptionError(f"{what}={list(given)}: numbers from 1 on are needed")
    return found


def _start(state: _State, feeds: Sequence[Feed], load: float | None, before: int | None) -> MemoryUse:
    """The first run, of each feed, and the memory then."""
    session = state.session
    new = session.stats().runs == 0
    began = time.perf_counter()
    session.run(feeds[0].inputs)
    first = time.perf_counter() - began
    if new:
        compiled = session.stats().compiles
        state.starts.append(Start(RONN, load, first, compiled))
        if compiled:
            state.notes.append(
                f"The start compiled {compiled} kernels; they are in the cache now: the next is quicker."
            )
    for feed in feeds:
        for _ in range(2):
            session.run(feed.inputs)
    held = session.memory()
    now, peak = machine.process_memory()
    grown = now - before if before is not None and now else 0
    return MemoryUse(held.weights, held.packed, held.arenas, held.mapped, now, grown, peak)


def _takers(
    state: _State, feeds: Sequence[Feed], threads: Sequence[int], callers: Sequence[int], against: Sequence[str]
) -> dict[_Key, Taker]:
    found: dict[_Key, Taker] = {}
    for feed in feeds:
        for count in threads:
            session = _session(state, count)
            session.run(feed.inputs)
            for together in callers:
                found[RONN, feed.name, count, together] = parallel(partial(session.run, feed.inputs), together)
                for name in against:
                    run = _peer(state, name, count, feed)
                    found[name, feed.name, count, together] = parallel(run, together)
    return found


def _session(state: _State, threads: int) -> Session:
    """A session like the given one with so many threads; the given one where it has them."""
    from ronn.session import Session

    if threads not in state.sessions:
        given = state.session
        usual = given.options.threads if given.options.threads else host.threads()["number"]
        if threads == usual:
            state.sessions[threads] = given
        else:
            other = Session(given.model, providers=given._providers, options=given.options.replace(threads=threads))
            state.own.append(other)
            state.sessions[threads] = other
    return state.sessions[threads]


def _peer(state: _State, name: str, threads: int, feed: Feed) -> Callable[[], object]:
    """A run of another runtime (there is one), the same way: as many threads, sizes fixed to those of the inputs."""
    from ronn.numerics.runtime import OnnxRuntime

    key = (name, threads, feed.name)
    if key not in state.peers:
        sizes = symbol_sizes(state.session, feed.inputs)
        began = time.perf_counter()
        runtime = OnnxRuntime(state.session.model.ir, threads=threads, sizes=sizes)
        opened = time.perf_counter()
        outputs = runtime.run(feed.inputs)
        if all(s.who != name for s in state.starts):
            state.starts.append(Start(name, opened - began, time.perf_counter() - opened))
        ours = dict(_session(state, threads).run(feed.inputs).items())
        found = agreement(ours, outputs)
        if name not in state.agreements or (state.agreements[name].equal and not found.equal):
            state.agreements[name] = found
        state.peers[key] = runtime.ready(feed.inputs)
    return state.peers[key]


def symbol_sizes(session: Session, inputs: Mapping[str, Any]) -> dict[str, int]:
    """What the symbolic dims of the model's inputs are in ``inputs``; not those that have several sizes."""
    found: dict[str, set[int]] = {}
    for info in session.inputs:
        shape = getattr(inputs.get(info.name), "shape", ())
        for dim, size in zip(info.shape or (), shape, strict=False):
            if isinstance(dim, str):
                found.setdefault(dim, set()).add(size)
    return {name: next(iter(sizes)) for name, sizes in found.items() if len(sizes) == 1}


def _type(value: Any) -> str:
    shape, dtype = getattr(value, "shape", None), getattr(value, "dtype", None)
    return type(value).__name__ if shape is None or dtype is None else f"{dtype}{list(shape)}"


def _about(rows: Sequence[Row], taken: Mapping[_Key, Taken], spent: float, seconds: float) -> list[str]:
    """What the times themselves say about how far they can be trusted."""
    import numpy as np

    notes = []
    drifts = []
    for key, t in taken.items():
        third = len(t.times) // 3
        if third >= _FEW // 3 and key[3] == 1:
            drifts.append(float(np.median(t.times[-third:]) / np.median(t.times[:third]) - 1))
    if drifts and abs(worst := max(drifts, key=abs)) > _DRIFT:
        notes.append(
            f"Times changed by {worst:+.0%} from the first third of the runs to the last: clock or load changed."
        )
    wide = [r for r in rows if r.callers == 1 and r.p99 > _TAIL * r.p50]
    if wide:
        share = f"{len(wide)} of {len(rows)} rows"
        notes.append(f"P99 is more than {_TAIL:g} times P50 in {share}: something else ran now and then.")
    if any(r.runs < _FEW for r in rows):
        notes.append(f"Rows of fewer than {_FEW} runs: their P99 is close to the longest run. --seconds gives more.")
    if spent > _PATIENCE * seconds:
        notes.append(f"It took {spent:.0f} s instead of {seconds:g} s: so long are the few runs that each row needs.")
    return notes
