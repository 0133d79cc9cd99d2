"""The protocol on bytes: what is written is read again, and whatever comes is read or refused with words."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from ronn_serve.protocol import _NUMPY, InferRequest, ProtocolError, answer, datatype, decode

PLAIN = [n for n in _NUMPY if n not in ("BYTES", "BF16")]


@st.composite
def tensors(draw: st.DrawFn) -> np.ndarray:
    """Arrays of every datatype of the protocol, of rank 0 to 3, empty ones among them."""
    kind = draw(st.sampled_from([*PLAIN, "BYTES", "BF16"]))
    shape = draw(hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=3))
    if kind == "BYTES":
        texts = draw(st.lists(st.text(max_size=5), min_size=int(np.prod(shape)), max_size=int(np.prod(shape))))
        array = np.empty(len(texts), object)
        array[:] = texts
        return array.reshape(shape)
    if kind == "BF16":
        return draw(hnp.arrays(np.float32, shape, elements=st.floats(-9, 9, width=32))).astype(_NUMPY[kind])
    return draw(hnp.arrays(_NUMPY[kind], shape))


@settings(max_examples=150, deadline=None)
@given(found=st.lists(tensors(), min_size=1, max_size=3), binary=st.lists(st.booleans(), min_size=3, max_size=3))
def test_what_is_answered_can_be_sent(found: list[np.ndarray], binary: list[bool]) -> None:
    values = {f"t{i}": a for i, a in enumerate(found)}
    wanted = InferRequest({}, dict(zip(values, binary, strict=False)), "id")
    body, length = answer(wanted, values, "m", "1").encode()
    head = json.loads(body[:length])
    head["inputs"] = head.pop("outputs")
    text = json.dumps(head).encode()
    again = decode(text + body[len(body) if length is None else length :], len(text))
    assert again.id == "id" and list(again.inputs) == list(values)
    for name, value in values.items():
        got = again.inputs[name]
        assert got.dtype == value.dtype and got.shape == value.shape
        if value.dtype.kind == "O":
            assert got.tolist() == value.tolist()
        else:
            np.testing.assert_array_equal(got.astype(np.float64), value.astype(np.float64))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=8,
)
KEYS = ["id", "inputs", "outputs", "parameters", "name", "shape", "datatype", "data", "timeout", "binary_data_size"]


@settings(max_examples=400, deadline=None)
@given(data=st.data())
def test_whatever_comes_is_read_or_refused(data: st.DataObject) -> None:
    """A good request in which a few things were put in place of others."""
    tensor = {"name": "x", "datatype": "FP32", "shape": [2], "data": [1, 2], "parameters": {"binary_data": True}}
    stored = {"name": "y", "datatype": "BYTES", "shape": [1], "parameters": {"binary_data_size": 5}}
    request: Any = {"inputs": [tensor, stored], "outputs": [{"name": "z"}], "parameters": {"timeout": 5}}
    for _ in range(data.draw(st.integers(0, 3))):
        place: Any = request
        while True:
            if isinstance(place, dict):
                key: Any = data.draw(st.sampled_from([*place, *KEYS]))
            elif isinstance(place, list) and place:
                key = data.draw(st.integers(0, len(place) - 1))
            else:
                break
            inner = place.get(key) if isinstance(place, dict) else place[key]
            if not isinstance(inner, (dict, list)) or data.draw(st.booleans()):
                place[key] = data.draw(JSON)
                break
            place = inner
    text = json.dumps(request).encode()
    tail = data.draw(st.binary(max_size=8) | st.just(b"\1\0\0\0a"))
    length = data.draw(st.sampled_from([len(text), None, 0, len(text) + 3]))
    try:
        found = decode(text + tail, length)
    except ProtocolError as e:
        assert e.status == 400 and str(e)
        return
    assert all(isinstance(a, np.ndarray) and datatype(a.dtype) for a in found.inputs.values())


@settings(max_examples=100, deadline=None)
@given(st.binary(max_size=60))
def test_bytes_at_random(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        decode(body)


def test_all_datatypes_have_names() -> None:
    assert {datatype(d) for d in _NUMPY.values()} == set(_NUMPY)
    assert datatype(np.dtype("complex64")) is None
