"""keep-bytes: to the bit the same numbers, for int8 weights of products alone."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from ronn.ir.graph import Graph, Node, Value
from ronn.ir.types import DType, TensorType
from ronn.passes.keep_bytes import keep_bytes

K, N = 128, 160


def graph_of(
    scale: np.ndarray, *, w_type: Any = np.int8, second: str = "", first: bool = False, opset: int = 17, k: int = K
) -> Graph:
    """x @ (Cast(w) * scale); ``second``: another user of the weights, ``first``: they are on its left."""
    rng = np.random.default_rng(0)
    g = Graph("g")
    x = Value("x", TensorType(DType.FLOAT32, (N, 3) if first else (3, k)))
    g.inputs = [x]
    w = g.constant(rng.integers(0, 100, (k, N)).astype(w_type), "w")
    s = g.constant(scale, "s")

    def node(op: str, *inputs: Value, **attributes: Any) -> Value:
        made = Node(op, list(inputs), [Value(f"{op}{len(list(g))}")], attributes, version=opset)
        g.append(made)
        return made.output

    real = node("Mul", node("Cast", w, to=1), s)
    g.outputs = [node("MatMul", real, x) if first else node("MatMul", x, real)]
    if second:
        g.outputs.append(node(second, real))
    g.output_names = [v.name for v in g.outputs]
    return g


@pytest.mark.parametrize("shape", [(N,), (1, N), (), (1, 1), (1,)])
def test_scales_by_column(apply: Any, shape: tuple[int, ...]) -> None:
    scale = np.random.default_rng(1).uniform(0.001, 0.1, shape).astype(np.float32)
    done = apply(keep_bytes, graph_of(scale))
    assert done.ops == ["DequantizeLinear", "MatMul"]


@pytest.mark.parametrize(
    "given",
    [
        {"scale": np.ones((K, 1), np.float32)}, {"scale": np.ones(N, np.float32), "w_type": np.uint8},
        {"scale": np.ones(N, np.float32), "second": "Neg"}, {"scale": np.ones(N, np.float32), "first": True},
        {"scale": np.ones(N, np.float32), "k": 8},
    ],
)  # fmt: skip
def test_what_is_folded(apply: Any, given: dict[str, Any]) -> None:
    assert not apply(keep_bytes, graph_of(**given)).changed
