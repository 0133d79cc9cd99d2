"""A decoder of the Llama kind as ONNX: opset 24, with a key/value cache that is written in place.

The caches have a fixed size, ``room``. ``TensorScatter`` writes the keys and values of new tokens to their rows, and
``Attention`` is told how many rows count: whatever is in the cache, one step has the same sizes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, helper, numpy_helper

Array = np.ndarray


@dataclass(frozen=True)
class Shape:
    """Sizes of a model. ``key_heads``: heads of keys and of values, which several heads of queries share."""

    layers: int
    width: int
    heads: int
    key_heads: int
    head_width: int
    inner: int
    vocabulary: int
    longest: int
    """Tokens that the angles of positions are made for."""
    rotary_base: float = 10000.0
    epsilon: float = 1e-5

    @property
    def cache_width(self) -> int:
        """Elements that one token has in a cache: ``[1, room, cache_width]``."""
        return self.key_heads * self.head_width

    @property
    def caches(self) -> list[str]:
        """Names of the caches, which the inputs are called with ``past.`` in front and the outputs with ``present.``"""
        return [f"{layer}.{part}" for layer in range(self.layers) for part in ("key", "value")]


@dataclass(frozen=True)
class Codes:
    """Weights of few bits: ``scale * (codes - zero)``; codes u8[N, K], scale f32[N, blocks], zero f32[N, blocks], or
    None for the middle of the range."""

    codes: Array
    scale: Array
    zero: Array | None = None
    bits: int = 4

    @property
    def block(self) -> int:
        return int(self.codes.shape[1] // self.scale.shape[1])

    @property
    def packed(self) -> Array:
        """u8[N, blocks, bytes], the first of two nibbles in the low bits, as MatMulNBits has it."""
        n, blocks = self.scale.shape
        found = self.codes
        if self.bits == 4:
            found = found[:, ::2] | found[:, 1::2] << 4
        return np.ascontiguousarray(found.reshape(n, blocks, -1))


Weight = Array | Codes


class _Graph:
    def __init__(self) -> None:
        self.nodes: list[NodeProto] = []
        self.constants: dict[str, Array] = {}

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def const(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self.constants.setdefault(name, np.asarray(value, dtype))
        return name

    def linear(self, x: str, weight: Weight, name: str, stem: str = "") -> str:
        """weight: f32[N, K], or codes. ``stem``: of the names of its constants, where it is not ``name``."""
        stem = stem if stem else name
        if not isinstance(weight, Codes):
            weights = self.const(f"{stem}.weight", np.ascontiguousarray(weight.T), np.float32)
            return self.op("MatMul", x, weights, name=name)
        codes = self.const(f"{stem}.codes", weight.packed, np.uint8)
        parts = [codes, self.const(f"{stem}.scale", weight.scale, np.float32)]
        if weight.zero is not None:
            parts.append(self.const(f"{stem}.zero", weight.zero, np.float32))
        n, k = weight.codes.shape
        return self.op(
            "MatMulNBits", x, *parts, name=name, domain="com.microsoft", K=k, N=n, bits=weight.bits,
            block_size=weight.block,
        )  # fmt: skip

    def rows(self, table: Codes, which: str, stem: str) -> str:
        """Rows of a table of bytes as float32 [..., K]."""
        codes = self.const(f"{stem}.codes", table.packed, np.uint8)
        codes = self.op("Gather", codes, which, name=f"{stem}.picked", axis=0)
        real = self.op("Cast", codes, name=f"{stem}.real", to=TensorProto.FLOAT)
        about = self.op("Sub", real, self.const("middle", 128, np.float32), name=f"{stem}.about")
        scale = self.const(f"{stem}.scale", table.scale, np.float32)
        step = self.op("Gather", scale, which, name=f"{stem}.steps", axis=0)
        column = self.op("Unsqueeze", step, self.const("innermost", [3]), name=f"{stem}.step")
        scaled = self.op("Mul", about, column, name=f"{stem}.scaled")
        return self.op("Reshape", scaled, self.const("flat", [1, -1, table.codes.shape[1]]), name="embedded")


def build(weights: Mapping[str, Weight], shape: Shape) -> ModelProto:
    """The model of ``weights``, which are called as in GGUF files (``blk.0.attn_q.weight``), rotary pairs half a head
    apart. Norms are float32, the embedding is float32 or codes of 8 bits about 128; the head has the same weights.

    Inputs: ``tokens`` i64[1, steps], ``start`` i64[1] (tokens in the cache), ``wanted`` i64[rows] (the new tokens that
    logits are wanted behind), ``past.LAYER.key`` and ``.value`` f32[1, room, cache_width]. Outputs: ``logits`` f32[1,
    rows, vocabulary] and ``present.``, the caches with the new tokens.
    """
    g = _Graph()
    _positions(g, shape)
    words = weights["token_embd.weight"]
    if isinstance(words, Codes):
        x = g.rows(words, "tokens", "embedding")
    else:
        x = g.op("Gather", g.const("embedding", words, np.float32), "tokens", name="embedded", axis=0)
    for layer in range(shape.layers):
        x = _layer(g, x, weights, shape, layer)
    x = g.op("Gather", x, "wanted", name="last", axis=1)
    x = _norm(g, x, weights["output_norm.weight"], shape, "norm")
    if isinstance(words, Codes):
        g.linear(x, words, "logits", "embedding")
    else:
        g.op("MatMul", x, g.op("Transpose", "embedding", name="head", perm=[1, 0]), name="logits")
    info, i64, f32 = helper.make_tensor_value_info, TensorProto.INT64, TensorProto.FLOAT
    cache: list[int | str] = [1, "room", shape.cache_width]
    inputs = [info("tokens", i64, [1, "steps"]), info("start", i64, [1]), info("wanted", i64, ["rows"])]
    inputs += [info(f"past.{name}", f32, cache) for name in shape.caches]
    outputs = [info("logits", f32, [1, "rows", shape.vocabulary])]
    outputs += [info(f"present.{name}", f32, cache) for name in shape.caches]
    constants = [numpy_helper.from_array(array, name) for name, array in g.constants.items()]
    graph = helper.make_graph(g.nodes, "decoder", inputs, outputs, constants)
    opsets = [helper.make_opsetid("", 24), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=11)


def joined(parts: Sequence[Weight]) -> Weight:
    """The rows of weights of one kind, one behind the other."""
    codes = [p for p in parts if isinstance(p, Codes)]
    if not codes:
        return np.concatenate([p for p in parts if not isinstance(p, Codes)])
    zeros = [p.zero for p in codes if p.zero is not None]
    return Codes(
        np.concatenate([p.codes for p in codes]), np.concatenate([p.scale for p in codes]),
        np.concatenate(zeros) if zeros else None, codes[0].bits,
    )  # fmt: skip


def _positions(g: _Graph, shape: Shape) -> None:
    """``place`` i64[1, steps], ``end`` i64[1], ``seen`` bool[1, 1, steps, room], and the angles of all positions."""
    half = shape.head_width // 2
    turns = shape.rotary_base ** (-np.arange(half, dtype=np.float64) / half)
    angles = np.arange(shape.longest)[:, None] * turns
    g.const("cos", np.cos(angles), np.float32)
    g.const("sin", np.sin(angles), np.float32)
    zero, one = g.const("zero", 0), g.const("one", 1)
    steps = g.op("Gather", g.op("Shape", "tokens", name="tokens.shape"), one, name="steps", axis=0)
    room = g.op("Gather", g.op("Shape", "past.0.key", name="past.shape"), one, name="room", axis=0)
    counted = g.op("Range", zero, steps, one, name="counted")
    row = g.op("Add", counted, "start", name="row")
    g.op("Unsqueeze", row, g.const("front", [0]), name="place")
    g.op("Add", "start", steps, name="end")
    keys = g.op("Range", zero, room, one, name="keys")
    column = g.op("Unsqueeze", row, g.const("behind", [1]), name="place.column")
    seen = g.op("LessOrEqual", keys, column, name="seen.rows")
    g.op("Unsqueeze", seen, g.const("both", [0, 1]), name="seen")


def _norm(g: _Graph, x: str, weight: Weight, shape: Shape, name: str) -> str:
    scale = g.const(f"{name}.weight", weight, np.float32)
    return g.op("RMSNormalization", x, scale, name=name, axis=-1, epsilon=shape.epsilon)


def _layer(g: _Graph, x: str, weights: Mapping[str, Array], shape: Shape, layer: int) -> str:
    name = f"layers.{layer}"

    def rows(*parts: str) -> Weight:
        return joined([weights[f"blk.{layer}.{part}.weight"] for part in parts])

    cache = shape.cache_width
    normal = _norm(g, x, rows("attn_norm"), shape, f"{name}.norm1")
    both = g.linear(normal, rows("attn_q", "attn_k", "attn_v"), f"{name}.qkv")
    turned_width = (shape.heads + shape.key_heads) * shape.head_width
    g.nodes.append(helper.make_node(
        "Split", [both, g.const("parts.qk_v", [turned_width, cache])], [f"{name}.qk", f"{name}.v"], axis=2,
        name=f"{name}.split",
    ))  # fmt: skip
    turned = g.op(
        "RotaryEmbedding", f"{name}.qk", "cos", "sin", "place", name=f"{name}.turned",
        num_heads=shape.heads + shape.key_heads,
    )  # fmt: skip
    g.nodes.append(helper.make_node(
        "Split", [turned, g.const("parts.q_k", [turned_width - cache, cache])], [f"{name}.q", f"{name}.k"], axis=2,
        name=f"{name}.split2",
    ))  # fmt: skip
    for part, new in (("key", f"{name}.k"), ("value", f"{name}.v")):
        g.op("TensorScatter", f"past.{layer}.{part}", new, "start", name=f"present.{layer}.{part}", axis=1)
    mixed = g.op(
        "Attention", f"{name}.q", f"present.{layer}.key", f"present.{layer}.value", "seen", "", "", "end",
        name=f"{name}.attention", q_num_heads=shape.heads, kv_num_heads=shape.key_heads,
    )  # fmt: skip
    x = g.op("Add", x, g.linear(mixed, rows("attn_output"), f"{name}.out"), name=f"{name}.middle")
    normal = _norm(g, x, rows("ffn_norm"), shape, f"{name}.norm2")
    both = g.linear(normal, rows("ffn_gate", "ffn_up"), f"{name}.gate_up")
    g.nodes.append(helper.make_node(
        "Split", [both, g.const("parts.gate_up", [shape.inner, shape.inner])], [f"{name}.gate", f"{name}.up"], axis=2,
        name=f"{name}.split3",
    ))  # fmt: skip
    gate = g.op("Mul", f"{name}.gate", g.op("Sigmoid", f"{name}.gate", name=f"{name}.sigmoid"), name=f"{name}.silu")
    wide = g.op("Mul", gate, f"{name}.up", name=f"{name}.wide")
    return g.op("Add", x, g.linear(wide, rows("ffn_down"), f"{name}.down"), name=f"{name}.sum")
