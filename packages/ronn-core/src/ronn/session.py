"""Model and Session: what programs use."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import IO, Any

from ronn.compile import Experience, Request, Signature, to_assigned, to_plan, to_portable, to_specialised
from ronn.errors import InputError, OptionError, RonnError, nearest
from ronn.frontend.onnx import load as load_onnx
from ronn.ir.graph import Graph, IRModel, Metadata, Value, clone
from ronn.ir.types import TensorType
from ronn.ops.infer import merge_types
from ronn.options import SessionOptions
from ronn.partition import Target
from ronn.placement import Placement
from ronn.plan.plan import Plan
from ronn.plugins import registry
from ronn.values import Outputs, ValueInfo, check_symbols, convert, gather_inputs, own, type_of

DEFAULT_PROVIDERS = ("cpu", "reference")

Source = Any
"""A path, bytes, a binary file object, or an ``onnx.ModelProto``."""

ProviderSpec = str | tuple[str, Mapping[str, Any]]


class Model:
    """A loaded model: what it takes, gives and says about itself. Make sessions of it to run it."""

    def __init__(self, ir: IRModel) -> None:
        self._ir = ir

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | IO[bytes] | Any) -> Model:
        """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``.

        Raises ModelError, naming the file and what is wrong with it.
        """
        return cls(load_onnx(source))

    @property
    def graph(self) -> Graph:
        """The imported graph. Sessions work on copies; editing it changes sessions made later."""
        return self._ir.graph

    @property
    def ir(self) -> IRModel:
        """The whole imported model: graph, opset imports, functions, metadata."""
        return self._ir

    @property
    def inputs(self) -> list[ValueInfo]:
        return [ValueInfo.of(v) for v in self._ir.graph.inputs]

    @property
    def outputs(self) -> list[ValueInfo]:
        g = self._ir.graph
        return [ValueInfo.of(v, n) for v, n in zip(g.outputs, g.output_names, strict=True)]

    @property
    def metadata(self) -> Metadata:
        return self._ir.metadata

    def create_session(
        self,
        options: SessionOptions | Mapping[str, Any] | None = None,
        *,
        providers: Sequence[ProviderSpec] | None = None,
    ) -> Session:
        """A session on this model; arguments as for ``Session``."""
        return Session(self, providers=providers, options=options)

    def __repr__(self) -> str:
        return f"Model({self._ir.source!r}, {len(self._ir.graph)} nodes)"


def resolve_targets(providers: Sequence[ProviderSpec] | None) -> tuple[Target, ...]:
    """The targets that ``providers`` name, in order. ProviderError for an unknown or unusable one.

    None means the default: cpu, with reference behind it (and reference alone where no cpu provider is installed).
    """
    known = registry()
    if providers is None:
        usable = {r.name for r in known.records if r.ok}
        providers = [p for p in DEFAULT_PROVIDERS if p in usable]
    if isinstance(providers, str):
        providers = [providers]
    targets: list[Target] = []
    for spec in providers:
        name, given = (spec, {}) if isinstance(spec, str) else spec
        if any(t.name == name for t in targets):
            raise OptionError(f"provider {name!r} is listed twice")
        record = known.get(name)
        assert record.provider is not None
        targets.append(Target(record.provider, record.devices()[0], record.provider.check_options(given)))
    if not targets:
        raise OptionError("no providers listed", hint="leave providers out for the default, cpu and reference")
    return tuple(targets)


class Session:
    """Runs a model. Safe to use from several threads at once.

    source: a path, bytes, a binary file object, an ``onnx.ModelProto``, or a ``Model``.
    providers: names, or (name, options) pairs, in order of preference; nothing else is used. Default: cpu, with
        reference behind it.
    options: ``SessionOptions`` or a mapping of its fields.

    Raises ModelError for a bad model, ProviderError for an unknown or unusable provider, PlacementError (naming nodes
    and reasons) when the providers listed cannot run every node, OptionError for a bad option.
    """

    def __init__(
        self,
        source: Source,
        providers: Sequence[ProviderSpec] | None = None,
        options: SessionOptions | Mapping[str, Any] | None = None,
    ) -> None:
        self._model = source if isinstance(source, Model) else Model.load(source)
        if options is None or isinstance(options, Mapping):
            options = SessionOptions.of(**(options if options is not None else {}))
        self.options = options
        self._targets = resolve_targets(providers)
        self._lock = threading.RLock()
        self._closed = False
        self._variants: dict[tuple[tuple[str, ...], tuple[str, ...]], _Variant] = {}
        self._base = self._variant((), ())
        self._base.check()

    # --- what the session is about

    @property
    def model(self) -> Model:
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
        return self._model.metadata

    @property
    def graph(self) -> Graph:
        """The portable graph: after the passes that hold for every input size."""
        return self._base.portable

    @property
    def providers(self) -> list[str]:
        """Names of the providers listed, in order."""
        return [t.name for t in self._targets]

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
    ) -> Outputs:
        """Runs the model once.

        inputs: a mapping of input name to array, a sequence in input order, or one array for a one-input model.
            Anything with ``__dlpack__``, the buffer protocol or ``__array__`` does, and nested lists of numbers.
        outputs: names to return (default: all, in the model's order).
        trace: names of intermediate values to return as well, behind the outputs. The first run with a new set of
            names compiles a variant of the model that keeps them.

        Returns a mapping in output order that also unpacks like a tuple. Arrays are the caller's own.
        Raises InputError for inputs that do not fit, ExecutionError naming the node that failed.
        """
        if self._closed:
            raise RonnError("the session is closed")
        graph = self._model.graph
        defaults = self._model.ir.overridable
        values = gather_inputs(inputs, graph.inputs, defaults)
        given = tuple(n for n in defaults if n in values)
        variant = self._base if not given and not trace else self._variant(self._traced(trace), given)
        feed = variant.portable.inputs
        for v in feed:
            values[v.name] = convert(values[v.name], v.type, v.name)
        check_symbols(values, feed, self.options.dimensions)
        ordered = [values[v.name] for v in feed]
        signature = tuple(type_of(x, v.type) for x, v in zip(ordered, feed, strict=True))
        results = own(variant.plan(signature).run(ordered), ordered)
        names = variant.portable.output_names
        if outputs is None:
            return Outputs(names, results)
        found = dict(zip(names, results, strict=True))
        wanted = [*outputs, *trace]
        for name in wanted:
            if name not in found:
                near = nearest(name, names)
                raise InputError(
                    f"the model has no output {name!r}; it gives {', '.join(map(repr, names))}",
                    hint=f"did you mean {near!r}?" if near else "intermediate values are named in trace=[...]",
                )
        return Outputs(wanted, [found[n] for n in wanted])

    __call__ = run

    # --- resources

    def trim(self) -> None:
        """Gives the memory of idle runs back; the next run takes it again."""
        with self._lock:
            for variant in self._variants.values():
                variant.trim()

    def close(self) -> None:
        """Gives everything back. A closed session runs no more; closing twice is fine."""
        with self._lock:
            self._closed = True
            for variant in self._variants.values():
                variant.close()

    def __enter__(self) -> Session:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Session({self._model.ir.source!r}, providers={self.providers})"

    def _traced(self, names: Sequence[str]) -> tuple[str, ...]:
        graph = self._model.graph
        known = {v.name for v in graph.values()}
        public = set(graph.output_names)
        for name in names:
            if name not in known and name not in public:
                near = nearest(name, sorted(known))
                raise InputError(
                    f"the model has no value {name!r} to trace",
                    hint=f"did you mean {near!r}?" if near else "`ronn inspect --ir` prints all names",
                )
        return tuple(n for n in dict.fromkeys(names) if n not in public)

    def _variant(self, trace: tuple[str, ...], given: tuple[str, ...]) -> _Variant:
        with self._lock:
            found = self._variants.get((trace, given))
            if found is None:
                request = Request(self._model.ir, self._targets, self.options, trace, given)
                found = self._variants[trace, given] = _Variant(request)
            return found


class _Variant:
    """A portable graph and its plans by input signature, least recently used first."""

    def __init__(self, request: Request) -> None:
        self.request = request
        self.portable = to_portable(request)
        self._plans: OrderedDict[Signature, Plan] = OrderedDict()
        self._latest: Graph | None = None
        self._generic: Graph | None = None
        self._experience = Experience()
        self._lock = threading.RLock()

    def check(self) -> None:
        """Assigns every node at once, so that a session that cannot run fails when made."""
        if self._static:
            self.plan(tuple(v.type for v in self.portable.inputs))
        else:
            self.assigned()

    @property
    def _static(self) -> bool:
        return all(isinstance(v.type, TensorType) and v.type.is_static for v in self.portable.inputs)

    def generic(self) -> Graph:
        """The graph after the passes that need no sizes: what plans for any size start from."""
        if self._generic is None:
            self._generic = self.portable if self._static else to_specialised(self.portable, None, self.request)
        return self._generic

    def assigned(self) -> Graph:
        with self._lock:
            if self._latest is None:
                self._latest = to_assigned(clone(self.generic()), self.request)
            return self._latest

    def plan(self, signature: Signature) -> Plan:
        with self._lock:
            plan = self._plans.get(signature)
            if plan is None:
                graph = to_specialised(self.generic(), signature, self.request, self._experience)
                plan = self._plans[signature] = to_plan(to_assigned(graph, self.request), self.request)
                self._latest = graph
                while len(self._plans) > self.request.options.plan_cache:
                    self._plans.popitem(last=False)
            else:
                self._plans.move_to_end(signature)
            return plan

    def trim(self) -> None:
        with self._lock:
            for plan in self._plans.values():
                plan.trim()

    def close(self) -> None:
        with self._lock:
            while self._plans:
                self._plans.popitem()[1].close()


def load(source: str | os.PathLike[str] | bytes | IO[bytes] | Any) -> Model:
    """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``. Raises ModelError."""
    return Model.load(source)
