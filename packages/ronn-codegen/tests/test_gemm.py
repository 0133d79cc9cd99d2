"""Matrix product kernels against float64: every edge of tiles and blocks, operand order, epilogue, number of shares."""

from __future__ import annotations

import math

import numpy as np
import pytest
from gemm_runs import LEVELS, Epilogue, dot, each_level, pack, product
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import erf

from ronn_codegen.native.library import library
from ronn_codegen.simd.modes import NAMES, mode_of
from ronn_codegen.templates.gemm_shape import guard, packed_size, tile_of


def operands(m: int, n: int, k: int, *, batch: int = 1, a_t: bool = False, b_t: bool = False, seed: int = 0) -> list:
    rng = np.random.default_rng(seed)
    shapes = [(batch, k, m) if a_t else (batch, m, k + 2), (batch, n, k) if b_t else (batch, k, n)]
    a, b = (rng.standard_normal(s).astype(np.float32) for s in shapes)
    return [a.transpose(0, 2, 1) if a_t else a[:, :, :k], b.transpose(0, 2, 1) if b_t else b]


def exact(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The product in float64, and a bound of the error of summing in float32."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    return wide_a @ wide_b, (np.abs(wide_a) @ np.abs(wide_b)) * 2.0**-24 * (a.shape[-1] + 2)


def check(level: str, m: int, n: int, k: int, *, packed: bool = True, workers: int = 1, **kind: object) -> None:
    a, b = operands(m, n, k, **kind)  # type: ignore[arg-type]
    want, bound = exact(a, b)
    got = product(level, a, b, packed=packed, workers=workers)
    assert (np.abs(got - want) <= bound).all()


@each_level
@pytest.mark.parametrize("packed", [True, False])
@pytest.mark.parametrize(
    "m, n, k", [(1, 1, 1), (6, 64, 512), (7, 65, 3), (13, 130, 513), (5, 63, 1031), (200, 8, 5), (3, 2, 0), (11, 47, 1)]
)
def test_edges_of_tiles_and_blocks(level: str, packed: bool, m: int, n: int, k: int) -> None:
    for workers in (1, 3):
        check(level, m, n, k, packed=packed, workers=workers)


@each_level
@pytest.mark.parametrize("packed", [True, False])
def test_a_right_operand_that_no_cache_holds(level: str, packed: bool) -> None:
    check(level, 3, 1803, 1800, packed=packed, workers=2)


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LEVELS),
    st.tuples(st.integers(1, 40), st.integers(1, 150), st.integers(0, 600)),
    st.integers(1, 3),
    st.integers(1, 5),
    st.sampled_from([("packed", False), ("packed", True), ("in place", False)]),
    st.booleans(),
    st.integers(0, 99),
)
def test_any_size_order_and_batch(
    level: str, size: tuple[int, int, int], batch: int, workers: int, b: tuple[str, bool], a_t: bool, seed: int
) -> None:
    form, b_t = b
    check(level, *size, packed=form == "packed", workers=workers, batch=batch, a_t=a_t, b_t=b_t, seed=seed)


@each_level
@pytest.mark.parametrize("packed", [True, False])
def test_shares_agree_bit_for_bit(level: str, packed: bool) -> None:
    a, b = operands(230, 200, 700, batch=2)
    rng = np.random.default_rng(3)
    epilogue = Epilogue(1.5, 0.5, rng.standard_normal((230, 200)).astype(np.float32), "Gelu")
    one = product(level, a, b, epilogue, packed=packed)
    for workers in (2, 3, 7, 64):
        np.testing.assert_array_equal(product(level, a, b, epilogue, packed=packed, workers=workers), one)


@each_level
@pytest.mark.parametrize("transposed", [False, True])
@pytest.mark.parametrize("k, n", [(1, 1), (130, 65), (300, 200), (17, 31), (128, 64), (5, 300)])
def test_packed_form(level: str, transposed: bool, k: int, n: int) -> None:
    tile = tile_of(library(level).machine.target)
    _, b = operands(1, n, k, batch=2, b_t=transposed)
    size = packed_size(k, n, tile)
    for workers in (1, 4):
        got = pack(level, b, workers)
        for e in range(2):
            want = []
            for j in range(0, n, tile.columns):
                panel = b[e, :, j : j + tile.columns]
                width = -(-panel.shape[1] // tile.lanes) * tile.lanes
                want.append(np.pad(panel, ((0, 0), (0, width - panel.shape[1]))).ravel())
            np.testing.assert_array_equal(got[e, :size], np.concatenate(want))


@each_level
def test_nothing_is_read_beyond_the_right_operand(level: str) -> None:
    """B ends where its memory does: whatever follows must not matter, nor be reached by more than masked loads."""
    tile = tile_of(library(level).machine.target)
    assert guard(10, 64, 64, tile) == 0 and guard(10, 1, 1, tile) == min(10, tile.lanes - 1)
    rng = np.random.default_rng(5)
    for n in (1, 3, 17, 70):
        memory = np.full(40 * n + 200, np.nan, np.float32)
        memory[: 40 * n] = rng.standard_normal(40 * n)
        b = memory[: 40 * n].reshape(1, 40, n)
        a = rng.standard_normal((1, 9, 40)).astype(np.float32)
        np.testing.assert_allclose(product(level, a, b, packed=False), a @ b, rtol=1e-4, atol=1e-4)


ACTIVATIONS = {
    "": ((), lambda x: x),
    "Relu": ((), lambda x: np.maximum(x, 0)),
    "Clip": ((-0.5, 0.75), lambda x: np.clip(x, -0.5, 0.75)),
    "LeakyRelu": ((0.1,), lambda x: np.where(x < 0, 0.1 * x, x)),
    "Sigmoid": ((), lambda x: 1 / (1 + np.exp(-x))),
    "Tanh": ((), np.tanh),
    "HardSwish": ((), lambda x: x * np.clip(x / 6 + 0.5, 0, 1)),
    "HardSigmoid": ((0.25, 0.4), lambda x: np.clip(0.25 * x + 0.4, 0, 1)),
    "Silu": ((), lambda x: x / (1 + np.exp(-x))),
    "Gelu": ((), lambda x: 0.5 * x * (1 + erf(x * math.sqrt(0.5)))),
    "GeluTanh": ((), lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3)))),
    "Softplus": ((), lambda x: np.logaddexp(0, x)),
    "Elu": ((0.7,), lambda x: np.where(x < 0, 0.7 * np.expm1(np.minimum(x, 0)), x)),
}


def test_every_activation_is_tried() -> None:
    assert set(ACTIVATIONS) == {"", "Relu", *NAMES}
    with pytest.raises(KeyError):
        mode_of("Sine")


@each_level
@pytest.mark.parametrize("activation", ACTIVATIONS)
def test_activations(level: str, activation: str) -> None:
    params, want = ACTIVATIONS[activation]
    a, b = operands(8, 70, 3)
    a[0, 0] = [np.nan, 0, 0]
    for i, value in enumerate((0.0, 1e-4, -1e-4, 30.0, -30.0, 200.0, -200.0)):
        a[0, 1 + i % 4] *= 1 if value == 0 else value
    x = product(level, a, b).astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        wanted = want(x)
    got = product(level, a, b, Epilogue(activation=activation, params=params))
    assert np.isnan(got[0, 0]).all() == np.isnan(wanted[0, 0]).all()
    np.testing.assert_allclose(got, wanted, rtol=3e-6, atol=1e-6)
    bias = np.linspace(-3, 3, 70, dtype=np.float32)[None]
    epilogue = Epilogue(source=bias, activation=activation, params=params)
    with_bias = product(level, a, b, epilogue, workers=2)
    with np.errstate(over="ignore", invalid="ignore"):
        np.testing.assert_allclose(with_bias, want(x + bias), rtol=1e-5, atol=2e-6)


def as_source(held: np.ndarray) -> np.ndarray:
    """The array with strides 0 along the dims that broadcast."""
    steps = [0 if d == 1 else s for d, s in zip(held.shape, held.strides, strict=True)]
    return np.lib.stride_tricks.as_strided(held, strides=steps)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from(LEVELS),
    st.tuples(st.integers(1, 30), st.integers(1, 90), st.sampled_from([1, 40, 520])),
    st.sampled_from(["row", "column", "scalar", "full", "batched"]),
    st.sampled_from([(1.0, 1.0), (1.0, 0.5), (-2.0, 1.0), (0.25, 0.0)]),
    st.sampled_from(["", "Relu", "Sigmoid"]),
    st.integers(1, 4),
)
def test_sources(
    level: str, size: tuple[int, int, int], form: str, factors: tuple[float, float], activation: str, workers: int
) -> None:
    m, n, k = size
    a, b = operands(m, n, k, batch=2)
    shape = {"row": (1, n), "column": (m, 1), "scalar": (1, 1), "full": (m, n), "batched": (2, m, n)}[form]
    held = np.random.default_rng(4).standard_normal(shape).astype(np.float32)
    source = as_source(held)
    want, bound = exact(a, b)
    want = factors[0] * want + factors[1] * held.astype(np.float64)
    want = ACTIVATIONS[activation][1](want)
    got = product(level, a, b, Epilogue(*factors, source, activation), workers=workers)
    assert (np.abs(got - want) <= 2 * bound + 1e-5).all()


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LEVELS),
    st.tuples(st.integers(1, 3), st.integers(1, 30), st.integers(1, 9), st.integers(0, 200)),
    st.sampled_from(["", "row", "column", "scalar", "full"]),
    st.sampled_from(["", "Clip", "Tanh"]),
    st.booleans(),
    st.integers(1, 4),
)
def test_matrix_by_few_vectors(
    level: str, size: tuple[int, int, int, int], form: str, activation: str, across: bool, workers: int
) -> None:
    batch, m, count, k = size
    rng = np.random.default_rng(k)
    a, x = (rng.standard_normal((batch, n, k + 1)).astype(np.float32)[:, :, :k] for n in (m, count))
    want, bound = exact(a, x.transpose(0, 2, 1))
    across = across or count == 1  # then the result is one row
    if across:
        want, bound = want.transpose(0, 2, 1), bound.transpose(0, 2, 1)
    rows, columns = want.shape[1:]
    shape = {"row": (1, columns), "column": (rows, 1), "scalar": (1, 1), "full": (rows, columns)}.get(form)
    source = None if shape is None else as_source(rng.standard_normal(shape).astype(np.float32))
    params, function = ACTIVATIONS[activation]
    want = function(0.5 * want + (0 if source is None else 2.0 * source.astype(np.float64)))
    epilogue = Epilogue(0.5, 2.0, source, activation, params)
    got = dot(level, a, x, epilogue, across=across, workers=workers)
    assert (np.abs(got - want) <= bound + 1e-5).all()
    np.testing.assert_array_equal(got, dot(level, a, x, epilogue, across=across))
