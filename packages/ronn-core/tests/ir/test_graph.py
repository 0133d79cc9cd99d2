"""Use links, walking while editing, replacing uses through subgraphs, clone and captures."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn.ir.graph import Graph, Node, Value, clone
from ronn.ir.text import parse, print_graph

CHAIN = """\
opset {"": 18}
graph g(%x: f32[2]) {
  %a: f32[2] = Relu(%x)
  %b: f32[2] = Neg(%a)
  %c: f32[2] = Add(%a, %b)
  return %c
}
"""

BRANCH = """\
opset {"": 18}
graph g(%x: f32[2], %p: bool[]) {
  %a: f32[2] = Relu(%x)
  %y: f32[2] = If(%p) {
    then_branch=graph t() {
      %n: f32[2] = Neg(%a)
      %z: f32[2] = If(%p) {
        then_branch=graph u() {
          return %a
        },
        else_branch=graph v() {
          return %n
        }
      }
      return %z
    },
    else_branch=graph e() {
      return %a
    }
  }
  return %y
}
"""


def consistent(graph: Graph) -> None:
    """Every use link has an input that it stands for and the other way round; node order links agree."""
    uses: dict[Value, set[tuple[Node, int]]] = {}
    for node in graph.all_nodes():
        for i, value in enumerate(node.inputs):
            if value is not None:
                uses.setdefault(value, set()).add((node, i))
    for node in graph.all_nodes():
        for out in node.outputs:
            assert out.producer is node
            assert set(out.uses) == uses.get(out, set())
    assert list(reversed(graph)) == graph.nodes[::-1]
    assert len(graph) == len(graph.nodes)


def test_set_input_keeps_links() -> None:
    graph = parse(CHAIN)
    relu, neg, add = graph.nodes
    x = graph.inputs[0]
    add.set_input(0, x)
    assert set(x.uses) == {(relu, 0), (add, 0)}
    add.set_input(3, relu.output)
    assert add.inputs == (x, neg.output, None, relu.output)
    assert x.consumers == [relu, add]
    consistent(graph)


def test_a_value_used_twice_by_a_node_has_two_uses() -> None:
    x = Value("x")
    node = Node("Mul", [x, x], [Value("y")], version=14)
    assert set(x.uses) == {(node, 0), (node, 1)} and x.consumers == [node]
    node.set_input(0, None)
    assert set(x.uses) == {(node, 1)}


def test_walking_sees_inserted_and_skips_removed_nodes() -> None:
    graph = parse(CHAIN)
    relu, neg, add = graph.nodes
    seen = []
    for node in graph:
        seen.append(node.op)
        if node is relu:
            graph.insert_after(relu, Node("Abs", [relu.output], [Value("n")], version=13))
        if node is neg:
            graph.replace_uses(neg.output, relu.output)
            graph.remove(neg)
    assert seen == ["Relu", "Abs", "Neg", "Add"]
    assert [n.op for n in graph] == ["Relu", "Abs", "Add"]
    assert add.inputs == (relu.output, relu.output)
    consistent(graph)


def test_walking_survives_removal_of_the_node_and_its_follower() -> None:
    graph = parse(CHAIN)
    _, neg, add = graph.nodes
    seen = []
    for node in graph:
        seen.append(node.op)
        if node is neg:
            graph.outputs[0] = graph.inputs[0]
            graph.remove(add)
            graph.remove(neg)
    assert seen == ["Relu", "Neg"]
    assert [n.op for n in graph] == ["Relu"]
    assert not graph.nodes[0].output.uses


def test_walking_backwards_while_removing_dead_nodes() -> None:
    graph = parse(CHAIN)
    graph.outputs[0] = graph.inputs[0]
    for node in reversed(graph):
        if not any(graph.is_used(v) for v in node.outputs):
            graph.remove(node)
    assert len(graph) == 0


def test_used_nodes_cannot_be_removed() -> None:
    graph = parse(CHAIN)
    for node in graph.nodes:
        with pytest.raises(ValueError, match="still used"):
            graph.remove(node)


def test_a_value_that_only_a_nested_branch_returns_is_used() -> None:
    graph = parse(BRANCH)
    relu, branch = graph.nodes
    then = branch.attributes["then_branch"]
    then.nodes[0].set_input(0, graph.inputs[0])
    assert not relu.output.uses
    assert graph.is_used(relu.output)
    with pytest.raises(ValueError, match="still used"):
        graph.remove(relu)


def test_replace_uses_reaches_nested_inputs_and_outputs() -> None:
    graph = parse(BRANCH)
    relu, x = graph.nodes[0], graph.inputs[0]
    graph.replace_uses(relu.output, x)
    assert not graph.is_used(relu.output)
    graph.remove(relu)
    text = print_graph(graph)
    assert "%a" not in text
    assert print_graph(parse(text)) == text


def test_removing_a_branch_drops_the_uses_inside() -> None:
    graph = parse(BRANCH)
    relu, branch = graph.nodes
    graph.outputs[0] = relu.output
    graph.remove(branch)
    assert not relu.output.uses and not graph.inputs[1].uses


def test_foreign_and_linked_nodes_are_refused() -> None:
    graph, other = parse(CHAIN), parse(CHAIN)
    with pytest.raises(ValueError, match="does not stand"):
        graph.remove(other.nodes[2])
    with pytest.raises(ValueError, match="already stands"):
        graph.append(other.nodes[0])


def test_move_before() -> None:
    graph = parse(CHAIN)
    relu, neg, add = graph.nodes
    graph.move_before(relu, add)
    assert graph.nodes == [add, relu, neg]
    graph.move_before(add, neg)
    assert graph.nodes == [neg, add, relu]
    graph.move_before(neg, neg)
    assert graph.nodes == [neg, add, relu]
    consistent(graph)


def test_clone_is_deep_and_equal() -> None:
    graph = parse(BRANCH)
    weights = graph.constant(np.ones(3, np.float32), "w")
    mapping: dict[Value, Value] = {}
    copy = clone(graph, mapping)
    assert print_graph(copy) == print_graph(graph)
    assert not {id(v) for v in graph.values()} & {id(v) for v in copy.values()}
    assert copy.initializers["w"].data is weights.data
    assert mapping[graph.inputs[0]] is copy.inputs[0]
    before = print_graph(graph)
    copy.replace_uses(copy.nodes[0].output, copy.inputs[0])
    copy.remove(copy.nodes[0])
    assert print_graph(graph) == before
    consistent(graph)
    consistent(copy)


def test_clone_of_a_subgraph_keeps_captures_or_maps_them() -> None:
    graph = parse(BRANCH)
    relu, branch = graph.nodes
    then = branch.attributes["then_branch"]
    assert then.captures() == [relu.output, graph.inputs[1]]
    assert clone(then).captures() == then.captures()
    new = Value("new")
    assert clone(then, {relu.output: new}).captures() == [new, graph.inputs[1]]


def test_fresh_names_avoid_every_name_of_the_graph() -> None:
    graph = parse("opset 18 graph g(%x) { %c.1 = Relu(%x) %c.2 = Relu(%x) return %c.1 }")
    assert graph.fresh_name("c") not in ("c.1", "c.2")
    assert graph.constant(np.zeros(1), "w").name == "w"
    assert graph.constant(np.zeros(1), "w").name != "w"


def test_constants_are_read_only() -> None:
    array = np.zeros(2)
    value = Graph().constant(array)
    assert value.data is not None and not value.data.flags.writeable
    assert array.flags.writeable


@settings(max_examples=100, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 3), st.integers(0, 30), st.integers(0, 30)), max_size=40))
def test_random_edits_keep_the_graph_consistent(edits: list[tuple[int, int, int]]) -> None:
    graph = Graph("g")
    values = [graph.add_input("x", None)]
    expected: list[Node] = []
    for kind, i, j in edits:
        if kind <= 1 or not expected:
            node = Node(
                "Add", [values[i % len(values)], values[j % len(values)]], [Value(f"v{len(values)}")], version=14
            )
            values.append(node.output)
            if kind == 0 or not expected:
                graph.append(node)
                expected.append(node)
            else:
                at = i % len(expected)
                graph.insert_before(expected[at], node)
                expected.insert(at, node)
        elif kind == 2:
            node = expected[i % len(expected)]
            graph.replace_uses(node.output, values[0])
            graph.remove(node)
            expected.remove(node)
            values.remove(node.output)
        else:
            anchor, node = expected[i % len(expected)], expected[j % len(expected)]
            graph.move_before(anchor, node)
            if anchor is not node:
                expected.remove(node)
                expected.insert(expected.index(anchor), node)
        assert graph.nodes == expected
        consistent(graph)
