"""Post-training quantisation to int8: ``quantize`` makes the model, and says what it costs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn.numerics.task import Limits as Limits
    from ronn.numerics.task import QualityError as QualityError
    from ronn_provider_npu.quantize.quantizer import Quantized as Quantized
    from ronn_provider_npu.quantize.quantizer import quantize as quantize
    from ronn_provider_npu.quantize.report import Report as Report
    from ronn_provider_npu.quantize.scheme import Scheme as Scheme
    from ronn_provider_npu.quantize.settings import Settings as Settings

_HERE = "ronn_provider_npu.quantize"
_HOMES = {
    "quantize": f"{_HERE}.quantizer", "Quantized": f"{_HERE}.quantizer", "Settings": f"{_HERE}.settings",
    "Scheme": f"{_HERE}.scheme", "Report": f"{_HERE}.report", "Limits": "ronn.numerics.task",
    "QualityError": "ronn.numerics.task",
}  # fmt: skip
__all__ = ["Limits", "QualityError", "Quantized", "Report", "Scheme", "Settings", "quantize"]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
