"""Session: runs a model."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from time import monotonic
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn import listeners
from ronn.binding import Binding
from ronn.buffers import Out, run_into
from ronn.compile import Request, Signature
from ronn.errors import OptionError, session_closed
from ronn.forks import renew_after_fork
from ronn.frontend.pins import Sha256
from ronn.host import give_free_memory_back
from ronn.ir.graph import Graph, Metadata, Value
from ronn.ir.types import TensorType
from ronn.model import Model, Options, Source, open_model
from ronn.observe import WatchedRun, tell_session
from ronn.ops.infer import merge_types
from ronn.options import SessionOptions, router_elsewhere
from ronn.placement import Placement
from ronn.plan.budget import Budget
from ronn.plan.plan import Plan
from ronn.plan.stop import Stop, Stops
from ronn.requests import Requests
from ronn.targets import ProviderSpec, resolve_targets
from ronn.threads import when_set
from ronn.traces import traced_names
from ronn.usage import Copies, Memory, Stats, distinct_bytes, memory_of
from ronn.values import (
    Outputs,
    ValueInfo,
    as_array,
    check_dimensions,
    check_symbols,
    convert,
    gather_inputs,
    is_copy,
    own,
    plain_inputs,
    positions,
    type_of,
)
from ronn.variant import Variant, constants_of, forget_constants

if TYPE_CHECKING:
    import builtins

    from ronn.benchmark import Benchmark
    from ronn.profile import Profile

_Key = tuple["tuple[builtins.type, np.dtype, tuple[int, ...]]", ...]

_alive: weakref.WeakValueDictionary[int, Session] = weakref.WeakValueDictionary()
"""Sessions of this process by their numbers."""


def open_sessions() -> list[Session]:
    """The sessions of this process that are not closed, oldest first."""
    sessions = (ref() for ref in _alive.valuerefs())
    return sorted((s for s in sessions if s is not None and not s._closed), key=lambda s: s.number)


def _threads_changed(before: int, after: int) -> None:
    """Sessions make their plans anew when runs may use more threads than before."""
    if after > before:
        for session in open_sessions():
            session._replan()


when_set(_threads_changed)


class Session(Requests):
    """Runs a model. Safe to use from several threads at once.

    source: a path, bytes, a binary file object, an ``onnx.ModelProto``, or a ``Model``.
    providers: names, or (name, options) pairs, in order of preference; nothing else is used. Default: cpu, with
        reference behind it.
    options: ``SessionOptions``, a mapping of its fields, or the path of a TOML file of them; its list of providers
        counts where ``providers`` is None.
    sha256: the hash that the model file must have, or hashes by file name, as for ``ronn.load``.

    Raises ModelError for a bad model, ProviderError for an unknown or unusable provider, PlacementError (naming nodes
    and reasons) when the providers listed cannot run every node, OptionError for a bad option.
    """

    def __init__(
        self,
        source: Source,
        providers: str | Sequence[ProviderSpec] | None = None,
        options: Options | None = None,
        *,
        sha256: Sha256 | None = None,
    ) -> None:
        self.options = SessionOptions.of(options)
        if self.options.router is not None:
            raise router_elsewhere(self.options.router)
        self._owns_model = not isinstance(source, Model)
        self._model = open_model(source, self.options, sha256)
        check_dimensions(self.options.dimensions, self._model.graph)
        self._providers = self.options.providers if providers is None else providers
        began = monotonic()
        self._targets = resolve_targets(self._providers, self.options)
        self.number = listeners.next_number()
        """What events call this session."""
        self._told: set[tuple[str, str]] = set()
        self._lock = threading.RLock()
        self._closed = False
        self._stops = Stops()
        self._copies = Copies()
        self._seen: dict[_Key, Plan] = {}
        """Plans by the dtypes and shapes of inputs that were found to fit."""
        self._variants: dict[tuple[tuple[str, ...], tuple[str, ...]], Variant] = {}
        self._budget = self._make_budget()
        self._base = self._variant((), ())
        taken = self._model.graph.inputs
        self._input_names = tuple(v.name for v in taken)
        self._input_dtypes = [v.dtype for v in taken] if all(isinstance(v.type, TensorType) for v in taken) else None
        self._output_names = tuple(self._base.portable.output_names)
        self._base.check()
        _alive[self.number] = self
        renew_after_fork(self)
        seconds = monotonic() - began
        tell_session(self._targets, seconds, **self._event_fields)

    @property
    def _event_fields(self) -> dict[str, Any]:
        return {"session": self.number, "model": self._model.ir.source}

    def _make_budget(self) -> Budget | None:
        limit = self.options.memory_limit
        if limit is None:
            return None
        assert isinstance(limit, int)
        budget = Budget(limit, **self._event_fields)
        weights = list(constants_of(self._model.graph))
        largest = sorted(((a.nbytes, f"a constant {a.dtype}{list(a.shape)}") for a in weights), reverse=True)[:3]
        budget.admit(distinct_bytes(weights), 0, largest)
        budget.reclaim = self._reclaim
        return budget

    def _reclaim(self) -> None:
        for variant in list(self._variants.values()):
            variant.idle_back()

    # --- what the session is about

    @property
    def model(self) -> Model:
        """The model that this session runs; further sessions can be made of it."""
        return self._model

    @property
    def inputs(self) -> list[ValueInfo]:
        """What ``run`` takes, in order."""
        return self._model.inputs

    @property
    def outputs(self) -> list[ValueInfo]:
        """What ``run`` returns, in order: inferred types, and declared ones where inference knows nothing."""
        g = self._base.portable
        found = zip(g.outputs, g.output_names, self._model.graph.outputs, strict=True)
        return [ValueInfo.of(Value(n, merge_types(v.type, declared.type))) for v, n, declared in found]

    @property
    def metadata(self) -> Metadata:
        """Who made the model, its versions, and the texts that its maker put into the file."""
        return self._model.metadata

    @property
    def graph(self) -> Graph:
        """The portable graph: after the passes that hold for every input size."""
        return self._base.whole()

    @property
    def providers(self) -> list[str]:
        """Names of the providers listed, in order."""
        return [t.name for t in self._targets if not t.implied]

    def placement(self) -> Placement:
        """Where every node runs and why: of the latest plan, or before the first run of the plan for unknown sizes."""
        graph = self._base.assigned()
        return Placement.of(graph, {t.name: t.device.name for t in self._targets})

    # --- running

    def run(
        self,
        inputs: Mapping[str, Any] | Sequence[Any] | Any = None,
        *,
        outputs: Sequence[str] | None = None,
        trace: Sequence[str] = (),
        timeout: float | None = None,
        stop: Stop | None = None,
        threads: int | None = None,
        out: Out | None = None,
    ) -> Outputs:
        """Runs the model once.

        inputs: a mapping of input name to array, a sequence in input order, or one array for a one-input model.
            Anything with ``__dlpack__``, the buffer protocol or ``__array__`` does, and nested lists of numbers.
        outputs: names to return (default: all, in the model's order).
        trace: names of intermediate values to return as well, behind the outputs; ``*`` and ``?`` stand for any signs,
            and for one, in the names of what nodes make. The first run with a new set of names compiles a variant of
            the model that keeps them, unfused as far as that needs.
        timeout: seconds after which the run ends with RunTimeoutError, before its next kernel; what planning a new
            size takes counts. None: no limit.
        stop: ends the run, before its next kernel, as soon as some thread has called its ``set()``.
        threads: how many this run may use at most, the calling one included. None: as many as the session may.
        out: memory for outputs, by name or in order: arrays, or anything else with ``__dlpack__`` or a buffer, of the
            output's dtype and shape. Kernels write there where they can, else the result is copied there; the mapping
            holds what was given. After a run that failed or was stopped they hold anything.

        Returns a mapping in output order that also unpacks like a tuple. Arrays are the caller's own.
        Raises InputError for inputs that do not fit, ExecutionError naming the node that failed, CancelledError when
        stopped. The session can be used on after each of them.
        """
        if timeout is not None or stop is not None or threads is not None:
            with self._watched(), self._stops.own(timeout, stop, threads) as own_stop:
                return self._run_any(inputs, outputs, trace, own_stop, out)
        if outputs is None and not trace and out is None:
            try:
                kind = type(inputs)
                given: Any = inputs
                if kind is dict:
                    arrays = [given[n] for n in self._input_names] if len(given) == len(self._input_names) else []
                else:
                    arrays = given if kind is list or kind is tuple else [given]
                plan = self._seen[tuple([(type(a), a.dtype, a.shape) for a in arrays])]
            except (AttributeError, KeyError, TypeError):
                pass  # not seen before, or to be converted
            else:
                plan.used = True
                if listeners.watching_runs:
                    with WatchedRun(self.number, self._model.ir.source, plan.signature):
                        results = plan.run(arrays, self._stops.shared)
                else:
                    results = plan.run(arrays, self._stops.shared)
                return Outputs(self._output_names, results if plan.fresh else own(results, arrays, self._copies))
        with self._watched():
            return self._run_any(inputs, outputs, trace, self._stops.shared, out)

    def _watched(self) -> AbstractContextManager[None]:
        """Around a run: tells those who listen to runs, if any, that it began and how it ended."""
        return WatchedRun(self.number, self._model.ir.source) if listeners.watching_runs else nullcontext()

    def _run_any(
        self,
        inputs: Any,
        outputs: Sequence[str] | None,
        trace: Sequence[str],
        stop: Stop,
        out: Out | None,
        begin: Callable[[], None] | None = None,
    ) -> Outputs:
        """Runs on any inputs that can be converted, and gives the outputs asked for. ``begin`` is called when inputs
        and plan are ready."""
        if trace:
            trace = traced_names(trace, self._model.graph)
        known = None if trace else self._known(inputs)
        if known is None:
            variant, plan, ordered, _ = self._ready(inputs, trace)
        else:
            variant, (plan, ordered) = self._base, known
        if begin is not None:
            begin()
        listeners.note_signature(plan.signature)
        names = variant.portable.output_names
        wanted = names if outputs is None else [*outputs, *trace]
        chosen = positions(wanted, names)
        if out is None:
            results = own(plan.run(ordered, stop), ordered, self._copies)
            return Outputs(wanted, [results[i] for i in chosen])
        feed = dict(zip((v.name for v in variant.portable.inputs), ordered, strict=True))
        return Outputs(wanted, run_into(plan, feed, stop, out, wanted, chosen, self._copies))

    def _known(self, inputs: Any) -> tuple[Plan, list[Any]] | None:
        """The plan and the values for it, where arrays like these were found to fit before."""
        given = None if self._input_dtypes is None else plain_inputs(inputs, self._input_names)
        if given is None:
            return None
        fed = zip(given, self._input_dtypes or (), self._input_names, strict=True)
        arrays = [v if type(v) is np.ndarray else as_array(v, t, n) for v, t, n in fed]
        plan = self._seen.get(tuple([(np.ndarray, a.dtype, a.shape) for a in arrays]))
        if plan is None:
            return None
        plan.used = True
        self._count_in(arrays, given)
        return plan, arrays

    def _count_in(self, arrays: Sequence[Any], given: Sequence[Any]) -> None:
        copied = sum(map(is_copy, arrays, given))
        if copied:
            self._copies.count(ins=copied)

    def _ready(self, inputs: Any, trace: Sequence[str]) -> tuple[Variant, Plan, list[Any], Signature]:
        """Converts and checks the inputs, and makes the plan if need be: variant, plan, values for it, their types."""
        if self._closed:
            raise session_closed()
        graph = self._model.graph
        defaults = self._model.ir.overridable
        given_values = gather_inputs(inputs, graph.inputs, defaults)
        given = tuple(n for n in defaults if n in given_values)
        inner = tuple(n for n in trace if n not in graph.output_names)
        variant = self._base if not given and not inner else self._variant(inner, given)
        feed = variant.portable.inputs
        values = {**given_values, **{v.name: convert(given_values[v.name], v.type, v.name) for v in feed}}
        check_symbols(values, feed, self.options.dimensions)
        ordered = [values[v.name] for v in feed]
        self._count_in(ordered, [given_values[v.name] for v in feed])
        signature = tuple(type_of(x, v.type) for x, v in zip(ordered, feed, strict=True))
        plan = variant.plan(signature)
        if variant is self._base:
            self._remember(ordered, plan)
        return variant, plan, ordered, signature

    def _remember(self, arrays: Sequence[Any], plan: Plan) -> None:
        """Notes that arrays of these dtypes and shapes fit as they are, and what runs them."""
        if all(type(a) is np.ndarray and a.dtype.kind not in "UST" for a in arrays):
            with self._lock:
                if len(self._seen) >= 4 * self.options.plan_cache:
                    self._seen.clear()
                if plan.keep and not self._closed:
                    self._seen[tuple((np.ndarray, a.dtype, a.shape) for a in arrays)] = plan

    __call__ = run

    def bind(self, inputs: Any = None, *, outputs: Sequence[str] | None = None, out: Out | None = None) -> Binding:
        """Binds memory to inputs, and to outputs where ``out`` has some; arguments as for ``run``. Call what comes back
        to run on what the memory holds then: nothing is converted or checked again.

        Raises InputError for an input that could only be copied, and as ``run`` does.
        """
        return Binding(self, inputs, outputs, out)

    def cancel(self) -> None:
        """Ends every run in progress with CancelledError, each before its next kernel. Later runs are not concerned."""
        self._stops.set()

    def profile(self, inputs: Any = None, *, runs: int = 20) -> Profile:
        """Runs the model ``runs`` times with a clock at every kernel and as often without; says where the time goes.

        inputs: as for ``run``. The result prints as a table; ``save("x.html")`` writes a page with graph, timeline and
        roofline. Other threads may run the session meanwhile, and will disturb the times.
        """
        from ronn.profile import profile_plan

        if runs < 1:
            raise OptionError(f"runs={runs}: at least one run is needed")
        _, plan, _, _ = self._ready(inputs, ())
        name = str(self._model.ir.source)
        return profile_plan(plan, lambda: self.run(inputs), model=name, signature=plan.signature, runs=runs)

    def benchmark(
        self,
        inputs: Any = None,
        *,
        seconds: float = 10.0,
        threads: Sequence[int] | None = None,
        callers: Sequence[int] | None = None,
        against: Sequence[str] = (),
    ) -> Benchmark:
        """Measures runs on ``inputs`` for about ``seconds``: quantiles, throughput, memory, and what disturbed them.

        threads: how many a run may use, each a row; callers: how many threads of Python call at once, each a row;
        against: other runtimes (``onnxruntime``) to measure in turn. The result prints as a table.
        """
        from ronn.benchmark import benchmark
        from ronn.benchmark.measure import Feed

        feed = Feed(gather_inputs(inputs, self._model.graph.inputs, self._model.ir.overridable))
        return benchmark(self, [feed], seconds=seconds, threads=threads, callers=callers, against=against)

    # --- resources

    def memory(self) -> Memory:
        """The memory that the session holds now; outputs of finished runs are the caller's."""
        variants = list(self._variants.values())
        return memory_of([p for v in variants for _, p in v.plans()], (a for v in variants for a in v.weights()))

    def stats(self) -> Stats:
        """Counts of what the session has done so far."""
        variants = list(self._variants.values())
        return Stats(
            runs=sum(v.runs for v in variants),
            plans=sum(len(v.plans()) for v in variants),
            planned=sum(v.planned for v in variants),
            compiles=sum(v.compiles for v in variants),
            copies_in=self._copies.ins,
            copies_out=self._copies.outs,
        )

    def trim(self) -> None:
        """Gives the memory of idle runs back, and every plan but the latest; later runs take it again."""
        with self._lock:
            self._seen.clear()
            for variant in self._variants.values():
                variant.trim()
        give_free_memory_back()

    def close(self) -> None:
        """Gives everything back, weights included unless they belong to a ``Model`` of the caller's. Runs in progress
        finish. A closed session runs no more; closing twice is fine."""
        with self._lock:
            was_open, self._closed = not self._closed, True
            self._seen.clear()
            for variant in self._variants.values():
                variant.close()
            if self._owns_model:
                forget_constants(self._model.graph)
        give_free_memory_back()
        if was_open:
            listeners.emit("SessionClosed", **self._event_fields)

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        from ronn.carry import reduce_session

        return reduce_session(self)

    def __repr__(self) -> str:
        return f"Session({self._model.ir.source!r}, providers={self.providers})"

    def _forget_dropped(self) -> None:
        # No lock: variants call this with theirs held. An entry that comes back by a race goes the next time.
        self._seen = {key: plan for key, plan in list(self._seen.items()) if plan.keep}

    def after_fork(self) -> None:
        """In a child process: locks that other threads of the parent held are nobody's now, and their runs are over."""
        self._lock = threading.RLock()
        self._stops = Stops()
        for variant in self._variants.values():
            variant.after_fork()
        if self._budget is not None:
            plans = [q for v in self._variants.values() for _, p in v.plans() for q in p.all_plans()]
            self._budget.taken = sum(q.arena_size * q.frames[1] for q in plans)

    def _replan(self) -> None:
        if any(t.options.get("threads", 0) == 0 for t in self._targets):
            with self._lock:
                for variant in self._variants.values():
                    variant.trim(keep=0)

    def _variant(self, trace: tuple[str, ...], given: tuple[str, ...]) -> Variant:
        with self._lock:
            if self._closed:
                raise session_closed()
            found = self._variants.get((trace, given))
            if found is None:
                request = Request(
                    self._model.ir, self._targets, self.options, trace, given, budget=self._budget, copies=self._copies,
                    session=self.number,
                    told=self._told,
                )  # fmt: skip
                found = self._variants[trace, given] = Variant(request, self._forget_dropped)
            return found
