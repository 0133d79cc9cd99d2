"""Quantised models on disk, by what they were made of: a session with the same model and data need not calibrate."""

from __future__ import annotations

import hashlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

from ronn.debug import INFO, WARNING, say, tell
from ronn.errors import RonnError
from ronn.frontend.onnx import load
from ronn.frontend.proto import save_model
from ronn.host import cache_folder
from ronn.ir.graph import Graph, IRModel
from ronn.model import Model
from ronn.provider.contract import CachedFile
from ronn_provider_npu._version import __version__
from ronn_provider_npu.profiles import DeviceProfile

MOST_SHOWN = 5


def models_folder() -> Path:
    """Where they are kept."""
    return cache_folder() / "int8"


def kept_or_made(model: IRModel, calibration: str, profile: DeviceProfile) -> Graph:
    """The graph of the model in int8, for a profile: one that was kept, or a new one, which is kept then.

    Tells the logger ``ronn.providers`` what was done, and what it cost. Raises as ``quantize`` does.
    """
    from ronn_provider_npu.quantize.quantizer import quantize, scheme_of

    path = models_folder() / f"{_key(model, calibration, repr(scheme_of(profile)))}.onnx"
    found = _read(path)
    if found is not None:
        _say(f"ronn: {model.source}: in int8 for profile {profile.name}, as kept in {path}")
        return found
    _say(f"ronn: {model.source}: is quantised to int8 for profile {profile.name}, with {calibration}")
    made = quantize(Model(model), calibration, profile)
    report = made.report
    _say(f"ronn: {model.source}: in int8: " + "; ".join(f"{what}: {value}" for what, value in report.totals()))
    for kept in report.kept[:MOST_SHOWN]:
        _say(f"ronn: {model.source}: {kept.name} stays float: {kept.reason}")
    for fault in report.faults:
        tell(WARNING, "providers", f"{model.source}: in int8: {fault}")
    _write(path, made.ir)
    return made.ir.graph


def _say(text: str) -> None:
    say(1, text)
    tell(INFO, "providers", text.removeprefix("ronn: "))


def _key(model: IRModel, calibration: str, scheme: str) -> str:
    """The hash of all that the quantised model hangs on."""
    digest = hashlib.sha256(f"{__version__}\n{scheme}\n{sorted(model.opset_imports.items())}\n".encode())
    for graph in _graphs(model.graph):
        digest.update(str(graph).encode())
        for name, value in graph.initializers.items():
            assert value.data is not None
            data = value.data
            digest.update(f"{name} {data.dtype} {data.shape}".encode())
            digest.update(repr(data.tolist()).encode() if data.dtype == object else data.tobytes())
    for file in _files(Path(calibration)):
        digest.update(f"{file.name} {file.stat().st_size}".encode())
        digest.update(file.read_bytes())
    return digest.hexdigest()[:32]


def _graphs(graph: Graph) -> Iterator[Graph]:
    yield graph
    for inner in graph.inner_graphs():
        yield from _graphs(inner)


def _files(path: Path) -> list[Path]:
    if path.is_dir():
        return sorted(p for p in path.rglob("*") if p.is_file())
    return [path] if path.is_file() else []


def _read(path: Path) -> Graph | None:
    """A kept model; None where there is none that is sound."""
    if not path.is_file():
        return None
    try:
        return load(path).graph
    except (RonnError, OSError):
        path.unlink(missing_ok=True)
        return None


def _write(path: Path, model: IRModel) -> None:
    """Keeps a model where the folder can be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with tempfile.TemporaryDirectory(dir=path.parent, prefix=".making") as folder:
            made = Path(folder) / path.name
            save_model(model, made, external=False)
            os.replace(made, path)
    except OSError as e:
        tell(WARNING, "providers", f"a model in int8 is not kept: {e}")


def kept_files() -> list[CachedFile]:
    """All models that are kept."""
    return [CachedFile(path, "npu: models in int8") for path in sorted(models_folder().glob("*.onnx"))]


def problem(path: Path) -> str:
    """What is wrong with a kept model; empty when it is sound."""
    try:
        load(path)
    except (RonnError, OSError) as e:
        return str(e)
    return ""
