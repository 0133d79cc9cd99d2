"""Large constants are read without a detour through protobuf, and what comes out is the same."""

from __future__ import annotations

import io
import random
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.backend.test.loader import load_model_tests

from ronn.errors import ModelError
from ronn.frontend import weights
from ronn.frontend.onnx import load
from ronn.frontend.weights import split


@pytest.fixture(autouse=True)
def small_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything counts as large."""
    monkeypatch.setattr(weights, "MIN_MODEL", 0)
    monkeypatch.setattr(weights, "MIN_RAW", 1)


def model(*arrays: np.ndarray) -> bytes:
    constants = [numpy_helper.from_array(a, f"w{i}") for i, a in enumerate(arrays)]
    info = helper.make_tensor_value_info("x", TensorProto.FLOAT, [1])
    graph = helper.make_graph([], "g", [info], [info], constants)
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return data


def data_of(source: object, name: str = "w0") -> np.ndarray:
    found = load(source).graph.initializers[name].data  # type: ignore[arg-type]
    assert found is not None
    return found


A, B = np.arange(100, dtype=np.float32), np.arange(7, dtype=np.int64)


def test_what_is_left_out() -> None:
    data = model(A, B)
    parts = split(data, len(data))
    assert parts is not None
    stripped, kept = parts
    tensors = onnx.load_from_string(stripped).graph.initializer
    assert [(t.name, t.HasField("raw_data"), list(t.dims)) for t in tensors] == [
        ("w0", False, [100]),
        ("w1", False, [7]),
    ]
    first, second = kept.take(0), kept.take(1)
    assert first is not None and first.tobytes() == A.tobytes()
    assert second is not None and second.tobytes() == B.tobytes()
    assert kept.take(2) is None


@pytest.mark.parametrize("small", [False, True])
def test_only_large_ones_are_left_out(monkeypatch: pytest.MonkeyPatch, small: bool) -> None:
    monkeypatch.setattr(weights, "MIN_RAW", 57 if small else 56)
    data = model(A, B)
    parts = split(data, len(data))
    assert parts is not None
    assert (parts[1].take(1) is None) == small
    assert data_of(data, "w1").tolist() == B.tolist()


def test_from_a_path_arrays_are_aligned_and_their_own(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(A, B))
    for name, want in (("w0", A), ("w1", B)):
        got = data_of(path, name)
        assert got.tolist() == want.tolist() and got.flags.aligned and not got.flags.writeable
    kept = data_of(path)
    path.write_bytes(b"")
    assert kept.tolist() == A.tolist()


def test_from_bytes_and_file_objects() -> None:
    data = model(A, B)
    for source in (data, bytearray(data), memoryview(data), io.BytesIO(data)):
        got = data_of(source)
        assert got.tolist() == A.tolist() and not got.flags.writeable


def test_same_result_as_protobuf(monkeypatch: pytest.MonkeyPatch) -> None:
    cases = load_model_tests(kind="simple") + load_model_tests(kind="pytorch-operator")
    cases += load_model_tests(kind="pytorch-converted")
    assert len(cases) > 100
    for case in cases:
        path = Path(case.model_dir) / "model.onnx"
        assert split(path.read_bytes(), path.stat().st_size) is not None
        got = str(load(path).graph)
        with monkeypatch.context() as m:
            m.setattr(weights, "MIN_MODEL", 2**40)
            assert str(load(path).graph) == got


def test_raw_data_given_twice_is_left_to_protobuf() -> None:
    data = numpy_helper.from_array(A, "w0").SerializeToString() + TensorProto(raw_data=b"\1" * 400).SerializeToString()
    graph = onnx.GraphProto().SerializeToString() + b"\x2a" + bytes([len(data) & 127 | 128, len(data) >> 7]) + data
    head = onnx.ModelProto(ir_version=8, opset_import=[helper.make_opsetid("", 18)]).SerializeToString()
    whole = head + b"\x3a" + bytes([len(graph) & 127 | 128, len(graph) >> 7]) + graph
    assert split(whole, len(whole)) is None
    assert data_of(whole).tobytes() == b"\1" * 400


def test_graph_given_twice_is_merged_as_protobuf_does() -> None:
    one, two = onnx.load_from_string(model(A)), onnx.load_from_string(model(B))
    two.graph.initializer[0].name = "w1"
    for field in ("input", "output", "name"):
        two.graph.ClearField(field)
    both = one.SerializeToString() + onnx.ModelProto(graph=two.graph).SerializeToString()
    assert split(both, len(both)) is not None
    assert data_of(both, "w0").tolist() == A.tolist() and data_of(both, "w1").tolist() == B.tolist()


def constants_model(*arrays: np.ndarray) -> bytes:
    """Constant nodes, in an order that does not run, one inside a branch."""
    nodes = [
        helper.make_node("Constant", [], [f"c{i}"], value=numpy_helper.from_array(a), name=f"n{i}")
        for i, a in enumerate(arrays)
    ]
    inner = helper.make_node("Constant", [], ["inner"], value=numpy_helper.from_array(A))
    branch = helper.make_graph([inner], "b", [], [helper.make_tensor_value_info("inner", TensorProto.FLOAT, [100])])
    nodes.append(helper.make_node("If", ["b"], ["y"], then_branch=branch, else_branch=branch))
    info = helper.make_tensor_value_info("b", TensorProto.BOOL, [])
    first = helper.make_node("Identity", ["c0"], ["z"])  # before what it uses
    graph = helper.make_graph(
        [first, *nodes], "g", [info], [helper.make_tensor_value_info("y", TensorProto.FLOAT, [100])]
    )
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return data


def test_tensors_of_nodes_are_left_out_too(tmp_path: Path) -> None:
    data = constants_model(A, B)
    parts = split(data, len(data))
    assert parts is not None
    stripped, kept = parts
    nodes = onnx.load_from_string(stripped).graph.node
    assert [n.attribute[0].t.HasField("raw_data") for n in nodes[1:3]] == [False, False]
    assert nodes[3].attribute[0].g.node[0].attribute[0].t.raw_data == A.tobytes()
    first, second = kept.take((1, 0)), kept.take((2, 0))
    assert first is not None and first.tobytes() == A.tobytes()
    assert second is not None and second.tobytes() == B.tobytes()
    (tmp_path / "m.onnx").write_bytes(data)
    for source in (data, tmp_path / "m.onnx"):
        found = {n.name: n.attributes["value"] for n in load(source).graph if n.op == "Constant"}
        assert found["n0"].tolist() == A.tolist() and found["n1"].tolist() == B.tolist()


def test_attributes_of_other_kinds_are_copied_as_they_are() -> None:
    node = helper.make_node("X", [], ["c"], numbers=list(range(5000)), words=["a", "bc"] * 500, domain="d")
    both = onnx.AttributeProto(name="odd", type=onnx.AttributeProto.INTS, ints=range(500), t=numpy_helper.from_array(A))
    node.attribute.append(both)
    graph = helper.make_graph([node], "g", [], [])
    proto = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])
    data = proto.SerializeToString()
    parts = split(data, len(data))
    assert parts is not None and onnx.load_from_string(parts[0]) == proto and parts[1].take((0, 2)) is None


def test_a_tensor_given_twice_in_an_attribute_is_left_to_protobuf() -> None:
    one = onnx.AttributeProto(name="value", type=onnx.AttributeProto.TENSOR, t=numpy_helper.from_array(A))
    node = onnx.NodeProto(op_type="Constant", output=["c"]).SerializeToString()
    twice = one.SerializeToString() + onnx.AttributeProto(t=numpy_helper.from_array(A)).SerializeToString()
    node += b"".join(weights._field(b"\x2a", twice))
    graph = b"".join(weights._field(b"\x0a", node))
    whole = b"".join(weights._field(b"\x3a", graph))
    assert split(whole, len(whole)) is None


def test_wrong_size_is_a_model_error() -> None:
    proto = onnx.load_from_string(model(A))
    proto.graph.initializer[0].dims[0] = 99
    with pytest.raises(ModelError, match="initializer 'w0': has 400 bytes"):
        load(proto.SerializeToString())


@pytest.mark.filterwarnings("ignore::ronn.errors.ModelWarning")
@pytest.mark.parametrize("data", [model(A, B), constants_model(A, B)], ids=["initializers", "attributes"])
def test_broken_files_give_the_same_verdict(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, data: bytes) -> None:
    rng = random.Random(0)

    def verdict(source: object) -> str:
        try:
            return str(load(source).graph)  # type: ignore[arg-type]
        except ModelError:
            return "refused"

    for i in range(1500):
        broken = bytearray(data)
        for _ in range(rng.choice([1, 1, 2, 5])):
            broken[rng.randrange(len(broken))] = rng.randrange(256)
        given = bytes(broken[: rng.randrange(len(broken))] if i % 4 == 0 else broken)
        got = verdict(given)
        with monkeypatch.context() as m:
            m.setattr(weights, "MIN_MODEL", 2**40)
            assert verdict(given) == got
        if i % 50 == 0:
            (tmp_path / "m.onnx").write_bytes(given)
            assert verdict(tmp_path / "m.onnx") == got


def test_file_that_shrinks_while_it_is_read(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(model(np.arange(100_000, dtype=np.float32)))
    file = path.open("rb")
    parts = split(file, path.stat().st_size)
    assert parts is not None
    path.write_bytes(b"short")
    with pytest.raises(OSError, match="shorter"):
        parts[1].take(0)
    parts[1].close()
