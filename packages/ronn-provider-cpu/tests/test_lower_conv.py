"""Convolutions run natively, and agree with the definition in float64."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one

from ronn_codegen.windows import resolve_pads, transposed_geometry
from ronn_provider_cpu.compiling import native_library
from ronn_provider_cpu.kernels.blocked import from_blocks, to_blocks
from ronn_provider_cpu.kernels.conv import convolve


def expected(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None, **attributes: Any) -> np.ndarray:
    """In float64, without activation."""
    rank = x.ndim - 2
    strides, dilations = (attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
    pads = resolve_pads(
        attributes.get("auto_pad"), attributes.get("pads"), x.shape[2:], w.shape[2:], strides, dilations
    )
    wide = convolve(x.astype(np.float64), w.astype(np.float64), attributes.get("group", 1), strides, dilations, pads)
    return wide if bias is None else wide + bias.reshape(-1, *[1] * rank)


def check(x: np.ndarray, w: np.ndarray, bias: np.ndarray | None = None, **attributes: Any) -> None:
    constants = {"w": w} if bias is None else {"w": w, "b": bias}
    found, session = run_one(one_node("Conv", {"x": x}, constants=constants, **attributes), {"x": x})
    assert native_nodes(session) == ["Conv"]
    terms = w[0].size
    np.testing.assert_allclose(found[0], expected(x, w, bias, **attributes), atol=3e-7 * (terms + 8), rtol=1e-6)


def random(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


CASES: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "first layer": ((1, 3, 32, 32), (20, 3, 7, 7), {"strides": [2, 2], "pads": [3, 3, 3, 3]}),
    "3x3": ((2, 20, 13, 15), (33, 20, 3, 3), {"pads": [1, 1, 1, 1]}),
    "same, upper": ((1, 8, 11, 12), (8, 8, 3, 4), {"auto_pad": "SAME_UPPER", "strides": [2, 3]}),
    "same, lower": ((1, 8, 11, 12), (8, 8, 2, 4), {"auto_pad": "SAME_LOWER"}),
    "valid": ((1, 8, 11, 12), (8, 8, 2, 4), {"auto_pad": "VALID"}),
    "one dim": ((2, 30, 50), (40, 30, 5), {"pads": [2, 2]}),
    "one dim, grouped": ((1, 12, 20), (24, 4, 3), {"group": 3, "dilations": [2]}),
    "three dims": ((1, 5, 4, 6, 7), (9, 5, 2, 3, 3), {"pads": [1, 1, 0, 0, 1, 2], "strides": [1, 2, 1]}),
    "depthwise": ((1, 35, 9, 9), (35, 1, 3, 3), {"group": 35, "pads": [1, 1, 1, 1]}),
    "depthwise, more outputs": ((1, 10, 9, 9), (30, 1, 3, 3), {"group": 10, "pads": [1, 1, 1, 1]}),
    "one pixel": ((3, 40, 1, 1), (50, 40, 1, 1), {}),
    "dilated": ((1, 16, 20, 20), (16, 16, 3, 3), {"dilations": [4, 4], "pads": [4, 4, 4, 4]}),
}


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("with_bias", [False, True])
def test_conv(name: str, with_bias: bool) -> None:
    x, w, attributes = CASES[name]
    check(random(*x), random(*w, seed=1), random(w[0], seed=2) if with_bias else None, **attributes)


@settings(max_examples=40, deadline=None)
@given(st.data())
def test_any_conv(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rank, group = draw(1, 3), data.draw(st.sampled_from([1, 1, 2, 3]))
    kernel, strides, dilations = ([draw(1, m) for _ in range(rank)] for m in (4, 3, 2))
    pads = [draw(0, 3) for _ in range(2 * rank)]
    sizes = [
        draw(max(d * (k - 1) + 1 - pads[i] - pads[rank + i], 1), 14)
        for i, (k, d) in enumerate(zip(kernel, dilations, strict=True))
    ]
    c, k = group * draw(1, 7), group * draw(1, 12)
    x, w = random(draw(1, 2), c, *sizes), random(k, c // group, *kernel, seed=1)
    check(x, w, random(k, seed=2), strides=strides, dilations=dilations, pads=pads, group=group)


@pytest.mark.parametrize("name", CASES)
def test_weights_that_are_computed(name: str) -> None:
    x, w, attributes = CASES[name]
    feeds = {"x": random(*x), "w": random(*w, seed=1), "b": random(w[0], seed=2)}
    found, session = run_one(one_node("Conv", feeds, **attributes), feeds)
    assert native_nodes(session) == ["Conv"]
    np.testing.assert_allclose(found[0], expected(*feeds.values(), **attributes), atol=1e-4)


@pytest.mark.parametrize(
    ("activation", "params", "function"),
    [
        ("Relu", [], lambda y: np.maximum(y, 0)),
        ("Clip", [0.0, 6.0], lambda y: np.clip(y, 0, 6)),
        ("HardSwish", [], lambda y: y * np.clip(y / 6 + 0.5, 0, 1)),
        ("Sigmoid", [], lambda y: 1 / (1 + np.exp(-y))),
    ],
)
def test_fused_activation(activation: str, params: list[float], function: Any) -> None:
    x, w, b = random(1, 6, 9, 9), random(21, 6, 3, 3, seed=1), random(21, seed=2)
    model = one_node(
        "FusedConv", {"x": x}, constants={"w": w, "b": b}, domain="com.microsoft", domains={"com.microsoft": 1},
        activation=activation, **({"activation_params": params} if params else {}),
    )  # fmt: skip
    found, session = run_one(model, {"x": x})
    assert native_nodes(session) == ["FusedConv"]
    np.testing.assert_allclose(found[0], function(expected(x, w, b)), atol=1e-4)


TRANSPOSED: dict[str, tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]] = {
    "2x2, no overlap": ((1, 20, 9, 30), (20, 18, 2, 2), {"strides": [2, 2]}),
    "4x4": ((2, 7, 8, 8), (7, 33, 4, 4), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
    "3x3, padded": ((1, 7, 8, 8), (7, 5, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1], "output_padding": [1, 1]}),
    "same": ((1, 7, 8, 8), (7, 5, 3, 3), {"strides": [2, 3], "auto_pad": "SAME_UPPER"}),
    "output shape": ((1, 3, 5, 5), (3, 5, 3, 3), {"strides": [3, 2], "output_shape": [16, 12]}),
    "taps that miss phases": ((1, 3, 5, 5), (3, 5, 2, 1), {"strides": [4, 3]}),
    "dilated": ((1, 3, 6, 7), (3, 5, 3, 2), {"strides": [2, 3], "dilations": [2, 2], "pads": [1, 0, 2, 1]}),
    "grouped": ((1, 12, 6, 7), (12, 5, 3, 3), {"strides": [2, 1], "group": 3}),
    "one dim": ((1, 30, 17), (30, 20, 8), {"strides": [4], "pads": [2, 2]}),
    "three dims": ((1, 3, 3, 4, 5), (3, 4, 2, 3, 2), {"strides": [2, 1, 2], "pads": [0, 1, 0, 0, 1, 1]}),
}  # fmt: skip


def by_scattering(x: np.ndarray, w: np.ndarray, out: tuple[int, ...], **attributes: Any) -> np.ndarray:
    """Every input adds its taps to the output, in float64."""
    rank = x.ndim - 2
    strides, dilations = (attributes.get(name, [1] * rank) for name in ("strides", "dilations"))
    sizes, kernel, group = x.shape[2:], w.shape[2:], attributes.get("group", 1)
    begins, outs = transposed_geometry(
        sizes, kernel, strides, dilations, attributes.get("auto_pad"), attributes.get("pads"),
        attributes.get("output_padding", [0] * rank), attributes.get("output_shape"),
    )  # fmt: skip
    assert tuple(outs) == out
    y = np.zeros((x.shape[0], group * w.shape[1], *out))
    per = x.shape[1] // group
    for tap in np.ndindex(*kernel):
        for at in np.ndindex(*sizes):
            place = tuple(s * i + d * t - b for s, i, d, t, b in zip(strides, at, dilations, tap, begins, strict=True))
            if all(0 <= p < o for p, o in zip(place, out, strict=True)):
                for g in range(group):
                    channels, outputs = slice(g * per, (g + 1) * per), slice(g * w.shape[1], (g + 1) * w.shape[1])
                    seen = x[(slice(None), channels, *at)].astype(np.float64)
                    y[(slice(None), outputs, *place)] += seen @ w[(channels, slice(None), *tap)].astype(np.float64)
    return y


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose(name: str) -> None:
    x, w, attributes = TRANSPOSED[name]
    a, b, bias = random(*x), random(*w, seed=1), random(w[1] * attributes.get("group", 1), seed=2)
    found, session = run_one(one_node("ConvTranspose", {"x": a}, constants={"w": b, "b": bias}, **attributes), {"x": a})
    assert native_nodes(session) == ["ConvTranspose"]
    wanted = by_scattering(a, b, found[0].shape[2:], **attributes) + bias.reshape(-1, *[1] * (len(x) - 2))
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


@pytest.mark.parametrize("name", TRANSPOSED)
def test_conv_transpose_with_weights_that_are_computed(name: str) -> None:
    x, w, attributes = TRANSPOSED[name]
    feeds = {"x": random(*x), "w": random(*w, seed=1)}
    found, session = run_one(one_node("ConvTranspose", feeds, **attributes), feeds)
    assert native_nodes(session) == ["ConvTranspose"]
    wanted = by_scattering(feeds["x"], feeds["w"], found[0].shape[2:], **attributes)
    np.testing.assert_allclose(found[0], wanted, atol=1e-4)


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_any_conv_transpose(data: st.DataObject) -> None:
    def draw(low: int, high: int) -> int:
        return data.draw(st.integers(low, high))

    rank = draw(1, 2)
    kernel, strides, dilations, sizes = ([draw(1, m) for _ in range(rank)] for m in (5, 4, 3, 6))
    full = [s * (n - 1) + d * (k - 1) + 1 for s, n, d, k in zip(strides, sizes, dilations, kernel, strict=True)]
    begins = [draw(0, min(3, f - 1)) for f in full]
    ends = [draw(0, min(3, f - 1 - b)) for f, b in zip(full, begins, strict=True)]
    c, k = draw(1, 5), draw(1, 18)
    x, w = random(1, c, *sizes), random(c, k, *kernel, seed=1)
    attributes = {"strides": strides, "dilations": dilations, "pads": begins + ends}
    found, session = run_one(one_node("ConvTranspose", {"x": x}, constants={"w": w}, **attributes), {"x": x})
    assert native_nodes(session) == ["ConvTranspose"]
    np.testing.assert_allclose(found[0], by_scattering(x, w, found[0].shape[2:], **attributes), atol=1e-4)


def lanes() -> int:
    library = native_library()
    assert library is not None
    return library.machine.target.lanes(32)


@pytest.mark.parametrize("plain", [False, True])
@pytest.mark.parametrize("last", [False, True])
def test_blocked(plain: bool, last: bool) -> None:
    """With a residual, before or behind the activation."""
    c, k = 3 if plain else 20, 37
    x, w, b = random(2, c, 9, 20), random(k, c, 3, 3, seed=1), random(k, seed=2)
    more = random(2, k, 9, 20, seed=3)
    feeds = {"x": x if plain else to_blocks(x, lanes()), "r": to_blocks(more, lanes())}
    model = one_node(
        "BlockedConv", feeds, constants={"w": w, "b": b}, order=["x", "w", "b", "r"], domain="ronn.cpu",
        domains={"ronn.cpu": 1}, kernel_shape=[3, 3], strides=[1, 1], pads=[1, 1, 1, 1], dilations=[1, 1],
        activation="Relu", lanes=lanes(), channels=c, out_channels=k, plain_input=int(plain), residual_last=int(last),
    )  # fmt: skip
    found, session = run_one(model, feeds)
    assert native_nodes(session) == ["BlockedConv"]
    bare = expected(x, w, b, pads=[1, 1, 1, 1])
    wanted = np.maximum(bare, 0) + more if last else np.maximum(bare + more, 0)
    np.testing.assert_allclose(from_blocks(found[0], k), wanted, atol=1e-4)
    assert not from_blocks(found[0], found[0].shape[1] * lanes())[:, k:].any()
