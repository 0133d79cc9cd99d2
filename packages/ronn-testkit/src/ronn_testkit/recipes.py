"""How to make valid inputs for an operator: one recipe an operator, drawn by hypothesis for every dtype."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import strategies as st

from ronn_testkit.models import Case
from ronn_testkit.values import FLOATS, INTS, broadcastable, fill, shapes

Draw = Callable[[Any], Any]

OPSET = 21


@dataclass(frozen=True)
class Recipe:
    """``make(draw, dtype)`` gives a case of the operator; ``dtypes`` are those that its first input may have."""

    op: str
    dtypes: tuple[str, ...]
    make: Callable[[Draw, str], Case]

    def cases(self, dtype: str) -> st.SearchStrategy[Case]:
        """Cases with inputs of ``dtype``."""
        return st.composite(lambda draw: self.make(draw, dtype))()


RECIPES: dict[str, Recipe] = {}


def _add(ops: str, dtypes: Sequence[str], make: Callable[[Draw, str, str], Case]) -> None:
    for op in ops.split():
        RECIPES[op] = Recipe(op, tuple(dtypes), functools.partial(_of_op, make, op))


def _of_op(make: Callable[[Draw, str, str], Case], op: str, draw: Draw, dtype: str) -> Case:
    return make(draw, dtype, op)


def _seed(draw: Draw) -> int:
    return int(draw(st.integers(0, 999)))


# --- elementwise


def _unary(level: str, *, specials: bool = True, **attributes: Any) -> Callable[[Draw, str, str], Case]:
    def make(draw: Draw, dtype: str, op: str) -> Case:
        x = fill(draw(shapes()), dtype, _seed(draw), specials=specials and bool(draw(st.booleans())))
        return Case(op, (x,), attributes, opset=OPSET, level=level)

    return make


_add("Identity Neg Abs Ceil Floor Sign Relu", FLOATS, _unary("exact"))
_add("Round", ("float32", "float64", "float16"), _unary("exact"))
_add("Sqrt Reciprocal", FLOATS, _unary("rounded"))
_add(
    "Exp Log Sigmoid Tanh Sin Cos Tan Asin Acos Atan Sinh Cosh Asinh Acosh Atanh Erf Softplus Softsign Elu Selu Mish "
    "Gelu HardSigmoid Celu LeakyRelu ThresholdedRelu Shrink",
    ("float32", "float64", "float16"),
    _unary("close", specials=False),
)
_add("HardSwish", ("float32", "float64", "float16"), _unary("single", specials=False))
_add("IsNaN IsInf", ("float32", "float64"), _unary("exact"))
_add("Not", ("bool",), _unary("exact"))
_add("BitwiseNot", INTS, _unary("exact"))


def _binary(level: str, *, low: float = -3, specials: bool = True) -> Callable[[Draw, str, str], Case]:
    def make(draw: Draw, dtype: str, op: str) -> Case:
        a, b = draw(broadcastable())
        hard = specials and bool(draw(st.booleans()))
        seed = _seed(draw)
        y = fill(b, dtype, seed + 1, low=low, specials=hard)
        return Case(op, (fill(a, dtype, seed, low=low, specials=hard), y), {}, opset=OPSET, level=level)

    return make


def _divide(draw: Draw, dtype: str, op: str) -> Case:
    a, b = draw(broadcastable())
    seed = _seed(draw)
    fmod = {"fmod": 1} if op == "Mod" and dtype in FLOATS else {}
    x = fill(a, dtype, seed, low=-99, high=99)
    return Case(op, (x, fill(b, dtype, seed + 1, low=1, high=7)), fmod, opset=OPSET, level="rounded")


def _power(draw: Draw, dtype: str, op: str) -> Case:
    a, b = draw(broadcastable())
    seed = _seed(draw)
    base = fill(a, dtype, seed, low=0 if dtype in FLOATS else -3)
    return Case(op, (base, fill(b, dtype, seed + 1, low=0)), {}, opset=OPSET, level="close")


def _shift(draw: Draw, dtype: str, op: str) -> Case:
    a, b = draw(broadcastable())
    x = fill(a, dtype, _seed(draw), specials=True)
    side = {"direction": draw(st.sampled_from(["LEFT", "RIGHT"]))}
    return Case(op, (x, fill(b, dtype, 5, low=0, high=7)), side, opset=OPSET, level="exact")


_NUMBERS = (*FLOATS, *INTS)
_add("Add Sub Mul", _NUMBERS, _binary("rounded"))
_add("Div Mod", _NUMBERS, _divide)
_add("Pow", ("float32", "float64", "int32", "int64"), _power)
_add("Equal Less Greater LessOrEqual GreaterOrEqual", _NUMBERS, _binary("exact"))
_add("And Or Xor", ("bool",), _binary("exact"))
_add("BitwiseAnd BitwiseOr BitwiseXor", INTS, _binary("exact"))
_add("BitShift", ("uint8", "uint16", "uint32", "uint64"), _shift)
_add("PRelu", ("float32", "float64"), lambda draw, dtype, op: _prelu(draw, dtype))


def _prelu(draw: Draw, dtype: str) -> Case:
    shape = draw(shapes(min_rank=1))
    slope = tuple(1 if draw(st.booleans()) else d for d in shape)
    return Case("PRelu", (fill(shape, dtype, _seed(draw)), fill(slope, dtype, 3)), {}, opset=OPSET, level="rounded")


def _variadic(level: str) -> Callable[[Draw, str, str], Case]:
    def make(draw: Draw, dtype: str, op: str) -> Case:
        several = draw(broadcastable(count=draw(st.integers(1, 3))))
        arrays = tuple(fill(s, dtype, i + _seed(draw)) for i, s in enumerate(several))
        return Case(op, arrays, {}, opset=OPSET, level=level)

    return make


_add("Max Min", (*FLOATS, *INTS), _variadic("exact"))
_add("Sum Mean", ("float32", "float64"), _variadic("close"))


def _where(draw: Draw, dtype: str, op: str) -> Case:
    c, a, b = draw(broadcastable(count=3))
    seed = _seed(draw)
    arrays = (fill(c, "bool", seed), fill(a, dtype, seed + 1, specials=True), fill(b, dtype, seed + 2))
    return Case(op, arrays, {}, opset=OPSET, level="exact")


def _clip(draw: Draw, dtype: str, op: str) -> Case:
    low, high = (fill((), dtype, 1, low=v, high=v) for v in ((0, 2) if dtype.startswith("u") else (-1, 2)))
    given = draw(st.sampled_from([(low, high), (low, None), (None, high), ()]))
    x = fill(draw(shapes()), dtype, _seed(draw), low=-9, high=9)
    return Case(op, (x, *given), {}, constants=frozenset({1, 2}), opset=OPSET, level="exact")


def _cast(draw: Draw, dtype: str, op: str) -> Case:
    from ronn.ir.types import DType

    to = draw(st.sampled_from(("float32", "float64", "float16", "int32", "int64", "uint8", "bool")))
    x = fill(draw(shapes()), dtype, _seed(draw), low=0, high=100)
    return Case(op, (x,), {"to": DType.from_name(to).code}, opset=OPSET, level="exact")


_add("Where", (*FLOATS, *INTS, "bool"), _where)
_add("Clip", ("float32", "float64", "float16", "int8", "int32", "int64", "uint8"), _clip)
_add("Cast", (*FLOATS, *INTS, "bool"), _cast)

# --- along axes


def _reduction(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    axes = sorted(draw(st.sets(st.integers(0, len(shape) - 1), min_size=1)))
    signed = [a - len(shape) if draw(st.booleans()) else a for a in axes]
    low = 0.5 if op in ("ReduceLogSum", "ReduceProd") else -3
    x = fill(shape, dtype, _seed(draw), low=low, high=1.5 if op == "ReduceProd" else 3)
    level = "exact" if op in ("ReduceMax", "ReduceMin") else "sums"
    return Case(
        op, (x, np.array(signed, np.int64)), {"keepdims": draw(st.integers(0, 1))}, constants=frozenset({1}),
        opset=OPSET, level=level,
    )  # fmt: skip


def _arg(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    given = {
        "axis": draw(st.integers(-len(shape), len(shape) - 1)),
        "keepdims": draw(st.integers(0, 1)),
        "select_last_index": draw(st.integers(0, 1)),
    }
    return Case(op, (fill(shape, dtype, _seed(draw)),), given, opset=OPSET, level="exact")


def _softmax(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    return Case(op, (fill(shape, dtype, _seed(draw), low=-9, high=9),), {"axis": axis}, opset=OPSET, level="close")


def _cumsum(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    axis = np.array(draw(st.integers(-len(shape), len(shape) - 1)), np.int64)
    given = {"exclusive": draw(st.integers(0, 1)), "reverse": draw(st.integers(0, 1))}
    return Case(op, (fill(shape, dtype, _seed(draw)), axis), given, constants=frozenset({1}), opset=OPSET, level="sums")


_add(
    "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceL1 ReduceL2 ReduceLogSum ReduceLogSumExp "
    "ReduceSumSquare",
    ("float32", "float64"),
    _reduction,
)
_add("ArgMax ArgMin", ("float32", "float64", "int32", "int64", "uint8"), _arg)
_add("Softmax LogSoftmax Hardmax", ("float32", "float64", "float16"), _softmax)
_add("CumSum", ("float32", "float64", "int32", "int64"), _cumsum)

# --- products and windows


def _matmul(draw: Draw, dtype: str, op: str) -> Case:
    size = st.sampled_from((1, 2, 3, 8, 17, 33))
    m, k, n = draw(size), draw(size), draw(size)
    left, right = draw(st.sampled_from([((), ()), ((2,), (2,)), ((2, 3), (1, 3)), ((2,), ())]))
    a, b = (*left, m, k), (*right, k, n)
    if draw(st.booleans()) and not left:
        a, b = draw(st.sampled_from([((k,), b), (a, (k,)), ((k,), (k,))]))
    seed = _seed(draw)
    return Case(op, (fill(a, dtype, seed), fill(b, dtype, seed + 1)), {}, opset=OPSET, level="sums")


def _gemm(draw: Draw, dtype: str, op: str) -> Case:
    size = st.sampled_from((1, 3, 8, 17))
    m, k, n = draw(size), draw(size), draw(size)
    ta, tb = draw(st.integers(0, 1)), draw(st.integers(0, 1))
    c = draw(st.sampled_from([None, (), (n,), (m, 1), (m, n)]))
    arrays = (
        fill((k, m) if ta else (m, k), dtype, _seed(draw)),
        fill((n, k) if tb else (k, n), dtype, 2),
        *(() if c is None else (fill(c, dtype, 3),)),
    )
    given = {"transA": ta, "transB": tb, "alpha": 0.5, "beta": 2.0}
    return Case(op, arrays, given, opset=OPSET, level="sums")


def _conv(draw: Draw, dtype: str, op: str) -> Case:
    groups, per_in, per_out = draw(st.sampled_from([(1, 3, 5), (2, 2, 3), (4, 1, 1)]))
    kernel = draw(st.sampled_from([(1, 1), (3, 3), (3, 2)]))
    size = (draw(st.integers(5, 9)), draw(st.integers(5, 9)))
    given = {
        "group": groups,
        "kernel_shape": list(kernel),
        "strides": [draw(st.integers(1, 2))] * 2,
        "pads": draw(st.sampled_from([[0] * 4, [1] * 4, [1, 0, 0, 1]])),
        "dilations": draw(st.sampled_from([[1, 1], [2, 1]])),
    }
    x = fill((draw(st.integers(1, 2)), groups * per_in, *size), dtype, _seed(draw))
    w = fill((groups * per_out, per_in, *kernel), dtype, 4)
    bias = (fill((groups * per_out,), dtype, 5),) if draw(st.booleans()) else ()
    return Case(op, (x, w, *bias), given, opset=OPSET, level="sums")


def _pool(draw: Draw, dtype: str, op: str) -> Case:
    x = fill((1, 3, draw(st.integers(5, 9)), draw(st.integers(5, 9))), dtype, _seed(draw))
    if op.startswith("Global"):
        return Case(op, (x,), {}, opset=OPSET, level="sums")
    given: dict[str, Any] = {
        "kernel_shape": [3, 2],
        "strides": [draw(st.integers(1, 2)), 1],
        "pads": draw(st.sampled_from([[0] * 4, [1, 1, 1, 1], [1, 0, 0, 1]])),
    }
    if op == "AveragePool":
        given["count_include_pad"] = draw(st.integers(0, 1))
    return Case(op, (x,), given, opset=OPSET, level="exact" if op == "MaxPool" else "sums")


def _layer_norm(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=2, empty=False))
    x, scale, bias = fill(shape, dtype, _seed(draw)), fill(shape[-1:], dtype, 6), fill(shape[-1:], dtype, 7)
    return Case(op, (x, scale, bias), {"axis": -1, "epsilon": 1e-3}, opset=OPSET, level="sums")


_add("MatMul", ("float32", "float64", "float16", "int32", "int64"), _matmul)
_add("Gemm", ("float32", "float64"), _gemm)
_add("Conv", ("float32", "float64"), _conv)
_add("MaxPool AveragePool GlobalAveragePool GlobalMaxPool", ("float32", "float64"), _pool)
_add("LayerNormalization", ("float32", "float64"), _layer_norm)

# --- movement

_ANY = ("float32", "float16", "float64", "int64", "int32", "int8", "uint8", "bool")


def _moved(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1))
    x = fill(shape, dtype, _seed(draw), specials=True)
    rank = len(shape)
    axis = draw(st.integers(-rank, rank - 1))
    constants: tuple[Any, ...] = ()
    given: dict[str, Any] = {}
    match op:
        case "Transpose":
            given["perm"] = list(draw(st.permutations(range(rank))))
        case "Flatten":
            given["axis"] = draw(st.integers(-rank, rank))
        case "Reshape":
            constants = (np.array([*shape[::-1], 1], np.int64),)
            given["allowzero"] = 1
        case "Unsqueeze":
            constants = (np.array(draw(st.sampled_from([[0], [-1], [0, rank + 1]])), np.int64),)
        case "Squeeze":
            x = x.reshape(1, *shape)
            constants = (np.array([0], np.int64),)
        case "Expand":
            constants = (np.array([2, *shape], np.int64),)
        case "Tile":
            constants = (np.array([draw(st.integers(0, 2)) for _ in shape], np.int64),)
        case "Slice":
            start, end = draw(st.integers(-6, 6)), draw(st.integers(-6, 6))
            step = draw(st.sampled_from([1, 2, -1, -2]))
            constants = tuple(np.array([v], np.int64) for v in (start, end, axis, step))
        case "Concat":
            given["axis"] = axis
            return Case(op, (x, fill(shape, dtype, 8)), given, opset=OPSET, level="exact")
    return Case(op, (x, *constants), given, constants=frozenset(range(1, 9)), opset=OPSET, level="exact")


def _gather(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    axis = draw(st.integers(-len(shape), len(shape) - 1))
    size = shape[axis]
    where = shape if op == "GatherElements" else draw(st.sampled_from([(), (3,), (2, 2), (0,)]))
    kind = draw(st.sampled_from(["int64", "int32"]))
    indices = fill(where, kind, _seed(draw), low=-size, high=size - 1)
    return Case(op, (fill(shape, dtype, 9), indices), {"axis": axis}, opset=OPSET, level="exact")


def _pad(draw: Draw, dtype: str, op: str) -> Case:
    shape = draw(shapes(min_rank=1, empty=False))
    pads = np.array([draw(st.integers(0, 2)) for _ in range(2 * len(shape))], np.int64)
    value = fill((), dtype, 10)
    return Case(op, (fill(shape, dtype, _seed(draw)), pads, value), {}, constants=frozenset({1, 2}), opset=OPSET)


_add("Transpose Flatten Reshape Unsqueeze Squeeze Expand Tile Slice Concat Shape Size", _ANY, _moved)
_add("Gather GatherElements", _ANY, _gather)
_add("Pad", ("float32", "float64", "int64", "int32"), _pad)
