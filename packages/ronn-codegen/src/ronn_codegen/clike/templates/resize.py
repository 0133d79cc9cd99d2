"""Resizing two axes by tables: every element is a weighted sum of taps (see ``ronn_codegen.templates.resize``)."""

from __future__ import annotations

from functools import cache

from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.render.functions import functions_in

_FORM = (
    "(x: {x}*, y: {y}*, planes, h, w, oh, ow, inner, tall, at_y: i64*, by_y: {t}*, wide, at_x: i64*, by_x: {t}*)"
)


@cache
def moved(size: int) -> Template:
    """y[planes, oh, ow, inner] of the elements of ``size`` bytes that at_y[oh] and at_x[ow] name."""
    kind = f"u{8 * size}"
    body = """\
        const i64 p = item % inner, j = item / inner % ow, i = item / inner / ow % oh, plane = item / inner / ow / oh;
        y[item] = x[((plane * h + at_y[i]) * w + at_x[j]) * inner + p];"""
    form = f"resize_moved(x: {kind}*, y: {kind}*, planes, h, w, oh, ow, inner, at_y: i64*, at_x: i64*)"
    return Template(form, body, "planes * oh * ow * inner")


@cache
def weighted(x: str, y: str) -> Template:
    """y[planes, oh, ow, inner] of sums of ``tall`` x ``wide`` elements of x[planes, h, w, inner], at at_y[tall, oh] and
    at_x[wide, ow], with the weights by_y and by_x; summed in float64 or float32."""
    t = "f64" if "f64" in (x, y) else "f32"
    load = "f32_of_f16(row[place])" if x == "f16" else "row[place]"
    store = "f16_of_f32(total)" if y == "f16" else "total"
    body = f"""\
        const i64 p = item % inner, j = item / inner % ow, i = item / inner / ow % oh, plane = item / inner / ow / oh;
        {t} total = 0;
        for (i64 a = 0; a < tall; a++) {{
            GLOBAL const {"u16" if x == "f16" else x} *row = x + (plane * h + at_y[a * oh + i]) * w * inner + p;
            {t} line = 0;
            for (i64 b = 0; b < wide; b++) {{
                const i64 place = at_x[b * ow + j] * inner;
                line += {load} * (wide > 1 ? by_x[b * ow + j] : 1);
            }}
            total += line * (tall > 1 ? by_y[a * oh + i] : 1);
        }}
        y[item] = {store};"""
    form = "resize" + _FORM.format(x=x, y=y, t=t)
    return Template(form, body, "planes * oh * ow * inner", functions_in(body))
