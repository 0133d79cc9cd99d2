"""Convolutions of signs with weights of one bit: products of ``kernels.xnor`` over windows that nobody copies.

A tile has neighbouring windows of a line by one panel of weights. Strips of output lines are computed pixel by pixel,
then transposed to channels.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.activation import activate
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.copy import words
from ronn_codegen.templates.reorder import transposer
from ronn_provider_bitnet.kernels.sign_layout import PAIR, panel_rows
from ronn_provider_bitnet.kernels.sign_pixels import NANS, ZEROS
from ronn_provider_bitnet.kernels.sign_windows import WORDS
from ronn_provider_bitnet.kernels.xnor import chooser, height_of, tile_of

_plan = words(WORDS)
_flag, _put = peek("i32"), poke("f32")
_NAN = np.float32(np.nan)
_jit = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)


@_jit
def _has_nan(nans: Any, flags: Any, line: Any, column: Any, kh: Any, kw: Any, dh: Any, dw: Any, wide: Any) -> Any:
    """Whether one of the pixels that a window reads has a NaN."""
    for i in range(kh):
        if _flag(flags, line + i * dh) & NANS:
            for j in range(kw):
                if _flag(nans, (line + i * dh) * wide + column + j * dw) != 0:
                    return True
    return False


def _transposed(target: Target) -> Any:
    """(source, step, pixels, columns, y, plane): f32[pixels, step], of which ``columns`` go to y[columns, plane]."""
    lanes = target.lanes(32)
    whole, ragged, partial = transposer(lanes)

    @_jit
    def run(source: Any, step: Any, pixels: Any, columns: Any, y: Any, plane: Any) -> None:
        for c in range(0, columns, lanes):
            rows = min(lanes, columns - c)
            for p in range(0, pixels, lanes):
                here = min(lanes, pixels - p)
                of, to = source + 4 * (p * step + c), y + 4 * (c * plane + p)
                if here == lanes and rows == lanes:
                    whole(of, step, to, plane)
                elif here == lanes:
                    ragged(of, step, to, plane, lanes, rows)
                else:
                    partial(of, step, to, plane, here, lanes, rows, here)

    return run


@native(
    "xnor_conv(a, flags, nans, plan, segments, offsets, steps, packed, sums, sum_at, factor, bias, bias_step, y, kept, "
    "mode, p0: f32, p1: f32)"
)
def xnor_conv(target: Target) -> Callable[..., None]:
    """y[N, O, rows, columns] of signs a[2, N, ...] (see ``sign_windows``) and ``pack_signs`` weights, whose taps go
    along rows of windows.

    The second plane counts where a window reads a line whose ``flags`` have ``ZEROS``. ``segments`` int64 ``offsets``
    are where ``steps`` neighbouring pairs of words begin; ``sums`` and ``sum_at`` those of ``Windows``; ``factor`` is
    f32 1. ``kept`` has f32[shares, pixels of a strip, rows of a panel]. Others are those of ``xnor_rows``.
    """
    plain, masked, finish = tile_of(target, 1, False), tile_of(target, 2, False), activate(target.lanes(32))
    which_plain, which_masked = chooser(target, 1), chooser(target, 2)
    high_plain, high_masked = height_of(target, 1), height_of(target, 2)
    rows_in_panel, transposed = panel_rows(target), _transposed(target)

    @njit(error_model="numpy", nogil=True)
    def run(
        a: Any, flags: Any, nans: Any, plan: Any, segments: Any, offsets: Any, steps: Any, packed: Any, sums: Any,
        sum_at: Any, factor: Any, bias: Any, bias_step: Any, y: Any, kept: Any, mode: Any, p0: Any, p1: Any,
        worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        n, c, o, _, _, kh, kw, sh, sw, dh, dw, _, _, oh, ow, high, wide, lines = _plan(plan)
        pixel = 8 * ((c + PAIR - 1) // PAIR)
        plane = n * high * wide * pixel
        panels, strips = (o + rows_in_panel - 1) // rows_in_panel, (oh + lines - 1) // lines
        size, row_bytes = 4 * rows_in_panel * (1 + 2 * segments * steps), 4 * rows_in_panel
        own = kept + worker * lines * ow * row_bytes
        for work in range(n * strips * panels * worker // workers, n * strips * panels * (worker + 1) // workers):
            p, image, first = work % panels, work // panels // strips, work // panels % strips * lines
            last = min(first + lines, oh)
            columns = min(o - p * rows_in_panel, rows_in_panel)
            for row in range(first, last):
                line, found = image * high + row * sh, 0
                for i in range(kh):
                    found |= _flag(flags, line + i * dh)
                column = 0
                while column < ow:
                    place = a + (line * wide + column * sw) * pixel
                    to = own + ((row - first) * ow + column) * row_bytes
                    of_sum = sum_at + 4 * (row * ow + column)
                    if found & ZEROS:
                        which = which_masked(ow - column)
                        count = high_masked(which)
                        masked(which, segments, offsets, steps, place, sw * pixel, plane, packed + p * size,
                               sums + p * row_bytes, of_sum, 4, factor, 0, bias + p * bias_step, to, row_bytes,
                               rows_in_panel)  # fmt: skip
                    else:
                        which = which_plain(ow - column)
                        count = high_plain(which)
                        plain(which, segments, offsets, steps, place, sw * pixel, plane, packed + p * size,
                              sums + p * row_bytes, of_sum, 4, factor, 0, bias + p * bias_step, to, row_bytes,
                              rows_in_panel)  # fmt: skip
                    if found & NANS:
                        for r in range(count):
                            if _has_nan(nans, flags, line, (column + r) * sw, kh, kw, dh, dw, wide):
                                for j in range(rows_in_panel):
                                    _put(to + r * row_bytes, j, _NAN)
                    column += count
            pixels = (last - first) * ow
            if mode != 0:
                finish(mode, own, rows_in_panel, pixels, rows_in_panel, p0, p1)
            at = y + 4 * ((image * o + p * rows_in_panel) * oh * ow + first * ow)
            transposed(own, rows_in_panel, pixels, columns, at, oh * ow)

    made: Callable[..., None] = run
    return made
