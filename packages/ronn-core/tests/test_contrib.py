"""The ``com.microsoft`` reference kernels against ONNX Runtime, and their shape rules against what they return."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnx
import pytest

from ronn.frontend.onnx import load
from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops import contrib
from ronn.ops.contrib.schemas import SCHEMAS
from ronn.ops.infer import infer_types
from ronn.providers.reference import node_function

ort = pytest.importorskip("onnxruntime")

Case = tuple[str, str, list[Any], int, dict[str, Any]]

r = np.random.default_rng(7)


def f(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return (r.standard_normal(shape) * 0.5).astype(dtype)


def u8(*shape: int) -> np.ndarray:
    return r.integers(0, 256, shape).astype(np.uint8)


def s(value: float) -> np.ndarray:
    return np.array(value, np.float32)


def z(value: int) -> np.ndarray:
    return np.array(value, np.uint8)


def dense() -> Iterator[Case]:
    yield "gelu", "Gelu", [f(3, 5)], 1, {}
    yield "fast_gelu", "FastGelu", [f(2, 3, 8), f(8)], 1, {}
    yield "fast_gelu_plain", "FastGelu", [f(2, 3, 8)], 1, {}
    yield "bias_gelu", "BiasGelu", [f(4, 6), f(6)], 1, {}
    yield "quick_gelu", "QuickGelu", [f(4, 6)], 1, {}
    yield "fused_matmul", "FusedMatMul", [f(4, 3), f(5, 4)], 1, {"transA": 1, "transB": 1, "alpha": 0.5}
    yield "fused_matmul_batch", "FusedMatMul", [f(2, 3, 4), f(2, 4, 5)], 1, {"alpha": 0.25}
    yield "fused_matmul_trans_batch", "FusedMatMul", [f(3, 2, 4), f(2, 4, 5)], 1, {"transBatchA": 1}
    yield "fused_gemm", "FusedGemm", [f(3, 4), f(4, 5), f(5)], 1, {"activation": "Relu"}
    yield (
        "fused_gemm_leaky", "FusedGemm", [f(3, 4), f(4, 5), f(5)], 1,
        {"activation": "LeakyRelu", "activation_alpha": 0.2, "alpha": 0.7},
    )  # fmt: skip
    yield "fused_conv", "FusedConv", [f(1, 3, 8, 8), f(4, 3, 3, 3), f(4)], 1, {"activation": "Relu", "pads": [1] * 4}
    yield (
        "fused_conv_add", "FusedConv", [f(1, 3, 8, 8), f(4, 3, 3, 3), f(4), f(1, 4, 6, 6)], 1, {"activation": "Relu"},
    )  # fmt: skip
    yield (
        "fused_conv_clip", "FusedConv", [f(1, 3, 8, 8), f(4, 3, 3, 3), f(4)], 1,
        {"activation": "Clip", "activation_params": [-0.1, 0.3]},
    )  # fmt: skip
    yield "skip_ln", "SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8), f(8)], 1, {"epsilon": 1e-5}
    yield "skip_ln_nobias", "SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], 1, {"epsilon": 1e-5}
    yield "skip_ln_sum", "SkipLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8), f(8)], 4, {"epsilon": 1e-5}
    yield "skip_rms", "SkipSimplifiedLayerNormalization", [f(2, 3, 8), f(2, 3, 8), f(8)], 1, {"epsilon": 1e-5}
    yield "rms", "SimplifiedLayerNormalization", [f(2, 3, 8), f(8)], 1, {"epsilon": 1e-5}
    for bits in (4, 8):
        for block in (16, 32):
            blocks, k, n = -(-40 // block), 40, 6
            yield (
                f"nbits_{bits}_{block}", "MatMulNBits",
                [f(3, k), u8(n, blocks, block * bits // 8), f(n, blocks), u8(n, (blocks * bits + 7) // 8)], 1,
                {"K": k, "N": n, "bits": bits, "block_size": block},
            )  # fmt: skip
    yield (
        "nbits_default_zero", "MatMulNBits", [f(3, 32), u8(6, 1, 16), f(6, 1)], 1,
        {"K": 32, "N": 6, "bits": 4, "block_size": 32},
    )  # fmt: skip


def attention() -> Iterator[Case]:
    ids = r.integers(0, 9, (2, 5)).astype(np.int32)
    segments = r.integers(0, 2, (2, 5)).astype(np.int32)
    mask = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
    yield (
        "embed", "EmbedLayerNormalization", [ids, segments, f(9, 8), f(7, 8), f(2, 8), f(8), f(8), mask], 2,
        {"epsilon": 1e-5},
    )  # fmt: skip
    yield "embed_plain", "EmbedLayerNormalization", [ids, None, f(9, 8), f(7, 8), None, f(8), f(8)], 2, {}
    for interleaved in (0, 1):
        at = np.array([[0, 1, 2], [3, 4, 5]], np.int64)
        caches = [f(8, 4), f(8, 4)]
        given = {"interleaved": interleaved}
        yield f"rotary3_{interleaved}", "RotaryEmbedding", [f(2, 3, 24), at, *caches], 1, given
        yield f"rotary4_{interleaved}", "RotaryEmbedding", [f(2, 3, 3, 8), at, *caches], 1, given
    yield "rotary_offset", "RotaryEmbedding", [f(2, 3, 24), np.array([2], np.int64), f(8, 4), f(8, 4)], 1, {}
    weights = [f(8, 24), f(24)]
    two = {"num_heads": 2}
    yield "attention", "Attention", [f(2, 5, 8), *weights], 1, two
    yield "attention_causal", "Attention", [f(2, 5, 8), *weights], 1, {**two, "unidirectional": 1}
    yield "attention_mask2", "Attention", [f(2, 5, 8), *weights, mask], 1, two
    yield "attention_mask1", "Attention", [f(2, 5, 8), *weights, np.array([3, 5], np.int32)], 1, two
    yield "attention_mask1b", "Attention", [f(2, 5, 8), *weights, np.array([4, 5, 1, 0], np.int32)], 1, two
    yield "attention_past", "Attention", [f(2, 5, 8), *weights, None, f(2, 2, 2, 3, 4)], 2, two
    yield "attention_bias", "Attention", [f(2, 5, 8), *weights, None, None, f(2, 2, 5, 5)], 1, {**two, "scale": 0.3}
    qkv = [f(2, 5, 8), f(2, 6, 8), f(2, 6, 8)]
    yield "mha", "MultiHeadAttention", qkv, 1, two
    yield "mha_bias", "MultiHeadAttention", [*qkv, f(24)], 1, two
    yield "mha_padding", "MultiHeadAttention", [*qkv, None, np.array([[1] * 4 + [0] * 2, [1] * 6], np.int32)], 1, two
    yield (
        "mha_past", "MultiHeadAttention",
        [f(2, 1, 8), f(2, 1, 8), f(2, 1, 8), None, None, None, f(2, 2, 3, 4), f(2, 2, 3, 4)], 3, two,
    )  # fmt: skip
    yield "mha_causal", "MultiHeadAttention", [f(2, 5, 8), f(2, 5, 8), f(2, 5, 8)], 1, {**two, "unidirectional": 1}
    grouped = {"num_heads": 4, "kv_num_heads": 2}
    total = np.array(5, np.int32)
    last = np.array([4, 4], np.int32)
    yield (
        "gqa_prompt", "GroupQueryAttention",
        [f(2, 5, 32), f(2, 5, 16), f(2, 5, 16), f(2, 2, 0, 8), f(2, 2, 0, 8), last, total], 3, grouped,
    )  # fmt: skip
    yield (
        "gqa_step", "GroupQueryAttention",
        [f(2, 1, 32), f(2, 1, 16), f(2, 1, 16), f(2, 2, 4, 8), f(2, 2, 4, 8), last, total], 3, grouped,
    )  # fmt: skip
    yield (
        "gqa_rotary", "GroupQueryAttention",
        [f(2, 1, 64), f(2, 1, 32), f(2, 1, 32), f(2, 2, 4, 16), f(2, 2, 4, 16), last, total, f(9, 8), f(9, 8)], 3,
        {**grouped, "do_rotary": 1},
    )  # fmt: skip
    yield (
        "gqa_window", "GroupQueryAttention",
        [f(2, 5, 64), None, None, f(2, 2, 0, 8), f(2, 2, 0, 8), last, total], 3,
        {**grouped, "local_window_size": 2, "softcap": 2.0},
    )  # fmt: skip
    yield (
        "qattention", "QAttention",
        [u8(2, 5, 8), u8(8, 24), f(24), s(0.01), s(0.01), None, z(120), z(130)], 1, two,
    )  # fmt: skip


def integer() -> Iterator[Case]:
    yield "dq_matmul", "DynamicQuantizeMatMul", [f(3, 4), u8(4, 5), s(0.02), z(120), f(5)], 1, {}
    yield "dq_matmul_columns", "DynamicQuantizeMatMul", [f(2, 3, 4), u8(4, 5), abs(f(5)), u8(5)], 1, {}
    yield "mm_to_float", "MatMulIntegerToFloat", [u8(3, 4), u8(4, 5), s(0.1), s(0.2), z(3), z(9), f(5)], 1, {}
    yield (
        "mm_to_float_columns", "MatMulIntegerToFloat",
        [u8(3, 4), r.integers(-128, 128, (4, 5)).astype(np.int8), s(0.1), abs(f(5)), z(3), np.zeros(5, np.int8)], 1, {},
    )  # fmt: skip
    yield (
        "qgemm", "QGemm",
        [u8(3, 4), s(0.02), z(3), u8(5, 4), s(0.02), z(9), np.arange(5, dtype=np.int32), s(0.5), z(100)], 1,
        {"transB": 1},
    )  # fmt: skip
    yield "qgemm_float", "QGemm", [u8(3, 4), s(0.02), z(3), u8(4, 5), s(0.02), z(9)], 1, {}
    for direction in ("forward", "reverse", "bidirectional"):
        d = 2 if direction == "bidirectional" else 1
        yield (
            f"dq_lstm_{direction}", "DynamicQuantizeLSTM",
            [f(6, 1, 4), u8(d, 4, 20), u8(d, 5, 20), f(d, 40), None, f(d, 1, 5), f(d, 1, 5), None,
             abs(f(d)) * 0.02, u8(d), abs(f(d)) * 0.02, u8(d)], 3,
            {"hidden_size": 5, "direction": direction},
        )  # fmt: skip


def quantised() -> Iterator[Case]:
    q = [s(0.02), z(128)]
    yield "qadd", "QLinearAdd", [u8(3, 4), *q, u8(4), s(0.03), z(100), s(0.04), z(120)], 1, {}
    yield "qmul", "QLinearMul", [u8(3, 4), *q, u8(4), s(0.03), z(100), s(0.04), z(120)], 1, {}
    yield "qsigmoid", "QLinearSigmoid", [u8(3, 40), *q, s(0.004), z(0)], 1, {}
    yield "qleaky", "QLinearLeakyRelu", [u8(3, 40), *q, s(0.02), z(100)], 1, {"alpha": 0.1}
    yield "qsoftmax", "QLinearSoftmax", [u8(3, 10), *q, s(0.004), z(0)], 1, {"axis": -1, "opset": 13}
    yield "qconcat", "QLinearConcat", [s(0.03), z(128), u8(2, 3), *q, u8(2, 4), s(0.05), z(9)], 1, {"axis": 1}
    yield "qwhere", "QLinearWhere", [u8(3, 4) > 128, u8(3, 4), *q, u8(4), s(0.03), z(9), s(0.05), z(128)], 1, {}
    pool = {"kernel_shape": [3, 3], "strides": [2, 2], "pads": [1] * 4}
    yield "qavg", "QLinearAveragePool", [u8(1, 3, 8, 8), *q, s(0.02), z(100)], 1, pool
    yield "qavg_nhwc", "QLinearAveragePool", [u8(1, 8, 8, 3), *q, s(0.02), z(100)], 1, {**pool, "channels_last": 1}
    yield "qgap", "QLinearGlobalAveragePool", [u8(1, 3, 8, 8), *q, s(0.02), z(100)], 1, {}
    yield "nhwc_max", "NhwcMaxPool", [u8(1, 8, 8, 3)], 1, {"kernel_shape": [2, 2], "strides": [2, 2]}
    yield "ms_quantize", "QuantizeLinear", [f(3, 4), s(0.02), z(120)], 1, {}
    yield "ms_dequantize", "DequantizeLinear", [u8(3, 4), s(0.02), z(120)], 1, {}


def various() -> Iterator[Case]:
    yield "trilu", "Trilu", [f(4, 5), np.array(1, np.int64)], 1, {"upper": 0}
    yield "inverse", "Inverse", [f(2, 3, 3) + 3 * np.eye(3, dtype=np.float32)], 1, {}
    yield "expand_dims", "ExpandDims", [f(2, 3), np.array(-1, np.int32)], 1, {}
    yield "cdist", "CDist", [f(4, 3), f(5, 3)], 1, {"metric": "euclidean"}
    yield "unique", "Unique", [np.array([2, 1, 1, 3, 4, 3], np.float32)], 3, {}
    yield "range", "Range", [np.array(1, np.float32), np.array(7, np.float32), np.array(2, np.float32)], 1, {}
    yield "pad", "Pad", [f(2, 3), np.array([0, 1, 1, 0], np.int64), s(1.5)], 1, {"mode": "constant"}
    text = np.array(["a b,cc", "dd"], dtype=object)
    given = {"mark": 1, "mincharnum": 1, "pad_value": "#"}
    yield "tokenizer", "Tokenizer", [text], 1, {**given, "separators": [" ", ","]}
    yield "tokenizer_chars", "Tokenizer", [text], 1, {**given, "separators": [""], "mark": 0}
    yield "tokenizer_regex", "Tokenizer", [text], 1, {**given, "tokenexp": "[a-z]+"}
    yield "murmur", "MurmurHash3", [np.array([3, 4], np.int32)], 1, {"seed": 3}
    yield "murmur_text", "MurmurHash3", [text], 1, {"positive": 0}
    yield "grid_sample", "GridSample", [f(1, 2, 4, 4), f(1, 3, 3, 2)], 1, {"mode": "bilinear"}


CASES: list[Case] = [*dense(), *attention(), *integer(), *quantised(), *various()]


# Quantised results may land on the other side of a rounding boundary: at most one step apart.
ONE_STEP = {"QLinearSigmoid", "QLinearSoftmax", "QLinearAdd", "QLinearMul", "QLinearConcat", "QLinearAveragePool",
            "QLinearGlobalAveragePool", "QLinearLeakyRelu", "QLinearWhere", "QGemm"}  # fmt: skip


def model_of(op: str, inputs: list[Any], outputs: int, attributes: dict[str, Any]) -> onnx.ModelProto:
    names = ["" if a is None else f"x{i}" for i, a in enumerate(inputs)]
    domain = "" if op in contrib.schemas.ONNX_DOMAIN else "com.microsoft"
    node = onnx.helper.make_node(op, names, [f"y{i}" for i in range(outputs)], domain=domain, **attributes)
    infos = [
        onnx.helper.make_tensor_value_info(n, onnx.helper.np_dtype_to_tensor_dtype(np.asarray(a).dtype), np.shape(a))
        for n, a in zip(names, inputs, strict=True)
        if a is not None
    ]
    graph = onnx.helper.make_graph([node], "case", infos, [onnx.ValueInfoProto(name=f"y{i}") for i in range(outputs)])
    imports = [onnx.helper.make_opsetid("", 17), onnx.helper.make_opsetid("com.microsoft", 1)]
    return onnx.helper.make_model(graph, opset_imports=imports, ir_version=9)


def reference(graph: Graph, inputs: list[Any]) -> list[Any]:
    (node,) = graph
    result = node_function(node)(*inputs)
    return [result] if len(node.outputs) == 1 else list(result)


@pytest.mark.parametrize("case", CASES, ids=[c[0] for c in CASES])
def test_equals_onnxruntime(case: Case) -> None:
    _, op, inputs, outputs, attributes = case
    proto = model_of(op, inputs, outputs, attributes)
    feeds = {f"x{i}": a for i, a in enumerate(inputs) if a is not None}
    expected = ort.InferenceSession(proto.SerializeToString(), providers=["CPUExecutionProvider"]).run(None, feeds)
    graph = load(proto).graph
    infer_types(graph)
    got = reference(graph, inputs)
    for value, mine, theirs in zip(graph.outputs, got, expected, strict=True):
        if theirs is None or (theirs.size == 0 and mine.size):
            continue  # ONNX Runtime leaves some optional outputs out on the CPU
        assert mine.dtype == theirs.dtype
        assert mine.shape == theirs.shape
        if theirs.dtype.kind == "f":
            np.testing.assert_allclose(mine, theirs, rtol=2e-4, atol=2e-5)
        elif op in ONE_STEP:
            assert np.abs(mine.astype(np.int64) - theirs.astype(np.int64)).max() <= 1
        else:
            np.testing.assert_array_equal(mine, theirs)
        assert value.dtype is not None and value.dtype.numpy == mine.dtype
        shape = value.tensor.shape
        assert shape is not None and len(shape) == mine.ndim
        assert all(not isinstance(d, int) or d == n for d, n in zip(shape, mine.shape, strict=True))


def test_every_schema_has_a_kernel_and_every_kernel_a_schema() -> None:
    kernels = {(k.domain, k.op) for k in contrib.kernels()}
    expected = {("com.microsoft", op) for op in SCHEMAS} | {("", "SimplifiedLayerNormalization")}
    assert kernels == expected


def test_every_operator_has_a_case() -> None:
    without = set(SCHEMAS) - {c[1] for c in CASES}
    # Kernels that ONNX Runtime has on GPUs only, and one that it removed: nothing here to compare with.
    assert without == {"BiasAdd", "BiasSplitGelu", "BiasSoftmax", "GroupNorm", "TransposeMatMul"}


@pytest.mark.parametrize(
    "op, attribute",
    [
        ("Attention", "do_rotary"),
        ("QAttention", "past_present_share_buffer"),
        ("GroupQueryAttention", "smooth_softmax"),
    ],
)
def test_what_is_not_implemented_is_not_claimed(op: str, attribute: str) -> None:
    from ronn.ops.contrib import kernels

    x = Value("x", TensorType(DType.FLOAT32, (1, 2, 4)))
    make = lambda attributes: Node(op, [x], [Value("y")], attributes, domain="com.microsoft", version=1)
    assert kernels().select(make({"num_heads": 2}))[0] is not None
    found, verdict = kernels().select(make({"num_heads": 2, attribute: 1}))
    assert found is None and attribute in str(verdict)
