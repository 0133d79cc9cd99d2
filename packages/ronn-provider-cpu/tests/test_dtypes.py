"""Every element type of ONNX: in, out, stored in the file in each way that ONNX has, computed with, and noted."""

from __future__ import annotations

from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.ir.types import DType

NUMBERS = [d for d in DType if d is not DType.STRING]
NARROW = [d for d in NUMBERS if d.numpy.isbuiltin != 1]  # what NumPy has no type of its own for
PLAIN = [d for d in NUMBERS if d not in NARROW]
OPSET, IR = 25, 13


def ids(dtype: DType) -> str:
    return dtype.short


def values(dtype: DType) -> np.ndarray:
    """Six numbers that every type of its kind holds exactly, as far as it can hold six."""
    if dtype is DType.STRING:
        return np.array([["", "a", "ä\n"], ["b", "x" * 40, "c"]], object)
    if dtype is DType.BOOL:
        some: list[Any] = [True, False, True, False, False, True]
    elif dtype.name.startswith("UINT"):
        some = [0, 1, 2, 3, 1, 2]
    elif dtype.is_integer:
        some = [0, 1, -1, -2, 1, 0]
    elif dtype is DType.FLOAT8E8M0:  # powers of two
        some = [1, 2, 4, 0.5, 0.25, 8]
    else:
        some = [0, 1, -1, 2, -0.5, 1.5]
    return np.array(some).astype(dtype.numpy).reshape(2, 3)


def model(nodes: list[onnx.NodeProto], inputs: dict[str, DType], output: DType, constants: Any = ()) -> bytes:
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(n, d.code, [f"{n}0", f"{n}1"]) for n, d in inputs.items()],
        [h.make_tensor_value_info("y", output.code, None)],
        list(constants),
    )
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", OPSET)], ir_version=IR)
    data: bytes = made.SerializeToString()
    return data


def run(data: bytes, feed: dict[str, np.ndarray], providers: list[str] | None = None) -> np.ndarray:
    (y,) = ronn.Session(data, providers).run(feed)
    return y


def same(found: np.ndarray, expected: np.ndarray) -> None:
    assert found.dtype == expected.dtype and found.shape == expected.shape
    if expected.dtype == object:
        assert found.tolist() == expected.tolist()
    else:
        np.testing.assert_array_equal(found.astype(np.complex128), expected.astype(np.complex128))


@pytest.mark.parametrize("providers", [["cpu"], ["reference"]], ids=lambda p: p[0])
@pytest.mark.parametrize("dtype", DType, ids=ids)
def test_in_and_out(dtype: DType, providers: list[str]) -> None:
    x = values(dtype)
    same(run(model([h.make_node("Identity", ["x"], ["y"])], {"x": dtype}, dtype), {"x": x}, providers), x)


@pytest.mark.parametrize("dtype", DType, ids=ids)
def test_moving_needs_no_arithmetic(dtype: DType) -> None:
    x = values(dtype)
    nodes = [
        h.make_node("Transpose", ["x"], ["t"], perm=[1, 0]),
        h.make_node("Gather", ["t", "i"], ["g"], axis=0),
        h.make_node("Concat", ["t", "g"], ["c"], axis=0),
        h.make_node("Reshape", ["c", "s"], ["y"]),
    ]
    constants = [numpy_helper.from_array(np.array([2, 0]), "i"), numpy_helper.from_array(np.array([1, -1]), "s")]
    found = run(model(nodes, {"x": dtype}, dtype, constants), {"x": x}, ["cpu"])
    same(found, np.concatenate([x.T, x.T[[2, 0]]]).reshape(1, -1))


@pytest.mark.parametrize("stored", ["raw", "typed"])
@pytest.mark.parametrize("dtype", DType, ids=ids)
def test_constants_of_the_file(dtype: DType, stored: str) -> None:
    x = values(dtype)
    if dtype is DType.STRING:
        tensor = h.make_tensor("w", dtype.code, x.shape, [s.encode() for s in x.reshape(-1)])
    elif stored == "raw":
        tensor = numpy_helper.from_array(x, "w")
        assert tensor.HasField("raw_data")
    else:
        tensor = h.make_tensor("w", dtype.code, x.shape, x.reshape(-1).tolist())
        assert not tensor.HasField("raw_data")
    where = model([h.make_node("Where", ["c", "w", "x"], ["y"])], {"c": DType.BOOL, "x": dtype}, dtype, [tensor])
    mask = np.array([[True, False, True], [False, True, True]])
    same(run(where, {"c": mask, "x": x[::-1]}), np.where(mask, x, x[::-1]))


@pytest.mark.parametrize("dtype", [d for d in NUMBERS if d.numpy.kind != "c"], ids=ids)
def test_casts_to_and_from_float(dtype: DType) -> None:
    x = values(dtype)
    wide = run(model([h.make_node("Cast", ["x"], ["y"], to=T.FLOAT)], {"x": dtype}, DType.FLOAT32), {"x": x}, ["cpu"])
    same(wide, x.astype(np.float32))
    back = model([h.make_node("Cast", ["x"], ["y"], to=dtype.code)], {"x": DType.FLOAT32}, dtype)
    same(run(back, {"x": wide}, ["cpu"]), x)


def computed_with(op: str) -> list[DType]:
    """The types for which the operator means something: Relu wants an order and a zero, Softmax fractions."""
    found = [d for d in NUMBERS if d is not DType.BOOL]
    if op in ("Relu", "Softmax"):
        found = [d for d in found if d.numpy.kind != "c" and d is not DType.FLOAT8E8M0]
    return [d for d in found if d.is_float] if op == "Softmax" else found


ARITHMETIC = [(d, op) for op in ("Add", "Mul", "Relu", "Softmax", "MatMul", "ReduceSum") for d in computed_with(op)]


@pytest.mark.parametrize(("dtype", "op"), ARITHMETIC, ids=lambda p: p if isinstance(p, str) else p.short)
def test_every_type_is_computed_with(dtype: DType, op: str) -> None:
    """Also where the standard's list of types is shorter. What has no kernel is computed wider and rounded."""
    x = values(dtype)
    two = op in ("Add", "Mul", "MatMul")
    feed = {"x": x, "w": x.T.copy() if op == "MatMul" else x} if two else {"x": x}
    session = ronn.Session(model([h.make_node(op, list(feed), ["y"])], dict.fromkeys(feed, dtype), dtype))
    (y,) = session.run(feed)
    assert y.dtype == dtype.numpy
    wide = np.float64 if dtype.is_float else np.int64 if dtype.is_integer else dtype.numpy
    a, b = x.astype(wide), feed.get("w", x).astype(wide)
    exact = {
        "Add": lambda: a + b, "Mul": lambda: a * b, "MatMul": lambda: a @ b, "Relu": lambda: np.maximum(a, 0),
        "Softmax": lambda: np.exp(a) / np.exp(a).sum(-1, keepdims=True), "ReduceSum": lambda: a.sum(keepdims=True),
    }[op]()  # fmt: skip
    if dtype.is_integer:
        exact = exact.astype(dtype.numpy) if dtype.bits >= 8 else _wrapped(exact, dtype)
        same(y, exact)
    elif dtype.is_float:
        finfo = ml_dtypes.finfo(dtype.numpy)
        step = float(finfo.eps) if dtype is not DType.FLOAT8E8M0 else 1.0
        rounded = exact.astype(dtype.numpy).astype(float)
        np.testing.assert_allclose(y.astype(float), rounded, rtol=2 * step, atol=2 * step)
    else:
        same(y, exact)


def _wrapped(exact: np.ndarray, dtype: DType) -> np.ndarray:
    """Whole numbers as they are in so many bits: the highest ones are lost."""
    low = exact & (2**dtype.bits - 1)
    if not dtype.name.startswith("U"):
        low = np.where(low >= 2 ** (dtype.bits - 1), low - 2**dtype.bits, low)
    return low.astype(dtype.numpy)


@pytest.mark.parametrize("dtype", [d for d in NARROW if d.is_float] + [DType.FLOAT16], ids=ids)
def test_what_is_computed_wider_is_noted(dtype: DType) -> None:
    session = ronn.Session(model([h.make_node("Exp", ["x"], ["y"])], {"x": dtype}, dtype))
    for _ in range(2):
        reasons = {r.op: r.reason for r in session.placement()}
        assert "computed in float32" in reasons["Exp"] and "round" in reasons["Exp"]
        session.run(values(dtype))


@pytest.mark.parametrize("dtype", NARROW, ids=ids)
def test_another_type_is_told_apart_with_a_way_out(dtype: DType) -> None:
    session = ronn.Session(model([h.make_node("Identity", ["x"], ["y"])], {"x": dtype}, dtype))
    with pytest.raises(ronn.InputError, match=rf"{dtype.short}\[x0,x1\]; got float64") as e:
        session.run(np.zeros((2, 3)))
    assert "ml_dtypes" in str(e.value) and dtype.numpy_name in str(e.value)
    same(session.run([[1, 1, 1], [1, 1, 1]])[0], np.ones((2, 3)).astype(dtype.numpy))
