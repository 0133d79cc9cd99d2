"""Elementwise operators: shapes, layouts, special values, wrap-around; against formulas in float64 or in integers."""

from __future__ import annotations

import math
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from op_runs import assert_same, run_op, strings

SETTINGS = settings(max_examples=25, deadline=None)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=5)
FLOATS = [np.float16, ml_dtypes.bfloat16, np.float32, np.float64]
INTS = [np.int8, np.int16, np.int32, np.int64, np.uint8, np.uint16, np.uint32, np.uint64]
STEP = {np.dtype(np.float16): 2e-3, np.dtype(ml_dtypes.bfloat16): 2e-2, np.dtype(np.float32): 2e-6}


@st.composite
def laid_out(draw: st.DrawFn, array: np.ndarray) -> np.ndarray:
    """The same elements in another layout: reversed, transposed, strided or as they are."""
    if array.ndim == 0:
        return array
    kind = draw(st.sampled_from(["plain", "reversed", "transposed", "strided"]))
    if kind == "reversed":
        step = (slice(None, None, -1),) * array.ndim
        return np.ascontiguousarray(array[step])[step]
    if kind == "transposed":
        return np.ascontiguousarray(array.T).T
    if kind == "strided":
        wide = np.zeros((*array.shape[:-1], array.shape[-1] * 2), array.dtype)
        wide[..., ::2] = array
        return wide[..., ::2]
    return array


@st.composite
def float_arrays(draw: st.DrawFn, dtypes: Any = FLOATS, shape: Any = SHAPES, bound: float = 40) -> np.ndarray:
    dtype = draw(st.sampled_from(dtypes))
    special = st.sampled_from([0.0, -0.0, math.inf, -math.inf, math.nan, 0.5, 1.0, -1.0, 2.5, -2.5])
    elements = st.one_of(special, st.floats(-bound, bound, width=32))
    array = draw(hnp.arrays(np.float64, shape, elements=elements)).astype(dtype)
    return draw(laid_out(array))


@st.composite
def int_arrays(draw: st.DrawFn, dtype: Any, shape: Any = SHAPES) -> np.ndarray:
    info = np.iinfo(dtype)
    edge = st.sampled_from([info.min, info.max, 0, 1, 2, 3])
    elements = st.one_of(edge, st.integers(int(info.min), int(info.max)))
    return draw(laid_out(draw(hnp.arrays(dtype, shape, elements=elements))))


def close(got: np.ndarray, want: Any, dtype: np.dtype, slack: float = 1) -> None:
    """Equal within a few units in the last place of ``dtype``; an overflow to infinity counts as the largest number."""
    with np.errstate(all="ignore"):
        want = np.asarray(want, np.float64).astype(dtype).astype(np.float64)
    tol = STEP.get(np.dtype(dtype), 1e-13) * slack
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=tol, atol=tol)


def sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-x))


def softplus(x: Any) -> Any:
    return np.maximum(x, 0) + np.log1p(np.exp(-np.abs(x)))


def f32(value: float) -> float:
    """An attribute as models store it."""
    return float(np.float32(value))


erf = np.vectorize(math.erf, otypes=[float])

UNARY: dict[str, Any] = {
    "Abs": np.abs, "Neg": np.negative, "Sqrt": np.sqrt, "Exp": np.exp, "Log": np.log, "Reciprocal": lambda x: 1 / x,
    "Sin": np.sin, "Cos": np.cos, "Tan": np.tan, "Asin": np.arcsin, "Acos": np.arccos, "Atan": np.arctan,
    "Sinh": np.sinh, "Cosh": np.cosh, "Tanh": np.tanh, "Asinh": np.arcsinh, "Acosh": np.arccosh, "Atanh": np.arctanh,
    "Ceil": np.ceil, "Floor": np.floor, "Round": np.round, "Sign": np.sign, "Erf": erf,
    "Sigmoid": sigmoid, "Softplus": softplus, "Softsign": lambda x: x / (1 + np.abs(x)),
    "Relu": lambda x: np.maximum(x, 0),
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1), "Mish": lambda x: x * np.tanh(softplus(x)),
    "HardSigmoid": lambda x: np.clip(f32(0.2) * x + 0.5, 0, 1),
    "LeakyRelu": lambda x: np.where(x < 0, f32(0.01) * x, x),
    "Elu": lambda x: np.where(x < 0, np.expm1(x), x), "Celu": lambda x: np.where(x < 0, np.expm1(x), x),
    "Selu": lambda x: f32(1.0507009873554805) * np.where(x < 0, f32(1.6732632423543772) * np.expm1(x), x),
    "ThresholdedRelu": lambda x: np.where(x > 1, x, 0), "Swish": lambda x: x * sigmoid(x),
    "Gelu": lambda x: 0.5 * x * (1 + erf(x / math.sqrt(2))),
    "Shrink": lambda x: np.where(x < -0.5, x, np.where(x > 0.5, x, 0)),
}  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
@SETTINGS
@given(x=float_arrays())
def test_unary(op: str, x: np.ndarray) -> None:
    (got,) = run_op(op, [x])
    with np.errstate(all="ignore"):
        want = UNARY[op](x.astype(np.float64))
    if op in ("ThresholdedRelu", "Shrink", "Sign"):
        keep = ~np.isnan(x.astype(np.float64))  # comparisons with NaN: operators differ in what they give
        got, want = got[keep], np.asarray(want)[keep]
    close(got, want, x.dtype, slack=50 if op == "Tan" else 4)


@pytest.mark.parametrize("dtype", INTS)
def test_unary_of_integers(dtype: Any) -> None:
    info = np.iinfo(dtype)
    x = np.array([info.min, info.max, 0, 1, 5], dtype)
    wrap = np.array([-int(v) for v in x], object)
    if info.min < 0:
        assert_same(run_op("Neg", [x])[0], wrapped(wrap, dtype))
        assert_same(run_op("Abs", [x])[0], wrapped(np.array([abs(int(v)) for v in x], object), dtype))
    assert_same(run_op("Sign", [x])[0], np.sign(x))
    assert_same(run_op("BitwiseNot", [x])[0], ~x)


@pytest.mark.parametrize("n", [0, 1, 16383, 16384, 16385, 50001])
def test_block_borders(n: int) -> None:
    x = np.linspace(-5, 5, n, dtype=np.float32)
    close(run_op("Gelu", [x])[0], UNARY["Gelu"](x.astype(np.float64)), x.dtype, slack=4)


def test_erf_accuracy() -> None:
    x = np.concatenate([np.linspace(-6, 6, 200001), np.geomspace(1e-300, 1, 1000)])
    exact = erf(x)
    assert np.max(np.abs(run_op("Erf", [x])[0] / np.where(exact == 0, 1, exact) - (exact != 0))) < 1e-15
    small = x.astype(np.float32)
    exact = erf(small.astype(np.float64))
    assert np.max(np.abs(run_op("Erf", [small])[0] - exact)) < 5e-7


def wrapped(values: np.ndarray, dtype: Any) -> np.ndarray:
    """Python integers, reduced to ``dtype`` as C does."""
    bits = np.iinfo(dtype).bits
    low = [int(v) & (2**bits - 1) for v in values.reshape(-1)]
    return np.array(low, np.uint64).astype(f"u{bits // 8}").view(dtype).reshape(values.shape)


def truncated(a: int, b: int) -> int:
    return 0 if b == 0 else abs(a) // abs(b) * (1 if (a < 0) == (b < 0) else -1)


@st.composite
def pairs(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    dtype = draw(st.sampled_from(INTS))
    shapes = draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=4))
    a, b = (draw(int_arrays(dtype, s)) for s in shapes.input_shapes)
    return a, b


@SETTINGS
@given(ab=pairs())
@pytest.mark.parametrize(
    ("op", "fn"),
    [("Add", lambda a, b: a + b), ("Sub", lambda a, b: a - b), ("Mul", lambda a, b: a * b), ("Div", truncated)],
)
def test_integer_arithmetic_wraps(op: str, fn: Any, ab: tuple[np.ndarray, np.ndarray]) -> None:
    a, b = ab
    (got,) = run_op(op, [a, b])
    whole = np.frompyfunc(fn, 2, 1)(a.astype(object), b.astype(object))
    want = wrapped(np.asarray(whole, object), a.dtype)
    if op == "Div":  # division by zero is undefined, but must not raise
        defined = np.broadcast_to(b != 0, got.shape)
        got, want = got[defined], want[defined]
    assert_same(got, want)


@SETTINGS
@given(ab=pairs(), fmod=st.sampled_from([0, 1]))
def test_integer_mod(ab: tuple[np.ndarray, np.ndarray], fmod: int) -> None:
    a, b = ab
    (got,) = run_op("Mod", [a, b], fmod=fmod)
    remainder = (lambda p, q: p - truncated(p, q) * q) if fmod else (lambda p, q: p % q if q else 0)
    want = wrapped(np.asarray(np.frompyfunc(remainder, 2, 1)(a.astype(object), b.astype(object)), object), a.dtype)
    defined = np.broadcast_to(b != 0, got.shape)
    assert_same(got[defined], want[defined])


@SETTINGS
@given(ab=pairs(), direction=st.sampled_from(["LEFT", "RIGHT"]))
def test_bit_shift(ab: tuple[np.ndarray, np.ndarray], direction: str) -> None:
    a, b = ab
    bits = a.dtype.itemsize * 8

    def shift(p: int, q: int) -> int:
        if not 0 <= q < bits:
            return -1 if direction == "RIGHT" and p < 0 else 0
        return p << q if direction == "LEFT" else p >> q

    (got,) = run_op("BitShift", [a, b], direction=direction)
    whole = np.frompyfunc(shift, 2, 1)(a.astype(object), b.astype(object))
    assert_same(got, wrapped(np.asarray(whole, object), a.dtype))


BINARY: dict[str, Any] = {
    "Add": np.add, "Sub": np.subtract, "Mul": np.multiply, "Div": np.divide, "Pow": np.power, "Max": np.maximum,
    "Min": np.minimum, "Sum": np.add, "Mean": lambda a, b: (a + b) / 2, "PRelu": lambda a, b: np.where(a < 0, a * b, a),
    "SwiGLU": lambda a, b: a * sigmoid(a) * b,
}  # fmt: skip


@pytest.mark.parametrize("op", BINARY)
@SETTINGS
@given(data=st.data())
def test_binary(op: str, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(FLOATS))
    shapes = data.draw(hnp.mutually_broadcastable_shapes(num_shapes=2, max_dims=3, min_side=0, max_side=4)).input_shapes
    a = data.draw(float_arrays([dtype], shapes[0], bound=8))
    b = data.draw(float_arrays([dtype], shapes[1], bound=8))
    if op == "PRelu" and np.broadcast_shapes(*shapes) != shapes[0]:
        if b.size == 0:
            return
        b = b.reshape(-1)[:1]
    if op == "SwiGLU":
        b = np.broadcast_to(b, np.broadcast_shapes(*shapes))
        a = np.broadcast_to(a, b.shape)
    (got,) = run_op(op, [a, b])
    with np.errstate(all="ignore"):
        want = BINARY[op](a.astype(np.float64), b.astype(np.float64))
    close(got, want, a.dtype, slack=8)


@pytest.mark.parametrize("op", ["Sum", "Max", "Min", "Mean"])
@pytest.mark.parametrize("n", [1, 3, 4])
def test_variadic(op: str, n: int) -> None:
    rng = np.random.default_rng(n)
    inputs = [rng.standard_normal((2, 3)[i % 2 :]).astype(np.float32) for i in range(n)]
    fold = {"Sum": np.sum, "Max": np.max, "Min": np.min, "Mean": np.mean}[op]
    want = fold(np.stack(np.broadcast_arrays(*inputs)).astype(np.float64), axis=0)
    close(run_op(op, inputs)[0], want, np.dtype(np.float32), slack=4)


def test_pow_of_mixed_types() -> None:
    two = np.array([2, 3, -4], np.int32)
    assert_same(run_op("Pow", [two, np.array([3, 2, 3], np.float32)])[0], np.array([8, 9, -64], np.int32))
    assert_same(run_op("Pow", [two, np.array([-1, 0, 1], np.int64)])[0], np.array([0, 1, -4], np.int32))
    assert_same(run_op("Pow", [two.astype(np.float32), np.array(2, np.int64)])[0], np.array([4, 9, 16], np.float32))


@pytest.mark.parametrize("op", ["Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"])
@SETTINGS
@given(x=float_arrays(), y=st.sampled_from([0.0, 1.0, math.nan, math.inf]))
def test_comparison(op: str, x: np.ndarray, y: float) -> None:
    other = np.array(y).astype(x.dtype)
    ufunc = {"Equal": np.equal, "Less": np.less, "LessOrEqual": np.less_equal, "Greater": np.greater}.get(
        op, np.greater_equal
    )
    assert_same(run_op(op, [x, other])[0], np.asarray(ufunc(x.astype(np.float64), y)))


def test_equal_of_strings() -> None:
    assert run_op("Equal", [strings("a", "b"), strings("a")])[0].tolist() == [True, False]


def test_where_broadcasts() -> None:
    c = np.array([[True], [False]])
    x, y = np.arange(3, dtype=np.int64), np.array(9, np.int64)
    assert run_op("Where", [c, x, y])[0].tolist() == [[0, 1, 2], [9, 9, 9]]
    assert run_op("Where", [c, strings("a"), strings("b", "c")])[0].tolist() == [["a", "a"], ["b", "c"]]


@pytest.mark.parametrize(("low", "high"), [(None, None), (-1, None), (None, 1), (-1, 1), (2, -2)])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.int8, np.uint8, np.int64, ml_dtypes.bfloat16])
def test_clip(low: Any, high: Any, dtype: Any) -> None:
    if dtype == np.uint8:
        low, high = (None if v is None else v + 3 for v in (low, high))
    x = np.array([-3, 0, 1, 5] if dtype != np.uint8 else [0, 1, 3, 9]).astype(dtype)
    bounds = [None if v is None else np.array(v).astype(dtype) for v in (low, high)]
    want = x.astype(np.float64)
    want = want if low is None else np.maximum(want, low)
    want = want if high is None else np.minimum(want, high)
    assert_same(run_op("Clip", [x, *bounds])[0], want.astype(dtype))
    if dtype in (np.float16, np.float32):
        limits = {k: float(v) for k, v in (("min", low), ("max", high)) if v is not None}
        assert_same(run_op("Clip", [x], opset=6, **limits)[0], want.astype(dtype))


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize("negative", [0, 1])
@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.float16, ml_dtypes.bfloat16, ml_dtypes.float8_e5m2])
def test_is_inf_and_is_nan(positive: int, negative: int, dtype: Any) -> None:
    x = np.array([1, math.inf, -math.inf, math.nan, 0]).astype(dtype)
    (got,) = run_op("IsInf", [x], detect_positive=positive, detect_negative=negative)
    assert got.tolist() == [False, bool(positive), bool(negative), False, False]
    assert run_op("IsNaN", [x])[0].tolist() == [False, False, False, True, False]


def test_broadcast_attribute_of_old_opsets() -> None:
    a, b = np.zeros((2, 3, 4), np.float32), np.arange(3, dtype=np.float32)
    (got,) = run_op("Add", [a, b], opset=6, broadcast=1, axis=1)
    assert_same(got, np.broadcast_to(b[:, None], a.shape).copy())
    (got,) = run_op("Less", [a, b], opset=1, broadcast=1, axis=-2)
    assert_same(got, np.broadcast_to(b[:, None] > 0, a.shape).copy())


def test_prelu_of_old_opsets_is_per_channel() -> None:
    x = -np.ones((1, 2, 2), np.float32)
    (got,) = run_op("PRelu", [x, np.array([2, 3], np.float32)], opset=6)
    assert got.tolist() == [[[-2, -2], [-3, -3]]]


@pytest.mark.parametrize("fmod", [0, 1])
def test_float_mod(fmod: int) -> None:
    a, b = np.array([5.5, -5.5, 5.5, -5.5], np.float32), np.array([2, 2, -2, -2], np.float32)
    want = np.fmod(a, b) if fmod else a - np.floor(a / b) * b
    assert_same(run_op("Mod", [a, b], fmod=fmod)[0], want)
