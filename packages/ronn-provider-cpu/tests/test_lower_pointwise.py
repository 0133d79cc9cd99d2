"""Elementwise operators on native loops, against their NumPy kernels: types, broadcasts, special values, opsets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one
from op_runs import run_op

RNG = np.random.default_rng(21)
SPECIAL = np.array(
    [0, -0.0, 1, -1, np.nan, np.inf, -np.inf, 1e-40, 2.5, 3.5, -2.5, 0.5, -0.5, 100, -100, 1e30, 7, 88.9, -104], "f4"
)


def floats(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape) * 3, dtype)


def integers(low: int, high: int, *shape: int, dtype: Any = np.int32) -> np.ndarray:
    return np.asarray(RNG.integers(low, high, shape)).astype(dtype)


def scalar(value: Any, dtype: Any = np.float32) -> np.ndarray:
    return np.array(value, dtype)


def check(
    op: str, inputs: Sequence[np.ndarray | None], *, fixed: Sequence[int] = (), opset: int = 21, domain: str = "",
    tolerance: float = 4e-6, near: float = 4e-7, native: bool = True, **attributes: Any,
) -> np.ndarray:  # fmt: skip
    """``op`` on native kernels gives what its NumPy kernel does: floats to ``tolerance`` or ``near`` absolutely."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    feeds = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    constants = {f"x{i}": feeds.pop(f"x{i}") for i in fixed}
    domains = {domain: 1} if domain else None
    model = one_node(
        op, feeds, constants=constants, order=names, opset=opset, domain=domain, domains=domains, **attributes
    )
    (got,), session = run_one(model, feeds)
    assert (native_nodes(session) == [op]) is native
    with np.errstate(all="ignore"):
        (want,) = run_op(op, list(inputs), opset=opset, domain=domain, **attributes)
    assert got.dtype == want.dtype and got.shape == want.shape
    if got.dtype.kind == "f":
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=tolerance, atol=near)
    else:
        np.testing.assert_array_equal(got, want)
    return np.asarray(got)


UNARY = [
    "Neg", "Abs", "Sqrt", "Exp", "Log", "Erf", "Tanh", "Sigmoid", "Sin", "Cos", "Tan", "Asin", "Acos", "Atan",
    "Sinh", "Cosh", "Asinh", "Acosh", "Atanh", "Floor", "Ceil", "Round", "Reciprocal", "Sign", "Relu", "Softplus",
    "Softsign", "HardSwish", "Mish", "LeakyRelu", "Elu", "Selu", "Celu", "ThresholdedRelu", "HardSigmoid", "Gelu",
    "Shrink", "IsNaN", "IsInf",
]  # fmt: skip


@pytest.mark.parametrize("op", UNARY)
def test_unary(op: str) -> None:
    special = SPECIAL if op not in ("Sin", "Cos", "Tan") else SPECIAL[np.abs(SPECIAL) < 1e6]
    near = 2e-6 if op == "Gelu" else 4e-7  # far below 0 it is a small difference of numbers near 1, times x
    for x in (floats(100), floats(3, 7), floats(), special):
        check(op, [x], near=near)
    if op not in ("Celu", "HardSwish", "Mish"):
        check(op, [floats(33, dtype=np.float64)], tolerance=1e-12, near=1e-14)


@pytest.mark.parametrize("op", ["Neg", "Abs", "Relu", "Sign"])
def test_unary_on_integers(op: str) -> None:
    for dtype in (np.int8, np.int32, np.int64):
        low = np.iinfo(dtype).min
        x = np.concatenate([integers(-100, 100, 40, dtype=dtype), np.array([low, 0], dtype)])
        check(op, [x])


@pytest.mark.parametrize("op, attributes", [
    ("LeakyRelu", {"alpha": 0.3}), ("LeakyRelu", {"alpha": 2.0}), ("LeakyRelu", {"alpha": -0.5}),
    ("Elu", {"alpha": 0.7}),
    ("Selu", {"alpha": 1.1, "gamma": 2.0}), ("Celu", {"alpha": 2.0}), ("ThresholdedRelu", {"alpha": 0.4}),
    ("HardSigmoid", {"alpha": 0.3, "beta": 0.4}), ("Gelu", {"approximate": "tanh"}), ("IsInf", {"detect_negative": 0}),
    ("IsInf", {"detect_positive": 0}), ("IsInf", {"detect_positive": 0, "detect_negative": 0}),
    ("Shrink", {"bias": 0.5, "lambd": 1.0}),
])  # fmt: skip
def test_attributes(op: str, attributes: dict[str, Any]) -> None:
    check(op, [np.concatenate([floats(50), SPECIAL])], near=2e-6 if op == "Gelu" else 4e-7, **attributes)


def test_swish_and_the_gelus_of_com_microsoft() -> None:
    check("Swish", [floats(40)], opset=24, alpha=0.5)
    for op in ("Gelu", "FastGelu", "QuickGelu"):
        check(op, [floats(4, 40)], domain="com.microsoft", near=2e-6)
    check("BiasGelu", [floats(4, 40), floats(40)], domain="com.microsoft", near=2e-6)


BINARY = ["Add", "Sub", "Mul", "Div", "Pow", "Max", "Min", "Equal", "Less", "LessOrEqual", "Greater", "GreaterOrEqual"]


@pytest.mark.parametrize("op", BINARY)
def test_binary(op: str) -> None:
    pairs = [((5, 6), (6,)), ((2, 3, 4, 5), (3, 1, 1)), ((4, 1), (1, 9)), ((), (7,)), ((2, 1, 4), (3, 1))]
    for a, b in pairs:
        check(op, [floats(*a), floats(*b)])
    x, y = (v.reshape(-1) for v in np.meshgrid(SPECIAL, SPECIAL))
    check(op, [x, y])
    if op != "Pow":
        for dtype in (np.int32, np.int64, np.uint8, np.int8) if op in BINARY[:4] else (np.int64, np.uint8, np.uint32):
            check(op, [integers(-100, 100, 40, dtype=dtype), integers(-4, 5, 40, dtype=dtype)])


@pytest.mark.parametrize("exponent", [2, 3, 0.5, -1, -0.5, 1, 1.7])
def test_powers_by_a_constant(exponent: float) -> None:
    check("Pow", [np.concatenate([floats(40), SPECIAL]), scalar(exponent)], fixed=[1])
    check("Pow", [np.abs(floats(40)), scalar(exponent, np.float64)], fixed=[1])


def test_powers_of_integers() -> None:
    for dtype in (np.int32, np.int64, np.int8, np.uint8):
        check("Pow", [integers(-9, 10, 200, dtype=dtype), integers(0, 12, 200, dtype=dtype)])
    check("Pow", [integers(-9, 9, 200, dtype=np.int64), integers(0, 200, 200, dtype=np.int64)])
    check("Pow", [integers(1, 4, 100), integers(-3, 4, 100)])
    check("Pow", [integers(-5, 6, 20), scalar(3, np.int32)], fixed=[1])
    for dtype in (np.int32, np.int64):
        check("Pow", [integers(-9, 10, 200, dtype=dtype), integers(0, 8, 200, dtype=np.float32)])
    check("Pow", [np.abs(floats(50)), integers(-3, 4, 50, dtype=np.int64)])


@pytest.mark.parametrize("op", ["Sum", "Mean", "Max", "Min"])
def test_variadic(op: str) -> None:
    check(op, [floats(3, 4), floats(4), floats(1), floats(3, 1)])
    check(op, [floats(9)])


@pytest.mark.parametrize("fmod", [0, 1])
def test_mod(fmod: int) -> None:
    for dtype in (np.int32, np.int64, np.uint8, np.int8):
        check("Mod", [integers(-100, 100, 60, dtype=dtype), integers(-7, 7, 60, dtype=dtype)], fmod=fmod)
    # Exactly, however large the quotient.
    some = np.concatenate([SPECIAL, floats(30) * 1e10, floats(30) * 1e-10, floats(30)])
    a, b = (v.reshape(-1) for v in np.meshgrid(some, some))
    check("Mod", [a, b], fmod=fmod, tolerance=0, near=0)
    check("Mod", [floats(9, dtype=np.float64), floats(9, dtype=np.float64)], native=False, fmod=1)


def test_logic_and_bits() -> None:
    bools = [integers(0, 2, 3, 33, dtype=bool), integers(0, 2, 33, dtype=bool)]
    for op in ("And", "Or", "Xor"):
        check(op, bools)
    check("Equal", bools)
    check("Not", bools[:1])
    for dtype in (np.uint8, np.int32):
        words = [integers(0, 200, 3, 33, dtype=dtype), integers(0, 200, 33, dtype=dtype)]
        for op in ("BitwiseAnd", "BitwiseOr", "BitwiseXor"):
            check(op, words)
        check("BitwiseNot", words[:1])
    for direction in ("LEFT", "RIGHT"):
        check("BitShift", [integers(0, 200, 33, dtype=np.uint32), integers(0, 40, 33, dtype=np.uint32)],
              direction=direction)  # fmt: skip


def test_where() -> None:
    for shape in ((4, 5), (4, 1), (1,)):
        condition = integers(0, 2, *shape, dtype=bool)
        check("Where", [condition, floats(4, 5), floats(5)])
        check("Where", [condition, integers(-9, 9, 4, 5, dtype=np.int64), integers(-9, 9, 1, dtype=np.int64)])


def test_clip() -> None:
    x = np.concatenate([floats(40), SPECIAL])
    check("Clip", [x, scalar(-1), scalar(1)])
    check("Clip", [x, scalar(0), scalar(6)], fixed=[1, 2])
    check("Clip", [x, None, scalar(6)], fixed=[2])
    check("Clip", [x, scalar(3), scalar(-3)], fixed=[1, 2])
    check("Clip", [x], opset=6, min=-0.5, max=2.5)
    check("Clip", [integers(-50, 50, 30, dtype=np.int8), scalar(-7, np.int8), scalar(9, np.int8)])


CODES = {"f4": 1, "u1": 2, "i1": 3, "u2": 4, "i2": 5, "i4": 6, "i8": 7, "?": 9, "f8": 11, "u4": 12, "u8": 13}


@pytest.mark.parametrize("target", CODES)
def test_cast(target: str) -> None:
    for source in ("f4", "f8", "i8", "?"):
        if source != target:
            x = integers(0, 100, 40, dtype=source)
            if source.startswith("f"):
                x = x + x.dtype.type(0.3) if target[0] == "u" else x - x.dtype.type(50.3)
            check("Cast", [x], to=CODES[target])


def test_batch_normalization() -> None:
    parameters = [floats(3), floats(3), floats(3), np.abs(floats(3)) + 0.1]
    for shape in ((2, 3, 4, 5), (2, 3), (1, 3, 1, 1)):
        check("BatchNormalization", [floats(*shape), *parameters], tolerance=2e-5, near=1e-5)
        check("BatchNormalization", [floats(*shape), *parameters], fixed=[1, 2, 3, 4], tolerance=2e-5, near=1e-5)


def test_prelu() -> None:
    check("PRelu", [floats(2, 3, 4), floats(3, 1)])
    check("PRelu", [floats(2, 3, 4), floats(3)], opset=6)
    check("PRelu", [integers(-9, 9, 4, 5, dtype=np.int64), integers(-9, 9, 5, dtype=np.int64)])


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.uint16, np.int16])
def test_quantisation(dtype: Any) -> None:
    x = np.concatenate([floats(2, 3, 40).reshape(-1) * 100, SPECIAL])
    for zero in (None, scalar(3, dtype)):
        if zero is not None or dtype == np.uint8:
            check("QuantizeLinear", [x, scalar(0.1), zero])
    channels = [np.abs(floats(3)) + 0.1, np.arange(3).astype(dtype)]
    check("QuantizeLinear", [floats(2, 3, 40), *channels], axis=1)
    codes = integers(0, 100, 2, 3, 40, dtype=dtype)
    check("DequantizeLinear", [codes, scalar(0.1), scalar(3, dtype)])
    check("DequantizeLinear", [codes, scalar(0.1)])
    check("DequantizeLinear", [codes, *channels], axis=-2)


def test_old_broadcasting() -> None:
    check("Add", [floats(2, 3, 4), floats(3)], opset=6, broadcast=1, axis=1)
    check("Mul", [floats(2, 3, 4), floats(4)], opset=6, broadcast=1)


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 17]), max_size=4), st.sampled_from(["Add", "Max", "Less"]), st.data())
def test_any_broadcast(shape: list[int], op: str, data: st.DataObject) -> None:
    other = [data.draw(st.sampled_from([1, d])) for d in shape][data.draw(st.integers(0, len(shape))) :]
    check(op, [floats(*shape), floats(*other)] if data.draw(st.booleans()) else [floats(*other), floats(*shape)])


SMALL = {
    "float8_e4m3fn": 17, "float8_e4m3fnuz": 18, "float8_e5m2": 19, "float8_e5m2fnuz": 20, "uint4": 21, "int4": 22,
    "float4_e2m1fn": 23, "float8_e8m0fnu": 24, "uint2": 25, "int2": 26,
}  # fmt: skip


def cast_once(x: np.ndarray, code: int, **attributes: Any) -> np.ndarray:
    model = one_node("Cast", {"x": x}, opset=25, to=code, **attributes)
    (got,), session = run_one(model, {"x": x})
    assert "Cast" in native_nodes(session)
    return np.asarray(got)


@pytest.mark.parametrize("name", SMALL)
def test_casts_of_small_types(name: str) -> None:
    """To every small type as its NumPy kernel does, bit by bit, and back from every code."""
    dtype = np.dtype(getattr(ml_dtypes, name))
    whole = name[0] in "ui"
    steps = np.linspace(-500, 500, 301, dtype=np.float32)
    x = np.concatenate([SPECIAL, floats(100), floats(100) * 100, steps, steps * 1e-3])
    if whole:
        x = np.nan_to_num(np.clip(x, -100, 100))
    for source in (np.float32, np.float64, np.float16):
        for saturate in (0, 1) if dtype.name.startswith("float8") else (1,):
            attributes = {"saturate": saturate} if dtype.name.startswith("float8") else {}
            with np.errstate(all="ignore"):
                given = x.astype(source)
                (want,) = run_op("Cast", [given], opset=25, to=SMALL[name], **attributes)
            got = cast_once(given, SMALL[name], **attributes)
            assert got.dtype == want.dtype
            both = np.isnan(got.astype(np.float32)) & np.isnan(want.astype(np.float32))
            np.testing.assert_array_equal(np.where(both, 0, got.view(np.uint8)), np.where(both, 0, want.view(np.uint8)))
    codes = np.arange(256 if "8" in name else 16 if "4" in name else 4, dtype=np.uint8).view(dtype)
    for code, target in ((1, np.float32), (10, np.float16), *(((6, np.int32),) if whole else ())):
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(cast_once(codes, code), codes.astype(np.float32).astype(target))


@pytest.mark.parametrize("name", ["int4", "uint4", "float8_e4m3fn", "float8_e5m2"])
def test_quantisation_to_small_types(name: str) -> None:
    dtype = np.dtype(getattr(ml_dtypes, name))
    x, scale, zero = floats(3, 40) * 2, scalar(0.25), np.array(0 if "f" in name else 3).astype(dtype)
    model = one_node("QuantizeLinear", {"x": x, "scale": scale, "zero": zero}, opset=23)
    (got,), session = run_one(model, {"x": x, "scale": scale, "zero": zero})
    assert native_nodes(session) == ["QuantizeLinear"]
    (want,) = run_op("QuantizeLinear", [x, scale, zero], opset=23)
    np.testing.assert_array_equal(got.view(np.uint8), want.view(np.uint8))
    model = one_node("DequantizeLinear", {"x": want, "scale": scale, "zero": zero}, opset=23)
    (back,), session = run_one(model, {"x": want, "scale": scale, "zero": zero})
    assert native_nodes(session) == ["DequantizeLinear"]
    np.testing.assert_array_equal(back, run_op("DequantizeLinear", [want, scale, zero], opset=23)[0])
