"""Convolutions whose groups have one input channel, of one or two dims: every work-item makes a part of a row."""

from __future__ import annotations

from functools import cache

from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.render.epilogue import activate
from ronn_codegen.clike.render.functions import functions_in

_FORM = (
    "depthwise(x: {x}*, w: {x}*, bias: {x}*, y: {x}*, channels, times, planes, high, wide, down, across, tall, broad, "
    "stride_y, stride_x, step_y, step_x, above, left, p0: f32, p1: f32)"
)


@cache
def depthwise_kernel(kind: str, activation: str, vectors: bool) -> Template:
    """y[planes, down, across] from x, whose planes each serve ``times`` of y; w[channels, tall, broad]. ``step``: how
    far taps are apart; ``above`` and ``left``: padding before. With ``vectors`` a work-item makes 64 pixels of a row:
    each tap is one loop over neighbours."""
    t = "f32" if kind == "f16" else kind
    load = "f32_of_f16({})" if kind == "f16" else "{}"
    block = 64 if vectors else 1
    body = f"""\
    enum {{ BLOCK = {block} }};
    const i64 blocks = (across + BLOCK - 1) / BLOCK, items = planes * down * blocks;
    for (i64 item = GLOBAL_ID(0); item < items; item += GLOBAL_SIZE(0)) {{
        const i64 from = item % blocks * BLOCK, row = item / blocks % down, plane = item / blocks / down;
        const i64 channel = plane % channels, some = across - from < BLOCK ? across - from : BLOCK;
        GLOBAL const {kind if kind != "f16" else "u16"} *source = x + plane / times * high * wide;
        const {t} b = bias ? {load.format("bias[channel]")} : 0;
        {t} sums[BLOCK];
        for (i64 j = 0; j < BLOCK; j++) sums[j] = b;
        for (i64 i = 0; i < tall; i++) {{
            const i64 line = row * stride_y + i * step_y - above;
            if (line < 0 || line >= high) continue;
            for (i64 k = 0; k < broad; k++) {{
                const {t} a = {load.format("w[(channel * tall + i) * broad + k]")};
                const i64 at = from * stride_x + k * step_x - left;
                const i64 begin = at < 0 ? (stride_x - 1 - at) / stride_x : 0;
                const i64 fit = at < wide ? (wide - at + stride_x - 1) / stride_x : 0, end = fit < some ? fit : some;
                GLOBAL const {kind if kind != "f16" else "u16"} *first = source + line * wide + at;
                if (stride_x == 1) {{
                    for (i64 j = begin; j < end; j++) sums[j] += a * {load.format("first[j]")};
                }} else {{
                    for (i64 j = begin; j < end; j++) sums[j] += a * {load.format("first[j * stride_x]")};
                }}
            }}
        }}
        for (i64 j = 0; j < some; j++) {{
            {t} v = sums[j];
            {" ".join(activate(activation, t))}
            y[(plane * down + row) * across + from + j] = {"f16_of_f32(v)" if kind == "f16" else "v"};
        }}
    }}
"""
    return Template(_FORM.format(x=kind), body, functions=functions_in(body), tiles=_rows if vectors else _pixels)


def _rows(sizes: Sizes, target: Target) -> Grid:
    return Grid((int(sizes["planes"] * sizes["down"]), 1, 1))


def _pixels(sizes: Sizes, target: Target) -> Grid:
    items = int(sizes["planes"] * sizes["down"] * sizes["across"])
    local = max(min(target.group, items), 1)
    return Grid((max(-(-items // local), 1), 1, 1), (local, 1, 1))
