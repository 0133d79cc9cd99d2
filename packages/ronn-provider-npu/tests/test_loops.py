"""Loops on an OpenCL device against the LLVM renderer's machine code and NumPy: every operation of every type, every
way of walking over rows, any grid.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from device_loops import NAMES, TYPES, on_device, on_processor, steps
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn_codegen.clike.kernel import Grid
from ronn_codegen.loops.language import BINARY, BITS, COMPARISONS, POSITIONS, REDUCTIONS, UNARY
from ronn_codegen.loops.nest import Bound, Nest
from ronn_codegen.loops.write import Value, where

SPECIAL = np.array([0, -0.0, 1, -1.5, np.nan, np.inf, -np.inf, 1e-42, 2.5, 3.5, -2.5, 0.5, -0.5, 1e30, 7e9, -104], "f4")


def random(shape: int | Sequence[int], dtype: Any, seed: int = 0) -> np.ndarray:
    """Numbers of a type, its extremes among them."""
    rng, dtype = np.random.default_rng(seed), np.dtype(dtype)
    if dtype.kind == "f":
        return np.asarray(rng.standard_normal(shape) * 4, dtype)
    if dtype.kind == "b":
        return rng.integers(0, 2, shape).astype(bool)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype=dtype, endpoint=True)


def straight(
    inputs: dict[str, np.ndarray], write: Callable[..., dict[str, tuple[Value, Any]]]
) -> tuple[Bound, dict[str, np.ndarray]]:
    """A loop over arrays of one shape that stores several results, and its arrays."""
    shape = next(iter(inputs.values())).shape
    nest, arrays = Nest(shape), dict(inputs)
    with nest.writer.each():
        loaded = {n: nest.load(n, NAMES.get(x.dtype, ""), steps(x)) for n, x in inputs.items()}
        for name, (value, dtype) in write(**loaded).items():
            arrays[name] = np.zeros(shape, dtype)
            nest.store(name, value.dtype, steps(arrays[name]), value)
    return nest.finish(), arrays


def close(got: np.ndarray, want: np.ndarray, name: str) -> None:
    if want.dtype.kind == "f":
        within = 1e-6 if want.dtype == np.float32 else 1e-12
        np.testing.assert_allclose(got, want, rtol=within, atol=within * 1e-30, equal_nan=True, err_msg=name)
    else:
        np.testing.assert_array_equal(got, want, err_msg=name)


@pytest.mark.parametrize("dtype", ["f32", "f64", "i8", "u16", "i32", "u64", "bool"])
def test_every_operation_of_every_type(dtype: str) -> None:
    """With operands of every kind: by zero, beyond the width, NaN, infinite, the smallest by -1."""
    kind = np.dtype(TYPES[dtype])
    if kind.kind == "f":
        a, b = (np.concatenate([v.reshape(-1).astype(kind), random(500, kind, s)]) for s, v in
                enumerate(np.meshgrid(SPECIAL, SPECIAL)))  # fmt: skip
    else:
        a, b = random(300, kind, 1), random(300, kind, 2)
        b[::3] = random(300, np.bool_, 3)[::3] if dtype == "bool" else np.random.default_rng(3).integers(0, 5, 100)
        if dtype != "bool":
            info = np.iinfo(kind)
            a[:4], b[:4] = (info.min, info.max, 0, info.min), (-1 if info.min else info.max, info.min, info.min, 1)

    def write(a: Value, b: Value) -> dict[str, tuple[Value, Any]]:
        made: dict[str, Value] = {op: a.do(op) for op, types in UNARY.items() if dtype in types}
        made |= {op: a.do(op, b) for op, types in BINARY.items() if dtype in types}
        made["select"] = where(a if dtype == "bool" else b.ne(0), a, b)
        if kind.kind == "f":
            made |= {"fma": a.do("fma", b, b), "small erf": (a * 0.125).do("erf"), "max 1": a.max(1), "1 min": a.min(1)}
        return {op: (v, np.bool_ if op in COMPARISONS else kind) for op, v in made.items()}

    with np.errstate(all="ignore"):
        bound, arrays = straight({"a": a, "b": b}, write)
    got, want = on_device(bound, arrays), on_processor(bound, arrays)
    for name in arrays:
        # Of numbers beyond 2**19 a reduction of angles to a few words knows nothing.
        known = np.abs(a) < 1e5 if name in ("sin", "cos", "tan") else slice(None)
        close(got[name][known], want[name][known], f"{name} of {dtype}")


@pytest.mark.parametrize("source", ["f32", "f64", "f16", "i8", "u8", "i32", "u32", "i64", "u64", "bool"])
def test_casts(source: str) -> None:
    kind = np.dtype(TYPES[source])
    x = np.arange(120).astype(kind)
    x = x + kind.type(0.6) if kind.kind == "f" else x - kind.type(60) if kind.kind == "i" else x
    targets = [t for t in TYPES if t != source]
    bound, arrays = straight({"x": x}, lambda x: {t: (x.cast(t), TYPES[t]) for t in targets})
    got = on_device(bound, arrays)
    for t in targets:
        np.testing.assert_array_equal(got[t], x.astype(TYPES[t]), err_msg=f"{source} to {t}")


def test_float16_and_bfloat16_round_as_they_should() -> None:
    every = np.arange(1 << 16, dtype=np.uint16)
    with np.errstate(all="ignore"):
        near = np.nextafter(every.view(np.float16).astype("f4"), np.float32(np.inf))
    codes = (every.astype(np.uint32) << 16).view(np.float32)
    with np.errstate(all="ignore"):
        ties = ((every[:-1].view("f2").astype("f8") + every[1:].view("f2").astype("f8")) / 2 + 1e-13)[: 1 << 15]

    def write(h: Value, near: Value, codes: Value, ties: Value) -> dict[str, tuple[Value, Any]]:
        return {
            "wide": (h.bits("f16").cast("f32"), "f4"), "brain": (h.bits("bf16").cast("f32"), "f4"),
            "half": (near.cast("f16"), "f2"), "near_brain": ((near * 1.001).cast("bf16").bits("u16"), "u2"),
            "codes_brain": (codes.cast("bf16").bits("u16"), "u2"), "once": (ties.cast("f16"), "f2"),
            "of_f64": (ties.cast("bf16").bits("u16"), "u2"),
        }  # fmt: skip

    bound, arrays = straight({"h": every, "near": near, "codes": codes, "ties": np.resize(ties, every.shape)}, write)
    got, want = on_device(bound, arrays), on_processor(bound, arrays)
    for name in arrays:
        if name in ("near_brain", "codes_brain", "of_f64"):  # which NaN it is does not matter
            a, b = ((v[name].astype(np.uint32) << 16).view(np.float32) for v in (got, want))
            np.testing.assert_array_equal(a, b, err_msg=name)
        else:
            np.testing.assert_array_equal(got[name], want[name], err_msg=name)
    with np.errstate(all="ignore"):
        np.testing.assert_array_equal(got["wide"], every.view(np.float16).astype("f4"))
        np.testing.assert_array_equal(got["half"], near.astype("f2"))
        np.testing.assert_array_equal(got["once"], np.resize(ties, every.shape).astype("f2"))


def test_indices_positions_bits_and_periods() -> None:
    x = random((3, 49, 8), np.float32)
    scale = random((3, 8), np.float32, 1)
    nest = Nest(x.shape)
    arrays = {"x": x, "scale": scale, "y": np.zeros_like(x)}
    with nest.writer.each():
        v = nest.load("x", "f32", steps(x)) * nest.load("scale", "f32", (8, 0, 1))
        nest.store("y", "f32", steps(x), v)
    bound = nest.finish()
    assert "%8" in bound.kernel.text
    np.testing.assert_array_equal(on_device(bound, arrays)["y"], x * scale[:, None])
    nest = Nest(x.shape, 1)
    arrays = {"x": x, "at": np.zeros(x.shape, np.int64), "n": np.zeros(x.shape[:2], np.int64)}
    with nest.writer.each():
        v = nest.load("x", "f32", steps(x)).bits("i32").cast("i64")
        total = nest.writer.reduce("sum", v)
        at = nest.index(0) * 1000 + nest.index(2) * 100 + nest.writer.position()
        nest.store("at", "i64", steps(x), at + nest.writer.count() * 10)
    with nest.writer.row():
        nest.store("n", "i64", (49, 1, 0), total + nest.index(1))
    for width in (1, 16):
        got = on_device(nest.finish(), arrays, width)
        i, j, k = np.indices(x.shape)
        np.testing.assert_array_equal(got["at"], i * 1000 + k * 101 + 80)
        np.testing.assert_array_equal(got["n"], x.view(np.int32).astype(np.int64).sum(2) + j[:, :, 0])


# --- rows


def reduced(x: np.ndarray, axes: Sequence[int], ops: Sequence[str]) -> tuple[Bound, dict[str, np.ndarray]]:
    """A loop of all ``ops`` over ``axes``."""
    kept = [a for a in range(x.ndim) if a not in axes]
    order = [*kept, *axes]
    nest = Nest([x.shape[a] for a in order], len(axes))
    arrays = {"x": x}
    with nest.writer.each():
        v = nest.load("x", NAMES[x.dtype], [steps(x)[a] for a in order])
        values = {op: nest.writer.reduce(op, v) for op in ops}
    with nest.writer.row():
        for op, value in values.items():
            arrays[op] = np.zeros([x.shape[a] for a in kept], np.int64 if op in POSITIONS else x.dtype)
            nest.store(op, value.dtype, [*steps(arrays[op]), *(0 for _ in axes)], value)
    return nest.finish(), arrays


@pytest.mark.parametrize(
    "dtype, axis, width",
    [("f32", 0, 1), ("f32", 1, 1), ("f32", 0, 16), ("f32", 1, 16), ("u8", 1, 1), ("u8", 0, 16), ("i64", 1, 16)],
)
def test_every_reduction(dtype: str, axis: int, width: int) -> None:
    ops = [op for op, types in REDUCTIONS.items() if dtype in types]
    kind = np.dtype(TYPES[dtype])
    for seed, shape in enumerate([(21, 75), (75, 21)] + [(1, 16)] * (dtype == "f32")):
        x = np.random.default_rng(seed).integers(0, 4, shape).astype(kind)
        if dtype == "f32" and x.size > 100:
            x[3, 14] = x[3, 15] = x[5, 0] = x[20, 20] = np.nan
            x[7], x[:, 3], x[12, 12] = -np.inf, np.inf, -np.inf
        bound, arrays = reduced(x, (axis,), ops)
        with np.errstate(all="ignore"):
            got, want = on_device(bound, arrays, width), on_processor(bound, arrays)
        for op in ops:
            close(got[op], want[op], f"{op} of {dtype} {shape} over {axis}")


@pytest.mark.parametrize("width", [1, 16])
@settings(max_examples=6, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 2, 5, 18, 70]), min_size=1, max_size=3), st.data())
def test_any_axes(width: int, shape: list[int], data: st.DataObject) -> None:
    axes = data.draw(st.lists(st.integers(0, len(shape) - 1), min_size=1, unique=True).map(sorted))
    x = np.random.default_rng(5).integers(-9, 9, shape).astype(np.int32)
    bound, arrays = reduced(x, axes, ["sum", "argmax"])
    got = on_device(bound, arrays, width)
    np.testing.assert_array_equal(got["sum"], x.sum(axis=tuple(axes), dtype=np.int32))
    flat = np.moveaxis(x, axes, range(x.ndim - len(axes), x.ndim)).reshape(*got["argmax"].shape, -1)
    np.testing.assert_array_equal(got["argmax"], flat.argmax(axis=-1))


def softmax(shape: tuple[int, ...], axis: int) -> Bound:
    """Softmax with the exponentials kept in the result's memory, less what stands in a row before."""
    order = [a for a in range(len(shape)) if a != axis] + [axis]
    nest = Nest([shape[a] for a in order], 1)
    whole = np.empty(shape, np.int8).strides
    laid, row = [whole[a] for a in order], [*np.empty([shape[a] for a in order[:-1]], np.int8).strides, 0]
    with nest.writer.each():
        peak = nest.writer.reduce("peak", nest.load("x", "f32", laid))
    with nest.writer.row():
        nest.store("peaks", "f32", row, peak)
    with nest.writer.each():
        e = (nest.load("x", "f32", laid) - nest.load("peaks", "f32", row)).do("exp")
        nest.store("y", "f32", laid, e)
        total = nest.writer.reduce("sum", e)
    with nest.writer.row():
        factor = 1.0 / total
    with nest.writer.each():
        nest.store("y", "f32", laid, nest.load("y", "f32", laid) * factor)
    return nest.finish()


def check_softmax(
    shape: tuple[int, ...], axis: int, width: int, grid: Grid | None = None, within: float = 4e-6
) -> None:
    x = random(shape, np.float32, 7)
    arrays = {"x": x, "y": np.zeros_like(x), "peaks": np.zeros([d for a, d in enumerate(shape) if a != axis], "f4")}
    e = np.exp(x.astype(np.float64) - x.max(axis=axis, keepdims=True))
    got = on_device(softmax(shape, axis), arrays, width, grid)
    np.testing.assert_allclose(got["y"], e / e.sum(axis=axis, keepdims=True), rtol=within)
    np.testing.assert_array_equal(got["peaks"], x.max(axis=axis))


@pytest.mark.parametrize("width", [1, 16])
@pytest.mark.parametrize("shape, axis", [((5, 1000), 1), ((130, 33), 0), ((2, 21, 40), 1), ((1, 7), 1)])
def test_rows_that_share_values(shape: tuple[int, ...], axis: int, width: int) -> None:
    check_softmax(shape, axis, width)


@pytest.mark.parametrize("local", [1, 3, 64])
def test_any_size_of_a_group_holds(local: int) -> None:
    """Lanes that are no power of two, more of them than elements, groups that reach beyond the last row."""
    check_softmax((13, 40), 1, 1, Grid((1, 13, 1), (local, 1, 1)))
    check_softmax((13, 40), 1, 1, Grid((1, 1, 4), (1, 4, 1)) if local == 1 else Grid((1, 7, 2), (min(local, 16), 4, 1)))
    check_softmax((40, 13), 0, 1, Grid((4, 1, 1), (4, min(local, 16), 1)))


def test_rows_of_none_and_loops_of_none() -> None:
    for shape in ((0, 5), (5, 0)):
        for width in (1, 16):
            bound, arrays = reduced(np.zeros(shape, np.int32), (1,), ["sum", "largest"])
            got = on_device(bound, arrays, width)
            assert got["sum"].tolist() == [0] * shape[0]
            assert got["largest"].tolist() == [-(1 << 31)] * shape[0]
    bound, arrays = straight({"x": np.zeros((0, 3), np.float32)}, lambda x: {"y": (x + 1.0, np.float32)})
    assert on_device(bound, arrays)["y"].shape == (0, 3)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.lists(st.sampled_from([1, 2, 3, 17, 70]), min_size=0, max_size=3), st.data())
def test_any_broadcast_and_any_strides(shape: list[int], data: st.DataObject) -> None:
    """Operands broadcast, transposed, or every other element of what is larger."""
    kept = [data.draw(st.booleans()) for _ in shape]
    apart = data.draw(st.sampled_from([1, 2]))
    x = random([d * apart for d in shape], np.float32, 1)
    y = random([d if k else 1 for d, k in zip(shape, kept, strict=True)][::-1], np.float32, 2)
    view, other = x[tuple(slice(None, None, apart) for _ in shape)], np.broadcast_to(y.T, shape)
    nest = Nest(shape)
    arrays = {"x": x, "y": y, "z": np.zeros(shape, np.float32)}
    with nest.writer.each():
        product = nest.load("x", "f32", steps(view)) * nest.load("y", "f32", steps(other))
        nest.store("z", "f32", steps(arrays["z"]), product)
    np.testing.assert_array_equal(on_device(nest.finish(), arrays)["z"], view * other)


# --- models


def test_a_model_of_elementwise_nodes_and_rows() -> None:
    from onnx import TensorProto, helper

    nodes = [
        helper.make_node("LayerNormalization", ["x", "scale", "bias"], ["n"], axis=-1),
        helper.make_node("Gelu", ["n"], ["g"]),
        helper.make_node("Add", ["g", "x"], ["a"]),
        helper.make_node("Softmax", ["a"], ["s"], axis=1),
        helper.make_node("ReduceMean", ["s", "axes"], ["m"], keepdims=0),
        helper.make_node("ArgMax", ["a"], ["at"], axis=2),
    ]
    rng = np.random.default_rng(1)
    constants = [
        helper.make_tensor("scale", TensorProto.FLOAT, [33], rng.standard_normal(33)),
        helper.make_tensor("bias", TensorProto.FLOAT, [33], rng.standard_normal(33)),
        helper.make_tensor("axes", TensorProto.INT64, [1], [2]),
    ]
    given = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4, 7, 33])]
    made = [helper.make_empty_tensor_value_info(n) for n in ("s", "m", "at")]
    graph = helper.make_graph(nodes, "rows", given, made, constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    x = rng.standard_normal((4, 7, 33)).astype(np.float32)
    got = list(ronn.Session(model, providers=["npu"]).run({"x": x}))
    want = list(ronn.Session(model, providers=["reference"]).run({"x": x}))
    for g, w in zip(got, want, strict=True):
        assert g.dtype == w.dtype
        np.testing.assert_allclose(g, w, rtol=1e-5, atol=1e-6)


def test_types_of_the_language_are_those_of_these_tests() -> None:
    assert set(TYPES) == set(BITS) - {"bf16"}
