"""Trained models as ONNX: weights -s, 0 and s in float32, the quantisers of activations written out."""

from __future__ import annotations

import copy
from collections.abc import Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from ronn_provider_bitnet.training.layers import freeze

OPSET = 20


def export_onnx(
    model: nn.Module, example: Tensor, path: str | Path, *, inputs: Sequence[str] = ("x",),
    outputs: Sequence[str] = ("y",), axes: Sequence[int] = (0,),
) -> None:  # fmt: skip
    """Writes a model of one input as ONNX, which any runtime computes as ``model`` does in evaluation mode, and the
    provider ``bitnet`` with products of one and two bits. The model itself stays as it is.

    example: an input; its ``axes`` (2 or more long there) may have any length in the file.
    """
    plain = freeze(copy.deepcopy(model)).eval()
    dynamic = (dict.fromkeys(axes, torch.export.Dim.DYNAMIC),)
    with torch.no_grad():
        torch.onnx.export(
            plain, (example,), path, dynamo=True, opset_version=OPSET, input_names=list(inputs),
            output_names=list(outputs), dynamic_shapes=dynamic, external_data=False, verbose=False,
        )  # fmt: skip
