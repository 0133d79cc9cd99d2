"""The tail of a plan: what is planned when the head has found out the sizes."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Hashable, Sequence
from typing import Any

import numpy as np

from ronn.forks import renew_after_fork
from ronn.ir.graph import Graph, clone
from ronn.ir.types import TensorType, Type
from ronn.plan.plan import Plan
from ronn.values import type_of

PlanTail = Callable[[Graph, "tuple[Type | None, ...]"], Plan]
"""Makes a plan of a graph for the types of its inputs."""

_LARGEST_VALUE = 4096  # bytes of an operand that a tail is specialised for
PATIENCE = 8
"""Plans that a tail makes for different values of what a caller gives; other values then share one."""


class Tail:
    """Callable on the values that cross into the tail; keeps a plan for each of their types (and of some, values).

    ``patience``: how many plans it makes for values; any other value then shares a plan that knows the types alone.
    """

    def __init__(
        self,
        graph: Graph,
        by_value: Sequence[int],
        plan: PlanTail,
        kept: int,
        known: list[Plan],
        patience: int | None = None,
    ) -> None:
        self._graph = graph
        self._by_value = frozenset(by_value)
        self._plan = plan
        self._kept = kept
        self._known = known
        self._patience = patience
        self._plans: OrderedDict[Hashable, Plan] = OrderedDict()
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def __call__(self, *values: Any) -> Any:
        fixed = {i for i in self._by_value if isinstance(values[i], np.ndarray) and values[i].nbytes <= _LARGEST_VALUE}
        types = tuple(type_of(v, d.type) for v, d in zip(values, self._graph.inputs, strict=True))
        key = (types, tuple(values[i].tobytes() for i in sorted(fixed)))
        with self._lock:
            plan = self._plans.get(key)
            if plan is None and fixed and self._patience is not None:
                if self._patience > 0:
                    self._patience -= 1
                else:
                    fixed, key = set(), (types, ())
                    plan = self._plans.get(key)
            if plan is None:
                plan = self._plans[key] = self._make(values, types, fixed)
                self._known.append(plan)
                while len(self._plans) > self._kept:
                    _, old = self._plans.popitem(last=False)
                    self._known.remove(old)
            else:
                self._plans.move_to_end(key)
        results = plan.run([v for i, v in enumerate(values) if i not in fixed])
        return results[0] if len(results) == 1 else results

    def _make(self, values: Sequence[Any], types: Sequence[Type | None], fixed: set[int]) -> Plan:
        graph = clone(self._graph)
        inputs = list(graph.inputs)
        for i in fixed:
            value = inputs[i]
            value.data = values[i].copy()
            value.type = TensorType(value.dtype, values[i].shape)
            graph.initializers[value.name] = value
        graph.inputs = [v for i, v in enumerate(inputs) if i not in fixed]
        return self._plan(graph, tuple(t for i, t in enumerate(types) if i not in fixed))
