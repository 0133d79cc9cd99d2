import io
import struct

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst

from ronn.errors import OptionError
from ronn_hrm.errors import StateError
from ronn_hrm.memory.codec import from_bytes, pack, to_bytes, unpack

_DTYPES = st.one_of(
    npst.boolean_dtypes(), npst.integer_dtypes(endianness="?"), npst.floating_dtypes(endianness="?"),
    npst.complex_number_dtypes(), npst.unicode_string_dtypes(max_len=5), npst.byte_string_dtypes(max_len=5),
    npst.datetime64_dtypes(),
)  # fmt: skip
_SHAPES = npst.array_shapes(min_dims=0, min_side=0, max_side=4)


@given(npst.arrays(_DTYPES, _SHAPES), st.booleans())
def test_arrays_come_back_to_the_bit(array: np.ndarray, turned: bool) -> None:
    array = array.T if turned else array
    data = to_bytes(array)
    found = from_bytes(data)
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tobytes() == array.tobytes()
    assert not found.flags.writeable
    plain = np.load(io.BytesIO(data), allow_pickle=False)  # what is kept is the known format
    assert plain.tobytes() == array.tobytes()


@given(npst.arrays(object, _SHAPES, elements=st.text(max_size=4)))
def test_text_comes_back_with_all_its_characters(array: np.ndarray) -> None:
    found = from_bytes(to_bytes(array))
    assert (found.dtype, found.shape) == (array.dtype, array.shape)
    assert found.tolist() == array.tolist()


@pytest.mark.parametrize("dtype", [ml_dtypes.bfloat16, ml_dtypes.float8_e4m3fn, ml_dtypes.int4])
@pytest.mark.parametrize("shape", [(), (3,), (0, 2), (2, 2)])
def test_small_dtypes_come_back(dtype: type, shape: tuple[int, ...]) -> None:
    array = (np.arange(int(np.prod(shape))).reshape(shape) - 1).astype(dtype)
    found = from_bytes(to_bytes(array))
    assert (found.dtype, found.shape, found.tobytes()) == (array.dtype, array.shape, array.tobytes())


def test_named_arrays_come_back_in_order() -> None:
    arrays = {"b": np.arange(3), "a\n": np.array("x", object), "": np.zeros((0, 2), np.float16)}
    found = unpack(pack(arrays))
    assert list(found) == list(arrays)
    assert all(np.array_equal(found[n], arrays[n]) for n in arrays)
    assert unpack(pack({})) == {}


@pytest.mark.parametrize(
    "array", [np.array([1, "a"], object), np.array([b"a"], object), np.zeros(2, [("a", "i4"), ("b", "O")])]
)
def test_what_only_pickle_could_keep_is_refused(array: np.ndarray) -> None:
    with pytest.raises(OptionError, match="cannot be kept"):
        to_bytes(array)


class _Bomb:
    def __reduce__(self) -> tuple:
        raise AssertionError("was unpickled")


def _pickled() -> bytes:
    out = io.BytesIO()
    np.save(out, np.array([{1: 2}], object), allow_pickle=True)
    return out.getvalue()


def _version(number: int, array: np.ndarray) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, (number, 0))
    return out.getvalue()


@pytest.mark.parametrize("number", [2, 3])
def test_later_versions_of_the_format_are_read(number: int) -> None:
    array = np.arange(6.0).reshape(2, 3)
    assert np.array_equal(from_bytes(_version(number, array)), array)


@pytest.mark.parametrize(
    "data",
    [
        b"", b"\x93NUMPY", b"\x93NUMPY\x01\x00", b"text", b"text[1]", b"text[[9],[]]", b"view", b"viewbfloat16\n",
        b"viewos\n" + to_bytes(np.zeros(1, np.uint8)), _pickled(), b"nothing",
        b"\x93NUMPY\x01\x00" + struct.pack("<H", 9) + b"{'descr':",
        to_bytes(np.arange(4))[:-1], to_bytes(np.arange(4)) + b"\0",
        _version(1, np.asfortranarray(np.zeros((2, 3)))),
        to_bytes(np.arange(4)).replace(b"(4,)", b"(-4,)"[:4] + b")"),
    ],
)  # fmt: skip
def test_bytes_that_are_no_array_are_an_error_that_says_so(data: bytes) -> None:
    with pytest.raises(StateError, match="cannot be read"):
        from_bytes(data)


@given(st.binary(max_size=80))
def test_any_bytes_are_an_array_or_an_error(data: bytes) -> None:
    for start in (b"", b"\x93NUMPY\x01\x00", b"text", b"view"):
        try:
            from_bytes(start + data)
        except StateError:
            pass


@pytest.mark.parametrize(
    "data", [b"", b"\n", b"{}\n", b'[["a", 1]]\n', b'[["a", -1], ["b", 1]]\n', b'[["a"]]\n', b"1\n"]
)
def test_named_arrays_that_are_none_are_an_error(data: bytes) -> None:
    if data == b"{}\n":
        assert unpack(data) == {}
        return
    with pytest.raises(StateError, match="cannot be read"):
        unpack(data)
