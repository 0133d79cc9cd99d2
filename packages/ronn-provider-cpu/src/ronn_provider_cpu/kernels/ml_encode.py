"""ai.onnx.ml: encoders, mappings between categories, and maps."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.ir.types import MapType, TensorType
from ronn.provider.kernels import KernelContext, kernel
from ronn_provider_cpu.kernels.cast import format_number
from ronn_provider_cpu.kernels.strings import objects

ML = "ai.onnx.ml"


def look_up(table: Mapping[Any, Any], default: Any, dtype: np.dtype) -> Callable[[np.ndarray], np.ndarray]:
    """``call(x)`` that maps every element by ``table``; all NaN are one key."""
    # NaN differs from itself, so it is looked up under None.
    folded = {None if isinstance(k, float) and k != k else k: v for k, v in table.items()}
    get = folded.get

    def call(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1).tolist()
        if x.dtype.kind == "f":
            flat = [None if v != v else v for v in flat]
        return objects((get(v, default) for v in flat), x.shape).astype(dtype)

    return call


@kernel("LabelEncoder", domain=ML, until=1, prepare=True)
def label_encoder_1(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """LabelEncoder of version 1: strings to their position in ``classes_strings``, or back."""
    classes = ctx.attr("classes_strings", ())
    if ctx.dtype().kind == "O":
        return look_up(dict(enumerate(classes)), ctx.attr("default_string", "_Unused"), np.dtype(object))
    return look_up({c: i for i, c in enumerate(classes)}, ctx.attr("default_int64", -1), np.dtype(np.int64))


@kernel("LabelEncoder", domain=ML, since=2, prepare=True)
def label_encoder(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """LabelEncoder: parallel lists (or tensors) of keys and values; of repeated keys the last counts."""
    kinds = ("tensor", "strings", "int64s", "floats")
    keys = next(ctx.attr(f"keys_{k}") for k in kinds if ctx.attr(f"keys_{k}") is not None)
    kind = next(k for k in kinds if ctx.attr(f"values_{k}") is not None)
    values = ctx.attr(f"values_{kind}")
    dtype = ctx.dtype()
    if kind == "tensor":
        given = ctx.attr("default_tensor")
        fallback = {"O": "_Unused", "i": -1, "f": -0.0}[dtype.kind]
        default: Any = fallback if given is None else np.asarray(given).reshape(-1)[0]
    else:
        default = ctx.attr(f"default_{kind.removesuffix('s')}")
    first = ctx.inputs[0]
    if first is not None and first.dtype is not None and first.dtype.numpy == np.float32:
        keys = np.asarray(keys, np.float32)
    return look_up(dict(zip(_items(keys), _items(values), strict=True)), default, dtype)


def _items(values: Any) -> list[Any]:
    return values.reshape(-1).tolist() if isinstance(values, np.ndarray) else list(values)


@kernel("CategoryMapper", domain=ML, prepare=True)
def category_mapper(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """CategoryMapper: strings to integers, or back."""
    strings, integers = ctx.attr("cats_strings"), ctx.attr("cats_int64s")
    if ctx.dtype().kind == "O":
        return look_up(dict(zip(integers, strings, strict=True)), ctx.attr("default_string"), np.dtype(object))
    return look_up(dict(zip(strings, integers, strict=True)), ctx.attr("default_int64"), np.dtype(np.int64))


@kernel("OneHotEncoder", domain=ML, prepare=True)
def one_hot_encoder(ctx: KernelContext) -> Callable[..., np.ndarray]:
    """OneHotEncoder: float32 with a new last axis; ValueError for an unknown category where ``zeros`` is 0."""
    strings = ctx.attr("cats_strings")
    categories = list(strings if strings is not None else ctx.attr("cats_int64s"))
    count = len(categories)
    column = {c: i for i, c in enumerate(categories)}
    rows = np.concatenate([np.eye(count, dtype=np.float32), np.zeros((1, count), np.float32)])
    zeros = bool(ctx.attr("zeros", 1))

    def call(x: np.ndarray) -> np.ndarray:
        flat = x.reshape(-1)
        if flat.dtype.kind == "f":
            flat = np.trunc(flat)
        found = [column.get(v, count) for v in flat.tolist()]
        if not zeros and count in found:
            raise ValueError(f"{x.reshape(-1)[found.index(count)]!r} is not one of the {count} categories")
        return rows.take(found, axis=0).reshape(*x.shape, count)

    return call


@kernel("DictVectorizer", domain=ML)
def dict_vectorizer(
    ctx: KernelContext,
    x: dict[Any, Any],
    *,
    string_vocabulary: Sequence[str] | None,
    int64_vocabulary: Sequence[int] | None,
) -> np.ndarray:
    """DictVectorizer: the values of a map in the order of the vocabulary, ``[1, len]``, zero where a key is absent."""
    vocabulary = string_vocabulary if string_vocabulary is not None else int64_vocabulary
    assert vocabulary is not None
    declared = None if ctx.inputs[0] is None else ctx.inputs[0].type
    value = declared.value if isinstance(declared, MapType) else None
    if isinstance(value, TensorType) and value.dtype is not None:
        made = value.dtype.numpy
    else:
        made = np.asarray(list(x.values())).dtype
    missing = "" if made.kind == "O" else 0
    return objects((x.get(k, missing) for k in vocabulary), (1, len(vocabulary))).astype(made)


@kernel("CastMap", domain=ML)
def cast_map(ctx: KernelContext, x: dict[int, Any], *, cast_to: str, map_form: str, max_map: int) -> np.ndarray:
    """CastMap: values in the order of their keys, ``[1, len]``; sparse form puts them at their key."""
    kind = cast_to.removeprefix("TO_")
    convert: Callable[[Any], Any] = {"STRING": format_number, "INT64": lambda v: int(float(v)), "FLOAT": float}[kind]
    if map_form == "DENSE":
        values = [convert(x[k]) for k in sorted(x)]
    else:
        values = ["" if kind == "STRING" else 0] * max_map
        for k, v in x.items():
            if not 0 <= k < max_map:
                raise IndexError(f"key {k} does not lie in 0..{max_map - 1}")
            values[k] = convert(v)
    dtype = {"STRING": object, "INT64": np.int64, "FLOAT": np.float32}[kind]
    return objects(values, (1, len(values))).astype(dtype)


@kernel("ZipMap", domain=ML, prepare=True)
def zip_map(ctx: KernelContext) -> Callable[..., list[dict[Any, float]]]:
    """ZipMap: one dict a row, class label -> score."""
    strings = ctx.attr("classlabels_strings")
    labels = list(strings if strings is not None else ctx.attr("classlabels_int64s"))
    fill = _dicts(labels)

    def call(x: np.ndarray) -> list[dict[Any, float]]:
        rows = x.reshape(1, -1) if x.ndim == 1 else x
        if rows.shape[1] != len(labels):
            raise ValueError(f"{rows.shape[1]} columns for {len(labels)} class labels")
        return fill(rows)

    return call


_WIDEST = 64


def _dicts(labels: list[Any]) -> Callable[[np.ndarray], list[dict[Any, float]]]:
    """A function that makes one dict a row; for few labels with a display written out, at half the time of ``zip``."""
    if not 0 < len(labels) <= _WIDEST or len(set(labels)) < len(labels):
        return lambda rows: [dict(zip(labels, row)) for row in rows.tolist()]
    values = "".join(f"v{i}, " for i in range(len(labels)))
    pairs = ", ".join(f"k{i}: v{i}" for i in range(len(labels)))
    scope = {f"k{i}": label for i, label in enumerate(labels)}
    # Columns hold more numbers in fewer lists than rows; zip hands the same tuple out for every row.
    made: Callable[[np.ndarray], list[dict[Any, float]]]
    made = eval(f"lambda rows: [{{{pairs}}} for {values} in zip(*rows.T.tolist())]", scope)
    return made


@kernel("FeatureVectorizer", domain=ML)
def feature_vectorizer(ctx: KernelContext, *arrays: np.ndarray, inputdimensions: list[int] | None) -> np.ndarray:
    """FeatureVectorizer: columns joined as float32, each input cut or padded with zeros to its dimension."""
    parts = []
    for i, x in enumerate(arrays):
        rows = x.reshape(1, -1) if x.ndim == 1 else x.reshape(x.shape[0], -1)
        width = rows.shape[1] if inputdimensions is None else inputdimensions[i]
        part = np.zeros((rows.shape[0], width), np.float32)
        part[:, : rows.shape[1]] = rows[:, :width]
        parts.append(part)
    return np.concatenate(parts, axis=1)
