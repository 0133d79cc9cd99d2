"""One broken graph for each law, and graphs that break none."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from ronn.errors import InternalError, ModelError
from ronn.ir.graph import AttrRef, Graph, Node, Value
from ronn.ir.text import parse
from ronn.ir.types import DType, TensorType
from ronn.ir.verify import GRAPH_LAWS, NODE_LAWS, Stage, verify

GOOD = """\
opset {"": 18}
graph g(%x: f32[2], %p: bool[]) {
  %w: f32[2] = const {1.0, 2.0}
  %a: f32[2] = Add(%x, %w)
  %y: f32[2] = If(%p) {
    then_branch=graph t() {
      %n: f32[2] = Neg(%a)
      return %n
    },
    else_branch=graph e() {
      return %a
    }
  }
  %r, _ = MaxPool(%y) {kernel_shape=[1]}
  return %y, %r
}
"""


def append(graph: Graph, op: str, inputs: list[Value | None], name: str = "new", **attributes: object) -> Node:
    return graph.append(Node(op, inputs, [Value(name)], attributes, version=18))


def made_twice(g: Graph) -> None:
    append(g, "Neg", [g.inputs[0]]).outputs = (g.nodes[0].output,)


def input_twice(g: Graph) -> None:
    g.inputs.append(g.inputs[0])


def nested_too_deep(g: Graph) -> None:
    for _ in range(70):
        outer = Graph("o")
        condition = outer.add_input("c", TensorType(DType.BOOL, ()))
        append(outer, "If", [condition], then_branch=g, else_branch=Graph())
        g = outer
    raise_into.append(g)


raise_into: list[Graph] = []


def used_before_made(g: Graph) -> None:
    g.nodes[0].set_input(0, g.nodes[2].output)


def out_of_scope(g: Graph) -> None:
    append(g, "Neg", [g.nodes[1].attributes["then_branch"].nodes[0].output])


def same_name(g: Graph) -> None:
    append(g, "Neg", [g.inputs[0]], "a")


def use_missing(g: Graph) -> None:
    g.inputs[0].uses.clear()


def stale_use(g: Graph) -> None:
    Node("Neg", [g.nodes[0].output], [Value("z")], version=18)


def stale_input_use(g: Graph) -> None:
    Node("Neg", [g.inputs[0]], [Value("z")], version=18)


def wrong_graph(g: Graph) -> None:
    g.nodes[0]._graph = Graph()


def wrong_producer(g: Graph) -> None:
    g.nodes[0].output.producer = None


def broken_list(g: Graph) -> None:
    g._count = 7


def output_missing(g: Graph) -> None:
    g.add_output(Value("ghost"))


def output_names(g: Graph) -> None:
    g.output_names.pop()


def constant_without_data(g: Graph) -> None:
    g.initializers["w"].data = None


def constant_type(g: Graph) -> None:
    g.initializers["w"].type = TensorType(DType.FLOAT32, (3,))


def constant_name(g: Graph) -> None:
    g.initializers["v"] = g.initializers.pop("w")


def too_many_inputs(g: Graph) -> None:
    append(g, "Neg", [g.inputs[0], g.inputs[0]])


def input_omitted(g: Graph) -> None:
    append(g, "Add", [None, g.inputs[0]])


def too_many_outputs(g: Graph) -> None:
    g.append(Node("Neg", [g.inputs[0]], [Value("m"), Value("n")], version=18))


def attribute_missing(g: Graph) -> None:
    append(g, "Cast", [g.inputs[0]])


def attribute_unknown(g: Graph) -> None:
    append(g, "Cast", [g.inputs[0]], to=1, speed=2)


def attribute_kind(g: Graph) -> None:
    append(g, "Cast", [g.inputs[0]], to="float")


def attribute_list_kind(g: Graph) -> None:
    append(g, "Transpose", [g.inputs[0]], perm=[0.0])


def input_type(g: Graph) -> None:
    append(g, "Not", [g.inputs[0]])


def type_variable(g: Graph) -> None:
    append(g, "Add", [g.inputs[0], g.constant(np.zeros(2, np.int64), "i")])


def function_call(g: Graph) -> None:
    g.append(Node("Mine", [g.inputs[0]], [Value("f")], domain="local", version=1))


def attribute_reference(g: Graph) -> None:
    append(g, "Cast", [g.inputs[0]], to=AttrRef("to"))


def no_provider(g: Graph) -> None:
    for node in g.nodes[:2]:
        node.provider = "cpu"


CASES: list[tuple[str, Stage, Callable[[Graph], None], str]] = [
    ("made-once", "imported", made_twice, "%a is made twice"),
    ("made-once", "imported", input_twice, "input %x"),
    ("made-once", "imported", nested_too_deep, "nested more than 64 deep"),
    ("defined-first", "imported", used_before_made, "%r is used before it is made"),
    ("defined-first", "imported", out_of_scope, "%n is used before it is made, or out of its scope"),
    ("unique-names", "imported", same_name, "called %a"),
    ("use-links", "portable", use_missing, "does not know of its use as input 0"),
    ("use-links", "portable", stale_use, "does not stand in the graph"),
    ("input-uses", "portable", stale_input_use, "does not stand in the graph"),
    ("node-links", "portable", wrong_graph, "does not know the graph"),
    ("node-links", "portable", wrong_producer, "another producer"),
    ("order-links", "portable", broken_list, "node list"),
    ("outputs-exist", "imported", output_missing, "%ghost"),
    ("outputs-exist", "portable", output_names, "2 outputs but 1 output names"),
    ("constants", "imported", constant_without_data, "no data"),
    ("constants", "imported", constant_type, "is f32[2], declared f32[3]"),
    ("constants", "portable", constant_name, "filed under the name 'v'"),
    ("arity", "imported", too_many_inputs, "takes 1 to 1 inputs, not 2"),
    ("arity", "imported", input_omitted, "input 0 (A) of Add must be given"),
    ("arity", "imported", too_many_outputs, "at most 1 outputs, not 2"),
    ("required-attributes", "imported", attribute_missing, "needs the attribute 'to'"),
    ("known-attributes", "imported", attribute_unknown, "no attribute 'speed'; it has"),
    ("attribute-types", "imported", attribute_kind, "must be INT, not str"),
    ("attribute-types", "imported", attribute_list_kind, "must be INTS, not a list of float"),
    ("input-types", "imported", input_type, "cannot be tensor(float)"),
    ("input-types", "imported", type_variable, "both stand for T"),
    ("no-calls", "portable", function_call, "model-local function"),
    ("no-attribute-references", "portable", attribute_reference, "still refers to 'to'"),
    ("provider-set", "assigned", no_provider, "no provider"),
]


@pytest.mark.parametrize(("law", "stage", "damage", "message"), CASES, ids=lambda c: getattr(c, "__name__", None))
def test_each_law_catches_its_breach(law: str, stage: Stage, damage: Callable[[Graph], None], message: str) -> None:
    graph = parse(GOOD)
    verify(graph, "imported")
    verify(graph, "portable")
    damage(graph)
    graph = raise_into.pop() if raise_into else graph
    with pytest.raises(ModelError if stage == "imported" else InternalError) as caught:
        verify(graph, stage, functions=[("local", "Mine", "")])
    assert f"breaks the law {law!r}" in caught.value.message
    assert message in caught.value.message


def test_every_law_has_a_case() -> None:
    laws = {name for name, _, _ in (*NODE_LAWS, *GRAPH_LAWS)} | {"made-once"}
    assert laws == {law for law, _, _, _ in CASES}


def test_laws_of_later_stages_do_not_bind_earlier_ones() -> None:
    graph = parse(GOOD)
    function_call(graph)
    attribute_reference(graph)
    verify(graph, "imported", functions=[("local", "Mine", "")])


def test_an_assigned_graph_passes() -> None:
    graph = parse(GOOD)
    for node in graph:
        node.provider = "cpu"
    verify(graph, "assigned")


def test_the_error_quotes_the_line() -> None:
    graph = parse(GOOD)
    append(graph, "Neg", [graph.inputs[0], graph.inputs[0]])
    with pytest.raises(ModelError, match=r"%new = Neg\(%x, %x\)"):
        verify(graph, "imported")


def test_a_subgraph_may_be_verified_alone() -> None:
    branch = parse(GOOD).nodes[1]
    then = branch.attributes["then_branch"]
    verify(then, "portable", outer=then.captures())
    with pytest.raises(InternalError, match="%a is never made"):
        verify(then, "portable")


def test_what_kernels_take_beyond_the_standard_is_legal() -> None:
    """Deprecated operators, and numbers of widths that a schema does not list; not another kind of number."""
    graph = Graph("g")
    small, wide = (
        graph.add_input("i", TensorType(DType.INT8, (2,))),
        graph.add_input("d", TensorType(DType.FLOAT64, (2,))),
    )
    append(graph, "Pow", [small, small], "a")
    append(graph, "Celu", [wide], "b")
    append(graph, "GroupNormalization", [wide, wide, wide], "c", num_groups=1)
    verify(graph, "imported")
    append(graph, "Gather", [small, wide], "e")
    with pytest.raises(ModelError, match=r"input 1 \(indices\) of Gather .* cannot be tensor\(double\)"):
        verify(graph, "imported")
