"""What attention shows beside its result: masks written out, and the matrix of scores. In float32."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template

MASK = Template(
    "attention_mask_f32(mask: u8*, kind, m_b, m_h, m_q, width, batch, heads, queries, keys, causal, left, right,"
    " offset, nonpad: i64*, y: f32*)",
    """
        const i64 key = item % keys, query = item / keys % queries, h = item / keys / queries % heads;
        const i64 b = item / keys / queries / heads;
        i64 real = keys, position = query + offset;
        if (nonpad != 0) {
            real = nonpad[b];
            position = query + real - queries;
        }
        i64 last = right >= 0 && position + right + 1 < real ? position + right + 1 : real;
        last = causal && position + 1 < last ? position + 1 : last;
        last = width < last ? width : last;
        const int open = key < last && (left < 0 || key >= position - left);
        f32 value = open ? 0.0f : -INFINITY;
        if (open && kind == 1)
            value = ((const GLOBAL f32 *)mask)[b * m_b + h * m_h + query * m_q + key];
        if (open && kind == 2 && !mask[b * m_b + h * m_h + query * m_q + key])
            value = -INFINITY;
        y[item] = value;
""",
    over="batch * heads * queries * keys",
)
"""y[batch, heads, queries, keys]: what is added to scores. See ``ronn_codegen.templates.attention_scores``."""

SCORES = Template(
    "attention_scores_f32(q: f32*, k: f32*, y: f32*, batch, heads, kv_heads, queries, keys, size, q_b, q_h, q_s, k_b,"
    " k_h, k_s, scale: f32, cap: f32, mask: f32*, m_b, m_h, m_q, mode)",
    """
        const i64 query = item % queries, h = item / queries % heads, b = item / queries / heads;
        const GLOBAL f32 *own = q + b * q_b + h * q_h + query * q_s;
        const GLOBAL f32 *others = k + b * k_b + h * kv_heads / heads * k_h;
        GLOBAL f32 *row = y + item * keys;
        f32 top = -INFINITY;
        for (i64 key = 0; key < keys; key++) {
            f32 score = 0.0f;
            for (i64 e = 0; e < size; e++)
                score += own[e] * others[key * k_s + e];
            score *= scale;
            if (mode > 0 && cap > 0.0f)
                score = tanh(score / cap) * cap;
            if (mode > 1 && mask != 0)
                score += mask[b * m_b + h * m_h + query * m_q + key];
            row[key] = score;
            top = fmax(top, score);
        }
        if (mode > 2) {
            const f32 base = top == -INFINITY ? 0.0f : top;
            f32 total = 0.0f;
            for (i64 key = 0; key < keys; key++)
                total += exp(row[key] - base);
            for (i64 key = 0; key < keys; key++)
                row[key] = total == 0.0f ? 0.0f : exp(row[key] - base) / total;
        }
""",
    over="batch * heads * queries",
)
"""y[batch, heads, queries, keys]: products times scale (mode 0), bounded by ``cap`` (1), with the mask added (2), and
their softmax (3), where a row without a key is 0."""
