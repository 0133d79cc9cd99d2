"""Rotary embeddings in float32: pairs of elements turned by angles that depend on the step."""

from __future__ import annotations

from ronn_codegen.clike.kernel import Template

ROTARY = Template(
    "rotary_f32(x: f32*, y: f32*, batch, heads, steps, size, s_b, s_h, s_s, cos: f32*, sin: f32*, c_b, c_s,"
    " positions: i64*, p_b, p_s, rows, width, interleaved, status: i64*)",
    """
        const i64 i = item % size, s = item / size % steps, h = item / size / steps % heads;
        const i64 b = item / size / steps / heads, middle = width / 2;
        const GLOBAL f32 *own = x + b * s_b + h * s_h + s * s_s;
        f32 turned = own[i];
        if (i < width) {
            i64 angles = b * c_b + s * c_s;
            if (positions != 0) {
                i64 row = positions[b * p_b + s * p_s] + s * (1 - p_s);
                if (row < 0 || row >= rows) {
                    status[0] = 1;
                    row = 0;
                }
                angles = row * middle;
            }
            const int second = interleaved ? i % 2 : i >= middle;
            const i64 pair = interleaved ? i / 2 : i % middle;
            const f32 other = own[interleaved ? i ^ 1 : second ? i - middle : i + middle];
            const f32 c = cos[angles + pair], n = sin[angles + pair];
            turned = second ? n * other + c * turned : c * turned - n * other;
        }
        y[b * s_b + h * s_h + s * s_s + i] = turned;
""",
    over="batch * heads * steps * size",
)
"""As ``rotary_f32`` of ``ronn_codegen.templates.rotary``."""
