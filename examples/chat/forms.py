"""The forms that the model comes in: float32, and its layers with few bits, rounded on a text and kept in a folder."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import onnx

from examples.chat.decoder import Shape, build
from examples.chat.weights import Checkpoint

Tell = Callable[[str, float], None]


@dataclass(frozen=True)
class Form:
    """``bits`` as ``ronn quantize`` calls them; None: nothing is rounded. ``group``: weights with one scale."""

    bits: str | None
    group: int = 0
    planes: int = 1


FORMS = {
    "float": Form(None),
    "gguf": Form(None),
    "4": Form("4", 32),
    "2": Form("2", 64),
    "1.58x2": Form("1.58", 64, 2),
    "1.58": Form("1.58", 64),
}
SAMPLES, STEPS = 24, 256
"""Pieces of text that layers are fitted to, and the tokens that each has."""


def texts() -> tuple[str, str]:
    """The help pages that come with Python, in the order of their names: one half to fit layers to, one to judge by."""
    names = sorted(topics)
    return "\n".join(topics[n] for n in names[::2]), "\n".join(topics[n] for n in names[1::2])


def feed(shape: Shape, tokens: np.ndarray) -> dict[str, np.ndarray]:
    """The inputs of a run over i64[steps] tokens with nothing before them, which gives the logits behind each."""
    steps = len(tokens)
    caches = {f"past.{name}": np.zeros((1, steps, shape.cache_width), np.float32) for name in shape.caches}
    return {"tokens": tokens[None], "start": np.zeros(1, np.int64), "wanted": np.arange(steps), **caches}


def path_of(folder: Path, name: str) -> Path:
    return folder / f"smollm2-135m-{name}.onnx"


def make(checkpoint: Checkpoint, name: str, folder: Path, tell: Tell = lambda what, share: None) -> Path:
    """The file of a form, made if it is not there: minutes for those of few bits."""
    path, form = path_of(folder, name), FORMS[name]
    if path.exists():
        return path
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".form-", dir=folder) as scratch:
        made = Path(scratch) / path.name
        if form.bits is None:
            weights = checkpoint.weights if name == "gguf" else checkpoint.floats()
            _save(build(weights, checkpoint.shape), made)
        else:
            _save(_quantised(checkpoint, form, Path(scratch), tell), made)
        for file in sorted(Path(scratch).glob(f"{path.name}*"), reverse=True):  # the model last: it stands for both
            os.replace(file, folder / file.name)
    return path


def _save(model: onnx.ModelProto, path: Path) -> None:
    onnx.save_model(model, path, save_as_external_data=True, location=f"{path.name}.data", size_threshold=1024)


def _quantised(checkpoint: Checkpoint, form: Form, scratch: Path, tell: Tell) -> onnx.ModelProto:
    from ronn_provider_bitnet.quantize import Settings, quantize

    shape = checkpoint.shape
    tokens = np.array(checkpoint.tokenizer.encode(texts()[0]).ids)
    starts = np.linspace(0, len(tokens) - STEPS, SAMPLES).astype(int)
    pieces = [feed(shape, tokens[s : s + STEPS]) for s in starts]
    source, target = scratch / "source.onnx", scratch / "target.onnx"
    _save(build(checkpoint.float_layers(), shape), source)
    settings = Settings(form.bits, group=form.group, planes=form.planes)
    found = quantize(source, data=pieces, test=pieces[:1], settings=settings, tell=tell)
    found.save(target, force=True)  # a text tells more of how far off it is than caches do: `benchmarks.chat` has one
    return onnx.load(target)
