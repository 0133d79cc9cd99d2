"""Matrix products on OpenCL: of any numbers, sizes, strides and batches, on devices of all kinds; products of bytes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from held import HELD, UNIT, held, launcher
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import on_device, one_node

import ronn
from ronn.records import replace
from ronn_codegen.clike.kernel import Target
from ronn_codegen.clike.opencl import OpenCL
from ronn_codegen.clike.templates._finish import finish
from ronn_codegen.clike.templates.gemm import Form, Operand, TiledProduct, tile_of
from ronn_codegen.clike.templates.gemm_strips import StripProduct, pack, packed, strip_of

MS = "com.microsoft"
SOME = settings(max_examples=10, deadline=None, derandomize=True)
FEW = settings(max_examples=3, deadline=None, derandomize=True)
hows = st.sampled_from(sorted(HELD | UNIT))
both = st.sampled_from(["vectors", "groups"])
counts = st.one_of(st.just(1), st.integers(6, 20), st.integers(30, 70))
NUMBERS = (np.float32, np.float64, np.float16, np.int32, np.int64, np.uint32, np.uint64)


def numbers(shape: Sequence[int], dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    if np.dtype(dtype).kind == "f":
        return rng.standard_normal(shape).astype(dtype)
    info = np.iinfo(dtype)
    return rng.integers(info.min, info.max, shape, dtype, endpoint=True)


def run(how: str, op: str, inputs: Sequence[np.ndarray | None], **more: Any) -> np.ndarray:
    with held(how):
        model, fed = one_node(op, inputs, **more)
        return on_device(model, fed)[0]


def by_reference(op: str, inputs: Sequence[np.ndarray | None], **more: Any) -> np.ndarray:
    model, fed = one_node(op, inputs, **more)
    return ronn.Session(model, providers=["reference"]).run(fed)[0]


def close(got: np.ndarray, want: np.ndarray) -> None:
    assert got.dtype == want.dtype and got.shape == want.shape
    within = {"f2": 4e-3, "f4": 1e-4, "f8": 1e-12}.get(got.dtype.str[1:], 0)
    np.testing.assert_allclose(got, want, rtol=within, atol=within * 4)


@SOME
@given(how=hows, m=counts, n=counts, k=counts, dtype=st.sampled_from(NUMBERS), fixed=st.booleans())
def test_products_of_any_numbers(how: str, m: int, n: int, k: int, dtype: Any, fixed: bool) -> None:
    a, b = numbers((m, k), dtype, m), numbers((k, n), dtype, n)
    want = (a.astype(np.float32) @ b.astype(np.float32)).astype(dtype) if dtype is np.float16 else a @ b
    close(run(how, "MatMul", [a, b], fixed=[1] if fixed else []), want)


@SOME
@given(
    how=hows, m=counts, n=counts, k=counts, left=st.sampled_from([(), (1,), (3,), (2, 3), (2, 1)]),
    right=st.sampled_from([(), (1,), (3,), (1, 3), (2, 3)]), fixed=st.booleans(),
)  # fmt: skip
def test_batches_that_broadcast(
    how: str, m: int, n: int, k: int, left: tuple[int, ...], right: tuple[int, ...], fixed: bool
) -> None:
    a, b = numbers((*left, m, k)), numbers((*right, k, n), seed=1)
    close(run(how, "MatMul", [a, b], fixed=[1] if fixed else []), a @ b)


@pytest.mark.parametrize("how", sorted(HELD))
@pytest.mark.parametrize("shapes", [((7,), (7,)), ((7,), (7, 3)), ((4, 7), (7,)), ((7,), (2, 7, 3)), ((2, 4, 7), (7,))])
def test_vectors(how: str, shapes: tuple[tuple[int, ...], tuple[int, ...]]) -> None:
    a, b = numbers(shapes[0]), numbers(shapes[1], seed=1)
    close(run(how, "MatMul", [a, b]), np.asarray(a @ b))


@pytest.mark.parametrize("how", sorted(HELD))
def test_sums_of_nothing_are_zero(how: str) -> None:
    a, b = np.zeros((3, 0), np.float32), np.zeros((0, 5), np.float32)
    close(run(how, "MatMul", [a, b]), np.zeros((3, 5), np.float32))
    c = numbers((5,))
    close(run(how, "Gemm", [a, b, c]), np.broadcast_to(c, (3, 5)))
    close(run(how, "Gemm", [a, b, c], beta=0.0), np.zeros((3, 5), np.float32))
    close(run(how, "MatMul", [np.zeros((0, 4), np.float32), numbers((4, 5))]), np.zeros((0, 5), np.float32))


@SOME
@given(
    how=both, m=counts, n=counts, k=counts, a_turned=st.booleans(), b_turned=st.booleans(), fixed=st.booleans(),
    added=st.sampled_from(["", "scalar", "row", "column", "whole"]),
    factors=st.sampled_from([(1.0, 1.0), (-0.5, 2.0)]),
)  # fmt: skip
def test_gemm(
    how: str, m: int, n: int, k: int, a_turned: bool, b_turned: bool, fixed: bool, added: str,
    factors: tuple[float, float],
) -> None:  # fmt: skip
    alpha, beta = factors
    a, b = numbers((k, m) if a_turned else (m, k)), numbers((n, k) if b_turned else (k, n), seed=1)
    shape = {"scalar": (), "row": (n,), "column": (m, 1), "whole": (m, n)}.get(added)
    c = None if shape is None else numbers(shape, seed=2)
    want = np.float32(alpha) * ((a.T if a_turned else a) @ (b.T if b_turned else b))
    want = want if c is None else want + np.float32(beta) * c
    more = {"transA": int(a_turned), "transB": int(b_turned), "alpha": alpha, "beta": beta}
    got = run(how, "Gemm", [a, b] if c is None else [a, b, c], fixed=[1] if fixed else [], **more)
    close(got, want.astype(np.float32))


@pytest.mark.parametrize("how", ["vectors", "groups"])
@pytest.mark.parametrize(
    ("activation", "params"),
    [("Clip", [-0.5, 1.5]), ("Gelu", [])],
)
def test_activations_of_what_is_computed(how: str, activation: str, params: list[float]) -> None:
    a, b, c = numbers((2, 9, 12)), numbers((12, 21), seed=1), numbers((21,), seed=2)
    more = {"domain": "ronn", "activation": activation, **({"activation_params": params} if params else {})}
    close(run(how, "FusedMatMul", [a, b, c], **more), by_reference("FusedMatMul", [a, b, c], **more))
    close(run(how, "FusedGemm", [a[0], b, c], **more), by_reference("FusedGemm", [a[0], b, c], **more))


@pytest.mark.parametrize("how", sorted(HELD))
def test_transposes_and_a_factor(how: str) -> None:
    a, b = numbers((2, 12, 9)), numbers((2, 21, 12), seed=1)
    want = np.float32(0.25) * (a.swapaxes(1, 2) @ b.swapaxes(1, 2))
    close(run(how, "FusedMatMul", [a, b], domain=MS, transA=1, transB=1, alpha=0.25), want)


# --- bytes

pairs = st.sampled_from([(np.uint8, np.int8), (np.int8, np.uint8)])


def scales(count: int | None, seed: int) -> np.ndarray:
    found = np.random.default_rng(seed).uniform(0.01, 0.05, () if count is None else (count,))
    return np.asarray(found, np.float32)


@settings(max_examples=6, deadline=None, derandomize=True)
@given(
    how=both, lead=st.sampled_from([(), (2,)]), m=counts, n=counts, k=counts, of=pairs,
    zeros=st.sampled_from(["", "one", "each"]), fixed=st.booleans(), stacked=st.booleans(),
)  # fmt: skip
def test_products_of_bytes(
    how: str, lead: tuple[int, ...], m: int, n: int, k: int, of: tuple[Any, Any], zeros: str, fixed: bool,
    stacked: bool,
) -> None:  # fmt: skip
    of_a, of_b = of
    a, b = numbers((*lead, m, k), of_a), numbers((*(lead if stacked else ()), k, n), of_b, 1)
    inputs: list[np.ndarray | None] = [a, b]
    less_a: Any = 0
    less_b: Any = 0
    if zeros:
        each = zeros == "each" and not lead
        inputs += [numbers((m,) if each else (), of_a, 2), numbers((n,) if zeros == "each" else (), of_b, 3)]
        less_a, less_b = (z.astype(np.int32) for z in inputs[2:] if z is not None)
        less_a = less_a[:, None] if each else less_a
    want = (a.astype(np.int32) - less_a) @ (b.astype(np.int32) - less_b)
    constants = [i for i in (1, 3) if i < len(inputs)] if fixed else []
    close(run(how, "MatMulInteger", inputs, fixed=constants), want)


@FEW
@given(how=both, m=counts, n=counts, k=counts, of=pairs, each=st.booleans(), fixed=st.booleans())
def test_products_of_bytes_to_bytes(
    how: str, m: int, n: int, k: int, of: tuple[Any, Any], each: bool, fixed: bool
) -> None:
    of_a, of_b = of
    a, b = numbers((m, k), of_a), numbers((k, n), of_b, 1)
    columns = n if each else None
    shape = (n,) if each else ()
    a_scale, b_scale, y_scale = scales(None, 0), scales(columns, 1), np.asarray(0.7 + 0.1 * k, np.float32)
    a_zero, b_zero, y_zero = numbers((), of_a, 2), numbers(shape, of_b, 3), numbers((), of_a, 4)
    inputs = [a, a_scale, a_zero, b, b_scale, b_zero, y_scale, y_zero]
    got = run(how, "QLinearMatMul", inputs, fixed=[1, 2, 3, 4, 5, 6, 7] if fixed else [])
    sums = (a.astype(np.int64) - int(a_zero)) @ (b.astype(np.int64) - b_zero.astype(np.int64))
    info = np.iinfo(of_a)
    exact = sums * (a_scale.astype(np.float64) * b_scale) / y_scale
    want = np.clip(np.rint(exact) + int(y_zero), info.min, info.max)
    assert got.dtype == of_a
    differ = got != want
    assert np.all(np.abs(exact - np.floor(exact) - 0.5)[differ] < 1e-3)  # halves only, by the rounding of scales


@FEW
@given(how=both, m=counts, n=counts, k=counts, of=pairs, each=st.booleans(), bias=st.booleans())
def test_products_of_bytes_to_floats(
    how: str, m: int, n: int, k: int, of: tuple[Any, Any], each: bool, bias: bool
) -> None:
    columns, shape = (n, (n,)) if each else (None, ())
    b, b_scale, b_zero = numbers((k, n), of[1], 1), scales(columns, 1), numbers(shape, of[1], 3)
    added = [numbers((n,), seed=5)] if bias else []
    inputs = [numbers((m, k), np.uint8), b, scales(None, 2), b_scale, numbers((), np.uint8, 2), b_zero, *added]
    got = run(how, "MatMulIntegerToFloat", inputs, domain=MS, fixed=[1, 3, 5])
    want = by_reference("MatMulIntegerToFloat", inputs, domain=MS)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-3)
    given: list[np.ndarray | None] = [numbers((m, k)), b, b_scale, b_zero, *added]
    got = run(how, "DynamicQuantizeMatMul", given, domain=MS, fixed=[1, 2, 3])
    want = by_reference("DynamicQuantizeMatMul", given, domain=MS)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-3)


@pytest.mark.parametrize("how", ["groups"])
@pytest.mark.parametrize("to_bytes", [False, True])
def test_gemm_of_bytes(how: str, to_bytes: bool) -> None:
    a, b, c = numbers((9, 14), np.uint8), numbers((21, 9), np.int8, 1), numbers((21,), np.int32, 2) // 2**16
    inputs = [
        a, scales(None, 0), numbers((), np.uint8, 3), b, scales(None, 1), np.int8(3), c,
        *([np.float32(2.5), np.uint8(90)] if to_bytes else []),
    ]  # fmt: skip
    inputs = [np.asarray(v) for v in inputs]
    more = {"domain": MS, "transA": 1, "transB": 1, "alpha": 0.5}
    got, want = run(how, "QGemm", inputs, **more), by_reference("QGemm", inputs, **more)
    assert got.dtype == want.dtype
    np.testing.assert_allclose(got.astype(np.float64), want, rtol=1e-5, atol=1)


@pytest.mark.parametrize("size", [1, 7, 40000])
def test_ranges_of_what_is_quantised_dynamically(size: int) -> None:
    x = numbers((size,)) * 3
    model, fed = one_node("DynamicQuantizeLinear", [x], outputs=3)
    got, want = on_device(model, fed), ronn.Session(model, providers=["reference"]).run(fed)
    assert np.abs(got[0].astype(int) - want[0].astype(int)).max() <= 1  # halves
    np.testing.assert_allclose(got[1], want[1], rtol=1e-6)
    assert got[2] == want[2]


# --- tiles


@pytest.mark.parametrize("budget", [64, 500, 2048, 32 << 10, 1 << 20])
@pytest.mark.parametrize("unit", [(1, 1, 1), (16, 16, 32), (24, 20, 3), (128, 128, 128)])
@pytest.mark.parametrize("group", [1, 48, 64])
def test_tiles_fit_into_local_memory(budget: int, unit: tuple[int, int, int], group: int) -> None:
    tile = tile_of(Target(OpenCL(), group=group, local_bytes=budget, unit=unit), 2, 2)
    assert tile is not None
    assert tile.local_bytes(2, 2) <= budget and tile.items <= group
    whole = 2 * unit[2] * (unit[0] + unit[1])
    if unit != (1, 1, 1) and whole <= budget:
        assert tile.rows % unit[0] == tile.columns % unit[1] == tile.depth % unit[2] == 0


def test_no_tile_fits_into_nothing() -> None:
    assert tile_of(Target(OpenCL(), local_bytes=3), 2, 2) is None


@pytest.mark.parametrize("how", ["groups", "little memory", "alone"])
def test_devices_report_the_local_memory_that_was_planned(how: str) -> None:
    on = launcher(how)
    plain = finish("f32", "f32", lambda total, _: total)
    tile = tile_of(on.target, 4, 4)
    assert tile is not None
    kernel = TiledProduct(Form(Operand("f32", "f32"), Operand("f32", "f32"), "f32", "f32", plain), tile)
    entry = on.build({"planned": kernel.source("planned", on.target)}, {"planned": kernel.params})["planned"]
    assert tile.local_bytes(4, 4) <= entry.local_bytes <= on.target.local_bytes


def test_what_is_packed_here_is_what_the_device_packs() -> None:
    b = numbers((3, 7, 21))
    panels = packed(b, 16)
    assert panels.shape == (3, 2, 7, 16)
    np.testing.assert_array_equal(panels[:, 0], b[:, :, :16])
    np.testing.assert_array_equal(panels[:, 1, :, :5], b[:, :, 16:])
    assert not panels[:, 1, :, 5:].any()


def test_kernels_of_equal_structure_are_one() -> None:
    target = Target(OpenCL(), cached=True)
    plain = finish("f32", "f32", lambda total, _: total)
    form = Form(Operand("f32", "f32"), Operand("f32", "f32"), "f32", "f32", plain)
    strip = strip_of(target, "f32")
    one, two = StripProduct(form, strip, True), StripProduct(replace(form), replace(strip), True)
    assert one == two and one.text == two.text
    assert one.text != StripProduct(form, strip, False).text
    assert pack(Operand("f32", "f32"), 16) is pack(Operand("f32", "f32"), 16)
