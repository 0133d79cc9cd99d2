"""The IR back as ONNX: what is written loads as what it was."""

from __future__ import annotations

import warnings
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper
from onnx.backend.test.case.node import collect_testcases

from ronn.errors import ModelError
from ronn.frontend import proto as writing
from ronn.frontend.onnx import load
from ronn.frontend.proto import graph_to_proto, model_to_proto, node_to_proto, save_model, type_to_proto
from ronn.ir.dims import sym
from ronn.ir.graph import AttrRef, Graph, IRModel, Node, Value
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, SparseTensorType, TensorType, Type

F32 = TensorType(DType.FLOAT32, (2,))


def attributes(op: str, **given: object) -> dict[str, onnx.AttributeProto]:
    node = Node(op, [Value("x")], [Value("y")], given, version=18)
    return {a.name: a for a in node_to_proto(node).attribute}


def test_round_trip_of_every_node_model_of_onnx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # NumPy overflows while the cases are made
        cases = collect_testcases(None)
    assert len(cases) > 1800
    for case in cases:
        first = load(case.model)
        second = load(model_to_proto(first))
        assert str(first.graph) == str(second.graph), case.name
        assert first.metadata == second.metadata and first.opset_imports == second.opset_imports
        assert [str(f.body) for f in first.functions.values()] == [str(f.body) for f in second.functions.values()]


def test_round_trip_of_a_whole_model() -> None:
    info = helper.make_tensor_value_info
    inner = helper.make_node("LeakyRelu", ["a"], ["b"])
    inner.attribute.add(name="alpha", ref_attr_name="slope", type=onnx.AttributeProto.FLOAT)
    imports = [helper.make_opsetid("", 18), helper.make_opsetid("my", 1)]
    function = helper.make_function(
        "my", "F", ["a"], ["b"], [inner], imports, attributes=["slope"],
        attribute_protos=[helper.make_attribute("k", [1, 2])],
    )  # fmt: skip
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["t"]), helper.make_node("F", ["t"], ["y"], domain="my", slope=0.5)],
        "g",
        [info("x", TensorProto.FLOAT, ["N", 2]), info("w", TensorProto.FLOAT, [2])],
        [info("y", TensorProto.FLOAT, ["N", None])],
        [helper.make_tensor("w", TensorProto.FLOAT, [2], [1, 2])],
        doc_string="graph text",
        value_info=[info("t", TensorProto.FLOAT, ["N", 2])],
    )
    made = helper.make_model(
        graph, opset_imports=imports, functions=[function], producer_name="p", model_version=3, doc_string="text"
    )
    made.metadata_props.add(key="a", value="b")
    first = load(made)
    written = model_to_proto(first)
    onnx.checker.check_model(written)
    second = load(written)
    assert str(first.graph) == str(second.graph)
    assert first.metadata == second.metadata and first.overridable == second.overridable == ("w",)
    f, g = first.functions["my", "F", ""], second.functions["my", "F", ""]
    assert (f.attributes, f.opset_imports, str(f.body)) == (g.attributes, g.opset_imports, str(g.body))


def test_ir3_lists_constants_as_inputs() -> None:
    graph = Graph("g")
    graph.add_output(
        graph.append(Node("Relu", [graph.constant(np.ones(2, np.float32), "w")], [Value("y")], version=8)).output
    )
    model = IRModel(graph, {"": 8})
    model.metadata.ir_version = 3
    written = model_to_proto(model)
    assert [i.name for i in written.graph.input] == ["w"]
    assert load(written).graph.inputs == []


@pytest.mark.parametrize(
    "type",
    [
        F32,
        TensorType(DType.INT4, None),
        TensorType(None, None),
        TensorType(DType.STRING, (None, sym("N"), 0)),
        SequenceType(F32),
        OptionalType(SequenceType(F32)),
        MapType(DType.INT64, F32),
        SparseTensorType(DType.FLOAT64, (3, None)),
        None,
    ],
    ids=str,
)
def test_types(type: Type | None) -> None:
    from ronn.frontend.types import read_type

    assert read_type(type_to_proto(type)) == type


def test_attribute_kinds_follow_the_schema() -> None:
    kind = onnx.AttributeProto
    assert attributes("LeakyRelu", alpha=1)["alpha"].type == kind.FLOAT
    assert attributes("LeakyRelu", alpha=1)["alpha"].f == 1.0
    assert attributes("LeakyRelu", alpha=np.float32(0.5))["alpha"].f == 0.5
    assert attributes("Transpose", perm=[])["perm"].type == kind.INTS
    assert attributes("Transpose", perm=(1, 0))["perm"].ints == [1, 0]
    assert attributes("Constant", value_floats=[])["value_floats"].type == kind.FLOATS
    assert attributes("Constant", value_floats=[1, 2])["value_floats"].floats == [1.0, 2.0]
    assert attributes("Constant", value_strings=[])["value_strings"].type == kind.STRINGS
    assert attributes("Constant", value_string=b"\xff")["value_string"].s == b"\xff"
    assert attributes("Cast", to=np.int64(1), saturate=True)["saturate"].i == 1
    assert attributes("Constant", value=np.zeros(2, np.int8))["value"].t.data_type == TensorProto.INT8
    sparse = attributes("Constant", sparse_value=np.array([0, 5, 0], np.float32))["sparse_value"]
    assert sparse.type == kind.SPARSE_TENSOR and sparse.sparse_tensor.values.dims == [1]
    ref = attributes("LeakyRelu", alpha=AttrRef("slope"))["alpha"]
    assert (ref.type, ref.ref_attr_name) == (kind.FLOAT, "slope")


def test_attribute_kinds_without_a_schema() -> None:
    kind = onnx.AttributeProto
    got = attributes("NoSuchOp", i=1, f=1.0, s="a", mixed=[1, 2.5], t=F32, strings=["a"], ts=[np.zeros(1)])
    assert {n: a.type for n, a in got.items()} == {
        "i": kind.INT, "f": kind.FLOAT, "s": kind.STRING, "mixed": kind.FLOATS, "t": kind.TYPE_PROTO,
        "strings": kind.STRINGS, "ts": kind.TENSORS,
    }  # fmt: skip


@pytest.mark.parametrize(
    "value",
    [object(), {"a": 1}, [1, "a"], 2**70, np.zeros(1, "datetime64[s]")],
    ids=["object", "dict", "mixed list", "too large", "datetime"],
)
def test_attributes_that_onnx_cannot_hold(value: object) -> None:
    with pytest.raises(ModelError, match="attribute 'bad' cannot be written as ONNX"):
        attributes("NoSuchOp", bad=value)


def test_names_given_twice_are_told_apart_and_outputs_keep_theirs() -> None:
    graph = Graph("g")
    x = graph.add_input("x", F32)
    a = graph.append(Node("Relu", [x], [Value("x", F32)], version=18))
    b = graph.append(Node("Neg", [a.output], [Value("x", F32)], version=18))
    graph.add_output(b.output, "x out")
    graph.add_output(b.output, "again")
    graph.add_output(x, "passed on")
    graph.add_output(graph.constant(np.ones(2, np.float32), "c"), "constant")
    written = model_to_proto(IRModel(graph, {"": 18}))
    onnx.checker.check_model(written)
    assert [o.name for o in written.graph.output] == ["x out", "again", "passed on", "constant"]
    from onnx.reference import ReferenceEvaluator

    given = np.array([-1, 2], np.float32)
    got = ReferenceEvaluator(written).run(None, {"x": given})
    assert [g.tolist() for g in got] == [[0, -2], [0, -2], [-1, 2], [1, 1]]


def test_inner_names_do_not_hide_outer_ones() -> None:
    graph = Graph("g")
    c, x = graph.add_input("c", TensorType(DType.BOOL, ())), graph.add_input("x", F32)
    inner = Graph("then")
    n = inner.append(Node("Relu", [x], [Value("x", F32)], version=18))
    inner.add_output(inner.append(Node("Add", [n.output, x], [Value("t", F32)], version=18)).output)
    other = Graph("else")
    other.add_output(other.append(Node("Neg", [x], [Value("e", F32)], version=18)).output)
    branches = {"then_branch": inner, "else_branch": other}
    graph.add_output(graph.append(Node("If", [c], [Value("y", F32)], branches, version=18)).output)
    written = model_to_proto(IRModel(graph, {"": 18}))
    onnx.checker.check_model(written, full_check=True)
    relu, add = next(a.g for a in written.graph.node[0].attribute if a.name == "then_branch").node
    assert relu.input == ["x"] and add.input == [relu.output[0], "x"] and relu.output[0] != "x"


def test_rename() -> None:
    x, y = Value("x"), Value("y")
    written = node_to_proto(Node("Relu", [x], [y], version=18), rename={x: "i0"})
    assert (written.input, written.output) == (["i0"], ["y"])


def test_graph_to_proto() -> None:
    graph = Graph("g")
    x = graph.add_input("x", TensorType(DType.FLOAT32, (sym("N"),)))
    node = graph.append(Node("Relu", [x], [Value("y", F32)], version=18))
    graph.append(Node("Dropout", [x], [Value("d", F32), Value("")], version=18))
    graph.add_output(node.output)
    written = graph_to_proto(graph)
    assert written.node[1].output == ["d", ""]
    assert [v.name for v in written.value_info] == ["d"]


def test_versions_that_one_model_cannot_hold() -> None:
    graph = Graph("g")
    x = graph.add_input("x", F32)
    graph.add_output(graph.append(Node("Relu", [x], [Value("y")], version=14)).output)
    assert model_to_proto(IRModel(graph, {"": 18})).opset_import[0].version == 18
    graph.append(Node("Split", [x], [Value("z")], version=2))
    with pytest.raises(ModelError, match="Split changed between 18 and 2"):
        model_to_proto(IRModel(graph, {"": 18}))


def constant_model(array: np.ndarray) -> IRModel:
    graph = Graph("g")
    x = graph.add_input("x", F32)
    node = graph.append(Node("Add", [x, graph.constant(array, "w")], [Value("y")], version=18))
    graph.add_output(node.output)
    return IRModel(graph, {"": 18})


def test_too_large_for_one_message(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(writing, "MAX_BYTES", 100)
    model = constant_model(np.arange(500, dtype=np.float32))
    with pytest.raises(ModelError, match="2000 bytes do not fit"):
        model_to_proto(model)
    save_model(model, tmp_path / "m.onnx")
    assert (tmp_path / "m.onnx.data").stat().st_size == 2000
    back = load(tmp_path / "m.onnx").graph.initializers["w"].data
    assert back is not None and back.tolist() == list(range(500))


@pytest.mark.parametrize("external", [False, True])
@pytest.mark.parametrize("dtype", [DType.FLOAT32, DType.INT4, DType.BFLOAT16, DType.STRING], ids=str)
def test_save(tmp_path: Path, dtype: DType, external: bool) -> None:
    array = np.array(["ü"] * 3000, object) if dtype is DType.STRING else np.arange(3000).astype(dtype.numpy)
    save_model(constant_model(array), tmp_path / "m.onnx", external=external)
    back = load(tmp_path / "m.onnx").graph.initializers["w"].data
    assert back is not None and back.dtype == array.dtype and back.tolist() == array.tolist()
    onnx.load(tmp_path / "m.onnx")
    wanted = {"m.onnx", "m.onnx.data"} if external else {"m.onnx"}
    assert {p.name for p in tmp_path.iterdir()} == wanted


def test_save_over_the_file_that_is_mapped(tmp_path: Path) -> None:
    save_model(constant_model(np.arange(500, dtype=np.float32)), tmp_path / "m.onnx", external=True)
    model = load(tmp_path / "m.onnx")
    save_model(model, tmp_path / "m.onnx", external=True)
    for m in (model, load(tmp_path / "m.onnx")):
        data = m.graph.initializers["w"].data
        assert data is not None and data.tolist() == list(range(500))


def test_failed_save_leaves_nothing(tmp_path: Path) -> None:
    model = constant_model(np.zeros(2, np.float32))
    next(iter(model.graph)).attributes["bad"] = object()
    for external in (False, True):
        with pytest.raises(ModelError):
            save_model(model, tmp_path / "m.onnx", external=external)
    assert list(tmp_path.iterdir()) == []
