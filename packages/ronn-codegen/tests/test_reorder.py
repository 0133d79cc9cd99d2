"""Reordering between plain and blocked channels: each element once, zeros in unused lanes, nothing else touched."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ronn_codegen.simd.target import AVX2, AVX512, BASELINE, Target
from ronn_codegen.templates import reorder

TARGETS = [BASELINE, AVX2, AVX512]


@cache
def kernel(name: str, target: Target) -> Any:
    return getattr(reorder, name)(target)


def by_definition(x: np.ndarray, lanes: int) -> np.ndarray:
    """``x[N, C, P]`` as ``[N, C / L, P, L]``."""
    n, c, pixels = x.shape
    blocks = -(-c // lanes)
    padded = np.zeros((n, blocks * lanes, pixels), np.float32)
    padded[:, :c] = x
    return np.ascontiguousarray(padded.reshape(n, blocks, lanes, pixels).transpose(0, 1, 3, 2))


def run(name: str, target: Target, x: np.ndarray, like: np.ndarray, sizes: tuple[int, ...], workers: int) -> np.ndarray:
    """What a kernel writes; fails when it writes outside of an array like ``like``."""
    guard = 32
    y = np.full(like.size + 2 * guard, 7, np.float32)
    for worker in range(workers):
        kernel(name, target)(x.ctypes.data, y.ctypes.data + 4 * guard, *sizes, worker, workers)
    assert (y[:guard] == 7).all() and (y[-guard:] == 7).all()
    return y[guard:-guard].reshape(like.shape)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
@settings(max_examples=40, deadline=None)
@given(n=st.integers(1, 3), c=st.integers(1, 37), pixels=st.integers(1, 300), workers=st.sampled_from([1, 2, 7]))
def test_there_and_back(target: Target, n: int, c: int, pixels: int, workers: int) -> None:
    lanes = target.lanes(32)
    x = np.arange(n * c * pixels, dtype=np.float32).reshape(n, c, pixels) + 1
    last = np.ascontiguousarray(x.transpose(0, 2, 1))
    blocked = by_definition(x, lanes)
    for name, source, wanted in (
        ("block_f32", x, blocked),
        ("block_last_f32", last, blocked),
        ("unblock_f32", blocked, x),
        ("unblock_last_f32", blocked, last),
    ):
        np.testing.assert_array_equal(run(name, target, source, wanted, (n, c, pixels), workers), wanted, err_msg=name)


@pytest.mark.parametrize("target", TARGETS, ids=lambda t: t.name)
def test_what_lies_in_the_unused_lanes_does_not_come_out(target: Target) -> None:
    lanes = target.lanes(32)
    c = lanes + 1
    blocked = np.full((1, 2, 3, lanes), np.nan, np.float32)
    plain = np.ones((1, c, 3), np.float32)
    blocked[:, 0], blocked[:, 1, :, 0] = 1, 1
    np.testing.assert_array_equal(run("unblock_f32", target, blocked, plain, (1, c, 3), 1), plain)
