"""The ``com.microsoft`` operators that models in the wild use: schemas, shape rules, NumPy reference kernels.

``SimplifiedLayerNormalization``, and ``LayerNormalization`` before opset 17, stand in ONNX's own domain in such models;
they are declared here too.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ronn.ops.contrib import rules  # noqa: F401  (registers the shape rules)
from ronn.ops.contrib.schemas import ONNX_DOMAIN, SCHEMAS
from ronn.ops.schema import OpSchema

if TYPE_CHECKING:
    from ronn.provider import KernelSet

DOMAIN = "com.microsoft"


def find(op: str) -> OpSchema | None:
    """The schema of a ``com.microsoft`` operator; None when RONN does not know it."""
    return SCHEMAS.get(op)


def find_in_onnx_domain(op: str) -> OpSchema | None:
    """The schema of an operator that ONNX's domain lacks at some opset, but models have in it; None otherwise."""
    return ONNX_DOMAIN.get(op)


def kernels() -> KernelSet:
    """The reference kernels of all operators here."""
    from ronn.ops.contrib import attention, dense, embed, integer, quantised, various
    from ronn.provider import KernelSet

    return KernelSet.from_module(attention, dense, embed, integer, quantised, various)
