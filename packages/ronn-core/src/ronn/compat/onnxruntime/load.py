"""Models for sessions: reading them, changing them as options say, and onnxruntime's errors for bad ones."""

from __future__ import annotations

import mmap
import os
import re
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ronn.compat.onnxruntime.errors import Fail, InvalidArgument, InvalidGraph, InvalidProtobuf, NoSuchFile, status
from ronn.compat.onnxruntime.errors import NotImplemented as NoKernel
from ronn.compat.onnxruntime.modelmeta import states_version, type_name
from ronn.compat.onnxruntime.options import SessionOptions
from ronn.compat.onnxruntime.typecheck import find_clash
from ronn.errors import ModelError, RonnError, UnsupportedError
from ronn.frontend.messages import messages
from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.model import Model
from ronn.ops.schema import find_schema, is_newer, max_opset
from ronn.values import plain_dim

if TYPE_CHECKING:
    import onnx

_NOBODY = re.compile(r"input '(.*)' is made by no node")
_KNOWN_DOMAINS = ("", "ai.onnx.ml", "com.microsoft", "ai.onnx.training", "ai.onnx.preview.training", "ai.onnx.preview")


def load(path: str | None, data: bytes | None, options: SessionOptions) -> Model:
    """The model of a file or of bytes, with what ``options`` put in place. Raises as onnxruntime does."""
    source = path if path is not None else data
    try:
        model = Model.load(source)
    except ModelError as e:
        raise _unreadable(e, path, data) from e
    _check_versions(model, options, path)
    clash = find_clash(model.graph)
    if clash is not None:
        kind = InvalidGraph if clash.invalid else Fail
        raise _failed(kind, path, f"This is an invalid model. {clash.message}" if clash.invalid else clash.message)
    for name, value in options._initializers.items():
        _replace(model, name, value.numpy())
    if options._by_denotation:
        _fix_denoted(model, path, data, options._by_denotation)
    return model


def forget_symbols(model: Model, sizes: Mapping[str, int]) -> None:
    """Makes the symbolic dims of inputs unknown, those in ``sizes`` fixed: any two may differ then."""
    for value in model.graph.inputs:
        shape = value.tensor.shape
        if shape is not None:
            plain = [plain_dim(d) for d in shape]
            value.type = TensorType(value.tensor.dtype, tuple(sizes.get(d) if isinstance(d, str) else d for d in plain))


def states_its_version(path: str | None, data: bytes | None) -> bool:
    """Whether the file has a model version, be it 0."""
    if data is not None:
        return states_version(data)
    try:
        with Path(str(path)).open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as mapped:
            return states_version(mapped)
    except (OSError, ValueError):
        return False


def refused(error: RonnError, model: Model, path: str | None) -> Exception:
    """What onnxruntime raises for a model that could be read, but of which no session could be made."""
    node = next((n for n in model.graph.all_nodes() if n.label == error.node_label), None)
    if isinstance(error, UnsupportedError):
        if node is None or find_schema(node.domain, node.op, node.version) is not None:
            op, name = (error.op, error.node_label) if node is None else (node.op, node.name)
            version = "" if node is None else f"({node.version})"
            text = f"Could not find an implementation for {op}{version} node with name '{name}'"
            return status(NoKernel, text)
        if node.domain not in _KNOWN_DOMAINS:
            return _failed(Fail, path, f"Fatal error: {node.domain}:{node.op}(-1) is not a registered function/op")
        problem = f"No Op registered for {node.op} with domain_version of {model.ir.opset_imports.get(node.domain, 1)}"
        return _failed(InvalidGraph, path, _in_node(node, problem))
    if isinstance(error, ModelError):
        return _failed(InvalidGraph if node is not None else Fail, path, f"This is an invalid model. {error.message}")
    return _failed(Fail, path, error.message)


def _failed(kind: type[Exception], path: str | None, message: str) -> Exception:
    return status(kind, message if path is None else f"Load model from {path} failed:{message}")


def _unreadable(error: ModelError, path: str | None, data: bytes | None) -> Exception:
    if path is not None and not os.path.exists(path):
        return _failed(NoSuchFile, path, f"Load model {path} failed. File doesn't exist")
    if data == b"" or (path is not None and os.path.isfile(path) and os.path.getsize(path) == 0):
        return _failed(InvalidArgument, path, "No graph was found in the protobuf.")
    if _proto(path, data) is None:
        text = (
            "Protobuf parsing failed." if path is not None else "Failed to load model because protobuf parsing failed."
        )
        return _failed(InvalidProtobuf, path, text)
    nobody = _NOBODY.search(error.message)
    if nobody is not None:
        text = f"Node input '{nobody[1]}' is not a graph input, initializer, or output of a previous node."
        return _failed(InvalidArgument, path, f"Invalid model. {text}")
    return _failed(InvalidGraph if error.op is not None else Fail, path, f"This is an invalid model. {error.message}")


def _proto(path: str | None, data: bytes | None) -> onnx.ModelProto | None:
    import onnx
    from google.protobuf.message import DecodeError  # type: ignore[import-untyped]

    try:
        proto = onnx.load(path, load_external_data=False) if path is not None else onnx.load_from_string(data)
    except (DecodeError, OSError, RuntimeError, ValueError):
        return None
    return proto if proto.HasField("graph") else None


def _check_versions(model: Model, options: SessionOptions, path: str | None) -> None:
    """onnxruntime takes no model of an IR or opset that it does not know."""
    ir, known = model.metadata.ir_version, messages().IR_VERSION
    if ir > known:
        raise _failed(Fail, path, f"Unsupported model IR version: {ir}, max supported IR version: {known}")
    if options._entries.get("session.allow_released_opsets_only", "1") == "0":
        return
    for domain in ("", "ai.onnx.ml"):
        version = model.ir.opset_imports.get(domain, 0)
        if is_newer(domain, version):
            raise _failed(
                Fail,
                path,
                "ONNX Runtime only *guarantees* support for models stamped with official released onnx opset versions. "
                f"Opset {version} is under development and support for this is limited. Current official support for "
                f"domain {domain or 'ai.onnx'} is till opset {max_opset(domain)}.",
            )


def _in_node(node: Node, problem: str) -> str:
    def listed(values: tuple[Value | None, ...] | list[Value | None]) -> str:
        return "".join(f'"{v.name}": {type_name(v.type)},' if v is not None else '"",' for v in values)

    what = f'("{node.name}", {node.op}, "{node.domain}", -1)'
    ins, outs = listed(list(node.inputs)), listed(list(node.outputs))
    return f"This is an invalid model. In Node, {what} : ({ins}) -> ({outs}) , Error {problem}"


def _replace(model: Model, name: str, array: np.ndarray) -> None:
    value = model.graph.initializers.get(name)
    if value is None:
        raise status(Fail, f"The model has no initializer {name!r} to put a tensor in the place of")
    if value.type != TensorType(DType.of(array.dtype), array.shape):
        found = TensorType(DType.of(array.dtype), array.shape)
        raise status(InvalidArgument, f"Initializer {name!r} is {value.type}, the tensor given for it {found}")
    value.data = array


def _fix_denoted(model: Model, path: str | None, data: bytes | None, sizes: dict[str, int]) -> None:
    proto = _proto(path, data)
    inputs = {} if proto is None else {i.name: i for i in proto.graph.input}
    for value in model.graph.inputs:
        shape = value.tensor.shape
        if shape is None or value.name not in inputs:
            continue
        stated = inputs[value.name].type.tensor_type.shape.dim
        fixed = tuple(sizes.get(d.denotation, s) for d, s in zip(stated, shape, strict=True))
        value.type = TensorType(value.tensor.dtype, fixed)
