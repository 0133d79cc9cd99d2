"""The pass contract, and the driver that runs, times, labels, verifies and can stop passes.

A pass is ``(graph, context) -> bool``: it edits the graph in place and says whether it changed anything; a second run
right after returns False. Before each single rewrite it asks ``context.may_rewrite()``, afterwards it calls
``context.rewrote(...)``: this is how rewrites are counted, logged, put on nodes as tags, and cut short.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TextIO, runtime_checkable

from ronn.debug import say
from ronn.errors import InternalError, ModelError, OptionError, RonnError, nearest
from ronn.ir.graph import Function, Graph, Node
from ronn.passes.names import Names, own_outputs
from ronn.records import dataclass, field

if TYPE_CHECKING:
    import numpy as np

    from ronn.ops.infer import Inferred

MAX_ITERATIONS = 24  # a group that still changes things after so many rounds is broken


@runtime_checkable
class Pass(Protocol):
    """What the manager runs. The fields of ``FunctionPass`` are read when a pass has them."""

    @property
    def name(self) -> str: ...

    def __call__(self, graph: Graph, context: PassContext) -> bool: ...


PassFunction = Callable[[Graph, "PassContext"], bool]


@dataclass(frozen=True)
class FunctionPass:
    """A pass made from a function by ``define_pass``."""

    name: str
    fn: PassFunction
    requires_types: bool = False
    required: bool = False
    keeps_types: bool = False
    late: bool = False
    local: bool = False

    @property
    def summary(self) -> str:
        """The first line of the function's docstring, for listings."""
        return (self.fn.__doc__ or "").strip().partition("\n")[0]

    def __call__(self, graph: Graph, context: PassContext) -> bool:
        return self.fn(graph, context)


def define_pass(
    name: str,
    *,
    requires_types: bool = False,
    required: bool = False,
    keeps_types: bool = False,
    late: bool = False,
    local: bool = False,
) -> Callable[[PassFunction], FunctionPass]:
    """Makes a pass called ``name`` of ``fn(graph, context) -> changed``.

    requires_types: types are inferred before it runs, when a pass has changed the graph since they last were.
    required: a session needs it to run at all; it can be neither disabled nor cut short by a limit.
    keeps_types: it infers what it makes, and inference would find nothing new in the rest.
    late: as a provider's pass, it runs behind RONN's own ones for a signature instead of before them.
    local: it walks the graph with ``walk`` and looks at each node by itself, so that nodes may be left out.
    """
    return lambda fn: FunctionPass(name, fn, requires_types, required, keeps_types, late, local)


@dataclass(frozen=True)
class Group:
    """Passes that run in turn until a whole round changes nothing."""

    name: str
    passes: tuple[Pass, ...]


@dataclass(frozen=True, slots=True)
class Rewrite:
    """One rewrite that was made: pass, rule (empty for passes that are not made of rules), what it touched, whether it
    counts against a limit (those of required passes do not)."""

    pass_name: str
    rule: str
    detail: str
    counts: bool = True


@dataclass(frozen=True, slots=True)
class RefusedRewrite:
    """A pattern that nearly matched, and why it did not."""

    pass_name: str
    rule: str
    node: str
    reason: str


Evaluate = Callable[[Node, Sequence["np.ndarray | None"]], Sequence["np.ndarray"]]


@dataclass
class PassContext:
    """What passes know besides the graph, and where they report to.

    evaluate: computes a node from the arrays of its inputs; without it nothing is folded.
    claimed: whether any provider other than the reference takes a node whose types are inferred. Without it no node is
        turned into a composite or fused one, and none is expanded.
    options: ``fold_limit``, and in a provider's pass its own options, as ``provider``.
    gets: whether the provider whose pass is running would be given a node whose types are inferred. None: not known.
    rewrites: rewrites made so far (of passes that are not required); a second manager run goes on counting.
    settled: names of values (constants too) whose makers the running pass need not look at: in a graph like this one it
        found nothing there.
    places: for each pass the names of the first outputs of the nodes at which it did something.
    notify: told of every rewrite just after it was made, those of required passes too.
    """

    options: Mapping[str, Any] = field(default_factory=dict)
    opset_imports: Mapping[str, int] = field(default_factory=dict)
    functions: Mapping[tuple[str, str, str], Function] = field(default_factory=dict)
    evaluate: Evaluate | None = None
    claimed: Callable[[Node], bool] | None = None
    gets: Callable[[Node], bool] | None = None
    log: list[Rewrite] = field(default_factory=list)
    refusals: list[RefusedRewrite] = field(default_factory=list)
    rewrites: int = 0
    limit: int | None = None
    current: str = ""
    at: Node | None = None  # the node that the running pass looks at, for errors
    exempt: bool = False  # the running pass is required: the limit does not hold for it
    names: Names = field(default_factory=Names)
    settled: frozenset[str] = frozenset()
    place: str = ""  # the first output of ``at`` as it was called when ``walk`` came to it
    places: dict[str, set[str]] = field(default_factory=dict)
    notify: Callable[[Rewrite], None] | None = None
    _refused: set[RefusedRewrite] = field(default_factory=set)

    @property
    def opset(self) -> int:
        """The version of ONNX's own domain that the model imports (the newest known one when it imports none)."""
        found = self.opset_imports.get("", self.opset_imports.get("ai.onnx"))
        if found is not None:
            return found
        from ronn.ops.schema import max_opset

        return max_opset("")

    def takes(self, node: Node) -> bool:
        """Whether a provider is known to take ``node``."""
        return self.claimed is not None and bool(self.claimed(node))

    def owns(self, node: Node) -> bool:
        """Whether ``node`` goes to the provider whose pass is running, or to nobody, as far as is known."""
        return self.gets is None or bool(self.gets(node))

    def may_rewrite(self) -> bool:
        """Whether one more rewrite is allowed (``RONN_PASS_LIMIT``)."""
        return self.exempt or self.limit is None or self.rewrites < self.limit

    def rewrote(self, nodes: Iterable[Node] = (), *, rule: str = "", detail: str = "") -> None:
        """Reports one rewrite and tags the nodes that it made."""
        made = tuple(nodes)
        tag = f"{self.current}:{rule}" if rule else self.current
        for node in made:
            if tag not in node.tags:
                node.tags = (*node.tags, tag)
        self.places.setdefault(self.current, set()).add(self.place)
        if not self.exempt:
            self.rewrites += 1
        entry = Rewrite(self.current, rule, detail or ", ".join(n.label for n in made), not self.exempt)
        self.log.append(entry)
        if self.notify is not None:
            self.notify(entry)

    def mark(self, node: Node) -> None:
        """Has the running pass look at ``node`` in later graphs too: a rewrite elsewhere hangs on it."""
        if node.outputs:
            self.places.setdefault(self.current, set()).add(node.outputs[0].name)

    def refuse(self, node: Node, reason: str, *, rule: str = "") -> None:
        """Reports, once, that a pattern nearly matched at ``node`` and why it was left alone."""
        entry = RefusedRewrite(self.current, rule, node.label, reason)
        if entry not in self._refused:
            self._refused.add(entry)
            self.refusals.append(entry)

    def fresh(self, graph: Graph, stem: str) -> str:
        """A value name that nothing in the whole model carries."""
        return self.names.fresh(graph, stem)


@dataclass(frozen=True, slots=True)
class PassRow:
    """One run of one pass."""

    name: str
    iteration: int
    changed: bool
    rewrites: int
    seconds: float


@dataclass
class PassReport:
    """What a manager run did, one row a pass run."""

    rows: list[PassRow] = field(default_factory=list)
    rewrites: int = 0  # those that count against a limit: of passes that are not required
    typed: bool = False  # whether types were up to date at the end

    @property
    def changed(self) -> bool:
        return any(r.changed for r in self.rows)

    @property
    def seconds(self) -> float:
        return sum(r.seconds for r in self.rows)

    def counts(self) -> dict[str, int]:
        """Rewrites per pass, passes that did nothing left out."""
        total: dict[str, int] = {}
        for row in self.rows:
            if row.rewrites:
                total[row.name] = total.get(row.name, 0) + row.rewrites
        return total

    def __str__(self) -> str:
        lines = [f"{'pass':<24} {'round':>5} {'rewrites':>8} {'ms':>9}"]
        lines += [f"{r.name:<24} {r.iteration:>5} {r.rewrites:>8} {r.seconds * 1e3:>9.2f}" for r in self.rows]
        return "\n".join(lines)


class PassManager:
    """Runs passes and groups of passes in order.

    disabled: names of passes to leave out; OptionError for an unknown or a required one. ``known`` adds names that are
        no error though this pipeline lacks them.
    verify: check the graph after each pass that changed it (InternalError names the pass).
    print_after: names of passes after which the graph is printed to ``stream`` (stderr by default); ``all`` for each.
    limit: stop after so many rewrites.
    observe: called after each run of a pass with its report row and the graph as it then stands.
    skip: names of passes that are known to find nothing; one that must run is run all the same.
    settled: for passes that look at each node by itself, the nodes to leave out: see ``PassContext.settled``.
    """

    def __init__(
        self,
        passes: Iterable[Pass | Group],
        *,
        disabled: Collection[str] = frozenset(),
        known: Collection[str] = frozenset(),
        verify: bool = False,
        print_after: Collection[str] = frozenset(),
        limit: int | None = None,
        stream: TextIO | None = None,
        observe: Callable[[PassRow, Graph], None] | None = None,
        skip: Collection[str] = frozenset(),
        settled: Mapping[str, frozenset[str]] | None = None,
    ) -> None:
        self.items = tuple(passes)
        self.verify = verify
        self.print_after = frozenset(print_after)
        self.limit = limit
        self.stream = stream
        self.observe = observe
        self.settled = {} if settled is None else settled
        flat = [p for item in self.items for p in _passes_of(item)]
        check_disabled(disabled, flat, known)
        needed = {p.name for p in flat if getattr(p, "required", False)}
        self.disabled = frozenset(disabled) | (frozenset(skip) - needed)

    def run(
        self, graph: Graph, context: PassContext, *, typed: bool = False, known: Inferred | None = None
    ) -> PassReport:
        """Runs everything over ``graph``; ``typed`` says that its types have just been inferred, ``known`` which of its
        nodes inference has seen.

        InternalError names the pass that failed, broke the graph or never settles.
        """
        report = PassReport()
        if self.limit is not None:
            context.limit = self.limit
        before = context.rewrites
        context.names.scan(graph)
        state = _State(types_stale=not typed, known=known)
        own_outputs(graph, context.names)
        for item in self.items:
            if isinstance(item, Group):
                self._run_group(item, graph, context, report, state)
            elif item.name not in self.disabled:
                self._run_pass(item, graph, context, report, state, 0)
        report.rewrites = context.rewrites - before
        report.typed = not state.types_stale
        return report

    def _run_group(self, group: Group, graph: Graph, context: PassContext, report: PassReport, state: _State) -> None:
        passes = [p for p in group.passes if p.name not in self.disabled]
        # A pass need not run again when nothing has changed since its own last run.
        settled: set[str] = set()
        changed: list[str] = []
        for iteration in range(MAX_ITERATIONS):
            changed = []
            for p in passes:
                if p.name in settled:
                    continue
                if self._run_pass(p, graph, context, report, state, iteration):
                    settled.clear()
                    changed.append(p.name)
                else:
                    settled.add(p.name)
            if not changed or len(settled) == len(passes):
                return
        restless = InternalError(
            f"passes of group {group.name!r} still change the graph in round {MAX_ITERATIONS}: {', '.join(changed)}",
            hint=f"switch one of them off: disabled_passes=({changed[0]!r},)",
        )
        restless.pass_name = changed[0]
        raise restless

    def _run_pass(
        self, p: Pass, graph: Graph, context: PassContext, report: PassReport, state: _State, iteration: int
    ) -> bool:
        started = time.perf_counter()
        before = len(context.log)
        context.current, context.at, context.place = p.name, None, ""
        local = getattr(p, "local", False) and not getattr(p, "late", False)
        context.settled = self.settled.get(p.name, frozenset()) if local else frozenset()
        context.exempt = bool(getattr(p, "required", False))
        try:
            if getattr(p, "requires_types", False) and state.types_stale:
                from ronn.ops.infer import infer_types

                infer_types(graph, state.known)
                state.types_stale = False
            changed = bool(p(graph, context))
        except ModelError as e:
            raise _named(e, p.name) from e
        except RonnError as e:
            e.pass_name = p.name
            raise
        except Exception as e:
            failed = InternalError(f"pass {p.name!r} failed: {type(e).__name__}: {e}", node=context.at)
            failed.pass_name = p.name
            raise failed from e
        finally:
            context.exempt, context.settled = False, frozenset()
        state.types_stale = state.types_stale or (changed and not getattr(p, "keeps_types", False))
        made = len(context.log) - before
        row = PassRow(p.name, iteration, changed, made, time.perf_counter() - started)
        report.rows.append(row)
        if changed:
            self._check(p, graph)
        if self.print_after and ("all" in self.print_after or p.name in self.print_after):
            stream = self.stream if self.stream is not None else sys.stderr
            print(f"--- after {p.name} (round {iteration}, {made} rewrites)\n{graph}", file=stream)
        else:
            say(6, lambda: f"--- after {p.name} (round {iteration}, {made} rewrites)\n{graph}")
        if self.observe is not None:
            self.observe(row, graph)
        return changed

    def _check(self, p: Pass, graph: Graph) -> None:
        if not self.verify:
            return
        from ronn.ir.verify import verify

        try:
            verify(graph)
        except RonnError as e:
            broken = InternalError(f"pass {p.name!r} broke the graph: {e}")
            broken.pass_name = p.name
            raise broken from e


@dataclass
class _State:
    types_stale: bool
    known: Inferred | None


def _named(error: ModelError, name: str) -> ModelError:
    """The model's fault stays a ModelError; where it showed is added for people."""
    error.args = (f"{error.args[0]}\n  found by pass {name!r}", *error.args[1:])
    error.pass_name = name
    return error


def _passes_of(item: Pass | Group) -> tuple[Pass, ...]:
    return item.passes if isinstance(item, Group) else (item,)


def check_disabled(disabled: Collection[str], passes: Iterable[Pass], known: Collection[str] = frozenset()) -> None:
    """OptionError when a name of ``disabled`` is no pass, with the nearest name, or a required pass."""
    found = {p.name: p for p in passes}
    names = sorted({*found, *known})
    for name in disabled:
        if name not in names:
            near = nearest(name, names)
            raise OptionError(
                f"there is no pass {name!r}", hint=f"did you mean {near!r}?" if near else f"passes: {', '.join(names)}"
            )
        if name in found and getattr(found[name], "required", False):
            raise OptionError(f"pass {name!r} is required and cannot be disabled")
