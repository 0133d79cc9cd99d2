"""Arithmetic that changes nothing, or that a cheaper operator does to the same bits."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType
from ronn.passes.edit import Builder, attr, ints, is_uniform
from ronn.passes.eliminate_identity import lossless
from ronn.passes.rewrite import Const, Match, Op, Refusal, Replacement, RuleSet, Var, rule

X = Var("x")
C = Const("c")
_FLOATS = (np.dtype(np.float16), np.dtype(np.float32), np.dtype(np.float64))


def broadcasts_into(small: Value, big: Value) -> bool:
    """Whether combining ``big`` with ``small`` elementwise surely keeps the shape of ``big``."""
    shape = small.tensor.shape
    if shape is None:
        return False
    if len(shape) == 0:
        return True
    other = big.tensor.shape
    if other is None or len(shape) > len(other):
        return False
    tail = other[len(other) - len(shape) :]
    return all(a == 1 or (a is not None and a == b) for a, b in zip(shape, tail, strict=True))


def _legacy(m: Match) -> bool:
    """Before opset 7 broadcasting followed other rules."""
    return m.root.version < 7


def _neutral(m: Match, ok: bool) -> Replacement:
    if not ok or _legacy(m):
        return None
    if not broadcasts_into(m["c"], m["x"]):
        return Refusal("the constant may broadcast the value to a larger shape")
    return m["x"]


@rule(Op("Add", X, C))
def add_zero(b: Builder, m: Match) -> Replacement:
    """x + 0 is x (for floats only -0.0: -0.0 + 0.0 is 0.0)."""
    c = m.const("c")
    if not is_uniform(m["c"], 0):
        return None
    if c.dtype.kind not in "iu" and not bool(np.all(np.signbit(c.astype(np.float64)))):
        return Refusal("x + 0.0 turns -0.0 into 0.0")
    return _neutral(m, True)


@rule(Op("Sub", X, C))
def subtract_zero(b: Builder, m: Match) -> Replacement:
    """x - 0 is x."""
    if not is_uniform(m["c"], 0):
        return None
    c = m.const("c")
    return _neutral(m, c.dtype.kind in "iu" or not bool(np.any(np.signbit(c.astype(np.float64)))))


@rule(Op("Mul", X, C))
def multiply_by_one(b: Builder, m: Match) -> Replacement:
    """x * 1 is x."""
    return _neutral(m, is_uniform(m["c"], 1))


@rule(Op("Div", X, C))
def divide_by_one(b: Builder, m: Match) -> Replacement:
    """x / 1 is x."""
    return _neutral(m, is_uniform(m["c"], 1))


@rule(Op("Div", X, C))
def divide_by_power_of_two(b: Builder, m: Match) -> Replacement:
    """x / 2**n is x * 2**-n, to the bit."""
    c = m.const("c")
    if c.dtype not in _FLOATS or _legacy(m) or c.size == 0 or not np.all(np.isfinite(c)):
        return None
    mantissa, exponent = np.frexp(c)
    limit = np.finfo(c.dtype).maxexp - 2
    if not np.all(np.abs(mantissa) == 0.5) or np.any(np.abs(exponent) > limit):
        return None
    return b.op("Mul", m["x"], b.constant(np.asarray(1 / c, dtype=c.dtype)))


@rule(Op("Pow", X, Const("c", where=lambda a: a.size == 1)))
def power(b: Builder, m: Match) -> Replacement:
    """x ** 1 is x, x ** 2 is x * x, x ** 0.5 is sqrt(x) where x cannot be negative."""
    exponent = float(m.const("c").reshape(-1)[0])
    if exponent not in (1.0, 2.0, 0.5) or _legacy(m):
        return None
    if not broadcasts_into(m["c"], m["x"]):
        return Refusal("the exponent may raise the rank")
    if exponent == 1.0:
        return m["x"]
    if exponent == 2.0:
        return b.op("Mul", m["x"], m["x"])
    dtype = m["x"].dtype
    if dtype is None or not dtype.is_float:
        return None
    if not never_negative(m["x"]):
        return Refusal("x ** 0.5 is inf for -inf and 0.0 for -0.0, sqrt(x) is not")
    return b.op("Sqrt", m["x"])


def never_negative(value: Value, depth: int = 8) -> bool:
    """Whether every element surely is >= +0.0 or NaN (and never -0.0)."""
    if value.data is not None:
        return value.data.dtype.kind == "f" and not bool(np.any(np.signbit(value.data)))
    node = value.producer
    if node is None or node.domain != "" or depth == 0:
        return False
    first = node.input(0)
    if node.op in ("Abs", "Exp", "Sigmoid", "Softmax", "ReduceSumSquare", "ReduceL1", "ReduceL2"):
        return True
    if node.op == "Mul" and first is node.input(1):
        return True
    if node.op == "Pow":
        exponent = node.input(1)
        return exponent is not None and (is_uniform(exponent, 2) or is_uniform(exponent, 4))
    if node.op in ("ReduceMean", "ReduceSum", "ReduceMax", "ReduceMin", "Reshape", "Squeeze", "Unsqueeze", "Transpose",
                   "Expand", "Identity"):  # fmt: skip
        return first is not None and never_negative(first, depth - 1)
    if node.op in ("Add", "Mul", "Max", "Min"):
        return all(v is not None and never_negative(v, depth - 1) for v in node.inputs)
    return False


@rule(Op("Neg", Op("Neg", X, shared=True)))
def double_negation(b: Builder, m: Match) -> Replacement:
    """-(-x) is x."""
    return m["x"]


@rule(Op("Not", Op("Not", X, shared=True)))
def double_not(b: Builder, m: Match) -> Replacement:
    """not not x is x."""
    return m["x"]


@rule(Op("Relu Abs Ceil Floor Round Sign", Op("Relu Abs Ceil Floor Round Sign", X, shared=True, name="inner")))
def idempotent(b: Builder, m: Match) -> Replacement:
    """relu(relu(x)) is relu(x), and so on."""
    inner = m.named["inner"]
    return inner.output if inner.op == m.root.op else None


@rule(Op("And", X, C))
def and_true(b: Builder, m: Match) -> Replacement:
    """x and true is x."""
    return _neutral(m, is_uniform(m["c"], True))


@rule(Op("Or", X, C))
def or_false(b: Builder, m: Match) -> Replacement:
    """x or false is x."""
    return _neutral(m, is_uniform(m["c"], False))


@rule(Op("Where", C, X, Var("y")))
def where_constant(b: Builder, m: Match) -> Replacement:
    """where(true, x, y) is x, when the others do not broadcast it."""
    if not (is_uniform(m["c"], True) or is_uniform(m["c"], False)):
        return None
    chosen, other = (m["x"], m["y"]) if is_uniform(m["c"], True) else (m["y"], m["x"])
    if not (broadcasts_into(m["c"], chosen) and broadcasts_into(other, chosen)):
        return Refusal("the other operands may broadcast the chosen one")
    return chosen


@rule(Op("Add", Op("Add", X, C), Const("d")))
def add_constants(b: Builder, m: Match) -> Replacement:
    """(x + c) + d is x + (c + d), for integers."""
    return _combined(b, m, "Add")


@rule(Op("Mul", Op("Mul", X, C), Const("d")))
def multiply_constants(b: Builder, m: Match) -> Replacement:
    """(x * c) * d is x * (c * d), for integers."""
    return _combined(b, m, "Mul")


def _combined(b: Builder, m: Match, op: str) -> Replacement:
    c, d = m.const("c"), m.const("d")
    if c.dtype.kind not in "iu" or c.dtype != d.dtype or _legacy(m) or m["x"].data is not None:
        return None
    try:
        size = int(np.prod(np.broadcast_shapes(c.shape, d.shape)))
    except ValueError:
        return None
    if size > max(c.size, d.size):
        return None
    with np.errstate(over="ignore"):
        return b.op(op, m["x"], b.constant(np.asarray(c + d if op == "Add" else c * d, dtype=c.dtype)))


@rule(Op("Add", X, Op("Neg", Var("y"))))
def add_negated(b: Builder, m: Match) -> Replacement:
    """x + -y is x - y."""
    return None if _legacy(m) else b.op("Sub", m["x"], m["y"])


@rule(Op("Cast", Op("Cast", X, name="inner")))
def exact_cast_chain(b: Builder, m: Match) -> Replacement:
    """Casting through a type that holds every value of the first one is casting at once."""
    start, middle = m["x"].dtype, m.named["inner"].output.dtype
    if start is None or middle is None or start is middle or not lossless(start, middle):
        return None
    target = m.root.output.dtype
    if target is None or target is DType.STRING or target.bits < 8 or target.short.startswith("f8"):
        return None
    if middle.is_float and target.is_integer and not start.is_float and not lossless(start, target):
        return Refusal("integers wrap, floats out of range do not")
    return b.node("Cast", [m["x"]], dict(m.root.attributes)).output


@rule(Op("ReduceMax ReduceMin", Op("Concat", rest=True, name="stack"), rest=True))
def largest_of_stack(b: Builder, m: Match) -> Replacement:
    """The largest along the axis on which single slices were stacked is the Max of the slices."""
    stack, result, rank = m.named["stack"], m.root.output, m.named["stack"].output.tensor.rank
    if rank is None or result.dtype not in (DType.FLOAT32, DType.FLOAT64) or len(stack.inputs) < 2 or _legacy(m):
        return None
    axes = m.root.attributes.get("axes") if m.root.version < 18 else ints(m.root.input(1))
    axis = int(attr(stack, "axis")) % rank
    slices = [v for v in stack.inputs if v is not None and v.tensor.shape is not None and v.tensor.shape[axis] == 1]
    if axes is None or [int(a) % rank for a in axes] != [axis] or len(slices) < len(stack.inputs):
        return None
    op = m.root.op.removeprefix("Reduce")
    if attr(m.root, "keepdims", 1):
        return b.op(op, *slices)
    bare = [_before_unsqueeze(v, axis, rank) for v in slices]
    if all(v is not None for v in bare):
        return b.op(op, *bare)
    largest = b.op(op, *slices)
    if b.version < 13:
        return b.op("Squeeze", largest, axes=[axis])
    return b.op("Squeeze", largest, b.constant([axis]))


def _before_unsqueeze(value: Value, axis: int, rank: int) -> Value | None:
    """What was given just this axis."""
    node: Node | None = value.producer
    if node is None or node.op != "Unsqueeze" or node.domain != "":
        return None
    axes = node.attributes.get("axes") if node.version < 13 else ints(node.input(1))
    return node.input(0) if axes is not None and [int(a) % rank for a in axes] == [axis] else None


@rule(Op("ScatterElements", X, Op("Expand", Var("index"), Var("shape"), shared=True, name="expand"), Var("updates")))
def scatter_rows(b: Builder, m: Match) -> Replacement:
    """ScatterElements of whole rows, each to one place, is ScatterND."""
    x, index, updates = (m[name].tensor.shape for name in ("x", "index", "updates"))
    if x is None or index is None or updates is None or not len(x) == len(index) == len(updates) == 2:
        return None
    if int(attr(m.root, "axis", 0)) not in (0, -2) or m.root.version < 11 or m["index"].dtype is not DType.INT64:
        return None
    if index[1] != 1 or index[0] != updates[0] or m.named["expand"].output.tensor.shape != updates:
        return None
    if x[1] is None or x[1] != updates[1] or index[0] is None:
        return None
    given = {k: v for k, v in m.root.attributes.items() if k == "reduction"}
    return b.node("ScatterND", [m["x"], m["index"], m["updates"]], given).output


RULES = RuleSet(
    [
        add_zero, subtract_zero, multiply_by_one, divide_by_one, divide_by_power_of_two, power, double_negation,
        double_not, idempotent, and_true, or_false, where_constant, add_constants, multiply_constants, add_negated,
        exact_cast_chain, largest_of_stack, scatter_rows,
    ]
)  # fmt: skip
simplify_algebra = RULES.as_pass("simplify-algebra")
