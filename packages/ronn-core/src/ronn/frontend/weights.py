"""Large constants of a model file: views of the mapped file, or read straight into arrays of their own.

protobuf would copy the whole file once more, and holds no message of 2 GiB. So the large ``raw_data`` fields of the
main graph's initializers, and of tensors among the attributes of its nodes, are left out of what protobuf parses, and
taken from the file when their tensor is.
"""

from __future__ import annotations

import io
from typing import BinaryIO

import numpy as np

from ronn.mapped import MIN_MAPPED, MappedFile

MIN_MODEL = 2**20  # bytes; a smaller model is parsed whole
MIN_RAW = 4096  # bytes of a raw_data field worth leaving out

_GRAPH_OF_MODEL, _NODE_OF_GRAPH, _INITIALIZER_OF_GRAPH, _RAW_OF_TENSOR = 7, 1, 5, 9
_ATTRIBUTE_OF_NODE, _TENSOR_OF_ATTRIBUTE = 5, 5
_ABOUT_ATTRIBUTE = frozenset({1, 13, 20, 21})  # name, description, kind, reference
_BYTES = 2  # the wire type of strings, bytes and messages

Stored = BinaryIO | MappedFile | bytes
"""What a model is read from."""

Place = int | tuple[int, int]
"""Which tensor of the main graph: the number of an initializer, or of a node and of its attribute."""


class Weights:
    """The bytes of tensors of the main graph that were left out of the parsed model."""

    def __init__(self, source: Stored, ranges: dict[Place, tuple[int, int]]) -> None:
        self._source = source
        self._ranges = ranges

    def take(self, place: Place) -> np.ndarray | None:
        """The raw data of a tensor as uint8; None when the parsed model has it.

        OSError when the file cannot be read any more.
        """
        found = self._ranges.get(place)
        if found is None:
            return None
        offset, length = found
        if isinstance(self._source, bytes):
            return np.frombuffer(self._source, np.uint8, length, offset)
        if isinstance(self._source, MappedFile):
            view = self._source.view(offset, length)
            return view if length >= MIN_MAPPED else view.copy()
        array = np.empty(length, np.uint8)
        self._source.seek(offset)
        if self._source.readinto(array.data) != length:  # type: ignore[attr-defined]
            raise OSError("the file became shorter while it was read")
        return array

    @property
    def mapped(self) -> MappedFile | None:
        """The file that arrays are views of."""
        return self._source if isinstance(self._source, MappedFile) else None

    def close(self) -> None:
        """Done reading. A mapped file stays open for the arrays that are views of it."""
        if isinstance(self._source, MappedFile):
            self._source.give_back()
        elif not isinstance(self._source, bytes):
            self._source.close()


def split(source: Stored, size: int) -> tuple[bytes, Weights] | None:
    """The model without its large tensors, and those. None for what does not look like a plain model file."""
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        splitter = _Splitter(file, size)
        stripped = splitter.model()
    except (_NotPlain, OSError):
        return None
    return stripped, Weights(source, splitter.ranges)


class _NotPlain(Exception):
    pass


class _Splitter:
    """Walks the fields of a protobuf message, and copies all but the large ``raw_data``."""

    def __init__(self, file: BinaryIO | MappedFile, size: int) -> None:
        self.file = file
        self.size = size
        self.at = 0
        self.nodes = self.initializers = 0
        self.ranges: dict[Place, tuple[int, int]] = {}

    def model(self) -> bytes:
        out: list[bytes] = []
        while self.at < self.size:
            tag, head = self._varint()
            if tag == _GRAPH_OF_MODEL << 3 | _BYTES:
                out += _field(head, self._graph(self._end(self.size)))
            else:
                out += [head, self._copy(tag & 7, self.size)]
        return b"".join(out)

    def _graph(self, end: int) -> bytes:
        out: list[bytes] = []
        while self.at < end:
            tag, head = self._varint()
            if tag == _INITIALIZER_OF_GRAPH << 3 | _BYTES:
                out += _field(head, self._tensor(self._end(end), self.initializers))
                self.initializers += 1
            elif tag == _NODE_OF_GRAPH << 3 | _BYTES:
                out += _field(head, self._node(self._end(end), self.nodes))
                self.nodes += 1
            else:
                out += [head, self._copy(tag & 7, end)]
        self._check(end)
        return b"".join(out)

    def _node(self, end: int, number: int) -> bytes:
        if end - self.at < MIN_RAW:
            return self._read(end - self.at, end)
        out: list[bytes] = []
        attributes = 0
        while self.at < end:
            tag, head = self._varint()
            if tag == _ATTRIBUTE_OF_NODE << 3 | _BYTES:
                out += _field(head, self._attribute(self._end(end), (number, attributes)))
                attributes += 1
            else:
                out += [head, self._copy(tag & 7, end)]
        self._check(end)
        return b"".join(out)

    def _attribute(self, end: int, place: Place) -> bytes:
        if end - self.at < MIN_RAW:
            return self._read(end - self.at, end)
        out: list[bytes] = []
        start, tensors = self.at, 0
        while self.at < end:
            tag, head = self._varint()
            if tag == _TENSOR_OF_ATTRIBUTE << 3 | _BYTES:
                tensors += 1
                out += _field(head, self._tensor(self._end(end), place))
            elif tag >> 3 in _ABOUT_ATTRIBUTE:
                out += [head, self._copy(tag & 7, end)]
            else:  # of another kind: a list may have a million fields
                self.ranges.pop(place, None)
                self.file.seek(start)
                self.at = start
                return self._read(end - start, end)
        self._check(end)
        if tensors > 1:
            raise _NotPlain  # protobuf knows how to merge them
        return b"".join(out)

    def _tensor(self, end: int, place: Place) -> bytes:
        out: list[bytes] = []
        raw = 0
        while self.at < end:
            tag, head = self._varint()
            if tag == _RAW_OF_TENSOR << 3 | _BYTES:
                raw += 1
                start = self.at
                stop = self._end(end)
                if stop - self.at >= MIN_RAW:
                    self.ranges[place] = (self.at, stop - self.at)
                    self.file.seek(stop)
                    self.at = stop
                    continue
                self.file.seek(start)
                self.at = start
            out += [head, self._copy(tag & 7, end)]
        self._check(end)
        if raw > 1:
            raise _NotPlain  # the last one counts: protobuf knows
        return b"".join(out)

    def _copy(self, kind: int, end: int) -> bytes:
        match kind:
            case 0:  # varint
                return self._varint()[1]
            case 1:  # 64 bits
                return self._read(8, end)
            case 5:  # 32 bits
                return self._read(4, end)
            case 2:
                length, head = self._varint()
                return head + self._read(length, end)
        raise _NotPlain

    def _end(self, outer: int) -> int:
        length, _ = self._varint()
        if length > outer - self.at:
            raise _NotPlain
        return self.at + length

    def _check(self, end: int) -> None:
        if self.at != end:
            raise _NotPlain

    def _read(self, count: int, end: int) -> bytes:
        if count > end - self.at:
            raise _NotPlain
        data = self.file.read(count)
        if len(data) != count:
            raise _NotPlain
        self.at += count
        return data

    def _varint(self) -> tuple[int, bytes]:
        value = 0
        head = b""
        for shift in range(0, 64, 7):
            byte = self._read(1, self.size)
            head += byte
            value |= (byte[0] & 127) << shift
            if byte[0] < 128:
                return value, head
        raise _NotPlain


def _field(head: bytes, body: bytes) -> list[bytes]:
    size, length = len(body), b""
    while size > 127:
        length += bytes([size & 127 | 128])
        size >>= 7
    return [head, length + bytes([size]), body]
