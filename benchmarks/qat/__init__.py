"""Trained examples of weights with few bits: a CNN on MNIST and a small transformer on source code."""

from __future__ import annotations

from pathlib import Path

from benchmarks.zoo.cache import ZooError, cache_root


def place(file: str) -> Path:
    """Where the trained ``NAME.onnx`` or ``NAME.pt`` is, or is to be: mnist-float, mnist-ternary, text-float ..."""
    return cache_root() / "qat" / file


def model_path(name: str) -> Path:
    """The trained model ``name`` as ONNX, input ``x`` and output ``y``; raises ZooError where it is not there."""
    path = place(f"{name}.onnx")
    if not path.exists():
        raise ZooError(f"{name} is not trained; `nox -s training -- examples` trains and exports it")
    return path
