"""Bounds that are options: each holds at every door, before anything is allocated, and says how to raise it."""

from __future__ import annotations

import io
import itertools
import re
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from hostile import external_model, nested, put
from onnx import TensorProto, helper, numpy_helper

import ronn
from ronn.errors import MemoryLimitError, ModelError, OptionError
from ronn.frontend import limits, weights
from ronn.frontend.tensors import TensorReader

F = TensorProto.FLOAT


def vi(name: str, shape: Any = (3,), dtype: int = F) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def model(nodes: list[onnx.NodeProto], *constants: onnx.TensorProto, functions: Any = (), shape: Any = (3,)) -> bytes:
    graph = helper.make_graph(nodes, "g", [vi("x", shape)], [vi("y", None)], list(constants))
    imports = [helper.make_opsetid("", 23), helper.make_opsetid("own", 1)]
    made = helper.make_model(graph, opset_imports=imports, functions=list(functions), ir_version=10)
    data: bytes = made.SerializeToString()
    return data


def chain(n: int) -> list[onnx.NodeProto]:
    names = ["x", *(f"v{i}" for i in range(n - 1)), "y"]
    return [helper.make_node("Neg", [a], [b]) for a, b in itertools.pairwise(names)]


def says(text: str, option: str, limit: int, found: int) -> None:
    assert f"{option} is {limit}" in text and str(found) in text and f'options={{"{option}": {found}}}' in text, text


ONE = model(chain(1))

# --- max_model_bytes


@pytest.mark.parametrize("form", ["path", "bytes", "file", "proto", "session"])
def test_model_bytes_at_every_door(form: str, tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(ONE)
    source: Any = {"bytes": ONE, "file": io.BytesIO(ONE), "proto": onnx.ModelProto.FromString(ONE)}.get(form, path)
    use = ronn.Session if form == "session" else ronn.load
    with pytest.raises(ModelError) as e:
        use(source, options={"max_model_bytes": 20})
    assert "max_model_bytes is 20" in str(e.value)
    says(str(e.value), "max_model_bytes", 20, 21 if form == "file" else len(ONE))
    if form != "file":
        use(source, options={"max_model_bytes": len(ONE)})


def test_a_file_object_is_not_read_further_than_the_limit() -> None:
    class Endless(io.RawIOBase):
        given = 0

        def read(self, size: int = -1) -> bytes:
            assert 0 <= size <= 1001, "asked for everything"
            self.given += size
            return b"\0" * size

    endless = Endless()
    with pytest.raises(ModelError, match="max_model_bytes is 1000"):
        ronn.load(endless, {"max_model_bytes": 1000})
    assert endless.given == 1001


def test_a_large_file_is_refused_unread(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "m.onnx"
    with path.open("wb") as file:
        file.truncate(1 << 40)  # sparse: reading it would take a terabyte

    def opened(*_: object) -> None:
        raise AssertionError("the file was opened")

    monkeypatch.setattr("ronn.frontend.source._open", opened)
    monkeypatch.setattr("ronn.frontend.source._read", opened)
    with pytest.raises(ModelError, match="has 1099511627776 bytes, and max_model_bytes is 1000000"):
        ronn.load(path, {"max_model_bytes": "1MB"})


def test_external_data_counts(tmp_path: Path) -> None:
    data = external_model("w.bin")
    path = put(tmp_path, data)
    total = len(data) + 24
    ronn.load(path, {"max_model_bytes": total})
    with pytest.raises(ModelError) as e:
        ronn.load(path, {"max_model_bytes": total - 1})
    says(str(e.value), "max_model_bytes", total - 1, total)
    assert "initializer 'w'" in str(e.value) and "'w.bin'" in str(e.value)


# --- max_tensor_bytes


def constant(dtype: str, count: int) -> onnx.TensorProto:
    return numpy_helper.from_array(np.zeros(count, dtype), "w")


@pytest.mark.parametrize("where", ["initializer", "attribute"])
@pytest.mark.parametrize("left_out", [False, True])
def test_tensor_bytes(where: str, left_out: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    if left_out:  # as the constants of large files are
        monkeypatch.setattr(weights, "MIN_MODEL", 0)
        monkeypatch.setattr(weights, "MIN_RAW", 1)
    tensor = constant("float32", 100)
    add = helper.make_node("Add", ["x", "w"], ["y"], name="adder")
    make = helper.make_node("Constant", [], ["w"], name="maker", value=tensor)
    data = model([make, add]) if where == "attribute" else model([add], tensor)
    ronn.load(data, {"max_tensor_bytes": 400})
    with pytest.raises(ModelError) as e:
        ronn.load(data, {"max_tensor_bytes": 399})
    says(str(e.value), "max_tensor_bytes", 399, 400)
    assert ("'w'" if where == "initializer" else "'maker'") in str(e.value)


def test_bytes_are_those_in_memory() -> None:
    """Elements of 4 bits take a byte each, a sparse tensor what it has when dense, strings their bytes."""
    bounds = limits.Limits(max_tensor_bytes=100)
    reader = TensorReader(lambda entries, nbytes: np.empty(nbytes, np.uint8), bounds)
    packed = TensorProto(name="w", dims=[101], data_type=TensorProto.INT4, raw_data=bytes(51))
    strings = TensorProto(name="w", dims=[2], data_type=TensorProto.STRING, string_data=[b"x" * 60, b"y" * 41])
    for tensor in (packed, strings):
        with pytest.raises(limits.LimitError, match="takes 101 bytes"):
            reader.read(tensor)
    values = helper.make_tensor("v", F, [1], [1.0])
    sparse = helper.make_sparse_tensor(values, helper.make_tensor("i", TensorProto.INT64, [1], [3]), [26])
    with pytest.raises(limits.LimitError, match="takes 104 bytes"):
        reader.read_sparse(sparse)


def test_nothing_is_read_of_a_tensor_that_is_too_large() -> None:
    def external(entries: dict[str, str], nbytes: int) -> np.ndarray:
        raise AssertionError("read")

    tensor = TensorProto(name="w", dims=[1 << 40], data_type=F, data_location=TensorProto.EXTERNAL)
    with pytest.raises(limits.LimitError, match="max_tensor_bytes is 5"):
        TensorReader(external, limits.Limits(max_tensor_bytes=5)).read(tensor)


def test_tensors_of_a_run_count_too() -> None:
    size = numpy_helper.from_array(np.array([1000, 3], np.int64), "s")
    data = model([helper.make_node("Expand", ["x", "s"], ["y"], name="grows")], size, shape=["N"])
    session = ronn.Session(data, options={"max_tensor_bytes": 12_000})
    assert session.run(np.ones(3, np.float32))[0].shape == (1000, 3)
    with pytest.raises(MemoryLimitError) as e:
        ronn.Session(data, options={"max_tensor_bytes": 11_999}).run(np.ones(3, np.float32))
    says(str(e.value), "max_tensor_bytes", 11_999, 12_000)
    assert "'grows'" in str(e.value)


# --- max_nodes


def test_nodes() -> None:
    ronn.load(model(chain(5)), {"max_nodes": 5})
    with pytest.raises(ModelError) as e:
        ronn.load(model(chain(6)), {"max_nodes": 5})
    says(str(e.value), "max_nodes", 5, 6)


def test_nodes_of_functions_count_at_every_call() -> None:
    body = [helper.make_node("Neg", ["a"], ["t"]), helper.make_node("Neg", ["t"], ["b"])]
    twice = helper.make_function("own", "Twice", ["a"], ["b"], body, [helper.make_opsetid("", 23)])
    names = ["x", "u", "v", "y"]
    calls = [helper.make_node("Twice", [a], [b], domain="own") for a, b in itertools.pairwise(names)]
    data = model(calls, functions=[twice])
    ronn.load(data, {"max_nodes": 6})
    with pytest.raises(ModelError, match="once its functions are expanded") as e:
        ronn.load(data, {"max_nodes": 5})
    assert "has 6 nodes" in str(e.value) and "max_nodes is 5" in str(e.value)


# --- max_depth


def test_depth_of_graphs() -> None:
    ronn.load(nested(20), {"max_depth": 20})
    with pytest.raises(ModelError, match="graphs are nested 11 deep or more, and max_depth is 10") as e:
        ronn.load(nested(20), {"max_depth": 10})
    assert re.search(r'options=\{"max_depth": 11\}', str(e.value))


def test_depth_of_types() -> None:
    kind = helper.make_tensor_type_proto(F, [1])
    for _ in range(5):
        kind = helper.make_sequence_type_proto(kind)
    made = onnx.ModelProto.FromString(ONE)
    made.graph.value_info.append(helper.make_value_info("deep", kind))
    ronn.load(made, {"max_depth": 5})
    with pytest.raises(ModelError, match="types are nested 5 deep or more, and max_depth is 4"):
        ronn.load(made, {"max_depth": 4})


def test_depth_of_calls() -> None:
    imports = [helper.make_opsetid("", 23), helper.make_opsetid("own", 1)]
    functions = []
    for i in range(6):
        op, domain = ("Neg", "") if i == 0 else (f"F{i - 1}", "own")
        body = [helper.make_node(op, ["a"], ["b"], domain=domain)]
        functions.append(helper.make_function("own", f"F{i}", ["a"], ["b"], body, imports))
    for order in (functions, functions[::-1]):
        data = model([helper.make_node("F5", ["x"], ["y"], domain="own")], functions=order)
        ronn.load(data, {"max_depth": 6})
        with pytest.raises(ModelError, match="functions call one another 6 deep or more, and max_depth is 5"):
            ronn.load(data, {"max_depth": 5})


# --- a model that is loaded


@pytest.mark.parametrize("tighter", [{"max_nodes": 10}, {"max_depth": 3}, {"max_model_bytes": 1 << 30}], ids=str)
def test_limits_of_loading_come_too_late_for_a_loaded_model(tighter: dict[str, int]) -> None:
    loaded = ronn.load(ONE)
    with pytest.raises(OptionError, match=r"bounds loading.*\n.*ronn.load\(path, options=") as e:
        ronn.Session(loaded, options=tighter)
    assert next(iter(tighter)) in str(e.value)
    again = ronn.load(ONE, tighter)
    assert ronn.Session(again, options=tighter).run(np.ones(3, np.float32))[0][0] == -1


def test_constants_of_a_loaded_model_are_held_against_the_limit() -> None:
    loaded = ronn.load(model([helper.make_node("Add", ["x", "w"], ["y"])], constant("float32", 3)))
    ronn.Session(loaded, options={"max_tensor_bytes": 12})
    with pytest.raises(ModelError, match="constant 'w' takes 12 bytes, and max_tensor_bytes is 11"):
        ronn.Session(loaded, options={"max_tensor_bytes": 11})


def test_pickles_keep_the_limits() -> None:
    import pickle

    loaded = pickle.loads(pickle.dumps(ronn.load(ONE, {"max_nodes": 7})))
    assert loaded.ir.limits.max_nodes == 7
    session = ronn.Session(ONE, options={"max_nodes": 7, "max_model_bytes": len(ONE)})
    assert pickle.loads(pickle.dumps(session)).options.max_nodes == 7
