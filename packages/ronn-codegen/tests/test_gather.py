"""Gather and scatter kernels against NumPy: every size of element, shares that agree, indices out of range flagged,
nothing written beside."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import library_at

from ronn_codegen.native.library import Kernel
from ronn_codegen.templates.jobs import REDUCTION_KINDS, REDUCTIONS

LEVELS = ("native", "avx2", "baseline")
DTYPES = (np.uint8, np.uint16, np.float32, np.int64, np.complex128)
UPDATES = {"add": np.add, "mul": np.multiply, "max": np.maximum, "min": np.minimum}
FEW = settings(max_examples=20, deadline=None)
Find = Callable[[str], Kernel]


@pytest.fixture(scope="module", params=LEVELS)
def find(request: pytest.FixtureRequest) -> Find:
    """Kernels by name."""
    kernels = library_at(request.param)
    modules = {"gather": "gather", "gather_elements": "gather", "gather_nd": "gather"}
    return lambda name: kernels.kernel(f"ronn_codegen.templates.{modules.get(name, 'scatter')}", name)


def shared(kernel: Kernel, workers: int, *arguments: Any) -> None:
    given = [
        a.address if isinstance(a, Guarded) else a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments
    ]
    for worker in range(workers):
        kernel(*given, worker=worker, workers=workers)
    for a in arguments:
        if isinstance(a, Guarded):
            a.check()


def filled(shape: tuple[int, ...], dtype: Any, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 100, shape).astype(dtype)


@FEW
@given(
    outer=st.integers(1, 4), axis=st.integers(1, 9), inner=st.integers(1, 70), count=st.integers(1, 9),
    dtype=st.sampled_from(DTYPES), wide=st.booleans(), workers=st.integers(1, 5), block=st.sampled_from([16, 48, 4096]),
)  # fmt: skip
def test_rows(
    find: Find, outer: int, axis: int, inner: int, count: int, dtype: Any, wide: bool, workers: int, block: int
) -> None:
    x = filled((outer, axis, inner), dtype)
    indices = np.random.default_rng(1).integers(-axis, axis, count).astype(np.int64 if wide else np.int32)
    y, status = Guarded((outer, count, inner), dtype), np.zeros(1, np.int64)
    shared(find("gather"), workers, x, indices, y, status, wide, outer, axis, count, inner * x.itemsize, block)
    np.testing.assert_array_equal(y.array, np.take(x, indices, axis=1))
    assert status[0] == 0


@pytest.mark.parametrize("bad", [3, -4, 2**40, -(2**62)])
def test_rows_out_of_range(find: Find, bad: int) -> None:
    x, indices = filled((3, 5), np.float32), np.array([1, bad, 2])
    y, status = Guarded((3, 5), np.float32), np.zeros(1, np.int64)
    shared(find("gather"), 2, x, indices, y, status, 1, 1, 3, 3, 20, 4096)
    assert status[0] == 1
    np.testing.assert_array_equal(y.array[[0, 2]], x[[1, 2]])


@FEW
@given(
    shape=st.tuples(st.integers(1, 5), st.integers(1, 6), st.integers(1, 7)), dtype=st.sampled_from(DTYPES),
    workers=st.integers(1, 3), how=st.sampled_from(["none", *REDUCTIONS]),
)  # fmt: skip
def test_elements_of_the_middle_axis(
    find: Find, shape: tuple[int, int, int], dtype: Any, workers: int, how: str
) -> None:
    """x[a, n, b] at indices of its own shape: gathered, then scattered onto another tensor."""
    a, n, b = shape
    x, other = filled(shape, dtype), filled(shape, dtype, 5)
    size = x.itemsize
    indices = np.random.default_rng(2).integers(-n, n, shape)
    status, y = np.zeros(1, np.int64), Guarded(shape, dtype)
    table = np.array([[a, n * b * size], [n, 0]], np.int64)
    walk = (size, n, b * size, table, 2, a * n, b, size)
    shared(find("gather_elements"), workers, x, indices, y, status, 1, *walk)
    np.testing.assert_array_equal(y.array, np.take_along_axis(x, indices % n, axis=1))
    kind = {"f": "f", "i": "i", "u": "u"}.get(x.dtype.kind)
    code = 0
    if how != "none" and kind is not None:
        code = 16 * (1 + REDUCTIONS.index(how)) + REDUCTION_KINDS.index(f"{kind}{8 * size}")
    to, want = Guarded.of(other), other.copy()
    shared(find("scatter_elements"), workers, x, indices, to, status, 1, code, *walk, a)
    place = (np.arange(a)[:, None, None], indices % n, np.arange(b))
    if code:
        UPDATES[how].at(want, place, x)
    else:
        want[place] = x
    np.testing.assert_array_equal(to.array, want)
    assert status[0] == 0


@FEW
@given(
    sizes=st.tuples(st.integers(1, 5), st.integers(1, 6)), inner=st.integers(1, 40), rows=st.integers(1, 9),
    dtype=st.sampled_from([np.float32, np.float64, np.int8, np.uint8, np.int16, np.int32, np.uint32, np.int64]),
    workers=st.integers(1, 4), how=st.sampled_from(["none", *REDUCTIONS]),
)  # fmt: skip
def test_coordinates(
    find: Find, sizes: tuple[int, int], inner: int, rows: int, dtype: Any, workers: int, how: str
) -> None:
    x = filled((*sizes, inner), dtype)
    size = x.itemsize
    indices = np.random.default_rng(rows).integers([-n for n in sizes], sizes, (rows, 2))
    table = np.array([[sizes[0], sizes[1] * inner * size], [sizes[1], inner * size]], np.int64)
    status, y = np.zeros(1, np.int64), Guarded((rows, inner), dtype)
    shared(find("gather_nd"), workers, x, indices, y, status, 1, 2, table, rows, rows, 0, inner * size, 32)
    place = (indices[:, 0], indices[:, 1])
    np.testing.assert_array_equal(y.array, x[place])
    to, want, updates = Guarded.of(x), x.copy(), filled((rows, inner), dtype, 7)
    kind = f"{np.dtype(dtype).kind}{8 * size}"
    code = 0 if how == "none" else 16 * (1 + REDUCTIONS.index(how)) + REDUCTION_KINDS.index(kind)
    shared(find("scatter_nd"), workers, updates, indices, to, status, 1, code, size, 2, table, rows, inner)
    if code:
        UPDATES[how].at(want, place, updates)
    else:
        for r in range(rows):
            want[indices[r, 0], indices[r, 1]] = updates[r]
    np.testing.assert_array_equal(to.array, want)
    bad = indices.copy()
    bad[-1, 1] = sizes[1]
    shared(find("scatter_nd"), workers, updates, bad, to, status, 1, code, size, 2, table, rows, inner)
    assert status[0] == 1


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize("wide", [False, True])
def test_single_elements(find: Find, dtype: Any, wide: bool) -> None:
    x = filled((3, 50), dtype)
    indices = np.random.default_rng(0).integers(-50, 50, 41).astype(np.int64 if wide else np.int32)
    y, status = Guarded((3, 41), dtype), np.zeros(1, np.int64)
    for workers in (1, 4, 7):
        y.array[...] = 0
        shared(find("gather"), workers, x, indices, y, status, wide, 3, 50, 41, x.itemsize, 4096)
        np.testing.assert_array_equal(y.array, x[:, indices])
        assert status[0] == 0
    indices[[0, -1]] = 50, -51
    shared(find("gather"), 2, x, indices, y, status, wide, 3, 50, 41, x.itemsize, 4096)
    np.testing.assert_array_equal(y.array[:, 1:-1], x[:, indices[1:-1]])
    assert status[0] == 1
