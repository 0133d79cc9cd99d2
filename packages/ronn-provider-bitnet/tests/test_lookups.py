"""Products by look-up: exact integer sums for every input, in whole models and in the kernels by themselves."""

from __future__ import annotations

import gc
import weakref

import numpy as np
import pytest
from bit_models import product, weights
from hypothesis import given, settings
from hypothesis import strategies as st

import ronn
from ronn_codegen.aligned import aligned_zeros
from ronn_codegen.native.library import library
from ronn_codegen.native.machine import machine
from ronn_provider_bitnet import choice
from ronn_provider_bitnet.choice import Choice, quicker
from ronn_provider_bitnet.kernels import memory
from ronn_provider_bitnet.kernels.lookup_layout import BINARY, FORMS, ROWS, TERNARY, pack_lookups, sums_bytes
from ronn_provider_bitnet.kernels.memory import streamed_zeros
from ronn_provider_cpu.compiling import unusable

WIDE = not unusable() and machine().target.name == "avx512"
needs_words = pytest.mark.skipif(not WIDE, reason="this processor has no permutation of 16-bit words in 512 bits")
GUARD = 64  # elements behind an output that nothing may write


def run(codes, form, a, *, group=0, scales=None, workers=1, level="native"):
    """y of s8 a[planes, m, k] by a kernel alone, with bias 0, steps of 1 and, without groups, scales of 1."""
    (n, k), (planes, m, _), f = codes.shape, a.shape, FORMS[form]
    width = group if group else k
    groups = k // width
    words = f.words(width)
    wide = -(-words * f.step // 16) * 16
    given_ = aligned_zeros((planes * m * groups * wide + 64,), np.int8)
    given_[-64:] = 77  # tables may read it; no result hangs on it
    view = given_[:-64].reshape(planes, m, groups, wide)
    view[..., :width] = a.reshape(planes, m, groups, width)
    sums = np.ascontiguousarray(view.astype(np.int32).sum(-1), np.int32)
    packed = pack_lookups(codes, f, group, scales)
    column = np.zeros(-(-n // ROWS) * ROWS, np.float32)
    factors = column.copy()
    factors[:n] = 1
    room = aligned_zeros((sums_bytes(m, n, planes, workers),), np.uint8)
    y = np.full(m * n + GUARD, np.float32(np.pi))
    kernel = library(level).kernel(
        f"ronn_provider_bitnet.kernels.lookup_{form}",
        f"{form}_{'groups' if group else 'rows'}_{'bytes' if planes == 1 else 'words'}",
    )
    steps = np.ones(m, np.float32)
    arrays = packed, factors, sums, steps, column, room, y
    places = [array.ctypes.data for array in arrays]
    for worker in range(workers):
        kernel(given_.ctypes.data, m, groups, words, wide, n, *places, 0, 0.0, 0.0, worker=worker, workers=workers)
    assert (y[m * n :] == np.float32(np.pi)).all()
    return y[: m * n].reshape(m, n)


def exact(codes, form, a, group=0, scales=None):
    k = codes.shape[1]
    whole = a[0].astype(np.int64) if len(a) == 1 else 256 * a[0].astype(np.int64) + a[1]
    w = 2 * codes.astype(np.int64) - 1 if form == "binary" else codes.astype(np.int64) - 1
    if not group:
        return (whole @ w.T).astype(np.float32)
    parts = [slice(i, i + group) for i in range(0, k, group)]
    return sum((whole[:, p] @ w[:, p].T) * scales[:, i].astype(np.float64) for i, p in enumerate(parts))


@needs_words
@pytest.mark.parametrize("level", ["native", "avx512"])
@pytest.mark.parametrize("form", ["binary", "ternary"])
@pytest.mark.parametrize("planes", [1, 2])
def test_the_largest_sums_there_are(form, planes, level):
    k, n, top = 4096 + 70, 131, FORMS[form].base - 1
    for code in (0, top):
        codes = np.full((n, k), code, np.uint8)
        for value in (-128, 127):
            a = np.full((planes, 5, k), value, np.int8)
            np.testing.assert_array_equal(run(codes, form, a, level=level), exact(codes, form, a))
    codes = np.arange(n * k).reshape(n, k).astype(np.uint8) % 2 * np.uint8(top)
    a = np.where(np.arange(k) % 2, 127, -128).astype(np.int8) * np.ones((planes, 3, 1), np.int8)
    np.testing.assert_array_equal(run(codes, form, a, level=level), exact(codes, form, a))


@needs_words
@settings(max_examples=40, deadline=None, derandomize=True)
@given(
    st.sampled_from(["binary", "ternary"]), st.sampled_from([1, 2]), st.integers(1, 40), st.integers(1, 300),
    st.integers(1, 600), st.integers(1, 4), st.integers(0, 1000),
)  # fmt: skip
def test_any_shape_is_exact(form, planes, m, n, k, workers, seed):
    r = np.random.default_rng(seed)
    codes = r.integers(0, FORMS[form].base, (n, k)).astype(np.uint8)
    a = r.integers(-128, 128, (planes, m, k)).astype(np.int8)
    np.testing.assert_array_equal(run(codes, form, a, workers=workers), exact(codes, form, a))


@needs_words
@settings(max_examples=30, deadline=None, derandomize=True)
@given(
    st.sampled_from(["binary", "ternary"]), st.sampled_from([1, 2]), st.integers(1, 9), st.integers(1, 150),
    st.sampled_from([16, 32, 50, 64, 128, 250]), st.integers(1, 5), st.integers(0, 1000),
)  # fmt: skip
def test_groups_of_any_size(form, planes, m, n, group, groups, seed):
    r = np.random.default_rng(seed)
    codes = r.integers(0, FORMS[form].base, (n, group * groups)).astype(np.uint8)
    a = r.integers(-128, 128, (planes, m, group * groups)).astype(np.int8)
    scales = r.uniform(0.5, 2, (n, groups)).astype(np.float32)
    expected = exact(codes, form, a, group, scales)
    found = run(codes, form, a, group=group, scales=scales)
    assert np.abs(found - expected).max() <= 1e-6 * groups * max(np.abs(expected).max(), 256**planes * group)


@needs_words
@pytest.mark.parametrize("zeros", [True, False])
@pytest.mark.parametrize("m", [1, 2, 7, 70])
def test_models_choose_look_ups_and_stay_exact(zeros, m):
    k, n = 700, 1030
    w = weights(k, n, zeros=zeros, scale=1.0)
    s = ronn.Session(product(w, quantised=True), providers=["bitnet"], options={"threads": 2})
    x = np.random.default_rng(m).integers(-127, 128, (m, k)).astype(np.float32)
    x[:, 3] = 127
    np.testing.assert_array_equal(s.run(x)[0], (x.astype(np.int64) @ w.astype(np.int64)).astype(np.float32))
    words = -(-k // (9 if zeros else 16))
    assert 2 * words * 1152 <= s.memory().packed < 2.2 * words * 1152 + 16 * n


@needs_words
def test_look_ups_and_dots_give_the_same_bits(monkeypatch):
    x = np.random.default_rng(0).standard_normal((6, 640)).astype(np.float32)
    bias = np.random.default_rng(1).standard_normal(600).astype(np.float32)
    for zeros in (True, False):
        for quantised in (True, False):
            model, found = product(weights(640, 600, zeros=zeros), quantised=quantised, bias=bias), []
            for gain in (0.5, 2.0):
                measured = Choice(600, 640, (1,), (gain,), (1.0,))
                monkeypatch.setattr("ronn_provider_bitnet.lower._lookups.quicker", lambda *_, m=measured, **__: m)
                found.append(ronn.Session(model, providers=["bitnet"]).run(x)[0])
            np.testing.assert_array_equal(*found)


def test_words_hold_every_sum_of_a_chunk():
    for form, values in ((BINARY, (0, 1)), (TERNARY, (-1, 1))):
        sums = [v * a * form.step * form.most for v in values for a in (-128, 127)]
        assert min(sums) >= -32768 and max(sums) <= 32767
        assert form.shifts[-1] + form.widths[-1] <= 16
        assert 128 * max(form.fields) * 2 <= 32767


def test_the_table_has_every_choice_and_tells_of_it():
    for weights_ in FORMS:
        for planes in (1, 2):
            for grouped in (False, True):
                for dot in (False, True):
                    for n, k in ((1, 1), (100, 5000), (10**5, 10**5)):
                        found = quicker(weights_, planes, n, k, grouped, dot)
                        assert min(*found.dots, *found.lookups) > 0 and len(found.dots) == len(found.rows)
    assert len(choice.table()) == 16
    assert str(Choice(64, 128, (1,), (3.0,), (2.0,))) == (
        "by look-up: 1.50 x as quick as dots where that was measured, for 64 x 128"
    )


def test_large_arrays_lie_apart_and_give_their_memory_back():
    first, second = streamed_zeros((1 << 19,), np.int16), streamed_zeros((3, 1 << 20), np.uint8)
    small = streamed_zeros((5,), np.float32)
    for array in (first, second, small):
        assert array.ctypes.data % 64 == 0 and not array.any()
    first[:], second[:] = 1, 2
    assert (first == 1).all() and (second == 2).all()
    block = memory._blocks._current()
    assert block is not None and first.base.nbytes == first.nbytes
    left = weakref.ref(block)
    del first, second, array, block
    gc.collect()
    assert left() is None
