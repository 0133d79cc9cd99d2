"""Bytes of a layer's weights, in memory and on disk, scales included."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

import ronn
from benchmarks.bitnet.chain import Chain, activations
from ronn_provider_bitnet.formats import to_onnx
from ronn_provider_bitnet.formats.ternary import Ternary


@dataclass(frozen=True)
class Size:
    """``smaller`` is bytes of float32 over these."""

    what: str
    bytes: int
    smaller: float


def layer(size: int, binary: bool, activation_bits: int = 8) -> Ternary:
    """A layer of size x size with a float32 scale for each row."""
    codes = (Chain((size,), 1, binary).matrix(0) + 1).astype(np.uint8)
    scale = np.random.default_rng(0).uniform(0.01, 0.02, (size, 1)).astype(np.float16).astype(np.float32)
    return Ternary("layer", codes, scale, activations=activation_bits)


def packed(model: object, size: int) -> int:
    """Bytes of the weights as a session keeps them to run one row."""
    session = ronn.Session(model, providers=["bitnet"], options={"threads": 1})
    session.run(activations(1, size))
    return session.memory().packed


def sizes(size: int = 4096) -> list[Size]:
    floats = 4 * size * size
    ternary, binary = layer(size, binary=False), layer(size, binary=True)
    found = {
        "binary, packed in memory": packed(to_onnx(binary), size),
        "ternary, packed in memory": packed(to_onnx(ternary), size),
        "ternary, on disk, five in a byte": len(to_onnx(ternary, form="trits").SerializeToString()),
        "ternary, on disk, INT2": len(to_onnx(ternary).SerializeToString()),
    }
    return [Size("float32", floats, 1.0), *(Size(what, b, floats / b) for what, b in found.items())]
