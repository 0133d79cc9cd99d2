"""Small classical models in float32: linear scores, support vector machines, what turns scores into labels and
probabilities, and the row transforms before them."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.declare import native
from ronn_codegen.simd import ops
from ronn_codegen.simd.math import vector_math
from ronn_codegen.simd.memory import VectorType
from ronn_codegen.simd.scalar import peek, poke
from ronn_codegen.simd.target import Target
from ronn_codegen.templates.ml_layout import ROWS


def _compile(function: Any) -> Any:
    return njit(error_model="numpy", nogil=True, no_cpython_wrapper=True)(function)


_peek_float, _poke_float, _peek_int, _poke_int = peek("f32"), poke("f32"), peek("i64"), poke("i64")


@cache
def _products(lanes: int) -> Any:
    """``fn(x, count, width, weights, bias, k, y, ld)``: y[count, k] (rows ``ld`` apart) = x @ weights + bias, for at
    most ``ROWS`` rows; weights from ``pack_columns``, bias padded to whole vectors."""
    vector = VectorType("f32", lanes)
    load, store_first, broadcast = vector.load, vector.store_first, vector.broadcast

    @_compile
    def products(x: Any, count: Any, width: Any, weights: Any, bias: Any, k: Any, y: Any, ld: Any) -> None:
        for c in range(0, k, lanes):
            at = c * width
            if count == ROWS:
                a0 = load(bias, c)
                a1, a2, a3 = a0, a0, a0
                for f in range(width):
                    w = load(weights, at + f * lanes)
                    a0 = ops.fma(broadcast(x, f), w, a0)
                    a1 = ops.fma(broadcast(x, width + f), w, a1)
                    a2 = ops.fma(broadcast(x, 2 * width + f), w, a2)
                    a3 = ops.fma(broadcast(x, 3 * width + f), w, a3)
                store_first(y, c, a0, k - c)
                store_first(y, ld + c, a1, k - c)
                store_first(y, 2 * ld + c, a2, k - c)
                store_first(y, 3 * ld + c, a3, k - c)
            else:
                for row in range(count):
                    a0 = load(bias, c)
                    for f in range(width):
                        a0 = ops.fma(broadcast(x, row * width + f), load(weights, at + f * lanes), a0)
                    store_first(y, row * ld + c, a0, k - c)

    return products


@native("linear_f32(x, rows, width, weights, bias, k, y)")
def linear_f32(target: Target) -> Callable[..., None]:
    """y[rows, k] = x[rows, width] @ weights + bias; weights from ``pack_columns``, bias padded to whole vectors."""
    products = _products(target.lanes(32))

    @njit(error_model="numpy", nogil=True)
    def run(x: Any, rows: Any, width: Any, weights: Any, bias: Any, k: Any, y: Any, worker: Any, workers: Any) -> None:
        groups = (rows + ROWS - 1) // ROWS
        for group in range(groups * worker // workers, groups * (worker + 1) // workers):
            at = ROWS * group
            products(x + 4 * at * width, min(ROWS, rows - at), width, weights, bias, k, y + 4 * at * k, k)

    return run


@native("distances_f32(x, rows, width, points, n, root, y)")
def distances_f32(target: Target) -> Callable[..., None]:
    """y[rows, n]: squared distances of x[rows, width] to n points (``pack_columns`` of [width, n]); ``root``: their
    roots. Taken from differences, so that near points keep their digits."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, store_first, broadcast, splat = vector.load, vector.store_first, vector.broadcast, vector.splat
    zero = np.float32(0)

    @_compile
    def block(x: Any, width: Any, points: Any, c: Any, n: Any, root: Any, y: Any) -> None:
        """Four rows by one vector of points."""
        a0 = splat(zero)
        a1, a2, a3 = a0, a0, a0
        for f in range(width):
            p = load(points, c * width + f * lanes)
            d0, d1 = ops.sub(broadcast(x, f), p), ops.sub(broadcast(x, width + f), p)
            d2, d3 = ops.sub(broadcast(x, 2 * width + f), p), ops.sub(broadcast(x, 3 * width + f), p)
            a0, a1, a2, a3 = ops.fma(d0, d0, a0), ops.fma(d1, d1, a1), ops.fma(d2, d2, a2), ops.fma(d3, d3, a3)
        if root:
            a0, a1, a2, a3 = ops.sqrt(a0), ops.sqrt(a1), ops.sqrt(a2), ops.sqrt(a3)
        store_first(y, c, a0, n - c)
        store_first(y, n + c, a1, n - c)
        store_first(y, 2 * n + c, a2, n - c)
        store_first(y, 3 * n + c, a3, n - c)

    @njit(error_model="numpy", nogil=True)
    def run(x: Any, rows: Any, width: Any, points: Any, n: Any, root: Any, y: Any, worker: Any, workers: Any) -> None:
        first, last = rows * worker // workers, rows * (worker + 1) // workers
        for c in range(0, n, lanes):
            at = first
            while at < last:
                if last - at >= ROWS:
                    block(x + 4 * at * width, width, points, c, n, root, y + 4 * at * n)
                    at += ROWS
                else:
                    total = splat(zero)
                    for f in range(width):
                        d = ops.sub(broadcast(x, at * width + f), load(points, c * width + f * lanes))
                        total = ops.fma(d, d, total)
                    if root:
                        total = ops.sqrt(total)
                    store_first(y, at * n + c, total, n - c)
                    at += 1

    return run


@native("scores_f32(raw, rows, k, ld, seen, column, threshold: f32, labels, label, both, post, y)")
def scores_f32(target: Target) -> Callable[..., None]:
    """Labels and transformed scores of raw[rows, k] (rows ``ld`` apart).

    label (int64, 0: not wanted): with column >= 0 that of whether raw[column] > threshold, else of the largest score;
    labels: int64 table, or 0 for the number itself. seen: 0, or where in a row the marks stand of outputs that count.
    both: 0: y is [rows, k]; 1: y is (-s, s) and 2: (1 - s, s) of s = raw[column]. Then the transform ``POSTS[post]``.
    """
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first, splat, iota = vector.load_first, vector.store_first, vector.splat, vector.iota
    load, store, math = vector.load, vector.store, vector_math(lanes)
    zero, one, least, tiny = np.float32(0), np.float32(1), np.float32(-np.inf), np.float32(1e-7)
    exp, sigmoid = math.exp, math.sigmoid

    @_compile
    def find(raw: Any, k: Any, seen: Any) -> Any:
        """The index of the first of the largest scores; NaN is largest."""
        best, at = least, 0
        for c in range(k):
            v = _peek_float(raw, c)
            if seen != 0 and _peek_float(raw, seen + c) == zero:
                v = least
            if v > best or (v != v and best == best):
                best, at = v, c
        return at

    @_compile
    def exponents(y: Any, k: Any, keep_zero: Any) -> Any:
        """Turns the scores y[k] into exponentials of their distance to the peak; gives the sum."""
        peaks = splat(least)
        for c in range(0, k, lanes):
            inside = ops.less(iota(), splat(np.float32(k - c)))
            peaks = ops.propagating_max(peaks, ops.select(inside, load_first(y, c, k - c), peaks))
        peak = splat(ops.reduce_max(peaks))
        total = splat(zero)
        for c in range(0, k, lanes):
            v = load_first(y, c, k - c)
            e = exp(ops.sub(v, peak))
            if keep_zero:
                near = ops.less_equal(ops.absolute(v), splat(tiny))
                e = ops.select(near, ops.mul(v, exp(ops.neg(peak))), e)
            store_first(y, c, e, k - c)
            inside = ops.less(iota(), splat(np.float32(k - c)))
            total = ops.add(total, ops.select(inside, e, splat(zero)))
        return ops.reduce_add(total)

    @_compile
    def softmax(y: Any, k: Any, keep_zero: Any) -> None:
        total = exponents(y, k, keep_zero)
        if keep_zero and total == zero:
            total = one
        for c in range(0, k, lanes):
            store_first(y, c, ops.div(load_first(y, c, k - c), splat(total)), k - c)

    @njit(error_model="numpy", nogil=True)
    def run(
        raw: Any, rows: Any, k: Any, ld: Any, seen: Any, column: Any, threshold: Any, labels: Any, label: Any,
        both: Any, post: Any, y: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        first, last = rows * worker // workers, rows * (worker + 1) // workers
        outputs = k if both == 0 else 2
        for row in range(first, last):
            at = raw + 4 * ld * row
            if label != 0:
                found = find(at, k, seen) if column < 0 else int(_peek_float(at, column) > threshold)
                _poke_int(label, row, found if labels == 0 else _peek_int(labels, found))
            if both != 0:
                s = _peek_float(at, column)
                _poke_float(y, 2 * row, -s if both == 1 else one - s)
                _poke_float(y, 2 * row + 1, s)
            else:
                to = y + 4 * k * row
                if to != at:
                    for c in range(0, k, lanes):
                        store_first(to, c, load_first(at, c, k - c), k - c)
            if post >= 2:
                softmax(y + 4 * outputs * row, outputs, post == 3)
        if post == 1:
            start, stop = first * outputs, last * outputs
            while start < stop:
                if stop - start >= lanes:
                    store(y, start, sigmoid(load(y, start)))
                else:
                    store_first(y, start, sigmoid(load_first(y, start, stop - start)), stop - start)
                start += lanes

    return run


@native(
    "svm_f32(x, rows, width, vectors, norms, zeros, n, kind, gamma: f32, coef0: f32, degree, coefficients, ends,"
    " classes, rho, labels, label, y, scratch, apart)"
)
def svm_f32(target: Target) -> Callable[..., None]:
    """Support vector machines with n vectors (``pack_columns`` of [width, n]) and the kernel ``KERNELS[kind]``.

    classes = 0: y[rows] = kernel values @ coefficients[n] + rho[0]. Else coefficients are [n, classes - 1 padded to
    vectors], vectors are sorted by class and ends[classes] says where each ends; y gets the margins of all pairs
    [rows, pairs] and label[rows] the label with most votes. norms: squares of the vectors; norms and zeros are padded
    to whole vectors. scratch: ``svm_scratch_bytes`` a worker (``apart`` bytes from each other).
    """
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load, store, splat, broadcast = vector.load, vector.store, vector.splat, vector.broadcast
    load_first, store_first = vector.load_first, vector.store_first
    math, products = vector_math(lanes), _products(lanes)
    exp, tanh = math.exp, math.tanh
    zero, two = np.float32(0), np.float32(2)

    @_compile
    def square_of(x: Any, width: Any) -> Any:
        total = splat(zero)
        for f in range(0, width, lanes):
            v = load_first(x, f, width - f)
            total = ops.fma(v, v, total)
        return ops.reduce_add(total)

    @_compile
    def apply(values: Any, n: Any, kind: Any, gamma: Any, coef0: Any, degree: Any, square: Any, norms: Any) -> None:
        """The kernel function of products with n vectors, where they stand."""
        if kind == 0:
            return
        for s in range(0, n, lanes):
            v = load(values, s)
            if kind == 1:
                distance = ops.sub(ops.add(splat(square), load(norms, s)), ops.mul(splat(two), v))
                distance = ops.select(ops.less(distance, splat(zero)), splat(zero), distance)
                v = exp(ops.mul(splat(-gamma), distance))
            else:
                v = ops.add(ops.mul(splat(gamma), v), splat(coef0))
                if kind == 3:
                    v = tanh(v)
                else:
                    base = v
                    for _ in range(1, degree):
                        v = ops.mul(v, base)
            store(values, s, v)

    @_compile
    def weigh(values: Any, n: Any, coefficients: Any) -> Any:
        total = splat(zero)
        for s in range(0, n, lanes):
            total = ops.fma(load_first(values, s, n - s), load_first(coefficients, s, n - s), total)
        return ops.reduce_add(total)

    @_compile
    def sum_classes(values: Any, coefficients: Any, ends: Any, classes: Any, wide: Any, sums: Any) -> None:
        """sums[class, other]: the values of each class's vectors weighted for each other class."""
        s = 0
        for i in range(classes):
            end = _peek_int(ends, i)
            for c in range(0, wide, lanes):
                total = ops.mul(broadcast(values, s), load(coefficients, s * wide + c))
                for at in range(s + 1, end):
                    total = ops.fma(broadcast(values, at), load(coefficients, at * wide + c), total)
                store(sums, i * wide + c, total)
            s = end

    @_compile
    def vote(sums: Any, classes: Any, wide: Any, rho: Any, votes: Any, y: Any) -> Any:
        """The margins of all pairs of classes; gives the class that wins most."""
        for i in range(0, classes, lanes):
            store_first(votes, i, splat(zero), classes - i)
        pair = 0
        for i in range(classes):
            for j in range(i + 1, classes):
                margin = _peek_float(sums, i * wide + j - 1) + _peek_float(sums, j * wide + i) + _peek_float(rho, pair)
                _poke_float(y, pair, margin)
                won = i if margin > zero else j
                _poke_float(votes, won, _peek_float(votes, won) + np.float32(1))
                pair += 1
        best = 0
        for i in range(1, classes):
            if _peek_float(votes, i) > _peek_float(votes, best):
                best = i
        return best

    @njit(error_model="numpy", nogil=True)
    def run(
        x: Any, rows: Any, width: Any, vectors: Any, norms: Any, zeros: Any, n: Any, kind: Any, gamma: Any, coef0: Any,
        degree: Any, coefficients: Any, ends: Any, classes: Any, rho: Any, labels: Any, label: Any, y: Any,
        scratch: Any, apart: Any, worker: Any, workers: Any,
    ) -> None:  # fmt: skip
        padded = (n + lanes - 1) // lanes * lanes
        wide = (classes - 1 + lanes - 1) // lanes * lanes
        pairs = classes * (classes - 1) // 2
        values = scratch + apart * worker
        sums = values + 4 * ROWS * padded
        votes = sums + 4 * classes * wide
        groups = (rows + ROWS - 1) // ROWS
        for group in range(groups * worker // workers, groups * (worker + 1) // workers):
            first = ROWS * group
            many = min(ROWS, rows - first)
            products(x + 4 * first * width, many, width, vectors, zeros, padded, values, padded)
            for i in range(many):
                row, own = first + i, values + 4 * i * padded
                square = square_of(x + 4 * row * width, width) if kind == 1 else zero
                apply(own, n, kind, gamma, coef0, degree, square, norms)
                if classes == 0:
                    _poke_float(y, row, weigh(own, n, coefficients) + _peek_float(rho, 0))
                else:
                    sum_classes(own, coefficients, ends, classes, wide, sums)
                    best = vote(sums, classes, wide, rho, votes, y + 4 * pairs * row)
                    _poke_int(label, row, _peek_int(labels, best))

    return run


@native("scaler_f32(x, rows, width, offset, scale, y)")
def scaler_f32(target: Target) -> Callable[..., None]:
    """y[rows, width] = (x - offset[width]) * scale[width]."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first = vector.load_first, vector.store_first

    @njit(error_model="numpy", nogil=True)
    def run(x: Any, rows: Any, width: Any, offset: Any, scale: Any, y: Any, worker: Any, workers: Any) -> None:
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            at = row * width
            for c in range(0, width, lanes):
                left = width - c
                moved = ops.sub(load_first(x, at + c, left), load_first(offset, c, left))
                store_first(y, at + c, ops.mul(moved, load_first(scale, c, left)), left)

    return run


@native("normalizer_f32(x, rows, width, norm, y)")
def normalizer_f32(target: Target) -> Callable[..., None]:
    """y[rows, width]: rows of x divided by their ``NORMS[norm]``; a row whose norm is 0 stays."""
    lanes = target.lanes(32)
    vector = VectorType("f32", lanes)
    load_first, store_first, splat, iota = vector.load_first, vector.store_first, vector.splat, vector.iota
    zero, one, least = np.float32(0), np.float32(1), np.float32(-np.inf)

    @_compile
    def size_of(x: Any, width: Any, norm: Any) -> Any:
        total = splat(least if norm == 0 else zero)
        for c in range(0, width, lanes):
            v = load_first(x, c, width - c)
            if norm == 0:
                inside = ops.less(iota(), splat(np.float32(width - c)))
                total = ops.propagating_max(total, ops.select(inside, v, total))
            elif norm == 1:
                total = ops.add(total, ops.absolute(v))
            else:
                total = ops.fma(v, v, total)
        if norm == 0:
            return ops.reduce_max(total)
        size = ops.reduce_add(total)
        return np.sqrt(size) if norm == 2 else size

    @njit(error_model="numpy", nogil=True)
    def run(x: Any, rows: Any, width: Any, norm: Any, y: Any, worker: Any, workers: Any) -> None:
        for row in range(rows * worker // workers, rows * (worker + 1) // workers):
            at = 4 * row * width
            size = size_of(x + at, width, norm)
            size = one if size == zero else size
            for c in range(0, width, lanes):
                left = width - c
                store_first(y + at, c, ops.div(load_first(x + at, c, left), splat(size)), left)

    return run
