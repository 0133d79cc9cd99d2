"""Models that ONNX Runtime's own tools quantised: ternary weights stay ternary, and answers are ONNX Runtime's."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn

ort = pytest.importorskip("onnxruntime")
K, LAYERS = 96, 2


class Data:
    """Three batches of inputs."""

    def __init__(self) -> None:
        r = np.random.default_rng(1)
        self.batches = iter([{"x": r.standard_normal((8, K)).astype(np.float32)} for _ in range(3)])

    def get_next(self):
        return next(self.batches, None)


@pytest.fixture
def floats(tmp_path):
    """A file with layers of ternary weights in float32, biases and Relu."""
    r, nodes, inits, last = np.random.default_rng(0), [], [], "x"
    for i in range(LAYERS):
        w = r.integers(-1, 2, (K, K)).astype(np.float32) * np.float32(0.03)
        inits += [nh.from_array(w, f"w{i}"), nh.from_array(r.standard_normal(K).astype(np.float32), f"b{i}")]
        nodes += [
            h.make_node("MatMul", [last, f"w{i}"], [f"m{i}"]), h.make_node("Add", [f"m{i}", f"b{i}"], [f"a{i}"]),
            h.make_node("Relu", [f"a{i}"], [f"r{i}"]),
        ]  # fmt: skip
        last = f"r{i}"
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", K])],
        [h.make_tensor_value_info(last, T.FLOAT, ["M", K])], inits,
    )  # fmt: skip
    path = tmp_path / "floats.onnx"
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9), path)
    return path


def agree(path):
    """Whether all products became integer ones of two bits, and the largest difference to ONNX Runtime's answers."""
    x = np.random.default_rng(2).standard_normal((5, K)).astype(np.float32)
    session = ronn.Session(path, providers=["bitnet"])
    ours = session.run(x)[0]
    theirs = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    found = [n.attributes["bits"] for n in session._base.assigned() if n.op == "BitIntegerToFloat"]
    return found == [2] * LAYERS, float(np.abs(ours - theirs).max() / np.abs(theirs).max())


@pytest.mark.parametrize("by_column", [False, True])
def test_dynamically(floats, tmp_path, by_column):
    from onnxruntime.quantization import QuantType, quantize_dynamic

    path = tmp_path / "dynamic.onnx"
    quantize_dynamic(floats, path, per_channel=by_column, weight_type=QuantType.QInt8)
    taken, off = agree(path)
    assert taken
    assert off < 1e-6


@pytest.mark.parametrize("form", ["QDQ", "QOperator"])
@pytest.mark.parametrize("by_column", [False, True])
def test_statically(floats, tmp_path, form, by_column):
    from onnxruntime.quantization import QuantFormat, QuantType, quantize_static

    path = tmp_path / "static.onnx"
    quantize_static(
        floats, path, Data(), quant_format=getattr(QuantFormat, form), per_channel=by_column,
        weight_type=QuantType.QInt8,
    )  # fmt: skip
    taken, off = agree(path)
    assert taken
    assert off < 0.02  # one step of a layer, where a sum lies in the middle of two
