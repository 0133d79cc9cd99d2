"""Convolutions whose groups have one input channel, of one or two dims: every work-item makes a part of a row."""

from __future__ import annotations

from functools import cache

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Grid, Sizes, Target, Template
from ronn_codegen.clike.render.epilogue import activate
from ronn_codegen.clike.render.functions import functions_in
from ronn_codegen.clike.templates._requantise import requantised, rescale

_FORM = (
    "depthwise(x: {x}*, w: {w}*, bias: {bias}*, y: {y}*, channels, times, planes, high, wide, down, across, tall, "
    "broad, stride_y, stride_x, step_y, step_x, above, left, {more})"
)
_FLOATS = "p0: f32, p1: f32"
_BYTES = "x_zero: {x}*, w_zero: {w}*, w_zero_step, x_scale: f32*, w_scale: f32*, w_step, y_scale: f32*, y_zero: {y}*"


@dataclass(frozen=True)
class Depthwise:
    """What the text depends on. x, w, y: what is stored: floats of one type, or bytes, whose results are bytes with an
    ``activation`` of ``requantise`` and int32 without. vectors: whether a work-item makes 64 pixels of a row (each tap
    is one loop over neighbours) or one."""

    x: str
    w: str
    y: str
    activation: str
    vectors: bool

    @property
    def quantised(self) -> bool:
        return self.x in ("i8", "u8")

    @property
    def sums(self) -> str:
        return "i32" if self.quantised else "f32" if self.x == "f16" else self.x


@cache
def depthwise_kernel(form: Depthwise) -> Template:
    """y[planes, down, across] from x, whose planes each serve ``times`` of y; w[channels, tall, broad]. ``step``: how
    far taps are apart; ``above`` and ``left``: padding before. Of bytes zero points are taken off, one of x, and of
    each channel of w with a ``w_zero_step`` of 1; scales are those of QLinearConv."""
    t, x, place = form.sums, form.x, "y[(plane * down + row) * across + from + j]"

    def load(array: str, at: str) -> str:
        return f"f32_of_f16({array}[{at}])" if x == "f16" else f"{array}[{at}]"

    def element(at: str) -> str:
        return f"(({t})first[{at}] - zero)" if form.quantised else load("first", at)

    start: list[str] = []
    weight = load("w", "(channel * tall + i) * broad + k")
    bias = "bias[channel]" if form.quantised else load("bias", "channel")
    if form.quantised:
        start = [
            f"const {t} zero = x_zero ? ({t})x_zero[0] : 0;",
            f"const {t} w_less = w_zero ? ({t})w_zero[channel * w_zero_step] : 0;",
        ]
        weight = f"({t}){weight} - w_less"
    if form.activation == "requantise":
        start += rescale(form.y)
        finish = requantised("sums[j]", place, form.y)
    else:
        value = "f16_of_f32(v)" if x == "f16" else "v"
        finish = [f"{t} v = sums[j];", *activate(form.activation, t), f"{place} = {value};"]
    block = 64 if form.vectors else 1
    body = f"""\
    enum {{ BLOCK = {block} }};
    const i64 blocks = (across + BLOCK - 1) / BLOCK, items = planes * down * blocks;
    for (i64 item = GLOBAL_ID(0); item < items; item += GLOBAL_SIZE(0)) {{
        const i64 from = item % blocks * BLOCK, row = item / blocks % down, plane = item / blocks / down;
        const i64 channel = plane % channels, some = across - from < BLOCK ? across - from : BLOCK;
        GLOBAL const {x if x != "f16" else "u16"} *source = x + plane / times * high * wide;
        const {t} b = bias ? {bias} : 0;
{"".join(f"        {line}" + chr(10) for line in start)}        {t} sums[BLOCK];
        for (i64 j = 0; j < BLOCK; j++) sums[j] = b;
        for (i64 i = 0; i < tall; i++) {{
            const i64 line = row * stride_y + i * step_y - above;
            if (line < 0 || line >= high) continue;
            for (i64 k = 0; k < broad; k++) {{
                const {t} a = {weight};
                const i64 at = from * stride_x + k * step_x - left;
                const i64 begin = at < 0 ? (stride_x - 1 - at) / stride_x : 0;
                const i64 fit = at < wide ? (wide - at + stride_x - 1) / stride_x : 0, end = fit < some ? fit : some;
                GLOBAL const {x if x != "f16" else "u16"} *first = source + line * wide + at;
                if (stride_x == 1) {{
                    for (i64 j = begin; j < end; j++) sums[j] += a * {element("j")};
                }} else {{
                    for (i64 j = begin; j < end; j++) sums[j] += a * {element("j * stride_x")};
                }}
            }}
        }}
        for (i64 j = 0; j < some; j++) {{
{"".join(f"            {line}" + chr(10) for line in finish)}        }}
    }}
"""
    declared = _FORM.replace("{more}", _BYTES if form.quantised else _FLOATS)
    declared = declared.format(x=x, w=form.w, y=form.y, bias=t if form.quantised else x)
    return Template(declared, body, functions=functions_in(body), tiles=_rows if form.vectors else _pixels)


def _rows(sizes: Sizes, target: Target) -> Grid:
    return Grid((int(sizes["planes"] * sizes["down"]), 1, 1))


def _pixels(sizes: Sizes, target: Target) -> Grid:
    items = int(sizes["planes"] * sizes["down"] * sizes["across"])
    local = max(min(target.group, items), 1)
    return Grid((max(-(-items // local), 1), 1, 1), (local, 1, 1))
