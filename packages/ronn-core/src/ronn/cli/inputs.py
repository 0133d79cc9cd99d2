"""Inputs for ``ronn run``: read from files, or made up."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import InputError, OptionError, nearest
from ronn.ir.types import OptionalType, SequenceType, TensorType, Type

if TYPE_CHECKING:
    from ronn.values import ValueInfo

PICTURES = frozenset({".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff"})
NORMALIZE = ("unit", "signed", "imagenet", "raw")
_UNKNOWN_BATCH, _UNKNOWN_LENGTH, _UNKNOWN_SIDE, _UNKNOWN_CHANNELS = 1, 16, 224, 3
_PICTURE_STEP = 32  # free sides of a picture are rounded to multiples of this: what most networks stride by


def read_inputs(given: Sequence[str], inputs: Sequence[ValueInfo], normalize: str) -> dict[str, Any]:
    """The inputs that ``--input`` gives: ``name=file``, or a file alone (an .npz by its names; else the first input).

    Raises InputError for a file that cannot be read as the input, OptionError for a name that the model lacks.
    """
    names = [i.name for i in inputs]
    found: dict[str, Any] = {}
    for text in given:
        name, file = _split(text, names)
        path = Path(file)
        if not path.is_file():
            raise InputError(f"there is no file {file!r}", hint="--input NAME=FILE, or --input FILE.npz")
        if name is None and path.suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                found.update({key: arrays[key] for key in arrays.files})
            continue
        if name is None:
            if len(names) != 1:
                takes = ", ".join(names)
                raise OptionError(f"which input is {file!r}? The model takes {takes}", hint="--input NAME=FILE")
            name = names[0]
        found[name] = read_file(path, inputs[names.index(name)], normalize)
    return found


def _split(text: str, names: Sequence[str]) -> tuple[str | None, str]:
    for name in sorted(names, key=len, reverse=True):
        if text.startswith(f"{name}="):
            return name, text[len(name) + 1 :]
    name, sign, _ = text.partition("=")
    if sign and not Path(text).is_file():
        near = nearest(name, names)
        raise OptionError(
            f"the model has no input {name!r}; it takes {', '.join(map(repr, names))}",
            hint=f"did you mean {near!r}?" if near else None,
        )
    return None, text


def read_file(path: Path, info: ValueInfo, normalize: str) -> Any:
    """One input from a .npy, .npz (one array), .pb (TensorProto), .json or picture file."""
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return np.load(path, allow_pickle=False)
        if suffix == ".npz":
            with np.load(path, allow_pickle=False) as arrays:
                key = info.name if info.name in arrays.files else arrays.files[0]
                return arrays[key]
        if suffix == ".pb":
            return _read_pb(path)
        if suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
        if suffix in PICTURES:
            return read_picture(path, info, normalize)
    except (ValueError, zipfile.BadZipFile, EOFError, IndexError) as e:
        raise InputError(f"{path}: cannot be read as input {info.name!r}: {e}") from e
    raise InputError(
        f"{path}: files of kind {suffix or 'without a suffix'} are not read",
        hint=".npy, .npz, .pb (TensorProto), .json, " + ", ".join(sorted(PICTURES)),
    )


def _read_pb(path: Path) -> np.ndarray:
    import onnx

    tensor = onnx.TensorProto()
    try:
        tensor.ParseFromString(path.read_bytes())
        return np.asarray(onnx.numpy_helper.to_array(tensor))
    except Exception as e:  # protobuf's DecodeError, and whatever to_array makes of a broken tensor
        raise InputError(f"{path}: holds no TensorProto: {e}") from e


def read_picture(path: Path, info: ValueInfo, normalize: str) -> np.ndarray:
    """A picture as the input's layout (NCHW or NHWC, told by the dim of 1 or 3), size and dtype.

    normalize: ``unit`` 0..1, ``signed`` -1..1, ``imagenet`` mean and deviation of that data set, ``raw`` 0..255.
    Integer inputs always get 0..255.
    """
    try:
        from PIL import Image, UnidentifiedImageError
    except ImportError:
        raise InputError(f"{path}: reading pictures needs Pillow", hint="pip install pillow") from None
    if normalize not in NORMALIZE:
        raise OptionError(f"--normalize {normalize!r} is not known", hint=f"one of {', '.join(NORMALIZE)}")
    shape, dtype = info.shape, info.type.dtype if isinstance(info.type, TensorType) else None
    if shape is None or len(shape) not in (3, 4) or dtype is None:
        raise InputError(f"input {info} is no picture: it needs rank 3 or 4")
    axes = shape[-3:]
    channels_last = axes[2] in (1, 3, 4) and axes[0] not in (1, 3, 4)
    height, width, channels = axes if channels_last else (axes[1], axes[2], axes[0])
    mode = {1: "L", 4: "RGBA"}.get(channels, "RGB") if isinstance(channels, int) else "RGB"
    try:
        with Image.open(path) as opened:
            image = opened.convert(mode)
    except UnidentifiedImageError as e:
        raise InputError(f"{path}: is no picture that Pillow reads") from e
    free = tuple(max(_PICTURE_STEP, round(s / _PICTURE_STEP) * _PICTURE_STEP) for s in image.size)
    size = (width if isinstance(width, int) else free[0], height if isinstance(height, int) else free[1])
    pixels = np.asarray(image.resize(size), np.float32).reshape(size[1], size[0], -1)
    if dtype.is_float:
        pixels = _normalized(pixels, normalize)
    out = pixels if channels_last else pixels.transpose(2, 0, 1)
    return np.ascontiguousarray(out[None] if len(shape) == 4 else out).astype(dtype.numpy)


def _normalized(pixels: np.ndarray, normalize: str) -> np.ndarray:
    if normalize == "raw":
        return pixels
    if normalize == "signed":
        return pixels / 127.5 - 1
    unit = pixels / 255
    if normalize == "imagenet" and pixels.shape[2] == 3:
        return (unit - np.array([0.485, 0.456, 0.406], np.float32)) / np.array([0.229, 0.224, 0.225], np.float32)
    return unit


# --- made-up inputs


def parse_shapes(given: Sequence[str] | None, inputs: Sequence[ValueInfo]) -> dict[str, tuple[int, ...]]:
    """``["x=1,3,48,320"]`` as a mapping; OptionError for what is not of this form, or another rank than declared."""
    known = {i.name: i for i in inputs}
    shapes = {}
    for text in given or ():
        name, _, dims = text.rpartition("=")
        try:
            shape = tuple(int(d) for d in dims.split(",") if d.strip())
        except ValueError:
            shape = (-1,)
        if name not in known or any(d < 0 for d in shape):
            raise OptionError(f"--shape {text!r} is not NAME=1,3,224,224", hint=f"inputs: {', '.join(known)}")
        shapes[name] = shape
    return shapes


def random_inputs(
    inputs: Sequence[ValueInfo], dims: Mapping[str, int], shapes: Mapping[str, tuple[int, ...]], seed: int
) -> dict[str, Any]:
    """Made-up values: floats from N(0, 1), integers 0 to 9 (0 to 255 for u8), true or false, short strings.

    Symbolic dims get ``dims``, else a size that suits their name and place; one symbol has one size everywhere.
    """
    rng = np.random.default_rng(seed)
    chosen = dict(dims)
    return {i.name: _random(i.type, i, chosen, shapes.get(i.name), rng) for i in inputs}


def _random(
    type_: Type | None, info: ValueInfo, dims: dict[str, int], shape: tuple[int, ...] | None, rng: np.random.Generator
) -> Any:
    if isinstance(type_, OptionalType):
        return None
    if isinstance(type_, SequenceType):
        return [_random(type_.element, info, dims, shape, rng) for _ in range(2)]
    if not isinstance(type_, TensorType) or type_.dtype is None:
        raise InputError(f"cannot make up input {info}", hint="give it with --input NAME=FILE")
    if shape is None:
        declared: Sequence[int | str | None] = info.shape if info.shape is not None else ()
        shape = tuple(_size(d, i, len(declared), dims) for i, d in enumerate(declared))
    name = type_.dtype.name
    if name == "STRING":
        words = np.array(["some text", "RONN", "onnx", "42"], dtype=object)
        return words[rng.integers(0, len(words), shape)] if shape else words[0]
    if name == "BOOL":
        return rng.integers(0, 2, shape).astype(bool)
    if type_.dtype.is_integer:
        if "mask" in info.name.lower():
            return np.ones(shape, type_.dtype.numpy)
        if any(word in info.name.lower() for word in ("token_type", "segment")):
            return np.zeros(shape, type_.dtype.numpy)  # there may be no more than one or two types
        top = min(256 if name == "UINT8" else 10, 2 ** (type_.dtype.bits - (not name.startswith("U"))))
        return rng.integers(0, top, shape).astype(type_.dtype.numpy)
    return np.asarray(rng.standard_normal(shape)).astype(type_.dtype.numpy)


def _size(d: int | str | None, axis: int, rank: int, dims: dict[str, int]) -> int:
    if isinstance(d, int):
        return d
    if d is not None and d in dims:
        return dims[d]
    size = guessed_size(d, axis, rank)
    if d is not None:
        dims[d] = size
    return size


def guessed_size(dim: str | None, axis: int, rank: int) -> int:
    """A size for a dim that a model leaves open, by its name and place."""
    name = "" if dim is None else dim.lower()
    if any(word in name for word in ("past", "cache")):
        return 0 if "len" in name or "seq" in name else _UNKNOWN_LENGTH
    if "batch" in name or axis == 0:
        return _UNKNOWN_BATCH
    if rank == 4:
        return _UNKNOWN_CHANNELS if axis == 1 else _UNKNOWN_SIDE
    return _UNKNOWN_LENGTH
