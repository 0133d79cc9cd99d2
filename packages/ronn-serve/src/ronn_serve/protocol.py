"""The KServe v2 protocol: requests from bytes, with everything that they claim checked, and answers to bytes.

A tensor's data stands in the JSON, or, with the binary extension, behind it: little-endian elements in row-major order,
and for ``BYTES`` each element behind its length in four bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np

from ronn.errors import RonnError

HEADER = "inference-header-content-length"
"""The HTTP header with the length of the JSON in front of binary data."""

_NUMPY: dict[str, np.dtype] = {
    "BOOL": np.dtype("bool"),
    **{f"{u}INT{bits}": np.dtype(f"{u.lower()}int{bits}") for u in ("", "U") for bits in (8, 16, 32, 64)},
    "FP16": np.dtype("float16"),
    "FP32": np.dtype("float32"),
    "FP64": np.dtype("float64"),
    "BF16": np.dtype(ml_dtypes.bfloat16),
    "BYTES": np.dtype(object),
}
_NAMES = {dtype: name for name, dtype in _NUMPY.items()}
_MAX_RANK = 32


class ProtocolError(RonnError):
    """A request that breaks the protocol, or asks for what is not there. ``status`` is that of the HTTP answer."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True, slots=True)
class InferRequest:
    """What a client asks for. ``outputs``: names, with whether the client wants them in binary; None for all.

    timeout: seconds, None for the server's own.
    """

    inputs: dict[str, np.ndarray]
    outputs: dict[str, bool] | None = None
    id: str | None = None
    binary: bool = False
    timeout: float | None = None


def datatype(dtype: np.dtype) -> str | None:
    """The protocol's name of a dtype; None where it has none."""
    return _NAMES.get(dtype)


def decode(body: bytes, header_length: int | None = None) -> InferRequest:
    """Reads a request. ``header_length``: bytes of the JSON, where binary data follow. Raises ProtocolError."""
    length = len(body) if header_length is None else header_length
    if not 0 <= length <= len(body):
        raise ProtocolError(f"{HEADER}: {length} is more than the {len(body)} bytes of the request")
    head = _mapping(_parse(body[:length]), "the request")
    reader = _Reader(body, length)
    inputs: dict[str, np.ndarray] = {}
    for i, item in enumerate(_list(head.get("inputs"), "inputs")):
        tensor = _mapping(item, f"inputs[{i}]")
        name = _text(tensor.get("name"), f"inputs[{i}].name")
        if name in inputs:
            raise ProtocolError(f"input {name!r} is there twice")
        inputs[name] = _tensor(tensor, name, reader)
    reader.finish()
    parameters = _mapping(head.get("parameters", {}), "parameters")
    binary = _flag(parameters, "binary_data_output", "parameters")
    return InferRequest(inputs, _outputs(head, binary), _identity(head), binary, _timeout(parameters))


def _parse(text: bytes) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        raise ProtocolError("the JSON is nested too deeply") from None
    except ValueError as e:
        raise ProtocolError(f"the request is no JSON: {e}") from None


def _identity(head: Mapping[str, Any]) -> str | None:
    found = head.get("id")
    return None if found is None else _text(found, "id")


def _timeout(parameters: Mapping[str, Any]) -> float | None:
    found = parameters.get("timeout")
    if found is None:
        return None
    if isinstance(found, bool) or not isinstance(found, (int, float)) or not 0 < found < 1e15:
        raise ProtocolError(f"parameters.timeout: {found!r} is no number of microseconds")
    return found / 1e6


def _outputs(head: Mapping[str, Any], binary: bool) -> dict[str, bool] | None:
    if head.get("outputs") is None:
        return None
    found: dict[str, bool] = {}
    for i, item in enumerate(_list(head["outputs"], "outputs")):
        output = _mapping(item, f"outputs[{i}]")
        parameters = _mapping(output.get("parameters", {}), f"outputs[{i}].parameters")
        if "classification" in parameters:
            raise ProtocolError(f"outputs[{i}].parameters.classification is not supported: take the scores")
        name = _text(output.get("name"), f"outputs[{i}].name")
        found[name] = _flag(parameters, "binary_data", f"outputs[{i}].parameters", binary)
    return found


class _Reader:
    """The binary data behind the JSON, tensor by tensor."""

    def __init__(self, body: bytes, start: int) -> None:
        self._body = memoryview(body)
        self._at = start

    def take(self, size: int, name: str) -> memoryview:
        left = len(self._body) - self._at
        if size > left:
            raise ProtocolError(f"input {name!r}: binary_data_size {size} is more than the {left} bytes that are left")
        self._at += size
        return self._body[self._at - size : self._at]

    def finish(self) -> None:
        left = len(self._body) - self._at
        if left:
            raise ProtocolError(f"{left} bytes behind the last tensor belong to none")


def _tensor(tensor: Mapping[str, Any], name: str, reader: _Reader) -> np.ndarray:
    kind = _text(tensor.get("datatype"), f"input {name!r}: datatype")
    dtype = _NUMPY.get(kind)
    if dtype is None:
        raise ProtocolError(f"input {name!r}: datatype {kind!r} is none of {', '.join(_NUMPY)}")
    shape = _shape(tensor.get("shape"), name)
    parameters = _mapping(tensor.get("parameters", {}), f"input {name!r}: parameters")
    size = parameters.get("binary_data_size")
    if size is None:
        if "data" not in tensor:
            raise ProtocolError(f"input {name!r} has neither data nor parameters.binary_data_size")
        return _from_json(tensor["data"], dtype, kind, shape, name)
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ProtocolError(f"input {name!r}: binary_data_size {size!r} is no number of bytes")
    if "data" in tensor:
        raise ProtocolError(f"input {name!r} has both data and binary data")
    return _from_binary(reader.take(size, name), dtype, kind, shape, name)


def _shape(given: Any, name: str) -> tuple[int, ...]:
    shape = _list(given, f"input {name!r}: shape")
    if any(isinstance(d, bool) or not isinstance(d, int) or not 0 <= d < 1 << 48 for d in shape):
        raise ProtocolError(f"input {name!r}: shape {shape!r} is not made of sizes")
    if len(shape) > _MAX_RANK:
        raise ProtocolError(f"input {name!r}: rank {len(shape)} is more than {_MAX_RANK}")
    return tuple(shape)


def _count(shape: Sequence[int]) -> int:
    count = 1
    for d in shape:
        count *= d
    return count


def _from_binary(data: memoryview, dtype: np.dtype, kind: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    count = _count(shape)
    if kind == "BYTES":
        return _strings(_split(data, count, name), shape, name)
    if len(data) != count * dtype.itemsize:
        raise ProtocolError(
            f"input {name!r}: {len(data)} bytes where {kind} of shape {list(shape)} takes {count * dtype.itemsize}"
        )
    array = np.frombuffer(data, dtype.newbyteorder("<") if dtype.kind in "iuf" else dtype).astype(dtype, copy=False)
    if kind == "BOOL" and array.size and int(array.view(np.uint8).max()) > 1:
        raise ProtocolError(f"input {name!r}: bytes of BOOL are 0 or 1")
    return array.reshape(shape)


def _split(data: memoryview, count: int, name: str) -> list[bytes]:
    found: list[bytes] = []
    at = 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at : at + 4], "little")
        if at + 4 > len(data) or end > len(data):
            raise ProtocolError(f"input {name!r}: element {len(found)} of BYTES is cut off")
        found.append(bytes(data[at + 4 : end]))
        at = end
    if len(found) != count:
        raise ProtocolError(f"input {name!r}: {len(found)} elements of BYTES where the shape takes {count}")
    return found


def _strings(elements: Sequence[Any], shape: tuple[int, ...], name: str) -> np.ndarray:
    try:
        texts = [e.decode() if isinstance(e, bytes) else e for e in elements]
    except UnicodeDecodeError:
        raise ProtocolError(f"input {name!r}: an element of BYTES is no UTF-8, which strings of ONNX are") from None
    if not all(isinstance(t, str) for t in texts):
        raise ProtocolError(f"input {name!r}: elements of BYTES are strings")
    try:
        "".join(texts).encode()
    except UnicodeEncodeError:
        raise ProtocolError(f"input {name!r}: an element of BYTES has half a surrogate pair") from None
    array = np.empty(len(texts), dtype=object)
    array[:] = texts
    return array.reshape(shape)


def _from_json(data: Any, dtype: np.dtype, kind: str, shape: tuple[int, ...], name: str) -> np.ndarray:
    count = _count(shape)
    if kind == "BYTES":
        flat = _flat(_list(data, f"input {name!r}: data"))
        _check_count(len(flat), count, shape, name)
        return _strings(flat, shape, name)
    _list(data, f"input {name!r}: data")
    try:
        array = np.asarray(data)
    except (ValueError, OverflowError):
        raise ProtocolError(f"input {name!r}: the rows of data differ in length") from None
    _check_count(array.size, count, shape, name)
    allowed = {"b": "biu", "i": "iu", "u": "iu"}.get(dtype.kind, "iuf")
    if array.size and array.dtype.kind not in allowed:
        raise ProtocolError(f"input {name!r}: data are not all numbers of {kind}")
    if array.size and dtype.kind in "iub":
        low, high = (0, 1) if kind == "BOOL" else (np.iinfo(dtype).min, np.iinfo(dtype).max)
        if int(array.min()) < low or int(array.max()) > high:
            raise ProtocolError(f"input {name!r}: data are not all within {kind}, {low} to {high}")
    with np.errstate(over="ignore"):
        return array.astype(dtype).reshape(shape)


def _check_count(got: int, count: int, shape: tuple[int, ...], name: str) -> None:
    if got != count:
        raise ProtocolError(f"input {name!r}: {got} elements of data where shape {list(shape)} takes {count}")


def _flat(data: list[Any]) -> list[Any]:
    while data and any(isinstance(d, list) for d in data):
        data = [x for d in data for x in (d if isinstance(d, list) else [d])]
    return data


def _mapping(given: Any, what: str) -> Mapping[str, Any]:
    if not isinstance(given, dict):
        raise ProtocolError(f"{what} is no JSON object")
    return given


def _list(given: Any, what: str) -> list[Any]:
    if not isinstance(given, list):
        raise ProtocolError(f"{what} is no list" if given is not None else f"{what} is missing")
    return given


def _text(given: Any, what: str) -> str:
    if not isinstance(given, str):
        raise ProtocolError(f"{what} is no string" if given is not None else f"{what} is missing")
    return given


def _flag(parameters: Mapping[str, Any], name: str, what: str, default: bool = False) -> bool:
    found = parameters.get(name, default)
    if not isinstance(found, bool):
        raise ProtocolError(f"{what}.{name} is neither true nor false")
    return found


@dataclass(slots=True)
class Answer:
    """An answer: its JSON, and the binary data that follow it."""

    head: dict[str, Any]
    tail: list[bytes] = field(default_factory=list)

    def encode(self) -> tuple[bytes, int | None]:
        """The body, and the length of its JSON where binary data follow. Not finite numbers are NaN and Infinity."""
        text = json.dumps(self.head, separators=(",", ":")).encode()
        return (b"".join([text, *self.tail]), len(text)) if self.tail else (text, None)


def answer(request: InferRequest, results: Mapping[str, Any], model: str, version: str) -> Answer:
    """The answer to ``request``. ProtocolError for an output that is no tensor that the protocol knows."""
    made = Answer({"model_name": model, "model_version": version})
    if request.id is not None:
        made.head["id"] = request.id
    outputs = []
    for name, value in results.items():
        kind = datatype(value.dtype) if isinstance(value, np.ndarray) else None
        if kind is None:
            what = str(value.dtype) if isinstance(value, np.ndarray) else f"a {type(value).__name__}, no tensor"
            raise ProtocolError(f"output {name!r} is {what}: the protocol has no such data; ask for others by name")
        output: dict[str, Any] = {"name": name, "datatype": kind, "shape": list(value.shape)}
        if request.binary if request.outputs is None else request.outputs[name]:
            data = _to_binary(value, kind)
            output["parameters"] = {"binary_data_size": len(data)}
            made.tail.append(data)
        else:
            output["data"] = (value.astype(np.float32) if kind == "BF16" else value).ravel().tolist()
        outputs.append(output)
    made.head["outputs"] = outputs
    return made


def _to_binary(value: np.ndarray, kind: str) -> bytes:
    if kind == "BYTES":
        elements = [str(e).encode() for e in value.ravel().tolist()]
        return b"".join(len(e).to_bytes(4, "little") + e for e in elements)
    return value.astype(value.dtype.newbyteorder("<"), copy=False).tobytes() if kind != "BF16" else value.tobytes()
