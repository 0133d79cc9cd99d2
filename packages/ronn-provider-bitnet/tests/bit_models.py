"""Models of one product with weights of one or two bits, and NumPy's answer."""

from __future__ import annotations

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh


def weights(k: int, n: int, *, zeros: bool, group: int = 0, seed: int = 0, scale: float | None = None) -> np.ndarray:
    """f32[K, N] of -s, 0 (where ``zeros``) and s, an s for each column and group of rows (``scale``: one for all)."""
    r = np.random.default_rng(seed)
    signs = r.integers(-1, 2, (k, n)) if zeros else 2 * r.integers(0, 2, (k, n)) - 1
    width = group if group else k
    s = r.uniform(0.5, 2, (k // width, 1, n)) if scale is None else np.full((k // width, 1, n), scale)
    return (signs.reshape(-1, width, n) * s.astype(np.float32)).reshape(k, n).astype(np.float32)


def quantiser(form: str = "mul") -> tuple[list[object], list[object]]:
    """Nodes and initializers of BitNet's quantiser of activations, from x to q; ``form``: the first operation."""
    constants = {"top": np.float32(127), "least": np.float32(1e-5), "low": np.float32(-128), "high": np.float32(127)}
    inits = [nh.from_array(np.asarray(v), n) for n, v in constants.items()]
    inits.append(nh.from_array(np.array([-1]), "axis"))
    over, under, back = ("top", "limited", "Div") if form == "mul" else ("limited", "top", "Mul")
    nodes = [
        h.make_node("Abs", ["x"], ["absolute"]),
        h.make_node("ReduceMax", ["absolute", "axis"], ["peak"]),
        h.make_node("Clip", ["peak", "least"], ["limited"]),
        h.make_node("Div", [over, under], ["s"]),
        h.make_node("Mul" if form == "mul" else "Div", ["x", "s"], ["scaled"]),
        h.make_node("Round", ["scaled"], ["rounded"]),
        h.make_node("Clip", ["rounded", "low", "high"], ["clipped"]),
        h.make_node(back, ["clipped", "s"], ["q"]),
    ]
    return nodes, inits


def product(w: np.ndarray, *, quantised: bool, form: str = "mul", bias: np.ndarray | None = None) -> bytes:
    """y = q(x) @ w (+ bias), with x f32[M, K]."""
    nodes, inits = quantiser(form) if quantised else ([], [])
    inits.append(nh.from_array(w, "w"))
    source = "q" if quantised else "x"
    nodes.append(h.make_node("MatMul", [source, "w"], ["y" if bias is None else "m"]))
    if bias is not None:
        inits.append(nh.from_array(bias, "b"))
        nodes.append(h.make_node("Add", ["m", "b"], ["y"]))
    graph = h.make_graph(
        nodes, "product", [h.make_tensor_value_info("x", T.FLOAT, ["M", len(w)])],
        [h.make_tensor_value_info("y", T.FLOAT, ["M", w.shape[1]])], inits,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()
