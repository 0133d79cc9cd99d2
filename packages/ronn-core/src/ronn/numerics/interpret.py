"""Runs a graph as it stands, node by node, on reference kernels: no pass, no plan, nothing of what is under suspicion.

Function calls run their bodies, control flow its subgraphs. A node is computed by the ``reference`` provider where that
takes it, else by the kernels with which the other providers fold constants (the plain NumPy ones of ``cpu``), else by
the operators that a fused node stands for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import ExecutionError, ModelError, RonnError, UnsupportedError
from ronn.ir.graph import AttrRef, Function, Graph, Node, Value, clone
from ronn.ir.types import DType, TensorType, Type
from ronn.ops.infer import infer_node
from ronn.partition import Target, ask, is_control_flow, is_copy
from ronn.plan.control import control_call
from ronn.plan.plan import Plan
from ronn.plugins import registry
from ronn.provider import Part, Yes
from ronn.records import dataclass

Compute = Callable[[Sequence[Any]], list[Any]]
"""From the present inputs of a node to its outputs, None for those that nobody asks for."""

_OMITTED = object()  # what an optional input of a function is bound to when the call leaves it out


def reference_targets(targets: Sequence[Target]) -> tuple[Target, ...]:
    """Who computes nodes, in order: the reference, those whose kernels are good enough to fold constants with (``cpu``
    too where it is installed and not listed), the others; hosts only."""
    found = {t.name: t for t in targets}
    for record in registry().records:
        if record.name in ("reference", "cpu") and record.name not in found and record.ok:
            assert record.provider is not None
            found[record.name] = Target(record.provider, record.devices()[0], record.provider.check_options({}))
    order = sorted(found.values(), key=lambda t: (t.name != "reference", not t.provider.folds))
    return tuple(t for t in order if t.device.memory == "host")


class NobodyComputes(UnsupportedError):
    """No provider takes a node by itself, and it stands for nothing else."""


class Interpreter:
    """Computes graphs of one model. ``targets`` as of ``reference_targets``."""

    def __init__(self, functions: Mapping[tuple[str, str, str], Function], targets: Sequence[Target]) -> None:
        self._functions = functions
        self._targets = tuple(targets)
        self._made: dict[Any, Compute] = {}
        self._bodies: dict[Node, Graph] = {}
        self._alive: list[Node] = []  # nodes whose ids are keys

    def run(self, graph: Graph, values: Sequence[Any], *, keep: bool = False) -> dict[Value, Any]:
        """The values of the graph's outputs, of everything with ``keep``. ``values`` are those of its inputs, in order.

        ExecutionError or UnsupportedError names the node that cannot be computed.
        """
        env: dict[Value, Any] = dict(zip(graph.inputs, values, strict=True))
        self._walk(graph, env, set() if keep else None)
        return env if keep else {v: self._get(env, v) for v in graph.outputs}

    def outputs(self, graph: Graph, values: Sequence[Any]) -> dict[str, Any]:
        """The outputs by their public names."""
        found = self.run(graph, values)
        return {n: found[v] for v, n in zip(graph.outputs, graph.output_names, strict=True)}

    def _walk(self, graph: Graph, env: dict[Value, Any], keep: set[Value] | None) -> None:
        """Computes every node into ``env``; without ``keep`` lets go of values after their last use in this graph."""
        last: dict[Value, Node] = {}
        if keep is None:
            wanted = set(graph.outputs)
            for node in graph:
                needed = [v for v in node.inputs if v is not None]
                for sub in node.subgraphs():
                    needed += sub.captures()
                last |= dict.fromkeys((v for v in needed if v.producer is not None and v not in wanted), node)
        dying: dict[Node, list[Value]] = {}
        for value, node in last.items():
            dying.setdefault(node, []).append(value)
        for node in graph:
            for value, result in zip(node.outputs, self.node(node, env), strict=False):
                env[value] = result
            for value in dying.get(node, ()):
                if value.producer is not None and value.producer.graph is graph:
                    env.pop(value, None)

    def _get(self, env: Mapping[Value, Any], value: Value) -> Any:
        return value.data if value.data is not None else env[value]

    def node(self, node: Node, env: dict[Value, Any]) -> Sequence[Any]:
        """The outputs of one node, from the values that are there."""
        if is_control_flow(node):
            return self._control(node, env)
        values = [_OMITTED if v is None else self._get(env, v) for v in node.inputs]
        function = self._functions.get(("" if node.domain == "ai.onnx" else node.domain, node.op, node.overload))
        if function is not None:
            return self._call(function, node, values)
        if is_copy(node):
            return values
        return self.compute(node, values)

    def _control(self, node: Node, env: dict[Value, Any]) -> Sequence[Any]:
        call = control_call(node, lambda sub, captured: _Inner(self, sub, captured, env))
        given = [None if v is None else self._get(env, v) for v in call.inputs]
        result = call.fn(*given)
        return [result] if len(node.outputs) == 1 else list(result)

    def _call(self, function: Function, node: Node, values: Sequence[Any]) -> Sequence[Any]:
        body = self._bodies.get(node)
        if body is None:
            body = self._bodies[node] = clone(function.body)
            _resolve(body, {**function.attributes, **node.attributes})
        given = [*values, *([_OMITTED] * (len(body.inputs) - len(values)))]
        env = dict(zip(body.inputs, given, strict=False))
        self._walk(body, env, None)
        return [self._get(env, v) for v in body.outputs]

    def compute(self, node: Node, values: Sequence[Any]) -> list[Any]:
        """The outputs of one node that is neither a function call nor control flow, from the values of its inputs."""
        omitted = tuple(v is _OMITTED or (v is None and i is None) for v, i in zip(values, node.inputs, strict=True))
        types = tuple(None if o else _type(v, i) for v, i, o in zip(values, node.inputs, omitted, strict=True))
        fixed = tuple(None if i is None or i.data is None else id(i.data) for i in node.inputs)
        key = (id(node), types, omitted, fixed)
        present = [v for v, o in zip(values, omitted, strict=True) if not o]
        made = self._made.get(key)
        if made is not None:
            return made(present)
        failures: list[Exception] = []
        for way in self._ways(node, values, omitted, types):
            try:
                result = way(present)
            except Exception as e:  # of onnx.reference's kernels some fail on what the standard allows
                failures.append(e)
                continue
            self._made[key] = way
            self._alive.append(node)
            return result
        if not failures:
            raise NobodyComputes(f"nothing computes {node.op_id} by itself", node=node)
        if isinstance(failures[0], RonnError):
            raise failures[0]
        text = f"{node.op_id} failed on reference kernels: {type(failures[0]).__name__}: {failures[0]}"
        raise ExecutionError(text, node=node) from failures[0]

    def _ways(
        self, node: Node, values: Sequence[Any], omitted: Sequence[bool], types: Sequence[Any]
    ) -> Iterator[Compute]:
        """The functions that compute a node, in order of preference."""
        alone = _alone(node, values, omitted, types)
        for target in self._targets:
            if isinstance(ask(target, alone), Yes):
                yield _by(target, alone)
        from ronn.ops.fused import decompose
        from ronn.passes.edit import Builder
        from ronn.passes.expand_functions import registered_body
        from ronn.passes.manager import PassContext

        graph = Graph("alone")
        graph.append(alone)
        graph.inputs = [v for v in dict.fromkeys(alone.inputs) if v is not None and not v.is_const]
        body, builder = registered_body(alone), Builder(graph, alone, PassContext())
        single = decompose(builder, alone) if body is None else None
        made = body(builder, alone) if body is not None else None if single is None else [single]
        if made is not None:
            graph.remove(alone)
            graph.outputs, graph.output_names = list(made), [v.name for v in made]
            inputs = [v for v in alone.inputs if v is not None]
            free = [inputs.index(v) for v in graph.inputs]
            yield lambda given: list(self.outputs(graph, [given[i] for i in free]).values())


class _Inner:
    """A branch or a body, on its own inputs and then what it captures."""

    def __init__(self, owner: Interpreter, graph: Graph, captured: Sequence[Value], env: dict[Value, Any]) -> None:
        self.owner, self.graph, self.captured, self.env = owner, graph, captured, env

    def run(self, values: Sequence[Any]) -> list[Any]:
        env = {**self.env, **dict(zip([*self.graph.inputs, *self.captured], values, strict=True))}
        self.owner._walk(self.graph, env, None)
        return [self.owner._get(env, v) for v in self.graph.outputs]


@dataclass(frozen=True, slots=True)
class _Absent:
    """The type of a value that is no tensor: told apart by the kind of Python object."""

    kind: str


def _by(target: Target, alone: Node) -> Compute:
    """By the kernel of one provider. It raises what compiling it raises when it is called."""
    inputs = tuple(v for v in alone.inputs if v is not None)
    free = tuple(v for v in dict.fromkeys(inputs) if not v.is_const)
    plan: Plan | None = None

    def compute(given: Sequence[Any]) -> list[Any]:
        nonlocal plan
        if plan is None:
            part = Part((alone,), inputs, alone.outputs)
            compiled = target.provider.compile_for_folding(part, target.device, target.options)
            plan = Plan(compiled.calls, free, [v for v in alone.outputs if v.name])
        by_value = dict(zip(inputs, given, strict=True))
        results = iter(plan.run([by_value[v] for v in free]))
        return [next(results) if v.name else None for v in alone.outputs]

    return compute


def _type(value: Any, declared: Value | None) -> Any:
    if isinstance(value, (np.ndarray, np.generic)):
        return TensorType(DType.of(value.dtype), value.shape)
    return _Absent(type(value).__name__ + str(None if declared is None else declared.type))


def _alone(node: Node, values: Sequence[Any], omitted: Sequence[bool], types: Sequence[Any]) -> Node:
    """A copy of ``node`` on values of their own: typed as what is given, constants as such, nobody else's."""
    copies: dict[Value, Value] = {}
    inputs: list[Value | None] = []
    for given, value, absent, found in zip(node.inputs, values, omitted, types, strict=True):
        if given is None or absent:
            inputs.append(None)
            continue
        if given not in copies:
            own: Type | None = given.type if isinstance(found, _Absent) else found
            copies[given] = Value(given.name, own, data=value if given.data is not None else None)
        inputs.append(copies[given])
    while inputs and inputs[-1] is None:
        inputs.pop()
    outputs = [Value(v.name, None) for v in node.outputs]
    alone = Node(
        node.op, inputs, outputs, node.attributes, domain=node.domain, version=node.version, name=node.name,
        overload=node.overload,
    )  # fmt: skip
    try:
        infer_node(alone)
    except ModelError as e:
        raise ExecutionError(f"{node.op_id} does not fit what it is given: {e.message}", node=node) from e
    for made, old in zip(alone.outputs, node.outputs, strict=True):
        if made.type is None:
            made.type = old.type
    return alone


def _resolve(graph: Graph, attributes: Mapping[str, Any]) -> None:
    """Puts the attributes of a call in the place of what refers to them; what the call leaves out goes."""
    for node in graph:
        for name, value in list(node.attributes.items()):
            if isinstance(value, AttrRef):
                found = attributes.get(value.name)
                if found is None or isinstance(found, AttrRef):
                    del node.attributes[name]
                else:
                    node.attributes[name] = clone(found) if isinstance(found, Graph) else found
        for sub in node.subgraphs():
            _resolve(sub, attributes)
