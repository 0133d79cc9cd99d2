"""Training with weights of one or two bits, in PyTorch (the extra ``torch``): layers, a recipe, an exporter to ONNX."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from ronn.errors import RonnError

if TYPE_CHECKING:
    from ronn_provider_bitnet.training.export import export_onnx as export_onnx
    from ronn_provider_bitnet.training.layers import BitConv2d as BitConv2d
    from ronn_provider_bitnet.training.layers import BitLinear as BitLinear
    from ronn_provider_bitnet.training.layers import convert as convert
    from ronn_provider_bitnet.training.layers import freeze as freeze
    from ronn_provider_bitnet.training.recipe import distillation_loss as distillation_loss
    from ronn_provider_bitnet.training.recipe import fit as fit

_HOMES = {
    "BitLinear": "layers", "BitConv2d": "layers", "convert": "layers", "freeze": "layers",
    "distillation_loss": "recipe", "fit": "recipe", "export_onnx": "export",
}  # fmt: skip
__all__ = ["BitConv2d", "BitLinear", "TrainingError", "convert", "distillation_loss", "export_onnx", "fit", "freeze"]


class TrainingError(RonnError):
    """Training with quantised weights cannot do what it is asked for."""


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    from importlib import import_module

    try:
        return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    except ModuleNotFoundError as e:
        if e.name != "torch":
            raise
        raise TrainingError("training needs PyTorch", hint="pip install 'ronn-provider-bitnet[torch]'") from e
