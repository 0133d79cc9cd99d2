"""Kernels for tests of the executor and of guard zones: they show which shares ran, in which order, and misbehave."""

from __future__ import annotations

from typing import Any

from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target

_peek, _poke = peek("i64"), poke("i64")
_poke32 = poke("i32")


@native("count_shares(counts)")
def count_shares(target: Target) -> Any:
    """Adds 1 to counts[share]."""

    @njit(error_model="numpy", nogil=True)
    def run(counts, worker, workers):  # type: ignore[no-untyped-def]
        _poke(counts, worker, _peek(counts, worker) + 1)

    return run


@native("pass_on(source, sink, n)")
def pass_on(target: Target) -> Any:
    """sink[i] = source[i + 1 modulo n] + 1: what one share writes, another one reads in the next step."""

    @njit(error_model="numpy", nogil=True)
    def run(source, sink, n, worker, workers):  # type: ignore[no-untyped-def]
        for i in range(worker * n // workers, (worker + 1) * n // workers):
            _poke(sink, i, _peek(source, (i + 1) % n) + 1)

    return run


@native("nothing(unused)")
def nothing(target: Target) -> Any:
    """Returns at once."""

    @njit(error_model="numpy", nogil=True)
    def run(unused, worker, workers):  # type: ignore[no-untyped-def]
        pass

    return run


@native("add_one(x, y, n, shift)")
def add_one(target: Target) -> Any:
    """y[i] = x[i] + 1 for n int32, ``shift`` elements too far along."""
    get = peek("i32")

    @njit(error_model="numpy", nogil=True)
    def run(x, y, n, shift, worker, workers):  # type: ignore[no-untyped-def]
        for i in range(worker * n // workers, (worker + 1) * n // workers):
            _poke32(y, i + shift, get(x, i) + 1)

    return run
