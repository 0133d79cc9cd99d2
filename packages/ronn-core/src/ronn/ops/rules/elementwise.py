"""Operators that work element by element, with or without broadcasting, and the integer arithmetic of shapes."""

from __future__ import annotations

from collections.abc import Callable

from ronn.ir.dims import Dim, dim_max, dim_min
from ronn.ir.types import DType, TensorType
from ronn.ops.infer import InferContext, rule
from ronn.ops.rules.common import broadcast, checked, compare, divide, dtype_of_code

SHAPE_DTYPES = (DType.INT64, DType.INT32)  # the dtypes whose elements are followed


@rule(
    "Acos", "Acosh", "Asin", "Asinh", "Atan", "Atanh", "BitwiseNot", "Ceil", "Celu", "Clip", "Cos", "Cosh", "Elu",
    "Erf", "Exp", "Floor", "Gelu", "HardSigmoid", "HardSwish", "LeakyRelu", "Log", "Mish", "Not",
    "Reciprocal", "Relu", "Round", "Selu", "Shrink", "Sigmoid", "Sin", "Sinh", "Softplus", "Softsign", "Sqrt",
    "Swish", "Tan", "Tanh", "ThresholdedRelu", "Hardmax", "Softmax", "LogSoftmax", "LpNormalization", "LRN",
    "MeanVarianceNormalization", "InstanceNormalization", "GroupNormalization", "RMSNormalization", "CumSum",
    "CumProd", "Trilu", "ReverseSequence", "ScatterElements", "Scatter", "ScatterND", "TensorScatter",
    "RotaryEmbedding",
)  # fmt: skip
def same_as_first(c: InferContext) -> None:
    """One output like the first input."""
    value = c.node.inputs[0] if c.node.inputs else None
    if value is not None:
        c.set_type(0, value.tensor)


@rule("Identity")
def identity(c: InferContext) -> None:
    c.set_type(0, c.type(0))
    known = c.dims(0)
    if known is not None:
        c.set_dims(0, known)


@rule("Abs", "Sign")
def magnitude(c: InferContext) -> None:
    same_as_first(c)
    known = c.dims(0)
    if known is not None and c.dtype(0) in SHAPE_DTYPES:
        step = abs if c.node.op == "Abs" else lambda d: (d > 0) - (d < 0)
        c.set_dims(0, [step(d) if isinstance(d, int) else None for d in known])


@rule("Neg")
def negate(c: InferContext) -> None:
    same_as_first(c)
    known = c.dims(0)
    if known is not None and c.dtype(0) in SHAPE_DTYPES:
        c.set_dims(0, [None if d is None else checked(d * -1) for d in known])


@rule("IsInf", "IsNaN")
def to_bool(c: InferContext) -> None:
    c.set(0, DType.BOOL, c.shape(0))


@rule("PRelu")
def prelu(c: InferContext) -> None:
    c.set(0, c.dtype(0), c.shape(0))


@rule("Dropout")
def dropout(c: InferContext) -> None:
    same_as_first(c)
    c.set(1, DType.BOOL if c.since >= 10 else c.dtype(0), c.shape(0))


@rule("Cast")
def cast(c: InferContext) -> None:
    to = dtype_of_code(c, c.attr("to"))
    c.set(0, to, c.shape(0))
    known = c.dims(0)
    if known is not None and to in SHAPE_DTYPES and c.dtype(0) in (*SHAPE_DTYPES, DType.BOOL):
        c.set_dims(0, known)


@rule("CastLike")
def cast_like(c: InferContext) -> None:
    c.set(0, c.dtype(1), c.shape(0))
    known = c.dims(0)
    if known is not None and c.dtype(1) in SHAPE_DTYPES and c.dtype(0) in SHAPE_DTYPES:
        c.set_dims(0, known)


@rule("BitCast")
def bit_cast(c: InferContext) -> None:
    c.set(0, dtype_of_code(c, c.attr("to")), c.shape(0))


# --- binary operators


def _binary_type(c: InferContext, dtype: DType | None) -> None:
    if c.schema is not None and c.schema.since < 7 and "broadcast" in c.schema.attributes:
        c.set(0, dtype, c.shape(0))  # before opset 7 the second input is stretched to the first
        return
    c.set(0, dtype, broadcast(c, c.shape(0), c.shape(1)))


def _pairs(c: InferContext) -> list[tuple[Dim | None, Dim | None]] | None:
    """The elements of two small integer inputs, broadcast against each other."""
    a = c.dims(0)
    if a is None:
        return None
    b = c.dims(1)
    if b is None:
        return None
    n = len(b) if len(a) == 1 else len(a)
    if len(a) not in (1, n) or len(b) not in (1, n):
        return None
    return [(a[i if len(a) > 1 else 0], b[i if len(b) > 1 else 0]) for i in range(n)]


def _follow(c: InferContext, fn: Callable[[Dim, Dim], Dim | None]) -> None:
    pairs = _pairs(c)
    if pairs is not None and c.dtype(0) in SHAPE_DTYPES:
        c.set_dims(0, [None if x is None or y is None else checked(fn(x, y)) for x, y in pairs])


def _remainder(a: Dim, b: Dim) -> Dim | None:
    if isinstance(a, int) and isinstance(b, int):
        return None if b == 0 else a % b
    return None if b == 0 else a - (a // b) * b  # type: ignore[operator]


_ARITHMETIC: dict[str, Callable[[Dim, Dim], Dim | None]] = {
    "Add": lambda a, b: a + b, "Sub": lambda a, b: a - b, "Mul": lambda a, b: a * b, "Div": divide,
    "Mod": _remainder,
}  # fmt: skip


@rule("Add", "Sub", "Mul", "Div", "Mod", "Pow", "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor")
def arithmetic(c: InferContext) -> None:
    _binary_type(c, c.dtype(0) if c.dtype(0) is not None or c.node.op == "Pow" else c.dtype(1))
    fn = _ARITHMETIC.get(c.node.op)
    if fn is not None and not (c.node.op == "Mod" and c.attr("fmod", 0)):
        _follow(c, fn)


_COMPARISONS: dict[str, Callable[[int], bool]] = {
    "Equal": lambda s: s == 0, "Less": lambda s: s < 0, "Greater": lambda s: s > 0,
    "LessOrEqual": lambda s: s <= 0, "GreaterOrEqual": lambda s: s >= 0,
}  # fmt: skip


@rule(*_COMPARISONS)
def comparison(c: InferContext) -> None:
    _binary_type(c, DType.BOOL)
    pairs = _pairs(c)
    if pairs is None or c.dtype(0) not in (*SHAPE_DTYPES, DType.BOOL):
        return
    judge = _COMPARISONS[c.node.op]
    order = [None if x is None or y is None else compare(x, y) for x, y in pairs]
    c.set_dims(0, [None if s is None else int(judge(s)) for s in order])


@rule("And", "Or", "Xor")
def logic(c: InferContext) -> None:
    _binary_type(c, DType.BOOL)


@rule("Max", "Min", "Sum", "Mean")
def variadic(c: InferContext) -> None:
    shape = c.shape(0)
    for i in range(1, len(c.node.inputs)):
        shape = broadcast(c, shape, c.shape(i))
    c.set(0, c.dtype(0), shape)
    if c.node.op in ("Max", "Min") and len(c.node.inputs) == 2:
        _follow(c, dim_max if c.node.op == "Max" else dim_min)


@rule("Where")
def where(c: InferContext) -> None:
    c.set(0, c.dtype(1), broadcast(c, broadcast(c, c.shape(0), c.shape(1)), c.shape(2)))
    test, yes, no = c.dims(0), c.dims(1), c.dims(2)
    if test is None or yes is None or no is None or c.dtype(1) not in SHAPE_DTYPES:
        return
    n = max(len(test), len(yes), len(no))
    if any(len(part) not in (1, n) for part in (test, yes, no)):
        return
    out: list[Dim | None] = []
    for i in range(n):
        t, a, b = (part[i if len(part) > 1 else 0] for part in (test, yes, no))
        out.append((a if t else b) if isinstance(t, int) else a if a == b else None)
    c.set_dims(0, out)


@rule("StringConcat")
def string_concat(c: InferContext) -> None:
    c.set_type(0, TensorType(DType.STRING, broadcast(c, c.shape(0), c.shape(1))))
