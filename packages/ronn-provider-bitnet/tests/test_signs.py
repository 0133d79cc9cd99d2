"""Products of signs with weights of one bit: exact on every level, for zeros, NaN and infinities too."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from sign_models import FORMS, MEAN, OTHERS, N, model, product, weights

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
LEVELS = ("native", "avx512", "avx2", "baseline", "none")


def operators(s):
    return [n.op for n in s._base.assigned()]


def both(made, *xs):
    """What the kernels give, and what ``cpu`` computes in float32; they must have been used."""
    bits, floats = ronn.Session(made, providers=["bitnet"]), ronn.Session(made, providers=["cpu"])
    for x in xs:
        yield bits.run(x)[0], floats.run(x)[0]
    assert operators(bits) == ["SignLinear"]


def rows(m, k, kind, seed=0):
    """Normal numbers, of which ``kind`` makes some rows have zeros, of both signs, or NaN."""
    r = np.random.default_rng(seed)
    x = r.standard_normal((m, k)).astype(np.float32)
    if kind == "zeros":
        x[r.random(x.shape) < 0.2] = 0
        x[r.random(x.shape) < 0.2] = -0.0
        x[:: 3] = np.abs(x[:: 3]) + 1
    elif kind == "one zero":
        x[m // 2, k - 1] = 0
    elif kind == "nan":
        x[m // 2, r.integers(k)] = np.nan
        x[-1, 0] = 0
    return x


@pytest.mark.parametrize("level", LEVELS)
def test_integer_sums_are_exact(level, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    w = weights(131, 70)
    given_ = [rows(m, 131, kind, m) for m in (1, 2, 3, 5, 6, 13) for kind in ("", "zeros", "one zero", "nan")]
    for y, expected in both(product(w), *given_):
        np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_there_are(level, sign, monkeypatch):
    """All words and bytes of counts as full as they can be."""
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    k = 8230
    x = np.full((6, k), 3.0, np.float32)
    x[1] = -3
    x[2, ::2] = -3
    x[3, 64:] = 0
    x[4] = 0
    for y, expected in both(product(np.full((k, 40), sign, np.float32)), x):
        np.testing.assert_array_equal(y, expected)


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    st.integers(1, 12), st.integers(1, 300), st.integers(1, 90), st.sampled_from(sorted(FORMS)),
    st.sampled_from(["", "zeros", "nan"]), st.booleans(), st.booleans(),
)  # fmt: skip
def test_any_shape_and_form_gives_what_floats_give(m, k, n, form, kind, mean, with_bias):
    n = max(n, -(-1024 // k))
    scale = 2.0 ** np.random.default_rng(n).integers(-3, 3, n)  # products with these are exact
    bias = np.arange(n, dtype=np.float32) if with_bias else None
    x = rows(m, k, kind, m + n)
    for y, expected in both(product(weights(k, n, scale=scale), form, mean=mean, bias=bias), x):
        if mean or form == "straight through":
            np.testing.assert_allclose(y, expected, rtol=1e-5, atol=2e-6 * k * scale.max() * 4)
        else:
            np.testing.assert_array_equal(y, expected)


@pytest.mark.parametrize("level", ["native", "none"])
@pytest.mark.parametrize("form", ["sign", "where >="])
def test_infinite_means(level, form, monkeypatch):
    """Rows times infinity are NaN but where all products have one sign; a zero times infinity is NaN."""
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    w = weights(64, 48)
    x = np.where(w.T[:6] > 0, np.float32(2), np.float32(-2))
    x[:4] *= np.float32(1.5e38)  # finite, their sum is not
    x[3] *= -1
    x[4, 0] = np.nan
    x[2, 0] = 0
    for y, expected in both(product(w, form, mean=True), x):
        np.testing.assert_array_equal(y, expected)
        assert np.isinf(expected).any() and np.isnan(expected).any() and np.isfinite(expected[5]).all()


@pytest.mark.parametrize("form", sorted(OTHERS))
def test_what_makes_no_signs_is_left_alone(form):
    nodes = [*OTHERS[form], N("MatMul", ["s", "w"], ["y"])]
    made = model(nodes, ["M", 64], "y", w=weights(64, 32))
    bits = ronn.Session(made, providers=["bitnet"])
    x = rows(3, 64, "zeros")
    y = bits.run(x)[0]
    assert "SignLinear" not in operators(bits)
    np.testing.assert_allclose(y, ronn.Session(made, providers=["cpu"]).run(x)[0], atol=1e-2)


def test_signs_that_only_change_places():
    nodes = [
        *FORMS["where >="], N("Mul", ["s", "half"], ["h"]), N("Reshape", ["h", "shape"], ["r"]),
        N("Transpose", ["r"], ["t"], perm=[0, 2, 1]), N("Flatten", ["t"], ["f"]), N("MatMul", ["f", "w"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, ["M", 64], "y", w=weights(64, 32), shape=np.array([-1, 4, 16]))
    x = rows(3, 64, "zeros")
    bits = ronn.Session(made, providers=["bitnet"])
    np.testing.assert_array_equal(bits.run(x)[0], ronn.Session(made, providers=["cpu"]).run(x)[0])
    assert "SignLinear" in operators(bits)


def test_rows_that_are_rounded_behind_the_mean_keep_their_own_kernels():
    """Quantised activations are no signs, whatever they are quantised from."""
    nodes = [*FORMS["sign"], *MEAN, N("Add", ["scaled", "half"], ["t"]), N("MatMul", ["t", "w"], ["y"])]
    made = model(nodes, ["M", 64], "y", w=weights(64, 32))
    bits = ronn.Session(made, providers=["bitnet"])
    bits.run(rows(2, 64, ""))
    assert "SignLinear" not in operators(bits) and "BitLinear" in operators(bits)


def test_activations_and_ranks():
    nodes = [*FORMS["sign"], N("MatMul", ["s", "w"], ["p"]), N("Add", ["p", "b"], ["q"]), N("Relu", ["q"], ["y"])]
    made = model(nodes, ["A", "B", 64], "y", w=weights(64, 40), b=np.linspace(-9, 9, 40).astype(np.float32).round())
    bits = ronn.Session(made, providers=["bitnet"])
    x = rows(6, 64, "zeros").reshape(2, 3, 64)
    np.testing.assert_array_equal(bits.run(x)[0], ronn.Session(made, providers=["cpu"]).run(x)[0])
    (node,) = bits._base.assigned()
    assert node.op == "SignLinear" and node.attributes["activation"] == "Relu"


def test_threads_change_no_bit_and_a_model_is_one_native_call():
    nodes = [
        N("Sign", ["x"], ["s"]), N("MatMul", ["s", "w"], ["p"]), N("GreaterOrEqual", ["p", "zero"], ["c"]),
        N("Where", ["c", "one", "minus"], ["t"]), N("MatMul", ["t", "v"], ["y"]),
    ]  # fmt: skip
    made = model(nodes, ["M", 512], "y", w=weights(512, 1024), v=weights(1024, 300, seed=1))
    x = rows(40, 512, "zeros")
    sessions = [ronn.Session(made, providers=["bitnet"], options={"threads": t}) for t in (1, 2, 4)]
    found = [s.run(x)[0] for s in sessions]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    assert {row.provider for row in sessions[0].placement().rows} == {"bitnet"}
    (plan,) = [p for _, p in sessions[0]._base.plans()]
    assert operators(sessions[0]) == ["SignLinear"] * 2 and len(plan.steps) == 1 and len(plan.segments) == 1


def test_weights_in_memory_are_one_bit():
    with ronn.Session(product(weights(2048, 512)), providers=["bitnet"]) as s:
        s.run(np.ones((1, 2048), np.float32))
        assert s.memory().packed < 4 * 1024 * 1024 / 31
