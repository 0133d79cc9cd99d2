"""The driver: groups, limits, tags, verification, printing, errors that name the pass."""

from __future__ import annotations

import io
from typing import Any

import pytest

from ronn.errors import InternalError, ModelError, OptionError
from ronn.ir.graph import Graph
from ronn.ir.text import parse
from ronn.passes.eliminate_dead import eliminate_dead
from ronn.passes.eliminate_identity import eliminate_identity
from ronn.passes.inline_functions import inline_functions
from ronn.passes.manager import FunctionPass, Group, Pass, PassContext, PassManager, define_pass
from ronn.passes.simplify_algebra import simplify_algebra

TEXT = """opset {"": 18}
graph g(%x: f32[N]) {
  %a = Neg(%x)
  %b = Neg(%a)
  %c = Neg(%b)
  %d = Neg(%c)
  %y = Relu(%d)
  return %y
}
"""


def test_define_pass_makes_a_pass() -> None:
    @define_pass("do-nothing", requires_types=True)
    def nothing(graph: Graph, context: PassContext) -> bool:
        """Does nothing.

        At all."""
        return False

    assert isinstance(nothing, FunctionPass) and isinstance(nothing, Pass)
    assert (nothing.name, nothing.requires_types, nothing.required) == ("do-nothing", True, False)
    assert nothing.summary == "Does nothing."


def test_report_counts_rewrites_and_prints_a_table() -> None:
    graph = parse(TEXT)
    report = PassManager([Group("g", (simplify_algebra, eliminate_dead))], verify=True).run(graph, PassContext())
    assert report.changed
    assert report.counts() == {"simplify-algebra": 2} and report.rewrites == 2
    assert [n.op for n in graph] == ["Relu"]
    assert str(report).splitlines()[0].split() == ["pass", "round", "rewrites", "ms"]
    assert report.seconds > 0


@pytest.mark.parametrize(("limit", "left"), [(0, 5), (1, 3), (2, 1), (9, 1)])
def test_limit_counts_single_rewrites(limit: int, left: int) -> None:
    graph = parse(TEXT)
    context = PassContext()
    PassManager([simplify_algebra], limit=limit).run(graph, context)
    assert len(graph) == left
    assert context.rewrites == min(limit, 2)


def test_limit_goes_on_counting_over_runs() -> None:
    graph = parse(TEXT)
    PassManager([simplify_algebra], limit=3).run(graph, PassContext(rewrites=2))
    assert len(graph) == 3


def test_limit_does_not_stop_required_passes(apply: Any) -> None:
    callee = parse('opset {"": 18}\ngraph f(%p: f32[N]) {\n  %q = Relu(%p)\n  return %q\n}\n')
    from ronn.ir.graph import Function

    functions = {("me", "F", ""): Function("me", "F", "", callee, {}, {"": 18})}
    graph = parse('opset {"": 18, "me": 1}\ngraph g(%x: f32[N]) {\n  %y = me::F(%x)\n  return %y\n}\n')
    context = PassContext(functions=functions)
    PassManager([inline_functions], limit=0).run(graph, context)
    assert [n.op_id for n in graph] == ["Relu"]
    assert context.rewrites == 0


def test_disabled_pass_does_not_run() -> None:
    graph = parse(TEXT)
    report = PassManager([simplify_algebra, eliminate_dead], disabled={"simplify-algebra"}).run(graph, PassContext())
    assert {r.name for r in report.rows} == {"eliminate-dead"}


def test_unknown_disabled_name_gets_the_nearest() -> None:
    with pytest.raises(OptionError, match="did you mean 'simplify-algebra'"):
        PassManager([simplify_algebra], disabled={"simplfy-algebra"})
    with pytest.raises(OptionError, match="no pass 'zzz'"):
        PassManager([simplify_algebra], disabled={"zzz"})
    PassManager([simplify_algebra], disabled={"fuse-gelu"}, known={"fuse-gelu"})


def test_required_pass_cannot_be_disabled() -> None:
    with pytest.raises(OptionError, match="required"):
        PassManager([inline_functions], disabled={"inline-functions"})


def test_pass_that_never_settles_is_named() -> None:
    forever = FunctionPass("forever", lambda graph, context: True)
    with pytest.raises(InternalError, match=r"group 'loop'.*forever"):
        PassManager([Group("loop", (forever, eliminate_dead))]).run(parse(TEXT), PassContext())


def test_error_in_a_pass_names_pass_and_node() -> None:
    def broken(graph: Graph, context: PassContext) -> bool:
        context.at = next(iter(graph))
        raise KeyError("oops")

    with pytest.raises(InternalError, match="pass 'broken' failed: KeyError") as caught:
        PassManager([FunctionPass("broken", broken)]).run(parse(TEXT), PassContext())
    assert caught.value.node_label == "Neg->%a"
    assert isinstance(caught.value.__cause__, KeyError)


def test_broken_graph_is_found_after_the_pass_that_broke_it() -> None:
    def breaks(graph: Graph, context: PassContext) -> bool:
        first, second, *_ = graph.nodes
        graph.move_before(first, second)
        return True

    PassManager([FunctionPass("breaks", breaks)]).run(parse(TEXT), PassContext())
    with pytest.raises(InternalError, match="pass 'breaks' broke the graph"):
        PassManager([FunctionPass("breaks", breaks)], verify=True).run(parse(TEXT), PassContext())


def test_model_error_found_by_inference_keeps_its_class_and_names_the_pass() -> None:
    text = 'opset {"": 18}\ngraph g(%x: f32[2,3], %w: f32[4,5]) {\n  %y = MatMul(%x, %w)\n  return %y\n}\n'
    with pytest.raises(ModelError, match="found by pass 'eliminate-identity'"):
        PassManager([eliminate_identity]).run(parse(text), PassContext())


def test_print_after() -> None:
    out = io.StringIO()
    PassManager([simplify_algebra, eliminate_dead], print_after={"eliminate-dead"}, stream=out).run(
        parse(TEXT), PassContext()
    )
    assert out.getvalue().startswith("--- after eliminate-dead (round 0, 0 rewrites)\n")
    assert "Relu(%x)" in out.getvalue() and "simplify-algebra (" not in out.getvalue()
    every = io.StringIO()
    PassManager([simplify_algebra, eliminate_dead], print_after={"all"}, stream=every).run(parse(TEXT), PassContext())
    assert every.getvalue().count("--- after") == 2


def test_refusals_are_told_once() -> None:
    graph = parse(TEXT)
    context = PassContext()
    node = next(iter(graph))
    context.refuse(node, "no")
    context.refuse(node, "no")
    assert [(r.node, r.reason) for r in context.refusals] == [("Neg->%a", "no")]


def test_branch_output_from_outside_becomes_an_identity() -> None:
    text = """opset {"": 18}
graph g(%c: bool[], %x: f32[2]) {
  %h = Relu(%x)
  %y = If(%c) {
    then_branch=graph () {
      return %h
    },
    else_branch=graph () {
      %n = Neg(%h)
      return %n
    }
  }
  return %y
}
"""
    graph = parse(text)
    PassManager([eliminate_dead], verify=True).run(graph, PassContext())
    relu, branch = graph
    (identity,) = branch.attributes["then_branch"]
    assert identity.op == "Identity" and identity.inputs == (relu.output,)
