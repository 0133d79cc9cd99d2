"""Views and strided copies: native results are those of the NumPy kernels, for every size of element."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from lower_runs import DTYPES, filled, i64, lowered
from native_support import latest_plan, one_node, run_one

import ronn

FEW = settings(max_examples=25, deadline=None)
dtypes = st.sampled_from(DTYPES)
shapes = st.lists(st.integers(1, 9), min_size=1, max_size=4).map(tuple)


def kernels_of(op: str, x: np.ndarray, *fixed: np.ndarray, **attributes: Any) -> int:
    """How many kernels a run of the operator calls."""
    constants = {f"c{i}": v for i, v in enumerate(fixed)}
    _, session = run_one(one_node(op, {"x": x}, constants=constants, **attributes), {"x": x})
    return sum(len(call.native.kernels) for call in latest_plan(session).calls)


@pytest.mark.parametrize("dtype", [*DTYPES, ml_dtypes.bfloat16, np.bool_], ids=lambda d: np.dtype(d).name)
def test_views(dtype: Any) -> None:
    x = filled((2, 1, 3, 4), dtype)
    lowered("Reshape", [x, i64(4, -1)], fixed=[1])
    lowered("Flatten", [x], axis=2)
    lowered("Squeeze", [x, i64(1)], fixed=[1])
    lowered("Unsqueeze", [x, i64(0, 5)], fixed=[1])
    lowered("Identity", [x])
    lowered("Transpose", [x], perm=[0, 2, 1, 3])


def test_views_call_no_kernel() -> None:
    x = filled((4, 1, 6))
    assert kernels_of("Reshape", x, i64(24)) == 0
    assert kernels_of("Transpose", x, perm=[1, 0, 2]) == 0
    assert kernels_of("Slice", x, i64(1), i64(3), i64(0)) == 0
    assert kernels_of("Split", x, outputs=2, num_outputs=2) == 0
    assert kernels_of("Slice", x, i64(1), i64(3), i64(2)) == 1
    assert kernels_of("Concat", x, x, x, axis=2) == 1


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_transpose(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    lowered("Transpose", [filled(shape, dtype)], perm=data.draw(st.permutations(range(len(shape)))))


@pytest.mark.parametrize("mode", ["DCR", "CRD"])
@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
def test_space_and_depth(mode: str, dtype: Any) -> None:
    lowered("DepthToSpace", [filled((2, 12, 5, 17), dtype)], blocksize=2, mode=mode)
    lowered("SpaceToDepth", [filled((2, 3, 9, 33), dtype)], blocksize=3)


def test_space_to_depth_by_columns_first() -> None:
    lowered("SpaceToDepth", [filled((1, 3, 8, 8))], blocksize=2, mode="CRD", opset=28)


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_slice(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    axes = data.draw(st.permutations(range(len(shape))))[: data.draw(st.integers(1, len(shape)))]
    bound = st.one_of(st.integers(-11, 11), st.sampled_from([2**63 - 1, -(2**63)]))
    starts, ends = (data.draw(st.lists(bound, min_size=len(axes), max_size=len(axes))) for _ in range(2))
    steps = data.draw(st.lists(st.integers(-3, 3).filter(bool), min_size=len(axes), max_size=len(axes)))
    axes = [a - len(shape) if data.draw(st.booleans()) else a for a in axes]
    lowered("Slice", [filled(shape, dtype), i64(*starts), i64(*ends), i64(*axes), i64(*steps)], fixed=[1, 2, 3, 4])


def test_slice_by_attributes() -> None:
    lowered("Slice", [filled((5, 7))], opset=9, starts=[-2, 1], ends=[9, -1])
    lowered("Slice", [filled((5, 7))], opset=9, starts=[2], ends=[5], axes=[1])


@FEW
@given(shape=shapes, axis=st.integers(-4, 3), dtype=dtypes, widths=st.lists(st.integers(0, 5), min_size=1, max_size=19))
def test_concat_and_split(shape: tuple[int, ...], axis: int, dtype: Any, widths: list[int]) -> None:
    axis = max(min(axis, len(shape) - 1), -len(shape))
    parts = []
    for i, width in enumerate(widths):
        part = list(shape)
        part[axis] = width
        parts.append(filled(part, dtype, seed=i))
    (y,) = lowered("Concat", parts, axis=axis)
    if y.size:
        lowered("Split", [y, i64(*widths)], fixed=[1], outputs=len(widths), axis=axis)


def test_split_evenly() -> None:
    x = filled((3, 10))
    lowered("Split", [x], outputs=4, axis=1, num_outputs=4)
    lowered("Split", [x], outputs=2, axis=1, opset=11, split=[3, 7])
    lowered("Split", [x], outputs=3, axis=0, opset=13)


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes)
def test_expand_and_tile(data: st.DataObject, shape: tuple[int, ...], dtype: Any) -> None:
    ones = tuple(1 if data.draw(st.booleans()) else n for n in shape)
    target = data.draw(st.sampled_from([shape, (3, *shape), (2, 1, *shape)]))
    lowered("Expand", [filled(ones, dtype), i64(*target)], fixed=[1])
    lowered("Tile", [filled(shape, dtype), i64(*(data.draw(st.integers(1, 4)) for _ in shape))], fixed=[1])


@FEW
@given(data=st.data(), shape=shapes, dtype=dtypes, mode=st.sampled_from(["constant", "edge", "reflect", "wrap"]))
def test_pad(data: st.DataObject, shape: tuple[int, ...], dtype: Any, mode: str) -> None:
    shape = shape[:3]
    low = st.sampled_from([0, 0, 1, 2, 3, 5, -1, -2])
    pads = [data.draw(low) for _ in range(2 * len(shape))]
    left = [n + min(b, 0) + min(a, 0) for n, b, a in zip(shape, pads, pads[len(shape) :])]
    assume(min(left) > 0)
    value = np.array(7, dtype) if data.draw(st.booleans()) else None
    fixed = [1, 2] if value is not None and data.draw(st.booleans()) else [1]
    lowered("Pad", [filled(shape, dtype), i64(*pads), value], fixed=fixed, mode=mode, opset=25)


def test_pad_some_axes_and_by_attributes() -> None:
    x = filled((3, 4, 5))
    lowered("Pad", [x, i64(1, 2, 0, 3), None, i64(-1, 0)], fixed=[1, 3])
    lowered("Pad", [x], opset=2, pads=[0, 1, 2, 0, 0, 1], value=1.5)
    lowered("Pad", [x, i64(*[0] * 6)], fixed=[1])


def test_a_pad_of_very_many_pieces_is_left_to_numpy() -> None:
    lowered("Pad", [filled((2, 2, 2)), i64(*[30] * 6)], fixed=[1], mode="wrap", opset=25, native=False)


def test_pad_of_nothing() -> None:
    lowered("Pad", [filled((0, 3)), i64(2, 0, 1, 0), np.array(4, np.float32)], fixed=[1])


@FEW
@given(shape=shapes, target=st.lists(st.integers(1, 12), min_size=4, max_size=4), dtype=dtypes)
def test_center_crop_pad(shape: tuple[int, ...], target: list[int], dtype: Any) -> None:
    lowered("CenterCropPad", [filled(shape, dtype), i64(*target[: len(shape)])], fixed=[1])


def test_dropout() -> None:
    x = filled((3, 5))
    lowered("Dropout", [x])
    lowered("Dropout", [x, np.array(0.3, np.float32)], outputs=2)
    lowered("Dropout", [x], outputs=2, opset=7)


@pytest.mark.parametrize("threads", [1, 2])
def test_large_copies_are_shared_out(threads: int) -> None:
    x = filled((64, 100, 130))
    session = ronn.Session(one_node("Transpose", {"x": x}, perm=[2, 0, 1]), providers=[("cpu", {"threads": threads})])
    (got,) = session.run({"x": x})
    np.testing.assert_array_equal(got, x.transpose(2, 0, 1))
    (call,) = latest_plan(session).calls
    assert (call.native.kernels[0].chunks > 1) == (threads > 1)
