"""Scaled dot-product attention in float32, without the matrix of scores: softmax(q k' scale + mask) v.

A group takes a block of queries of one head and a block of columns of the values, and passes over the keys in tiles in
local memory. What was summed under a smaller maximum is scaled down when a greater one is met: Milakov and Gimelshein,
"Online normalizer calculation for softmax" (2018); Dao et al., "FlashAttention" (2022). Scores and sums stay in
registers, a tile of them each work-item; only the weights of one tile of keys go through local memory. Where there are
vectors, ``attention_strips`` has the bodies.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.templates.attention_strips import BODIES, FUNCTIONS, PLACES, strips

FEW = 4
"""Queries of a head up to which ``attention_few_f32`` wastes less."""

_PARAMS = (
    "q: f32*, k: f32*, v: f32*, y: f32*, batch, heads, kv_heads, queries, keys, size, v_size, q_b, q_h, q_s, k_b, k_h,"
    " k_s, v_b, v_h, v_s, y_b, y_h, y_s, scale: f32, cap: f32, mask: u8*, kind, m_b, m_h, m_q, causal, offset,"
    " nonpad: i64*"
)

_BODY = (
    """
    LOCAL f32 left[BQ * DEPTH];
    LOCAL f32 right[DEPTH * WIDE];
    LOCAL f32 weights[BQ * BK];
    LOCAL f32 tops[BQ * TX];
    const i64 me = LOCAL_ID(0), items = LOCAL_SIZE(0), column = me % TX, row = me / TX * RQ;
"""
    + PLACES
    + """
    f32 sums[RQ * RV], peaks[RQ], totals[RQ];
    for (int r = 0; r < RQ; r++) {
        peaks[r] = -INFINITY;
        totals[r] = 0.0f;
        for (int c = 0; c < RV; c++)
            sums[r * RV + c] = 0.0f;
    }
    for (i64 start = 0; start < seen; start += BK) {
        f32 scores[RQ * RK];
        for (int c = 0; c < RQ * RK; c++)
            scores[c] = 0.0f;
        for (i64 d = 0; d < size; d += DEPTH) {
            for (i64 i = me; i < BQ * DEPTH; i += items) {
                const i64 r = i / DEPTH, e = d + i % DEPTH;
                left[i] = r < rows && e < size ? queries_at[r * q_s + e] : 0.0f;
            }
            for (i64 i = me; i < BK * DEPTH; i += items) {
                const i64 n = i / DEPTH, e = i % DEPTH;
                right[e * BK + n] = start + n < seen && d + e < size ? keys_at[(start + n) * k_s + d + e] : 0.0f;
            }
            BARRIER();
            for (int e = 0; e < DEPTH; e++)
                for (int r = 0; r < RQ; r++) {
                    const f32 a = left[(row + r) * DEPTH + e];
                    for (int c = 0; c < RK; c++)
                        scores[r * RK + c] += a * right[e * BK + column * RK + c];
                }
            BARRIER();
        }
        for (int r = 0; r < RQ; r++) {
            const i64 query = first + row + r;
            const i64 last = causal && query + shift + 1 < real ? query + shift + 1 : real;
            f32 top = -INFINITY;
            for (int c = 0; c < RK; c++) {
                const i64 key = start + column * RK + c;
                f32 score = scores[r * RK + c] * scale;
                if (cap > 0.0f)
                    score = tanh(score / cap) * cap;
                if (query >= queries || key >= last)
                    score = -INFINITY;
                else if (kind == 1)
                    score += ((const GLOBAL f32 *)mask)[b * m_b + head * m_h + query * m_q + key];
                else if (kind == 2 && !mask[b * m_b + head * m_h + query * m_q + key])
                    score = -INFINITY;
                scores[r * RK + c] = score;
                top = fmax(top, score);
            }
            tops[(row + r) * TX + column] = top;
        }
        BARRIER();
        for (int r = 0; r < RQ; r++) {
            f32 top = peaks[r];
            for (int t = 0; t < TX; t++)
                top = fmax(top, tops[(row + r) * TX + t]);
            const f32 base = top == -INFINITY ? 0.0f : top, factor = exp(peaks[r] - base);
            peaks[r] = top;
            totals[r] *= factor;
            for (int c = 0; c < RV; c++)
                sums[r * RV + c] *= factor;
            for (int c = 0; c < RK; c++)
                weights[(row + r) * BK + column * RK + c] = exp(scores[r * RK + c] - base);
        }
        for (i64 n = 0; n < BK && start + n < seen; n += DEPTH) {
            for (i64 i = me; i < DEPTH * BV; i += items) {
                const i64 e = i / BV, c = i % BV;
                const int inside = start + n + e < seen && begin + c < v_size;
                right[i] = inside ? values_at[(start + n + e) * v_s + c] : 0.0f;
            }
            BARRIER();
            for (int e = 0; e < DEPTH; e++)
                for (int r = 0; r < RQ; r++) {
                    const f32 w = weights[(row + r) * BK + n + e];
                    totals[r] += w;
                    for (int c = 0; c < RV; c++)
                        sums[r * RV + c] += w * right[e * BV + column * RV + c];
                }
            BARRIER();
        }
    }
    for (int r = 0; r < RQ; r++) {
        const i64 query = first + row + r;
        const f32 inverse = totals[r] == 0.0f ? 0.0f : 1.0f / totals[r];
        for (int c = 0; c < RV; c++) {
            const i64 at = begin + column * RV + c;
            if (query < queries && at < v_size)
                y[b * y_b + head * y_h + query * y_s + at] = sums[r * RV + c] * inverse;
        }
    }
"""
)


def tiles(target: Target, few: bool = False) -> dict[str, int]:
    """The sizes of tiles: BQ queries by BK keys and by BV columns of values, DEPTH elements of keys (or keys of values)
    at a time; TX by TY work-items, of RQ queries by RK keys and RV columns each. The largest that fit the local memory
    (the smallest take 16 bytes)."""
    across = 8
    while across > target.group:
        across //= 2
    down = 1
    while not few and down < 8 and 2 * down * across <= target.group:
        down *= 2
    queries, wide, depth = FEW if few else 4 * down, 8 * across, 32  # at most 4 by 8 numbers a work-item in registers

    def taken() -> int:
        return 4 * (queries * (depth + wide + across) + depth * wide)

    depth = min(depth, wide)
    while taken() > target.local_bytes and depth > 8:
        depth //= 2
    while taken() > target.local_bytes and wide > 8:
        wide //= 2
        across, depth = min(across, wide), min(depth, wide)
    while taken() > target.local_bytes and queries > 1:
        queries //= 2
        down = min(down, queries)
    while taken() > target.local_bytes and wide > 1:
        wide //= 2
        across, depth = min(across, wide), min(depth, wide)
    return {
        "BQ": queries, "BK": wide, "BV": wide, "WIDE": wide, "DEPTH": depth, "TX": across, "TY": down,
        "RQ": queries // down, "RK": wide // across, "RV": wide // across,
    }  # fmt: skip


@dataclass(frozen=True)
class Attention(Template):
    """y[batch, heads, queries, v_size] of q[batch, heads, queries, size], k[batch, kv_heads, keys, size] and v[batch,
    kv_heads, keys, v_size]: as ``attention_f32`` of ``ronn_codegen.templates.attention``."""

    few: bool = False

    def source(self, entry: str, target: Target) -> str:
        sizes = _strips(target, self.few)
        if sizes is None:
            return super().source(entry, target)
        return Template(
            self.form, BODIES[self.few], functions=FUNCTIONS, tiles=self.tiles, constants=lambda _: sizes
        ).source(entry, target)


def _strips(target: Target, few: bool) -> dict[str, int] | None:
    return strips(target, few) if target.width > 1 and target.dialect.vectors else None


def _grid(few: bool, sizes: Sizes, target: Target) -> Grid:
    found = _strips(target, few)
    t = tiles(target, few) if found is None else {**found, "TX": 1, "TY": 1}
    blocks = -(-int(sizes["queries"]) // t["BQ"])
    units = int(sizes["batch"] * sizes["heads"]) * blocks
    return Grid((units, -(-int(sizes["v_size"]) // t["BV"]), 1), (t["TX"] * t["TY"], 1, 1))


def _attention(name: str, few: bool) -> Attention:
    constants: Callable[[Target], Mapping[str, int]] = partial(tiles, few=few)
    return Attention(f"{name}({_PARAMS})", _BODY, tiles=partial(_grid, few), constants=constants, few=few)


ATTENTION = _attention("attention_f32", False)
ATTENTION_FEW = _attention("attention_few_f32", True)

ROWS_COPY = Template(
    "rows_copy_f32(x: f32*, y: f32*, batch, heads, steps, size, x_b, x_h, x_s, y_b, y_h, y_s, bias: f32*, bias_h)",
    """
        const i64 e = item % size, s = item / size % steps, h = item / size / steps % heads;
        const i64 b = item / size / steps / heads;
        const f32 value = x[b * x_b + h * x_h + s * x_s + e];
        y[b * y_b + h * y_h + s * y_s + e] = bias != 0 ? value + bias[h * bias_h + e] : value;
""",
    over="batch * heads * steps * size",
)

KEY_MASK = Template(
    "key_mask_f32(mask: i32*, y: f32*, count, filler: f32)",
    """
        y[item] = mask[item] != 0 ? 0.0f : filler;
""",
    over="count",
)
