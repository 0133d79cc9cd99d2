"""The reference and null providers: what onnx.reference lacks or errs in, and the conventions of results."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import helper

import ronn
from ronn.errors import ExecutionError, PlacementError
from ronn.frontend.onnx import load
from ronn.ops.infer import infer_types
from ronn.provider import No, Yes
from ronn.providers.null import NullProvider
from ronn.providers.reference import ReferenceProvider, node_function


def one_node(op: str, inputs: list[Any], outputs: int = 1, opset: int = 21, domain: str = "", **attributes: Any) -> Any:
    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    infos = [
        helper.make_tensor_value_info(n, helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.shape(a))
        for n, a in zip(names, inputs, strict=True)
        if a is not None
    ]
    node = helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, name="n", **attributes)
    graph = helper.make_graph([node], "g", infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    imports = [helper.make_opsetid(domain, opset)] + ([helper.make_opsetid("", 21)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=8)


def run(op: str, *inputs: Any, outputs: int = 1, **given: Any) -> Any:
    graph = load(one_node(op, list(inputs), outputs, **given)).graph
    infer_types(graph)
    (node,) = graph
    return node_function(node)(*inputs)


F = np.float32


def test_results_are_contiguous_and_own() -> None:
    x = np.arange(6, dtype=F).reshape(2, 3)
    for y in (run("Identity", x), run("Transpose", x), run("Reshape", x, np.array([3, 2]))):
        assert y.flags.c_contiguous and y.flags.writeable and not np.may_share_memory(x, y)


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, np.float16, np.float64])
def test_results_have_the_declared_dtype(dtype: Any) -> None:
    y = run("Add", np.array(1, dtype), np.array(2, dtype))
    assert isinstance(y, np.ndarray) and y.dtype == dtype and y.shape == () and float(y) == 3


def test_early_softmax_flattens() -> None:
    x = np.zeros((1, 2, 2), F)
    np.testing.assert_allclose(run("Softmax", x, opset=11), np.full((1, 2, 2), 0.25))
    np.testing.assert_allclose(run("Softmax", x, opset=13), np.full((1, 2, 2), 0.5))


def test_early_broadcast_goes_by_axis() -> None:
    a, b = np.zeros((2, 3, 2), F), np.array([1, 2], F)
    np.testing.assert_array_equal(run("Add", a, b, opset=6, axis=0, broadcast=1)[:, 0, 0], [1, 2])
    np.testing.assert_array_equal(run("Add", a, b, opset=6, broadcast=1)[0, 0], [1, 2])


def test_early_scatter() -> None:
    y = run("Scatter", np.zeros((3, 2), F), np.array([[1, -1]]), np.array([[5, 6]], F), opset=9, axis=0)
    np.testing.assert_array_equal(y, [[0, 0], [5, 0], [0, 6]])


def test_early_upsample() -> None:
    x = np.arange(4, dtype=F).reshape(1, 1, 2, 2)
    y = run("Upsample", x, opset=7, scales=[1.0, 1.0, 2.0, 2.0], mode="linear")
    np.testing.assert_allclose(y[0, 0, 0], [0, 0.5, 1, 1])
    with_input = run("Resize", x, np.array([1, 1, 2, 1], F), opset=10, mode="nearest")
    np.testing.assert_array_equal(with_input[0, 0, :, 0], [0, 0, 2, 2])


def test_early_batch_normalization() -> None:
    x = np.arange(4, dtype=F).reshape(1, 2, 2)
    ones = np.ones(2, F)
    y = run("BatchNormalization", x, ones, ones, ones, 3 * ones, opset=7, epsilon=1.0)
    np.testing.assert_allclose(y, (x - 1) / 2 + 1)


@pytest.mark.parametrize("kind", ["LSTM", "GRU", "RNN"])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_recurrent_equals_onnxruntime(kind: str, direction: str) -> None:
    ort = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(3)
    gates, d = {"LSTM": 4, "GRU": 3, "RNN": 1}[kind], 2 if direction == "bidirectional" else 1
    inputs = [
        rng.normal(size=s).astype(F) for s in ((5, 3, 4), (d, gates * 6, 4), (d, gates * 6, 6), (d, 2 * gates * 6))
    ]
    inputs += [np.array([5, 2, 3], np.int32), rng.normal(size=(d, 3, 6)).astype(F)]
    if kind == "LSTM":
        inputs += [rng.normal(size=(d, 3, 6)).astype(F), rng.normal(size=(d, 18)).astype(F)]
    names = {"LSTM": ["HardSigmoid", "Tanh", "Softsign"], "GRU": ["Sigmoid", "Affine"], "RNN": ["LeakyRelu"]}[kind]
    given: dict[str, Any] = {
        "hidden_size": 6, "direction": direction, "clip": 2.0, "activations": names * d,
        "activation_alpha": {"LSTM": [0.3], "GRU": [0.5], "RNN": [0.1]}[kind] * d,
        "activation_beta": {"LSTM": [0.4], "GRU": [0.1], "RNN": []}[kind] * d,
    }  # fmt: skip
    given = {k: v for k, v in given.items() if v != []}
    outputs = 3 if kind == "LSTM" else 2
    model = one_node(kind, inputs, outputs, opset=14, **given)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    expected = session.run(None, {f"x{i}": a for i, a in enumerate(inputs)})
    for got, want in zip(run(kind, *inputs, outputs=outputs, opset=14, **given), expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=2e-5, atol=2e-6)


def test_global_lp_pool_and_max_roi_pool() -> None:
    x = np.arange(16, dtype=F).reshape(1, 1, 4, 4)
    np.testing.assert_allclose(run("GlobalLpPool", x, opset=2, p=1), [[[[120]]]])
    y = run("MaxRoiPool", x, np.array([[0, 0, 0, 3, 3]], F), pooled_shape=[2, 2])
    np.testing.assert_array_equal(y, [[[[5, 7], [13, 15]]]])


def test_multinomial_draws_by_weight() -> None:
    y = run("Multinomial", np.array([[0.0, -80.0, -80.0], [-80.0, -80.0, 0.0]], F), sample_size=9, seed=1.0)
    assert y.dtype == np.int32 and (y[0] == 0).all() and (y[1] == 2).all()


def test_refuses_control_flow_and_the_unknown() -> None:
    provider = ReferenceProvider()
    device = provider.devices()[0]
    graph = load(one_node("Relu", [np.zeros(2, F)])).graph
    (relu,) = graph
    assert isinstance(provider.supports(relu, device), Yes)
    relu.op = "If"
    assert "control flow" in str(provider.supports(relu, device))
    relu.op = "NoSuchOperator"
    assert isinstance(provider.supports(relu, device), No)


def test_a_failing_node_is_named() -> None:
    model = one_node("Gather", [np.zeros((2, 3), F), np.array([0])])
    with ronn.Session(model, providers=["reference"]) as session, pytest.raises(ExecutionError, match="Gather"):
        session.run([np.zeros((2, 3), F), np.array([7])])


def test_null_makes_zeros_of_the_inferred_type() -> None:
    model = one_node("TopK", [np.ones((2, 5), F), np.array([3])], outputs=2)
    with ronn.Session(model, providers=["null"]) as session:
        values, indices = session.run([np.ones((2, 5), F), np.array([3])])
        assert session.placement().counts() == {"null": 1}
    assert values.dtype == F and indices.dtype == np.int64
    assert not values.any() and not indices.any() and values.shape[0] == 2


def test_null_is_used_only_where_it_is_named() -> None:
    assert "null" not in ronn.Session(one_node("Relu", [np.zeros(2, F)])).providers


def test_null_refuses_what_it_knows_no_type_of() -> None:
    unknown = one_node("Thing", [np.zeros(2, F)], domain="my.domain", opset=1)
    (node,) = load(unknown).graph
    assert isinstance(NullProvider().supports(node, NullProvider().devices()[0]), No)
    with pytest.raises(PlacementError):
        ronn.Session(unknown, providers=["null"])


@pytest.mark.parametrize(
    ("shape", "axis", "flat"),
    [((0,), 1, (0, 1)), ((0, 3), 1, (0, 3)), ((2, 0, 3), 1, (2, 0)), ((2, 3, 4), -1, (6, 4)), ((), 0, (1, 1))],
)
def test_flatten_of_any_shape(shape: tuple[int, ...], axis: int, flat: tuple[int, int]) -> None:
    assert run("Flatten", np.zeros(shape, np.float32), axis=axis).shape == flat


@pytest.mark.parametrize("group", [1, 2, 4])
@pytest.mark.parametrize(
    "attributes",
    [
        {},
        {"strides": [2, 3], "output_padding": [1, 2]},
        {"strides": [2, 1], "pads": [1, 0, 0, 2], "dilations": [2, 1]},
        {"strides": [2, 2], "auto_pad": "SAME_UPPER"},
        {"strides": [2, 2], "auto_pad": "SAME_LOWER"},
        {"strides": [3, 3], "output_shape": [14, 17]},
    ],
    ids=["plain", "output-padding", "pads", "same-upper", "same-lower", "output-shape"],
)
def test_conv_transpose_against_onnxruntime(group: int, attributes: dict[str, Any]) -> None:
    ort = pytest.importorskip("onnxruntime")
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 4, 5, 6)).astype(F)
    w = rng.standard_normal((4, 3, 3, 2)).astype(F)
    b = rng.standard_normal(3 * group).astype(F)
    model = one_node("ConvTranspose", [x, w, b], opset=11, group=group, **attributes)
    session = ort.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (expected,) = session.run(None, {"x0": x, "x1": w, "x2": b})
    np.testing.assert_allclose(
        run("ConvTranspose", x, w, b, opset=11, group=group, **attributes), expected, rtol=1e-4, atol=1e-5
    )


def test_global_max_pool_and_shape_at_their_edges() -> None:
    x = np.arange(24, dtype=F).reshape(2, 3, 4)
    np.testing.assert_array_equal(run("GlobalMaxPool", x), x.max(axis=2, keepdims=True))
    assert run("Shape", x, start=1, end=-1).tolist() == [3]
    assert run("Shape", x, end=-5).tolist() == [] and run("Shape", x, start=-9).tolist() == [2, 3, 4]


@pytest.mark.parametrize("opset", [10, 13])
def test_early_quantisation(opset: int) -> None:
    x = np.array([[-1.25, 0.5, 100], [0.75, 1.25, -100]], F)
    scale, zero = np.array(0.5, F), np.array(3, np.uint8)
    q = run("QuantizeLinear", x, scale, zero, opset=opset)
    np.testing.assert_array_equal(q, np.array([[1, 4, 203], [5, 5, 0]], np.uint8))
    np.testing.assert_array_equal(run("DequantizeLinear", q, scale, zero, opset=opset), (q.astype(F) - 3) / 2)
    if opset == 13:
        scales, zeros = np.array([0.5, 0.25, 1], F), np.array([0, 1, -1], np.int8)
        per_axis = run("QuantizeLinear", x, scales, zeros, opset=13, axis=1)
        np.testing.assert_array_equal(per_axis, np.array([[-2, 3, 99], [2, 6, -101]], np.int8))
