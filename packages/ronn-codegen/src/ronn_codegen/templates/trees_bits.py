"""Small trees without walking: all tests of a tree for a vector of rows, each of which strikes out leaves.

The leaves of a tree are bits, those under "yes" before those under "no". A test that fails strikes out all leaves under
its "yes"; the first bit that is left after all tests is the leaf that a walk would reach (QuickScorer, Lucchese et al.
2015). Tests need no order and no row waits for another, so rows lie side by side in vectors.
"""

from __future__ import annotations

from functools import partial
from typing import Any

from llvmlite import ir

from ronn_codegen.simd.emit import I32, llvm_call, splat
from ronn_codegen.simd.target import Target
from ronn_codegen.simd.tile import at, emitted, i64, load, loop, pointer, store
from ronn_codegen.simd.types import Vec
from ronn_codegen.templates.trees_table import group_of


def bits(target: Target, words: int, nans: bool) -> Any:
    """The intrinsic (tests, starts, payloads, first, last, columns, out) for trees of at most 32 * ``words`` leaves.

    tests: ``TEST``; starts (i32): where the tests of each tree begin; payloads (i32) [trees, 32 * words]; columns:
    [features, group] of x; out: payloads (i32) [trees, group] of the trees ``first`` to ``last``.
    """
    lanes = target.lanes(32)
    group = group_of(lanes)
    floats, integers = Vec("f32", lanes), Vec("i32", lanes)
    parts = group // lanes

    def emit(b: Any, tests: Any, starts: Any, payloads: Any, first: Any, last: Any, columns: Any, out: Any) -> None:
        test_base, start_base, x, to = (pointer(b, address) for address in (tests, starts, columns, out))

        def word(place: Any, offset: int) -> Any:
            return b.load(at(b, place, offset), typ=I32, align=4)

        def check(index: Any, carried: Any, *, begin: Any) -> Any:
            place = at(b, test_base, b.shl(b.add(begin, index), i64(4)))
            threshold = splat(b, b.load(place, typ=ir.FloatType(), align=4), lanes)
            named = word(place, 4)
            feature = b.and_(named, ir.Constant(I32, 0x7FFFFFFF)) if nans else named
            row = at(b, x, b.mul(b.zext(feature, i64(0).type), i64(4 * group)))
            kept = [splat(b, word(place, 8 + 4 * w), lanes) for w in range(words)]
            new = []
            for part in range(parts):
                value = load(b, floats, at(b, row, 4 * lanes * part))
                passes = b.fcmp_ordered("<=", value, threshold)
                if nans:
                    flag = splat(b, b.icmp_signed("<", named, ir.Constant(I32, 0)), lanes)
                    passes = b.or_(passes, b.and_(b.fcmp_unordered("uno", value, value), flag))
                new.append([b.select(passes, v, b.and_(v, k)) for v, k in zip(carried[part], kept, strict=True)])
            return new

        def first_bit(left: list[Any]) -> Any:
            counts = [
                llvm_call(b, f"llvm.cttz.v{lanes}i32", integers.llvm, v, ir.Constant(ir.IntType(1), 0)) for v in left
            ]
            if words == 1:
                return counts[0]
            upper = b.add(counts[1], splat(b, ir.Constant(I32, 32), lanes))
            return b.select(b.icmp_unsigned("==", left[0], ir.Constant(integers.llvm, None)), upper, counts[0])

        def look_up(table: Any, index: Any) -> Any:
            if words == 1 and target.name == "avx512":
                halves = [load(b, integers, at(b, table, 64 * i)) for i in range(2)]
                name = "llvm.x86.avx512.vpermi2var.d.512"
                return llvm_call(b, name, integers.llvm, halves[0], index, halves[1])
            found = ir.Constant(integers.llvm, ir.Undefined)
            for lane in range(lanes):
                number = b.zext(b.extract_element(index, ir.Constant(I32, lane)), i64(0).type)
                payload = b.load(at(b, table, b.shl(number, i64(2))), typ=I32, align=4)
                found = b.insert_element(found, payload, ir.Constant(I32, lane))
            return found

        def tree(number: Any, carried: Any) -> Any:
            which = b.add(first, number)
            place = at(b, start_base, b.shl(which, i64(2)))
            begin, end = (b.zext(word(place, offset), i64(0).type) for offset in (0, 4))
            ones = ir.Constant(integers.llvm, [-1] * lanes)
            left = loop(b, b.sub(end, begin), [[ones] * words for _ in range(parts)], partial(check, begin=begin))
            table = at(b, pointer(b, payloads), b.mul(which, i64(4 * 32 * words)))
            for part in range(parts):
                place = at(b, to, b.add(b.mul(which, i64(4 * group)), i64(4 * lanes * part)))
                store(b, integers, look_up(table, first_bit(left[part])), place)
            return carried

        loop(b, b.sub(last, first), [], tree)

    return emitted(f"trees_bits_{words}{'_nan' if nans else ''}", " ".join(["i64"] * 7), emit)
