"""Older opset versions, double and half precision against onnxruntime: what the node cases (newest opset) leave out."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from ort_oracle import Draw, agree

pytestmark = pytest.mark.filterwarnings("ignore")
D = Draw(7)
f = D.f


def _half(*shape: int) -> np.ndarray:
    return f(*shape).astype(np.float16)


def _double(*shape: int) -> np.ndarray:
    return f(*shape).astype(np.float64)


def _a(*values: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.array(values, dtype)


NONE = np.zeros(0, np.float32)
WINDOW = {"kernel_shape": [3, 3], "pads": [1, 1, 1, 1], "strides": [2, 2]}
Case = tuple[str, int, list[Any], dict[str, Any], dict[str, Any]]
CASES: list[Case] = []


def case(op: str, versions: Any, inputs: list[Any], /, **attributes: Any) -> None:
    """Notes a case for each opset; ``_outputs``, ``_constants`` and ``_tol`` go to ``agree``."""
    options = {k[1:]: attributes.pop(k) for k in list(attributes) if k.startswith("_")}
    for version in versions if isinstance(versions, tuple) else (versions,):
        CASES.append((op, version, inputs, attributes, {"tol": 1e-4, **options}))


case("BatchNormalization", (7, 9, 13, 15), [f(2, 3, 4, 4), f(3), f(3), f(3), np.abs(f(3))])
case("BatchNormalization", 15, [f(4, 3, 5), f(3), f(3), f(3), np.abs(f(3))], training_mode=1, _outputs=3)
for _op in ("Softmax", "LogSoftmax", "Hardmax"):
    for _axis in (0, 1, 2):
        case(_op, (7, 11, 13), [f(2, 3, 4)], axis=_axis)
    case(_op, (7, 13), [f(2, 3, 4)])
case("Gemm", (7, 9, 11, 13), [f(3, 4), f(4, 5), f(5)], alpha=0.5, beta=2.0)
for _mode in ("nearest", "linear"):
    case("Upsample", 7, [f(1, 2, 3, 4)], mode=_mode, scales=[1.0, 1.0, 2.0, 3.0])
    case("Upsample", 9, [f(1, 2, 3, 4), _a(1, 1, 2, 1.5)], mode=_mode, _constants=(1,))
    for _scale in ((2, 1.5), (0.6, 0.6), (0.5, 0.3)):
        case("Resize", 10, [f(1, 2, 6, 7), _a(1, 1, *_scale)], mode=_mode, _constants=(1,))
for _mode in ("nearest", "linear", "cubic"):
    case("Resize", (11, 13), [f(1, 2, 6, 7), NONE, _a(1, 1, 0.6, 1.7)], mode=_mode, _constants=(1, 2))
    _sizes = [f(1, 2, 6, 7), NONE, NONE, _a(1, 2, 5, 9, dtype=np.int64)]
    case("Resize", (11, 13), _sizes, mode=_mode, _constants=(1, 2, 3))
case("AveragePool", (7, 10, 11, 19), [f(1, 2, 6, 7)], **WINDOW)
case("AveragePool", (7, 10, 11, 19), [f(1, 2, 6, 7)], count_include_pad=1, **WINDOW)
case("MaxPool", (7, 8, 10, 11, 12), [f(1, 2, 6, 7)], **WINDOW)
case("MaxPool", 8, [f(1, 2, 6, 7)], storage_order=1, _outputs=2, **WINDOW)
case("LpPool", (7, 11, 18), [f(1, 2, 6, 7)], p=3, **WINDOW)
case("GRU", (7, 14), [f(4, 2, 3), f(1, 12, 3), f(1, 12, 4), f(1, 24)], hidden_size=4, _outputs=2)
case("LSTM", (7, 14), [f(4, 2, 3), f(1, 16, 3), f(1, 16, 4), f(1, 32)], hidden_size=4, _outputs=3)
case("RNN", (7, 14), [f(4, 2, 3), f(1, 4, 3), f(1, 4, 4), f(1, 8)], hidden_size=4, _outputs=2)
case(
    "RoiAlign",
    (10, 16),
    [f(1, 2, 8, 8), _a([0, 0, 5, 5]), _a(0, dtype=np.int64)],
    output_height=2,
    output_width=3,
    sampling_ratio=2,
)
case("QuantizeLinear", (10, 13, 19, 21), [f(3, 4) * np.float32(9), np.float32(0.1), np.uint8(7)])
case("DequantizeLinear", (10, 13, 19, 21), [D.u8(3, 4), np.float32(0.1), np.uint8(7)])
case("DepthToSpace", (7, 11, 13), [f(1, 8, 2, 3)], blocksize=2)
case("DepthToSpace", 11, [f(1, 8, 2, 3)], blocksize=2, mode="CRD")
case("SpaceToDepth", (7, 13), [f(1, 2, 4, 6)], blocksize=2)
case("LpNormalization", (7, 22), [f(3, 4)], p=1, axis=0)
case("GlobalLpPool", 7, [f(1, 2, 3, 4)], p=2)
case("InstanceNormalization", (7, 22), [f(1, 2, 3, 4), f(2), f(2)])
case("MeanVarianceNormalization", 9, [f(2, 3, 4, 4)], axes=[1, 2, 3])
case("GridSample", 16, [f(1, 2, 5, 6), f(1, 3, 4, 2)], mode="bilinear")
case("GridSample", 16, [f(1, 2, 5, 6), f(1, 3, 4, 2)], mode="bicubic")
case("MaxUnpool", 11, [f(1, 1, 2, 2), _a([[[5, 7], [13, 15]]], dtype=np.int64)], kernel_shape=[2, 2], strides=[2, 2])
case("Einsum", 12, [f(3, 4), f(4)], equation="ij,j")
case("Einsum", 12, [f(2, 3, 3)], equation="...ii->...i")
case("MatMul", 13, [_double(3, 4), _double(4, 5)], _tol=1e-12)
case("MatMul", 13, [_half(3, 4), _half(4, 5)], _tol=5e-3)
case("Softmax", 13, [_half(3, 4)], _tol=1e-3)
case("LayerNormalization", 17, [_half(3, 8), _half(8), _half(8)], _tol=5e-3)
case("RMSNormalization", 23, [f(2, 3, 8), f(8)])
case("Attention", 23, [f(1, 2, 4, 8), f(1, 2, 6, 8), f(1, 2, 6, 8)])
case("Attention", 23, [f(2, 4, 16), f(2, 6, 8), f(2, 6, 8)], q_num_heads=4, kv_num_heads=2, is_causal=1)
_places = np.array([[0, 1, 2, 3], [3, 4, 5, 6]])
case("RotaryEmbedding", 23, [f(2, 3, 4, 8), f(50, 4), f(50, 4), _places])
case("NegativeLogLikelihoodLoss", 13, [f(3, 5), _a(1, 0, 4, dtype=np.int64), np.abs(f(5))])
case("SoftmaxCrossEntropyLoss", 13, [f(3, 5), _a(1, 0, 4, dtype=np.int64), np.abs(f(5))], _outputs=2)
for _op in ("HannWindow", "HammingWindow", "BlackmanWindow"):
    case(_op, 17, [np.int64(9)], periodic=0, _tol=1e-6)


@pytest.mark.parametrize(("op", "opset", "inputs", "attributes", "options"), CASES, ids=lambda v: str(v)[:24])
def test_version(op: str, opset: int, inputs: list[Any], attributes: dict[str, Any], options: dict[str, Any]) -> None:
    """The kernel of that opset version agrees with onnxruntime's."""
    agree(op, inputs, domain="", opset=opset, attributes=attributes, **options)
