"""From a path, bytes, a file object or a ModelProto to a ModelProto, or to words about what the thing is instead."""

from __future__ import annotations

import os
import re
import stat
import warnings
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, Union

from ronn.errors import ModelError, OptionError, nearest
from ronn.frontend import limits, weights
from ronn.frontend.limits import DEFAULTS, LimitError, Limits
from ronn.frontend.messages import messages
from ronn.frontend.pins import Pins
from ronn.frontend.weights import Weights
from ronn.mapped import MappedFile, may_map, open_mapped
from ronn.records import dataclass

if TYPE_CHECKING:
    import onnx

Source = Union[str, "os.PathLike[str]", bytes, bytearray, memoryview, BinaryIO, "onnx.ModelProto"]

_TEXT_FORMATS = {
    ".txtpb": "textproto", ".textproto": "textproto", ".prototxt": "textproto", ".pbtxt": "textproto",
    ".json": "json", ".onnxjson": "json", ".onnxtxt": "onnxtxt", ".onnxtext": "onnxtxt",
}  # fmt: skip
_PROTOBUF_LIMIT = 2**31 - 1


@dataclass(frozen=True, slots=True)
class Parsed:
    """A parsed model, what to call it in messages, its path where it has one, the constants left out of it, and how
    many bytes it was read from."""

    model: onnx.ModelProto
    name: str
    path: Path | None = None
    weights: Weights | None = None
    size: int = 0


def read_source(source: Source, bounds: Limits = DEFAULTS, pins: Pins | None = None) -> Parsed:
    """Reads and parses a model file, which may still hold anything. Raises ModelError for what is none, is larger than
    it may be, or has another hash than the pinned one."""
    if isinstance(source, messages().ModelProto):
        if pins is not None:
            raise OptionError("a ModelProto has no bytes to compare with sha256", hint="pin the file or bytes it is of")
        size = 0 if bounds.max_model_bytes is None else source.ByteSize()
        _check_size(size, bounds, "<ModelProto>")
        return Parsed(source, "<ModelProto>", size=size)
    if isinstance(source, (str, os.PathLike)):
        path = Path(os.fsdecode(source))
        return _read_path(path, bounds, pins)
    if isinstance(source, (bytes, bytearray, memoryview)):
        name = "<bytes>"
        _check_size(memoryview(source).nbytes, bounds, name)
        data = bytes(source)
    elif hasattr(source, "read"):
        name = str(getattr(source, "name", "<file object>"))
        try:
            got = source.read() if bounds.max_model_bytes is None else source.read(bounds.max_model_bytes + 1)
        except (OSError, ValueError) as e:
            raise ModelError(f"{name}: cannot be read: {e}") from e
        if not isinstance(got, (bytes, bytearray, memoryview)):
            raise ModelError(f"{name}: gives text, not bytes", hint="open the file in binary mode: open(path, 'rb')")
        data = bytes(got)
        _check_size(len(data), bounds, name)
    else:
        raise ModelError(
            f"cannot load a model from {type(source).__name__}",
            hint="give a path, bytes, a binary file object or an onnx.ModelProto",
        )
    if pins is not None:
        pins.check_model(data, name, None)
    if len(data) < weights.MIN_MODEL or (parts := weights.split(data, len(data))) is None:
        return Parsed(_parse(data, name), name, size=len(data))
    return Parsed(_parse(parts[0], name), name, None, parts[1], len(data))


def _check_size(size: int, bounds: Limits, name: str) -> None:
    try:
        bounds.check_model(size)
    except LimitError as e:
        raise ModelError(f"{name}: {e}", hint=e.hint) from e


def _read_path(path: Path, bounds: Limits, pins: Pins | None) -> Parsed:
    size = _file_size(path)
    _check_size(size, bounds, str(path))
    form = _TEXT_FORMATS.get(path.suffix.lower())
    try:
        pinned = None if pins is None else _read(path, size)
        if pins is not None and pinned is not None:
            pins.check_model(pinned, str(path), path.name)
        if form is None and size >= weights.MIN_MODEL:
            # Out of a pinned file each constant is copied, so that the whole can go.
            file = _open(path) if pinned is None else BytesIO(pinned)
            size = len(file) if isinstance(file, MappedFile) else size
            _check_size(size, bounds, str(path))
            parts = weights.split(file, size)
            if parts is not None:
                return Parsed(_parse(parts[0], str(path)), str(path), path, parts[1], size)
            file.close()
        if size > _PROTOBUF_LIMIT:
            known = identify(_read(path, 4096))
            raise ModelError(
                f"{path}: has {size} bytes and is " + (known or "no ONNX model that can be read"),
                hint="keep large weights in external data (onnx.save(model, path, save_as_external_data=True))",
            )
        data = _read(path, size) if pinned is None else pinned
    except OSError as e:
        raise ModelError(f"{path}: cannot be read: {e.strerror}") from e
    model = _parse(data, str(path)) if form is None else _parse_text(data, str(path), form)
    return Parsed(model, str(path), path, size=size)


def _read(path: Path, size: int) -> bytes:
    """At most ``size`` bytes from the start of a file."""
    with path.open("rb") as file:
        return file.read(size)


def _open(path: Path) -> BinaryIO | MappedFile:
    if may_map():
        try:
            return open_mapped(path)
        except (OSError, ValueError):
            pass  # a file system that maps nothing
    return path.open("rb")


def _file_size(path: Path) -> int:
    try:
        info = path.stat()
    except FileNotFoundError:
        raise ModelError(f"{path}: no such file", hint=_near(path)) from None
    except (OSError, ValueError) as e:
        raise ModelError(f"{path}: cannot be read: {e}") from None
    if stat.S_ISDIR(info.st_mode):
        inside = sorted(p.name for p in path.glob("*.onnx"))[:5]
        raise ModelError(
            f"{path}: is a directory, not a model file",
            hint=f"it holds {', '.join(inside)}" if inside else None,
        )
    if not stat.S_ISREG(info.st_mode):
        raise ModelError(f"{path}: is not a regular file")
    return info.st_size


def _near(path: Path) -> str | None:
    folder = path.parent
    if not folder.is_dir():
        return f"the folder {folder} does not exist"
    try:
        names = [e.name for _, e in zip(range(10_000), os.scandir(folder), strict=False)]
    except OSError:
        return None
    guess = nearest(path.name, names)
    if guess is not None:
        return f"did you mean {folder / guess}?"
    models = sorted(n for n in names if n.endswith(".onnx"))[:5]
    return f"that folder holds {', '.join(models)}" if models else None


def _parse(data: bytes, name: str) -> onnx.ModelProto:
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    if not data:
        raise ModelError(f"{name}: is empty, not an ONNX model")
    model: onnx.ModelProto = messages().ModelProto()
    try:
        model.ParseFromString(data)
    except (DecodeError, RuntimeError, ValueError) as e:
        known = identify(data)
        if known is not None:
            raise ModelError(f"{name}: is not an ONNX model but {known}", hint=_advice(known)) from None
        raise ModelError(
            f"{name}: is not an ONNX model, or one that is cut short or nested too deeply ({len(data)} bytes)",
            hint="get or export it again; its size and sha256 must be those of the original",
        ) from e
    if not model.HasField("graph"):
        known = identify(data)
        what = f"but {known}" if known is not None else "(no graph in it)"
        raise ModelError(f"{name}: is not an ONNX model {what}", hint=_advice(known))
    return model


def _parse_text(data: bytes, name: str, form: str) -> onnx.ModelProto:
    import onnx

    if _bracket_depth(data) > limits.MAX_TEXT_NESTING:
        raise ModelError(f"{name}: brackets are nested deeper than {limits.MAX_TEXT_NESTING}")
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # onnx calls one of its formats experimental
            model: onnx.ModelProto = onnx.serialization.registry.get(form).deserialize_proto(data, onnx.ModelProto())
    except Exception as e:  # three parsers, each with exceptions of its own
        raise ModelError(f"{name}: cannot be read as ONNX {form}: {str(e)[:500]}") from e
    if not model.HasField("graph"):
        raise ModelError(f"{name}: is not an ONNX model (no graph in it)")
    return model


def _bracket_depth(data: bytes) -> int:
    depth = deepest = 0
    for mark in re.findall(rb"[\[({<>})\]]", data):
        depth = depth + 1 if mark in b"[({<" else max(depth - 1, 0)
        deepest = max(deepest, depth)
    return deepest


_MARKS: tuple[tuple[int, bytes, str], ...] = (
    (0, b"version https://git-lfs", "a Git LFS pointer: the file itself was never fetched"),
    (0, b"\x1f\x8b", "a gzip file"),
    (0, b"GGUF", "a GGUF file"),
    (0, b"\x89HDF", "an HDF5 file (Keras)"),
    (4, b"TFL3", "a TensorFlow Lite model"),
    (4, b"ORTM", "a model in ORT's own flatbuffer format"),
    (0, b"\x93NUMPY", "a NumPy array"),
    (0, b"7z\xbc\xaf", "a 7-Zip archive"),
    (257, b"ustar", "a tar archive"),
    (0, b"\x80\x02", "a pickle (PyTorch saved in its old format?)"),
    (0, b"\x80\x03", "a pickle"),
    (0, b"\x80\x04", "a pickle"),
    (0, b"\x80\x05", "a pickle"),
)


def identify(data: bytes) -> str | None:
    """What a file that is no ONNX model probably is, from its first bytes; None when they say nothing."""
    for offset, mark, what in _MARKS:
        if data[offset : offset + len(mark)] == mark:
            return what
    if data.startswith(b"PK\x03\x04"):
        return _zip_kind(data)
    head = data[:512].lstrip(b"\xef\xbb\xbf \t\r\n").lower()
    if head.startswith((b"<!doctype html", b"<html", b"<head")):
        return "an HTML page: the download got a web page"
    if head.startswith((b"<?xml", b"<net ")):
        return "an XML file (OpenVINO?)"
    if head.startswith(b"{") or data[8:10] == b'{"':
        return "a safetensors file" if data[8:9] == b"{" else "JSON text"
    return None


def _zip_kind(data: bytes) -> str:
    import zipfile

    try:
        with zipfile.ZipFile(BytesIO(data)) as archive:
            names = archive.namelist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError, RuntimeError):
        return "a zip archive"
    if any(n.endswith("data.pkl") for n in names):
        return "a PyTorch file (.pt, .pth)"
    if any(n.endswith((".weights.h5", "keras_metadata.pb")) for n in names):
        return "a Keras file"
    models = [n for n in names if n.endswith(".onnx")]
    return f"a zip archive that holds {models[0]}" if models else "a zip archive"


def _advice(known: str | None) -> str | None:
    if known is None:
        return None
    if "LFS" in known:
        return "fetch it with `git lfs pull`"
    if "PyTorch" in known:
        return "export it with torch.onnx.export"
    if "archive" in known or "gzip" in known:
        return "unpack it first"
    if known == "JSON text":
        return "ONNX in JSON is read from files that end in .json or .onnxjson"
    return None
