"""``precision="bf16"``: what it is used for, and that results stay within the bounds that its documentation states."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import latest_plan, native_nodes, one_node, run_one

import ronn
from ronn_codegen.native.machine import machine
from ronn_provider_cpu.compiling import level

LEVELS = []
for _level in ("native", "avx2", "baseline"):
    try:
        machine(_level)
        LEVELS.append(_level)
    except ValueError:
        pass
each_level = pytest.mark.parametrize("at", LEVELS)
HAS_DOT = machine(level()).target.bf16_dot if level() != "none" else False
dot = pytest.mark.skipif(not HAS_DOT, reason="this processor has no dot of bfloat16")
EACH, SUM = 2.0**-7 + 2.0**-16, 2.0**-24  # relative error of a product of rounded factors, and of each addition


@pytest.fixture
def at_level(at: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    monkeypatch.setenv("RONN_CPU_LEVEL", at)
    yield at


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed + len(shape)).standard_normal(shape).astype(np.float32)


def rounded(x: np.ndarray) -> np.ndarray:
    return x.astype(ml_dtypes.bfloat16).astype(np.float64)


def run(
    op: str,
    inputs: Mapping[str, np.ndarray],
    constant: str = "",
    precision: str = "bf16",
    threads: int = 1,
    **kind: Any,
) -> tuple[np.ndarray, list[str]]:
    """The node's output and the kernels that made it."""
    fixed = {n: inputs[n] for n in constant}
    fed = {n: v for n, v in inputs.items() if n not in fixed}
    model = one_node(op, fed, constants=fixed, order=list(inputs), **kind)
    [y], session = run_one(model, fed, precision=precision, threads=threads)
    assert native_nodes(session) == [op]
    return np.asarray(y), [k.name for call in latest_plan(session).calls for k in call.native.kernels]


def held(got: np.ndarray, exact: np.ndarray, used: np.ndarray, sizes: np.ndarray, terms: int) -> None:
    """Holds a result against that of the operands as they were used, and as they are; ``sizes``: what the sums are of
    the absolute values of products."""
    sums = SUM * (terms + 8) * 1.02 * sizes + 1e-30
    assert got.shape == exact.shape
    assert (np.abs(got - used) <= sums).all()
    assert (np.abs(got - exact) <= EACH * sizes + sums).all()


def operands(kernels: list[str], a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """What the kernels make of the operands of a product."""
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    if "gemm_bf16" in kernels:
        return rounded(a), rounded(b)
    return wide_a, rounded(b) if "gemm_halves_f32" in kernels else wide_b


batches = st.sampled_from([(), (2,), (2, 3)])


@each_level
@settings(max_examples=25, deadline=None)
@given(
    batch=batches, shared=st.booleans(), constant=st.sampled_from(["", "a", "b"]), m=st.integers(1, 90),
    k=st.integers(1, 70), n=st.integers(1, 90),
)  # fmt: skip
def test_products(at: str, batch: tuple[int, ...], shared: bool, constant: str, m: int, k: int, n: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RONN_CPU_LEVEL", at)
        a, b = random(*batch, m, k), random(*(() if shared else batch), k, n, seed=1)
        got, kernels = run("MatMul", {"a": a, "b": b}, constant)
    wide_a, wide_b = a.astype(np.float64), b.astype(np.float64)
    used_a, used_b = operands(kernels, a, b)
    held(got, wide_a @ wide_b, used_a @ used_b, np.abs(wide_a) @ np.abs(wide_b), k)


@dot
@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("constant", ["", "b"])
def test_gemm(transposed: int, constant: str, shared: bool) -> None:
    a, b, c = random(70, 65), random(*((50, 65) if transposed else (65, 50)), seed=1), random(50, seed=2)
    got, kernels = run("Gemm", {"a": a, "b": b, "c": c}, constant, transB=transposed, alpha=0.5, beta=2.0)
    assert kernels[-1] == "gemm_bf16"
    right = b.T if transposed else b
    sizes = np.abs(a).astype(np.float64) @ np.abs(right) + 4 * np.abs(c)
    exact = [
        0.5 * (x @ y) + 2 * c.astype(np.float64) for x, y in ((a.astype(np.float64), right), map(rounded, (a, right)))
    ]
    held(got, exact[0], exact[1], sizes, 70)


@dot
@pytest.mark.parametrize(
    "a, b, constant, kernels",
    [
        ((300, 600), (600, 130), "b", ["bf16_pairs", "gemm_bf16"]),
        ((1, 700), (700, 300), "b", ["bf16_pairs", "gemm_bf16"]),
        ((300, 600), (600, 130), "", ["bf16_pairs", "bf16_row_pairs", "gemm_bf16"]),
        ((1, 700), (700, 300), "", ["gemm_f32"]),  # rounding B would take longer than multiplying by it
        ((300, 700), (700, 8), "b", ["dot_f32"]),
        ((4, 1, 77), (4, 77, 64), "b", ["bf16_pairs", "gemm_bf16"]),
    ],
)
def test_which_products(a: tuple[int, ...], b: tuple[int, ...], constant: str, kernels: list[str]) -> None:
    x, y = random(*a), random(*b, seed=1)
    got, found = run("MatMul", {"a": x, "b": y}, constant)
    assert found == kernels
    np.testing.assert_allclose(got, x.astype(np.float64) @ y, atol=EACH * 6 * a[-1] ** 0.5)


@dot
@pytest.mark.parametrize("group", [1, 2])
@pytest.mark.parametrize("size, taps, stride", [(14, 1, 1), (15, 3, 2), (9, 5, 1)])
def test_convolutions(size: int, taps: int, stride: int, group: int) -> None:
    x, w, b = random(2, 70, size, size), random(96, 70 // group, taps, taps, seed=1), random(96, seed=2)
    kind = {"group": group, "strides": [stride] * 2, "pads": [taps // 2] * 4}
    got, kernels = run("Conv", {"x": x, "w": w, "b": b}, "wb", **kind)
    assert "conv_bf16" in kernels
    wide, _ = run("Conv", {"x": x, "w": w, "b": b}, "wb", "float32", **kind)
    near, _ = run(
        "Conv",
        {"x": rounded(x).astype(np.float32), "w": rounded(w).astype(np.float32), "b": b},
        "wb",
        "float32",
        **kind,
    )
    sizes, _ = run("Conv", {"x": np.abs(x), "w": np.abs(w), "b": np.abs(b)}, "wb", "float32", **kind)
    terms = 70 // group * taps * taps
    assert (np.abs(got - near) <= 2 * SUM * (terms + 8) * sizes).all()
    assert (np.abs(got - wide) <= EACH * sizes).all()


@dot
def test_winograd_stays_in_float32() -> None:
    x, w = random(1, 64, 28, 28), random(64, 64, 3, 3, seed=1)
    got, kernels = run("Conv", {"x": x, "w": w}, "w", pads=[1] * 4)
    wide, names = run("Conv", {"x": x, "w": w}, "w", "float32", pads=[1] * 4)
    assert kernels == names and "winograd_f32" in names
    np.testing.assert_array_equal(got, wide)


@each_level
def test_any_number_of_threads_gives_the_same_bits(at_level: str) -> None:
    x, y = random(3, 1500), random(1500, 700, seed=1)
    image, w = random(1, 128, 40, 40), random(200, 128, 1, 1, seed=1)
    for op, inputs, constant in (("MatMul", {"a": x, "b": y}, "b"), ("Conv", {"x": image, "w": w}, "w")):
        one, kernels = run(op, inputs, constant)
        for threads in (2, 4):
            np.testing.assert_array_equal(run(op, inputs, constant, threads=threads)[0], one)
        assert any("bf16" in name for name in kernels) or op == "Conv" or at_level == "baseline"


@pytest.mark.parametrize("at", [at for at in LEVELS if at == "avx2"])
@pytest.mark.parametrize(
    "rows, names", [(2, ["bf16_pairs", "gemm_bf16"]), (5, ["gemm_halves_f32"]), (200, ["gemm_halves_f32"])]
)
def test_without_the_instruction(
    at_level: str, rows: int, names: list[str], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Constants are stored as bfloat16 in one form, widened where they meet many rows."""
    monkeypatch.setenv("RONN_DEBUG", "3")
    for k, n in ((701, 90), (64, 33)):
        a, w = random(rows, k), random(k, n, seed=1)
        got, kernels = run("MatMul", {"a": a, "b": w}, "b")
        assert kernels == names
        used_a, used_b = operands(kernels, a, w)
        held(got, a.astype(np.float64) @ w, used_a @ used_b, np.abs(a).astype(np.float64) @ np.abs(w), k)
    assert "stored as bfloat16: this processor has no dot of bfloat16" in capsys.readouterr().err
    run("MatMul", {"a": a, "b": w})
    assert "float32: this processor has no dot of bfloat16" in capsys.readouterr().err


@pytest.mark.parametrize("at", [at for at in LEVELS if at == "avx2"])
def test_a_bias_and_an_activation_without_the_instruction(at_level: str) -> None:
    a, b, c = random(70, 65), random(50, 65, seed=1), random(50, seed=2)
    got, kernels = run("Gemm", {"a": a, "b": b, "c": c}, "bc", transB=1)
    assert kernels == ["gemm_halves_f32"]
    exact, used = (a.astype(np.float64) @ w.T + c for w in (b, rounded(b)))
    held(got, exact, used, np.abs(a).astype(np.float64) @ np.abs(b.T) + np.abs(c), 65)


@dot
def test_sessions_of_one_model_keep_to_their_own_precision() -> None:
    x, w = random(40, 64), random(64, 48, seed=1)
    model = ronn.Model.load(one_node("MatMul", {"x": x}, constants={"w": w}))
    wide, halved = (
        ronn.Session(model, providers=["cpu"], options={"precision": precision}) for precision in ("float32", "bf16")
    )
    exact, near = x.astype(np.float64) @ w, rounded(x) @ rounded(w)
    for _ in range(2):
        np.testing.assert_allclose(wide.run({"x": x})[0], exact, atol=1e-4)
        np.testing.assert_allclose(halved.run({"x": x})[0], near, atol=1e-4)
    assert np.abs(exact - near).max() > 1e-3
