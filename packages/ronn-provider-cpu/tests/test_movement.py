"""Movement, indexing, generation and ordering, against ``onnx.reference`` and NumPy."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx.reference import ReferenceEvaluator
from op_runs import assert_same, model_of, run_op, strings
from test_elementwise import int_arrays, laid_out

SETTINGS = settings(max_examples=40, deadline=None)


def same_as_reference(op: str, inputs: list[Any], **how: Any) -> list[Any]:
    got = run_op(op, inputs, **how)
    feeds = {f"x{i}": v for i, v in enumerate(inputs) if v is not None}
    for g, w in zip(got, ReferenceEvaluator(model_of(op, inputs, **how)).run(None, feeds), strict=True):
        w = np.asarray(w)
        assert_same(g, w.astype(object) if w.dtype.kind == "U" else w)
    return got


def i64(*values: int) -> np.ndarray:
    return np.array(values, np.int64)


@st.composite
def tensors(draw: st.DrawFn, min_dims: int = 1, min_side: int = 0) -> np.ndarray:
    shape = tuple(draw(st.lists(st.integers(min_side, 5), min_size=min_dims, max_size=4)))
    n = int(np.prod(shape))
    return draw(laid_out(np.arange(n, dtype=np.float32).reshape(shape)))


@SETTINGS
@given(x=tensors(), data=st.data())
def test_slice(x: np.ndarray, data: st.DataObject) -> None:
    axes = data.draw(st.permutations(range(x.ndim)))[: data.draw(st.integers(1, x.ndim))]
    bound = st.one_of(st.integers(-7, 7), st.sampled_from([2**63 - 1, -(2**63), 2**31, -(2**31)]))
    starts, ends = (data.draw(st.lists(bound, min_size=len(axes), max_size=len(axes))) for _ in range(2))
    steps = data.draw(st.lists(st.integers(-3, 3).filter(bool), min_size=len(axes), max_size=len(axes)))
    (got,) = run_op("Slice", [x, i64(*starts), i64(*ends), i64(*axes), i64(*steps)])
    want = x
    for axis, a, b, s in zip(axes, starts, ends, steps, strict=True):
        # Python's slice has no way to say "before the first element" in numbers, so ends there are None.
        stop = None if s < 0 and b < -x.shape[axis] else b
        want = want[(*(slice(None),) * axis, slice(a, stop, s))]
    assert_same(got, want)


@SETTINGS
@given(x=tensors(), data=st.data())
def test_transpose_reshape_flatten(x: np.ndarray, data: st.DataObject) -> None:
    perm = data.draw(st.permutations(range(x.ndim)))
    assert_same(run_op("Transpose", [x], perm=perm)[0], x.transpose(perm))
    assert_same(run_op("Transpose", [x])[0], x.T)
    assert_same(run_op("Reshape", [x, i64(-1)])[0], x.reshape(-1))
    assert_same(run_op("Reshape", [x, i64(*(0 for _ in x.shape))])[0], x)
    axis = data.draw(st.integers(-x.ndim, x.ndim))
    start = axis % x.ndim if axis < 0 else axis
    shape = int(np.prod(x.shape[:start])), int(np.prod(x.shape[start:]))
    assert_same(run_op("Flatten", [x], axis=axis)[0], x.reshape(shape))


def test_reshape_corner_cases() -> None:
    empty = np.zeros((0, 3), np.float32)
    assert run_op("Reshape", [empty, i64(3, 0)], allowzero=1)[0].shape == (3, 0)
    assert run_op("Reshape", [empty, i64(0, -1)])[0].shape == (0, 0)
    assert run_op("Reshape", [np.zeros((2, 3), np.float32)], opset=1, shape=[3, -1])[0].shape == (3, 2)
    with pytest.raises(ValueError, match="cannot reshape"):
        run_op("Reshape", [np.zeros((2, 3), np.float32), i64(4, -1)])


def test_squeeze_unsqueeze_expand_by_opset() -> None:
    x = np.zeros((1, 2, 1), np.float32)
    assert run_op("Squeeze", [x], opset=11, axes=[-1])[0].shape == (1, 2)
    assert run_op("Squeeze", [x])[0].shape == (2,)
    assert run_op("Squeeze", [x, i64(0)])[0].shape == (2, 1)
    assert run_op("Unsqueeze", [x], opset=11, axes=[0, -1])[0].shape == (1, 1, 2, 1, 1)
    assert run_op("Unsqueeze", [x, i64(4, 0)])[0].shape == (1, 1, 2, 1, 1)
    assert run_op("Expand", [x, i64(3, 1, 1, 4)])[0].shape == (3, 1, 2, 4)
    assert run_op("Shape", [x], start=-2)[0].tolist() == [2, 1]
    assert run_op("Size", [x])[0].tolist() == 2


@SETTINGS
@given(x=tensors(), data=st.data())
def test_split_and_concat(x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    cut = sorted(data.draw(st.lists(st.integers(0, n), max_size=3)))
    sizes = np.diff([0, *cut, n])
    parts = run_op("Split", [x, sizes.astype(np.int64)], outputs=len(sizes), axis=axis)
    for got, want in zip(parts, np.split(x, cut, axis), strict=True):
        assert_same(got, want)
    assert_same(run_op("Concat", parts, axis=axis)[0], x)


def test_split_evenly() -> None:
    x = np.arange(7, dtype=np.float32)
    assert [p.size for p in run_op("Split", [x], outputs=3, num_outputs=3)] == [3, 3, 1]
    assert [p.size for p in run_op("Split", [x[:6]], outputs=3, opset=11)] == [2, 2, 2]
    with pytest.raises(ValueError, match="do not add up"):
        run_op("Split", [x, i64(3, 3)], outputs=2)


@SETTINGS
@given(x=tensors(min_side=1), mode=st.sampled_from(["constant", "edge", "wrap", "reflect"]), data=st.data())
def test_pad(x: np.ndarray, mode: str, data: st.DataObject) -> None:
    low = -1 if mode == "constant" else 0
    before, after = ([data.draw(st.integers(low if n > 2 else 0, 7)) for n in x.shape] for _ in range(2))
    (got,) = run_op("Pad", [x, i64(*before, *after), np.array(2.5, np.float32)], mode=mode)
    grown = [(max(0, b), max(0, a)) for b, a in zip(before, after, strict=True)]
    cut = x[tuple(slice(max(0, -b), n - max(0, -a)) for n, b, a in zip(x.shape, before, after, strict=True))]
    extra = {"constant_values": 2.5} if mode == "constant" else {}
    assert_same(got, np.pad(cut, grown, mode=mode, **extra))  # type: ignore[call-overload]


def test_pad_by_opset_and_axes() -> None:
    x = np.arange(4, dtype=np.float32).reshape(2, 2)
    want = np.pad(x, ((0, 0), (1, 2)), constant_values=7)
    assert_same(run_op("Pad", [x], opset=2, pads=[0, 1, 0, 2], value=7.0)[0], want)
    assert_same(run_op("Pad", [x], opset=1, paddings=[0, 1, 0, 2], value=7.0)[0], want)
    assert_same(run_op("Pad", [x, i64(1, 2), np.array(7, np.float32), i64(-1)])[0], want)
    assert run_op("Pad", [strings("a"), i64(0, 1)])[0].tolist() == ["a", ""]
    with pytest.raises(ValueError, match="3 pads for 2 axes"):
        run_op("Pad", [x, i64(1, 2, 3)])


@SETTINGS
@given(x=tensors(min_side=1), data=st.data())
def test_gather_family(x: np.ndarray, data: st.DataObject) -> None:
    axis = data.draw(st.integers(-x.ndim, x.ndim - 1))
    n = x.shape[axis]
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    at = rng.integers(-n, n, (2, 3)).astype(data.draw(st.sampled_from([np.int32, np.int64])))
    assert_same(run_op("Gather", [x, at], axis=axis)[0], np.take(x, at, axis, mode="wrap"))
    shape = tuple(rng.integers(1, s + 1) for s in x.shape)
    where = rng.integers(-n, n, shape)
    (picked,) = run_op("GatherElements", [x, where], axis=axis)
    assert picked.shape == shape
    for index in np.ndindex(*shape):
        source = list(index)
        source[axis] = where[index]
        assert picked[index] == x[tuple(source)]
    depth = int(rng.integers(1, x.ndim + 1))
    coordinates = np.stack([rng.integers(-s, s, (2, 2)) for s in x.shape[:depth]], -1)
    same_as_reference("GatherND", [x, coordinates])


def test_gather_nd_with_batches() -> None:
    x = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    at = np.array([[[0], [2]], [[1], [-1]]], np.int64)
    assert_same(run_op("GatherND", [x, at], batch_dims=1)[0], np.stack([x[0, [0, 2]], x[1, [1, -1]]]))


@pytest.mark.parametrize("bad", [5, -6])
def test_indices_out_of_range(bad: int) -> None:
    x = np.zeros(5, np.float32)
    for op, inputs in {
        "Gather": [x, i64(bad)], "GatherElements": [x, i64(bad)], "GatherND": [x, i64(bad)[:, None]],
        "ScatterElements": [x, i64(bad), x[:1]], "ScatterND": [x, i64(bad)[:, None], x[:1]],
    }.items():  # fmt: skip
        with pytest.raises(IndexError, match=f"index {bad} is out of range for axis 0, whose size is 5"):
            run_op(op, inputs)


@SETTINGS
@given(x=tensors(min_side=1), data=st.data(), reduction=st.sampled_from(["none", "add", "mul", "max", "min"]))
def test_scatter(x: np.ndarray, data: st.DataObject, reduction: str) -> None:
    axis = data.draw(st.integers(0, x.ndim - 1))
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    shape = [int(rng.integers(1, s + 1)) for s in x.shape]
    if reduction == "none":
        # Without a reduction, no element may be written twice.
        lanes = np.broadcast_to(np.arange(x.shape[axis]), np.moveaxis(x, axis, -1).shape)
        at = np.moveaxis(rng.permuted(lanes, axis=-1), -1, axis)[tuple(slice(s) for s in shape)]
    else:
        at = rng.integers(-x.shape[axis], x.shape[axis], shape)
    updates = rng.integers(-3, 4, shape).astype(x.dtype)
    (got,) = run_op("ScatterElements", [x, at, updates], axis=axis, reduction=reduction)
    want = np.array(x)
    fold: Any = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum, "none": lambda a, b: b}[
        reduction
    ]
    for index in np.ndindex(*shape):
        to = list(index)
        to[axis] = at[index]
        want[tuple(to)] = fold(want[tuple(to)], updates[index])
    assert_same(got, want)


@pytest.mark.parametrize("dtype", [np.float16, ml_dtypes.bfloat16, np.int8, np.float64, bool])
def test_scatter_nd_reductions(dtype: Any) -> None:
    x = np.ones((2, 2)).astype(dtype)
    at, updates = np.array([[0, 0], [0, 0]], np.int64), np.array([1, 1]).astype(dtype)
    (got,) = run_op("ScatterND", [x, at, updates], reduction="add")
    assert got.dtype == x.dtype
    assert got.astype(float).tolist() == [[1.0 if dtype is bool else 3.0, 1.0], [1.0, 1.0]]


def test_scatter_of_strings() -> None:
    (got,) = run_op("ScatterElements", [strings("a", "b"), i64(1), strings("z")])
    assert got.tolist() == ["a", "z"]


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("largest", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int64, np.uint8, ml_dtypes.bfloat16, np.float16])
def test_top_k_prefers_lower_indices(axis: int, largest: int, dtype: Any) -> None:
    x = np.random.default_rng(0).integers(0, 4, (6, 5)).astype(dtype)
    values, at = run_op("TopK", [x, i64(3)], axis=axis, largest=largest, outputs=2)
    keys = x.astype(np.float64) * (-1 if largest else 1)
    order = np.argsort(keys, axis=axis, kind="stable").take(range(3), axis=axis)
    assert_same(at, order)
    assert_same(values, np.take_along_axis(x, order, axis))
    with pytest.raises(ValueError, match="k is 9"):
        run_op("TopK", [x, i64(9)], axis=axis, outputs=2)


@pytest.mark.parametrize("op", ["ArgMax", "ArgMin"])
@pytest.mark.parametrize("last", [0, 1])
@pytest.mark.parametrize("keepdims", [0, 1])
def test_arg_extreme(op: str, last: int, keepdims: int) -> None:
    x = np.random.default_rng(0).integers(0, 3, (4, 5)).astype(np.float32)
    same_as_reference(op, [x], axis=1, select_last_index=last, keepdims=keepdims)


@SETTINGS
@given(x=int_arrays(np.int8), axis=st.sampled_from([None, 0, -1]), ordered=st.sampled_from([0, 1]), text=st.booleans())
def test_unique(x: np.ndarray, axis: int | None, ordered: int, text: bool) -> None:
    x = np.array(x % 3)
    if x.ndim == 0 or (axis is not None and x.size == 0):
        return
    letters = strings(*("abc"[v] for v in x.reshape(-1)), shape=x.shape) if text else x
    how: dict[str, Any] = {"sorted": ordered} | ({} if axis is None else {"axis": axis})
    values, first, inverse, counts = run_op("Unique", [letters], outputs=4, **how)
    source = letters.reshape(-1) if axis is None else letters
    along = 0 if axis is None else axis
    assert_same(source.take(first, axis=along), values)
    assert_same(values.take(inverse, axis=along), source)
    assert counts.sum() == source.shape[along]
    assert counts.tolist() == np.bincount(inverse, minlength=counts.size).tolist()
    assert all(first[i] == list(inverse).index(i) for i in range(counts.size))
    if ordered and axis is None:
        assert values.tolist() == sorted(values.tolist())
    if not ordered:
        assert first.tolist() == sorted(first.tolist())


@pytest.mark.parametrize("op", ["CumSum", "CumProd"])
@pytest.mark.parametrize("exclusive", [0, 1])
@pytest.mark.parametrize("reverse", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.int32, np.float64])
def test_cumulative(op: str, exclusive: int, reverse: int, dtype: Any) -> None:
    x = np.arange(1, 13).reshape(3, 4).astype(dtype)
    same_as_reference(op, [x, np.array(1, np.int32)], exclusive=exclusive, reverse=reverse, opset=26)


@pytest.mark.parametrize(
    "dtype", [np.float16, np.float32, np.float64, np.int16, np.int32, np.int64, ml_dtypes.bfloat16]
)
def test_range(dtype: Any) -> None:
    start, limit, delta = (np.array(v).astype(dtype) for v in (10, 4, -2))
    assert run_op("Range", [start, limit, delta])[0].astype(float).tolist() == [10, 8, 6]
    assert run_op("Range", [limit, start, delta])[0].shape == (0,)
    with pytest.raises(ValueError, match="delta of Range is 0"):
        run_op("Range", [start, limit, start * 0])


@pytest.mark.parametrize("upper", [0, 1])
@pytest.mark.parametrize("k", [-9, -1, 0, 2, 2**62])
def test_trilu(upper: int, k: int) -> None:
    x = np.arange(24, dtype=np.int64).reshape(2, 3, 4)
    near = max(min(k, 5), -5)
    assert_same(run_op("Trilu", [x, np.array(k, np.int64)], upper=upper)[0], (np.triu if upper else np.tril)(x, near))


def test_one_hot() -> None:
    values = np.array([0, 7], np.float32)
    same_as_reference("OneHot", [i64(0, 2, -1), np.array(3, np.int64), values], axis=0)
    (got,) = run_op("OneHot", [i64(5, -4), np.array(3, np.int64), values])
    assert not got.any()
    (got,) = run_op("OneHot", [np.array([1], np.uint8), np.array(2.0, np.float32), strings("n", "y")])
    assert got.tolist() == [["n", "y"]]


@pytest.mark.parametrize("shape", [(0,), (3,), (2, 3), (2, 0)])
def test_non_zero(shape: tuple[int, ...]) -> None:
    x = (np.arange(int(np.prod(shape))) % 2).reshape(shape).astype(np.float32)
    assert_same(run_op("NonZero", [x])[0], np.array(np.nonzero(x), np.int64))


@pytest.mark.parametrize("value", [0, 2])
def test_non_zero_of_a_scalar(value: int) -> None:
    assert run_op("NonZero", [np.array(value, np.int32)])[0].shape == (0, int(value != 0))


def test_reverse_sequence_and_compress() -> None:
    x = np.arange(16, dtype=np.float32).reshape(4, 4)
    same_as_reference("ReverseSequence", [x, i64(4, 3, 2, 1)], time_axis=0, batch_axis=1)
    same_as_reference("Compress", [x, np.array([False, True])], axis=1)
    same_as_reference("Compress", [x, np.array([False, True, True])])
    with pytest.raises(IndexError, match="out of range"):
        run_op("Compress", [x, np.array([False] * 4 + [True])], axis=1)


def test_tile_by_opset() -> None:
    x = np.arange(3, dtype=np.float32)
    assert_same(run_op("Tile", [x, i64(2)])[0], np.tile(x, 2))
    assert_same(run_op("Tile", [x, np.array([2], np.float32), np.array([0], np.float32)], opset=1)[0], np.tile(x, 2))


def test_tensor_scatter_refuses_to_write_outside() -> None:
    cache, update = np.zeros((1, 4, 2), np.float32), np.ones((1, 2, 2), np.float32)
    (got,) = run_op("TensorScatter", [cache, update, i64(3)], mode="circular")
    assert got[0, :, 0].tolist() == [1, 0, 0, 1]
    with pytest.raises(IndexError, match=r"positions 3\.\.4 of a cache of 4"):
        run_op("TensorScatter", [cache, update, i64(3)])


@pytest.mark.parametrize("op", ["RandomNormal", "RandomUniform"])
def test_random(op: str) -> None:
    (a,), (b,), (c,), (d,) = (run_op(op, [], shape=[50, 20], **s) for s in ({"seed": 1.0}, {"seed": 1.0}, {}, {}))
    assert_same(a, b)
    assert a.dtype == np.float32
    assert (c != d).any()
    mean, scale = (0, 1) if op == "RandomNormal" else (0.5, 12**-0.5)
    assert abs(a.mean() - mean) < 5 * scale / 1000**0.5
    like = np.zeros((3, 2), np.float64)
    (e,) = run_op(f"{op}Like", [like], dtype=10)
    assert (e.shape, e.dtype) == ((3, 2), np.float16)


def test_multinomial_and_bernoulli() -> None:
    log = np.log(np.array([[0.5, 0.5, 1e-9], [1e-9, 1e-9, 1.0]], np.float32))
    (got,) = run_op("Multinomial", [log], sample_size=200, seed=3.0, dtype=7)
    assert got.dtype == np.int64
    assert set(got[0]) == {0, 1}
    assert set(got[1]) == {2}
    assert run_op("Bernoulli", [np.array([0.0, 1.0], np.float32)])[0].tolist() == [0, 1]


def test_dropout_by_opset() -> None:
    x = np.ones((50, 4), np.float32)
    for opset in (1, 6, 7, 10, 12, 22):
        same, mask = run_op("Dropout", [x], opset=opset, outputs=2)
        assert_same(same, x)
        assert mask.all()
        assert mask.dtype == (bool if opset >= 10 else np.float32)
    y, mask = run_op("Dropout", [x, np.array(0.25, np.float32), np.array(True)], outputs=2, seed=1)
    assert 0.1 < 1 - mask.mean() < 0.4
    np.testing.assert_allclose(y, np.where(mask, 1 / 0.75, 0), rtol=1e-6)


def test_det_and_eye_like() -> None:
    x = np.array([[[1, 2], [3, 4]], [[2, 0], [0, 2]]], np.float32)
    np.testing.assert_allclose(run_op("Det", [x])[0], [-2, 4], rtol=1e-6)
    assert_same(run_op("EyeLike", [np.zeros((2, 3), np.int32)], k=1, dtype=11)[0], np.eye(2, 3, 1))
    assert run_op("ConstantOfShape", [i64(2)])[0].tolist() == [0, 0]
    assert run_op("CenterCropPad", [np.arange(5, dtype=np.float32), i64(3)])[0].tolist() == [1, 2, 3]
