"""The copy kernel against NumPy: every size of element, any strides, any number of shares, nothing written beside."""

from __future__ import annotations

import numpy as np
import pytest
from guarded import Guarded
from hypothesis import given, settings
from hypothesis import strategies as st
from levels import library_at

from ronn_codegen.native.library import Kernel
from ronn_codegen.templates.jobs import SLOTS, Copies, Side, contiguous

LEVELS = ("native", "avx2", "baseline")
DTYPES = (np.uint8, np.uint16, np.float32, np.int64, np.complex128)


@pytest.fixture(scope="module", params=LEVELS)
def kernel(request: pytest.FixtureRequest) -> Kernel:
    return library_at(request.param).kernel("ronn_codegen.templates.copy", "copy")


def run(kernel: Kernel, copies: Copies, places: list[np.ndarray], workers: int) -> None:
    table = copies.table
    addresses = [a.ctypes.data for a in places] + [0] * (SLOTS - len(places))
    for worker in range(workers):
        kernel(*addresses, table.ctypes.data, len(table), copies.total, worker=worker, workers=workers)


def copied(kernel: Kernel, source: np.ndarray, workers: int = 1, shift: int = 0) -> np.ndarray:
    """A contiguous copy of a strided array, made by the kernel."""
    to = Guarded(source.shape, source.dtype.type, shift)
    copies = Copies()
    copies.add(
        source.shape,
        source.itemsize,
        Side(0, 0, source.strides),
        Side(1, 0, contiguous(source.shape, source.itemsize)),
    )
    run(kernel, copies, [source, to.array], workers)
    to.check()
    return to.array


def filled(shape: tuple[int, ...], dtype: type, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(1, 251, shape).astype(dtype)


@pytest.mark.parametrize("dtype", DTYPES, ids=lambda d: np.dtype(d).name)
@pytest.mark.parametrize(
    "shape, order",
    [
        ((37, 53), (1, 0)), ((3, 1100), (1, 0)), ((1100, 3), (1, 0)), ((4, 70), (1, 0)), ((70, 2), (1, 0)),
        ((9, 11), (1, 0)), ((130, 700), (1, 0)), ((2, 3, 2, 3, 2, 3, 2, 3), (7, 5, 3, 1, 0, 2, 4, 6)),
        ((3, 4, 5, 6, 2, 2), (5, 3, 1, 0, 2, 4)), ((2, 5, 16, 7), (0, 2, 1, 3)), ((20000,), (0,)), ((5, 7, 3, 2, 2),
        (0, 2, 1, 3, 4)),
    ],
)  # fmt: skip
def test_transposes(kernel: Kernel, dtype: type, shape: tuple[int, ...], order: tuple[int, ...]) -> None:
    source = filled(shape, dtype).transpose(order)
    for workers in (1, 3):
        np.testing.assert_array_equal(copied(kernel, source, workers, shift=workers), source)


@settings(max_examples=60, deadline=None)
@given(data=st.data())
def test_any_strides(kernel: Kernel, data: st.DataObject) -> None:
    dtype = data.draw(st.sampled_from(DTYPES))
    rank = data.draw(st.integers(0, 5))
    whole = tuple(data.draw(st.integers(0 if i == 0 else 1, [70, 40, 9, 4, 3][i])) for i in range(rank))
    x = filled(whole, dtype)
    cuts = []
    for n in whole:
        step = data.draw(st.sampled_from([1, 1, 2, 3, -1, -2]))
        low = data.draw(st.integers(0, n))
        cuts.append(slice(low, None, step) if data.draw(st.booleans()) else slice(None, None, step))
    source = np.asarray(x[(*cuts, ...)]).transpose(data.draw(st.permutations(range(rank))))
    if data.draw(st.booleans()):
        source = np.broadcast_to(source[..., None], (*source.shape, data.draw(st.integers(1, 90))))
    got = copied(kernel, source, data.draw(st.integers(1, 5)), data.draw(st.integers(0, 7)))
    np.testing.assert_array_equal(got, source)


@settings(max_examples=30, deadline=None)
@given(
    dtype=st.sampled_from(DTYPES), rows=st.integers(1, 40), widths=st.lists(st.integers(0, 70), min_size=1, max_size=8),
    workers=st.integers(1, 4), upward=st.booleans(),
)  # fmt: skip
def test_several_sources(kernel: Kernel, dtype: type, rows: int, widths: list[int], workers: int, upward: bool) -> None:
    """One call joins several arrays side by side, and takes them apart again; also where the result runs backwards."""
    parts = [filled((rows, w), dtype, i) for i, w in enumerate(widths)]
    to = Guarded((rows, sum(widths)), dtype)
    size = np.dtype(dtype).itemsize
    row, step = contiguous(to.array.shape, size)
    together, apart, at = Copies(), Copies(), 0
    back = [Guarded(p.shape, dtype) for p in parts]
    for i, part in enumerate(parts):
        strides = contiguous(part.shape, size)
        first = at if upward else at + rows * row - row
        side = Side(SLOTS - 1, first, (row if upward else -row, step))
        together.add(part.shape, size, Side(i, 0, strides), side)
        apart.add(part.shape, size, side, Side(i, 0, strides))
        at += part.shape[1] * size
    room = [*parts, *[np.zeros(0, dtype)] * (SLOTS - 1 - len(parts)), to.array]
    run(kernel, together, room, workers)
    to.check()
    np.testing.assert_array_equal(to.array if upward else to.array[::-1], np.concatenate(parts, axis=1))
    run(kernel, apart, [*[b.array for b in back], *room[len(back) :]], workers)
    for b, part in zip(back, parts, strict=True):
        b.check()
        np.testing.assert_array_equal(b.array, part)


def test_a_unit_is_never_large_and_shares_are_even() -> None:
    copies = Copies()
    copies.add((1 << 22,), 4, Side(0, 0, (4,)), Side(1, 0, (4,)))
    assert copies.units >= 2000
    table = copies.table
    assert (table[:, 1] <= 8192).all() and copies.total == (table[:, 1] * table[:, 2]).sum()


def test_dims_beyond_a_job_are_the_smallest() -> None:
    shape, order = (2, 40, 3, 50, 4, 3, 5, 2), (7, 1, 5, 3, 2, 0, 6, 4)
    given = contiguous(shape, 4)
    copies = Copies()
    copies.add([shape[i] for i in order], 4, Side(0, 0, tuple(given[i] for i in order)),
               Side(1, 0, contiguous([shape[i] for i in order], 4)))  # fmt: skip
    assert len(copies.table) == 2 * 3


def test_an_empty_box_is_no_job() -> None:
    copies = Copies()
    copies.add((3, 0), 4, Side(0, 0, (4, 4)), Side(1, 0, (4, 4)))
    assert len(copies.table) == 0 and copies.units == 0
