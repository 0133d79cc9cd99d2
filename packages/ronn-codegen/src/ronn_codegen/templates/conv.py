"""Two-dimensional convolution template on blocked channels, in float32.

Activations are ``[N, C/L, H, W, L]`` and weights ``[K/L, C/L, R, S, L (of C), L (of K)]``, where L is the lane count:
one vector holds L channels of one pixel. The inner kernel keeps a tile of ``pixels`` x ``blocks`` vectors of the output
in registers: ``pixels`` neighbours of a row in ``blocks`` blocks of output channels. Per input channel and filter tap
it loads ``blocks`` vectors of weights and broadcasts one input value a pixel: ``pixels * blocks * L`` multiply-adds.

The input carries its padding (``block_input`` puts it there), so that no tap is ever out of bounds. Channels beyond C
or K are zero.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target


@dataclass(frozen=True)
class ConvTile:
    """The register tile: ``pixels`` of a row by ``blocks`` blocks of ``lanes`` output channels."""

    pixels: int
    blocks: int
    lanes: int


def tile_of(target: Target) -> ConvTile:
    """The tile whose accumulators and one load of weights fill the registers of ``target``."""
    lanes = target.lanes(32)
    return ConvTile(7, 3, lanes) if target.registers >= 32 else ConvTile(6, 2, lanes)


@dataclass(frozen=True)
class ConvShape:
    """Sizes of one convolution, without groups. ``pads`` is (top, left, bottom, right)."""

    n: int
    c: int
    h: int
    w: int
    k: int
    r: int
    s: int
    strides: tuple[int, int] = (1, 1)
    pads: tuple[int, int, int, int] = (0, 0, 0, 0)
    dilations: tuple[int, int] = (1, 1)

    @property
    def padded(self) -> tuple[int, int]:
        """Height and width of the input with its padding."""
        top, left, bottom, right = self.pads
        return self.h + top + bottom, self.w + left + right

    @property
    def out(self) -> tuple[int, int]:
        """Height and width of the output."""
        high, wide = self.padded
        return (
            (high - self.dilations[0] * (self.r - 1) - 1) // self.strides[0] + 1,
            (wide - self.dilations[1] * (self.s - 1) - 1) // self.strides[1] + 1,
        )

    @property
    def flops(self) -> int:
        """Floating-point operations, a multiply-add counted as two."""
        high, wide = self.out
        return 2 * self.n * self.k * high * wide * self.c * self.r * self.s


def blocks_of(channels: int, lanes: int) -> int:
    return -(-channels // lanes)


def block_input(x: np.ndarray, shape: ConvShape, lanes: int) -> np.ndarray:
    """x[N, C, H, W] as [N, C/L, H', W', L] with the padding of ``shape``."""
    top, left, _, _ = shape.pads
    high, wide = shape.padded
    out = np.zeros((shape.n, blocks_of(shape.c, lanes), high, wide, lanes), np.float32)
    for c in range(shape.c):
        out[:, c // lanes, top : top + shape.h, left : left + shape.w, c % lanes] = x[:, c]
    return out


def block_weights(weights: np.ndarray, lanes: int) -> np.ndarray:
    """weights[K, C, R, S] as [K/L, C/L, R, S, L, L]."""
    k, c, r, s = weights.shape
    kb, cb = blocks_of(k, lanes), blocks_of(c, lanes)
    padded = np.zeros((kb * lanes, cb * lanes, r, s), np.float32)
    padded[:k, :c] = weights
    return np.ascontiguousarray(padded.reshape(kb, lanes, cb, lanes, r, s).transpose(0, 2, 4, 5, 3, 1))


def unblock(y: np.ndarray, channels: int) -> np.ndarray:
    """[N, K/L, H, W, L] as [N, K, H, W]."""
    n, kb, high, wide, lanes = y.shape
    return y.transpose(0, 1, 4, 2, 3).reshape(n, kb * lanes, high, wide)[:, :channels]


def _inner_source(pixels: int, blocks: int, lanes: int) -> str:
    """One register tile: reads x from the tile's first pixel on, and all taps of its blocks of weights."""
    p, b = range(pixels), range(blocks)
    out = ["def inner(cb, last, r, s, x, x_plane, x_row, x_tap, x_down, x_step, w, w_block, bias, y, y_block):"]
    out += [f"    acc{i}_{j} = load(bias, {j * lanes})" for i in p for j in b]
    out += ["    at = 0", "    for c in range(cb):", f"        channels = last if c == cb - 1 else {lanes}"]
    out += ["        for i in range(r):", "            for j in range(s):"]
    out += ["                tap = x + 4 * (c * x_plane + i * x_down * x_row + j * x_tap)"]
    out += ["                for lane in range(channels):"]
    out += [f"                    w{j} = load(w, at + lane * {lanes} + {j} * w_block)" for j in b]
    for i in p:
        out += [f"                    v = broadcast(tap, {i} * x_step + lane)"]
        out += [f"                    acc{i}_{j} = fma(v, w{j}, acc{i}_{j})" for j in b]
    out += [f"                at += {lanes * lanes}"]
    out += [f"    store(y, {i * lanes} + {j} * y_block, acc{i}_{j})" for i in p for j in b]
    return "\n".join(out) + "\n"


def _inner(pixels: int, blocks: int, lanes: int) -> Callable[..., None]:
    vector = VectorType("f32", lanes)
    scope: dict[str, Any] = {
        "load": vector.load, "store": vector.store, "broadcast": vector.broadcast, "fma": ops.fma,
    }  # fmt: skip
    exec(_inner_source(pixels, blocks, lanes), scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(scope["inner"])
    return made


@cache
def conv(tile: ConvTile) -> Callable[..., None]:
    """The kernel of one register tile, as
    ``fn(n, c, kb, h, w, oh, ow, r, s, sh, sw, dh, dw, x, weights, bias, y, worker, workers)``.

    c counts channels, kb blocks of them; x, weights, bias (``[K/L, L]``) and y are addresses of blocked arrays; h and w
    include the padding. Each of ``workers``
    threads calls it with its own number and computes its share of the rows of output.
    """
    lanes, blocks = tile.lanes, tile.blocks
    scope: dict[str, Any] = {"lanes": lanes, "pixels": tile.pixels, "blocks": blocks}
    arguments = "cb, last, r, s, at, plane, row, dw * lanes, dh, sw * lanes, wk, w_block, bk, to, y_block"
    calls: list[str] = []
    for count in range(blocks, 0, -1):
        calls += [f"        {'if' if count == blocks else 'elif'} width == {count}:", "            while left > 0:"]
        for pixels in range(tile.pixels, 0, -1):
            name = f"tile{pixels}_{count}"
            scope[name] = _inner(pixels, count, lanes)
            test = f"left >= {pixels}" if pixels == tile.pixels else f"left == {pixels}"
            calls += [
                f"                {'if' if pixels == tile.pixels else 'elif'} {test}:",
                f"                    {name}({arguments})",
                f"                    done = {pixels}",
            ]
        calls += [
            "                at += 4 * done * sw * lanes",
            "                to += 4 * done * lanes",
            "                left -= done",
        ]
    source = "\n".join([
        "def run(n, c, kb, h, w, oh, ow, r, s, sh, sw, dh, dw, x, weights, bias, y, worker, workers):",
        "    cb = (c + lanes - 1) // lanes",
        "    last = c - (cb - 1) * lanes",
        "    row = w * lanes",
        "    plane = h * row",
        "    y_block = oh * ow * lanes",
        "    w_block = cb * r * s * lanes * lanes",
        "    groups = (kb + blocks - 1) // blocks",
        "    rows = n * groups * oh",
        "    for work in range(rows * worker // workers, rows * (worker + 1) // workers):",
        "        oy = work % oh",
        "        group = work // oh % groups",
        "        image = work // oh // groups",
        "        k = kb * group // groups",
        "        width = kb * (group + 1) // groups - k",
        "        wk = weights + 4 * k * w_block",
        "        bk = bias + 4 * k * lanes",
        "        at = x + 4 * (image * cb * plane + oy * sh * row)",
        "        to = y + 4 * ((image * kb + k) * y_block + oy * ow * lanes)",
        "        left = ow",
        *calls,
    ])  # fmt: skip
    exec(source + "\n", scope)
    made: Callable[..., None] = njit(error_model="numpy", nogil=True)(scope["run"])
    return made


def conv_arguments(shape: ConvShape, tile: ConvTile) -> tuple[int, ...]:
    """The sizes that ``conv(tile)`` takes, before the addresses."""
    high, wide = shape.padded
    out_high, out_wide = shape.out
    return (
        shape.n, shape.c, blocks_of(shape.k, tile.lanes), high, wide, out_high, out_wide,
        shape.r, shape.s, *shape.strides, *shape.dilations,
    )  # fmt: skip


@native("conv_f32(n, c, kb, h, w, oh, ow, r, s, sh, sw, dh, dw, x, weights, bias, y)")
def conv_f32(target: Target) -> Callable[..., None]:
    return conv(tile_of(target))
