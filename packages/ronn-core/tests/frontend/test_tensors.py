"""Every element type, in each way in which a TensorProto can hold it."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from ronn.frontend import limits
from ronn.frontend.encode import array_to_proto, sparse_to_proto
from ronn.frontend.tensors import TensorReader
from ronn.ir.types import DType

NUMERIC = [d for d in DType if d is not DType.STRING]


def no_external(entries: dict[str, str], nbytes: int) -> np.ndarray:
    raise ValueError("no external data here")


READER = TensorReader(no_external)


def numbers(dtype: DType, shape: tuple[int, ...]) -> np.ndarray:
    """Every bit pattern of small types, random ones of large types."""
    count = int(np.prod(shape))
    if dtype is DType.BOOL:
        return (np.arange(count) % 3 == 0).reshape(shape)
    if dtype.bits < 8:
        codes = (np.arange(count) % (1 << dtype.bits)).astype(np.uint8)
        if dtype in (DType.INT4, DType.INT2):
            half = 1 << (dtype.bits - 1)
            codes = ((codes ^ half).astype(np.int8) - half).astype(np.int8).view(np.uint8)
        return codes.view(dtype.numpy).reshape(shape)
    raw = np.random.default_rng(0).integers(0, 256, count * dtype.numpy.itemsize, np.uint8)
    return raw.view(dtype.numpy).reshape(shape)


def same(a: np.ndarray, b: np.ndarray) -> bool:
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


@pytest.mark.parametrize("shape", [(), (1,), (3,), (5, 3), (0,), (2, 0, 3), (8, 8)])
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.short)
def test_raw(dtype: DType, shape: tuple[int, ...]) -> None:
    want = numbers(dtype, shape)
    stored = numpy_helper.from_array(want, "t")
    got = READER.read(stored)
    assert same(got, want)
    assert not got.flags.writeable
    assert array_to_proto(want, "t") == stored


@pytest.mark.parametrize("shape", [(), (3,), (5, 3), (0, 4)])
@pytest.mark.parametrize("dtype", NUMERIC, ids=lambda d: d.short)
def test_typed_fields(dtype: DType, shape: tuple[int, ...]) -> None:
    want = numbers(dtype, shape)
    flat = want.reshape(-1)
    proto = TensorProto(dims=shape, data_type=dtype.code)
    if dtype in (DType.FLOAT32, DType.COMPLEX64):
        proto.float_data.extend(flat.view(np.float32).tolist())
    elif dtype in (DType.FLOAT64, DType.COMPLEX128):
        proto.double_data.extend(flat.view(np.float64).tolist())
    elif dtype is DType.INT64:
        proto.int64_data.extend(flat.tolist())
    elif dtype in (DType.UINT32, DType.UINT64):
        proto.uint64_data.extend(flat.tolist())
    elif dtype in (DType.INT32, DType.INT16, DType.INT8, DType.BOOL):
        proto.int32_data.extend(int(x) for x in flat)
    elif dtype.bits in (2, 4):
        proto.int32_data.extend(array_to_proto(want).raw_data)
    elif dtype.bits == 6:
        proto.int32_data.extend(int(x) & 0x3F for x in flat.view(np.uint8))
    else:
        proto.int32_data.extend(int(x) for x in flat.view(np.uint16 if dtype.bits == 16 else np.uint8))
    got = READER.read(proto)
    if dtype in (DType.FLOAT32, DType.COMPLEX64):  # a float32 NaN loses its payload on the way through a Python float
        np.testing.assert_array_equal(got, want)
    else:
        assert same(got, want)
    assert not got.flags.writeable


def test_bool_bytes_above_one_are_true() -> None:
    got = READER.read(TensorProto(dims=[3], data_type=TensorProto.BOOL, raw_data=b"\x00\x02\xff"))
    assert got.tolist() == [False, True, True] and got.view(np.uint8).max() == 1


def test_raw_data_is_not_copied() -> None:
    got = READER.read(numpy_helper.from_array(np.arange(64, dtype=np.float32), "t"))
    base = got
    while isinstance(base, np.ndarray):
        base = base.base
    assert isinstance(base, bytes)


def test_strings() -> None:
    proto = TensorProto(name="t", data_type=TensorProto.STRING, dims=[2, 2])
    proto.string_data.extend([b"a", b"", "ü".encode(), b"\xff\x00"])
    got = READER.read(proto)
    assert got.dtype == object and got[:, 0].tolist() == ["a", "ü"] and got[0, 1] == ""
    assert all(isinstance(s, str) for s in got.reshape(-1))
    assert array_to_proto(got, "t") == proto


def broken(**fields: Any) -> TensorProto:
    return TensorProto(**{"data_type": TensorProto.FLOAT, "dims": [2], "raw_data": b"\0" * 8, **fields})


@pytest.mark.parametrize(
    ("proto", "word"),
    [
        (broken(raw_data=b"\0" * 7), "7 bytes"),
        (broken(raw_data=b""), "0 bytes"),
        (broken(dims=[2**62]), "elements"),
        (broken(dims=[2**40, 2**40]), "elements"),
        (broken(dims=[0, 2**62]), "elements"),
        (broken(dims=[-1]), "negative"),
        (broken(dims=[1] * 65), "rank 65"),
        (broken(dims=[2**31]), "8 bytes"),
        (broken(data_type=0), "element type 0"),
        (broken(data_type=99), "element type 99"),
        (broken(segment=TensorProto.Segment(begin=0, end=1)), "segments"),
        (TensorProto(dims=[3], data_type=TensorProto.FLOAT, float_data=[1, 2]), "2 numbers in float_data"),
        (TensorProto(dims=[3], data_type=TensorProto.COMPLEX64, float_data=[1, 2, 3]), "6 are needed"),
        (TensorProto(dims=[3], data_type=TensorProto.INT64, int32_data=[1, 2, 3]), "0 numbers in int64_data"),
        (TensorProto(dims=[3], data_type=TensorProto.INT4, int32_data=[1, 2, 3]), "2 are needed"),
        (TensorProto(dims=[2], data_type=TensorProto.STRING, string_data=[b"a"]), "1 strings"),
        (TensorProto(dims=[2], data_type=TensorProto.STRING, data_location=1), "strings cannot"),
    ],
)
def test_tensors_that_do_not_add_up(proto: TensorProto, word: str) -> None:
    with pytest.raises(ValueError, match=word):
        READER.read(proto)


@pytest.mark.parametrize("shape", [(4,), (3, 5), (2, 3, 4), (0, 3)])
def test_sparse(shape: tuple[int, ...]) -> None:
    dense = np.where(np.arange(np.prod(shape)) % 3 == 0, np.arange(np.prod(shape)), 0).reshape(shape).astype(np.float32)
    assert same(READER.read_sparse(sparse_to_proto(dense, "s")), dense)
    where = np.argwhere(dense)
    nd = onnx.SparseTensorProto(
        values=numpy_helper.from_array(dense[tuple(where.T)], "s"), indices=numpy_helper.from_array(where), dims=shape
    )
    got = READER.read_sparse(nd)
    assert same(got, dense) and not got.flags.writeable


@pytest.mark.parametrize(
    ("indices", "dims", "word"),
    [
        (np.array([5]), [4], "outside"),
        (np.array([-1]), [4], "outside"),
        (np.array([[0, 9]]), [2, 3], "outside"),
        (np.array([0, 1]), [4], "1 values but indices"),
        (np.array([0], np.int32), [4], "int64 indices"),
        (np.array([0]), [2**40], "bytes when dense"),
        (np.array([0]), [-4], "negative"),
    ],
)
def test_sparse_that_does_not_add_up(indices: np.ndarray, dims: list[int], word: str) -> None:
    values = numpy_helper.from_array(np.ones(1, np.float32))
    sparse = onnx.SparseTensorProto(values=values, indices=numpy_helper.from_array(indices), dims=dims)
    with pytest.raises(ValueError, match=word):
        READER.read_sparse(sparse)


def test_element_count() -> None:
    assert limits.element_count([]) == 1
    assert limits.element_count([2, 0, 3]) == 0
    assert limits.element_count([2, 3]) == 6
