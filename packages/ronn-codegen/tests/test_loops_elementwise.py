"""Elementwise loops against NumPy, at every lane count: sizes round the vector, broadcasts, views, shares, wrapping."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from loop_runs import LEVELS, NAMES, TYPES, elementwise, execute, steps

from ronn_codegen.loops.nest import Nest
from ronn_codegen.loops.write import where

RNG = np.random.default_rng(3)
SPECIAL = np.array([0, -0.0, 1, -1.5, np.nan, np.inf, -np.inf, 1e-42, 2.5, 3.5, -2.5, 0.5, -0.5, 1e30, 7e9, -104], "f4")
everywhere = pytest.mark.parametrize("level", LEVELS)


def floats(*shape: int) -> np.ndarray:
    return np.asarray(RNG.standard_normal(shape) * 4, np.float32)


@everywhere
@pytest.mark.parametrize("size", [1, 3, 4, 7, 8, 15, 16, 17, 63, 64, 65, 130])
def test_every_size(level: str, size: int) -> None:
    x, y = floats(size), floats(size)
    got = elementwise(lambda a, b: a * 2.0 + b, [x, y], np.dtype("f4"), level)
    np.testing.assert_array_equal(got, x * 2 + y)


SHAPES = [
    ((), ()), ((1,), (5,)), ((3, 40), (40,)), ((3, 1), (1, 9)), ((2, 3, 4, 5), (3, 1, 1)), ((2, 3, 4, 5), (4, 1)),
    ((2, 1, 4, 1), (3, 1, 5)), ((70, 3), (70, 1)),
]  # fmt: skip


@everywhere
@pytest.mark.parametrize("a, b", SHAPES)
def test_broadcasting(level: str, a: tuple[int, ...], b: tuple[int, ...]) -> None:
    x, y = floats(*a), floats(*b)
    got = elementwise(lambda p, q: p - q, [x, y], np.dtype("f4"), level)
    np.testing.assert_array_equal(got, x - y)


@everywhere
def test_transposed_and_sliced_operands(level: str) -> None:
    x, y = floats(40, 21).T, floats(21, 90)[:, 3:83:2]
    got = elementwise(lambda p, q: p + q, [x, y], np.dtype("f4"), level)
    np.testing.assert_array_equal(got, x + y)


@everywhere
@pytest.mark.parametrize("shape", [(1000,), (3, 200), (40, 5), (2, 2, 50)])
def test_any_number_of_shares_gives_the_same_bits(level: str, shape: tuple[int, ...]) -> None:
    x, y = floats(*shape), floats(shape[-1])
    results = [elementwise(lambda a, b: (a * b).do("exp"), [x, y], np.dtype("f4"), level, n) for n in (1, 2, 3, 7)]
    for other in results[1:]:
        np.testing.assert_array_equal(other.view(np.uint32), results[0].view(np.uint32))


OPERATIONS: list[tuple[str, Callable[..., Any], Callable[..., Any], str]] = [
    ("max", lambda a, b: a.max(b), np.maximum, "fi"),
    ("min", lambda a, b: a.min(b), np.minimum, "fi"),
    ("max 1", lambda a, b: a.max(1) + b * 0, lambda a, b: np.maximum(a, a.dtype.type(1)) + b * a.dtype.type(0), "i"),
    ("mul", lambda a, b: a * b, np.multiply, "fi"),
    ("sub", lambda a, b: a - b, np.subtract, "fi"),
    ("divide", lambda a, b: a / b, np.divide, "f"),
    ("less", lambda a, b: where(a < b, a, b), lambda a, b: np.where(a < b, a, b), "fi"),
    ("equal", lambda a, b: where(a.eq(b), a, b), lambda a, b: np.where(a == b, a, b), "fi"),
    ("unequal", lambda a, b: where(a.ne(b), a, b), lambda a, b: np.where(a != b, a, b), "fi"),
    ("at most", lambda a, b: where(a <= b, a, b), lambda a, b: np.where(a <= b, a, b), "fi"),
    ("and", lambda a, b: a & b, np.bitwise_and, "i"),
    ("or", lambda a, b: a | b, np.bitwise_or, "i"),
    ("xor", lambda a, b: a ^ ~b, lambda a, b: a ^ ~b, "i"),
    ("floor", lambda a, b: a.do("floor") + b * 0.0, lambda a, b: np.floor(a) + b * 0, "f"),
    ("ceil", lambda a, b: a.do("ceil") + b * 0.0, lambda a, b: np.ceil(a) + b * 0, "f"),
    ("rint", lambda a, b: a.do("rint") + b * 0.0, lambda a, b: np.rint(a) + b * 0, "f"),
    ("trunc", lambda a, b: a.do("trunc") + b * 0.0, lambda a, b: np.trunc(a) + b * 0, "f"),
]


@everywhere
@pytest.mark.parametrize("name, write, numpy, kinds", OPERATIONS, ids=[o[0] for o in OPERATIONS])
def test_operations_on_floats_and_integers(
    level: str, name: str, write: Callable[..., Any], numpy: Callable[..., Any], kinds: str
) -> None:
    tried = (
        {"f": ["f32"], "i": ["u8", "i64"]} if level != "baseline" else {"f": ["f32", "f64"], "i": ["i8", "u8", "i32"]}
    )
    for dtype in (np.dtype(TYPES[t]) for kind in kinds for t in tried[kind]):
        if dtype.kind == "f":
            a, b = (v.astype(dtype).reshape(-1) for v in np.meshgrid(SPECIAL, SPECIAL))
        else:
            info = np.iinfo(dtype)
            a, b = RNG.integers(info.min, info.max, (2, 77), dtype=dtype, endpoint=True)
            a[:3], b[:3] = (info.min, info.max, 0), (info.max, info.min, 0)
        with np.errstate(all="ignore"):
            np.testing.assert_array_equal(elementwise(write, [a, b], dtype, level), numpy(a, b), err_msg=str(dtype))


@everywhere
def test_integer_division_truncates_and_never_traps(level: str) -> None:
    for dtype in map(np.dtype, (np.int8, np.uint8, np.int32, np.int64)):
        info = np.iinfo(dtype)
        a, b = RNG.integers(info.min, info.max, (2, 70), dtype=dtype, endpoint=True)
        b[::3] = RNG.integers(1, 5, b[::3].shape)
        a[0], b[0], b[1] = info.min, -1 if info.min else 1, 0
        got, rest = (elementwise(w, [a, b], dtype, level) for w in (lambda p, q: p / q, lambda p, q: p.do("rem", q)))
        for x, y, quotient, remainder in zip(a.tolist(), b.tolist(), got.tolist(), rest.tolist(), strict=True):
            exact = 0 if y == 0 else abs(x) // abs(y) * (1 if (x < 0) == (y < 0) else -1)
            assert quotient == np.int64((exact + 2**63) % 2**64 - 2**63).astype(dtype)
            assert remainder == (0 if y == 0 else x - exact * y)


@everywhere
def test_shifts_beyond_the_width(level: str) -> None:
    for dtype in map(np.dtype, (np.uint8, np.int32, np.uint64)):
        a = RNG.integers(0, np.iinfo(dtype).max, 80, dtype=dtype)
        b = RNG.integers(0, 80, 80).astype(dtype)
        bits = dtype.itemsize * 8
        keeps = b < bits
        amount = np.where(keeps, b, 0).astype(dtype)
        left, right = (elementwise(lambda p, q, op=op: p.do(op, q), [a, b], dtype, level) for op in ("shl", "shr"))
        np.testing.assert_array_equal(left, np.where(keeps, a << amount, 0))
        np.testing.assert_array_equal(right, np.where(keeps, a >> amount, 0))


@everywhere
def test_bools(level: str) -> None:
    a, b, x = RNG.integers(0, 2, (2, 99)).astype(bool), RNG.integers(0, 2, (2, 99)).astype(bool), floats(2, 99)
    got = elementwise(lambda p, q, v: (p & ~q) | (p ^ q) | (v > 1.0), [a, b, x], np.dtype(bool), level)
    np.testing.assert_array_equal(got, (a & ~b) | (a ^ b) | (x > 1))
    chosen = elementwise(lambda p, v: where(p, v, 0.0), [a[0], x], np.dtype("f4"), level)
    np.testing.assert_array_equal(chosen, np.where(a[0], x, 0))


@everywhere
@pytest.mark.parametrize("source", sorted(TYPES))
def test_casts(level: str, source: str) -> None:
    given = RNG.integers(0, 120, 41).astype(TYPES[source])
    if source.startswith("f"):
        given = given + given.dtype.type(0.6)
    elif source.startswith("i"):
        given = given - given.dtype.type(60)
    for target in {"avx512": ("f32", "i64", "bool"), "avx2": ("f64", "i32"), "baseline": ("f16", "u8")}[level]:
        if target != source:
            got = elementwise(lambda v, t=target: v.cast(t), [given], np.dtype(TYPES[target]), level)
            np.testing.assert_array_equal(got, given.astype(TYPES[target]), err_msg=f"{source} to {target}")


@everywhere
def test_halves_round_as_numpy_does(level: str) -> None:
    every = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    with np.errstate(all="ignore"):
        got = elementwise(lambda v: v.cast("f32"), [every], np.dtype("f4"), level)
        np.testing.assert_array_equal(got, every.astype("f4"))
        near = np.concatenate([np.nextafter(every.astype("f4"), np.float32(np.inf)), RNG.standard_normal(999) * 3e4])
        x = np.concatenate([near, (every[:-1].astype("f8") + every[1:].astype("f8")) / 2, SPECIAL]).astype("f4")
        back = elementwise(lambda v: v.cast("f16"), [x], np.dtype("f2"), level)
        np.testing.assert_array_equal(back, x.astype("f2"))
        # float64 to float16 is rounded once, though it goes through float32.
        wide = (every[:-1].astype("f8") + every[1:].astype("f8")) / 2 + 1e-13
        once = elementwise(lambda v: v.cast("f16"), [wide], np.dtype("f2"), level)
        np.testing.assert_array_equal(once, wide.astype("f2"))


@everywhere
def test_bfloat16_is_the_upper_half_of_float32(level: str) -> None:
    codes = np.concatenate([RNG.integers(0, 1 << 16, 4000), [0x7F80, 0xFF80, 0x7FC0, 0, 0x8000, 1]]).astype(np.uint16)
    values = (codes.astype(np.uint32) << 16).view(np.float32)
    wide = np.zeros(codes.shape, np.float32)
    nest = Nest(codes.shape)
    with nest.writer.each():
        nest.store("y", "f32", (1,), nest.load("x", "bf16", (1,)).cast("f32"))
    execute(nest.finish(), {"x": codes, "y": wide}, level)
    np.testing.assert_array_equal(wide, values)
    x = np.concatenate([SPECIAL, floats(4000), values])
    narrow = np.zeros(x.shape, np.uint16)
    nest = Nest(x.shape)
    with nest.writer.each():
        nest.store("y", "bf16", (1,), nest.load("x", "f32", (1,)).cast("bf16"))
    execute(nest.finish(), {"x": x, "y": narrow}, level)
    bits = x.view(np.uint32).astype(np.uint64)
    want = ((bits + 0x7FFF + ((bits >> 16) & 1)) >> 16).astype(np.uint16)
    number = ~np.isnan(x)
    np.testing.assert_array_equal(narrow[number], want[number])
    assert np.isnan((narrow[~number].astype(np.uint32) << 16).view(np.float32)).all()


@everywhere
def test_index_and_several_outputs(level: str) -> None:
    x = floats(5, 37)
    nest = Nest(x.shape)
    arrays = {"x": x, "low": np.empty_like(x), "at": np.empty(x.shape, np.int64)}
    with nest.writer.each():
        row, column = nest.index(0), nest.index(1)
        nest.store("at", "i64", steps(x), row * 1000 + column)
        nest.store("low", "f32", steps(x), where(column <= row, nest.load("x", "f32", steps(x)), 0.0))
    execute(nest.finish(), arrays, level, workers=2)
    np.testing.assert_array_equal(arrays["at"], np.arange(5)[:, None] * 1000 + np.arange(37))
    np.testing.assert_array_equal(arrays["low"], np.tril(x))


def test_sizes_of_one_structure_share_a_text() -> None:
    def text(shape: tuple[int, ...]) -> str:
        nest = Nest(shape)
        x, y = np.empty(shape, np.float32), np.empty(shape[-1], np.float32)
        with nest.writer.each():
            a = nest.load("x", NAMES[x.dtype], steps(x)) + nest.load("y", "f32", steps(np.broadcast_to(y, shape)))
            nest.store("x", "f32", steps(x), a)
        return nest.finish().kernel.text

    assert text((3, 40)) == text((700, 9)) == text((2, 5, 7))  # the outer axes are one
    assert text((1, 1, 50)) == text((9,)) != text((3, 9))


@settings(max_examples=25, deadline=None)
@given(st.lists(st.sampled_from([1, 2, 3, 17]), min_size=0, max_size=4), st.data())
def test_any_broadcast(shape: list[int], data: st.DataObject) -> None:
    other = [data.draw(st.sampled_from([1, d])) for d in shape][data.draw(st.integers(0, len(shape))) :]
    x, y = floats(*shape), floats(*other)
    got = elementwise(lambda a, b: a * b, [x, y], np.dtype("f4"), "baseline", data.draw(st.integers(1, 3)))
    np.testing.assert_array_equal(got, x * y)


@everywhere
@pytest.mark.parametrize("block", [4, 8, 16])
def test_operands_that_begin_again(level: str, block: int) -> None:
    """Blocks of channels: (C / block, H W, block) by (C / block, 1, block), at types of several widths."""
    for dtype in (np.float32, np.uint8, np.float64):
        x = RNG.integers(0, 9, (3, 49, block)).astype(dtype)
        scale = RNG.integers(0, 9, (3, 1, block)).astype(dtype)
        for workers in (1, 3):
            got = elementwise(lambda a, b: a * b + a, [x, scale], np.dtype(dtype), level, workers)
            np.testing.assert_array_equal(got, x * scale + x)
    nest = Nest(x.shape)
    with nest.writer.each():
        a = nest.load("x", "f64", steps(x)) * nest.load("s", "f64", steps(np.broadcast_to(scale, x.shape)))
        nest.store("x", "f64", steps(x), a)
    assert f"[s %{block}]" in nest.finish().kernel.text
