"""What ``run`` is fed: conversion, and the checks of onnxruntime with its words."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.compat.onnxruntime.errors import Fail, InvalidArgument, status
from ronn.compat.onnxruntime.modelmeta import NodeArg, type_name
from ronn.compat.onnxruntime.values import OrtValue
from ronn.ir.types import DType, MapType, OptionalType, SequenceType, TensorType, Type

_PLEASE = "Please fix either the inputs/outputs or the model."


def read_feed(name: str, value: Any, declared: Type | None) -> Any:
    """A fed value as RONN takes it: an array, a list of them, a dict, or None for an absent optional."""
    if isinstance(value, OrtValue):
        return value._data
    if isinstance(declared, OptionalType):
        return None if value is None else read_feed(name, value, declared.element)
    if isinstance(value, np.ndarray):
        if isinstance(declared, (SequenceType, MapType)):
            raise status(InvalidArgument, f"input with name: '{name}' expected to be of type: 3 but received a tensor")
        return _plain(value)
    if value is None:
        raise status(Fail, f"Missing Input: {name}")
    if isinstance(declared, SequenceType):
        if not isinstance(value, (list, tuple)):
            raise RuntimeError(f"Unable to handle object of type {type(value)}")
        return [read_feed(name, v, declared.element) for v in value]
    if isinstance(value, Mapping):
        if not isinstance(declared, MapType):
            raise _unexpected(_map_name(value), f"({type_name(declared)})")
        return dict(value)
    if isinstance(value, list):
        return _from_list(value, declared)
    if isinstance(value, Iterable) and not hasattr(value, "__array__"):
        raise RuntimeError(f"Input must be a list of dictionaries or a single numpy array for input '{name}'.")
    raise RuntimeError(f"Unable to handle object of type {type(value)}")


def _plain(array: np.ndarray) -> np.ndarray:
    """Strings as objects, numbers in this machine's byte order."""
    kind = array.dtype.kind
    if kind == "S":
        return np.char.decode(array, "utf-8").astype(object)
    if kind in "UT":
        return array.astype(object)
    return array if array.dtype.isnative else array.astype(array.dtype.newbyteorder("="))


def _from_list(value: list[Any], declared: Type | None) -> np.ndarray:
    dtype = declared.dtype if isinstance(declared, TensorType) else None
    try:
        if dtype is DType.STRING:
            found = np.array(value, dtype=object)
            return np.array([str(x) for x in found.reshape(-1)], dtype=object).reshape(found.shape)
        return np.array(value, dtype=None if dtype is None else dtype.numpy)
    except (TypeError, ValueError) as e:
        raise RuntimeError("Could not create tensor from given input list") from e


def _map_name(value: Mapping[Any, Any]) -> str:
    key, element = next(iter(value.items()), (0, 0.0))
    inner = "string" if isinstance(element, str) else "int64" if isinstance(element, int) else "float"
    return f"(map({'string' if isinstance(key, str) else 'int64'},tensor({inner})))"


def check_feed(value: Any, arg: NodeArg, declared: Type | None) -> None:
    """InvalidArgument, in onnxruntime's words, for a tensor of another dtype, rank or size than the model takes."""
    if isinstance(declared, OptionalType):
        declared = declared.element
    if not isinstance(value, np.ndarray) or not isinstance(declared, TensorType):
        return
    actual = DType.of(value.dtype)
    if declared.dtype is not None and actual is not declared.dtype:
        raise _unexpected(f"tensor({actual.onnx_name})", f"tensor({declared.dtype.onnx_name})")
    if declared.shape is None:
        return
    bad = misfits(value.shape, arg.shape)
    if len(value.shape) != len(arg.shape):
        raise status(
            InvalidArgument,
            f"Invalid rank for input: {arg.name} Got: {value.ndim} Expected: {len(arg.shape)} {_PLEASE}",
        )
    if bad:
        raise status(InvalidArgument, f"Got invalid dimensions for input: {arg.name} {bad}")


def misfits(got: Sequence[int], expected: Sequence[int | str | None]) -> str:
    """The dims that differ from what is fixed, in onnxruntime's words; empty when all fit."""
    lines = [
        f"\n index: {i} Got: {g} Expected: {e}"
        for i, (g, e) in enumerate(zip(got, expected, strict=False))
        if isinstance(e, int) and e >= 0 and g != e
    ]
    return f"for the following indices{''.join(lines)}\n {_PLEASE}" if lines else ""


def _unexpected(actual: str, expected: str) -> Exception:
    return status(InvalidArgument, f"Unexpected input data type. Actual: ({actual}) , expected: ({expected})")
