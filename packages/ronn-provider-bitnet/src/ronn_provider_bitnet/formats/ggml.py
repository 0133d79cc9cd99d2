"""Ternary tensors of GGUF files.

Sources: TQ1_0 and TQ2_0 are llama.cpp's (ggml-quants.c, ``dequantize_row_tq1_0`` and ``..._tq2_0``; ggml-common.h):
blocks of 256 along a row, each with a float16 scale behind its codes. I2_S is bitnet.cpp's (src/ggml-bitnet-mad.cpp,
``quantize_i2_s``): two bits, one float32 scale for the tensor behind all codes, 32 bytes for it. The order of its codes
depends on how the file's maker was compiled, and the file does not say: ``I2sOrder``.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal, NamedTuple, get_args

import numpy as np

from ronn.errors import ModelError
from ronn_provider_bitnet.formats.reading import extra
from ronn_provider_bitnet.formats.ternary import Ternary

Array = np.ndarray
I2sOrder = Literal["128", "64", "rows"]
"""``128``: byte j of each 32 holds elements j, j + 32, j + 64 and j + 96, the highest bits the first (x86 with
ACT_PARALLEL); ``64``: j, j + 16, j + 32 and j + 48 of each 16 bytes (ARM); ``rows``: byte k of four consecutive rows
holds their elements k (x86 without ACT_PARALLEL)."""
I2_S, TQ1_0, TQ2_0 = 36, 34, 35
BLOCK = 256
_TYPES = {I2_S: "I2_S", TQ1_0: "TQ1_0", TQ2_0: "TQ2_0"}
_BLOCK_BYTES = {TQ1_0: 54, TQ2_0: 66}
_FLOATS: dict[int, str] = {0: "<f4", 1: "<f2"}
_SUFFIX = ".weight"
_SCALE_BYTES = 32


class _Info(NamedTuple):
    """A tensor of a file: its dimensions from the outermost, the number of its type, and where its bytes begin."""

    shape: tuple[int, ...]
    type: int
    start: int


def read_gguf(
    path: str | Path, *, order: I2sOrder = "128", tell: Callable[[str], None] | None = None
) -> dict[str, Ternary]:
    """Ternary layers by name. Tensors of other types (embeddings, norms) are left out.

    order: of the codes of I2_S. Inputs are rounded to eight bits where the tensors are I2_S (bitnet.cpp has no other
    product of them) or the architecture's name begins with ``bitnet``.
    """
    if order not in get_args(I2sOrder):
        raise ModelError(f"{order!r} is no order of I2_S codes", hint=f"known are {', '.join(get_args(I2sOrder))}")
    data, infos, architecture = _open(Path(path))
    found: dict[str, Ternary] = {}
    for key, info in infos.items():
        if info.type not in _TYPES or not key.endswith(_SUFFIX):
            continue
        name = key.removesuffix(_SUFFIX)
        if tell is not None:
            tell(name)
        if len(info.shape) != 2:
            raise ModelError(f"{key}: ternary weights of shape {info.shape}, not [N, K]")
        codes, scale, group = _unpacked(key, info, _bytes(data, key, info, order), order)
        bias = infos.get(f"{name}.bias")
        given = None if bias is None else _floats(data, f"{name}.bias", bias)
        rounded = info.type == I2_S or architecture.startswith("bitnet")
        found[name] = Ternary(name, codes, scale, group, given, 8 if rounded else 0)
    if not found:
        kinds = sorted({i.type for i in infos.values()})
        raise ModelError(
            f"{path}: no ternary tensors in it", hint=f"I2_S, TQ1_0 and TQ2_0 are read; types here: {kinds}"
        )
    return found


def unpack_i2s(packed: Array, shape: tuple[int, int], order: I2sOrder = "128") -> Array:
    """Codes u8[N, K] of packed u8[N * K / 4]."""
    n, k = shape
    quarter = {"128": 32, "64": 16, "rows": k}[order]
    parts = packed.reshape(-1, 1, quarter) >> np.array([6, 4, 2, 0], np.uint8)[:, None] & np.uint8(3)
    return parts.reshape(n, k)


def unpack_tq2(blocks: Array) -> Array:
    """Codes u8[blocks, 256] of u8[blocks, 64]: byte j of each 32 holds elements j, j + 32, j + 64 and j + 96, the
    lowest bits the first."""
    parts = blocks.reshape(len(blocks), 2, 1, 32) >> np.array([0, 2, 4, 6], np.uint8)[:, None] & np.uint8(3)
    return parts.reshape(len(blocks), BLOCK)


def unpack_tq1(blocks: Array) -> Array:
    """Codes u8[blocks, 256] of u8[blocks, 52]: 48 bytes of five trits (in runs of 32 and 16 bytes) and four of four.

    A byte is a fraction of 256, its digits in base 3 from the highest: times 3, the carry is the first.
    """
    runs = ((slice(0, 32), 5), (slice(32, 48), 5), (slice(48, 52), 4))
    out = []
    for part, digits in runs:
        rest = blocks[:, part].astype(np.uint16)
        for _ in range(digits):
            rest = rest * np.uint16(3)
            out.append((rest >> np.uint16(8)).astype(np.uint8))
            rest = rest & np.uint16(255)
    return np.concatenate(out, axis=1)


def _unpacked(key: str, info: _Info, raw: Array, order: I2sOrder) -> tuple[Array, Array, int]:
    n, k = info.shape
    if info.type == I2_S:
        scale = raw[n * k // 4 :][:4].view("<f4").astype(np.float32).reshape(1, 1)
        return unpack_i2s(raw[: n * k // 4], (n, k), order), scale, 0
    blocks = raw.reshape(-1, _BLOCK_BYTES[info.type])
    scales = np.ascontiguousarray(blocks[:, -2:]).view("<f2").astype(np.float32).reshape(n, -1)
    codes = (unpack_tq1 if info.type == TQ1_0 else unpack_tq2)(blocks[:, :-2]).reshape(n, k)
    return codes, scales, BLOCK


def _bytes(data: Array, key: str, info: _Info, order: I2sOrder) -> Array:
    """The bytes of a ternary tensor; raises ModelError where its shape does not fit its type, or the file ends."""
    n, k = info.shape
    kind = _TYPES[info.type]
    if info.type == I2_S:
        if n % 4 if order == "rows" else (n * k) % int(order):
            raise ModelError(f"{key}: {n} x {k} elements are not whole blocks of {kind} (order {order!r})")
        size = n * k // 4 + _SCALE_BYTES
    else:
        if k % BLOCK or not k:
            raise ModelError(f"{key}: rows of {k} elements are not whole blocks of {BLOCK} ({kind})")
        size = n * k // BLOCK * _BLOCK_BYTES[info.type]
    return _slice(data, key, info.start, size)


def _slice(data: Array, key: str, start: int, size: int) -> Array:
    if start + size > len(data):
        raise ModelError(
            f"{key}: its {size} bytes at {start} go beyond the file's {len(data)}", hint="the file is cut short"
        )
    return np.array(data[start : start + size])


def _floats(data: Array, key: str, info: _Info) -> Array:
    if info.type not in _FLOATS or len(info.shape) != 1:
        raise ModelError(f"{key}: a bias of type {info.type} and shape {info.shape}, not float32 or float16 [N]")
    dtype = np.dtype(_FLOATS[info.type])
    return _slice(data, key, info.start, info.shape[0] * dtype.itemsize).view(dtype).astype(np.float32)


def _open(path: Path) -> tuple[Array, dict[str, _Info], str]:
    """The bytes of a file, its tensors, and its architecture. The library reads the container, but its list of types
    lacks bitnet.cpp's, so tensors are taken from their headers."""
    with extra("gguf"):
        from gguf import GGUFReader

    class Reader(GGUFReader):  # type: ignore[misc]
        infos: dict[str, _Info]

        def _build_tensors(self, start_offs: int, fields: list[Any]) -> None:
            self.infos = {}
            for field in fields:
                _, name, _, dims, kind, offset = field.parts
                shape = tuple(int(d) for d in reversed(dims.tolist()))
                self.infos[bytes(name).decode("utf-8")] = _Info(shape, int(kind[0]), int(start_offs) + int(offset[0]))

    if not path.is_file():
        raise ModelError(f"{path}: no such file")
    try:
        reader = Reader(path)
        named = reader.get_field("general.architecture")
        architecture = "" if named is None else str(named.contents())
    except (ValueError, IndexError, KeyError, TypeError, OverflowError, MemoryError) as e:
        raise ModelError(f"{path}: cannot be read as GGUF: {e}", hint="the file may be cut short") from e
    if reader.byte_order != "I":
        raise ModelError(f"{path}: written for the other byte order", hint="convert it with gguf-convert-endian")
    if any(math.prod(i.shape) > 8 * len(reader.data) and i.type in _TYPES for i in reader.infos.values()):
        raise ModelError(f"{path}: tensors of more elements than the file has room for", hint="the file is cut short")
    return reader.data, reader.infos, architecture
