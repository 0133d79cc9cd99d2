"""Pattern rules: a pattern over operators, and a function that builds the replacement or says why not.

    x = Var("x")

    @rule(Op("Mul", x, Op("Sigmoid", x)))
    def silu(b: Builder, m: Match) -> Replacement:
        return b.op("Swish", m["x"], version=24)

A variable that appears twice must be the same value. Nodes inside the pattern must have no use outside it, unless their
``Op`` says ``shared=True``: they vanish with the root. Rules are found by the root's operator.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InternalError
from ronn.ir.graph import Graph, Node, Value
from ronn.passes.edit import Builder, attr, remove_dead, replace_value, take_over, walk
from ronn.passes.manager import FunctionPass, PassContext
from ronn.records import dataclass, field

COMMUTATIVE = frozenset({"Add", "Mul", "And", "Or", "Xor", "Equal", "BitwiseAnd", "BitwiseOr", "BitwiseXor"})
MAX_SWEEPS = 64


class Pattern:
    """What a value may look like."""

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        """Every way in which ``value`` fits, each with what it binds."""
        raise NotImplementedError(f"{type(self).__name__}.match")

    def needs(self) -> frozenset[frozenset[str]]:
        """Sets of operators, of each of which a graph must hold one for this to match anywhere."""
        return frozenset()


@dataclass(frozen=True)
class Bindings:
    """What a match has bound so far; never changed in place, so that matching can go back."""

    values: Mapping[str, Value] = field(default_factory=dict)
    named: Mapping[str, Node] = field(default_factory=dict)
    nodes: tuple[Node, ...] = ()
    shared: frozenset[Node] = frozenset()

    def bind(self, name: str, value: Value) -> Bindings | None:
        known = self.values.get(name)
        if known is not None:
            return self if known is value else None
        return Bindings({**self.values, name: value}, self.named, self.nodes, self.shared)

    def add(self, node: Node, name: str | None, shared: bool) -> Bindings:
        named = self.named if name is None else {**self.named, name: node}
        return Bindings(self.values, named, (*self.nodes, node), self.shared | {node} if shared else self.shared)


@dataclass(frozen=True)
class Var(Pattern):
    """Any value that is there."""

    name: str

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        if value is not None and (bound := found.bind(self.name, value)) is not None:
            yield bound

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class Optional(Pattern):
    """The pattern, or an omitted input (then its variables stay unbound)."""

    pattern: Pattern

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        if value is None:
            yield found
        else:
            yield from self.pattern.match(value, found)

    def __str__(self) -> str:
        return f"{self.pattern}?"


@dataclass(frozen=True)
class Const(Pattern):
    """A constant; ``value``: all its elements equal this number (to 2e-4 of it for floats); ``where``: a test."""

    name: str | None = None
    value: float | None = None
    where: Callable[[np.ndarray], bool] | None = None

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        if value is None or value.data is None:
            return
        if self.value is not None and not _near(value.data, self.value):
            return
        if self.where is not None and not self.where(value.data):
            return
        bound = found if self.name is None else found.bind(self.name, value)
        if bound is not None:
            yield bound

    def __str__(self) -> str:
        return f"{self.value:g}" if self.value is not None else f"const {self.name or '_'}"


@dataclass(frozen=True)
class As(Pattern):
    """The pattern, and its value bound to a variable: ``Var(name)`` later in the pattern is the same value."""

    name: str
    pattern: Pattern

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        if value is None:
            return
        for inner in self.pattern.match(value, found):
            if (bound := inner.bind(self.name, value)) is not None:
                yield bound

    def needs(self) -> frozenset[frozenset[str]]:
        return self.pattern.needs()

    def __str__(self) -> str:
        return f"{self.name}={self.pattern}"


def _near(data: np.ndarray, number: float) -> bool:
    if data.size != 1 or data.dtype.kind in "OSUcb":
        return False
    found = float(data.reshape(-1)[0])
    return found == number or abs(found - number) <= 2e-4 * abs(number)


@dataclass(frozen=True)
class OneOf(Pattern):
    """The first of several patterns, in every way that fits."""

    patterns: tuple[Pattern, ...]

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        for pattern in self.patterns:
            yield from pattern.match(value, found)

    def needs(self) -> frozenset[frozenset[str]]:
        return frozenset.intersection(*(p.needs() for p in self.patterns))

    def __str__(self) -> str:
        return "(" + " | ".join(map(str, self.patterns)) + ")"


def one_of(*patterns: Pattern) -> OneOf:
    return OneOf(patterns)


class Op(Pattern):
    """A node of one of some operators, seen from one of its outputs.

    ops: operator names, separated by spaces. inputs: a pattern per input; inputs past the last pattern must be
    omitted, unless ``rest`` is set. any_order: try both orders of two inputs (on its own for commutative operators).
    attributes: name -> value, or a predicate on the value (schema defaults count). name: binds the node.
    shared: the node may be used outside the match, and stays. output: which output the pattern looks from.
    """

    def __init__(
        self,
        ops: str,
        *inputs: Pattern,
        domain: str = "",
        any_order: bool | None = None,
        attributes: Mapping[str, Any] | None = None,
        name: str | None = None,
        shared: bool = False,
        rest: bool = False,
        output: int = 0,
    ) -> None:
        self.ops = tuple(ops.split())
        self.inputs = inputs
        self.domain = domain
        self.any_order = all(op in COMMUTATIVE for op in self.ops) if any_order is None else any_order
        self.attributes = dict(attributes) if attributes is not None else {}
        self.name = name
        self.shared = shared
        self.rest = rest
        self.output = output

    def match(self, value: Value | None, found: Bindings) -> Iterator[Bindings]:
        node = None if value is None else value.producer
        if node is None or node.graph is None or node.outputs[self.output : self.output + 1] != (value,):
            return
        if found.nodes and node.graph is not found.nodes[0].graph:
            return
        yield from self.match_node(node, found)

    def needs(self) -> frozenset[frozenset[str]]:
        return frozenset({frozenset(self.ops)}).union(*(p.needs() for p in self.inputs))

    def match_node(self, node: Node, found: Bindings) -> Iterator[Bindings]:
        """Every way in which ``node`` itself fits."""
        if node.op not in self.ops or node.domain != self.domain:
            return
        if not self.rest and any(v is not None for v in node.inputs[len(self.inputs) :]):
            return
        for key, wanted in self.attributes.items():
            actual = attr(node, key)
            if not (wanted(actual) if callable(wanted) else actual == wanted):
                return
        inner = found.add(node, self.name, self.shared)
        inputs = [node.input(i) for i in range(len(self.inputs))]
        yield from _match_all(self.inputs, inputs, inner)
        if self.any_order and len(inputs) == 2 and inputs[0] is not inputs[1]:
            yield from _match_all(self.inputs, inputs[::-1], inner)

    def __str__(self) -> str:
        args = ", ".join(map(str, self.inputs)) + (", ..." if self.rest else "")
        ops = "|".join(f"{self.domain}::{op}" if self.domain else op for op in self.ops)
        attributes = [f"{k}={'*' if callable(v) else v}" for k, v in self.attributes.items()]
        return f"{ops}({args})" + (" {" + ", ".join(attributes) + "}" if attributes else "")


def _match_all(patterns: Sequence[Pattern], values: Sequence[Value | None], found: Bindings) -> Iterator[Bindings]:
    if not patterns:
        yield found
        return
    for bound in patterns[0].match(values[0], found):
        yield from _match_all(patterns[1:], values[1:], bound)


@dataclass(frozen=True)
class Match:
    """A matched pattern: ``m["x"]`` is the value of variable x, ``m.named["n"]`` a node."""

    root: Node
    values: Mapping[str, Value]
    named: Mapping[str, Node]
    nodes: tuple[Node, ...]
    context: PassContext

    def __getitem__(self, name: str) -> Value:
        return self.values[name]

    def get(self, name: str) -> Value | None:
        return self.values.get(name)

    def const(self, name: str) -> np.ndarray:
        """The array of a constant that the pattern bound."""
        data = self.values[name].data
        assert data is not None
        return data


@dataclass(frozen=True)
class Refusal:
    """The pattern fits, but replacing it would be wrong or useless, and this is why."""

    reason: str


Replacement = Value | Sequence[Value] | Refusal | None
Body = Callable[[Builder, Match], Replacement]


@dataclass(frozen=True)
class Rule:
    """A pattern and what to put in its place."""

    name: str
    pattern: Op
    body: Body

    @property
    def summary(self) -> str:
        return (self.body.__doc__ or "").strip().partition("\n")[0]

    def matches(self, node: Node, context: PassContext) -> Iterator[Match]:
        """Every match with ``node`` as the root whose inner nodes vanish with it."""
        for found in self.pattern.match_node(node, Bindings()):
            if _vanishes(found):
                yield Match(node, found.values, found.named, found.nodes, context)


def _vanishes(found: Bindings) -> bool:
    """Whether the inner nodes are used by nothing but the match."""
    members = set(found.nodes)
    graph = found.nodes[0].graph
    assert graph is not None
    for node in found.nodes[1:]:
        if node in found.shared:
            continue
        for value in node.outputs:
            if graph.is_output(value) or any(user not in members for user, _ in value.uses):
                return False
    return True


def rule(pattern: Op, *, name: str | None = None) -> Callable[[Body], Rule]:
    """Makes a rule of ``body(builder, match)``, which returns the value (or values, one an output) to put in the root's
    place, a ``Refusal``, or None to let it be."""
    return lambda body: Rule(name if name is not None else body.__name__.replace("_", "-"), pattern, body)


class RuleSet:
    """Rules by the operator of their root, tried in the order given."""

    def __init__(self, rules: Iterable[Rule]) -> None:
        self.rules = tuple(rules)
        self._needs = {r: r.pattern.needs() for r in self.rules}
        self._by_op: dict[tuple[str, str], list[Rule]] = {}
        for r in self.rules:
            for op in r.pattern.ops:
                self._by_op.setdefault((r.pattern.domain, op), []).append(r)

    def apply(self, graph: Graph, context: PassContext) -> bool:
        """Applies the rules everywhere until none fits. True when one did."""
        changed = False
        for _ in range(MAX_SWEEPS):
            by_op = self._applicable({node.op for node in graph.all_nodes()})
            if not by_op:
                return changed
            again = False
            for owner, node in walk(graph, context):
                for r in by_op.get((node.domain, node.op), ()):
                    if not context.may_rewrite():
                        return changed or again
                    if try_rule(r, owner, node, context):
                        again = True
                        break
            if not again:
                return changed
            changed = True
        raise InternalError(f"the rules of pass {context.current!r} still apply after {MAX_SWEEPS} sweeps")

    def _applicable(self, ops: set[str]) -> dict[tuple[str, str], list[Rule]]:
        """The rules by root operator, without those that need operators that the graph lacks."""
        kept = {r for r, needs in self._needs.items() if all(not ops.isdisjoint(n) for n in needs)}
        found = {key: [r for r in rules if r in kept] for key, rules in self._by_op.items()}
        return {key: rules for key, rules in found.items() if rules}

    def table(self) -> str:
        """The rules as a Markdown table, for the documentation."""
        rows = ["| rule | pattern | what it does |", "| --- | --- | --- |"]
        rows += [f"| {r.name} | `{str(r.pattern).replace('|', chr(92) + '|')}` | {r.summary} |" for r in self.rules]
        return "\n".join(rows)

    def as_pass(self, name: str, *, requires_types: bool = True) -> RulePass:
        """A pass that applies these rules. Rules infer what they make, and find out nothing new about the rest."""
        return RulePass(name, self.apply, requires_types, keeps_types=True, local=True, rules=self)


@dataclass(frozen=True)
class RulePass(FunctionPass):
    """A pass that applies a rule set."""

    rules: RuleSet = field(default_factory=lambda: RuleSet(()))

    @property
    def summary(self) -> str:
        return "; ".join(r.summary.rstrip(".") for r in self.rules.rules)


def try_rule(r: Rule, graph: Graph, node: Node, context: PassContext) -> bool:
    """Applies ``r`` at ``node`` when it fits."""
    for m in r.matches(node, context):
        builder = Builder(graph, node, context)
        result = r.body(builder, m)
        if isinstance(result, Refusal):
            context.refuse(node, result.reason, rule=r.name)
        if result is None or isinstance(result, Refusal):
            builder.discard()
            continue
        values = [result] if isinstance(result, Value) else list(result)
        identities = []
        for old, new in zip(node.outputs, values, strict=False):
            if new.producer in builder.nodes:
                take_over(graph, old, new)
            elif (made := replace_value(graph, old, new, context)) is not None:
                identities.append(made)
        context.rewrote([*builder.nodes, *identities], rule=r.name, detail=node.label)
        remove_dead(m.nodes, graph)
        return True
    return False
