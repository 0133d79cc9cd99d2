"""Products of unsigned by signed bytes with int32 sums: matrix products and, through a table of rows, convolutions.

The right side is packed once: panels of ``tile.columns`` columns, each ``[taps, K / 4, columns, 4]`` (K padded to a
multiple of 4 with zeros); the last panel is as many vectors wide as it needs. Left rows are bytes whose length is a
multiple of 4. Signed left sides are shifted by 128 before, unsigned right sides by -128 when packed; zero points of
both sides become corrections of the sums, so every result is exact.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek
from ronn_codegen.simd.target import Target
from ronn_codegen.templates._int8_tile import BYTES, FLOATS, WORDS, panel
from ronn_codegen.templates.int8_pack import UNIT, depthwise_tile, planes_tile, tile_of

_GEOMETRY = (
    "x", "table", "m", "n", "w", "taps", "row_step", "cols", "col_step", "groups", "y", "pitch", "init", "colsum",
    "zero", "scale",
)  # fmt: skip


# Zero point and scale of the left side, from their addresses.
_AT_RUN_TIME = (
    "    zero = byte(zero_at, 0) if zero_at != 0 else 0",
    "    factor = real(factor_at, 0) if factor_at != 0 else one",
)


def driver(target: Target, kind: str, depthwise: bool = False) -> Callable[..., None]:
    """Shares out (panel, unit of rows) pairs and calls the panel of the right width."""
    tile = depthwise_tile(target) if depthwise else tile_of(target)
    names = BYTES if kind == "bytes" else WORDS
    scope: dict[str, Any] = {
        "min": min, "lanes": tile.lanes, "width": tile.columns, "unit": UNIT, "one": np.float32(1),
        "byte": peek("u8"), "real": peek("f32"),
    }  # fmt: skip
    size = 1 if kind == "bytes" else 4
    per_column = ("init", "colsum", "scale", "bias", "col_zero", "affine")
    values = {n: f"{n} + 4 * at" if n in per_column else n for n in names}
    values |= {"first": "begin", "last": "end", "w": "here", "y": f"y + {size} * at"}
    if kind == "bytes":
        values["add"] = "add + at if add != 0 else 0"
    if depthwise:
        values["x"] = "x + at"
    calls = []
    for v in range(tile.vectors, 0, -1):
        scope[f"panel{v}"] = panel(target, v, kind, depthwise)
        test = "else:" if v == 1 else f"{'if' if v == tile.vectors else 'elif'} vectors == {v}:"
        calls += [f"        {test}", f"            panel{v}({', '.join(values[n] for n in names)})"]
    source = "\n".join([
        f"def run({', '.join(_parameters(kind))}, worker, workers):",
        *(_AT_RUN_TIME if kind == "words" else []),
        "    panels = (n + width - 1) // width",
        "    units = (m + unit - 1) // unit",
        "    at_work = panels * units * worker // workers",
        "    until = panels * units * (worker + 1) // workers",
        "    while at_work < until:",
        "        p = at_work // units",
        "        first = at_work - p * units",
        "        count = min(units - first, until - at_work)",
        "        begin = first * unit",
        "        end = min((first + count) * unit, m)",
        "        at = p * width",
        "        columns = min(width, n - at)",
        "        vectors = (columns + lanes - 1) // lanes",
        f"        here = w + taps * cols * {'at' if depthwise else 'groups * 4 * at'}",
        *calls,
        "        at_work += count",
    ])  # fmt: skip
    exec(source + "\n", scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True)(scope["run"])
    return made


def _parameters(kind: str) -> list[str]:
    names = BYTES if kind == "bytes" else WORDS
    renamed = {"zero": "zero_at", "factor": "factor_at"} if kind == "words" else {}
    extra = names[names.index("scale") + 1 :]
    return [renamed.get(n, n) for n in (*_GEOMETRY, *extra)]


def form(name: str, kind: str) -> str:
    return f"{name}({', '.join(f'{n}: f32' if n in FLOATS else n for n in _parameters(kind))})"


@native(form("int8_bytes", "bytes"))
def int8_bytes(target: Target) -> Callable[..., None]:
    """y = round(sums * scale) clamped to [low, high], through further stages, plus ``out_zero``, as bytes."""
    return driver(target, "bytes")


@native(form("int8_words", "words"))
def int8_words(target: Target) -> Callable[..., None]:
    """y = sums * factor * scale + bias clamped to [low, high] in float32, or the int32 sums themselves (``raw``).

    zero_at, factor_at: addresses of the left side's zero point (uint8) and scale (float32), known only at run time;
    0 stands for 0 and 1.
    """
    return driver(target, "words")


@native(form("int8_planes", "words").replace("m, n,", "images, m, n,", 1))
def int8_planes(target: Target) -> Callable[..., None]:
    """As ``int8_words`` for ``images`` of m rows; column j of image i is contiguous at ``y + (i * n + j) * pitch``.
    Weights are packed for ``planes_tile``."""
    scope: dict[str, Any] = {
        "min": min, "lanes": planes_tile(target).lanes, "one": np.float32(1), "byte": peek("u8"), "real": peek("f32"),
        "panel": panel(target, 1, "planes"),
    }  # fmt: skip
    values = {n: f"{n} + 4 * at" if n in ("init", "colsum", "scale", "bias", "col_zero") else n for n in WORDS}
    values |= {
        "table": "table + 4 * image * m", "first": "first * lanes", "last": "min((first + count) * lanes, m)",
        "w": "w + taps * cols * groups * 4 * at", "y": "y + (image * n + at) * pitch", "columns": "min(lanes, n - at)",
        "rowsum": "rowsum + 4 * image * m if rowsum != 0 else 0",
    }  # fmt: skip
    source = "\n".join([
        f"def run({', '.join(_parameters('words')).replace('m, n,', 'images, m, n,', 1)}, worker, workers):",
        *_AT_RUN_TIME,
        "    units = (m + lanes - 1) // lanes",
        "    work = (n + lanes - 1) // lanes * images * units",
        "    done, until = work * worker // workers, work * (worker + 1) // workers",
        "    while done < until:",
        "        first = done % units",
        "        image = done // units % images",
        "        at = done // units // images * lanes",
        "        count = min(units - first, until - done)",
        f"        panel({', '.join(values[n] for n in WORDS)})",
        "        done += count",
    ])  # fmt: skip
    exec(source + "\n", scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True)(scope["run"])
    return made
