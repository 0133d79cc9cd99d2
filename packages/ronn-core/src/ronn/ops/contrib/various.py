"""Reference kernels: text, indices, matrices."""

# mypy: disable-error-code="no-any-return"
from __future__ import annotations

import re
from typing import Any

import numpy as np

from ronn.ops.contrib.dense import MS, attributes, onnx_op, wide
from ronn.provider import KernelContext, kernel


@kernel("Trilu", domain=MS)
def trilu(ctx: KernelContext, x: np.ndarray, k: np.ndarray | None = None, *, upper: int) -> np.ndarray:
    offset = 0 if k is None else int(k.reshape(()))
    return np.triu(x, offset) if upper else np.tril(x, offset)


@kernel("Inverse", domain=MS)
def inverse(ctx: KernelContext, x: np.ndarray) -> np.ndarray:
    return np.linalg.inv(wide(x)).astype(x.dtype)


@kernel("ExpandDims", domain=MS)
def expand_dims(ctx: KernelContext, x: np.ndarray, axis: np.ndarray) -> np.ndarray:
    return np.expand_dims(x, int(axis.reshape(())))


@kernel("CDist", domain=MS)
def cdist(ctx: KernelContext, a: np.ndarray, b: np.ndarray, *, metric: str) -> np.ndarray:
    squared = ((a[:, None, :].astype(np.float64) - b[None].astype(np.float64)) ** 2).sum(axis=-1)
    if metric not in ("euclidean", "sqeuclidean"):
        raise ValueError(f"unknown metric {metric!r}")
    return (squared if metric == "sqeuclidean" else np.sqrt(squared)).astype(a.dtype)


@kernel("Unique", domain=MS)
def unique(ctx: KernelContext, x: np.ndarray) -> Any:
    """Values in order of first appearance, the index of each element's value, and counts."""
    values, first, where, counts = np.unique(x, return_index=True, return_inverse=True, return_counts=True)
    order = np.argsort(first)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return values[order], rank[where.reshape(-1)].astype(np.int64), counts[order].astype(np.int64)


@kernel("Range", domain=MS)
def arange(ctx: KernelContext, start: np.ndarray, limit: np.ndarray, delta: np.ndarray | None = None) -> np.ndarray:
    step = start.dtype.type(1) if delta is None else delta.reshape(-1)[0]
    return np.arange(start.reshape(-1)[0], limit.reshape(-1)[0], step, dtype=start.dtype)


@kernel("Pad", domain=MS)
def pad(
    ctx: KernelContext, x: np.ndarray, pads: np.ndarray, value: np.ndarray | None = None, *, mode: str
) -> np.ndarray:
    filler = np.zeros((), x.dtype) if value is None else value.reshape(())
    return onnx_op("Pad", x, pads.reshape(-1), filler, mode=mode)


@kernel("GridSample", domain=MS)
def grid_sample(ctx: KernelContext, x: np.ndarray, grid: np.ndarray) -> np.ndarray:
    given = attributes(ctx)
    given["mode"] = {"bilinear": "linear", "bicubic": "cubic"}.get(ctx.attr("mode"), ctx.attr("mode"))
    return onnx_op("GridSample", x, grid, **given)


@kernel("Tokenizer", domain=MS)
def tokenizer(
    ctx: KernelContext,
    x: np.ndarray,
    *,
    mark: int,
    mincharnum: int,
    pad_value: str,
    separators: list[str] | None,
    tokenexp: str | None,
) -> np.ndarray:
    """Strings [C] or [N, C] -> tokens [..., D], padded with ``pad_value``; ``mark`` wraps rows in \\x02 and \\x03."""
    rows = [_tokens(text, separators, tokenexp, mincharnum) for text in x.reshape(-1)]
    if mark:
        rows = [["\x02", *tokens, "\x03"] for tokens in rows]
    longest = max((len(r) for r in rows), default=0)
    out = np.full((len(rows), longest), pad_value, dtype=object)
    for i, tokens in enumerate(rows):
        out[i, : len(tokens)] = tokens
    return out.reshape(*x.shape, longest)


def _tokens(text: str, separators: list[str] | None, expression: str | None, shortest: int) -> list[str]:
    if expression:
        found = [m.group(0) for m in re.finditer(expression, text)]
    elif not separators or separators == [""]:
        found = list(text)
    else:
        found = [text]
        for separator in separators:
            found = [piece for token in found for piece in re.split(separator, token)]
    return [t for t in found if len(t) >= max(shortest, 1)]


def _rotate_left(x: int, n: int) -> int:
    return ((x << n) | (x >> (32 - n))) & 0xFFFFFFFF


def murmur3(data: bytes, seed: int) -> int:
    """MurmurHash3 x86 32-bit of ``data``."""
    h, end = seed & 0xFFFFFFFF, len(data) & ~3
    for i in range(0, end, 4):
        k = int.from_bytes(data[i : i + 4], "little") * 0xCC9E2D51 & 0xFFFFFFFF
        h ^= _rotate_left(k, 15) * 0x1B873593 & 0xFFFFFFFF
        h = (_rotate_left(h, 13) * 5 + 0xE6546B64) & 0xFFFFFFFF
    tail = int.from_bytes(data[end:], "little")
    if tail:
        h ^= _rotate_left(tail * 0xCC9E2D51 & 0xFFFFFFFF, 15) * 0x1B873593 & 0xFFFFFFFF
    h ^= len(data)
    h = (h ^ (h >> 16)) * 0x85EBCA6B & 0xFFFFFFFF
    h = (h ^ (h >> 13)) * 0xC2B2AE35 & 0xFFFFFFFF
    return h ^ (h >> 16)


@kernel("MurmurHash3", domain=MS)
def murmur_hash(ctx: KernelContext, x: np.ndarray, *, positive: int, seed: int) -> np.ndarray:
    hashes = [murmur3(v.encode() if isinstance(v, str) else v.tobytes(), seed) for v in x.reshape(-1)]
    out = np.array(hashes, np.uint32).reshape(x.shape)
    return out if positive else out.view(np.int32)
