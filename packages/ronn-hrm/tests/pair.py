"""A real pair for scikit-learn's handwritten digits, as ONNX: a linear model and a network that is better.

The linear one learns from 150 images, the network from 600 of its own; ``traffic`` are images that neither has seen.
"""

from __future__ import annotations

from functools import cache

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression
from sklearn.neural_network import MLPClassifier

FAST_ROWS, FULL_ROWS = 150, 600


@cache
def images() -> tuple[np.ndarray, np.ndarray]:
    """All images in a fixed random order, float32 [1797, 64] from 0 to 1, and their classes."""
    digits = load_digits()
    order = np.random.default_rng(0).permutation(len(digits.target))
    return (digits.data[order] / 16).astype(np.float32), digits.target[order]


def traffic() -> tuple[np.ndarray, np.ndarray]:
    """Images that had no part in any training [1047, 64], and their classes."""
    x, y = images()
    return x[FAST_ROWS + FULL_ROWS :], y[FAST_ROWS + FULL_ROWS :]


def rotated(x: np.ndarray, quarter_turns: int = 1) -> np.ndarray:
    """The images turned: what both models know little of."""
    return np.rot90(x.reshape(-1, 8, 8), quarter_turns, axes=(1, 2)).reshape(-1, 64).copy()


@cache
def fast_model() -> bytes:
    """x float32 [N, 64] -> scores float32 [N, 10]: linear."""
    x, y = images()
    made = LogisticRegression(C=1.0, max_iter=200).fit(x[:FAST_ROWS], y[:FAST_ROWS])
    return _model([(made.coef_.T, made.intercept_)], "fast")


@cache
def full_model(hidden: int = 96) -> bytes:
    """x float32 [N, 64] -> scores float32 [N, 10]: one hidden layer."""
    x, y = images()
    rows = slice(FAST_ROWS, FAST_ROWS + FULL_ROWS)
    made = MLPClassifier((hidden,), random_state=0, max_iter=60, learning_rate_init=0.005)
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it could learn on
        made.fit(x[rows], y[rows])
    return _model(list(zip(made.coefs_, made.intercepts_, strict=True)), "full")


def _model(layers: list[tuple[np.ndarray, np.ndarray]], name: str) -> bytes:
    nodes, constants, current = [], [], "x"
    for i, (weight, bias) in enumerate(layers):
        last = i == len(layers) - 1
        out = "scores" if last else f"sum{i}"
        constants += [nh.from_array(a.astype(np.float32), f"{n}{i}") for n, a in (("w", weight), ("b", bias))]
        nodes.append(h.make_node("Gemm", [current, f"w{i}", f"b{i}"], [out], f"layer{i}"))
        if not last:
            current = "hidden" if i == 0 else f"relu{i}"
            nodes.append(h.make_node("Relu", [out], [current]))
    graph = h.make_graph(
        nodes, name, [h.make_tensor_value_info("x", T.FLOAT, ["N", 64])],
        [h.make_tensor_value_info("scores", T.FLOAT, ["N", 10])], constants,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
