"""Attention natively against the NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one

import ronn

MS = "com.microsoft"


def compare(op: str, feeds: dict[str, np.ndarray], order: list[str], outputs: int, **options: Any) -> None:
    while order[-1] == "":
        order.pop()
    model = one_node(op, feeds, order=order, outputs=outputs, **options)
    got, session = run_one(model, feeds)
    assert native_nodes(session) == [op]
    want = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"}).run(feeds)
    for a, b in zip(got, want, strict=True):
        np.testing.assert_allclose(a, b, rtol=3e-5, atol=3e-6)


def draw_mask(kind: str, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    if kind == "bool":
        return rng.random(shape) < 0.7
    mask = rng.normal(size=shape).astype(np.float32)
    mask[rng.random(shape) < 0.2] = -np.inf
    return mask


def check(
    b: int, heads: int, group: int, queries: int, keys: int, size: int, v_size: int, rng: np.random.Generator, *,
    packed: bool = False, mask: str = "", mask_shape: tuple[int, ...] = (), past: int = 0, nonpad: bool = False,
    present: bool = False, scores: bool = False, **attributes: Any,
) -> None:  # fmt: skip
    def draw(h: int, s: int, d: int) -> np.ndarray:
        shape = (b, s, h * d) if packed else (b, h, s, d)
        return rng.normal(size=shape).astype(np.float32)

    feeds = {"q": draw(heads * group, queries, size), "k": draw(heads, keys, size), "v": draw(heads, keys, v_size)}
    order = ["q", "k", "v", "", "", "", ""]
    if mask:
        feeds["m"], order[3] = draw_mask(mask, mask_shape, rng), "m"
    if past:
        feeds["pk"] = rng.normal(size=(b, heads, past, size)).astype(np.float32)
        feeds["pv"] = rng.normal(size=(b, heads, past, v_size)).astype(np.float32)
        order[4:6] = ["pk", "pv"]
    if nonpad:
        feeds["n"], order[6] = rng.integers(0, keys + 1, b).astype(np.int64), "n"
    if packed:
        attributes |= {"q_num_heads": heads * group, "kv_num_heads": heads}
    outputs = 4 if scores else 3 if past or present else 1
    compare("Attention", feeds, order, outputs, **{"opset": 24, **attributes})


@settings(max_examples=50, deadline=None)
@given(st.data())
def test_any_options(data: st.DataObject) -> None:
    draw = data.draw
    b, heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 3)), draw(st.integers(1, 3))
    queries, keys = draw(st.integers(1, 130)), draw(st.integers(1, 300))
    past = draw(st.sampled_from([0, 0, 5]))
    total = keys + past
    mask = draw(st.sampled_from(["", "bool", "float"]))
    full = (b, heads * group, queries, total)
    shape = tuple(n if draw(st.booleans()) else 1 for n in full[:3])
    attributes: dict[str, Any] = {"is_causal": draw(st.integers(0, 1))}
    if draw(st.booleans()):
        attributes["scale"] = draw(st.sampled_from([0.3, -0.2]))
    if draw(st.booleans()):
        attributes["softcap"] = 1.5
    check(
        b, heads, group, queries, keys, draw(st.integers(1, 70)), draw(st.integers(1, 70)),
        np.random.default_rng(draw(st.integers(0, 99))), packed=draw(st.booleans()), mask=mask,
        mask_shape=(*shape, total)[draw(st.integers(0, 2)) :], past=past, nonpad=not past and draw(st.booleans()),
        present=draw(st.booleans()), **attributes,
    )  # fmt: skip


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_windows_and_scores(data: st.DataObject) -> None:
    draw = data.draw
    b, heads, group = draw(st.integers(1, 2)), draw(st.integers(1, 2)), draw(st.integers(1, 2))
    queries, keys, past = draw(st.integers(1, 12)), draw(st.integers(1, 30)), draw(st.sampled_from([0, 3]))
    mask = draw(st.sampled_from(["", "bool", "float"]))
    shape = tuple(n if draw(st.booleans()) else 1 for n in (b, heads * group, queries))
    attributes: dict[str, Any] = {"is_causal": draw(st.integers(0, 1))}
    for name in ("left_window_size", "right_window_size"):
        if draw(st.booleans()):
            attributes |= {name: draw(st.integers(0, 9)), "opset": 25}
    scores = draw(st.booleans())
    if scores:
        attributes["qk_matmul_output_mode"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        attributes["softcap"] = 0.7
    check(
        b, heads, group, queries, keys, 8, 5, np.random.default_rng(draw(st.integers(0, 99))), mask=mask,
        mask_shape=(*shape, keys + past), past=past, nonpad=not past and draw(st.booleans()), scores=scores,
        **attributes,
    )  # fmt: skip


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
def test_levels(level: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    rng = np.random.default_rng(0)
    check(2, 2, 2, 101, 299, 64, 64, rng, is_causal=1)
    check(1, 3, 1, 7, 33, 37, 19, rng, packed=True, mask="bool", mask_shape=(7, 33))


def test_queries_without_keys_give_zero() -> None:
    rng = np.random.default_rng(1)
    feeds = {n: rng.normal(size=(1, 2, 5, 8)).astype(np.float32) for n in "qkv"}
    feeds["m"] = np.ones((5, 5), np.bool_)
    feeds["m"][2] = False
    model = one_node("Attention", feeds, opset=23)
    (y,), session = run_one(model, feeds)
    assert native_nodes(session) == ["Attention"]
    assert (y[:, :, 2] == 0).all() and np.isfinite(y).all() and (y[:, :, 1] != 0).all()


def test_large_scores_do_not_overflow() -> None:
    rng = np.random.default_rng(2)
    q, k, v = (rng.normal(size=(1, 1, n, 16)).astype(np.float32) for n in (40, 600, 600))
    (y,), _ = run_one(one_node("Attention", {"q": q, "k": k, "v": v}, opset=23, scale=300.0), {"q": q, "k": k, "v": v})
    scores = (q.astype(np.float64) @ k.astype(np.float64).swapaxes(-1, -2)) * 300
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    want = weights @ v / weights.sum(-1, keepdims=True)
    np.testing.assert_allclose(y, want, atol=2e-3)  # scores of thousands, to 2**-12


@settings(max_examples=30, deadline=None)
@given(st.data())
def test_multi_head_attention(data: st.DataObject) -> None:
    draw = data.draw
    rng = np.random.default_rng(draw(st.integers(0, 99)))
    b, heads, size, steps = (
        draw(st.integers(1, 2)),
        draw(st.integers(1, 3)),
        draw(st.integers(1, 40)),
        draw(st.integers(1, 40)),
    )
    form = draw(st.sampled_from(["separate", "qkv", "kv", "crossed"]))
    keys = steps if form == "qkv" else draw(st.integers(1, 50))
    past = draw(st.sampled_from([0, 4])) if form == "separate" else 0

    def normal(*shape: int) -> np.ndarray:
        return rng.normal(size=shape).astype(np.float32)

    order = ["", "", "", "", "", "", "", ""]
    feeds: dict[str, np.ndarray] = {}

    def put(at: int, name: str, value: np.ndarray) -> None:
        feeds[name], order[at] = value, name

    if form == "qkv":
        put(0, "q", normal(b, steps, heads, 3, size))
    else:
        put(0, "q", normal(b, steps, heads * size))
        if form == "kv":
            put(1, "k", normal(b, keys, heads, 2, size))
        elif form == "crossed":
            put(1, "k", normal(b, heads, keys, size))
            put(2, "v", normal(b, heads, keys, size))
        else:
            put(1, "k", normal(b, keys, heads * size))
            put(2, "v", normal(b, keys, heads * size))
    if draw(st.booleans()):
        put(3, "bias", normal(3 * heads * size))
    total = keys + past
    mask = draw(st.sampled_from(["", "keys", "added"]))
    if mask == "keys":
        put(4, "m", (rng.random((b, total)) < 0.8).astype(np.int32))
    elif mask:
        put(5, "m", normal(1, draw(st.sampled_from([1, heads])), steps, total))
    if past:
        put(6, "pk", normal(b, heads, past, size))
        put(7, "pv", normal(b, heads, past, size))
    causal = int(draw(st.booleans()) and steps <= total)
    compare(
        "MultiHeadAttention", feeds, order, 3 if past else 1, domain=MS, domains={MS: 1}, num_heads=heads,
        unidirectional=causal,
    )  # fmt: skip


@pytest.mark.parametrize("rule", ["linear", "gated", "delta", "gated_delta"])
@pytest.mark.parametrize(
    "heads, kv_heads, d_k, d_v, past", [(2, 2, 8, 8, False), (4, 2, 5, 19, True), (3, 1, 16, 40, True)]
)
def test_linear_attention(rule: str, heads: int, kv_heads: int, d_k: int, d_v: int, past: bool) -> None:
    rng = np.random.default_rng(d_v)

    def normal(*shape: int) -> np.ndarray:
        return (rng.normal(size=shape) / 2).astype(np.float32)

    b, steps = 2, 6
    feeds = {
        "q": normal(b, steps, heads * d_k),
        "k": normal(b, steps, kv_heads * d_k),
        "v": normal(b, steps, kv_heads * d_v),
    }
    order = ["q", "k", "v", "", "", ""]
    if past:
        feeds["s"], order[3] = normal(b, kv_heads, d_k, d_v), "s"
    if "gated" in rule:
        feeds["g"], order[4] = -np.abs(normal(b, steps, kv_heads * (d_k if past else 1))), "g"
    if "delta" in rule:
        feeds["beta"], order[5] = np.abs(normal(b, steps, kv_heads if past else 1)), "beta"
    compare("LinearAttention", feeds, order, 2, opset=27, q_num_heads=heads, kv_num_heads=kv_heads, update_rule=rule)


@pytest.mark.parametrize("activation", ["none", "silu"])
@pytest.mark.parametrize("taps, steps, past", [(1, 5, False), (4, 1, True), (4, 2, False), (3, 37, True)])
def test_causal_convolution(taps: int, steps: int, past: bool, activation: str) -> None:
    rng = np.random.default_rng(steps)
    shapes = {"x": (2, 3, steps), "w": (3, 1, taps)} | ({"b": (3,), "s": (2, 3, taps - 1)} if past else {})
    feeds = {name: rng.normal(size=shape).astype(np.float32) for name, shape in shapes.items()}
    order = ["x", "w", *(["b", "s"] if past else [])]
    compare("CausalConvWithState", feeds, order, 2, opset=27, activation=activation)


@settings(max_examples=25, deadline=None)
@given(
    st.integers(1, 2), st.integers(1, 3), st.integers(2, 7), st.integers(1, 300), st.integers(1, 40),
    st.sampled_from(["", "bool", "float"]), st.booleans(), st.booleans(), st.booleans(), st.integers(0, 2**31),
)  # fmt: skip
def test_one_query_of_heads_that_share_keys(
    b: int, heads: int, group: int, keys: int, size: int, mask: str, by_head: bool, packed: bool, nonpad: bool,
    seed: int,
) -> None:
    rng = np.random.default_rng(seed)
    shape = (b, heads * group if by_head else 1, 1, keys)
    check(b, heads, group, 1, keys, size, size, rng, packed=packed, mask=mask, mask_shape=shape, nonpad=nonpad)
    check(b, heads, group, 1, keys, size, size, rng, packed=packed, past=0 if nonpad else 5, is_causal=1, nonpad=nonpad)
