"""Operators on quantised bytes on OpenCL against the CPU provider: the same bytes."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from held import held
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import ALONE, one_node, same

import ronn

MS = "com.microsoft"
BYTES = [np.uint8, np.int8]


def _bytes(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, shape).astype(np.uint8).view(dtype)


def _scale(value: float) -> np.ndarray:
    return np.array(value, np.float32)


@settings(max_examples=20, deadline=None, derandomize=True)
@given(
    op=st.sampled_from(["QLinearAdd", "QLinearMul"]), dtype=st.sampled_from(BYTES),
    shape=st.lists(st.integers(1, 5), min_size=1, max_size=3), keep=st.integers(0, 3), zeros=st.integers(-3, 90),
    swap=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_of_two(op: str, dtype: type, shape: list[int], keep: int, zeros: int, swap: bool, seed: int) -> None:
    small = tuple(shape[-keep:]) if keep else ()
    given = [_bytes(tuple(shape), dtype, seed), _bytes(small, dtype, seed + 1)]
    zero = np.array(zeros % 100).astype(dtype)
    a, b = reversed(given) if swap else given
    operands = [a, _scale(0.03), zero, b, _scale(0.05), np.zeros((), dtype), _scale(0.11), zero]
    same(op, operands, domain=MS, fixed=[1, 2, 4, 5, 6, 7])


@pytest.mark.parametrize("dtype", BYTES)
def test_of_one(dtype: type) -> None:
    x = np.arange(256).astype(np.uint8).view(dtype)
    zero, other = np.array(7, dtype), np.array(3, dtype)
    operands = [x, _scale(0.04), zero, _scale(0.02), other]
    same("QLinearSigmoid", operands, domain=MS, fixed=[1, 2, 3, 4])
    same("QLinearLeakyRelu", operands, domain=MS, fixed=[1, 2, 3, 4], alpha=0.3)


@pytest.mark.parametrize("dtype", BYTES)
def test_softmax(dtype: type) -> None:
    x, zero, other = _bytes((5, 16), dtype), np.array(7, dtype), np.array(3, dtype)
    text, given = one_node(
        "QLinearSoftmax", [x, _scale(0.04), zero, _scale(0.01), other], domain=MS, fixed=[1, 2, 3, 4], axis=-1
    )
    model = onnx.load_from_string(text)
    model.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", 13))
    text = model.SerializeToString()
    (got,), (want,) = (list(ronn.Session(text, providers=[p], options=ALONE).run(given)) for p in ("npu", "cpu"))
    np.testing.assert_array_equal(got, want)


def test_concat() -> None:
    parts = [_bytes((2, n, 3), np.uint8, n) for n in (1, 4)]
    zero = np.array(9, np.uint8)
    given = [_scale(0.1), zero, parts[0], _scale(0.2), zero, parts[1], _scale(0.1), zero]
    same("QLinearConcat", given, domain=MS, fixed=[0, 1, 3, 4, 6, 7], axis=1)


@pytest.mark.parametrize("axis", [0, 1, -1])
@pytest.mark.parametrize("dtype", [np.uint8, np.int16])
def test_scales_for_blocks(axis: int, dtype: type) -> None:
    shape = [4, 6, 8]
    rng = np.random.default_rng(5)
    x = (rng.standard_normal(shape) * 30).astype(np.float32)
    shape[axis] //= 2
    scale, zero = (rng.random(shape) + 0.1).astype(np.float32), rng.integers(0, 9, shape).astype(dtype)
    (y,) = same("QuantizeLinear", [x, scale, zero], axis=axis, block_size=2)
    same("DequantizeLinear", [y, scale, zero], axis=axis, block_size=2)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(size=st.sampled_from([1, 7, 20000]), low=st.integers(-9, 9), spread=st.integers(0, 9), seed=st.integers(0, 9))
def test_ranges_found_on_the_way(size: int, low: int, spread: int, seed: int) -> None:
    x = (low + spread * np.random.default_rng(seed).random(size)).astype(np.float32)
    same("DynamicQuantizeLinear", [x], outputs=3)


@settings(max_examples=10, deadline=None, derandomize=True)
@given(
    how=st.sampled_from(["vectors", "groups"]), bits=st.sampled_from([4, 8]), rows=st.integers(1, 6),
    n=st.integers(1, 40), k=st.integers(1, 70), zeros=st.booleans(), bias=st.booleans(), seed=st.integers(0, 9),
)  # fmt: skip
def test_rows_by_weights_of_few_bits(
    how: str, bits: int, rows: int, n: int, k: int, zeros: bool, bias: bool, seed: int
) -> None:
    rng, blocks = np.random.default_rng(seed), -(-k // 32)
    given: list[np.ndarray | None] = [
        rng.standard_normal((rows, k)).astype(np.float32), _bytes((n, blocks, 32 * bits // 8), np.uint8, seed),
        rng.random(n * blocks).astype(np.float32),
        _bytes((n * -(-blocks * bits // 8),), np.uint8, seed) if zeros else None,
    ]  # fmt: skip
    if bias:
        given += [None, rng.standard_normal(n).astype(np.float32)]
    fixed = [i for i in range(1, len(given)) if given[i] is not None]
    with held(how):
        same("MatMulNBits", given, within=2e-4, domain=MS, fixed=fixed, K=k, N=n, bits=bits, block_size=32)
