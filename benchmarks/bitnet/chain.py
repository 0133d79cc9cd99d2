"""Chains of products x @ W0.T @ W1.T ..., their exact answers, and the ONNX models of them.

The weights of a chain are ternary or binary. Those of one shape are one random matrix whose rows are rolled by another
number for each product: they differ, lie apart in memory, and one matrix is enough to say what the answer is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

Kept = Literal["floats", "bytes", "signs"]
LEAST = 1e-30  # the smallest value that MatMulNBits' rows are scaled by, where they are not zero
STEP = 97  # rows that each product's weights are rolled on by


@dataclass(frozen=True)
class Chain:
    """``layers`` products through vectors of ``widths``, one after another and round again.

    binary: weights are -s and s, else -s, 0 and s; s is about 1.2 / sqrt(K), a float16, so that values neither grow nor
    fade. ones: all weights are s, the largest sums that there are.
    """

    widths: tuple[int, ...]
    layers: int = 1
    binary: bool = False
    ones: bool = False

    def shape(self, i: int) -> tuple[int, int]:
        """(N, K) of product i."""
        return self.widths[(i + 1) % len(self.widths)], self.widths[i % len(self.widths)]

    @property
    def weights(self) -> int:
        return sum(math.prod(self.shape(i)) for i in range(self.layers))

    def matrix(self, i: int) -> np.ndarray:
        """int8[N, K] that the weights of product i are rolled from."""
        n, k = self.shape(i)
        return np.ones((n, k), np.int8) if self.ones else _matrix(n, k, self.binary)

    def roll(self, i: int) -> int:
        """Rows by which it is rolled, downwards."""
        return STEP * i % self.shape(i)[0]

    def scale(self, i: int) -> np.float32:
        return np.float32(np.float16((1.0 if self.binary else 1.2) / self.shape(i)[1] ** 0.5))

    def rolled(self, form: Callable[[np.ndarray, np.float32], np.ndarray]) -> Iterator[np.ndarray]:
        """The weights of each product as ``form(int8[N, K], scale)``, whose first axis is the rows' as well: made once
        for a shape, then rolled."""
        made: dict[tuple[int, int], np.ndarray] = {}
        for i in range(self.layers):
            shape = self.shape(i)
            if shape not in made:
                made[shape] = form(self.matrix(i), self.scale(i))
            yield np.roll(made[shape], self.roll(i), axis=0)

    def answer(self, x: np.ndarray, kept: Kept, dtype: type = np.float64) -> np.ndarray:
        """f64[M, N] of x f32[M, K]: activations as they are; rounded to signed bytes by each row's largest absolute
        value, in exact integers; or their signs, where 0 counts as 1. dtype: of the sums; those of bytes and signs are
        exact in float32 as well."""
        y = x.astype(np.float64)
        held: dict[tuple[int, int], np.ndarray] = {}
        for i in range(self.layers):
            shape = self.shape(i)
            if shape not in held:
                held[shape] = self.matrix(i).astype(dtype).T
            factor = np.float64(self.scale(i))
            if kept == "bytes":
                step = np.float32(127) / np.maximum(np.abs(y).max(-1, keepdims=True), LEAST).astype(np.float32)
                y, factor = np.rint(y.astype(np.float32) * step), factor / step
            elif kept == "signs":
                y = np.where(y < 0, -1.0, 1.0)
            y = np.roll(y.astype(dtype) @ held[shape], self.roll(i), axis=-1).astype(np.float64) * factor
        return y


@lru_cache(maxsize=8)
def _matrix(n: int, k: int, binary: bool) -> np.ndarray:
    r = np.random.default_rng(n + k)
    return 2 * r.integers(0, 2, (n, k), np.int8) - 1 if binary else r.integers(-1, 2, (n, k), np.int8)


def long_chain(widths: tuple[int, ...], bits: float, size: int, binary: bool = False) -> Chain:
    """A chain whose weights have so many bytes or more, in whole rounds through its widths."""
    one = Chain(widths, len(widths)).weights * bits / 8
    return Chain(widths, len(widths) * max(1, math.ceil(size / one)), binary)


def activations(m: int, k: int) -> np.ndarray:
    """f32[M, K]"""
    return np.random.default_rng(99).standard_normal((m, k)).astype(np.float32)


def float_model(chain: Chain) -> bytes:
    """MatMuls with float32 weights."""
    nodes, inits, last = [], [], "x"
    for i, w in enumerate(chain.rolled(lambda w, scale: w * scale)):
        inits.append(nh.from_array(np.ascontiguousarray(w.T), f"w{i}"))
        nodes.append(h.make_node("MatMul", [last, f"w{i}"], [f"y{i}"]))
        last = f"y{i}"
    return _model(chain, nodes, inits)


def nbits_model(chain: Chain, *, bits: int = 2, block: int = 128, accuracy: int = 4, sign: bool = False) -> bytes:
    """MatMulNBits, as ONNX Runtime has it: codes [N, K / block, block * bits / 8] about the zero point 2 ** (bits - 1).

    accuracy: 4 lets a runtime round activations to signed bytes, 0 does not. sign: ``Where(x >= 0, 1, -1)`` in front of
    each.
    """
    per_byte, middle = 8 // bits, 1 << (bits - 1)

    def packed(w: np.ndarray, scale: np.float32) -> np.ndarray:
        codes = (w + middle).astype(np.uint8).reshape(len(w), -1, per_byte)
        out = codes[..., 0]
        for j in range(1, per_byte):
            out = out | codes[..., j] << (bits * j)
        return out.reshape(len(w), -1, block // per_byte)

    nodes, inits, last = [], [], "x"
    if sign:
        inits += [nh.from_array(np.float32(v), name) for name, v in (("zero", 0), ("up", 1), ("down", -1))]
    for i, codes in enumerate(chain.rolled(packed)):
        n, k = chain.shape(i)
        if sign:
            nodes += [
                h.make_node("GreaterOrEqual", [last, "zero"], [f"up{i}"]),
                h.make_node("Where", [f"up{i}", "up", "down"], [f"s{i}"]),
            ]
            last = f"s{i}"
        inits += [nh.from_array(codes, f"w{i}"), nh.from_array(np.full(n * k // block, chain.scale(i)), f"f{i}")]
        nodes.append(h.make_node(
            "MatMulNBits", [last, f"w{i}", f"f{i}"], [f"y{i}"], domain="com.microsoft", K=k, N=n, bits=bits,
            block_size=block, accuracy_level=accuracy,
        ))  # fmt: skip
        last = f"y{i}"
    return _model(chain, nodes, inits)


def _model(chain: Chain, nodes: list[object], inits: list[object]) -> bytes:
    last = chain.layers - 1
    graph = h.make_graph(
        nodes, "chain", [h.make_tensor_value_info("x", T.FLOAT, ["M", chain.widths[0]])],
        [h.make_tensor_value_info(f"y{last}", T.FLOAT, ["M", chain.shape(last)[0]])], inits,
    )  # fmt: skip
    imports = [h.make_opsetid("", 21), h.make_opsetid("com.microsoft", 1)]
    made: bytes = h.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
    return made
