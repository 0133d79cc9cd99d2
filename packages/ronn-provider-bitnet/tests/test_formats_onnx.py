"""Packed tensors as ONNX: what other runtimes compute of them, what the provider makes of them, what they weigh."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from packed_files import I2_S, gguf_file, hf_file, hf_packed, i2s_packed, signs

import ronn
from ronn.errors import ModelError, OptionError, PlacementError
from ronn_provider_bitnet.formats import Ternary, put_weights, read, to_onnx

Array = np.ndarray
WORDS = 1.6e-5  # of the largest element of a row: by how much activations of 16 bits are off
FLOATS = 1e-6  # of the sum of absolute products: what float32 loses


def layer(n: int, k: int, *, groups: str = "one", bias: bool = False, activations: int = 0, seed: int = 0) -> Ternary:
    r = np.random.default_rng(seed)
    shape = {"one": (1, 1), "row": (n, 1), "group": (n, -(-k // 256))}[groups]
    scale = r.uniform(0.1, 1, shape).astype(np.float16).astype(np.float32)
    codes = (signs(n, k, seed) + 1).astype(np.uint8)
    added = r.standard_normal(n).astype(np.float32) if bias else None
    return Ternary("m.q", codes, scale, 256 if groups == "group" else 0, added, activations)


def rows(m: int, k: int, seed: int = 1) -> Array:
    return np.random.default_rng(seed).standard_normal((m, k)).astype(np.float32)


def oracle(t: Ternary, x: Array) -> Array:
    """The layer in float64, activations rounded as BitNet does."""
    w = t.dense().astype(np.float64)
    given = x.astype(np.float64)
    if t.activations:
        s = np.float32(127) / np.maximum(np.abs(x).max(axis=-1, keepdims=True), np.float32(1e-5))
        given = np.clip(np.rint(x * s), -128, 127).astype(np.float64) / s
    return given @ w.T + (0 if t.bias is None else t.bias)


def close(y: Array, t: Ternary, x: Array) -> None:
    """Within what float32 loses, and 16-bit activations where the layer does not round them itself."""
    sizes = np.abs(t.dense().astype(np.float64))
    bound = FLOATS * (np.abs(x) @ sizes.T) + 1e-6
    if not t.activations:
        bound = bound + WORDS * np.abs(x).max(axis=-1, keepdims=True) * sizes.sum(axis=1)
    assert (np.abs(y - oracle(t, x)) <= bound).all()


def in_onnxruntime(model: onnx.ModelProto, x: Array) -> Array:
    """Without its fusions, one of which rounds activations to eight bits."""
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"x": x})[0]


@pytest.mark.parametrize("groups", ["one", "row", "group"])
@pytest.mark.parametrize("activations", [0, 8])
@pytest.mark.parametrize("bias", [False, True])
def test_one_layer_everywhere(groups: str, activations: int, bias: bool) -> None:
    t = layer(33, 512, groups=groups, bias=bias, activations=activations)
    x = rows(3, 512)
    model = to_onnx(t)
    close(in_onnxruntime(model, x), t, x)
    for form in ("int2", "trits"):
        session = ronn.Session(to_onnx(t, form=form), providers=["bitnet"])
        assert [row.op for row in session.placement().rows] == ["ronn.bitnet::BitLinear"]
        close(session.run(x)["y"], t, x)


def test_trits_without_passes() -> None:
    t, x = layer(8, 40), rows(2, 40)
    for optimization in ("none", "basic"):
        session = ronn.Session(to_onnx(t, form="trits"), ["bitnet"], {"optimization": optimization})
        close(session.run(x)["y"], t, x)


def test_trits_elsewhere() -> None:
    with pytest.raises(PlacementError, match=r"no kernel for ronn.bitnet::Trits"):
        ronn.Session(to_onnx(layer(8, 40), form="trits"), providers=["cpu"])


@pytest.mark.parametrize("groups", ["one", "row", "group"])
def test_smallest_file(tmp_path: Path, groups: str) -> None:
    t = layer(2048, 2048, groups=groups)
    floats = t.dense().nbytes
    file = tmp_path / "m.onnx"
    onnx.save(to_onnx(t, form="trits"), file)
    assert floats / file.stat().st_size >= 19
    onnx.save(to_onnx(t), file)
    assert floats / file.stat().st_size >= 14


def test_checkpoints_end_to_end(tmp_path: Path) -> None:
    w, x = signs(32, 256), rows(3, 256)
    tensors = {"m.q.weight": hf_packed(w), "m.q.weight_scale": np.array([0.5], np.float32)}
    tq = gguf.quants.quantize(w.astype(np.float32) / 2, gguf.GGMLQuantizationType.TQ1_0)
    for path, scale in (
        (hf_file(tmp_path, tensors, config={"quant_method": "bitnet", "linear_class": "bitlinear"}), 2.0),
        (gguf_file(tmp_path / "a.gguf", {"m.q.weight": (i2s_packed(w, 0.25), w.shape, I2_S)}), 0.25),
        (gguf_file(tmp_path / "b.gguf", {"m.q.weight": (tq, w.shape, 34)}), 0.5),
    ):
        t = read(path)["m.q"]
        np.testing.assert_array_equal(t.dense(), w * np.float32(scale))
        close(ronn.Session(to_onnx(t), providers=["bitnet"]).run(x)["y"], t, x)


def test_layers_side_by_side() -> None:
    a = layer(16, 64, activations=8)
    b = Ternary("m.k", (signs(8, 32) + 1).astype(np.uint8), np.ones((1, 1), np.float32))
    given = {"m.q.x": rows(2, 64), "m.k.x": rows(2, 32)}
    y = ronn.Session(to_onnx({"m.q": a, "m.k": b}), providers=["bitnet"]).run(given)
    close(y["m.q.y"], a, given["m.q.x"])
    close(y["m.k.y"], b, given["m.k.x"])
    with pytest.raises(ModelError, match="no ternary"):
        to_onnx([])
    with pytest.raises(OptionError, match="no form"):
        to_onnx(a, form="int3")  # type: ignore[arg-type]


def float_graph(kind: str, n: int, k: int, opset: int = 25) -> onnx.ModelProto:
    """y = x @ w.T with random float weights, as exporters write a module ``m.q``."""
    w = np.random.default_rng(3).standard_normal((n, k)).astype(np.float32)
    nodes, named = [], {"weight": "m.q.weight", "node": "onnx::MatMul_7", "gemm": "m.q.weight", "turned": "m.q.weight"}
    data = w if kind in ("gemm", "turned") else w.T
    weight = named[kind]
    if kind == "turned":
        nodes.append(helper.make_node("Transpose", [weight], ["t"], "t", perm=[1, 0]))
        weight = "t"
    if kind == "gemm":
        nodes.append(helper.make_node("Gemm", ["x", weight], ["y"], "g", transB=1))
    else:
        name = "/m/q/MatMul" if kind == "node" else "n"
        nodes.append(helper.make_node("MatMul", ["x", weight], ["y"], name))
    graph = helper.make_graph(
        nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["rows", k])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["rows", n])],
        [numpy_helper.from_array(np.ascontiguousarray(data), named[kind])],
    )  # fmt: skip
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)


@pytest.mark.parametrize("kind", ["weight", "node", "gemm", "turned"])
@pytest.mark.parametrize("groups", ["one", "row", "group"])
@pytest.mark.parametrize("form", ["int2", "trits"])
@pytest.mark.parametrize("opset", [17, 25])
def test_weights_of_a_graph(kind: str, groups: str, form: str, opset: int) -> None:
    t = layer(48, 512, groups=groups, activations=8)
    x = rows(3, 512)
    given = float_graph(kind, 48, 512, opset)
    before = given.SerializeToString()
    made = put_weights(given, {"m.q": t}, form=form)  # type: ignore[arg-type]
    assert given.SerializeToString() == before
    assert len(made.SerializeToString()) < len(before) / 7
    session = ronn.Session(made, providers=["bitnet"])
    assert [row.op for row in session.placement().rows] == ["ronn.bitnet::BitLinear"]
    close(session.run(x)["y"], t, x)
    if form == "int2":
        onnx.checker.check_model(made)
        close(in_onnxruntime(made, x), t, x)


def test_a_quantiser_that_is_there_stays_the_only_one() -> None:
    t, x = layer(48, 512, activations=8), rows(3, 512)
    once = to_onnx(t)
    weights = numpy_helper.from_array(t.dense().T.copy(), "m.q.weight")
    once.graph.initializer.append(weights)
    next(n for n in once.graph.node if n.op_type == "MatMul").input[1] = "m.q.weight"
    made = put_weights(once, {"m.q": t})
    assert [n.op_type for n in made.graph.node].count("Round") == 1
    close(ronn.Session(made, providers=["bitnet"]).run(x)["y"], t, x)


def test_weights_that_do_not_fit() -> None:
    t = layer(48, 512)
    with pytest.raises(ModelError, match=r"\(512, 40\).*48 x 512"):
        put_weights(float_graph("weight", 40, 512), {"m.q": t})
    with pytest.raises(ModelError, match=r"1 of 2 layers: m\.k"):
        put_weights(float_graph("weight", 48, 512), {"m.q": t, "m.k": t})
    with pytest.raises(ModelError, match="any of 1"):
        put_weights(float_graph("weight", 48, 512), {"m.k": t}, partial=True)
    with pytest.raises(ModelError, match=r"no layer 'm\.z'"):
        put_weights(float_graph("weight", 48, 512), {"m.q": t}, names={"n": "m.z"})
    made = put_weights(float_graph("weight", 48, 512), {"m.k": t}, names={"n": "m.k"})
    assert "DequantizeLinear" in [n.op_type for n in made.graph.node]
