"""Each call of a plan by itself, on what reference kernels make of the nodes before it: errors do not add up."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from ronn.errors import describe_value
from ronn.ir.graph import Graph, Node, Value
from ronn.numerics.bisection import Suspect
from ronn.numerics.candidate import Candidate
from ronn.numerics.difference import Difference, Tolerance, measure, worst
from ronn.numerics.interpret import Interpreter
from ronn.plan.plan import Plan
from ronn.provider import Call
from ronn.records import dataclass


@dataclass(frozen=True)
class CallCheck:
    """One call: its number in the plan, what it differs by, or the error that it raised. ``value``: the output that is
    farthest off. ``native``: machine code, not a Python function."""

    index: int
    nodes: tuple[Node, ...]
    value: str
    difference: Difference
    error: str = ""
    native: bool = False

    @property
    def bad(self) -> bool:
        return bool(self.error) or not self.difference.equal


def check_call(
    index: int, call: Call, constants: set[Value], env: Mapping[Value, Any], tolerance: Tolerance
) -> CallCheck:
    """Runs one call on the values of ``env`` and holds its outputs against those there."""
    native = call.native is not None
    try:
        made = run_call(call, constants, env)
    except Exception as e:  # whatever a kernel raises is its fault
        return CallCheck(index, call.nodes, "", Difference(False, str(e)), f"{type(e).__name__}: {e}", native)
    found = [(v, measure(env[v], got, tolerance)) for v, got in made.items() if v in env]
    if not found:
        return CallCheck(index, call.nodes, "", Difference(True), native=native)
    difference = worst([d for _, d in found])
    value = next(v for v, d in found if d is difference)
    return CallCheck(index, call.nodes, value.name, difference, native=native)


def run_call(call: Call, constants: set[Value], env: Mapping[Value, Any]) -> dict[Value, Any]:
    """The outputs of one call as a plan of its own. ``constants``: values that were constants before the plan that the
    call is of was made; their arrays may have gone since."""
    inputs = [v for v in dict.fromkeys(call.inputs) if v is not None and v not in constants]
    outputs = [v for v in call.outputs if v.name]
    return dict(zip(outputs, Plan([call], inputs, outputs).run([env[v] for v in inputs]), strict=True))


def check_calls(
    plan: Plan,
    constants: set[Value],
    env: Mapping[Value, Any],
    tolerance: Tolerance,
    tell: Callable[[int], None] = lambda index: None,
) -> Iterator[CallCheck]:
    """Every call whose inputs ``env`` holds, in the order of the plan; ``tell`` is called with its number before."""
    for index, call in enumerate(plan.calls):
        if all(v is None or v in constants or v in env for v in call.inputs):
            tell(index)
            yield check_call(index, call, constants, env, tolerance)


def stepwise(plan: Plan, graph: Graph, constants: set[Value], values: Sequence[Any]) -> dict[Value, Any]:
    """What the calls of a plan make when each runs by itself, in order, on what those before it made: every value that
    lies between two calls."""
    env: dict[Value, Any] = dict(zip(graph.inputs, values, strict=True))
    for call in plan.calls:
        env.update(run_call(call, constants, env))
    return env


def constants_of(graph: Graph) -> set[Value]:
    """The values of a graph (not of subgraphs) that are constants now."""
    return {v for v in graph.values() if v.is_const}


@dataclass(frozen=True)
class Begun:
    """Told before a kernel runs: who it is, what it takes and makes (names), should it not live to say more."""

    suspect: Suspect
    inputs: tuple[str, ...]
    makes: frozenset[str]


@dataclass(frozen=True)
class Checked:
    """Told when a kernel has run."""

    suspect: Suspect
    inputs: tuple[str, ...]
    makes: frozenset[str]
    bad: bool


def look_at_kernels(
    candidate: Candidate,
    limit: int | None,
    interpreter: Interpreter,
    tolerance: Tolerance,
    judge: Callable[[Mapping[str, Any]], bool],
    tell: Callable[[Any], None],
) -> bool:
    """Tells ``Begun`` and ``Checked`` for every call of the plan after ``limit`` rewrites, and returns whether the
    outputs are bad (``judge``) when the calls run one by one on each other's results."""
    graph = candidate.assigned(limit)
    env = interpreter.run(graph, candidate.values, keep=True)
    constants = constants_of(graph)
    plan = candidate.plan(graph, limit)

    def begun(index: int) -> None:
        call = plan.calls[index]
        named = _suspect(call.nodes, call.native is not None, "", Difference(True))
        tell(Begun(named, _inputs(call.nodes), _makes(call.nodes)))

    for check in check_calls(plan, constants, env, tolerance, begun):
        named = _suspect(check.nodes, check.native, check.value, check.difference, check.error)
        tell(Checked(named, _inputs(check.nodes), _makes(check.nodes), check.bad))
    chained = stepwise(plan, graph, constants, candidate.values)
    outputs = [v.data if v in constants else chained[v] for v in graph.outputs]
    return judge(dict(zip(graph.output_names, outputs, strict=True)))


def _suspect(nodes: Sequence[Node], native: bool, value: str, difference: Difference, error: str = "") -> Suspect:
    labels, operators = tuple(n.label for n in nodes), tuple(n.op_id for n in nodes)
    provider = nodes[0].provider if nodes and nodes[0].provider is not None else ""
    return Suspect(labels, operators, provider, native, value, difference, error)


def _inputs(nodes: Sequence[Node]) -> tuple[str, ...]:
    inside = {v for n in nodes for v in n.outputs}
    taken = dict.fromkeys(v for n in nodes for v in n.inputs if v is not None and v not in inside)
    return tuple(describe_value(v) for v in taken)


def _makes(nodes: Sequence[Node]) -> frozenset[str]:
    return frozenset(v.name for n in nodes for v in n.outputs if v.name)


def first_operator(
    candidate: Candidate, interpreter: Interpreter, expected: Mapping[str, Any], tolerance: Tolerance
) -> tuple[Node, Suspect] | None:
    """The first node of the imported graph whose reference kernel, on values that another runtime found (by name),
    makes others than it; None when there is none."""
    graph = candidate.imported()
    env: dict[Value, Any] = dict(zip(graph.inputs, candidate.values, strict=True))
    for node in graph:
        try:
            made = dict(zip(node.outputs, interpreter.node(node, env), strict=False))
        except Exception as e:  # whatever a kernel raises is its fault
            return node, _suspect([node], False, "", Difference(False, str(e)), f"{type(e).__name__}: {e}")
        for value, got in made.items():
            if value.name in expected:
                difference = measure(expected[value.name], got, tolerance)
                if not difference.equal:
                    return node, _suspect([node], False, value.name, difference)
            env[value] = expected.get(value.name, got)
    return None
