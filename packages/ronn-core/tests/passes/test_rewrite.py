"""Pattern rules: what matches, what must not, and what a replacement keeps."""

from __future__ import annotations

from typing import Any

import pytest

from ronn.errors import InternalError
from ronn.ir.graph import Graph, Node
from ronn.ir.text import parse
from ronn.ops.infer import infer_types
from ronn.passes.edit import Builder
from ronn.passes.manager import PassContext, PassManager
from ronn.passes.rewrite import (
    As,
    Bindings,
    Const,
    Match,
    Op,
    Optional,
    Pattern,
    Refusal,
    Replacement,
    RuleSet,
    Var,
    one_of,
    rule,
)  # fmt: skip

X, Y = Var("x"), Var("y")


def graph_of(body: str, outputs: str = "%o") -> Graph:
    head = 'opset {"": 18}\ngraph g(%x: f32[2,3], %y: f32[2,3]) {\n  %c: f32[] = const {2.0}\n'
    return parse(f"{head}{body}  return {outputs}\n}}\n")


def matches(pattern: Op, node: Node) -> list[dict[str, str]]:
    found = pattern.match_node(node, Bindings())
    return [{k: v.name for k, v in b.values.items()} for b in found]


def last(graph: Graph) -> Node:
    return graph.nodes[-1]


def test_variables_bind_and_repeat() -> None:
    pattern = Op("Sub", X, Op("Relu", X))
    assert matches(pattern, last(graph_of("%r = Relu(%x)\n%o = Sub(%x, %r)\n"))) == [{"x": "x"}]
    assert matches(pattern, last(graph_of("%r = Relu(%y)\n%o = Sub(%x, %r)\n"))) == []


def test_commutative_operators_match_in_both_orders() -> None:
    pattern = Op("Mul", Op("Relu", X), Const("c"))
    for order in ("%r, %c", "%c, %r"):
        assert matches(pattern, last(graph_of(f"%r = Relu(%x)\n%o = Mul({order})\n"))) == [{"x": "x", "c": "c"}]
    assert len(matches(Op("Add", X, Y), last(graph_of("%o = Add(%x, %y)\n")))) == 2
    assert len(matches(Op("Add", X, Y), last(graph_of("%o = Add(%x, %x)\n")))) == 1
    assert len(matches(Op("Sub", X, Y), last(graph_of("%o = Sub(%x, %y)\n")))) == 1
    assert len(matches(Op("Sub", X, Y, any_order=True), last(graph_of("%o = Sub(%x, %y)\n")))) == 2


def test_constants_with_values_and_predicates() -> None:
    node = last(graph_of("%o = Mul(%x, %c)\n"))
    assert matches(Op("Mul", X, Const(value=2.0)), node)
    assert not matches(Op("Mul", X, Const(value=2.1)), node)
    assert matches(Op("Mul", X, Const("k", where=lambda a: a.ndim == 0)), node) == [{"x": "x", "k": "c"}]
    assert not matches(Op("Mul", X, Const(where=lambda a: a.ndim == 1)), node)


def test_optional_and_rest_inputs() -> None:
    clip = "%o = Clip(%x, _, %c)\n"
    assert matches(Op("Clip", X, Optional(Const("low")), Optional(Const("high"))), last(graph_of(clip))) == [
        {"x": "x", "high": "c"}
    ]
    assert not matches(Op("Clip", X), last(graph_of(clip)))
    assert matches(Op("Clip", X, rest=True), last(graph_of(clip)))


def test_attributes_use_schema_defaults() -> None:
    node = last(graph_of("%o = Softmax(%x)\n"))
    assert matches(Op("Softmax", X, attributes={"axis": -1}), node)
    assert not matches(Op("Softmax", X, attributes={"axis": lambda a: a >= 0}), node)


def test_as_and_alternatives() -> None:
    centred = As("d", Op("Sub", X, Y))
    pattern = Op("Div", centred, one_of(Op("Sqrt", Var("d")), Op("Abs", Var("d"))))
    for op in ("Sqrt", "Abs"):
        node = last(graph_of(f"%d = Sub(%x, %y)\n%s = {op}(%d)\n%o = Div(%d, %s)\n"))
        assert matches(pattern, node) == [{"x": "x", "y": "y", "d": "d"}]
    assert not matches(pattern, last(graph_of("%d = Sub(%x, %y)\n%s = Exp(%d)\n%o = Div(%d, %s)\n")))


def test_other_domains_do_not_match() -> None:
    graph = parse('opset {"me": 1}\ngraph g(%x: f32[2]) {\n  %o = me::Relu(%x)\n  return %o\n}\n')
    assert not matches(Op("Relu", X), last(graph))
    assert matches(Op("Relu", X, domain="me"), last(graph))


def test_base_pattern_matches_nothing_by_itself() -> None:
    with pytest.raises(NotImplementedError):
        next(Pattern().match(None, Bindings()))


@rule(Op("Neg", Op("Abs", X)))
def neg_abs(b: Builder, m: Match) -> Replacement:
    """-|x| becomes min(x, -x)."""
    return b.op("Min", m["x"], b.op("Neg", m["x"]))


@rule(Op("Exp", Op("Log", X)))
def exp_log(b: Builder, m: Match) -> Replacement:
    """Says why not."""
    b.op("Relu", m["x"])
    b.constant([1, 2])
    return Refusal("log of negatives is NaN")


RULES = RuleSet([neg_abs, exp_log])


def run(graph: Graph, rules: RuleSet = RULES) -> PassContext:
    context = PassContext()
    PassManager([rules.as_pass("test-rules")], verify=True).run(graph, context)
    return context


def test_replacement_keeps_name_type_and_output_and_is_tagged() -> None:
    graph = graph_of("%a = Abs(%x)\n%o: f32[2,3] = Neg(%a)\n%p = Exp(%o)\n", "%o, %p")
    context = run(graph)
    assert [n.op for n in graph] == ["Neg", "Min", "Exp"]
    _, minimum, _ = graph
    assert graph.outputs[0] is minimum.output and minimum.output.name == "o"
    assert str(minimum.output.type) == "f32[2,3]"
    assert minimum.tags == ("test-rules:neg-abs",)
    assert [(r.pass_name, r.rule) for r in context.log] == [("test-rules", "neg-abs")]


@pytest.mark.parametrize("outputs", ["%o, %a", "%o, %k"])
def test_inner_node_that_is_needed_elsewhere_forbids_the_match(outputs: str) -> None:
    graph = graph_of("%a = Abs(%x)\n%o = Neg(%a)\n%k = Exp(%a)\n", outputs)
    run(graph)
    assert "Min" not in [n.op for n in graph]


def test_refusal_leaves_no_trace_but_its_reason() -> None:
    graph = graph_of("%a = Log(%x)\n%o = Exp(%a)\n")
    infer_types(graph)
    before = str(graph)
    context = run(graph)
    assert str(graph) == before
    assert [(r.rule, r.node, r.reason) for r in context.refusals] == [("exp-log", "Exp->%o", "log of negatives is NaN")]


def test_rules_apply_inside_subgraphs_to_values_from_outside() -> None:
    graph = graph_of(
        """%k: bool[] = const {true}
  %o = If(%k) {
    then_branch=graph () {
      %a = Abs(%x)
      %b = Neg(%a)
      return %b
    },
    else_branch=graph () {
      %e = Exp(%x)
      return %e
    }
  }
"""
    )
    run(graph)
    assert [n.op for n in last(graph).attributes["then_branch"]] == ["Neg", "Min"]


def test_pattern_does_not_reach_over_graph_borders() -> None:
    graph = graph_of(
        """%k: bool[] = const {true}
  %a = Abs(%x)
  %o = If(%k) {
    then_branch=graph () {
      %b = Neg(%a)
      return %b
    },
    else_branch=graph () {
      %e = Exp(%x)
      return %e
    }
  }
"""
    )
    run(graph)
    assert [n.op for n in last(graph).attributes["then_branch"]] == ["Neg"]


def test_replacing_an_output_by_an_input_puts_an_identity() -> None:
    @rule(Op("Abs", X))
    def drop(b: Builder, m: Match) -> Replacement:
        return m["x"]

    graph = graph_of("%o = Abs(%x)\n")
    run(graph, RuleSet([drop]))
    (identity,) = graph
    assert identity.op == "Identity" and graph.outputs == [identity.output] and identity.output.name == "o"


def test_rules_that_never_end_are_an_internal_error() -> None:
    @rule(Op("Abs", X))
    def spin(b: Builder, m: Match) -> Replacement:
        return b.op("Abs", m["x"])

    with pytest.raises(InternalError, match="still apply after"):
        run(graph_of("%o = Abs(%x)\n"), RuleSet([spin]))


def test_table_prints_patterns() -> None:
    table = RULES.table().splitlines()
    assert table[2] == "| neg-abs | `Neg(Abs(x))` | -|x| becomes min(x, -x). |"
    texts: list[tuple[Any, str]] = [
        (Op("Add|Sub".replace("|", " "), X, Const(value=2.0), rest=True), "Add|Sub(x, 2, ...)"),
        (Op("Clip", As("d", X), Optional(Const("low"))), "Clip(d=x, const low?)"),
        (Op("F", one_of(X, Y), domain="me", attributes={"a": 1, "b": bool}), "me::F((x | y)) {a=1, b=*}"),
    ]
    for pattern, text in texts:
        assert str(pattern) == text
