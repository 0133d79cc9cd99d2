"""The inputs of comparisons: arrays, files, folders, or made up."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.cli.inputs import PICTURES, parse_shapes, random_inputs, read_file, read_inputs
from ronn.errors import InputError, OptionError
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.values import ValueInfo

RANDOM = "random"
_FILES = frozenset({".npz", ".npy", ".pb", ".json", *PICTURES})

Data = Any
"""``"random"``, ``"random:5"`` for five samples, files and folders, a mapping of input name to array, or a list of
these: a sample each."""


@dataclass(frozen=True)
class Sample:
    """The inputs of one run by name, and what to call them."""

    name: str
    feed: Mapping[str, Any]


@dataclass(frozen=True)
class Reading:
    """How files become inputs, and what is made up: ``dims`` gives sizes of symbols, ``shapes`` of whole inputs,
    ``seed`` of made-up values, ``normalize`` how pictures become floats (as ``ronn run`` does)."""

    dims: Mapping[str, int]
    shapes: Sequence[str] = ()
    seed: int = 0
    normalize: str = "unit"


def read_samples(data: Data, inputs: Sequence[ValueInfo], reading: Reading) -> list[Sample]:
    """The samples that ``data`` stands for. A folder gives its files in the order of their names, a folder of folders
    with ``input_N.pb`` (ONNX's own test data) each of them.

    Inputs that a file does not give are made up. InputError for a file that cannot be read, OptionError for an input
    that the model lacks.
    """
    if data is None:
        data = RANDOM
    if isinstance(data, Mapping):
        return [_complete("inputs", data, inputs, reading)]
    if isinstance(data, (str, os.PathLike)):
        found = list(_of_text(data, inputs, reading))
    elif not isinstance(data, (list, tuple)):
        return [_complete("inputs", _in_order([data], inputs), inputs, reading)]
    elif len(inputs) > 1 and data and all(hasattr(part, "__array__") for part in data):
        return [_complete("inputs", _in_order(data, inputs), inputs, reading)]
    else:
        named = [p for p in data if isinstance(p, str) and _names_input(p, inputs)]
        found = []
        if named:
            found.append(_complete(", ".join(named), read_inputs(named, inputs, reading.normalize), inputs, reading))
        for number, part in enumerate(p for p in data if not (isinstance(p, str) and p in named)):
            more = read_samples(part, inputs, reading)
            found += [Sample(f"inputs {number}", s.feed) if s.name == "inputs" else s for s in more]
    if not found:
        raise InputError(f"no inputs in {data}", hint=f"files that are read: {', '.join(sorted(_FILES))}")
    return found


def _names_input(text: str, inputs: Sequence[ValueInfo]) -> bool:
    return any(text.startswith(f"{i.name}=") for i in inputs)


def _of_text(data: str | os.PathLike[str], inputs: Sequence[ValueInfo], reading: Reading) -> Iterator[Sample]:
    text = os.fspath(data)
    if text == RANDOM or text.startswith(f"{RANDOM}:"):
        number = text.partition(":")[2] or "1"
        if not number.isdigit() or int(number) < 1:
            raise OptionError(f"{text!r} is no number of made-up samples", hint="random:5 makes five")
        for i in range(int(number)):
            seed = reading.seed + i
            made = random_inputs(inputs, reading.dims, parse_shapes(reading.shapes, inputs), seed)
            yield Sample(f"made up (seed {seed})", made)
        return
    if _names_input(text, inputs):
        yield _complete(text, read_inputs([text], inputs, reading.normalize), inputs, reading)
        return
    path = Path(text)
    if path.is_dir():
        protos = sorted(path.glob("input_*.pb"), key=lambda p: (len(p.name), p.name))
        if protos:
            read = {i.name: read_file(p, i, reading.normalize) for i, p in zip(inputs, protos, strict=False)}
            yield _complete(path.name, read, inputs, reading)
            return
        for inner in sorted(path.iterdir()):
            if (inner.is_dir() and any(inner.glob("input_*.pb"))) or (
                inner.suffix.lower() in _FILES and inner.is_file()
            ):
                yield from _of_text(inner, inputs, reading)
        return
    if path.suffix == ".npz" and path.is_file():
        with np.load(path, allow_pickle=False) as arrays:
            known = {i.name for i in inputs}
            read = {key: arrays[key] for key in arrays.files if key in known or len(inputs) > 1}
            if not read and len(inputs) == 1 and len(arrays.files) == 1:
                read = {inputs[0].name: arrays[arrays.files[0]]}
        yield _complete(path.name, {k: restore(v, k, inputs) for k, v in read.items()}, inputs, reading)
        return
    yield _complete(path.name, read_inputs([text], inputs, reading.normalize), inputs, reading)


def _in_order(given: Sequence[Any], inputs: Sequence[ValueInfo]) -> dict[str, Any]:
    if len(given) > len(inputs):
        raise InputError(f"got {len(given)} inputs, the model takes {len(inputs)}: {', '.join(i.name for i in inputs)}")
    return {i.name: value for i, value in zip(inputs, given, strict=False)}


def _complete(name: str, given: Mapping[str, Any], inputs: Sequence[ValueInfo], reading: Reading) -> Sample:
    """A sample of what is given, the rest made up."""
    missing = [i for i in inputs if i.name not in given]
    if not missing:
        return Sample(name, dict(given))
    made = random_inputs(missing, reading.dims, parse_shapes(reading.shapes, inputs), reading.seed)
    return Sample(f"{name} (made up: {', '.join(made)})", {**made, **given})


# --- writing, so that what is written can be read back


def save_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    """Writes arrays of any ONNX dtype as ``.npz``: those that NumPy lacks as their bytes, text as such.

    OptionError for a value that is no array.
    """
    plain = {}
    for name, value in arrays.items():
        if not isinstance(value, np.ndarray):
            raise OptionError(f"{name!r} is a {type(value).__name__}: only arrays can be written to {path.name}")
        if value.dtype == object:
            value = value.astype("U")
        elif value.dtype.isbuiltin != 1:
            value = value.view(np.uint8 if value.dtype.itemsize == 1 else np.uint16)
        plain[name] = value
    with path.open("wb") as stream:
        np.savez(stream, allow_pickle=False, **plain)


def restore(array: np.ndarray, name: str, inputs: Sequence[ValueInfo]) -> np.ndarray:
    """What ``save_arrays`` wrote, in the dtype that the input has."""
    from ronn.ir.types import TensorType

    info = next((i for i in inputs if i.name == name), None)
    if info is None or not isinstance(info.type, TensorType) or info.type.dtype is None:
        return array
    wanted = info.type.dtype.numpy
    if wanted.isbuiltin != 1 and array.dtype != wanted and array.dtype.itemsize == wanted.itemsize:
        return array.view(wanted)
    return array
