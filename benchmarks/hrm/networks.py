"""Small networks in NumPy: trained with Adam, in float32 or with ternary weights, and written as ONNX."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from itertools import pairwise

import numpy as np
from onnx import TensorProto, helper, numpy_helper

Layers = list[tuple[np.ndarray, np.ndarray]]
"""Weight float32 [in, out] and bias float32 [out] of each layer; ReLU lies between layers."""
Augment = Callable[[np.ndarray, np.random.Generator], np.ndarray]


def ternary(weight: np.ndarray) -> np.ndarray:
    """-s, 0 and s a column, s the mean of absolute values (BitNet b1.58, arXiv 2402.17764)."""
    scale = np.abs(weight).mean(axis=0, keepdims=True) + 1e-8
    return np.asarray(np.clip(np.round(weight / scale), -1, 1) * scale, np.float32)


def forward(layers: Layers, x: np.ndarray) -> list[np.ndarray]:
    """What enters each layer, and the scores at the end."""
    values = [x]
    for at, (weight, bias) in enumerate(layers):
        y = values[-1] @ weight + bias
        values.append(np.maximum(y, 0, out=y) if at + 1 < len(layers) else y)
    return values


def softmax(scores: np.ndarray) -> np.ndarray:
    odds = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(odds / odds.sum(axis=-1, keepdims=True))


def train(
    x: np.ndarray,
    targets: np.ndarray,
    hidden: Sequence[int],
    *,
    epochs: int,
    seed: int,
    rate: float = 1e-3,
    batch: int = 100,
    decay: float = 0.0,
    few_bits: bool = False,
    augment: Augment | None = None,
) -> Layers:
    """Layers for rows x [N, D] and class probabilities targets [N, C]: Adam on cross-entropy, the rate falling to zero.

    few_bits: the forward and backward passes see ternary weights, gradients go to the float32 ones behind them
    (straight-through estimator); what is returned is ternary.
    """
    rng = np.random.default_rng(seed)
    sizes = [x.shape[1], *hidden, targets.shape[1]]
    layers = [
        ((rng.standard_normal((a, b)) * (2 / a) ** 0.5).astype(np.float32), np.zeros(b, np.float32))
        for a, b in pairwise(sizes)
    ]
    moments = [[np.zeros_like(p) for p in layer] for layer in layers for _ in range(2)]
    steps, step = epochs * -(-len(x) // batch), 0
    for _ in range(epochs):
        order = rng.permutation(len(x))
        for start in range(0, len(x), batch):
            rows = order[start : start + batch]
            seen = [(ternary(w), b) for w, b in layers] if few_bits else layers
            values = forward(seen, x[rows] if augment is None else augment(x[rows], rng))
            below = (softmax(values[-1]) - targets[rows]) / len(rows)
            step += 1
            speed = np.float32(rate * (1 - step / steps) * (1 - 0.999**step) ** 0.5 / (1 - 0.9**step))
            for at in reversed(range(len(layers))):
                gradients = (values[at].T @ below + decay * layers[at][0], below.sum(axis=0))
                if at:
                    below = (below @ seen[at][0].T) * (values[at] > 0)
                for p, g, m, v in zip(layers[at], gradients, moments[2 * at], moments[2 * at + 1], strict=True):
                    m += np.float32(0.1) * (g - m)
                    v += np.float32(0.001) * (g * g - v)
                    p -= speed * m / (np.sqrt(v) + np.float32(1e-8))
    return [(ternary(w), b) for w, b in layers] if few_bits else layers


def as_onnx(layers: Layers, name: str, *, hidden: bool = False) -> bytes:
    """Input x float32 [rows, D]; output ``scores`` [rows, C], with ``hidden`` also what enters the last layer."""
    nodes, initializers = [], []
    value = "x"
    for at, (weight, bias) in enumerate(layers):
        last = at + 1 == len(layers)
        initializers += [numpy_helper.from_array(weight, f"w{at}"), numpy_helper.from_array(bias, f"b{at}")]
        out = "scores" if last else f"a{at}"
        nodes.append(helper.make_node("Gemm", [value, f"w{at}", f"b{at}"], [out], name=f"dense{at}"))
        if not last:
            value = "hidden" if at + 2 == len(layers) else f"h{at}"
            nodes.append(helper.make_node("Relu", [out], [value], name=f"relu{at}"))
    ends = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", width])
        for name, width in (
            ("x", layers[0][0].shape[0]), ("scores", layers[-1][0].shape[1]), ("hidden", layers[-1][0].shape[0])
        )
    ]  # fmt: skip
    graph = helper.make_graph(nodes, name, ends[:1], ends[1 : 3 if hidden else 2], initializers)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=9)
    return bytes(model.SerializeToString())
