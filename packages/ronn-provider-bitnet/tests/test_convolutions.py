"""Convolutions with weights of one and two bits: exact integer sums on every level, odd windows, extremes."""

from __future__ import annotations

import numpy as np
import pytest
from bit_levels import needs
from conv_models import convolution, expected, filters, rounded
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())
LEVELS = ("native", "avx2", "baseline", "none")
SMALL = {"convolutions": "small"}


def session(model, level="native", monkeypatch=None, **options):
    if monkeypatch is not None:
        monkeypatch.setenv("RONN_CPU_LEVEL", level)
    return ronn.Session(model, providers=[("bitnet", SMALL)], options=options)


def operators(s):
    return [n.op for n in s._base.assigned()]


def integer_images(shape, seed):
    """Images whose largest absolute value is 127, which the quantiser leaves as they are."""
    x = np.random.default_rng(seed).integers(-127, 128, shape).astype(np.float32)
    x.reshape(len(x), -1)[:, seed] = 127 * (-1) ** seed
    return x


WINDOWS = [
    ((2, 24, 9, 11), (40, 24, 3, 3), {"pads": [1, 1, 1, 1]}),
    ((1, 5, 12, 7), (133, 5, 4, 3), {"strides": [2, 1], "pads": [0, 1, 2, 3]}),
    ((2, 36, 9, 9), (16, 36, 3, 2), {"dilations": [1, 3], "auto_pad": "SAME_LOWER"}),
    ((1, 64, 5, 6), (96, 32, 3, 3), {"group": 2, "strides": [2, 2], "auto_pad": "SAME_UPPER"}),
    ((3, 20, 17), (70, 20, 5), {"strides": [2], "pads": [2, 1]}),
    ((2, 48, 1, 1), (33, 48, 1, 1), {}),
]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("zeros", [True, False])
def test_integer_sums_are_exact(level, zeros, monkeypatch):
    needs(level)
    for i, (shape, w_shape, attributes) in enumerate(WINDOWS):
        w = filters(w_shape, zeros=zeros, scale=1.0, seed=i)
        s = session(convolution(shape, w, quantised=True, **attributes), level, monkeypatch)
        x = integer_images(shape, i)
        np.testing.assert_array_equal(s.run(x)[0], expected(x, w, **attributes).astype(np.float32))
        assert operators(s) == ["BitConv"]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("bits", [1, 2])
@pytest.mark.parametrize("sign", [1, -1])
def test_the_largest_sums_there_are(level, bits, sign, monkeypatch):
    needs(level)
    w = np.full((20, 512, 3, 3), sign, np.float32)
    if bits == 2:
        w[:, 0, 0, 0] = 0
    s = session(convolution((1, 512, 4, 4), w, quantised=True), level, monkeypatch)
    for value in (127.0, -127.0):
        x = np.full((1, 512, 4, 4), value, np.float32)
        np.testing.assert_array_equal(s.run(x)[0], expected(x, w).astype(np.float32))


@st.composite
def cases(draw):
    """Shapes of images and weights, attributes, and channels that share a scale (0: all)."""
    rank = draw(st.sampled_from([1, 2, 2, 2]))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    sizes = [draw(st.integers((k - 1) * d + 1, 12)) for k, d in zip(kernel, dilations, strict=True)]
    strides = [draw(st.integers(1, 3)) for _ in range(rank)]
    group, each, per_scale = draw(st.sampled_from([(1, 3, 0), (1, 17, 0), (1, 64, 32), (1, 33, 0), (2, 32, 0)]))
    filters_ = draw(st.integers(1, 40)) if group == 1 else 32 * group
    padding = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID", "pads", "pads"]))
    attributes = {"strides": strides, "dilations": dilations, "group": group}
    if padding == "pads":
        attributes["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        attributes["auto_pad"] = padding
    return (draw(st.integers(1, 3)), group * each, *sizes), (filters_, each, *kernel), attributes, per_scale


@settings(max_examples=25, deadline=None, derandomize=True)
@given(cases(), st.booleans(), st.sampled_from(["images", "all", ""]), st.booleans(), st.integers(0, 99))
def test_any_window_gives_what_float_convolutions_give(case, zeros, quantised, with_bias, seed):
    shape, w_shape, attributes, group = case
    r = np.random.default_rng(seed)
    w = filters(w_shape, zeros=zeros, group=group, seed=seed)
    w = w if w.size >= 1024 else np.tile(w, (-(-1024 // w.size), *[1] * (w.ndim - 1)))
    bias = r.standard_normal(len(w)).astype(np.float32) if with_bias else None
    axes = list(range(len(shape))) if quantised == "all" else None
    s = session(convolution(shape, w, quantised=bool(quantised), axes=axes, bias=bias, **attributes))
    x = r.standard_normal(shape).astype(np.float32)
    wanted = expected(rounded(x, together=quantised == "all") if quantised else x, w, **attributes)
    wanted = wanted + (0 if bias is None else bias.reshape(-1, *[1] * (x.ndim - 2)))
    # What 16 bits leave of an activation, with random signs; rounding alone where they are bytes already.
    depth = w[0].size
    bound = 0 if quantised else 1.6e-5 * 6 * depth**0.5 * np.abs(w).max() * np.abs(x).max()
    bound += 1e-6 * np.abs(w).max() * np.abs(x).max() * depth
    assert np.abs(s.run(x)[0] - wanted).max() <= bound
    assert "BitConv" in operators(s)


@pytest.mark.parametrize("level", ["native", "none"])
@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_an_image_with_a_bad_number_is_nan_and_others_are_not(level, bad, monkeypatch):
    w = filters((16, 24, 3, 3), zeros=True)
    s = session(convolution((3, 24, 6, 6), w), level, monkeypatch)
    x = np.ones((3, 24, 6, 6), np.float32)
    good = s.run(x)[0]
    x[1, 5, 2, 3] = bad
    y = s.run(x)[0]
    assert np.isnan(y[1]).all()
    np.testing.assert_array_equal(y[[0, 2]], good[[0, 2]])


@pytest.mark.parametrize("quantised", [True, False])
def test_images_of_zeros_and_of_tiny_numbers(quantised):
    w = filters((16, 24, 3, 3), zeros=False)
    s = session(convolution((2, 24, 5, 5), w, quantised=quantised))
    assert not s.run(np.zeros((2, 24, 5, 5), np.float32))[0].any()
    assert np.isfinite(s.run(np.full((2, 24, 5, 5), 1e-30, np.float32))[0]).all()


@pytest.mark.parametrize("channels", [64, 5])
def test_images_and_threads_change_no_bit(channels):
    w = filters((200, channels, 3, 3), zeros=True)
    x = np.random.default_rng(0).standard_normal((3, channels, 13, 14)).astype(np.float32)
    found = [session(convolution(x.shape, w, pads=[1] * 4), threads=t).run(x)[0] for t in (1, 2, 4)]
    for other in found[1:]:
        np.testing.assert_array_equal(other, found[0])
    alone = session(convolution((1, *x.shape[1:]), w, pads=[1] * 4))
    np.testing.assert_array_equal(np.concatenate([alone.run(x[i : i + 1])[0] for i in range(3)]), found[0])


@pytest.mark.parametrize("level", ["native", "avx2"])
def test_chains_in_blocks_with_what_is_added_and_activated(level, monkeypatch):
    needs(level)
    w, v = filters((48, 40, 3, 3), zeros=True) / 16, filters((40, 48, 1, 1), zeros=False, seed=1) / 16
    more = (
        [
            h.make_node("Relu", ["y"], ["a"]), h.make_node("Conv", ["a", "v"], ["c"]),
            h.make_node("Add", ["c", "x"], ["d"]), h.make_node("Tanh", ["d"], ["z"]),
        ],
        [nh.from_array(v, "v")],
    )  # fmt: skip
    shape = (2, 40, 9, 10)
    s = session(convolution(shape, w, pads=[1] * 4, more=more), level, monkeypatch)
    x = np.random.default_rng(0).standard_normal(shape).astype(np.float32)
    y = s.run(x)[0]
    hidden = np.maximum(expected(x, w, pads=[1] * 4), 0)
    np.testing.assert_allclose(y, np.tanh(expected(hidden, v) + x), rtol=0, atol=5e-4)
    found = operators(s)
    assert found.count("BlockedBitConv") == 2 and not {"Add", "Relu", "Tanh", "Conv"} & set(found), found
    assert len({row.provider for row in s.placement().rows}) == 1
    plain = session(convolution(shape, w, pads=[1] * 4, more=more), "none", monkeypatch).run(x)[0]
    np.testing.assert_allclose(y, plain, rtol=0, atol=2e-6)
