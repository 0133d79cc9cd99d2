"""Operands that do not fit one another: an error that names the node, and no native kernel that reads behind them.

The shapes are not told by the model, so that nothing but the run's own arrays says what they are. Fuzzing found some.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

import ronn
from ronn.errors import InternalError, RonnError

MS = "com.microsoft"
KINDS = {"float32": T.FLOAT, "int64": T.INT64, "int32": T.INT32, "uint8": T.UINT8, "bool": T.BOOL}


def f(*shape: int) -> np.ndarray:
    return np.ones(shape, np.float32)


def i(*shape: int, dtype: Any = np.int64) -> np.ndarray:
    return np.zeros(shape, dtype)


def run(op: str, arrays: list[np.ndarray | None], outputs: int = 1, domain: str = "", **attributes: Any) -> Any:
    given = {f"x{n}": a for n, a in enumerate(arrays) if a is not None}
    names = [f"x{n}" if a is not None else "" for n, a in enumerate(arrays)]
    node = h.make_node(op, names, [f"y{n}" for n in range(outputs)], name="it", domain=domain, **attributes)
    inputs = [h.make_tensor_value_info(n, KINDS[a.dtype.name], None) for n, a in given.items()]
    graph = h.make_graph([node], "g", inputs, [onnx.ValueInfoProto(name=o) for o in node.output])
    imports = [h.make_opsetid("", 24), h.make_opsetid(MS, 1), h.make_opsetid("ai.onnx.ml", 5)]
    return ronn.Session(h.make_model(graph, opset_imports=imports, ir_version=11), providers=["cpu"]).run(given)


ATTENTION = {"q_num_heads": 2, "kv_num_heads": 2}
LINEAR = {"q_num_heads": 2, "kv_num_heads": 2, "update_rule": "linear"}
FITTING: dict[str, tuple[str, list[np.ndarray | None], int, dict[str, Any]]] = {
    "multi-head": (
        "MultiHeadAttention", [f(1, 3, 8), f(1, 5, 8), f(1, 5, 8), f(24)], 1, {"domain": MS, "num_heads": 2},
    ),
    "packed": ("MultiHeadAttention", [f(1, 3, 2, 3, 4)], 1, {"domain": MS, "num_heads": 2}),
    "past": (
        "MultiHeadAttention", [f(1, 3, 8), f(1, 5, 8), f(1, 5, 8), None, None, None, f(1, 2, 4, 4), f(1, 2, 4, 4)], 3,
        {"domain": MS, "num_heads": 2},
    ),
    "attention": ("Attention", [f(1, 3, 8), f(1, 5, 8), f(1, 5, 8), f(3, 5)], 1, ATTENTION),
    "attention of rank 4": ("Attention", [f(1, 2, 3, 4), f(1, 2, 5, 4), f(1, 2, 5, 4)], 1, {}),
    "attention with past": (
        "Attention", [f(1, 3, 8), f(1, 5, 8), f(1, 5, 8), None, f(1, 2, 4, 4), f(1, 2, 4, 4)], 3, ATTENTION,
    ),
    "linear attention": ("LinearAttention", [f(1, 3, 8), f(1, 3, 8), f(1, 3, 8), f(1, 2, 4, 4)], 2, LINEAR),
    "rotary": ("RotaryEmbedding", [f(1, 2, 3, 4), f(9, 2), f(9, 2), i(1, 3)], 1, {}),
    "rotary of com.microsoft": ("RotaryEmbedding", [f(1, 3, 8), i(1, 3), f(9, 2), f(9, 2)], 1, {"domain": MS}),
    "tensor scatter": ("TensorScatter", [f(2, 1, 5, 3), f(2, 1, 2, 3), i(2)], 1, {}),
    "deform": ("DeformConv", [f(1, 1, 4, 4), f(1, 1, 2, 2), f(1, 8, 3, 3)], 1, {"kernel_shape": [2, 2]}),
    "col2im": ("Col2Im", [f(1, 4, 4), np.array([4, 4]), np.array([2, 2])], 1, {"strides": [2, 2]}),
    "fused conv": ("FusedConv", [f(1, 2, 4, 4), f(3, 2, 3, 3), f(3)], 1, {"domain": MS, "activation": "Relu"}),
    "fused product": ("FusedMatMul", [f(3, 4), f(4, 5)], 1, {"domain": MS}),
    "bytes": (
        "MatMulIntegerToFloat", [i(3, 4, dtype=np.uint8), i(4, 5, dtype=np.uint8), f(1), f(5), None, None, f(5)], 1,
        {"domain": MS},
    ),
    "regression": ("LinearRegressor", [f(2, 3)], 1, {"domain": "ai.onnx.ml", "coefficients": [1.0, 2.0, 3.0]}),
}  # fmt: skip

MISFITS: list[tuple[str, int, np.ndarray]] = [
    ("multi-head", 0, f(1, 1, 17, 1, 1)), ("multi-head", 0, f(2, 3, 8)), ("multi-head", 0, f(1, 3, 7)),
    ("multi-head", 1, f(1, 9, 8)), ("multi-head", 1, f(1, 5, 6)), ("multi-head", 2, f(1, 4, 8)),
    ("multi-head", 2, f(2, 5, 8)), ("multi-head", 3, f(8)),
    ("packed", 0, f(1, 3, 4, 3, 4)), ("packed", 0, f(1, 3, 2, 1, 4)), ("packed", 0, f(1, 3, 2, 2, 4)),
    ("past", 6, f(1, 2, 4, 9)), ("past", 6, f(1, 4, 4)), ("past", 7, f(1, 1, 4, 4)), ("past", 7, f(1, 2, 5, 4)),
    ("attention", 1, f(1, 9, 8)), ("attention", 1, f(3, 5, 8)), ("attention", 2, f(1, 4, 8)), ("attention", 3, f(2, 5)),
    ("attention", 0, f(1, 3, 9)), ("attention", 1, f(1, 5, 16)), ("attention of rank 4", 1, f(1, 2, 5, 6)),
    ("attention of rank 4", 2, f(1, 2, 4, 4)), ("attention of rank 4", 1, f(1, 3, 5, 4)),
    ("attention with past", 4, f(1, 2, 4, 8)), ("attention with past", 4, f(4, 4)),
    ("attention with past", 5, f(1, 2, 9, 4)),
    ("linear attention", 1, f(1, 2, 8)), ("linear attention", 2, f(2, 3, 8)), ("linear attention", 3, f(1, 2, 4, 2)),
    ("rotary", 1, f(9, 4)), ("rotary", 2, f(9, 1)), ("rotary", 3, i(1, 7)), ("rotary", 1, f(9)),
    ("rotary of com.microsoft", 2, f(9, 5)), ("rotary of com.microsoft", 3, f(4, 2)),
    ("rotary of com.microsoft", 1, i(4, 4)), ("rotary of com.microsoft", 0, f(1, 3)),
    ("tensor scatter", 1, f(2, 1, 9, 3)), ("tensor scatter", 1, f(2, 1, 2, 5)), ("tensor scatter", 2, i(1)),
    ("tensor scatter", 1, f(2, 2)), ("deform", 2, f(1, 4, 3, 3)), ("deform", 1, f(1, 2, 2, 2)),
    ("col2im", 0, f(1, 4, 9)), ("col2im", 1, np.array([9, 9])),
    ("fused conv", 2, f(2)), ("fused conv", 1, f(3, 5, 3, 3)), ("fused product", 1, f(5, 5)),
    ("bytes", 1, i(9, 5, dtype=np.uint8)), ("bytes", 3, f(4)), ("bytes", 6, f(4)), ("regression", 0, f(2, 4)),
    ("regression", 0, f()),
]  # fmt: skip


@pytest.mark.parametrize("name", FITTING)
def test_what_fits_runs(name: str) -> None:
    op, arrays, outputs, attributes = FITTING[name]
    for y in run(op, arrays, outputs, **attributes):
        assert np.isfinite(y).all()


@pytest.mark.parametrize(
    ("name", "place", "other"), MISFITS, ids=lambda p: f"{list(p.shape)}" if hasattr(p, "shape") else None
)
def test_what_does_not_fit_is_an_error(name: str, place: int, other: np.ndarray) -> None:
    op, arrays, outputs, attributes = FITTING[name]
    arrays = [other if n == place else a for n, a in enumerate(arrays)]
    with pytest.raises(RonnError) as e:
        run(op, arrays, outputs, **attributes)
    assert not isinstance(e.value, InternalError) and "'it'" in str(e.value)
