"""The pieces that register tiles are emitted from: loops, branches and choices that carry values."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numba import njit

from ronn_codegen.simd import tile as t
from ronn_codegen.simd.types import Vec

F4 = Vec("f32", 4)


def run(emit: Any, name: str, params: int, *arguments: int, inline: bool = False) -> None:
    call = t.emitted(name, " ".join(["i64"] * params), emit, inline=inline)
    names = ", ".join(f"a{i}" for i in range(params))
    scope: dict[str, Any] = {"call": call}
    exec(f"def f({names}):\n    call({names})\n    call({names})\n", scope)  # twice: one function in the module
    njit(scope["f"])(*arguments)


@pytest.mark.parametrize("inline", [False, True])
def test_a_loop_carries_nested_values(inline: bool) -> None:
    def emit(builder: Any, count: Any, place: Any) -> None:
        ones = t.load(builder, F4, t.pointer(builder, place))

        def body(i: Any, carried: Any) -> Any:
            [[a, b], number] = carried
            return [[builder.fadd(a, ones), builder.fadd(b, a)], builder.add(number, i)]

        zero = builder.fsub(ones, ones)
        [[a, b], number] = t.loop(builder, count, [[zero, zero], t.i64(0)], body)
        for j, value in enumerate((a, b)):
            t.store(builder, F4, value, t.pointer(builder, builder.add(place, t.i64(16 * (j + 1)))))
        builder.store(number, t.pointer(builder, builder.add(place, t.i64(48))), align=4)

    for count in (0, 1, 5):
        memory = np.ones(16, np.float32)
        run(emit, f"carry{count}", 2, count, memory.ctypes.data, inline=inline)
        assert (memory[4:8] == count).all() and (memory[8:12] == count * (count - 1) / 2).all()
        assert memory[12:14].view(np.int64)[0] == count * (count - 1) // 2


def test_branches_and_choices() -> None:
    def emit(builder: Any, number: Any, place: Any) -> None:
        at = t.pointer(builder, place)

        def case(value: int) -> Any:
            return lambda: builder.store(t.i64(value), at, align=8) and None

        t.choose(builder, number, [case(10), case(20)])
        big = builder.icmp_signed(">", number, t.i64(0))
        [kept] = t.when(builder, big, [t.i64(1)], lambda carried: [builder.add(carried[0], number)])
        builder.store(kept, t.at(builder, at, 8), align=8)

    for number, want in ((0, [10, 1]), (1, [20, 2]), (7, [-1, 8]), (-3, [-1, 1])):
        memory = np.full(2, -1, np.int64)
        run(emit, f"choice{number + 3}", 2, number, memory.ctypes.data)
        assert memory.tolist() == want


@pytest.mark.parametrize("rows, vectors, steps", [(1, 1, 0), (3, 2, 1), (5, 3, 7)])
def test_outer_products(rows: int, vectors: int, steps: int) -> None:
    """Any strides of the operands; the last vector is masked."""
    shape = t.TileShape(rows, vectors, 4)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((steps, rows)).astype(np.float32)
    b = rng.standard_normal((vectors, steps, 4)).astype(np.float32)
    c = np.full((rows, vectors * 4), 7, np.float32)

    def emit(builder: Any, a: Any, b: Any, c: Any, count: Any, apart: Any) -> None:
        mask = t.mask_of(builder, t.i64(3), 4)
        panel = t.Panel(t.pointer(builder, b), 16, vector_stride=apart, mask=mask, fetch=[t.i64(64)])
        left = t.Rows(t.pointer(builder, a), 4, 4 * rows)
        sums = t.outer_products(builder, shape, count, left, panel, t.zeros(shape))

        def put(value: Any, place: Any, j: int) -> Any:
            t.store(builder, shape.vec, value, place, mask if j == vectors - 1 else None)
            return value

        t.each(builder, sums, t.pointer(builder, c), 16 * vectors, 16, put)

    run(emit, f"outer{rows}", 5, *(x.ctypes.data for x in (a, b, c)), steps, 16 * steps)
    want = np.einsum("ki,jkl->ijl", a, b).reshape(rows, -1)
    np.testing.assert_allclose(c[:, :-1], want[:, :-1], rtol=1e-5, atol=1e-6)
    assert (c[:, -1] == 7).all()
