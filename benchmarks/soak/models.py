"""Small models that the soak runs: convolutions, attention, recurrent layers, free sizes, many kernels, a custom op."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import ronn

Feed = dict[str, np.ndarray]


class Builder:
    """A model under construction; `add` returns the name of a node's (first) output. Weights are drawn from `seed`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4)
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def model(self, x: list[int | str], result: str, *domains: tuple[str, int]) -> bytes:
        """The model whose float32 input `x` has this shape and whose output `y` is `result`; `domains` are used too."""
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        graph = helper.make_graph(
            self.nodes,
            "soak",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.constants,
        )
        imports = [helper.make_opsetid(*each) for each in (("", 20), *domains)]
        return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def convolutions(seed: int = 0) -> bytes:
    """Images (N, 3, 32, 32) -> classes (N, 10): a residual block, a depthwise convolution, a pool."""
    b = Builder(seed)
    x = b.add("Relu", b.add("Conv", "x", b.weight(32, 3, 3, 3), b.weight(32), pads=[1, 1, 1, 1], strides=[2, 2]))
    y = b.add("Relu", b.add("Conv", x, b.weight(32, 32, 3, 3), b.weight(32), pads=[1, 1, 1, 1]))
    x = b.add("Add", x, b.add("Conv", y, b.weight(32, 32, 1, 1), b.weight(32)))
    x = b.add("HardSwish", b.add("Conv", x, b.weight(32, 1, 3, 3), pads=[1, 1, 1, 1], group=32))
    x = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.add("Flatten", b.add("GlobalAveragePool", x))
    return b.model(["N", 3, 32, 32], b.add("Gemm", x, b.weight(10, 32), b.weight(10), transB=1))


def transformer(seed: int = 1, width: int = 64, heads: int = 4) -> bytes:
    """Sequences (N, T, 64) -> the same shape: two blocks of self-attention and a feed-forward layer."""
    b = Builder(seed)
    x = "x"
    split, joined = b.constant([0, 0, heads, width // heads], np.int64), b.constant([0, 0, width], np.int64)
    scale = b.constant(1 / np.sqrt(width / heads), np.float32)
    for _ in range(2):
        n = b.add("LayerNormalization", x, b.weight(width), b.weight(width))
        q, k, v = (
            b.add("Transpose", b.add("Reshape", b.add("MatMul", n, b.weight(width, width)), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = b.add("Softmax", b.add("Mul", b.add("MatMul", q, k), scale), axis=-1)
        mixed = b.add("Transpose", b.add("MatMul", scores, v), perm=[0, 2, 1, 3])
        x = b.add("Add", x, b.add("MatMul", b.add("Reshape", mixed, joined), b.weight(width, width)))
        n = b.add("LayerNormalization", x, b.weight(width), b.weight(width))
        wide = b.add("Gelu", b.add("Add", b.add("MatMul", n, b.weight(width, 4 * width)), b.weight(4 * width)))
        x = b.add("Add", x, b.add("MatMul", wide, b.weight(4 * width, width)))
    return b.model(["N", "T", width], x)


def recurrent(seed: int = 2, width: int = 40) -> bytes:
    """Sequences (T, N, 40) -> (T, 2, N, 40): a bidirectional LSTM and a GRU behind it."""
    b = Builder(seed)
    y = b.add(
        "LSTM", "x", b.weight(2, 4 * width, width), b.weight(2, 4 * width, width), b.weight(2, 8 * width), outputs=3,
        hidden_size=width, direction="bidirectional",
    )  # fmt: skip
    x = b.add("ReduceSum", y, b.constant([1], np.int64), keepdims=0)
    w, r, bias = b.weight(2, 3 * width, width), b.weight(2, 3 * width, width), b.weight(2, 6 * width)
    gates = b.add("GRU", x, w, r, bias, outputs=2, hidden_size=width, direction="bidirectional")
    return b.model(["T", "N", width], b.add("Tanh", gates))


def dynamic(seed: int = 3, width: int = 48) -> bytes:
    """Rows (N, M, 48) -> (N, 96 + M): reductions, a concatenation of free sizes, a gather by a computed index."""
    b = Builder(seed)
    h = b.add("Sigmoid", b.add("Add", b.add("MatMul", "x", b.weight(width, width)), b.weight(width)))
    one = b.constant([1], np.int64)
    mean, high = b.add("ReduceMean", h, one, keepdims=0), b.add("ReduceMax", h, one, keepdims=0)
    norm = b.add("ReduceL2", h, b.constant([2], np.int64), keepdims=0)
    order = b.add("ArgMax", norm, axis=-1, keepdims=1)
    best = b.add("GatherElements", norm, order, axis=1)
    return b.model(["N", "M", width], b.add("Concat", mean, high, b.add("Div", norm, best), axis=-1))


MODELS: dict[str, tuple[Callable[[], bytes], list[tuple[int, ...]]]] = {
    "convolutions": (convolutions, [(1, 3, 32, 32), (2, 3, 32, 32), (5, 3, 32, 32)]),
    "transformer": (transformer, [(1, 7, 64), (2, 33, 64), (1, 64, 64)]),
    "recurrent": (recurrent, [(3, 1, 40), (12, 2, 40), (31, 1, 40)]),
    "dynamic": (dynamic, [(1, 1, 48), (3, 17, 48), (16, 65, 48), (5, 130, 48)]),
}


def deep(seed: int = 4, width: int = 128, layers: int = 120) -> bytes:
    """Rows (N, 128) -> the same shape: so many layers that a run can be stopped between kernels."""
    b = Builder(seed)
    x = "x"
    for _ in range(layers):
        n = b.add("LayerNormalization", x, b.weight(width), b.weight(width))
        x = b.add("Add", x, b.add("Tanh", b.add("MatMul", n, b.weight(width, width))))
    return b.model(["N", width], x)


POISON = 1e6
"""What the custom operator does not take."""


@ronn.op("ronn.soak", "Careful", 1, shape="T[...] -> T[...]")
def careful(x: Any) -> Any:
    """Twice its input; raises where it meets ``POISON``."""
    if x.size and float(x.max()) >= POISON:
        raise ArithmeticError("poison")
    return x + x


def custom(seed: int = 5, width: int = 32) -> bytes:
    """Rows (N, 32) -> the same shape: a layer, the custom operator, another layer."""
    b = Builder(seed)
    h = b.add("MatMul", b.add("Careful", b.add("Identity", "x"), domain="ronn.soak"), b.weight(width, width))
    return b.model(["N", width], b.add("Relu", h), ("ronn.soak", 1))


def values(shape: tuple[int, ...], seed: int) -> Feed:
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def outputs_of(session: ronn.Session, feed: Feed) -> list[np.ndarray]:
    return [np.array(each) for each in session.run(feed).values()]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Equal bit by bit: NaNs of other payloads and zeros of the other sign differ."""
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and (list(x.flat) == list(y.flat) if x.dtype == object
                                                       else x.tobytes() == y.tobytes())
        for x, y in zip(a, b, strict=True)
    )  # fmt: skip
