"""MatMul, Gemm and their fused forms on native kernels, against NumPy in float64 and the NumPy kernels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import latest_plan, native_nodes, one_node, run_one
from op_runs import run_op

FEW = settings(max_examples=40, deadline=None)
RONN, MICROSOFT = {"ronn": 1}, {"com.microsoft": 1}


def random(*shape: int, dtype: Any = np.float32, seed: int = 0) -> np.ndarray:
    return np.asarray(np.random.default_rng(seed + len(shape)).standard_normal(shape)).astype(dtype)


def run(
    op: str, inputs: Mapping[str, np.ndarray], *, constant: Sequence[str] = (), native: bool = True, **kind: Any
) -> np.ndarray:
    """The node's output; inputs named in ``constant`` are initializers."""
    fixed = {n: inputs[n] for n in constant}
    fed = {n: v for n, v in inputs.items() if n not in fixed}
    [y], session = run_one(one_node(op, fed, constants=fixed, order=list(inputs), **kind), fed)
    assert native_nodes(session) == ([op] if native else [])
    return np.asarray(y)


def close(got: np.ndarray, want: np.ndarray, steps: int, rtol: float = 1e-6) -> None:
    assert got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=4 * rtol, atol=rtol * 2 * (steps + 4))


sizes = st.integers(1, 40)
batches = st.lists(st.integers(1, 3), max_size=2).map(tuple)


@FEW
@given(data=st.data(), m=sizes, k=st.integers(0, 70), n=sizes, constant=st.sampled_from(["", "a", "b"]))
def test_matmul(data: st.DataObject, m: int, k: int, n: int, constant: str) -> None:
    batch = data.draw(batches)
    ones = st.sampled_from([0, 1, None])
    shapes = []
    for matrix in ((m, k), (k, n)):
        cut = data.draw(st.integers(0, len(batch)))
        shapes.append((*(1 if data.draw(ones) == 1 else d for d in batch[cut:]), *matrix))
    if data.draw(st.booleans()) and not batch:
        shapes[0] = data.draw(st.sampled_from([(m, k), (k,)]))
        shapes[1] = data.draw(st.sampled_from([(k, n), (k,)]))
    a, b = (random(*shape, seed=i) for i, shape in enumerate(shapes))
    got = run("MatMul", {"a": a, "b": b}, constant=list(constant))
    close(got, np.matmul(a.astype(np.float64), b), k)


@pytest.mark.parametrize("constant", ["", "b", "a"])
@pytest.mark.parametrize(
    "a, b",
    [
        ((300, 600), (600, 130)), ((1, 700), (700, 900)), ((700,), (700, 300)), ((300, 700), (700,)), ((5,), (5,)),
        ((2, 3, 40, 32), (2, 3, 32, 40)), ((4, 1, 7, 5), (3, 5, 6)), ((3, 17, 9), (9, 21)), ((9, 21), (3, 21, 4)),
        ((50, 200), (200, 3)), ((2, 9, 200), (2, 200, 4)), ((2, 9, 130), (130, 2)),
        ((2, 30, 8), (2, 8, 1)), ((0, 3), (3, 4)), ((3, 0), (0, 4)),
    ],
)  # fmt: skip
def test_matmul_of_shapes(a: tuple[int, ...], b: tuple[int, ...], constant: str) -> None:
    x, y = random(*a), random(*b, seed=1)
    if 0 in a and constant:
        return
    got = run("MatMul", {"a": x, "b": y}, constant=list(constant))
    close(got, np.matmul(x.astype(np.float64), y), a[-1])


@pytest.mark.parametrize("threads", [1, 2, 5])
def test_any_number_of_threads_gives_the_same_bits(threads: int) -> None:
    a, b = random(130, 700), random(700, 300, seed=1)
    for constants in ({}, {"b": b}):
        fed = {"a": a} if constants else {"a": a, "b": b}
        model = one_node("MatMul", fed, constants=constants, order=["a", "b"])
        one, _ = run_one(model, fed, threads=1)
        got, _ = run_one(model, fed, threads=threads)
        np.testing.assert_array_equal(got[0], one[0])


@FEW
@given(
    size=st.tuples(sizes, st.integers(0, 50), sizes),
    flips=st.tuples(st.booleans(), st.booleans()),
    factors=st.sampled_from([(1.0, 1.0), (0.5, 2.0), (-1.0, 0.0)]),
    form=st.sampled_from(["", "scalar", "one", "row", "wide row", "column", "full"]),
    constant=st.sampled_from([(), ("b",), ("b", "c"), ("a", "b")]),
    dtype=st.sampled_from([np.float32, np.float64]),
)
def test_gemm(
    size: tuple[int, int, int], flips: tuple[bool, bool], factors: tuple[float, float], form: str,
    constant: tuple[str, ...], dtype: Any,
) -> None:  # fmt: skip
    m, k, n = size
    a = random(*((k, m) if flips[0] else (m, k)), dtype=dtype)
    b = random(*((n, k) if flips[1] else (k, n)), dtype=dtype, seed=1)
    shape = {"scalar": (), "one": (1,), "row": (n,), "wide row": (1, n), "column": (m, 1), "full": (m, n)}.get(form)
    inputs = {"a": a, "b": b}
    if shape is not None:
        inputs["c"] = random(*shape, dtype=dtype, seed=2)
    attributes = {"transA": int(flips[0]), "transB": int(flips[1]), "alpha": factors[0], "beta": factors[1]}
    fixed = [name for name in constant if name in inputs]
    wide = [x.astype(np.float64) for x in inputs.values()]
    want = factors[0] * (wide[0].T if flips[0] else wide[0]) @ (wide[1].T if flips[1] else wide[1])
    if len(wide) == 3:
        want = want + factors[1] * wide[2]
    fed = {name: x for name, x in inputs.items() if name not in fixed}
    model = one_node("Gemm", fed, constants={name: inputs[name] for name in fixed}, order=list(inputs), **attributes)
    [y], session = run_one(model, fed)
    # In float64 a transposed right operand must be a constant.
    assert dtype == np.float64 or native_nodes(session) == ["Gemm"]
    close(np.asarray(y), want, k, 1e-6 if dtype == np.float32 else 1e-14)


def test_double_precision_runs_natively() -> None:
    a, b = random(70, 300, dtype=np.float64), random(300, 90, dtype=np.float64, seed=1)
    close(run("MatMul", {"a": a, "b": b}), a @ b, 300, 1e-15)
    close(run("Gemm", {"a": a, "b": b.T.copy()}, constant=["b"], transB=1), a @ b, 300, 1e-15)


def test_integers_stay_on_numpy() -> None:
    a = np.arange(6, dtype=np.int32).reshape(2, 3)
    np.testing.assert_array_equal(run("MatMul", {"a": a, "b": a.T.copy()}, native=False), a @ a.T)


ACTIVATIONS = [
    ("", []), ("Relu", []), ("Sigmoid", []), ("Tanh", []), ("HardSwish", []), ("Silu", []), ("Gelu", []),
    ("GeluTanh", []), ("Softplus", []), ("LeakyRelu", [0.2]), ("Elu", [0.7]), ("HardSigmoid", [0.3, 0.4]),
    ("Clip", [-0.5, 0.6]),
]  # fmt: skip


@pytest.mark.parametrize("activation, params", ACTIVATIONS)
@pytest.mark.parametrize("op", ["FusedMatMul", "FusedGemm"])
def test_fused(op: str, activation: str, params: list[float]) -> None:
    a, b, bias = random(19, 30), random(30, 70, seed=1), random(70, seed=2)
    inputs = {"a": a, "b": b, "bias": bias}
    kind: dict[str, Any] = {"activation": activation, "domain": "ronn"}
    if params:
        kind["activation_params"] = params
    got = run(op, inputs, constant=["b", "bias"], domains=RONN, **kind)
    [want] = run_op(op, [a, b, bias], **kind)
    close(got, want, 30)


def test_fused_with_a_batch_and_a_bias() -> None:
    a, b, bias = random(2, 5, 30), random(30, 40, seed=1), random(40, seed=2)
    got = run("FusedMatMul", {"a": a, "b": b, "bias": bias}, domain="ronn", domains=RONN, activation="Relu")
    close(got, np.maximum(a.astype(np.float64) @ b + bias, 0), 30)


@pytest.mark.parametrize("flips", [(0, 0), (0, 1), (1, 0), (1, 1)])
def test_fused_matmul_of_microsoft(flips: tuple[int, int]) -> None:
    a, b = random(2, 30, 20) if flips[0] else random(2, 20, 30), random(2, 9, 30) if flips[1] else random(2, 30, 9)
    kind: dict[str, Any] = {"transA": flips[0], "transB": flips[1], "alpha": 0.125, "domain": "com.microsoft"}
    got = run("FusedMatMul", {"a": a, "b": b}, domains=MICROSOFT, **kind)
    left, right = (x.swapaxes(1, 2) if flip else x for x, flip in zip((a, b), flips))
    close(got, 0.125 * (left.astype(np.float64) @ right), 30)


def test_a_constant_is_packed_once() -> None:
    a, b = random(3, 20), random(20, 30, seed=1)
    model = one_node("MatMul", {"a": a}, constants={"b": b}, order=["a", "b"])
    _, session = run_one(model, {"a": a})
    calls = latest_plan(session).calls
    assert [len(call.native.kernels) for call in calls] == [1]
    big = random(200, 600), random(600, 80)
    _, session = run_one(one_node("MatMul", {"a": big[0], "b": big[1]}), {"a": big[0], "b": big[1]})
    assert [len(call.native.kernels) for call in latest_plan(session).calls] == [2]  # packed at run time


@pytest.mark.parametrize(
    "equation, a, b, native",
    [
        ("ij,jk->ik", (9, 30), (30, 20), True),
        ("bij,bjk->bik", (3, 9, 30), (3, 30, 20), True),
        ("bhid,bhjd->bhij", (2, 3, 9, 16), (2, 3, 11, 16), True),
        ("bhij , bhjd -> bhid", (2, 3, 9, 11), (2, 3, 11, 16), True),
        ("ki,kj->ij", (30, 9), (30, 20), True),
        ("kj,ki->ij", (30, 20), (30, 9), True),
        ("bijk,kl->bijl", (2, 3, 4, 30), (30, 20), True),
        ("bijk,jkl->bil", (2, 3, 4, 30), (4, 30, 20), True),
        ("i,j->ij", (9,), (20,), True),
        ("i,i->", (9,), (9,), True),
        ("bi,bi->b", (9, 20), (9, 20), True),
        ("ij,kj->ki", (9, 30), (20, 30), True),
        ("ii,ij->ij", (9, 9), (9, 20), False),
    ],
)
def test_einsum(equation: str, a: tuple[int, ...], b: tuple[int, ...], native: bool) -> None:
    x, y = random(*a), random(*b, seed=1)
    got = run("Einsum", {"a": x, "b": y}, equation=equation, native=native)
    close(got, np.asarray(np.einsum(equation.replace(" ", ""), x.astype(np.float64), y)), 200)
