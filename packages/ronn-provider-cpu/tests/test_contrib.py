"""The com.microsoft operators against onnxruntime."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ort_oracle import Draw, agree

pytestmark = pytest.mark.filterwarnings("ignore")
D = Draw(0)


def _s(value: float) -> np.ndarray:
    return np.asarray(value, np.float32)


def _z(value: int) -> np.ndarray:
    return np.asarray(value, np.uint8)


MASK = np.array([[1, 1, 1, 0, 0], [1, 1, 1, 1, 1]], np.int32)
IDS = np.array([[1, 2, 3], [0, 1, 1]], np.int32)
KINDS = np.array([[0, 0, 1], [0, 1, 1]], np.int32)
WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}

FLOAT_CASES: list[tuple[str, list[Any], dict[str, Any]]] = [
    ("Gelu", [D.f(3, 4)], {}),
    ("BiasGelu", [D.f(3, 4), D.f(4)], {}),
    ("FastGelu", [D.f(3, 4), D.f(4)], {}),
    ("FastGelu", [D.f(3, 4)], {}),
    ("QuickGelu", [D.f(3, 4)], {"alpha": 1.702}),
    ("SkipLayerNormalization", [D.f(2, 3, 8), D.f(2, 3, 8), D.f(8), D.f(8), D.f(8)], {"epsilon": 1e-5}),
    ("SkipSimplifiedLayerNormalization", [D.f(2, 3, 8), D.f(2, 3, 8), D.f(8)], {}),
    ("FusedMatMul", [D.f(2, 4, 3), D.f(2, 5, 4)], {"transA": 1, "transB": 1, "alpha": 0.5}),
    ("FusedMatMul", [D.f(3, 2, 4), D.f(2, 4, 5)], {"transBatchA": 1}),
    ("FusedMatMul", [D.f(4, 2, 3), D.f(2, 4, 5)], {"transA": 1, "transBatchA": 1}),
    ("FusedMatMul", [D.f(2, 3, 4), D.f(4, 2, 5)], {"transBatchB": 1}),
    ("FusedGemm", [D.f(3, 4), D.f(4, 5), D.f(5)], {"activation": "LeakyRelu", "activation_alpha": 0.1}),
    ("FusedConv", [D.f(1, 3, 5, 5), D.f(4, 3, 3, 3), D.f(4)], {"activation": "Relu"}),
    ("FusedConv", [D.f(1, 3, 5, 5), D.f(4, 3, 3, 3), D.f(4)], {"activation": "Clip", "activation_params": [0.0, 6.0]}),
    ("Attention", [D.f(2, 5, 8), D.f(8, 24), D.f(24)], {"num_heads": 2}),
    ("Attention", [D.f(2, 5, 8), D.f(8, 24), D.f(24)], {"num_heads": 2, "unidirectional": 1}),
    ("Attention", [D.f(2, 5, 8), D.f(8, 24), D.f(24), MASK], {"num_heads": 2}),
    ("Attention", [D.f(2, 5, 8), D.f(8, 24), D.f(24), np.array([2, 5], np.int32)], {"num_heads": 2}),
    ("MultiHeadAttention", [D.f(2, 4, 8), D.f(2, 4, 8), D.f(2, 4, 8), D.f(24)], {"num_heads": 2}),
    ("MultiHeadAttention", [D.f(2, 4, 8), D.f(2, 5, 8), D.f(2, 5, 8), None, MASK], {"num_heads": 2}),
    ("MultiHeadAttention", [D.f(2, 4, 8), D.f(2, 5, 8), D.f(2, 5, 8), None, None, D.f(1, 2, 4, 5)], {"num_heads": 2}),
    ("RotaryEmbedding", [D.f(2, 4, 16), np.arange(8).reshape(2, 4) % 4, D.f(8, 4), D.f(8, 4)], {}),
    ("RotaryEmbedding", [D.f(2, 3, 4, 8), np.array([2]), D.f(8, 4), D.f(8, 4)], {"interleaved": 1}),
]


@pytest.mark.parametrize(("op", "inputs", "attributes"), FLOAT_CASES, ids=lambda v: v if isinstance(v, str) else "")
def test_float_operators(op: str, inputs: list[Any], attributes: dict[str, Any]) -> None:
    """Within float32 rounding of onnxruntime."""
    agree(op, inputs, attributes=attributes, tol=2e-5)


def test_embedding_and_past() -> None:
    """Operators with more than one output."""
    embedding = [IDS, KINDS, D.f(5, 8), D.f(6, 8), D.f(2, 8), D.f(8), D.f(8), np.ones((2, 3), np.int32)]
    agree("EmbedLayerNormalization", embedding, outputs=2)
    past = [D.f(2, 4, 8), D.f(8, 24), D.f(24), None, D.f(2, 2, 2, 3, 4)]
    agree("Attention", past, outputs=2, attributes={"num_heads": 2, "unidirectional": 1}, tol=2e-5)
    agree("SimplifiedLayerNormalization", [D.f(2, 3, 8), D.f(8)], domain="")


INTEGER_CASES: list[tuple[str, list[Any], dict[str, Any], float]] = [
    ("DynamicQuantizeMatMul", [D.f(3, 8), D.i8(8, 5), D.scale(5), D.i8(5)], {}, 1e-3),
    ("DynamicQuantizeMatMul", [D.f(2, 3, 8), D.u8(8, 5), D.scale(), _z(7), D.f(5)], {}, 1e-3),
    ("MatMulIntegerToFloat", [D.u8(3, 8), D.i8(8, 5), D.scale(), D.scale(5), _z(7), D.i8(5), D.f(5)], {}, 1e-3),
    ("QGemm", [D.u8(3, 8), D.scale(), _z(7), D.i8(5, 8), D.scale(), np.asarray(3, np.int8)], {"transB": 1}, 1e-4),
    ("QLinearAdd", [D.u8(3, 4), _s(0.02), _z(100), D.u8(3, 4), _s(0.03), _z(120), _s(0.04), _z(128)], {}, 1),
    ("QLinearMul", [D.u8(3, 4), _s(0.02), _z(100), D.u8(4), _s(0.03), _z(120), _s(0.04), _z(128)], {}, 1),
    ("QLinearSigmoid", [D.u8(3, 4), _s(0.02), _z(100), _s(1 / 255), _z(0)], {}, 1),
    ("QLinearLeakyRelu", [D.u8(3, 4), _s(0.02), _z(100), _s(0.02), _z(100)], {"alpha": 0.1}, 1),
    ("QLinearSoftmax", [D.u8(3, 4), _s(0.02), _z(100), _s(1 / 256), _z(0)], {"axis": -1, "opset": 13}, 1),
    ("QLinearConcat", [_s(0.03), _z(90), D.u8(2, 3), _s(0.02), _z(100), D.u8(2, 4), _s(0.04), _z(80)], {"axis": 1}, 1),
    ("QLinearAveragePool", [D.u8(1, 2, 6, 6), _s(0.02), _z(100), _s(0.02), _z(100)], WINDOW, 1),
    ("QLinearGlobalAveragePool", [D.u8(1, 2, 6, 6), _s(0.02), _z(100), _s(0.02), _z(100)], {}, 1),
    ("NhwcMaxPool", [D.u8(1, 6, 6, 2)], WINDOW, 0),
]


@pytest.mark.parametrize(
    ("op", "inputs", "attributes", "tol"), INTEGER_CASES, ids=lambda v: v if isinstance(v, str) else ""
)
def test_integer_operators(op: str, inputs: list[Any], attributes: dict[str, Any], tol: float) -> None:
    """Quantised results within one step, since roundings of ties may differ."""
    agree(op, inputs, attributes=attributes, tol=tol)


@pytest.mark.parametrize("zeros", [False, True])
def test_weights_of_four_bits(zeros: bool) -> None:
    """MatMulNBits with and without zero points."""
    inputs = [D.f(2, 3, 64), D.u8(5, 2, 16), D.scale(10), *([D.u8(5)] if zeros else [])]
    attributes = {"K": 64, "N": 5, "bits": 4, "block_size": 32}
    agree("MatMulNBits", inputs, attributes=attributes, constants=range(1, 4), tol=1e-4)


@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
@pytest.mark.parametrize("signed", [False, True])
@pytest.mark.parametrize("per_channel", [False, True])
def test_dynamic_quantize_lstm(direction: str, signed: bool, per_channel: bool) -> None:
    """Input and hidden states are quantised step by step exactly as onnxruntime does it."""
    n, hidden = (2 if direction == "bidirectional" else 1), 5
    weights = D.i8 if signed else D.u8
    shape = (n, 4 * hidden) if per_channel else (n,)
    zero = np.zeros(shape, np.int8) if signed else (np.full(shape, 120, np.uint8) if per_channel else D.u8(*shape))
    inputs = [
        D.f(6, 1, 4), weights(n, 4, 4 * hidden), weights(n, hidden, 4 * hidden), D.f(n, 8 * hidden), None,
        D.f(n, 1, hidden), D.f(n, 1, hidden), None, D.scale(*shape) * np.float32(0.1), zero,
        D.scale(*shape) * np.float32(0.1), zero,
    ]  # fmt: skip
    attributes = {"hidden_size": hidden, "direction": direction}
    constants = (1, 2, 3, 8, 9, 10, 11)
    agree("DynamicQuantizeLSTM", inputs, outputs=3, attributes=attributes, constants=constants, tol=5e-5)
