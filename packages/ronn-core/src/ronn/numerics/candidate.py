"""What is put to the test: a model, providers and options, on given inputs, after a given number of rewrites."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from ronn.compile import Request, Signature, to_assigned, to_imported, to_plan, to_portable, to_specialised
from ronn.errors import RonnError
from ronn.ir.graph import Graph, IRModel
from ronn.ir.types import TensorType
from ronn.options import SessionOptions
from ronn.partition import Target
from ronn.passes.manager import PassRow, Rewrite
from ronn.plan.plan import Plan
from ronn.records import dataclass
from ronn.values import check_symbols, convert, gather_inputs, own, type_of


@dataclass(frozen=True)
class Watch:
    """Looks on while passes run: at every rewrite, and at the end of every run of a pass."""

    rewrite: Callable[[Rewrite, Graph], None] | None = None
    row: Callable[[PassRow, Graph], None] | None = None


@dataclass(frozen=True)
class Step:
    """A rewrite, and the number of the run of a pass, from 0, in which it was made."""

    rewrite: Rewrite
    row: int


class Halted(BaseException):
    """Ends a compilation. ``graph`` is what it had come to."""

    def __init__(self, graph: Graph) -> None:
        super().__init__("halted")
        self.graph = graph


@dataclass(frozen=True)
class Candidate:
    """A model with targets and options, and the converted inputs of one run in the order of the graph's inputs.

    ``given`` names constants with a default that the run feeds. ``in_one``: see ``Request``.
    """

    model: IRModel
    targets: tuple[Target, ...]
    options: SessionOptions
    values: tuple[Any, ...]
    signature: Signature
    given: tuple[str, ...] = ()
    in_one: bool = False

    @classmethod
    def of(cls, model: IRModel, targets: Sequence[Target], options: SessionOptions, inputs: Any) -> Candidate:
        """Converts and checks ``inputs`` as ``Session.run`` does. InputError for those that do not fit."""
        found = gather_inputs(inputs, model.graph.inputs, model.overridable)
        given = tuple(n for n in model.overridable if n in found)
        feed = to_imported(Request(model, tuple(targets), options, given=given)).inputs
        values = {v.name: convert(found[v.name], v.type, v.name) for v in feed}
        check_symbols(values, feed, options.dimensions)
        ordered = tuple(values[v.name] for v in feed)
        signature = tuple(type_of(x, v.type) for x, v in zip(ordered, feed, strict=True))
        return cls(model, tuple(targets), options, ordered, signature, given)

    def request(self, limit: int | None = None, watch: Watch | None = None) -> Request:
        """What is to be compiled, with at most ``limit`` rewrites that count."""
        watch = Watch() if watch is None else watch
        return Request(
            self.model, self.targets, self.options, given=self.given, limit=limit, notify=watch.rewrite,
            observe=watch.row, in_one=self.in_one,
        )  # fmt: skip

    def imported(self) -> Graph:
        """The graph before any pass."""
        return to_imported(self.request())

    def assigned(self, limit: int | None = None, watch: Watch | None = None) -> Graph:
        """The graph with every node's provider, made as a session makes it: first without sizes where any is open, then
        for those of the inputs."""
        request = self.request(limit, watch)
        graph = to_portable(request)
        if not all(isinstance(v.type, TensorType) and v.type.is_static for v in graph.inputs):
            graph = to_specialised(graph, None, request)
        return to_assigned(to_specialised(graph, self.signature, request), request)

    def plan(self, assigned: Graph, limit: int | None = None, watch: Watch | None = None) -> Plan:
        """The plan of a graph that ``assigned`` has made, which loses the constants that are packed for it."""
        return to_plan(assigned, self.request(limit, watch))

    def outputs(self, limit: int | None = None, watch: Watch | None = None) -> dict[str, Any]:
        """The outputs of one run by name, the caller's own."""
        graph = self.assigned(limit, watch)
        plan = self.plan(graph, limit, watch)
        try:
            return dict(zip(graph.output_names, own(plan.run(self.values), self.values), strict=True))
        finally:
            plan.close()

    def rewrites(self, limit: int | None = None) -> tuple[list[Step], RonnError | None]:
        """The rewrites made, those of required passes too (not those of a half of a graph that a run plans), and the
        error that ended them."""
        found: list[Step] = []
        rows = 0

        def at_row(row: PassRow, graph: Graph) -> None:
            nonlocal rows
            rows += 1

        try:
            self.assigned(limit, Watch(lambda rewrite, graph: found.append(Step(rewrite, rows)), at_row))
        except RonnError as e:
            return found, e
        return found, None

    def graph_at(self, limit: int | None, *, row: int | None = None, rewrite: int | None = None) -> Graph:
        """The graph at the end of a run of a pass, by the number of that run; or just after a rewrite, by its number
        among those of all passes, from 1 (0: the imported graph). The whole way's end, when it does not get there."""
        if rewrite == 0:
            return self.imported()
        rewrites = rows = 0

        def at_rewrite(found: Rewrite, graph: Graph) -> None:
            nonlocal rewrites
            rewrites += 1
            if rewrites == rewrite:
                raise Halted(graph)

        def at_row(found: PassRow, graph: Graph) -> None:
            nonlocal rows
            if rows == row:
                raise Halted(graph)
            rows += 1

        try:
            return self.assigned(limit, Watch(at_rewrite, at_row))
        except Halted as e:
            return e.graph
