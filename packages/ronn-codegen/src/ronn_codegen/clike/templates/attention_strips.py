"""Attention by single work-items with vectors, for devices that have them: the bodies of ``attention``'s kernels.

Four rows by two vectors of products stay in registers. Of many queries, keys are turned in local memory, so that a
vector holds elements of as many keys; of few queries that would cost more than it gains, and vectors lie along a key.
"""

from __future__ import annotations

from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.render.functions import functions_in

_R = range(4)

PLACES = """
    const i64 blocks = (queries + BQ - 1) / BQ, unit = GROUP_ID(0), first = unit % blocks * BQ;
    const i64 head = unit / blocks % heads, b = unit / blocks / heads, own = head * kv_heads / heads;
    const i64 begin = GROUP_ID(1) * BV;
    const GLOBAL f32 *queries_at = q + b * q_b + head * q_h + first * q_s;
    const GLOBAL f32 *keys_at = k + b * k_b + own * k_h;
    const GLOBAL f32 *values_at = v + b * v_b + own * v_h + begin;
    i64 real = keys, shift = offset;
    if (nonpad != 0) {
        shift = nonpad[b] - queries;
        real = nonpad[b] < 0 ? 0 : nonpad[b] < keys ? nonpad[b] : keys;
    }
    const i64 rows = queries - first < BQ ? queries - first : BQ;
    const i64 seen = causal && first + rows + shift < real ? first + rows + shift : real;
"""
"""Where a group works: a block of queries of one head, and how many keys these see."""


def _lines(indent: int, lines: list[str]) -> str:
    return "".join(" " * indent + line + "\n" for line in lines)


def _products(indent: int, over: str, left: str, right: str, start: str, end: str) -> str:
    """Four rows by 16 columns: ``left`` gives the number of row {r}, ``right`` where the columns are."""
    sums = [f"s{r}{j}" for r in _R for j in (0, 1)]
    places = {f"s{r}{j}": start.format(r=r, j=8 * j) for r in _R for j in (0, 1)}
    return _lines(indent, [
        f"f32x8 {', '.join(f'{s} = {places[s]}' for s in sums)};",
        f"for ({over}) {{",
        f"    const f32x8 b0 = LOAD_f32x8({right}), b1 = LOAD_f32x8({right} + 8);",
        *[f"    const f32x8 a{r} = SPLAT_f32x8({left.format(r=r)});" for r in _R],
        *[f"    s{r}{j} += a{r} * b{j};" for r in _R for j in (0, 1)],
        "}",
        *[f"STORE_f32x8({end.format(r=r, j=8 * j)}, s{r}{j});" for r in _R for j in (0, 1)],
    ])  # fmt: skip


_SOFTMAX = """
        for (i64 m = 0; m < rows; m++) {
            LOCAL f32 *scores = weights + m * BK;
            const i64 query = first + m, place = b * m_b + head * m_h + query * m_q + start;
            const i64 last = causal && query + shift + 1 < real ? query + shift + 1 - start : real - start;
            const i64 open = last < 0 ? 0 : last < BK ? last : BK;
            f32 tops[8], adds[8], top = peaks[m];
            for (i64 n = 0; n < open; n++)
                scores[n] *= scale;
            if (cap > 0.0f)
                for (i64 n = 0; n < open; n++)
                    scores[n] = tanh_f32(scores[n] / cap) * cap;
            if (kind == 1)
                for (i64 n = 0; n < open; n++)
                    scores[n] += ((const GLOBAL f32 *)mask)[place + n];
            if (kind == 2)
                for (i64 n = 0; n < open; n++)
                    scores[n] = mask[place + n] ? scores[n] : -INFINITY;
            for (i64 n = open; n < BK; n++)
                scores[n] = -INFINITY;
            for (int j = 0; j < 8; j++) {
                tops[j] = -INFINITY;
                adds[j] = 0.0f;
            }
            for (int n = 0; n < BK; n += 8)
                for (int j = 0; j < 8; j++)
                    tops[j] = scores[n + j] > tops[j] ? scores[n + j] : tops[j];
            for (int j = 0; j < 8; j++)
                top = fmax(top, tops[j]);
            const f32 base = top == -INFINITY ? 0.0f : top, factor = exp_f32(peaks[m] - base);
            for (int n = 0; n < BK; n += 8)
                for (int j = 0; j < 8; j++) {
                    scores[n + j] = exp_f32(scores[n + j] - base);
                    adds[j] += scores[n + j];
                }
            peaks[m] = top;
            totals[m] *= factor;
            for (int j = 0; j < 8; j++)
                totals[m] += adds[j];
            for (int c = 0; c < BV; c++)
                sums[m * BV + c] *= factor;
        }
"""

_BEGIN = """
    LOCAL f32 weights[BQ * BK];
    LOCAL f32 sums[BQ * BV];
    f32 peaks[BQ], totals[BQ];
    for (int m = 0; m < BQ; m++) {
        peaks[m] = -INFINITY;
        totals[m] = 0.0f;
    }
    for (int c = 0; c < BQ * BV; c++)
        sums[c] = 0.0f;
    for (i64 start = 0; start < seen; start += BK) {
        const i64 count = seen - start < BK ? seen - start : BK;
"""

_END = """
    }
    for (i64 m = 0; m < rows; m++) {
        const f32 inverse = totals[m] == 0.0f ? 0.0f : 1.0f / totals[m];
        for (i64 c = 0; c < BV && begin + c < v_size; c++)
            y[b * y_b + head * y_h + (first + m) * y_s + begin + c] = sums[m * BV + c] * inverse;
    }
"""


def _rows_of_queries(indent: int, at: str) -> str:
    """Pointers q0 to q3; those beyond the last row are the last row's."""
    return _lines(indent, [
        f"const GLOBAL f32 *q{r} = queries_at + (m + {r} < rows ? m + {r} : rows - 1) * q_s + {at};" for r in _R
    ])  # fmt: skip


_MANY = (
    PLACES
    + "    LOCAL f32 right[RIGHT];\n"
    + _BEGIN
    + """
        for (i64 d = 0; d < size; d += DEPTH) {
            const i64 depth = size - d < DEPTH ? size - d : DEPTH;
            for (i64 n = 0; n < BK; n++)
                for (i64 e = 0; e < depth; e++)
                    right[e * BK + n] = n < count ? keys_at[(start + n) * k_s + d + e] : 0.0f;
            for (i64 m = 0; m < rows; m += 4) {
"""
    + _rows_of_queries(16, "d")
    + "                for (i64 c = 0; c < BK; c += 16) {\n"
    + _products(
        20, "i64 e = 0; e < depth; e++", "q{r}[e]", "right + e * BK + c",
        "d > 0 ? LOAD_f32x8(weights + (m + {r}) * BK + c + {j}) : SPLAT_f32x8(0.0f)",
        "weights + (m + {r}) * BK + c + {j}",
    )
    + "                }\n            }\n        }\n"
    + _SOFTMAX
    + """
        for (i64 n = 0; n < count; n++)
            for (i64 c = 0; c < BV; c++)
                right[n * BV + c] = begin + c < v_size ? values_at[(start + n) * v_s + c] : 0.0f;
        for (i64 m = 0; m < rows; m += 4)
            for (i64 c = 0; c < BV; c += 16) {
"""
    + _products(
        16, "i64 n = 0; n < count; n++", "weights[(m + {r}) * BK + n]", "right + n * BV + c",
        "LOAD_f32x8(sums + (m + {r}) * BV + c + {j})", "sums + (m + {r}) * BV + c + {j}",
    )
    + "            }\n"
    + _END
)  # fmt: skip

_FEW = (
    PLACES
    + _BEGIN
    + """
        const i64 m = 0;
"""
    + _rows_of_queries(8, "0")
    + """
        for (i64 n = 0; n < count; n++) {
            const GLOBAL f32 *key = keys_at + (start + n) * k_s;
            f32x8 s0 = SPLAT_f32x8(0.0f), s1 = s0, s2 = s0, s3 = s0;
            f32 lanes[8];
            i64 e = 0;
            for (; e + 8 <= size; e += 8) {
                const f32x8 wide = LOAD_f32x8(key + e);
"""
    + _lines(16, [f"s{r} += LOAD_f32x8(q{r} + e) * wide;" for r in _R])
    + "            }\n"
    + "".join(
        f"""
            STORE_f32x8(lanes, s{r});
            f32 total{r} = (lanes[0] + lanes[4]) + (lanes[1] + lanes[5]);
            total{r} += (lanes[2] + lanes[6]) + (lanes[3] + lanes[7]);
            for (i64 t = e; t < size; t++)
                total{r} += q{r}[t] * key[t];
            weights[{r} * BK + n] = total{r};
"""
        for r in _R
    )
    + "        }\n"
    + _SOFTMAX
    + """
        for (i64 c = 0; c < BV && begin + c < v_size; c += 16) {
            const GLOBAL f32 *columns = values_at + start * v_s + c;
            if (begin + c + 16 <= v_size) {
"""
    + _products(
        16, "i64 n = 0; n < count; n++", "weights[{r} * BK + n]", "columns + n * v_s",
        "LOAD_f32x8(sums + {r} * BV + c + {j})", "sums + {r} * BV + c + {j}",
    )
    + """
            } else
                for (i64 t = 0; begin + c + t < v_size; t++)
                    for (i64 r = 0; r < rows; r++)
                        for (i64 n = 0; n < count; n++)
                            sums[r * BV + c + t] += weights[r * BK + n] * columns[n * v_s + t];
        }
"""
    + _END
)  # fmt: skip

FUNCTIONS = functions_in(_SOFTMAX)
BODIES = {False: _MANY, True: _FEW}
"""By whether there are few queries."""


def strips(target: Target, few: bool) -> dict[str, int] | None:
    """The sizes of tiles, named as ``attention.tiles``; None where the least does not fit the local memory."""
    for queries, keys, values, depth in (
        ((4, 256, 128, 0), (4, 128, 64, 0), (4, 32, 16, 0)) if few
        else ((32, 64, 64, 64), (16, 32, 32, 32), (4, 16, 16, 16))
    ):  # fmt: skip
        right = 0 if few else max(depth * keys, keys * values)
        if 4 * (queries * (keys + values) + right) <= target.local_bytes:
            return {"BQ": queries, "BK": keys, "BV": values, "DEPTH": depth, "RIGHT": right}
    return None
