"""LinearAttention, in float32."""

from __future__ import annotations

import math

from ronn_codegen.lower._attention import floats, output
from ronn_codegen.lowering import Lowering
from ronn_codegen.table import lower


@lower("LinearAttention")
def linear_attention(c: Lowering) -> None:
    """LinearAttention."""
    q, k, v = c.inputs[:3]
    y, past, decay, beta = c.outputs[0], c.input(3), c.input(4), c.input(5)
    assert q is not None and k is not None and v is not None
    c.require(y is not None, "the result is not used")
    assert y is not None
    floats(c, q, k, v, past, decay, beta)
    heads, kv_heads, rule = c.attr("q_num_heads"), c.attr("kv_num_heads"), c.attr("update_rule")
    gated, delta = rule in ("gated", "gated_delta"), rule in ("delta", "gated_delta")
    c.require((decay is not None or not gated) and (beta is not None or not delta), f"{rule} lacks an input")
    c.require(q.rank == k.rank == v.rank == 3 and heads and kv_heads, "operands of other ranks")
    batch, steps, d_k, d_v = q.shape[0], q.shape[1], q.shape[2] // heads, v.shape[2] // kv_heads
    fits = q.shape[2] == heads * d_k and k.shape == (batch, steps, kv_heads * d_k)
    c.require(fits and v.shape == (batch, steps, kv_heads * d_v) and heads % kv_heads == 0, "operands that do not fit")
    c.require(past is None or past.shape == (batch, kv_heads, d_k, d_v), "a state that does not fit")
    for rates in (decay, beta):
        c.require(rates is None or (rates.rank == 3 and rates.shape[:2] == (batch, steps)), "rates that do not fit")
    c.require(decay is None or decay.shape[2] % kv_heads == 0, "decays that do not fit")
    decays = decay.shape[2] // kv_heads if gated and decay is not None else 1
    c.require(decays in (1, d_k), f"{decays} decays for each head")
    betas = beta.shape[2] if delta and beta is not None else 1
    c.require(betas in (1, kv_heads), f"{betas} rates for {kv_heads} heads")
    given, state = c.attr("scale"), output(c, 1)
    size = batch * kv_heads * d_k * d_v
    c.call(
        "ronn_codegen.templates.linear_attention", "linear_attention_f32", q=q, k=k, v=v,
        past=0 if past is None else past, decay=decay if gated else 0, decays=decays, beta=beta if delta else 0,
        betas=betas, y=y, state=c.temp(4 * size) if state is None else state, batch=batch, heads=heads,
        kv_heads=kv_heads, steps=steps, d_k=d_k, d_v=d_v, scale=given if given else 1 / math.sqrt(d_k),
        chunks=batch * kv_heads, cost=0.5 * steps * size, flops=6 * steps * size,
    )  # fmt: skip
