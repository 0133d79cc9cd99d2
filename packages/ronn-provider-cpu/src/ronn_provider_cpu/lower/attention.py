"""Attention of ai.onnx and com.microsoft, in float32."""

from __future__ import annotations

from typing import Any

from ronn_codegen.lower import _attention as shared
from ronn_codegen.lower import _carried as carried
from ronn_codegen.lower._attention import Heads
from ronn_codegen.templates.attention_layout import blocks_of, queries_of, scratch_bytes
from ronn_provider_cpu.lowering import Lowering, lower

_GFLOPS = 100.0  # about what a core does of such products


def _call(c: Lowering, q: Heads, k: Heads, v: Heads, arguments: dict[str, Any]) -> None:
    blocks, block = blocks_of(c.machine.target), queries_of(q.steps)
    units = q.batch * q.heads * -(-q.steps // block)
    chunks = min(units, 16)
    size = -(-scratch_bytes(blocks, block, q.size, v.size) // 64) * 64
    flops = 2 * q.batch * q.heads * q.steps * k.steps * (q.size + v.size)
    c.call(
        "ronn_codegen.templates.attention", "attention_f32", **arguments, block=block, scratch=c.temp(size * chunks),
        apart=size, chunks=chunks, cost=flops / _GFLOPS + 0.3 * units * k.steps * k.size, flops=flops,
    )  # fmt: skip


@lower("Attention", empty=True, alike=True)
def attention(c: Lowering) -> None:
    """Attention of ai.onnx."""
    shared.attention(c, _call)


@lower("FlexAttention", domain="ai.onnx.preview")
def flex_attention(c: Lowering) -> None:
    """FlexAttention without modifiers."""
    shared.flex_attention(c, _call)


@lower("MultiHeadAttention", domain="com.microsoft")
def multi_head_attention(c: Lowering) -> None:
    """MultiHeadAttention of com.microsoft, without masks beyond key padding and an added bias."""
    shared.multi_head_attention(c, _call)


@lower("CausalConvWithState")
def causal_conv_with_state(c: Lowering) -> None:
    """CausalConvWithState: a worker copies a row to scratch, behind what was before."""

    def scratch(chunks: int, steps: int, taps: int) -> dict[str, Any]:
        size = 4 * (steps + taps + 2 * c.machine.target.lanes(32))
        return {"scratch": c.temp(size * chunks), "apart": size}

    carried.causal_conv(c, scratch)
