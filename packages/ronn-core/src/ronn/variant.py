"""A model as one session compiles it: the portable graph, and a plan for each input signature."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Container, Hashable, Iterator
from contextlib import nullcontext
from time import monotonic

import numpy as np

from ronn.compile import Experiences, Request, Signature, to_assigned, to_plan, to_portable, to_specialised
from ronn.errors import session_closed
from ronn.ir.graph import Graph, clone
from ronn.ir.types import TensorType
from ronn.observe import tell_plan
from ronn.plan.pause import collector_paused
from ronn.plan.plan import Plan
from ronn.usage import distinct_bytes, in_memory
from ronn.values import signature_text

_LARGE = 4096  # bytes of a constant worth letting go


class Variant:
    """A portable graph and its plans by input signature, oldest first. ``dropped`` is called when plans were."""

    def __init__(self, request: Request, dropped: Callable[[], None] = lambda: None) -> None:
        self.request = request
        self._dropped = dropped
        self.portable = to_portable(request)
        self._shed = False  # whether ``portable`` has lost its large constants
        self._plans: OrderedDict[Signature, Plan] = OrderedDict()
        self._latest: Graph | None = None
        self._generic: Graph | None = None
        self._unplanned: Graph | None = None  # the latest one, where it is of no plan
        self._experiences = Experiences()
        self._lock = threading.RLock()
        self._closed = False
        self._past_runs = 0
        request.model.give_files_back()
        self.planned = 0
        self.compiles = 0

    def check(self) -> None:
        """Assigns every node at once, so that a session that cannot run fails when made."""
        if self._static:
            self.plan(tuple(v.type for v in self.portable.inputs))
        else:
            self.assigned()

    @property
    def _static(self) -> bool:
        return all(isinstance(v.type, TensorType) and v.type.is_static for v in self.portable.inputs)

    def whole(self) -> Graph:
        """The portable graph with all its constants."""
        with self._lock:
            self._check_open()
            if self._shed:
                self.portable, self._generic, self._shed = to_portable(self.request), None, False
            return self.portable

    def generic(self) -> Graph:
        """The graph after the passes that need no sizes: what plans for any size start from."""
        if self._generic is None:
            self._generic = self.whole() if self._static else to_specialised(self.portable, None, self.request)
        return self._generic

    def _specialised(self, signature: Signature) -> Graph:
        """The graph that a plan is made from. Where there is one plan for good, others let go of their constants."""
        generic = self.generic()
        graph = to_specialised(generic, signature, self.request, self._experiences.of(signature))
        if self._static:
            self._generic, self._shed = None, True
            shed(generic)
        self.request.model.give_files_back()
        return graph

    def assigned(self) -> Graph:
        with self._lock:
            self._check_open()
            if self._latest is None:
                self._latest = self._unplanned = to_assigned(clone(self.generic()), self.request)
            return self._latest

    def plan(self, signature: Signature) -> Plan:
        """The plan for inputs of these types. MemoryLimitError when it could never run within the session's limit."""
        with self._lock:
            self._check_open()
            plan = self._plans.get(signature)
            if plan is None:
                # The first plan comes with folded weights, which should not wait for the collector.
                with nullcontext() if self.planned == 0 else collector_paused():
                    plan = self._make(signature)
            else:
                plan.used = True
            return plan

    def _make(self, signature: Signature) -> Plan:
        began = monotonic()
        graph = self._specialised(signature)
        plan = to_plan(to_assigned(graph, self.request), self.request, self._experiences)
        plan.copies = self.request.copies
        shed(graph, {id(a) for p in plan.all_plans() for a in p.constants()})
        self.request.model.give_files_back()
        self._admit(plan)
        self._make_room()
        self._plans[signature] = plan
        self.planned += 1
        self.compiles += plan.compiles
        if self._unplanned is not None:
            forget_constants(self._unplanned)
            self._unplanned = None
        self._latest = graph
        plan.signature = signature_text(signature)
        tell_plan(self.request, signature, plan, began)
        return plan

    def _check_open(self) -> None:
        # A thread may have found the session open, and then waited for the lock while it was closed.
        if self._closed:
            raise session_closed()

    def _admit(self, plan: Plan) -> None:
        budget = self.request.budget
        if budget is not None:
            seen: set[int] = set()
            there: dict[Hashable, int] = {}
            constants = distinct_bytes(in_memory(self.weights()), seen)
            for other in (*self._plans.values(), plan):
                for p in other.all_plans():
                    constants += distinct_bytes(in_memory((*p.constants(), *p.packed())), seen)
                    there |= {key: size for memory in p.devices for key, size in memory.held().constants.items()}
            constants += sum(there.values())
            tensors = [t for p in plan.all_plans() for t in p.largest]
            tensors += [(a.nbytes, f"a constant {a.dtype}{list(a.shape)}") for a in plan.constants()]
            budget.admit(constants, plan.need, sorted(tensors, reverse=True)[:3])

    def _make_room(self) -> None:
        """Drops a plan when there are as many as may be: the oldest one not used again since it was last looked at."""
        while len(self._plans) >= self.request.options.plan_cache:
            signature, plan = self._plans.popitem(last=False)
            if plan.used:
                plan.used = False
                self._plans[signature] = plan
            else:
                self._drop(plan)

    def _drop(self, plan: Plan) -> None:
        plan.retire()
        self._past_runs += plan.runs
        self._dropped()

    def weights(self) -> Iterator[np.ndarray]:
        """Arrays of the constants of the graphs that plans are made from; one may come several times."""
        for graph in (self.request.model.graph, self.portable, self._generic, self._latest):
            if graph is not None:
                yield from constants_of(graph)

    def plans(self) -> list[tuple[Signature, Plan]]:
        """The plans that there are, in the order in which they were made."""
        with self._lock:
            return list(self._plans.items())

    @property
    def runs(self) -> int:
        """Finished runs."""
        with self._lock:
            return self._past_runs + sum(p.runs for p in self._plans.values())

    def idle_back(self) -> None:
        """Gives the arenas that no run uses back."""
        for _, plan in self.plans():
            plan.trim()

    def trim(self, keep: int = 1) -> None:
        """Drops every plan but the latest ``keep``, and gives the arenas that no run uses back."""
        with self._lock:
            while len(self._plans) > keep:
                self._drop(self._plans.popitem(last=False)[1])
            self.idle_back()

    def close(self) -> None:
        """Gives plans and graphs back. Runs in progress finish on what they hold themselves."""
        with self._lock:
            self._closed = True
            while self._plans:
                plan = self._plans.popitem()[1]
                self._past_runs += plan.runs
                plan.close()
            # Graphs are full of cycles: without this their constants would wait for the garbage collector.
            for graph in (self.portable, self._generic, self._latest):
                if graph is not None:
                    forget_constants(graph)
            self._generic = self._latest = self._unplanned = None

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.RLock()


def constants_of(graph: Graph) -> Iterator[np.ndarray]:
    """Arrays of the constants of a graph and its subgraphs."""
    for value in graph.values():
        if value.data is not None:
            yield value.data
    for node in graph:
        for sub in node.subgraphs():
            yield from constants_of(sub)


def shed(graph: Graph, keep: Container[int] = ()) -> None:
    """Takes the arrays from the large constants of a graph, but for those whose ``id`` is in ``keep``."""
    for value in graph.initializers.values():
        if value.data is not None and value.data.nbytes >= _LARGE and id(value.data) not in keep:
            value.data = None


def forget_constants(graph: Graph) -> None:
    """Takes the arrays from the constants of a graph and its subgraphs."""
    for value in graph.values():
        value.data = None
    for node in graph:
        for sub in node.subgraphs():
            forget_constants(sub)
