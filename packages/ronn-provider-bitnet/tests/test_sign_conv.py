"""Convolutions of signs with weights of one bit: exact at borders, with zeros and NaN, on every level."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from hypothesis import given, settings
from hypothesis import strategies as st
from sign_models import FORMS, N, convolution, model, weights
from test_signs import LEVELS, operators

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())


def images(shape, kind="", seed=0):
    r = np.random.default_rng(seed)
    x = r.standard_normal(shape).astype(np.float32)
    if kind == "zeros":
        x[r.random(shape) < 0.1] = 0
    elif kind == "lines of zeros":
        x[0, ..., : x.shape[-2] // 2, :] = 0
    elif kind == "nan":
        x[(-1, shape[1] // 2, *(d // 2 for d in shape[2:]))] = np.nan
        x[(0,) * x.ndim] = 0
    return x


def exact(made, x):
    """What NumPy's products give, exact sums: Winograd's transforms, which ``cpu`` may use otherwise, are not."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("RONN_CPU_LEVEL", "none")
        return ronn.Session(made, providers=["cpu"]).run(x)[0]


def check(made, *xs):
    bits = ronn.Session(made, providers=["bitnet"], options={"threads": 2})
    for x in xs:
        np.testing.assert_array_equal(bits.run(x)[0], exact(made, x))
    assert operators(bits) == ["SignConv"]


def check_left(made, x):
    bits = ronn.Session(made, providers=["bitnet"])
    np.testing.assert_allclose(bits.run(x)[0], exact(made, x), rtol=1e-4, atol=1e-3)
    assert "SignConv" not in operators(bits)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("form", ["sign", "where >="])
def test_sums_are_exact_at_the_borders_too(level, form, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    made = convolution(weights(40, 70, 3, 3), form, pads=[1, 1, 1, 1], strides=[2, 1])
    check(made, *(images((2, 70, 9, 21), kind, 3) for kind in ("", "zeros", "lines of zeros", "nan")))


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_there_are(level, sign, monkeypatch):
    needs(level)
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    made = convolution(np.full((20, 300, 3, 3), sign, np.float32), pads=[1, 1, 1, 1])
    check(made, *(np.full((1, 300, 4, 4), value, np.float32) for value in (2, -2, 0)))


@settings(max_examples=30, deadline=None, derandomize=True)
@given(st.data())
def test_any_window_gives_what_floats_give(data):
    def draw(low, high):
        return data.draw(st.integers(low, high))

    rank = draw(1, 2)
    kernel, strides, dilations = ([draw(1, high) for _ in range(rank)] for high in (4, 3, 3))
    pads = [draw(0, 4) for _ in range(2 * rank)]
    size = [max((k - 1) * d + 1 - before - after, 1) + draw(0, 20)
            for k, d, before, after in zip(kernel, dilations, pads[:rank], pads[rank:], strict=True)]  # fmt: skip
    channels = draw(1, 140)
    outputs = max(draw(1, 70), -(-1024 // (channels * int(np.prod(kernel)))))
    form = data.draw(st.sampled_from(["sign", "where <=", "cast"]))
    kind = data.draw(st.sampled_from(["", "zeros", "nan"]))
    bias = np.arange(outputs, dtype=np.float32) if data.draw(st.booleans()) else None
    made = convolution(
        weights(outputs, channels, *kernel, scale=0.25), form, bias=bias, relu=data.draw(st.booleans()),
        kernel_shape=kernel, strides=strides, dilations=dilations, pads=pads,
    )  # fmt: skip
    check(made, images((draw(1, 3), channels, *size), kind, channels))


@pytest.mark.parametrize("auto_pad", ["SAME_UPPER", "SAME_LOWER", "VALID"])
def test_padding_that_follows_from_sizes(auto_pad):
    check(convolution(weights(16, 16, 4, 3), auto_pad=auto_pad, strides=[2, 2]), images((1, 16, 11, 8), "zeros"))


def test_a_scale_for_each_output_and_one_for_the_signs():
    scale = 2.0 ** np.random.default_rng(0).integers(-3, 3, (33, 1, 1, 1))
    check(convolution(weights(33, 64, 3, 3, scale=scale), "half", pads=[0, 1, 2, 0]), images((1, 64, 6, 6)))


def test_weights_of_another_kind_are_left_alone():
    x = images((1, 64, 6, 6), "zeros")
    w = weights(32, 64, 3, 3)
    w[3, 4, 1, 1] = 0
    check_left(convolution(w), x)
    check_left(convolution(weights(32, 64, 1, 1, 1)), images((1, 64, 2, 3, 4)))
    grouped = [*FORMS["sign"], N("Conv", ["s", "w"], ["y"], group=2)]
    check_left(model(grouped, ["N", 64, 6, 6], "y", w=weights(32, 32, 3, 3)), x)


def test_integers_behind_dequantize_linear():
    q, scale = weights(32, 64, 3, 3).astype(np.int8), np.linspace(0.5, 2, 32).astype(np.float32).round(2)
    nodes = [
        *FORMS["sign"], N("DequantizeLinear", ["q", "scale"], ["w"], axis=0), N("Conv", ["s", "w"], ["y"], pads=[1] * 4)
    ]  # fmt: skip
    made = model(nodes, ["N", 64, "H", "W"], "y", q=q, scale=scale)
    bits, x = ronn.Session(made, providers=["bitnet"]), images((1, 64, 7, 7))
    np.testing.assert_allclose(bits.run(x)[0], exact(made, x), rtol=1e-5, atol=1e-3)
    assert operators(bits) == ["SignConv"]


def test_a_network_is_one_native_call():
    nodes = [
        *FORMS["where >="], N("Conv", ["s", "w"], ["p"], pads=[1] * 4),
        N("MaxPool", ["p"], ["q"], kernel_shape=[2, 2], strides=[2, 2]),
        N("Sign", ["q"], ["t"]), N("Conv", ["t", "v"], ["u"], pads=[1] * 4), N("Flatten", ["u"], ["f"]),
        N("Sign", ["f"], ["g"]), N("MatMul", ["g", "m"], ["y"]),
    ]  # fmt: skip
    constants = {"w": weights(32, 16, 3, 3), "v": weights(20, 32, 3, 3, seed=1), "m": weights(320, 10, seed=2)}
    made = model(nodes, ["N", 16, 8, 8], "y", **constants)
    bits, x = ronn.Session(made, providers=["bitnet"]), images((3, 16, 8, 8))
    np.testing.assert_array_equal(bits.run(x)[0], exact(made, x))
    (plan,) = [p for _, p in bits._base.plans()]
    assert operators(bits).count("SignConv") == 2 and operators(bits).count("SignLinear") == 1
    assert {row.provider for row in bits.placement().rows} == {"bitnet"} and len(plan.steps) == 1
