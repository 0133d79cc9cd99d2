"""What ``load`` makes of well-formed models, and what it says about malformed ones."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

from ronn.errors import ModelError, ModelWarning
from ronn.frontend.onnx import load
from ronn.ir.dims import sym
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType

F = TensorProto.FLOAT


def vi(name: str, shape: Any = (2,), dtype: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def const(name: str, *numbers: float) -> onnx.TensorProto:
    return helper.make_tensor(name, F, [len(numbers)], numbers)


def model(
    nodes: list[onnx.NodeProto],
    inputs: list[onnx.ValueInfoProto] | None = None,
    outputs: list[onnx.ValueInfoProto] | None = None,
    initializers: list[onnx.TensorProto] | None = None,
    *,
    opset: int = 18,
    ir: int = 8,
    **extra: Any,
) -> onnx.ModelProto:
    graph = helper.make_graph(
        nodes,
        "g",
        [vi("x")] if inputs is None else inputs,
        [vi("y")] if outputs is None else outputs,
        [] if initializers is None else initializers,
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], **extra)
    made.ir_version = ir
    return made


def relu(i: str = "x", o: str = "y", **kw: Any) -> onnx.NodeProto:
    return helper.make_node("Relu", [i], [o], **kw)


def refused(proto: onnx.ModelProto, *words: str) -> ModelError:
    with pytest.raises(ModelError) as e:
        load(proto)
    for word in ("<ModelProto>", *words):
        assert word in str(e.value), str(e.value)
    return e.value


def test_nodes_values_and_types() -> None:
    m = load(model([helper.make_node("Add", ["x", "w"], ["y"], name="plus")], initializers=[const("w", 1, 2)]))
    (node,) = m.graph
    assert (node.op, node.domain, node.version, node.name) == ("Add", "", 18, "plus")
    assert node.inputs == (m.graph.inputs[0], m.graph.initializers["w"])
    assert m.graph.outputs == [node.output] and m.graph.output_names == ["y"]
    assert node.output.producer is node
    assert m.graph.inputs[0].type == TensorType(DType.FLOAT32, (2,))
    w = m.graph.initializers["w"].data
    assert w is not None and w.tolist() == [1, 2] and not w.flags.writeable


def test_metadata() -> None:
    proto = model([relu()], producer_name="me", producer_version="1.2", domain="d", model_version=7, doc_string="what")
    proto.metadata_props.add(key="k", value="v")
    meta = load(proto).metadata
    assert (meta.producer_name, meta.producer_version, meta.domain, meta.version) == ("me", "1.2", "d", 7)
    assert (meta.description, meta.graph_name, meta.ir_version, meta.custom) == ("what", "g", 8, {"k": "v"})


def test_ir3_lists_initializers_as_inputs() -> None:
    proto = model(
        [helper.make_node("Add", ["x", "w"], ["y"])], [vi("x"), vi("w")], initializers=[const("w", 1, 2)], ir=3
    )
    m = load(proto)
    assert [v.name for v in m.graph.inputs] == ["x"]
    assert m.overridable == ()


def test_ir3_input_without_initializer_stays_an_input() -> None:
    m = load(model([helper.make_node("Add", ["x", "w"], ["y"])], [vi("x"), vi("w")], ir=3))
    assert [v.name for v in m.graph.inputs] == ["x", "w"]


def test_ir4_input_with_initializer_is_an_overridable_default() -> None:
    m = load(model([helper.make_node("Add", ["x", "w"], ["y"])], [vi("x"), vi("w")], initializers=[const("w", 1, 2)]))
    assert [v.name for v in m.graph.inputs] == ["x"]
    assert m.overridable == ("w",)
    assert m.graph.initializers["w"].is_const


def test_dims() -> None:
    proto = model([relu()], [vi("x", ["N", "?", "", -1, 0, 7, "a b(c)"])], [vi("y", None)])
    shape = load(proto).graph.inputs[0].tensor.shape
    assert shape == (sym("N"), None, None, None, 0, 7, sym("a b(c)"))
    assert load(proto).graph.outputs[0].tensor.shape is None


def test_types_that_are_no_tensors() -> None:
    tensor = helper.make_tensor_type_proto(F, ["N"])
    protos = [
        helper.make_sequence_type_proto(tensor),
        helper.make_optional_type_proto(tensor),
        helper.make_map_type_proto(TensorProto.STRING, tensor),
        helper.make_sparse_tensor_type_proto(F, [3]),
        onnx.TypeProto(),
    ]
    inputs = [helper.make_value_info(f"i{n}", t) for n, t in enumerate(protos)]
    got = [v.type for v in load(model([relu("x")], [vi("x"), *inputs])).graph.inputs[1:]]
    t = TensorType(DType.FLOAT32, (sym("N"),))
    assert got == [
        SequenceType(t), OptionalType(t), MapType(DType.STRING, t), SparseTensorType(DType.FLOAT32, (3,)), None,
    ]  # fmt: skip


def test_any_text_may_be_an_output_name() -> None:
    name = '{"json": [1, "ü"]} \n%x'
    m = load(model([relu("x", name)], outputs=[vi(name)]))
    assert m.graph.output_names == [name]


def test_omitted_inputs_and_outputs() -> None:
    node = helper.make_node("Clip", ["x", "", "w"], ["y"])
    drop = helper.make_node("Dropout", ["y"], ["z", ""])
    scalar = helper.make_tensor("w", F, [], [1.0])
    m = load(model([node, drop], outputs=[vi("z")], initializers=[scalar]))
    clip, dropout = m.graph
    assert clip.inputs[1] is None and clip.inputs[2] is m.graph.initializers["w"]
    assert [v.name for v in dropout.outputs] == ["z", ""]


def test_attribute_kinds() -> None:
    proto = helper.make_node(
        "Any", ["x"], ["y"], domain="my.own", i=3, f=0.5, s="text", ints=[1, 2], floats=[1.0, 2.5], strings=["a", "b"],
        t=const("t", 1), b=b"\xff\xfe", tp=helper.make_tensor_type_proto(F, [1]),
    )  # fmt: skip
    proto.attribute.add(name="none", type=onnx.AttributeProto.INTS)
    m = model([proto])
    m.opset_import.append(helper.make_opsetid("my.own", 3))
    (node,) = load(m).graph
    a = node.attributes
    assert node.version == 3
    assert (a["i"], a["f"], a["s"], a["ints"], a["floats"]) == (3, 0.5, "text", [1, 2], [1.0, 2.5])
    assert (a["strings"], a["b"], a["none"]) == (["a", "b"], b"\xff\xfe", [])
    assert a["t"].tolist() == [1] and a["tp"] == TensorType(DType.FLOAT32, (1,))


def test_attribute_without_kind_is_read_by_its_field() -> None:
    proto = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=0.5)
    proto.attribute[0].ClearField("type")
    assert next(iter(load(model([proto])).graph)).attributes == {"alpha": 0.5}


def test_unsorted_nodes_are_sorted_and_sorted_ones_stay() -> None:
    m = load(model([relu("b", "y"), relu("a", "b"), relu("x", "a")]))
    assert [n.output.name for n in m.graph] == ["a", "b", "y"]
    m = load(model([relu("x", "b"), relu("x", "a"), relu("a", "y")]))
    assert [n.output.name for n in m.graph] == ["b", "a", "y"]


def test_ai_onnx_is_the_default_domain() -> None:
    proto = model([relu(domain="ai.onnx")])
    del proto.opset_import[:]
    proto.opset_import.append(helper.make_opsetid("ai.onnx", 13))
    m = load(proto)
    assert m.opset_imports == {"": 13} and next(iter(m.graph)).domain == ""


@pytest.mark.parametrize("domain", ["Paddle", "com.ms.internal.nhwc", "org.pytorch.aten", "com.microsoft.nchwc"])
def test_unused_imports_are_fine(domain: str) -> None:
    proto = model([relu()])
    proto.opset_import.append(helper.make_opsetid(domain, 1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert load(proto).opset_imports[domain] == 1


@pytest.mark.parametrize("ir", range(3, onnx.IR_VERSION + 1))
def test_every_ir_version(ir: int) -> None:
    assert load(model([relu()], ir=ir)).metadata.ir_version == ir


def test_files_before_ir_3_speak_opset_1() -> None:
    proto = model([relu()], ir=2)
    del proto.opset_import[:]
    assert next(iter(load(proto).graph)).version == 1


def test_newer_versions_load_with_a_warning() -> None:
    with pytest.warns(ModelWarning, match="opset 1000 of ai.onnx is newer"):
        assert next(iter(load(model([relu()], opset=1000)).graph)).op == "Relu"
    with pytest.warns(ModelWarning, match="IR version 99 is newer"):
        load(model([relu()], ir=99))


def test_newer_opset_with_an_operator_that_changed_is_refused() -> None:
    refused(model([relu(new_attribute=1)], opset=1000), "no attribute 'new_attribute'", "Relu")
    refused(model([helper.make_node("Relu2", ["x"], ["y"])], opset=1000), "Relu2", "unknown")
    refused(model([helper.make_node("Relu", ["x", "x"], ["y"])], opset=1000), "1 inputs, not 2")


# --- malformed


def test_missing_opset_import() -> None:
    proto = model([relu(name="r")])
    del proto.opset_import[:]
    refused(proto, "imports no opset of domain 'ai.onnx'", "'r'")


def test_opset_versions_that_cannot_be() -> None:
    proto = model([relu()])
    proto.opset_import.append(helper.make_opsetid("", 17))
    refused(proto, "versions 18 and 17")
    refused(model([relu()], opset=0), "version 0")
    refused(model([relu()], opset=-3), "version -3")


def test_undefined_input_names_the_node_and_a_near_name() -> None:
    e = refused(model([relu("imput", name="r")], [vi("input")]), "node 'r' (Relu)", "'imput'", "did you mean 'input'?")
    assert (e.node_label, e.op) == ("r", "Relu")


def test_undefined_output() -> None:
    refused(model([relu("x", "z")]), "nothing makes the graph output 'y'")


def test_names_given_twice() -> None:
    refused(model([relu(), relu()]), "output 'y'", "another value")
    refused(model([relu("x", "x")]), "output 'x'", "another value")
    refused(model([helper.make_node("Split", ["x"], ["y", "y"], num_outputs=2)]), "two outputs the name 'y'")
    refused(model([relu()], [vi("x"), vi("x")]), "the name 'x' is given to more than one value")
    refused(model([relu()], outputs=[vi("y"), vi("y")]), "output 'y' more than once")
    refused(model([relu()], initializers=[const("w", 1), const("w", 2)]), "initializer 'w' is there twice")
    load(model([relu()], initializers=[const("w", 1), const("w", 1)]))


def test_cycle_names_its_nodes() -> None:
    nodes = [
        helper.make_node("Add", ["x", "c"], ["a"], name="n1"),
        relu("a", "b", name="n2"),
        relu("b", "c", name="n3"),
        relu("c", "y", name="n4"),
    ]
    e = refused(model(nodes), "circle")
    assert all(n in str(e) for n in ("n1", "n2", "n3")) and "n4" not in str(e)
    refused(model([helper.make_node("Add", ["x", "y"], ["y"], name="self")]), "circle: 'self' -> 'self'")


def test_attributes_that_do_not_fit() -> None:
    refused(
        model([helper.make_node("LeakyRelu", ["x"], ["y"], alpha="big", name="l")]), "'l'", "alpha", "FLOAT", "STRING"
    )
    refused(model([helper.make_node("LeakyRelu", ["x"], ["y"], beta=1.0)]), "no attribute 'beta'")
    refused(model([helper.make_node("Cast", ["x"], ["y"])]), "attribute 'to'", "missing")
    twice = helper.make_node("LeakyRelu", ["x"], ["y"], alpha=1.0)
    twice.attribute.append(twice.attribute[0])
    refused(model([twice]), "'alpha' is given twice")
    empty = helper.make_node("LeakyRelu", ["x"], ["y"])
    empty.attribute.add(name="alpha")
    refused(model([empty]), "'alpha' does not say its kind")
    nameless = helper.make_node("LeakyRelu", ["x"], ["y"])
    nameless.attribute.add(f=1.0, type=onnx.AttributeProto.FLOAT)
    refused(model([nameless]), "attribute without a name")


def test_wrong_number_of_inputs_and_outputs() -> None:
    refused(model([helper.make_node("Relu", [], ["y"])]), "takes 1 inputs, not 0")
    refused(model([helper.make_node("Relu", ["x"], ["y", "z"])]), "has 1 outputs, not 2")
    refused(model([helper.make_node("Add", ["", "x"], ["y"])]), "input 0 (A)")


def test_node_without_operator() -> None:
    refused(model([helper.make_node("", ["x"], ["y"])]), "has no operator")


def test_internal_attributes_are_let_through() -> None:
    assert "__note" in next(iter(load(model([relu(__note=1)])).graph)).attributes


def test_no_ir_version_and_no_graph() -> None:
    proto = model([relu()])
    proto.ClearField("ir_version")
    refused(proto, "IR version 0")


def test_empty_graph() -> None:
    m = load(model([], [vi("x")], [vi("x")]))
    assert len(m.graph) == 0 and m.graph.outputs == m.graph.inputs
    assert len(load(model([], [], [])).graph) == 0


def test_rank_bound() -> None:
    refused(model([relu()], [vi("x", [1] * 65)]), "rank 65")


def test_name_bound() -> None:
    refused(model([relu("x" * 70_000)], [vi("x" * 70_000)]), "characters")


def test_name_that_is_no_text() -> None:
    data = model([relu("QQQQ")], [vi("QQQQ")]).SerializeToString().replace(b"QQQQ", b"\xff\xfe\xfd\xfc")
    m = load(data)
    assert m.graph.inputs[0].name == "\\xff\\xfe\\xfd\\xfc" and next(iter(m.graph)).inputs == (m.graph.inputs[0],)


def test_large_declared_dims_allocate_nothing() -> None:
    m = load(model([relu()], [vi("x", [2**62, 2**62])], [vi("y", [2**62])]))
    assert m.graph.inputs[0].tensor.shape == (2**62, 2**62)


def test_import_of_ronn_does_not_import_onnx() -> None:
    import subprocess
    import sys

    code = "import sys, ronn, ronn.frontend.onnx; assert 'onnx' not in sys.modules, 'onnx'"
    subprocess.run([sys.executable, "-c", code], check=True)


def test_arrays_are_views_of_what_was_read() -> None:
    big = onnx.numpy_helper.from_array(np.arange(1000, dtype=np.float32), "w")
    m = load(model([helper.make_node("Add", ["x", "w"], ["y"])], initializers=[big]))
    w = m.graph.initializers["w"].data
    assert w is not None and w.base is not None and not w.flags.writeable
