"""Post-training quantisation to a few bits: ``quantize`` makes the model, and says what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn.numerics.task import Limits as Limits
    from ronn.numerics.task import QualityError as QualityError
    from ronn_provider_bitnet.quantize.quantizer import Quantized as Quantized
    from ronn_provider_bitnet.quantize.quantizer import Settings as Settings
    from ronn_provider_bitnet.quantize.quantizer import quantize as quantize
    from ronn_provider_bitnet.quantize.report import Report as Report

_HERE = "ronn_provider_bitnet.quantize"
_HOMES = {
    "quantize": f"{_HERE}.quantizer", "Settings": f"{_HERE}.quantizer", "Quantized": f"{_HERE}.quantizer",
    "Report": f"{_HERE}.report", "Limits": "ronn.numerics.task", "QualityError": "ronn.numerics.task",
}  # fmt: skip
__all__ = ["Limits", "QualityError", "Quantized", "Report", "Settings", "quantize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
