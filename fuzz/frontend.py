"""Bytes through ``ronn.load``: what loads must keep the rules that imported graphs have."""

from __future__ import annotations

import random
import sys
import warnings
import zlib
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
SEEDS = 150
MAX_SEED_BYTES = 1500
LIMITS = {"max_model_bytes": 1 << 20, "max_tensor_bytes": 1 << 20, "max_nodes": 2000}

sys.path.insert(0, str(ROOT / "packages/ronn-core/tests/frontend"))

with atheris.instrument_imports(include=["ronn"]):
    import ronn.model
    from ronn.errors import ModelError
    from ronn.frontend import weights
    from ronn.ir.verify import verify

from mutate import mutate as mutate_model  # noqa: E402


def seeds() -> list[bytes]:
    """Small node models of ONNX's backend tests: every kind of attribute, type and subgraph is among them."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        from onnx.backend.test.case.node import collect_testcases

        models = [c.model.SerializeToString() for c in collect_testcases(None)]
    small = [m for m in models if len(m) <= MAX_SEED_BYTES]
    return random.Random(0).sample(small, SEEDS)


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """A change of the model's fields, or of its bytes."""
    rng = random.Random(seed)
    if rng.random() < 0.6:
        try:
            changed = mutate_model(data, rng)
        except Exception:
            changed = b""  # it is no model any more
        if 0 < len(changed) <= max_size:
            return changed
    return bytes(atheris.Mutate(data, max_size))


def run(data: bytes) -> str:
    """Loads a model; returns how far it got."""
    if zlib.crc32(data) % 2:  # the way that only large files go
        weights.MIN_MODEL, weights.MIN_RAW = 0, 8
    else:
        weights.MIN_MODEL, weights.MIN_RAW = 1 << 20, 4096
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            graph = ronn.load(data, LIMITS).graph
    except ModelError:
        return "refused"
    str(graph)
    try:
        verify(graph, "imported")
    except ModelError:  # what RONN breaks itself is an InternalError
        return "loaded, for no session to run"
    return "loaded"
