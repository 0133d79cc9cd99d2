"""MatMulNBits and DequantizeLinear with two and four bits, against ONNX Runtime and against float products."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn

ort = pytest.importorskip("onnxruntime")
R = np.random.default_rng


def packed_bytes(codes, bits):
    """Codes u8[..., K] as bytes, the lowest bits first."""
    per = 8 // bits
    parts = codes.reshape(*codes.shape[:-1], codes.shape[-1] // per, per)
    return sum(parts[..., i] << (bits * i) for i in range(per)).astype(np.uint8)


def nbits(k, n, block, *, bits=2, zeros=None, level=0, bias=False, seed=0, order=None, values=None):
    """The model, its weights as f32[K, N], and the bias."""
    r = R(seed)
    blocks, per = -(-k // block), 8 // bits
    codes = r.integers(0, 1 << bits, (n, blocks * block)).astype(np.uint8)
    if values is not None:
        codes = r.choice(values, codes.shape).astype(np.uint8)
    scale = r.uniform(0.01, 0.1, (n, blocks)).astype(np.float32)
    constants = {"b": packed_bytes(codes.reshape(n, blocks, block), bits), "s": scale.reshape(-1)}
    zero = np.full((n, blocks), 1 << (bits - 1))
    if zeros == "packed":
        given = r.integers(0, 1 << bits, (n, -(-blocks // per) * per)).astype(np.uint8)
        zero, constants["z"] = given[:, :blocks].astype(np.float64), packed_bytes(given, bits).reshape(-1)
    elif zeros == "float":
        zero = r.uniform(0, 3, (n, blocks)).astype(np.float32)
        constants["z"] = zero.reshape(-1)
    added = r.standard_normal(n).astype(np.float32)
    if order is not None:
        constants["g"] = order.astype(np.int32)
    if bias:
        constants["c"] = added
    names = [name if name == "x" or name in constants else "" for name in ("x", "b", "s", "z", "g", "c")]
    while not names[-1]:
        names.pop()
    node = h.make_node(
        "MatMulNBits", names, ["y"], domain="com.microsoft", K=k, N=n, bits=bits, block_size=block, accuracy_level=level
    )
    graph = h.make_graph(
        [node], "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", k])],
        [h.make_tensor_value_info("y", T.FLOAT, ["M", n])], [nh.from_array(v, name) for name, v in constants.items()],
    )  # fmt: skip
    imports = [h.make_opsetid("", 20), h.make_opsetid("com.microsoft", 1)]
    model = h.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()
    w = ((codes.reshape(n, blocks, block) - zero[..., None]) * scale[..., None]).reshape(n, -1)[:, :k].T
    return model, w, added if bias else 0


def made(session):
    return [n.op for n in session._base.assigned()]


@pytest.mark.parametrize("bits", [2, 4])
@pytest.mark.parametrize("zeros", [None, "packed", "float"])
@pytest.mark.parametrize(("k", "block"), [(128, 32), (256, 64), (160, 32), (144, 16), (150, 32)])
def test_nbits(bits, k, block, zeros):
    model, w, bias = nbits(k, 50, block, bits=bits, zeros=zeros, bias=True, seed=k)
    session = ronn.Session(model, providers=["bitnet"])
    for m in (1, 4, 7):
        x = R(m).standard_normal((m, k)).astype(np.float32)
        expected = x @ w + bias
        assert np.abs(session.run(x)[0] - expected).max() < 2e-4 * np.abs(expected).max()
    assert made(session) == ["BitLinear"]


@pytest.mark.parametrize("bits", [2, 4])
def test_nbits_as_onnxruntime_has_it(bits):
    model, _, _ = nbits(256, 64, 32, bits=bits, seed=4)
    x = R(1).standard_normal((5, 256)).astype(np.float32)
    theirs = ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
    ours = ronn.Session(model, providers=["bitnet"]).run(x)[0]
    assert np.abs(ours - theirs).max() < 2e-4 * np.abs(theirs).max()


@pytest.mark.parametrize("bits", [2, 4])
def test_accuracy_level_4_allows_bytes(bits):
    model, w, _ = nbits(256, 64, 64, bits=bits, level=4)
    session = ronn.Session(model, providers=["bitnet"])
    x = R(1).standard_normal((5, 256)).astype(np.float32)
    expected = x @ w
    assert np.abs(session.run(x)[0] - expected).max() < 2e-2 * np.abs(expected).max()
    (node,) = session._base.assigned()
    assert (node.attributes["planes"], node.attributes["bits"]) == (1, bits)


@pytest.mark.parametrize(("bits", "values", "found"), [(4, [7, 8, 9], 2), (4, [7, 9], 1), (8, [96, 128, 160], 2)])
def test_nbits_of_few_values_take_fewer_bits(bits, values, found):
    model, w, _ = nbits(64, 40, 32, bits=bits, values=values)
    session = ronn.Session(model, providers=["bitnet"])
    x = R(1).standard_normal((3, 64)).astype(np.float32)
    assert np.abs(session.run(x)[0] - x @ w).max() < 2e-4 * np.abs(x @ w).max()
    assert [n.attributes["bits"] for n in session._base.assigned()] == [found]


def reasons(session):
    return " ".join(row.reason for row in session.placement().rows)


def test_nbits_that_stay_say_why():
    x = R(1).standard_normal((3, 128)).astype(np.float32)
    turned = (np.arange(128) // 32)[::-1]
    session = ronn.Session(nbits(128, 40, 32, order=turned, bits=4)[0], providers=["bitnet"])
    session.run(x)
    assert "BitLinear" not in made(session)
    assert "an order of groups" in reasons(session)


def test_an_order_of_groups_that_is_none():
    model, w, _ = nbits(128, 40, 32, bits=4, order=np.arange(128) // 32)
    session = ronn.Session(model, providers=["bitnet"])
    x = R(1).standard_normal((3, 128)).astype(np.float32)
    assert np.abs(session.run(x)[0] - x @ w).max() < 2e-4 * np.abs(x @ w).max()
    assert made(session) == ["BitLinear"]


@pytest.mark.parametrize("kind", ["int2", "uint2", "int4", "uint4", "int8"])
@pytest.mark.parametrize("how", ["tensor", "column", "block"])
@pytest.mark.parametrize("with_zero", [False, True])
@pytest.mark.parametrize("transposed", [False, True])
def test_integers_behind_dequantize_linear(kind, how, with_zero, transposed):
    k, n, block = 128, 48, 32
    r = R(3)
    dtype = np.dtype(getattr(ml_dtypes, kind)) if kind != "int8" else np.dtype(np.int8)
    low, high = {"uint2": (0, 3), "uint4": (0, 15), "int4": (-8, 7)}.get(kind, (-2, 1))
    q = r.integers(low, high + 1, (k, n))
    shape = {"tensor": (), "column": (n,), "block": (k // block, n)}[how]
    scale = np.asarray(r.uniform(0.5, 2, shape), np.float32)
    zero = r.integers(low, high + 1, shape) if with_zero else np.zeros(shape, np.int64)
    each = (lambda a: np.repeat(a, block, axis=0)) if how == "block" else (lambda a: a)
    w = (q - each(zero)) * each(scale)
    given, s, z, axis = q, scale, zero, {"tensor": 1, "column": 1, "block": 0}[how]
    if transposed:
        given, axis = q.T, 1 - axis
        s, z = (s.T, z.T) if how == "block" else (s, z)
    inits = [nh.from_array(np.ascontiguousarray(given).astype(dtype), "q"), nh.from_array(np.ascontiguousarray(s), "s")]
    names = ["q", "s"]
    if with_zero:
        inits.append(nh.from_array(np.ascontiguousarray(z).astype(dtype), "z"))
        names.append("z")
    nodes = [
        h.make_node("DequantizeLinear", names, ["w"], axis=axis, **({"block_size": block} if how == "block" else {})),
        h.make_node("Gemm", ["x", "w"], ["y"], transB=int(transposed)),
    ]
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", k])],
        [h.make_tensor_value_info("y", T.FLOAT, ["M", n])], inits,
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 25)], ir_version=13).SerializeToString()
    session = ronn.Session(model, providers=["bitnet"])
    x = r.standard_normal((6, k)).astype(np.float32)
    expected = x @ w
    assert np.abs(session.run(x)[0] - expected).max() < 2e-4 * np.abs(expected).max()
    assert made(session) == ["BitLinear"]


def test_weights_of_many_values_stay_where_they_are():
    q = R(0).integers(-128, 128, (64, 48)).astype(np.int8)
    graph = h.make_graph(
        [h.make_node("DequantizeLinear", ["q", "s"], ["w"]), h.make_node("MatMul", ["x", "w"], ["y"])], "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["M", 64])], [h.make_tensor_value_info("y", T.FLOAT, ["M", 48])],
        [nh.from_array(q, "q"), nh.from_array(np.float32(0.5).reshape(()), "s")],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()
    session = ronn.Session(model, providers=["bitnet"])
    session.run(np.ones((1, 64), np.float32))
    assert "BitLinear" not in made(session)
    assert "more than 16 values" in reasons(session)


def test_layers_of_one_shape_keep_their_own_scales():
    chain, expected = onnx.GraphProto(), np.random.default_rng(7).standard_normal((2, 64)).astype(np.float32)
    x = expected
    for i in range(3):
        model, w, _ = nbits(64, 64, 32, seed=i)
        graph = onnx.load_from_string(model).graph
        names = {"x": f"y{i - 1}" if i else "x", "y": f"y{i}", "b": f"b{i}", "s": f"s{i}"}
        node = chain.node.add()
        node.CopyFrom(graph.node[0])
        node.input[:], node.output[:] = [names[v] for v in node.input], [names["y"]]
        for given in graph.initializer:
            chain.initializer.add().CopyFrom(given)
            chain.initializer[-1].name = names[given.name]
        expected = expected @ w
    made_ = h.make_graph(
        chain.node, "g", [h.make_tensor_value_info("x", T.FLOAT, ["M", 64])],
        [h.make_tensor_value_info("y2", T.FLOAT, ["M", 64])], chain.initializer,
    )  # fmt: skip
    imports = [h.make_opsetid("", 20), h.make_opsetid("com.microsoft", 1)]
    session = ronn.Session(h.make_model(made_, opset_imports=imports, ir_version=9), providers=["bitnet"])
    assert np.abs(session.run(x)[0] - expected).max() < 1e-3 * np.abs(expected).max()


@pytest.mark.parametrize("provider", ["bitnet", "cpu", "reference"])
def test_three_bits_are_refused(provider):
    model, _, _ = nbits(32, 16, 32, bits=4)
    graph = onnx.load_from_string(model)
    next(a for a in graph.graph.node[0].attribute if a.name == "bits").i = 3
    with pytest.raises(ronn.RonnError, match="weights of 3 bits: 2, 4 and 8 are known"):
        ronn.Session(graph, providers=[provider]).run(np.ones((1, 32), np.float32))
