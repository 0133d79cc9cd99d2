"""Attention of ai.onnx, its previews and com.microsoft, in float32."""

from __future__ import annotations

from typing import Any

from ronn_codegen.clike.lower._widened import widened
from ronn_codegen.clike.table import lower
from ronn_codegen.lower import _attention as shared
from ronn_codegen.lower import _carried as carried
from ronn_codegen.lower import linear_attention as linear
from ronn_codegen.lower import rotary
from ronn_codegen.lower._attention import Heads
from ronn_codegen.lowering import Lowering

FEW = 4
"""Queries of a head up to which the kernel for few of them is called."""


def _call(c: Lowering, q: Heads, k: Heads, v: Heads, arguments: dict[str, Any]) -> None:
    kernel = "attention_few_f32" if q.steps <= FEW else "attention_f32"
    flops = 2 * q.batch * q.heads * q.steps * k.steps * (q.size + v.size)
    c.call("ronn_codegen.templates.attention", kernel, **arguments, flops=flops)


@lower("Attention", empty=True)
@widened
def attention(c: Lowering) -> None:
    """Attention of ai.onnx."""
    shared.attention(c, _call)


@lower("FlexAttention", domain="ai.onnx.preview")
@widened
def flex_attention(c: Lowering) -> None:
    """FlexAttention without modifiers."""
    shared.flex_attention(c, _call)


@lower("MultiHeadAttention", domain="com.microsoft")
@widened
def multi_head_attention(c: Lowering) -> None:
    """MultiHeadAttention of com.microsoft, without masks beyond key padding and an added bias."""
    shared.multi_head_attention(c, _call)


@lower("CausalConvWithState")
@widened
def causal_conv_with_state(c: Lowering) -> None:
    """CausalConvWithState."""
    carried.causal_conv(c, lambda *_: {})


@lower("LinearAttention")
@widened
def linear_attention(c: Lowering) -> None:
    """LinearAttention."""
    linear.linear_attention(c)


@lower("RotaryEmbedding")
@widened
def rotary_embedding(c: Lowering) -> None:
    """RotaryEmbedding of ai.onnx."""
    rotary.rotary_embedding(c)


@lower("RotaryEmbedding", domain="com.microsoft")
@widened
def rotary_embedding_ms(c: Lowering) -> None:
    """RotaryEmbedding of com.microsoft."""
    rotary.rotary_embedding_ms(c)
