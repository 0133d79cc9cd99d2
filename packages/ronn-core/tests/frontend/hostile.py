"""Models that tests of the frontend share: with external data, and nested deeper than protobuf would write."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

W = np.arange(6, dtype=np.float32)


def external_model(location: str, offset: object = 0, length: object = W.nbytes, dims: tuple[int, ...] = (6,)) -> bytes:
    tensor = TensorProto(name="w", dims=dims, data_type=TensorProto.FLOAT, data_location=TensorProto.EXTERNAL)
    for key, value in (("location", location), ("offset", offset), ("length", length)):
        if value is not None:
            tensor.external_data.add(key=key, value=str(value))
    info = helper.make_tensor_value_info
    graph = helper.make_graph(
        [helper.make_node("Add", ["x", "w"], ["y"])],
        "g",
        [info("x", TensorProto.FLOAT, [6])],
        [info("y", TensorProto.FLOAT, [6])],
        [tensor],
    )
    data: bytes = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)]).SerializeToString()
    return data


def put(folder: Path, model: bytes, weights: bytes = W.tobytes(), name: str = "w.bin") -> Path:
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(weights)
    path = folder / "m.onnx"
    path.write_bytes(model)
    return path


def _info(name: str, shape: Any = (2,), dtype: int = TensorProto.FLOAT) -> onnx.ValueInfoProto:
    return helper.make_tensor_value_info(name, dtype, shape)


def _branch(nodes: list[onnx.NodeProto], output: str) -> onnx.GraphProto:
    return helper.make_graph(nodes, "branch", [], [_info(output)])


def nested(depth: int) -> bytes:
    """A chain of If nodes, written by hand: protobuf refuses to write what nests so deeply."""

    def field(number: int, data: bytes) -> bytes:
        size, length = len(data), b""
        while size > 127:
            length += bytes([size & 127 | 128])
            size >>= 7
        return bytes([number << 3 | 2]) + length + bytes([size]) + data

    graph = _branch([helper.make_node("Neg", ["x"], ["t"])], "t").SerializeToString()
    other: bytes = helper.make_attribute("else_branch", _branch([], "x")).SerializeToString()
    for _ in range(depth):
        then = field(1, b"then_branch") + bytes([20 << 3 & 127 | 128, 1, 5]) + field(6, graph)
        owner = field(1, b"c") + field(2, b"t") + field(4, b"If") + field(5, then) + field(5, other)
        graph = field(1, owner) + _output(b"t")
    inputs = b"".join(field(11, i.SerializeToString()) for i in (_info("c", [], TensorProto.BOOL), _info("x")))
    model = helper.make_model(helper.make_graph([], "", [], []), opset_imports=[helper.make_opsetid("", 18)])
    model.ClearField("graph")
    data: bytes = model.SerializeToString()
    return data + field(7, graph + inputs)


def _output(name: bytes) -> bytes:
    data = b"\x0a" + bytes([len(name)]) + name
    return bytes([12 << 3 | 2, len(data)]) + data
