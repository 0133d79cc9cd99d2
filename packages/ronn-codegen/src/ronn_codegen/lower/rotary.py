"""RotaryEmbedding of ai.onnx and com.microsoft, in float32."""

from __future__ import annotations

from typing import Any

from ronn_codegen.lower._attention import Heads, split
from ronn_codegen.lowering import F32, I64, Lowering, Operand
from ronn_codegen.table import lower


def _turn(c: Lowering, x: Heads, cos: Operand, sin: Operand, width: int, places: dict[str, Any]) -> None:
    y = c.outputs[0]
    assert y is not None
    c.require(width % 2 == 0 and 0 < width <= x.size, f"{width} of {x.size} elements")
    c.require(cos.shape == sin.shape and cos.shape[-1] == width // 2, f"{cos.shape} angles for {width} elements")
    for given in (x.source, cos, sin):
        c.require(isinstance(given, Operand) and given.dtype == F32, "only float32")
    total = x.batch * x.heads * x.steps
    s_b, s_h, s_s = x.strides
    c.call(
        "ronn_codegen.templates.rotary", "rotary_f32", x=x.source, y=y, batch=x.batch, heads=x.heads, steps=x.steps,
        size=x.size, s_b=s_b, s_h=s_h, s_s=s_s, cos=cos, sin=sin, width=width,
        interleaved=int(bool(c.attr("interleaved", 0))), status=c.status("a position has no row of angles"), **places,
        chunks=total, cost=total * (4 + 0.3 * x.size), bytes=8 * total * x.size,
    )  # fmt: skip


def _rows(positions: Operand, cos: Operand, p_b: int, p_s: int) -> dict[str, Any]:
    return {"c_b": 0, "c_s": 0, "positions": positions, "p_b": p_b, "p_s": p_s, "rows": cos.shape[0]}


@lower("RotaryEmbedding")
def rotary_embedding(c: Lowering) -> None:
    """RotaryEmbedding of ai.onnx."""
    x, cos, sin = c.inputs[:3]
    positions = c.input(3)
    assert x is not None and cos is not None and sin is not None
    heads = split(c, x, c.attr("num_heads", 0)) if x.rank == 4 or c.attr("num_heads", 0) else None
    c.require(heads is not None, "the number of heads")
    assert heads is not None
    half = cos.shape[-1]
    if positions is None:
        c.require(cos.shape[:2] == (heads.batch, heads.steps), f"angles {cos.shape}")
        places = {"c_b": heads.steps * half, "c_s": half, "positions": 0, "p_b": 0, "p_s": 0, "rows": 0}
    else:
        c.require(
            positions.dtype == I64 and positions.shape == (heads.batch, heads.steps), f"positions {positions.shape}"
        )
        c.require(cos.rank == 2, f"angles {cos.shape}")
        places = _rows(positions, cos, heads.steps, 1)
    _turn(c, heads, cos, sin, int(c.attr("rotary_embedding_dim", 0)) or heads.size, places)


@lower("RotaryEmbedding", domain="com.microsoft")
def rotary_embedding_ms(c: Lowering) -> None:
    """RotaryEmbedding of com.microsoft: positions are one offset, or one a step."""
    x, positions, cos, sin = c.inputs[:4]
    assert x is not None and positions is not None and cos is not None and sin is not None
    c.require(not c.attr("is_packed_batching", 0), "packed batches")
    c.require(cos.rank == 2 and cos.shape[1] > 0, f"angles {cos.shape}")
    width, heads = 2 * cos.shape[1], c.attr("num_heads", 0)
    if x.rank == 3:
        size = x.shape[2] // heads if heads and c.attr("rotary_embedding_dim", 0) else width
        c.require(size > 0, "heads of no elements")
        heads = x.shape[2] // size
    given = split(c, x, heads)
    c.require(positions.dtype == I64, f"positions {positions.dtype}")
    one = positions.size == 1
    c.require(one or positions.shape == (given.batch, given.steps), f"positions {positions.shape}")
    _turn(c, given, cos, sin, width, _rows(positions, cos, 0 if one else given.steps, 0 if one else 1))
