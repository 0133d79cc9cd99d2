"""Operators on optionals, sequences and maps. An absent optional is None, a sequence a list, a map a dict."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.provider import KernelContext, kernel


@kernel("Optional", since=15)
def optional(ctx: KernelContext, x: Any = None) -> Any:
    return x


@kernel("OptionalHasElement", since=15)
def optional_has_element(ctx: KernelContext, x: Any = None) -> np.ndarray:
    return np.array(x is not None)


@kernel("OptionalGetElement", since=15)
def optional_get_element(ctx: KernelContext, x: Any) -> Any:
    if x is None:
        raise ValueError("the optional has no element")
    return x


@kernel("SequenceEmpty", since=11)
def sequence_empty(ctx: KernelContext) -> list[Any]:
    return []


@kernel("SequenceConstruct", since=11)
def sequence_construct(ctx: KernelContext, *elements: Any) -> list[Any]:
    return list(elements)


@kernel("SequenceLength", since=11)
def sequence_length(ctx: KernelContext, sequence: list[Any]) -> np.ndarray:
    return np.array(len(sequence), np.int64)


def _position(sequence: list[Any], index: Any, end: int) -> int:
    at = int(np.asarray(index).reshape(()))
    if not -len(sequence) <= at < end:
        raise IndexError(f"position {at} is outside a sequence of length {len(sequence)}")
    return at + len(sequence) if at < 0 else at


@kernel("SequenceAt", since=11)
def sequence_at(ctx: KernelContext, sequence: list[Any], index: np.ndarray) -> Any:
    return sequence[_position(sequence, index, len(sequence))]


@kernel("SequenceInsert", since=11)
def sequence_insert(
    ctx: KernelContext, sequence: list[Any], element: Any, index: np.ndarray | None = None
) -> list[Any]:
    at = len(sequence) if index is None else _position(sequence, index, len(sequence) + 1)
    return [*sequence[:at], element, *sequence[at:]]


@kernel("SequenceErase", since=11)
def sequence_erase(ctx: KernelContext, sequence: list[Any], index: np.ndarray | None = None) -> list[Any]:
    at = len(sequence) - 1 if index is None else _position(sequence, index, len(sequence))
    return [*sequence[:at], *sequence[at + 1 :]]


@kernel("ZipMap", domain="ai.onnx.ml")
def zip_map(
    ctx: KernelContext, x: np.ndarray, *, classlabels_int64s: list[int] | None, classlabels_strings: list[str] | None
) -> list[dict[Any, float]]:
    labels: list[Any] = list(classlabels_strings or classlabels_int64s or ())
    rows = x.reshape(1, -1) if x.ndim == 1 else x
    if rows.shape[1] != len(labels):
        raise ValueError(f"{rows.shape[1]} columns for {len(labels)} class labels")
    return [dict(zip(labels, (float(v) for v in row), strict=True)) for row in rows]


@kernel("CastMap", domain="ai.onnx.ml")
def cast_map(ctx: KernelContext, x: dict[int, Any], *, cast_to: str, map_form: str, max_map: int) -> np.ndarray:
    make = {"TO_FLOAT": np.float32, "TO_INT64": np.int64, "TO_STRING": str}[cast_to]
    dtype: Any = object if cast_to == "TO_STRING" else make
    if map_form == "DENSE":
        return np.array([[make(v) for _, v in sorted(x.items())]], dtype=dtype)
    out = np.full((1, max_map), "" if cast_to == "TO_STRING" else 0, dtype=dtype)
    for key, value in x.items():
        if not 0 <= key < max_map:
            raise IndexError(f"key {key} is outside [0, max_map={max_map})")
        out[0, key] = make(value)
    return out


@kernel("CategoryMapper", domain="ai.onnx.ml")
def category_mapper(
    ctx: KernelContext,
    x: np.ndarray,
    *,
    cats_int64s: list[int] | None,
    cats_strings: list[str] | None,
    default_int64: int,
    default_string: str,
) -> np.ndarray:
    ints, strings = list(cats_int64s or ()), list(cats_strings or ())
    if x.dtype.kind in "iu":
        names = dict(zip(ints, strings, strict=True))
        flat: list[Any] = [names.get(int(v), default_string) for v in x.reshape(-1)]
        return np.array(flat, dtype=object).reshape(x.shape)
    codes = dict(zip(strings, ints, strict=True))
    return np.array([codes.get(v, default_int64) for v in x.reshape(-1)], np.int64).reshape(x.shape)
