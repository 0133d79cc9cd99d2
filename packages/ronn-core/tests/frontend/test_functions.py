"""Model-local functions and subgraphs."""

from __future__ import annotations

from typing import Any

import onnx
import pytest
from hostile import nested
from onnx import TensorProto, helper

from ronn.errors import ModelError
from ronn.frontend.onnx import load
from ronn.ir.graph import AttrRef, Graph

F = TensorProto.FLOAT


def vi(name: str, shape: Any = (2,), dtype: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def node(op: str, inputs: list[str], outputs: list[str], **kw: Any) -> onnx.NodeProto:
    return helper.make_node(op, inputs, outputs, **kw)


def model(
    nodes: list[onnx.NodeProto],
    functions: list[onnx.FunctionProto] | None = None,
    inputs: list[onnx.ValueInfoProto] | None = None,
) -> onnx.ModelProto:
    graph = helper.make_graph(nodes, "g", [vi("x")] if inputs is None else inputs, [vi("y")])
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
    return helper.make_model(graph, opset_imports=imports, functions=functions or [], ir_version=10)


def function(name: str, nodes: list[onnx.NodeProto], opset: int = 18, **kw: Any) -> onnx.FunctionProto:
    imports = [helper.make_opsetid("", opset), helper.make_opsetid("my", 1)]
    return helper.make_function("my", name, ["a"], ["b"], nodes, imports, **kw)


def refused(proto: onnx.ModelProto, *words: str) -> None:
    with pytest.raises(ModelError) as e:
        load(proto)
    for word in words:
        assert word in str(e.value), str(e.value)


# --- functions


def test_function_with_attributes_and_defaults() -> None:
    leaky = node("LeakyRelu", ["a"], ["b"])
    ref = leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    f = function("F", [leaky], opset=16, attributes=["slope"], attribute_protos=[helper.make_attribute("other", 0.5)])
    m = load(model([node("F", ["x"], ["y"], domain="my", slope=0.1)], [f]))
    got = m.functions["my", "F", ""]
    assert got.attributes == {"slope": None, "other": 0.5}
    (inner,) = got.body
    assert inner.attributes == {ref.name: AttrRef("slope")} and inner.version == 16
    assert [v.name for v in got.body.inputs] == ["a"] and got.body.output_names == ["b"]
    (call,) = m.graph
    assert (call.domain, call.op) == ("my", "F") and call.attributes["slope"] == pytest.approx(0.1)


def test_overloads_are_kept_apart() -> None:
    one, two = function("F", [node("Relu", ["a"], ["b"])]), function("F", [node("Neg", ["a"], ["b"])])
    two.overload = "other"
    call = node("F", ["x"], ["y"], domain="my")
    call.overload = "other"
    m = load(model([call], [one, two]))
    assert next(iter(m.graph)).overload == "other"
    assert [n.op for n in m.functions["my", "F", "other"].body] == ["Neg"]
    refused(model([call], [one, two, two]), "my::F is defined more than once")


def test_function_named_like_an_operator_is_not_checked_against_it() -> None:
    f = helper.make_function("", "Relu", ["a"], ["b"], [node("Neg", ["a"], ["b"])], [helper.make_opsetid("", 18)])
    assert load(model([node("Relu", ["x"], ["y"], own=3)], [f])).functions.keys() == {("", "Relu", "")}


def test_reference_outside_of_a_function() -> None:
    leaky = node("LeakyRelu", ["x"], ["y"])
    leaky.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    refused(model([leaky]), "refers to attribute 'slope', outside of a function")
    leaky.input[0], leaky.output[0] = "a", "b"
    refused(model([node("F", ["x"], ["y"], domain="my")], [function("F", [leaky])]), "which the function does not have")


def test_functions_in_a_circle() -> None:
    fs = [function("F", [node("G", ["a"], ["b"], domain="my")]), function("G", [node("F", ["a"], ["b"], domain="my")])]
    refused(model([node("Relu", ["x"], ["y"])], fs), "my::F -> my::G -> my::F")
    refused(model([node("Relu", ["x"], ["y"])], [function("F", [node("F", ["a"], ["b"], domain="my")])]), "circle")


def test_functions_that_multiply_are_bounded() -> None:
    fs = [function("F0", [node("Relu", ["a"], ["b"])])]
    for i in range(1, 40):
        calls = [node(f"F{i - 1}", ["a"], ["c"], domain="my"), node(f"F{i - 1}", ["c"], ["b"], domain="my")]
        fs.append(function(f"F{i}", calls))
    refused(model([node("F39", ["x"], ["y"], domain="my")], fs), "once its functions are expanded")


def test_deep_chain_of_functions_is_bounded() -> None:
    fs = [function("F0", [node("Relu", ["a"], ["b"])])]
    fs += [function(f"F{i}", [node(f"F{i - 1}", ["a"], ["b"], domain="my")]) for i in range(1, 300)]
    refused(model([node("F299", ["x"], ["y"], domain="my")], fs[::-1]), "deep")


def test_function_body_must_be_whole() -> None:
    refused(model([node("Relu", ["x"], ["y"])], [function("F", [node("Relu", ["z"], ["b"])])]), "'z'")
    refused(model([node("Relu", ["x"], ["y"])], [function("F", [node("Relu", ["a"], ["c"])])]), "output 'b'")


# --- subgraphs


def branch(nodes: list[onnx.NodeProto], output: str, **kw: Any) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [vi(output)], **kw)


def if_model(
    then: onnx.GraphProto, other: onnx.GraphProto, extra: list[onnx.NodeProto] | None = None
) -> onnx.ModelProto:
    nodes = [node("If", ["c"], ["y"], then_branch=then, else_branch=other), *(extra or [])]
    return model(nodes, inputs=[vi("c", [], TensorProto.BOOL), vi("x")])


def branches(m: Any) -> tuple[Graph, Graph]:
    found = next(n for n in m.graph if n.op == "If")
    return found.attributes["then_branch"], found.attributes["else_branch"]


def test_branches_use_outer_values() -> None:
    m = load(if_model(branch([node("Relu", ["x"], ["t"])], "t"), branch([node("Neg", ["x"], ["e"])], "e")))
    then, other = branches(m)
    x = m.graph.inputs[1]
    assert then.captures() == [x] and other.captures() == [x]
    assert len(x.uses) == 2


def test_branch_output_may_be_an_outer_value() -> None:
    then, _ = branches(load(if_model(branch([], "x"), branch([node("Neg", ["x"], ["e"])], "e"))))
    assert then.captures() == then.outputs


def test_inner_name_hides_the_outer_one_from_where_it_is_made() -> None:
    inner = [node("Relu", ["x"], ["a"]), node("Neg", ["a"], ["x"]), node("Relu", ["x"], ["t"])]
    m = load(if_model(branch(inner, "t"), branch([node("Neg", ["x"], ["e"])], "e")))
    first, second, third = branches(m)[0]
    assert first.inputs == (m.graph.inputs[1],)
    assert third.inputs == second.outputs


def test_branch_constant() -> None:
    w = helper.make_tensor("w", F, [2], [1, 2])
    m = load(if_model(branch([node("Add", ["x", "w"], ["t"])], "t", initializer=[w]), branch([], "x")))
    assert list(branches(m)[0].initializers) == ["w"]


def test_nodes_are_sorted_by_what_their_subgraphs_use() -> None:
    late = node("Relu", ["x"], ["late"])
    m = load(if_model(branch([node("Neg", ["late"], ["t"])], "t"), branch([], "x"), [late]))
    assert [n.op for n in m.graph] == ["Relu", "If"]


def test_branch_must_not_see_its_own_result_or_the_other_branch() -> None:
    refused(if_model(branch([node("Neg", ["y"], ["t"])], "t"), branch([], "x")), "circle")
    refused(if_model(branch([node("Neg", ["x"], ["t"])], "t"), branch([node("Neg", ["t"], ["e"])], "e")), "'t'")


def test_loop_body() -> None:
    body = helper.make_graph(
        [node("Add", ["v", "x"], ["v2"]), node("Identity", ["cond"], ["go"])],
        "body",
        [vi("i", [], TensorProto.INT64), vi("cond", [], TensorProto.BOOL), vi("v")],
        [vi("go", [], TensorProto.BOOL), vi("v2")],
    )
    m = load(model([node("Loop", ["n", "", "x"], ["y"], body=body)], inputs=[vi("n", [], TensorProto.INT64), vi("x")]))
    (loop,) = m.graph
    (graph,) = loop.subgraphs()
    assert [v.name for v in graph.inputs] == ["i", "cond", "v"] and graph.output_names == ["go", "v2"]
    assert graph.captures() == [m.graph.inputs[1]]


def test_nesting_is_bounded() -> None:
    assert len(list(load(nested(20)).graph.all_nodes())) == 21
    for depth in (40, 80, 500, 2000):
        with pytest.raises(ModelError, match="nested"):
            load(nested(depth))
