"""scikit-learn's handwritten digits, and networks for them that are trained here: a real task of a second."""

from __future__ import annotations

from functools import cache
from itertools import pairwise

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from sklearn.datasets import load_digits

HIDDEN = (96, 64)
TRAIN = 1297


@cache
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """Training images f32[1297, 64] of 0 to 1 and their classes, then those for tests [500, 64]."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    x, y = (digits.data[order] / 16).astype(np.float32), digits.target[order]
    return x[:TRAIN], y[:TRAIN], x[TRAIN:], y[TRAIN:]


@cache
def trained(epochs: int = 40) -> list[np.ndarray]:
    """Weights and biases of a network 64-96-64-10 of ReLUs, trained by gradient descent with momentum."""
    x, y, _, _ = data()
    r = np.random.default_rng(1)
    sizes = (64, *HIDDEN, 10)
    p = []
    for k, n in pairwise(sizes):
        p += [r.normal(0, np.sqrt(2 / k), (k, n)), np.zeros(n)]
    speed = [np.zeros_like(a) for a in p]
    for _ in range(epochs):
        for rows in np.array_split(r.permutation(len(x)), len(x) // 32):
            values = [x[rows].astype(np.float64)]
            for i in range(0, len(p), 2):
                out = values[-1] @ p[i] + p[i + 1]
                values.append(np.maximum(out, 0) if i < len(p) - 2 else out)
            e = np.exp(values[-1] - values[-1].max(axis=1, keepdims=True))
            slope = e / e.sum(axis=1, keepdims=True)
            slope[np.arange(len(rows)), y[rows]] -= 1
            slope /= len(rows)
            for i in range(len(p) - 2, -1, -2):
                into = values[i // 2]
                steps = into.T @ slope, slope.sum(axis=0)
                slope = (slope @ p[i].T) * (into > 0)
                for j, step in zip((i, i + 1), steps, strict=True):
                    speed[j] = 0.9 * speed[j] - 0.05 * step
                    p[j] += speed[j]
    return [a.astype(np.float32) for a in p]


def model(*, norms: bool = False) -> bytes:
    """x f32[N, 64] -> scores f32[N, 10]. norms: with BatchNormalization behind each hidden layer, which changes
    nothing: it takes off what the layers of ``trained`` then do not."""
    p = trained()
    nodes, inits, current = [], [], "x"
    for layer in range(len(p) // 2):
        w, b = p[2 * layer], p[2 * layer + 1]
        last = layer == len(p) // 2 - 1
        out = "scores" if last else f"sum{layer}"
        inits += [nh.from_array(w, f"w{layer}"), nh.from_array(b, f"b{layer}")]
        if norms and not last:
            x, _, _, _ = data()
            before = _hidden(x, p, layer) @ w
            mean, variance = before.mean(axis=0), before.var(axis=0) + 1e-3
            figures = {"gain": np.sqrt(variance), "shift": b + mean, "mean": mean, "var": variance}
            inits += [nh.from_array(a.astype(np.float32), f"{n}{layer}") for n, a in figures.items()]
            nodes.append(h.make_node("MatMul", [current, f"w{layer}"], [f"m{layer}"], name=f"layer{layer}"))
            names = [f"m{layer}", *(f"{n}{layer}" for n in figures)]
            nodes.append(h.make_node("BatchNormalization", names, [out], epsilon=0.0))
        else:
            nodes.append(h.make_node("Gemm", [current, f"w{layer}", f"b{layer}"], [out], name=f"layer{layer}"))
        if not last:
            nodes.append(h.make_node("Relu", [out], [f"r{layer}"]))
            current = f"r{layer}"
    graph = h.make_graph(
        nodes, "digits", [h.make_tensor_value_info("x", T.FLOAT, ["N", 64])],
        [h.make_tensor_value_info("scores", T.FLOAT, ["N", 10])], inits,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()


def _hidden(x: np.ndarray, p: list[np.ndarray], layers: int) -> np.ndarray:
    for i in range(layers):
        x = np.maximum(x @ p[2 * i] + p[2 * i + 1], 0)
    return x
