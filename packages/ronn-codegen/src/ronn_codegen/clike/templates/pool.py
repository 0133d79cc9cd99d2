"""Pools: what each window comes to, one work-item a window. Windows over any number of dims, channels first or last."""

from __future__ import annotations

from functools import cache

from ronn.records import dataclass
from ronn_codegen.clike.kernel import Template
from ronn_codegen.clike.render.functions import functions_in

LEAST = {"i8": "-128", "u8": "0"}


@dataclass(frozen=True)
class Pool:
    """What the text of a pool depends on: ``max``, ``average`` or ``norm`` over so many dims of elements of a type;
    located: indices of maxima are wanted; last: channels are the last dim."""

    what: str
    rank: int
    kind: str
    last: bool = False
    located: bool = False

    @property
    def quantised(self) -> bool:
        return self.what == "average" and self.kind in LEAST


_FORM = "pool_{what}(x: {kind}*, y: {kind}*, {at}dims: i64*, channels, count, {more})"
_MORE = {
    "max": "columns", "average": "padded", "norm": "p: f32",
    "quantised": "padded, x_scale: f32*, x_zero: {kind}*, y_scale: f32*, y_zero: {kind}*",
}  # fmt: skip


@cache
def pool_kernel(pool: Pool) -> Template:
    """y[images, channels, windows] of x[images, channels, ...], or both with channels last; ``count`` windows of all.
    dims[rank, 7]: size, windows, taps, stride, dilation, padding before and behind. ``columns``: indices of a plane
    count its first dim fastest; ``padded``: averages are over the padding too; norms are of order ``p``."""
    r = range(pool.rank)
    more = _MORE["quantised" if pool.quantised else pool.what].format(kind=pool.kind)
    at = "at: i64*, " if pool.located else ""
    form = _FORM.format(what=pool.what, kind=pool.kind, at=at, more=more)
    t = "i32" if pool.quantised else {"f16": "f32"}.get(pool.kind, pool.kind)
    value = {"f16": "f32_of_f16(x[place])"}.get(pool.kind, "x[place]")
    if pool.quantised:
        value = "(i32)x[place] - zero"
    split = "".join(f"        const i64 o{d} = rest % n{d};\n        rest /= n{d};\n" for d in reversed(r))
    channel = "        const i64 channel = rest % channels;\n        rest /= channels;\n"
    names = ("h", "n", "k", "s", "e", "b", "a")
    sizes = "".join(
        "        const i64 " + ", ".join(f"{n}{d} = dims[{7 * d + i}]" for i, n in enumerate(names)) + ";\n" for d in r
    )
    bounds = "".join(
        f"        const i64 f{d} = o{d} * s{d} - b{d};\n"
        f"        const i64 l{d} = f{d} < 0 ? (e{d} - 1 - f{d}) / e{d} : 0;\n"
        f"        const i64 m{d} = f{d} < h{d} ? (h{d} - f{d} + e{d} - 1) / e{d} : 0;\n"
        f"        const i64 u{d} = m{d} < k{d} ? m{d} : k{d};\n"
        for d in r
    )
    inner = "channels" if pool.last else "1"
    base = "rest * channels * size + channel" if pool.last else "(rest * channels + channel) * size"
    loops, indent, place = "", " " * 8, "base"
    for d in r:
        stride = " * ".join([f"h{i}" for i in range(d + 1, pool.rank)] + ([inner] if pool.last else []))
        loops += f"{indent}for (i64 t{d} = l{d}; t{d} < u{d}; t{d}++) {{\n"
        indent += "    "
        step = f"(f{d} + t{d} * e{d})" + (f" * {stride}" if stride else "")
        loops += f"{indent}const i64 p{d} = {place} + {step};\n"
        place = f"p{d}"
    loops += f"{indent}const i64 place = {place};\n"
    steps, begin, end = _steps(pool, t, value)
    loops += "".join(f"{indent}{line}\n" for line in steps)
    for _ in r:
        indent = indent[4:]
        loops += f"{indent}}}\n"
    whole = " * ".join(f"h{d}" for d in r)
    body = (
        f"{sizes}        const i64 size = {whole};\n        i64 rest = item;\n"
        + (channel + split if pool.last else split + channel)
        + f"        const i64 base = {base};\n{bounds}"
        + "".join(f"        {line}\n" for line in begin)
        + loops
        + "".join(f"        {line}\n" for line in end)
    )
    return Template(form, body, "count", functions_in(body))


def _steps(pool: Pool, t: str, value: str) -> tuple[list[str], list[str], list[str]]:
    """Statements for each element, before the first and behind the last."""
    result = "f16_of_f32(total)" if pool.kind == "f16" else "total"
    zero = [f"{t} total = 0;"]
    if pool.what == "max":
        least = LEAST.get(pool.kind, "-INFINITY")
        begin = [f"{t} total = {least};", "i64 found = -1;"]
        better = "v > total || found < 0" + ("" if pool.kind in LEAST else " || v != v")
        steps = [f"const {t} v = {value};", f"if ({better}) {{ total = v; found = place; }}"]
        end = [f"y[item] = {result};"]
        if pool.located:
            end += ["i64 number = found - base;", "if (columns && found >= 0) {", "    i64 left = number, order = 0;"]
            order = "0"
            for d in reversed(range(pool.rank)):
                end.append(f"    const i64 c{d} = left % h{d};")
                end.append(f"    left /= h{d};")
            order = "c0" if pool.rank == 1 else ""
            for d in reversed(range(pool.rank)):
                order = f"c{d}" if not order else f"({order}) * h{d} + c{d}"
            end += [f"    order = {order if pool.rank > 1 else 'c0'};", "    number = order;", "}"]
            end.append("at[item] = base + number;")
        return steps, begin, end
    if pool.what == "norm":
        power = f"pow(fabs(v), ({t})p)"
        steps = [f"const {t} v = {value};", f"total += p == 2 ? v * v : p == 1 ? fabs(v) : {power};"]
        end = [f"total = p == 2 ? sqrt(total) : p == 1 ? total : pow(total, 1 / ({t})p);", f"y[item] = {result};"]
        return steps, zero, end
    end = []
    inside, around = [], []
    for d in range(pool.rank):
        inside.append(f"(u{d} > l{d} ? u{d} - l{d} : 0)")
        end.append(f"const i64 w{d} = (h{d} + a{d} - f{d} + e{d} - 1) / e{d};")
        around.append(f"(w{d} < k{d} ? w{d} : k{d})")
    end.append(f"i64 elements = padded ? {' * '.join(around)} : {' * '.join(inside)};")
    end.append("if (elements < 1) elements = 1;")
    if pool.quantised:
        low, high = (-128, 127) if pool.kind == "i8" else (0, 255)
        end += [
            "const f32 shift = y_zero ? (f32)y_zero[0] : 0.0f;",
            "f32 v = rint((f32)total / (f32)elements * (x_scale[0] / y_scale[0]));",
            f"v = v < {low} - shift ? {low} - shift : v > {high} - shift ? {high} - shift : v;",
            f"y[item] = ({pool.kind})(i32)(v + shift);",
        ]
        return [f"total += {value};"], [*zero, "const i32 zero = x_zero ? (i32)x_zero[0] : 0;"], end
    end += [f"total /= ({t})elements;", f"y[item] = {result};"]
    return [f"total += {value};"], zero, end
