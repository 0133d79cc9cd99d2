"""Reference kernels: embeddings with normalisation, rotary positions."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.ops.contrib.dense import MS, wide
from ronn.provider import KernelContext, kernel


@kernel("EmbedLayerNormalization", domain=MS)
def embed_layer_normalization(
    ctx: KernelContext,
    ids: np.ndarray,
    segments: np.ndarray | None,
    words: np.ndarray,
    positions: np.ndarray,
    kinds: np.ndarray | None,
    gamma: np.ndarray,
    beta: np.ndarray,
    mask: np.ndarray | None = None,
    position_ids: np.ndarray | None = None,
    *,
    epsilon: float,
    mask_index_type: int,
) -> Any:
    """input_ids [B, S] -> [B, S, hidden]; mask_index [B] is the number of ones at the front of each mask row."""
    where = np.arange(ids.shape[1])[None] if position_ids is None else position_ids
    total = wide(words[ids]) + wide(positions[where])
    if kinds is not None and segments is not None:
        total = total + wide(kinds[segments])
    mean = total.mean(axis=-1, keepdims=True)
    variance = ((total - mean) ** 2).mean(axis=-1, keepdims=True)
    out = (total - mean) / np.sqrt(variance + np.float32(epsilon)) * wide(gamma) + wide(beta)
    if mask is None or (mask_index_type == 0 and ctx.n_outputs < 2):
        lengths = np.zeros(len(ids), np.int32)
    else:
        lengths = mask.astype(bool).sum(axis=1).astype(np.int32)
    full = (out.astype(words.dtype), lengths, total.astype(words.dtype))
    return full[0] if ctx.n_outputs == 1 else full[: ctx.n_outputs]


def rotate(x: np.ndarray, cos: np.ndarray, sin: np.ndarray, interleaved: bool) -> np.ndarray:
    """Rotary positions of x [..., size]; cos and sin [..., rotated / 2]. Elements beyond ``rotated`` pass through."""
    half = cos.shape[-1]
    turned, rest = x[..., : 2 * half], x[..., 2 * half :]
    if interleaved:
        real, imaginary = turned[..., 0::2], turned[..., 1::2]
    else:
        real, imaginary = turned[..., :half], turned[..., half:]
    new_real, new_imaginary = real * cos - imaginary * sin, real * sin + imaginary * cos
    if interleaved:
        joined = np.stack([new_real, new_imaginary], axis=-1).reshape(turned.shape)
    else:
        joined = np.concatenate([new_real, new_imaginary], axis=-1)
    return np.concatenate([joined, rest], axis=-1)


@kernel("RotaryEmbedding", domain=MS)
def rotary_embedding(
    ctx: KernelContext,
    x: np.ndarray,
    position_ids: np.ndarray,
    cos_cache: np.ndarray,
    sin_cache: np.ndarray,
    *,
    interleaved: int,
    num_heads: int,
    rotary_embedding_dim: int,
) -> np.ndarray:
    """x [B, S, hidden] or [B, heads, S, size]; position_ids [1] (an offset) or [B, S]."""
    flat = x.ndim == 3
    if flat:
        size = x.shape[2] // num_heads if num_heads and rotary_embedding_dim else 2 * cos_cache.shape[1]
        heads = wide(x).reshape(x.shape[0], x.shape[1], -1, size)
    else:
        heads = wide(x).swapaxes(1, 2)
    steps = heads.shape[1]
    at = position_ids.reshape(-1)[0] + np.arange(steps)[None] if position_ids.size == 1 else position_ids
    out = rotate(heads, wide(cos_cache)[at][:, :, None], wide(sin_cache)[at][:, :, None], bool(interleaved))
    return (out.reshape(x.shape) if flat else out.swapaxes(1, 2)).astype(x.dtype)
