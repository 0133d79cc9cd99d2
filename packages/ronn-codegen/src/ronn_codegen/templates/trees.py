"""Decision forests: rows find their leaves, and the leaves' weights are added in the order of the trees.

Small trees are evaluated without walking, for a vector of rows at once (``trees_bits``). Through others rows walk: a
step is ``at = child + (value > threshold)`` (nodes: see ``trees_table``), one from a leaf stays there, and walking ends
when a step moves nobody, or after as many steps as the tree has levels. Walking is a chain of dependent loads, so eight
walks run interleaved: eight rows through one tree, or one row through eight trees.

Rows are taken in groups (``group_of``), whose payloads are ``[trees, group]``. A payload is

- a weight (bits of a f32), in forests where all leaves of a tree give one weight to one and the same output; or
- a row of ``dense``, weights ``[leaves, outputs]``, in all others.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import I64, emitted, i64, loop
from ronn_codegen.templates.trees_bits import bits
from ronn_codegen.templates.trees_table import WALKS, group_of

_POINTER, _I32, _F32 = ir.PointerType(), ir.IntType(32), ir.FloatType()


def _walks(across_trees: bool, nans: bool, group: int) -> Any:
    """The intrinsic (nodes, roots, depths, rows, count, out).

    ``count`` times, eight walks run: of eight rows, whose addresses are rows[8], through one tree more each time; or
    ``across_trees``, of the row rows[0] through eight trees more each time. roots (i32) are the nodes to start from,
    depths (i32) say how many steps each time takes at most. ``nans``: whether any node sends NaN to "yes". Payloads go
    to out[tree, group].
    """

    def emit(b: Any, nodes: Any, roots: Any, depths: Any, rows: Any, count: Any, out: Any) -> None:
        base, out = b.inttoptr(nodes, _POINTER), b.inttoptr(out, _POINTER)
        roots, depths, rows = (b.inttoptr(address, _POINTER) for address in (roots, depths, rows))

        def element(place: Any, index: Any, kind: Any) -> Any:
            return b.load(b.gep(place, [i64(index)], source_etype=kind), typ=kind, align=4)

        def node(number: Any) -> Any:
            return b.gep(base, [b.shl(number, i64(4))], source_etype=ir.IntType(8))

        values = [element(rows, 0 if across_trees else i, I64) for i in range(WALKS)]
        values = [b.inttoptr(value, _POINTER) for value in values]

        def step(number: Any, row: Any) -> Any:
            place = node(number)
            threshold, word, child = element(place, 0, _F32), element(place, 1, _I32), element(place, 2, _I32)
            feature = b.and_(word, ir.Constant(_I32, 0x7FFFFFFF)) if nans else word
            value = element(row, b.zext(feature, I64), _F32)
            goes_no = b.fcmp_unordered(">", value, threshold)
            if nans:
                unordered = b.fcmp_unordered("uno", value, value)
                nan_is_yes = b.and_(b.icmp_signed("<", word, ir.Constant(_I32, 0)), unordered)
                goes_no = b.and_(goes_no, b.not_(nan_is_yes))
            return b.zext(b.add(child, b.zext(goes_no, _I32)), I64)

        def walk(number: Any, carried: Any) -> Any:
            first = b.mul(number, i64(WALKS)) if across_trees else number
            starts = [element(roots, b.add(first, i64(i if across_trees else 0)), _I32) for i in range(WALKS)]
            starts = [b.zext(start, I64) for start in starts]
            depth = b.zext(element(depths, number, _I32), I64)
            before, head, done = b.block, b.append_basic_block("steps"), b.append_basic_block("arrived")
            b.branch(head)
            b.position_at_end(head)
            left, here = b.phi(I64), [b.phi(I64) for _ in range(WALKS)]
            nexts = [step(at, row) for at, row in zip(here, values, strict=True)]
            moved = i64(0)
            for at, after in zip(here, nexts, strict=True):
                moved = b.or_(moved, b.xor(after, at))
            fewer = b.sub(left, i64(1))
            for phi, start, after in zip([left, *here], [depth, *starts], [fewer, *nexts], strict=True):
                phi.add_incoming(start, before)
                phi.add_incoming(after, head)
            go_on = b.and_(b.icmp_signed(">", fewer, i64(0)), b.icmp_unsigned("!=", moved, i64(0)))
            b.cbranch(go_on, head, done)
            b.position_at_end(done)
            to = b.gep(out, [b.mul(number, i64(group * (WALKS if across_trees else 1)))], source_etype=_I32)
            for i, at in enumerate(nexts):
                place = b.gep(to, [i64(i * (group if across_trees else 1))], source_etype=_I32)
                b.store(element(node(at), 3, _I32), place, align=4)
            return carried

        loop(b, count, [], walk)

    name = f"trees_{'across' if across_trees else 'rows'}{'_nan' if nans else ''}"
    return emitted(name, "i64 i64 i64 i64 i64 i64", emit)


def _compile(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(function)


_poke_address, _peek_int = poke("i64"), peek("i32")
_peek_float, _poke_float = peek("f32"), poke("f32")
_ZERO = np.float32(0)


@cache
def _reaching(target: Target) -> tuple[Any, Any]:
    """``prepare(table, x, width, count, columns)`` makes ready a group of ``count`` rows from x on, and ``reach(table,
    count, ..., first, last, leaves)`` puts their payloads of trees ``first`` to ``last`` to leaves[trees, group]."""
    group = group_of(target.lanes(32))
    rows_plain, rows_nan = _walks(False, False, group), _walks(False, True, group)
    across_plain, across_nan = _walks(True, False, group), _walks(True, True, group)
    one, one_nan = bits(target, 1, False), bits(target, 1, True)
    two, two_nan = bits(target, 2, False), bits(target, 2, True)

    @_compile
    def prepare(table: Any, x: Any, width: Any, count: Any, columns: Any) -> None:
        for i in range(group):
            row = x + 4 * width * min(i, count - 1)
            _poke_address(table, i, row)
            if columns != 0:
                for f in range(width):
                    _poke_float(columns, f * group + i, _peek_float(row, f))

    @_compile
    def reach(
        table: Any, count: Any, nodes: Any, roots: Any, depths: Any, nans: Any, trees: Any, words: Any, tests: Any,
        starts: Any, payloads: Any, columns: Any, first: Any, last: Any, leaves: Any,
    ) -> None:  # fmt: skip
        if columns != 0:
            if words == 1 and nans:
                one_nan(tests, starts, payloads, first, last, columns, leaves)
            elif words == 1:
                one(tests, starts, payloads, first, last, columns, leaves)
            elif nans:
                two_nan(tests, starts, payloads, first, last, columns, leaves)
            else:
                two(tests, starts, payloads, first, last, columns, leaves)
            return
        many, out, own = last - first, leaves + 4 * group * first, roots + 4 * first
        for start in range(0, count, WALKS):
            part, to = min(WALKS, count - start), out + 4 * start
            if 2 * part > WALKS:
                if nans:
                    rows_nan(nodes, own, depths + 4 * first, table + 8 * start, many, to)
                else:
                    rows_plain(nodes, own, depths + 4 * first, table + 8 * start, many, to)
                continue
            most = depths + 4 * (trees + first // WALKS)
            for row in range(part):
                if nans:
                    across_nan(nodes, own, most, table + 8 * (start + row), many // WALKS, to + 4 * row)
                else:
                    across_plain(nodes, own, most, table + 8 * (start + row), many // WALKS, to + 4 * row)

    return prepare, reach


@native(
    "trees_reach_f32(x, rows, width, nodes, roots, depths, nans, trees, words, tests, starts, payloads, scratch, apart,"
    " leaves)"
)
def trees_reach_f32(target: Target) -> Callable[..., None]:
    """Payloads leaves[trees, group] of one group of rows x; work is shared by trees (a multiple of 8 of them).

    nodes and roots (i32) to walk from; depths: the levels (i32, at least 1) of each tree, then of each eight trees the
    most. words > 0: tests, starts and payloads are those of ``trees_bits`` (its leaves take so many words), which is
    used for more than two rows. scratch: ``reach_bytes`` a worker, ``apart`` bytes from each other. For large forests
    and few rows; ``trees_f32`` then adds the weights up.
    """
    group = group_of(target.lanes(32))
    prepare, reach = _reaching(target)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, rows: Any, width: Any, nodes: Any, roots: Any, depths: Any, nans: Any, trees: Any, words: Any,
        tests: Any, starts: Any, payloads: Any, scratch: Any, apart: Any, leaves: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        parts = trees // WALKS
        table = scratch + apart * worker
        columns = table + 8 * group if words > 0 and rows > 2 else 0
        prepare(table, x, width, rows, columns)
        first, last = WALKS * (parts * worker // workers), WALKS * (parts * (worker + 1) // workers)
        reach(
            table, rows, nodes, roots, depths, nans, trees, words, tests, starts, payloads, columns, first, last, leaves
        )  # fmt: skip

    return run


@native(
    "trees_f32(x, rows, width, nodes, roots, depths, nans, trees, words, tests, starts, payloads, classes, dense, k,"
    " base, count: f32, reached, scratch, apart, y)"
)
def trees_f32(target: Target) -> Callable[..., None]:
    """Scores y[rows, k]: per output the sum of the trees' weights, divided by ``count``, plus base[k].

    The forest as for ``trees_reach_f32``. classes: output (i32) of each tree where payloads are weights, with dense =
    0; else payloads are rows of dense[leaves, k], padded at its end by a vector. base may be 0 (none). ``trees`` is a
    multiple of 8; those that fill up are leaves that weigh 0 (in dense: a row of zeros). reached: 0, or payloads of
    ``trees_reach_f32``, for one group of rows. scratch: ``scratch_bytes`` a worker, ``apart`` bytes from each other.
    Work is shared by groups of rows.
    """
    lanes = target.lanes(32)
    group = group_of(lanes)
    vector, rows_vector = VectorType("f32", lanes), VectorType("f32", group)
    load, store, splat, store_first, load_first = (
        vector.load, vector.store, vector.splat, vector.store_first, vector.load_first
    )  # fmt: skip
    load_group, store_group, splat_group = rows_vector.load, rows_vector.store, rows_vector.splat
    prepare, reach = _reaching(target)

    @_compile
    def add_weights(leaves: Any, trees: Any, classes: Any, k: Any, scores: Any) -> None:
        """scores[k, group] of payloads that are weights."""
        if k == 1:
            total = splat_group(_ZERO)
            for tree in range(trees):
                total = ops.add(total, load_group(leaves, group * tree))
            store_group(scores, 0, total)
            return
        for c in range(k):
            store_group(scores, group * c, splat_group(_ZERO))
        for tree in range(trees):
            at = group * _peek_int(classes, tree)
            store_group(scores, at, ops.add(load_group(scores, at), load_group(leaves, group * tree)))

    @_compile
    def add_rows(leaves: Any, trees: Any, dense: Any, k: Any, row: Any, scores: Any) -> None:
        """scores[k] of one row of a group, of payloads that are rows of ``dense``."""
        for c in range(0, k, lanes):
            total = splat(_ZERO)
            for tree in range(trees):
                total = ops.add(total, load(dense, k * _peek_int(leaves, group * tree + row) + c))
            store(scores, c, total)

    @_compile
    def finish(scores: Any, k: Any, base: Any, count: Any, y: Any) -> None:
        for c in range(0, k, lanes):
            v = ops.div(load(scores, c), splat(count))
            if base != 0:
                v = ops.add(v, load_first(base, c, k - c))
            store_first(y, c, v, k - c)

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, rows: Any, width: Any, nodes: Any, roots: Any, depths: Any, nans: Any, trees: Any, words: Any,
        tests: Any, starts: Any, payloads: Any, classes: Any, dense: Any, k: Any, base: Any, count: Any, reached: Any,
        scratch: Any, apart: Any, y: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        groups = (rows + group - 1) // group
        table = scratch + apart * worker
        own = table + 8 * group + 4 * group * width
        scores = own + 4 * group * trees
        for at in range(groups * worker // workers, groups * (worker + 1) // workers):
            first = group * at
            many = min(group, rows - first)
            leaves = reached
            if reached == 0:
                leaves = own
                columns = table + 8 * group if words > 0 and many > 2 else 0
                prepare(table, x + 4 * width * first, width, many, columns)
                reach(
                    table, many, nodes, roots, depths, nans, trees, words, tests, starts, payloads, columns, 0, trees,
                    leaves,
                )  # fmt: skip
            to = y + 4 * k * first
            if dense != 0:
                for row in range(many):
                    add_rows(leaves, trees, dense, k, row, scores)
                    finish(scores, k, base, count, to + 4 * k * row)
            else:
                add_weights(leaves, trees, classes, k, scores)
                for row in range(many):
                    for c in range(k):
                        v = _peek_float(scores, group * c + row) / count
                        if base != 0:
                            v += _peek_float(base, c)
                        _poke_float(to, k * row + c, v)

    return run
