"""Checkpoints written one element at a time from the layouts' descriptions: what the readers are held against."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gguf import GGUFWriter
from safetensors.numpy import save_file

Array = np.ndarray
I2_S = 36


def signs(n: int, k: int, seed: int = 0) -> Array:
    """int8[N, K] of -1, 0 and 1."""
    return np.random.default_rng(seed).integers(-1, 2, (n, k)).astype(np.int8)


def hf_packed(w: Array) -> Array:
    """u8[ceil(N / 4), K]: row r + i * rows of the weights in the bits 2i of row r, plus one."""
    rows = -(-len(w) // 4)
    out = np.zeros((rows, w.shape[1]), np.uint8)
    for row in range(len(w)):
        for k in range(w.shape[1]):
            out[row % rows, k] |= (int(w[row, k]) + 1) << (2 * (row // rows))
    return out


def hf_file(folder: Path, layers: dict[str, Array], *, config: dict[str, object] | None = None) -> Path:
    """A safetensors file of these tensors, and a config.json beside it."""
    file = folder / "model.safetensors"
    save_file({k: np.ascontiguousarray(v) for k, v in layers.items()}, file)
    if config is not None:
        (folder / "config.json").write_text(json.dumps({"quantization_config": config}), "utf-8")
    return file


def i2s_packed(w: Array, scale: float, order: str = "128") -> Array:
    """Bytes of an I2_S tensor: codes, then a float32 scale in 32 bytes."""
    n, k = w.shape
    out = np.zeros(n * k // 4, np.uint8)
    for row in range(n):
        for column in range(k):
            code, at = int(w[row, column]) + 1, row * k + column
            if order == "rows":
                byte, pair = row // 4 * k + column, row % 4
            else:
                quarter = int(order) // 4
                block, inside = divmod(at, int(order))
                byte, pair = block * quarter + inside % quarter, inside // quarter
            out[byte] |= code << (6 - 2 * pair)
    tail = np.zeros(32, np.uint8)
    tail[:4] = np.array([scale], "<f4").view(np.uint8)
    return np.concatenate([out, tail])


def gguf_file(
    path: Path, tensors: dict[str, tuple[Array, tuple[int, ...], int]], *, architecture: str = "llama"
) -> Path:
    """A GGUF file of raw tensors: bytes, shape from the outermost, type number."""
    writer = GGUFWriter(path, architecture)
    for name, (data, shape, kind) in tensors.items():
        writer.add_tensor_info(name, shape, np.dtype(np.float32), data.nbytes, raw_dtype=kind)  # type: ignore[arg-type]
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for data, _, _ in tensors.values():
        writer.write_tensor_data(data)
    writer.close()
    return path
