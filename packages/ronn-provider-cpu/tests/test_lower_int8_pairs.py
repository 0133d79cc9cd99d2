"""Integer products of two computed operands, one by one and in batches: packed at each run, and exact."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one
from test_lower_quantized import bytes_types, check, some

FEW = settings(max_examples=20, deadline=None)
F = np.float32
BATCHES = st.sampled_from([((), ()), ((5,), ()), ((2, 3), (2, 3)), ((3, 1), (2,)), ((), (3,)), ((1,), (2, 1))])


@FEW
@given(batches=BATCHES, m=st.integers(1, 30), k=st.integers(1, 70), n=st.integers(1, 150), a_type=bytes_types,
       b_type=bytes_types, zeros=st.booleans(), extreme=st.booleans(), fixed=st.booleans(),
       seed=st.integers(0, 99))  # fmt: skip
def test_matmul_integer(
    batches: Any, m: int, k: int, n: int, a_type: Any, b_type: Any, zeros: bool, extreme: bool, fixed: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = some(rng, (*batches[0], m, k), a_type, extreme), some(rng, (*batches[1], k, n), b_type, extreme)
    a_zero, b_zero = (some(rng, (), a_type), some(rng, (), b_type)) if zeros else (None, None)
    check("MatMulInteger", [a, b, a_zero, b_zero], (1, 3) if fixed else (3,))


@FEW
@given(batches=BATCHES, m=st.integers(1, 30), k=st.integers(1, 70), n=st.integers(1, 150), a_type=bytes_types,
       b_type=bytes_types, y_type=bytes_types, middle=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_qlinear_matmul(
    batches: Any, m: int, k: int, n: int, a_type: Any, b_type: Any, y_type: Any, middle: bool, seed: int
) -> None:
    rng = np.random.default_rng(seed)
    a, b = some(rng, (*batches[0], m, k), a_type), some(rng, (*batches[1], k, n), b_type)
    b_zero = np.array(128 if b_type == np.uint8 else 0, b_type) if middle else some(rng, (), b_type)
    inputs = [a, F(0.03), some(rng, (), a_type), b, F(0.01), b_zero, F(1.7), some(rng, (), y_type)]
    check("QLinearMatMul", [np.asarray(v) for v in inputs], (1, 2, 4, 5, 6, 7), step=1)


@pytest.mark.parametrize("threads", [1, 2])
def test_parameters_that_are_given(threads: int) -> None:
    """Scales and zero points that a caller gives are constants of the plan for them."""
    rng = np.random.default_rng(0)
    a, b = some(rng, (4, 33, 64), np.uint8), some(rng, (4, 64, 80), np.uint8)
    names = ["a", "as", "az", "b", "bs", "bz", "ys", "yz"]
    one = [a, F(0.02), np.uint8(120), b, F(0.02), np.uint8(128), F(0.9), np.uint8(3)]
    feed = {n: np.asarray(v) for n, v in zip(names, one, strict=True)}
    model = one_node("QLinearMatMul", feed, order=names)
    (got,), session = run_one(model, feed, threads=threads)
    assert native_nodes(session) == ["QLinearMatMul"]
    for zero in (3, 77):
        feed["yz"] = np.array(zero, np.uint8)
        real = (a.astype(np.int64) - 120) @ (b.astype(np.int64) - 128) * (0.02 * 0.02 / 0.9)
        (got,) = session.run(feed)
        assert np.abs(got - np.clip(np.rint(real) + zero, 0, 255)).max() <= 1
