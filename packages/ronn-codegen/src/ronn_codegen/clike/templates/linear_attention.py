"""Layers that carry a state of fixed size from step to step, in float32: LinearAttention and CausalConvWithState."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template

LINEAR_ATTENTION = Template(
    "linear_attention_f32(q: f32*, k: f32*, v: f32*, past: f32*, decay: f32*, decays, beta: f32*, betas, y: f32*,"
    " state: f32*, batch, heads, kv_heads, steps, d_k, d_v, scale: f32)",
    """
        const i64 c = item % d_v, h = item / d_v % kv_heads, b = item / d_v / kv_heads, share = heads / kv_heads;
        const i64 place = (b * kv_heads + h) * d_k * d_v + c;
        GLOBAL f32 *own = state + place;
        for (i64 i = 0; i < d_k; i++)
            own[i * d_v] = past != 0 ? past[place + i * d_v] : 0.0f;
        for (i64 t = 0; t < steps; t++) {
            const i64 step = b * steps + t, row = step * kv_heads + h;
            f32 added = v[row * d_v + c];
            if (decay != 0)
                for (i64 i = 0; i < d_k; i++)
                    own[i * d_v] *= exp(decay[row * decays + (decays > 1 ? i : 0)]);
            if (beta != 0) {
                f32 known = 0.0f;
                for (i64 i = 0; i < d_k; i++)
                    known += k[row * d_k + i] * own[i * d_v];
                added = beta[step * betas + (betas > 1 ? h : 0)] * (added - known);
            }
            for (i64 i = 0; i < d_k; i++)
                own[i * d_v] += k[row * d_k + i] * added;
            for (i64 j = 0; j < share; j++) {
                const i64 head = step * heads + h * share + j;
                f32 total = 0.0f;
                for (i64 i = 0; i < d_k; i++)
                    total += q[head * d_k + i] * own[i * d_v];
                y[head * d_v + c] = total * scale;
            }
        }
""",
    over="batch * kv_heads * d_v",
)
"""A column of the state a work-item: it needs nothing of the others. As in ``ronn_codegen.templates``."""

CAUSAL_CONV = Template(
    "causal_conv_f32(x: f32*, w: f32*, bias: f32*, past: f32*, y: f32*, state: f32*, batch, channels, steps, taps,"
    " swish)",
    """
        const i64 held = taps - 1, whole = steps + held, row = item / whole, t = item % whole, channel = row % channels;
        if (t < steps) {
            f32 total = bias != 0 ? bias[channel] : 0.0f;
            for (i64 j = 0; j < taps; j++) {
                const i64 at = t + j - held;
                if (at >= 0)
                    total += w[channel * taps + j] * x[row * steps + at];
                else if (past != 0)
                    total += w[channel * taps + j] * past[row * held + t + j];
            }
            y[row * steps + t] = swish ? total / (1.0f + exp(-total)) : total;
        } else if (state != 0) {
            const i64 j = t - steps, at = t - held;
            state[row * held + j] = at >= 0 ? x[row * steps + at] : past != 0 ? past[row * held + t] : 0.0f;
        }
""",
    over="batch * channels * (steps + taps - 1)",
)
"""y[batch, channels, steps]: each channel convolved with its own taps behind what was before; and the last elements."""
