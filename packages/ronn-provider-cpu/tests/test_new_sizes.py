"""Plans of further sizes: bit for bit what a fresh session gives, whatever sizes came before; nothing is compiled."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn.compile import difference, to_specialised
from ronn_codegen.lower import _made

TRANSFORMER = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (int64[B, S] ids, float[B, S] mask) => (float[B, S, 16] y, float[B, 16] pooled) {
        shape = Shape(ids)
        zero = Constant<value = int64[1] {0}>()
        one = Constant<value = int64[1] {1}>()
        two = Constant<value = int64[1] {2}>()
        minus = Constant<value = int64[1] {-1}>()
        four = Constant<value = int64[1] {4}>()
        sixteen = Constant<value = int64[1] {16}>()
        b = Slice(shape, zero, one)
        s = Slice(shape, one, two)
        parted = Concat<axis = 0>(b, s, four, four)
        whole = Concat<axis = 0>(b, s, sixteen)
        x = Gather(table, ids)
        places = Slice(positions, zero, s, zero)
        h = Add(x, places)
        q0 = MatMul(h, wq)
        k0 = MatMul(h, wk)
        v0 = MatMul(h, wv)
        q1 = Reshape(q0, parted)
        k1 = Reshape(k0, parted)
        v1 = Reshape(v0, parted)
        q = Transpose<perm = [0, 2, 1, 3]>(q1)
        k = Transpose<perm = [0, 2, 3, 1]>(k1)
        v = Transpose<perm = [0, 2, 1, 3]>(v1)
        scores = MatMul(q, k)
        half = Constant<value = float {0.5}>()
        scaled = Mul(scores, half)
        axes = Constant<value = int64[2] {1, 2}>()
        wide = Unsqueeze(mask, axes)
        target = Concat<axis = 0>(b, one, s, s)
        spread = Expand(wide, target)
        masked = Add(scaled, spread)
        weights = Softmax<axis = -1>(masked)
        mixed = MatMul(weights, v)
        back = Transpose<perm = [0, 2, 1, 3]>(mixed)
        flat = Reshape(back, whole)
        out = MatMul(flat, wo)
        sum = Add(out, h)
        y = LayerNormalization<axis = -1>(sum, scale, shift)
        middle = ReduceMean<keepdims = 0>(y, one)
        gated = Sigmoid(middle)
        pooled = Mul(middle, gated)
    }"""

IMAGES = """
    <ir_version: 10, opset_import: ["" : 21]>
    g (float[N, 3, H, W] x) => (float[N, 8, P, Q] y) {
        a = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(x, w0, b0)
        sa = Sigmoid(a)
        m = Mul(a, sa)
        c = Conv<kernel_shape = [3, 3], pads = [1, 1, 1, 1]>(m, w1)
        r = Relu(c)
        n = Add(r, m)
        p = MaxPool<kernel_shape = [2, 2], strides = [2, 2]>(n)
        shape = Shape(x)
        two = Constant<value = int64[1] {2}>()
        four = Constant<value = int64[1] {4}>()
        size = Slice(shape, two, four)
        zero = Constant<value = int64[1] {0}>()
        rest = Shape(n)
        channels = Slice(rest, zero, two)
        target = Concat<axis = 0>(channels, size)
        none = Constant<value = float[1] {0}>()
        up = Resize<mode = "nearest">(p, , , target)
        y = Add(up, n)
    }"""

RNG = np.random.default_rng(11)


def weights(**shapes: tuple[int, ...]) -> dict[str, np.ndarray]:
    return {n: (RNG.standard_normal(s) / 4).astype(np.float32) for n, s in shapes.items()}


@cache
def model(which: str) -> bytes:
    if which == "transformer":
        proto, given = onnx.parser.parse_model(TRANSFORMER), weights(
            table=(50, 16), positions=(64, 16), wq=(16, 16), wk=(16, 16), wv=(16, 16), wo=(16, 16), scale=(16,),
            shift=(16,),
        )  # fmt: skip
    else:
        proto, given = onnx.parser.parse_model(IMAGES), weights(w0=(8, 3, 3, 3), b0=(8,), w1=(8, 8, 3, 3))
    proto.graph.initializer.extend(onnx.numpy_helper.from_array(a, n) for n, a in given.items())
    return proto.SerializeToString()


def feed(which: str, sizes: tuple[int, ...]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(sizes)
    if which == "transformer":
        return {"ids": rng.integers(0, 50, sizes), "mask": rng.standard_normal(sizes).astype(np.float32)}
    return {"x": rng.standard_normal((sizes[0], 3, *sizes[1:])).astype(np.float32)}


def fresh(which: str, inputs: Mapping[str, np.ndarray]) -> list[np.ndarray]:
    """What a session gives that has seen no other sizes, in a process that has written no loops."""
    written, made = dict(_made._written), dict(_made._made)
    _made._written.clear()
    _made._made.clear()
    try:
        return list(ronn.Session(model(which), providers=["cpu"]).run(dict(inputs)))
    finally:
        _made._written.update(written)
        _made._made.update(made)


def check(which: str, sizes: list[tuple[int, ...]]) -> None:
    session = ronn.Session(model(which), providers=["cpu"])
    for each in sizes:
        inputs = feed(which, each)
        for ours, theirs in zip(session.run(inputs), fresh(which, inputs), strict=True):
            np.testing.assert_array_equal(ours, theirs, err_msg=f"{each} after {sizes}")


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 3), st.integers(1, 40)), min_size=2, max_size=5))
def test_sequences(sizes: list[tuple[int, ...]]) -> None:
    check("transformer", sizes)


@settings(max_examples=12, deadline=None)
@given(st.lists(st.tuples(st.integers(1, 2), st.integers(1, 9), st.integers(1, 9)), min_size=2, max_size=4))
def test_images(sizes: list[tuple[int, ...]]) -> None:
    check("images", [(n, 2 * h, 2 * w) for n, h, w in sizes])


@pytest.mark.parametrize(
    ("which", "sizes"),
    [
        ("transformer", [(1, 8), (1, 9), (2, 8), (1, 1), (1, 30), (3, 1), (2, 17)]),
        ("images", [(1, 8, 8), (1, 8, 12), (2, 6, 6), (1, 2, 2), (2, 16, 4)]),
    ],
)
def test_verified(which: str, sizes: list[tuple[int, ...]], monkeypatch: pytest.MonkeyPatch) -> None:
    """RONN_VERIFY holds every quick way against the long one."""
    monkeypatch.setenv("RONN_VERIFY", "1")
    session = ronn.Session(model(which), providers=["cpu"])
    for each in sizes:
        session.run(feed(which, each))


def test_the_quick_way_misses_nothing() -> None:
    session = ronn.Session(model("transformer"), providers=["cpu"])
    for length in (8, 9, 13, 64):
        session.run(feed("transformer", (2, length)))
    variant: Any = session._base
    for signature, _ in variant.plans():
        quick = to_specialised(variant.generic(), signature, variant.request, variant._experiences.of(signature))
        full = to_specialised(variant.generic(), signature, variant.request)
        assert difference(quick, full) == ""


def test_nothing_is_compiled_for_further_sizes() -> None:
    session = ronn.Session(model("transformer"), providers=["cpu"])
    for length in (20, 21):
        session.run(feed("transformer", (2, length)))
    before = session.stats().compiles
    for length in range(22, 40):
        session.run(feed("transformer", (2, length)))
    assert session.stats().compiles == before
