"""Models with signs as activations, in the forms that exporters write."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

CONSTANTS = {"zero": 0.0, "one": 1.0, "minus": -1.0, "two": 2.0, "small": 0.1, "half": 0.5}
N = h.make_node
FORMS = {
    "sign": [N("Sign", ["x"], ["s"])],
    "sign of sign": [N("Sign", ["x"], ["s0"]), N("Add", ["s0", "small"], ["s1"]), N("Sign", ["s1"], ["s"])],
    "sign of sign, down": [N("Sign", ["x"], ["s0"]), N("Sub", ["s0", "small"], ["s1"]), N("Sign", ["s1"], ["s"])],
    "where >=": [N("GreaterOrEqual", ["x", "zero"], ["c"]), N("Where", ["c", "one", "minus"], ["s"])],
    "where >": [N("Greater", ["x", "zero"], ["c"]), N("Where", ["c", "one", "minus"], ["s"])],
    "where <": [N("Less", ["x", "zero"], ["c"]), N("Where", ["c", "minus", "one"], ["s"])],
    "where <=": [N("LessOrEqual", ["x", "zero"], ["c"]), N("Where", ["c", "minus", "one"], ["s"])],
    "where 0 <=": [N("LessOrEqual", ["zero", "x"], ["c"]), N("Where", ["c", "one", "minus"], ["s"])],
    "not": [N("Less", ["x", "zero"], ["c0"]), N("Not", ["c0"], ["c"]), N("Where", ["c", "one", "minus"], ["s"])],
    "turned": [N("GreaterOrEqual", ["x", "zero"], ["c"]), N("Where", ["c", "minus", "one"], ["s"])],
    "half": [
        N("GreaterOrEqual", ["x", "zero"], ["c"]), N("Where", ["c", "one", "minus"], ["v"]),
        N("Mul", ["half", "v"], ["s"]),
    ],
    "cast": [
        N("GreaterOrEqual", ["x", "zero"], ["c"]), N("Cast", ["c"], ["f"], to=T.FLOAT), N("Mul", ["f", "two"], ["g"]),
        N("Sub", ["g", "one"], ["s"]),
    ],
    "difference": [
        N("Greater", ["x", "zero"], ["c"]), N("Less", ["x", "zero"], ["d"]), N("Cast", ["c"], ["f"], to=T.FLOAT),
        N("Cast", ["d"], ["g"], to=T.FLOAT), N("Sub", ["f", "g"], ["s"]),
    ],
    "straight through": [
        N("Sign", ["x"], ["s0"]), N("Clip", ["x", "minus", "one"], ["t"]), N("Sub", ["s0", "t"], ["d"]),
        N("Add", ["d", "t"], ["s"]),
    ],
}  # fmt: skip
"""Nodes from x to s."""
OTHERS = {
    "of another": [N("Greater", ["x", "half"], ["c"]), N("Where", ["c", "one", "minus"], ["s"])],
    "not opposite": [N("Greater", ["x", "zero"], ["c"]), N("Where", ["c", "one", "half"], ["s"])],
    "unbounded": [N("Sign", ["x"], ["s0"]), N("Sub", ["s0", "x"], ["d"]), N("Add", ["d", "x"], ["s"])],
    "moved": [N("Sign", ["x"], ["s0"]), N("Add", ["s0", "half"], ["s"])],
    "0 becomes a half": [
        N("Sign", ["x"], ["s0"]), N("Abs", ["s0"], ["a"]), N("Sub", ["one", "a"], ["b"]),
        N("Mul", ["half", "b"], ["c"]), N("Add", ["s0", "c"], ["s"]),
    ],
}
"""Nodes that make no signs."""
MEAN = [N("Abs", ["x"], ["a"]), N("ReduceMean", ["a", "axes"], ["m"]), N("Mul", ["s", "m"], ["scaled"])]
"""Behind a form: rows times their mean magnitude."""


def model(nodes: list, x: list, last: str, **constants: np.ndarray) -> bytes:
    """Of nodes from x to ``last``, with the constants above and more."""
    known = {**{k: np.float32(v) for k, v in CONSTANTS.items()}, "axes": np.array([-1]), **constants}
    used = {name for node in nodes for name in node.input}
    graph = h.make_graph(
        nodes, "signs", [h.make_tensor_value_info("x", T.FLOAT, x)], [h.make_tensor_value_info(last, T.FLOAT, None)],
        [nh.from_array(np.asarray(v), k) for k, v in known.items() if k in used],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()


def weights(*shape: int, seed: int = 0, scale: object = 1.0) -> np.ndarray:
    """Signs of ``shape``, times ``scale`` (of what is broadcast to it)."""
    signs = 2 * np.random.default_rng(seed).integers(0, 2, shape) - 1
    return (signs * np.asarray(scale)).astype(np.float32)


def product(w: np.ndarray, form: str = "sign", *, mean: bool = False, bias: np.ndarray | None = None) -> bytes:
    """y = s(x) @ w (+ bias) with x f32[M, K]."""
    nodes = [*FORMS[form], *(MEAN if mean else [])]
    nodes.append(N("MatMul", ["scaled" if mean else "s", "w"], ["y" if bias is None else "p"]))
    if bias is None:
        return model(nodes, ["M", len(w)], "y", w=w)
    return model([*nodes, N("Add", ["p", "b"], ["y"])], ["M", len(w)], "y", w=w, b=bias)


def convolution(
    w: np.ndarray, form: str = "sign", *, bias: np.ndarray | None = None, relu: bool = False, **how: object
) -> bytes:
    """y = Conv(s(x), w) (+ bias), x f32[N, C, ...]."""
    constants = {"w": w} if bias is None else {"w": w, "b": bias}
    nodes = [*FORMS[form], N("Conv", ["s", *constants], ["p" if relu else "y"], **how)]
    if relu:
        nodes.append(N("Relu", ["p"], ["y"]))
    return model(nodes, ["N", w.shape[1], *(f"d{i}" for i in range(w.ndim - 2))], "y", **constants)
