"""open-nsfw (ResNet-50-thin) in int8, by ONNX Runtime's static quantiser: as QDQ and as QLinear operators.

Weights have a scale per channel; activations take their range (MinMax) from random images. Both models keep what the
quantiser makes of a model that its own pre-processing has seen, batch normalisation by ``Sub``, ``Mul`` and ``Add``
included.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

import numpy as np

from benchmarks.zoo.cache import ZooError, model_folder, replaced_file
from benchmarks.zoo.fetch import model_path

INPUT = "input_0"
IMAGES = 8
SPREAD = 50.0  # of the pixels, less their mean
FORMATS = {"open-nsfw-qdq": "QDQ", "open-nsfw-qlinear": "QOperator"}
MOST_CHANGED = 0.1  # of a probability, by the quantisation


def images(seed: int) -> list[np.ndarray]:
    """Random images [1,224,224,3] float32, channels last, means taken off."""
    rng = np.random.default_rng(seed)
    return [(rng.standard_normal((1, 224, 224, 3)) * SPREAD).astype(np.float32) for _ in range(IMAGES)]


def _quantize(form: str, source: Path, target: Path) -> None:
    from onnxruntime.quantization import (
        CalibrationDataReader,
        CalibrationMethod,
        QuantFormat,
        QuantType,
        quantize_static,
    )
    from onnxruntime.quantization.shape_inference import quant_pre_process

    class Images(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self.left = iter(images(0))

        def get_next(self) -> dict[str, np.ndarray] | None:
            image = next(self.left, None)
            return None if image is None else {INPUT: image}

    with tempfile.TemporaryDirectory() as folder:
        prepared = Path(folder) / "prepared.onnx"
        quant_pre_process(str(source), str(prepared), skip_symbolic_shape=True)
        quantize_static(
            prepared, target, Images(), quant_format=QuantFormat[form], per_channel=True,
            activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8, calibrate_method=CalibrationMethod.MinMax,
        )  # fmt: skip


def _change(source: Path, target: Path) -> float:
    """The largest difference of a probability between two models, on images that calibration has not seen."""
    import onnxruntime

    first, second = (onnxruntime.InferenceSession(str(p), providers=["CPUExecutionProvider"]) for p in (source, target))
    return max(
        float(np.abs(first.run(None, {INPUT: x})[0] - second.run(None, {INPUT: x})[0]).max()) for x in images(1)[:2]
    )


def build(name: str, folder: Path) -> None:
    """Writes `model.onnx`; raises ZooError when its answers are far from those of the float model."""
    source = model_path("open-nsfw")
    with replaced_file(model_folder(name) / "model.onnx") as temporary:
        _quantize(FORMATS[name], source, temporary)
        change = _change(source, temporary)
        if change > MOST_CHANGED:
            raise ZooError(f"{name}: quantisation moves a probability by {change:.2f}, at most {MOST_CHANGED} expected")
