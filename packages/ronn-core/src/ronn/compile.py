"""The pipeline, one line a stage. Read this first: it is the way from a model file to something that runs.

model.onnx --frontend--> imported --portable passes--> portable --bind, specialised passes--> specialised
    --bids, copies--> assigned --provider.compile--> calls --lifetimes, arena--> Plan
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from time import monotonic
from typing import Any, Literal

import numpy as np

from ronn import knobs
from ronn.cached import cached_property
from ronn.debug import say
from ronn.errors import (
    InternalError,
    ModelError,
    PlacementError,
    ProviderError,
)
from ronn.ir.dims import Dim, Sym, substitute
from ronn.ir.graph import Graph, IRModel, Node, Value, clone
from ronn.ir.types import TensorType, Type
from ronn.observe import tell_fallbacks, tell_plan, tell_refusal
from ronn.ops import custom
from ronn.ops.infer import Inferred, forget_declared_shapes, infer_types
from ronn.options import SessionOptions
from ronn.partition import (
    CONTROL,
    LATER,
    Target,
    ask,
    assign,
    insert_copies,
    is_control_flow,
    is_copy,
    partition,
    preferred,
    settler,
)
from ronn.parts import Making, calls_of, copy_call
from ronn.passes.manager import PassContext, PassManager, PassReport, PassRow, Rewrite
from ronn.passes.pipelines import again, all_passes, pipeline
from ronn.placement import Placement
from ronn.plan.budget import Budget
from ronn.plan.control import control_call
from ronn.plan.memory import check_sizes
from ronn.plan.plan import Plan
from ronn.plan.tail import PATIENCE, Tail
from ronn.plugins import registry
from ronn.provider import Call, No, Part, Yes
from ronn.records import dataclass, field
from ronn.split import Split, hangs_on_values, split
from ronn.usage import Copies


@dataclass(frozen=True)
class Request:
    """What to compile for: the imported model, the targets in order of preference, the options.

    ``trace`` names values that must survive all passes, because a run asks for them. ``given`` names constants with a
    default (IR 4 and newer) that a run feeds. ``reports`` are those of the portable passes.
    ``observe`` is called after each run of a pass, ``notify`` after each rewrite with the graph that it was made in.
    ``budget`` limits the memory of the plans; ``copies`` is told what runs copy. ``limit``: how many rewrites may be
    made (None: RONN_PASS_LIMIT says). ``in_one``: everything is planned at once, also what hangs on sizes that only a
    run tells.
    ``session`` is what events call the session; ``told`` are the fallbacks that it has told of.
    """

    model: IRModel
    targets: tuple[Target, ...]
    options: SessionOptions
    trace: tuple[str, ...] = ()
    given: tuple[str, ...] = ()
    reports: list[PassReport] = field(default_factory=list, compare=False)
    observe: Callable[[PassRow, Graph], None] | None = field(default=None, compare=False)
    budget: Budget | None = field(default=None, compare=False)
    copies: Copies | None = field(default=None, compare=False)
    session: int = field(default=0, compare=False)
    told: set[tuple[str, str]] = field(default_factory=set, compare=False)
    notify: Callable[[Rewrite, Graph], None] | None = field(default=None, compare=False)
    limit: int | None = None
    in_one: bool = False

    @property
    def rewrites_allowed(self) -> int | None:
        """How many rewrites may be made; None for as many as there are."""
        if self.limit is not None:
            return self.limit
        found = knobs.PASS_LIMIT.get()
        return None if found < 0 else found


Signature = tuple[Type | None, ...]
"""The types of the inputs of one run; dims are ints."""


def compile_model(request: Request, signature: Signature) -> Plan:
    """From the imported model to a plan for one input signature. Sessions keep what the stages share."""
    portable = to_portable(request)
    specialised = to_specialised(portable, signature, request)
    assigned = to_assigned(specialised, request)
    return to_plan(assigned, request)


def to_portable(request: Request) -> Graph:
    """A copy of the imported graph after the passes that hold for every input size and device."""
    graph = to_imported(request)
    _stage("imported", graph)
    request.reports.clear()
    passes = _PassRun(graph, request, request.reports)
    passes.infer()
    passes.run("portable", pipeline(request.options.optimization, "portable"))
    passes.run("plugins at portable", _plugged("portable"))
    passes.infer()
    _stage("portable", graph)
    return graph


@dataclass
class Experience:
    """Which passes did something to a graph when it was specialised, and where. Those that never did are left out for
    the next signature, and so are nodes at which a pass found nothing: planning a new size then costs what is special
    about sizes. Whatever is rewritten was found to fit the sizes at hand, so the worst is a rewrite that is not made.

    ``names`` are those of the values of the graph before.
    """

    ran: set[str] = field(default_factory=set)
    changed: set[str] = field(default_factory=set)
    places: dict[str, set[str]] = field(default_factory=dict)
    names: frozenset[str] = frozenset()

    @property
    def idle(self) -> frozenset[str]:
        return frozenset(self.ran - self.changed)

    @property
    def fresh(self) -> bool:
        return not self.ran

    @cached_property
    def settled(self) -> Mapping[str, frozenset[str]]:
        """For each pass the values at whose makers it found nothing."""
        return {name: self.names - self.places.get(name, set()) for name in self.ran}

    def learn(self, reports: Sequence[PassReport], places: Mapping[str, set[str]]) -> None:
        """Takes in what the passes of one specialisation did."""
        for row in (row for report in reports for row in report.rows):
            self.ran.add(row.name)
            if row.changed:
                self.changed.add(row.name)
        for name, found in places.items():
            known = self.places.setdefault(name, set())
            if not found <= known:
                known |= found
                self.__dict__.pop("settled", None)


@dataclass
class Experiences:
    """One for each kind of sizes: which of them are 0 or 1 is what most rewrites that hang on sizes ask. ``tails`` is
    for the halves of graphs that wait for the first half's results."""

    by_kind: dict[object, Experience] = field(default_factory=dict)
    tails: Experiences | None = None

    def of(self, signature: Signature) -> Experience:
        shapes = [t.shape if isinstance(t, TensorType) else None for t in signature]
        kind = tuple([None if s is None else tuple([d if d in (0, 1) else -1 for d in s]) for s in shapes])
        return self.by_kind.setdefault(kind, Experience())

    def of_tails(self) -> Experiences:
        if self.tails is None:
            self.tails = Experiences()
        return self.tails


def to_specialised(
    portable: Graph, signature: Signature | None, request: Request, experience: Experience | None = None
) -> Graph:
    """A copy for one signature (None: sizes stay symbolic) after the passes that profit from knowing the sizes.

    ``experience`` with graphs like this one: passes that found nothing then are not run, and it learns from this one.
    RONN_VERIFY holds the result against that of all passes.
    """
    quick = experience is not None and not experience.fresh
    graph = _specialised(portable, signature, request, experience)
    if quick and knobs.VERIFY.get() and request.rewrites_allowed is None:
        full = _specialised(portable, signature, request, None)
        if [v.type for v in graph.outputs] != [v.type for v in full.outputs]:
            raise InternalError(f"graph {graph.name!r} has other outputs when specialised with experience")
        if missed := difference(graph, full):
            say(2, lambda: f"ronn: specialised with experience, {missed}")
    return graph


def difference(quick: Graph, full: Graph) -> str:
    """In which operators two graphs differ; empty where they are made of the same ones."""
    ours, theirs = (Counter(n.op_id for n in g.all_nodes()) for g in (quick, full))
    more, fewer = ours - theirs, theirs - ours
    return f"it has {dict(more)} where all passes make {dict(fewer)}" if more or fewer else ""


def _specialised(
    portable: Graph, signature: Signature | None, request: Request, experience: Experience | None
) -> Graph:
    request.model.check_files()
    graph = clone(portable)
    bind(graph, signature, request.options.dimensions)
    reports = list(request.reports)
    passes = _PassRun(graph, request, reports)
    if experience is not None:
        if experience.fresh:
            experience.names = _names(graph)
        else:
            passes.skip, passes.settled = experience.idle, experience.settled
    passes.infer()
    _run_provider_passes(passes, late=False)
    stages = pipeline(request.options.optimization, "specialised")
    if experience is None or experience.fresh or request.rewrites_allowed is not None:
        passes.run("specialised", stages)
    else:
        passes.run("specialised, again", again(stages, frozenset(experience.changed)))
    passes.run("plugins at specialised", _plugged("specialised"))
    _run_provider_passes(passes, late=True)
    passes.run("plugins at late", _plugged("late"))
    passes.infer()
    if experience is not None:
        experience.learn(reports[len(request.reports) :], passes.places)
    _stage("specialised", graph)
    return graph


def to_assigned(specialised: Graph, request: Request) -> Graph:
    """Gives every node its provider, in place, and makes copies between memories explicit.

    Raises PlacementError when nobody listed takes a node.
    """
    tell_fallbacks(assign(specialised, request.targets), request)
    insert_copies(specialised, request.targets)
    devices = {t.name: t.device.name for t in request.targets}
    say(3, lambda: f"ronn: assignment\n{Placement.of(specialised, devices)}")
    _stage("assigned", specialised)
    return specialised


def to_plan(
    assigned: Graph,
    request: Request,
    experiences: Experiences | None = None,
    *,
    whole: bool = True,
    settle: Callable[[Graph], None] | None = None,
) -> Plan:
    """Has every part compiled and lays the calls out over slots and one arena; subgraphs become sub-plans.

    ``whole``: the graph is that of the model, whose inputs a caller gives. ``settle`` is told of tails when they are
    assigned; None: the nodes of ``assigned`` that wait for it learn who took them.
    """
    making = Making({t.name: t for t in request.targets}, request)
    waiting = next((n for n in assigned if n.provider == LATER), None)
    at_once = request.in_one or not _waits_for_sizes(request)
    halves = split(assigned, whole, waiting is not None) if waiting is not None or not at_once else None
    if halves is None and waiting is not None:
        raise PlacementError("nothing tells the types of this node's inputs", node=waiting)
    if halves is None:
        plan = _plan(assigned, assigned.inputs, making)
    else:
        plan = _plan_in_two(halves, request, making, experiences, settler(assigned) if settle is None else settle)
    plan.closers, plan.inner, plan.compiles = making.closers, making.inner, making.compiles
    plan.devices = making.devices
    return plan


def bind(graph: Graph, signature: Signature | None, dimensions: Mapping[str, int]) -> None:
    """Puts the sizes of ``signature`` (and fixed ``dimensions``) in place of symbols, in every type of the graph.

    That the sizes fit the declared shapes was checked when the run's inputs were.
    """
    binding: dict[str, Dim] = dict(dimensions)
    if signature is not None:
        for value, given in zip(graph.inputs, signature, strict=True):
            if isinstance(given, TensorType) and given.shape is not None and value.tensor.shape is not None:
                for declared, size in zip(value.tensor.shape, given.shape, strict=False):
                    if isinstance(declared, Sym) and declared.is_name and size is not None:
                        binding[str(declared.terms[0][0][0])] = size
    _substitute(graph, binding)
    if signature is not None:
        for value, given in zip(graph.inputs, signature, strict=True):
            if given is not None:
                value.type = given


def _substitute(graph: Graph, binding: Mapping[str, Dim]) -> None:
    for value in graph.values():
        if not value.is_const:
            value.shape_data = None
            t = value.type
            if binding and isinstance(t, TensorType) and t.shape is not None and not t.is_static:
                value.type = TensorType(t.dtype, tuple(substitute(d, binding) for d in t.shape))
    for sub in graph.inner_graphs():
        _substitute(sub, binding)


# --- stages


def _names(graph: Graph) -> frozenset[str]:
    """Names of all values of a graph and its subgraphs."""
    found = {v.name for v in graph.values()}
    for sub in graph.inner_graphs():
        found |= _names(sub)
    return frozenset(found - {""})


def to_imported(request: Request) -> Graph:
    """A copy of the imported graph with the inputs and outputs that the request asks for, before any pass."""
    request.model.check_files()
    graph = clone(request.model.graph)
    forget_declared_shapes(graph)
    custom.check_nodes(graph)
    if request.given:
        for name in request.given:
            value = graph.initializers.pop(name)
            value.data = None
            value.shape_data = None
            graph.inputs.append(value)
    if request.trace:
        known = {v.name: v for v in graph.values()}
        for name in request.trace:
            graph.add_output(known[name], name)
    return graph


def _stage(name: Literal["imported", "portable", "specialised", "assigned"], graph: Graph) -> None:
    if knobs.VERIFY.get():
        from ronn.ir.verify import verify

        verify(graph, "portable" if name == "specialised" else name)
    say(5, lambda: f"--- {name}\n{graph}")


def _run_provider_passes(passes: _PassRun, *, late: bool) -> None:
    for target in passes.request.targets:
        chosen = [p for p in target.provider.passes(target.device) if bool(getattr(p, "late", False)) == late]
        passes.run(f"provider {target.name}", chosen, target)


def _plugged(stage: str) -> list[Any]:
    return [p for group in registry().manager.hook.ronn_passes(stage=stage) for p in group]


@dataclass
class _PassRun:
    """Lists of passes over one graph: rewrites are counted on from list to list, types inferred only when stale."""

    graph: Graph
    request: Request
    reports: list[PassReport]
    skip: frozenset[str] = frozenset()
    typed: bool = False
    known: Inferred = field(default_factory=Inferred)
    settled: Mapping[str, frozenset[str]] = field(default_factory=dict)
    places: dict[str, set[str]] = field(default_factory=dict)

    def run(self, what: str, passes: Sequence[Any], target: Target | None = None) -> None:
        """Runs a list of passes and appends its report."""
        if not passes:
            return
        request, limit, notify = self.request, self.request.rewrites_allowed, self.request.notify
        disabled = frozenset(request.options.disabled_passes)
        # What is worth while for one size may not be for another.
        skip = self.skip - {p.name for p in passes if getattr(p, "late", False)}
        manager = PassManager(
            passes,
            disabled=disabled,
            known=known_passes(request) if disabled else (),
            verify=knobs.VERIFY.get(),
            print_after=knobs.words(knobs.PRINT_AFTER.get()),
            limit=limit,
            observe=request.observe,
            skip=skip if limit is None else (),
            settled=self.settled if limit is None else None,
        )
        context = pass_context(request)
        context.places = self.places
        if target is not None:
            context.options = {**context.options, "provider": target.options}
            context.gets = lambda node: preferred(node, request.targets) in (target, None)
        if notify is not None:
            context.notify = lambda rewrite: notify(rewrite, self.graph)
        context.rewrites = self.graph.rewrites
        report = manager.run(self.graph, context, typed=self.typed, known=self.known)
        self.graph.rewrites = context.rewrites
        self.typed = report.typed
        self.reports.append(report)
        say(2, lambda: f"ronn: {what}: {report.seconds * 1e3:.1f} ms\n{report}")

    def infer(self) -> None:
        """Types as they must be at the end of a stage."""
        if not self.typed:
            infer_types(self.graph, self.known)
            self.typed = True


def known_passes(request: Request) -> set[str]:
    """Names of all passes that any stage of this request may run: RONN's own, the providers', the plugins'."""
    plugged = [p for stage in ("portable", "specialised", "late") for p in _plugged(stage)]
    return {
        *all_passes(),
        *(p.name for t in request.targets for p in t.provider.passes(t.device)),
        *(p.name for p in plugged),
    }


def pass_context(request: Request) -> PassContext:
    """What passes may ask: who takes a node, and what it computes on constants."""
    native = [t for t in request.targets if t.name != "reference"]

    def claimed(node: Node) -> bool:
        answers = [ask(t, node) for t in native]
        if any(isinstance(a, Yes) for a in answers):
            return True
        return any(isinstance(a, No) and a.later for a in answers) and hangs_on_values(node)

    return PassContext(
        options={"fold_limit": request.options.fold_limit},
        opset_imports=request.model.opset_imports,
        functions=request.model.functions,
        evaluate=evaluator(request.targets),
        claimed=claimed,
    )


def evaluator(targets: Sequence[Target]) -> Callable[[Node, Sequence[Any]], list[Any]]:
    """A function that computes one node on arrays: by the first listed provider that folds, else by the reference."""
    folding = [t for t in targets if t.provider.folds and t.device.memory == "host"]
    if all(t.name != "reference" for t in folding):
        record = registry().get("reference")
        assert record.provider is not None
        folding.append(Target(record.provider, record.devices()[0], {}))

    def evaluate(node: Node, arrays: Sequence[Any]) -> list[Any]:
        for target in folding:
            if isinstance(ask(target, node), Yes):
                inputs = tuple(v for v in node.inputs if v is not None)
                part = Part((node,), inputs, node.outputs)
                compiled = target.provider.compile_for_folding(part, target.device, target.options)
                given = [a for a, v in zip(arrays, node.inputs, strict=False) if v is not None]
                wanted = [v for v in node.outputs if v.name]
                results = iter(_once(compiled.calls, inputs, wanted, given))
                return [next(results) if v.name else None for v in node.outputs]
        raise ModelError(f"nobody computes {node.op_id}", node=node)

    return evaluate


def _once(calls: Sequence[Call], inputs: tuple[Value, ...], outputs: list[Value], given: list[Any]) -> list[Any]:
    """Runs calls a single time. One call that takes the inputs as they come needs no plan."""
    call = calls[0]
    if len(calls) > 1 or call.native is not None or call.inputs != inputs or list(call.outputs) != outputs:
        return Plan(calls, inputs, outputs).run(given)
    made = call.fn(*given)
    results = [made] if len(outputs) == 1 else list(made)
    if len(results) < len(outputs):
        raise ProviderError(f"the kernel returned {len(results)} instead of {len(outputs)} outputs")
    return [np.asarray(r) if isinstance(r, np.generic) else r for r in results]


def _waits_for_sizes(request: Request) -> bool:
    return any(t.provider.wants_sizes for t in request.targets) and all(
        t.device.memory == "host" for t in request.targets
    )


def _plan_in_two(
    halves: Split,
    request: Request,
    making: Making,
    experiences: Experiences | None,
    settle: Callable[[Graph], None],
) -> Plan:
    """A plan whose last call plans and runs the tail, for the sizes that the calls before have found out."""
    learnt = Experiences() if experiences is None else experiences.of_tails()

    def plan_tail(graph: Graph, types: Signature) -> Plan:
        began = monotonic()
        specialised = to_specialised(graph, types, request, learnt.of(types))
        assigned = to_assigned(specialised, request)
        settle(assigned)
        plan = to_plan(assigned, request, learnt, whole=False, settle=settle)
        tell_plan(request, types, plan, began, tail=True)
        return plan

    # Where memory is limited, sizes are to be known before anything is made.
    limited = request.budget is not None or request.options.max_tensor_bytes is not None
    patience = PATIENCE if halves.given and not limited else None
    tail = Tail(halves.tail, halves.by_value, plan_tail, request.options.plan_cache, making.inner, patience)
    made = tuple(Value(v.name, v.type) for v in halves.tail.outputs)
    calls = [*_calls(halves.head, making), Call(tail, halves.crossing, made, tuple(halves.tail))]
    outputs = [made[o] if isinstance(o, int) else o for o in halves.outputs]
    check, guard = knobs.VERIFY.get(), knobs.GUARD.get()
    return Plan(calls, halves.head.inputs, outputs, check=check, guard=guard, budget=making.request.budget)


def _plan(graph: Graph, inputs: Sequence[Value], making: Making) -> Plan:
    calls = _calls(graph, making)
    check, guard = knobs.VERIFY.get(), knobs.GUARD.get()
    return Plan(calls, inputs, graph.outputs, check=check, guard=guard, budget=making.request.budget)


def _calls(graph: Graph, making: Making) -> list[Call]:
    calls: list[Call] = []
    targets = making.targets
    budget, refused = making.request.budget, partial(tell_refusal, making.request)
    limit = None if budget is None else budget.limit
    check_sizes(graph, limit, making.request.options.limits.max_tensor_bytes, refused)
    for part in partition(graph):
        first = part.nodes[0]
        if first.provider != CONTROL:
            calls += calls_of(targets[first.provider or ""], part, making)
        elif is_copy(first):
            calls.append(copy_call(first, targets))
        else:
            assert is_control_flow(first)
            calls.append(control_call(first, lambda sub, captured: _sub_plan(sub, [*sub.inputs, *captured], making)))
    return calls


def _sub_plan(graph: Graph, inputs: Sequence[Value], making: Making) -> Plan:
    plan = _plan(graph, inputs, making)
    making.inner.append(plan)
    return plan
