"""Kernels that reach what a processor can do at most: multiply-adds a second, bytes moved a second, launches."""

from __future__ import annotations

from typing import Any

from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import tile
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.types import Vec
from ronn_provider_cpu.engine.layout import chains


@native("multiply_add(sink, rounds)")
def multiply_add(target: Target) -> Any:
    """Each share: ``rounds`` times one multiply-add of ``chains`` vectors of f32; one f32 a share to sink."""
    vec = Vec("f32", target.lanes(32))
    count = chains(target.registers)

    def emit(builder: Any, sink: Any, rounds: Any, share: Any) -> None:
        factor = ir.Constant(vec.llvm, [0.999] * vec.lanes)
        start = [ir.Constant(vec.llvm, [1.0 + i] * vec.lanes) for i in range(count)]

        def step(_: Any, sums: Any) -> Any:
            return [tile.multiply_add(builder, vec, s, factor, factor) for s in sums]

        sums = tile.loop(builder, rounds, start, step)
        total = sums[0]
        for s in sums[1:]:
            total = builder.fadd(total, s)
        one = builder.extract_element(total, ir.Constant(ir.IntType(32), 0))
        place = builder.gep(builder.inttoptr(sink, ir.PointerType()), [share], source_etype=ir.FloatType())
        builder.store(one, place)

    work = tile.emitted("multiply_add_rounds", "i64 i64 i64", emit)

    @njit(error_model="numpy", nogil=True)
    def run(sink, rounds, worker, workers):  # type: ignore[no-untyped-def]
        work(sink, rounds, worker)

    return run


@native("move(source, sink, vectors, times)")
def move(target: Target) -> Any:
    """Copies ``vectors`` vectors, ``times`` times; each share its part of them."""
    vectors_of = VectorType("f32", target.lanes(32))
    load, store, lanes = vectors_of.load, vectors_of.store, vectors_of.lanes

    @njit(error_model="numpy", nogil=True)
    def run(source, sink, vectors, times, worker, workers):  # type: ignore[no-untyped-def]
        first, last = worker * vectors // workers, (worker + 1) * vectors // workers
        for _ in range(times):
            i = first
            while i + 4 <= last:
                a, b = load(source, i * lanes), load(source, (i + 1) * lanes)
                c, d = load(source, (i + 2) * lanes), load(source, (i + 3) * lanes)
                store(sink, i * lanes, a)
                store(sink, (i + 1) * lanes, b)
                store(sink, (i + 2) * lanes, c)
                store(sink, (i + 3) * lanes, d)
                i += 4
            while i < last:
                store(sink, i * lanes, load(source, i * lanes))
                i += 1

    return run


@native("nothing(unused)")
def nothing(target: Target) -> Any:
    """Returns at once: what a launch and a barrier cost is measured with it."""

    @njit(error_model="numpy", nogil=True)
    def run(unused, worker, workers):  # type: ignore[no-untyped-def]
        pass

    return run
