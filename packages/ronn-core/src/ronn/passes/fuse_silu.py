"""Finds x * sigmoid(x) (Swish, also called SiLU) and HardSwish."""

from __future__ import annotations

import math

from ronn.ir.graph import Value
from ronn.passes.edit import Builder, attr, scalar
from ronn.passes.offer import offer, same_rank
from ronn.passes.rewrite import As, Const, Match, Op, Optional, Refusal, Replacement, RuleSet, Var, one_of, rule

X = Var("x")
SIX, SIXTH = Const(value=6.0), Const(value=1 / 6)


@rule(Op("Mul", X, Op("Sigmoid", X)))
def silu(b: Builder, m: Match) -> Replacement:
    """x * sigmoid(x) is Swish(x)."""
    return offer(b, "Swish", [m["x"]], {"alpha": 1.0}, version=24, like=m.root.output)


@rule(Op("Mul", X, Op("Sigmoid", Op("Mul", X, Const("alpha")))))
def swish(b: Builder, m: Match) -> Replacement:
    """x * sigmoid(alpha * x) is Swish(x, alpha)."""
    alpha = scalar(m["alpha"])
    if alpha is None or not same_rank(m["x"], m.root.output):
        return None
    return offer(b, "Swish", [m["x"]], {"alpha": float(alpha)}, version=24, like=m.root.output)


def _hard_swish(b: Builder, m: Match) -> Replacement:
    if not same_rank(m["x"], m.root.output):
        return Refusal("a constant raises the rank")
    return offer(b, "HardSwish", [m["x"]], {}, version=14, like=m.root.output)


@rule(Op("Mul", X, Op("HardSigmoid", X, name="gate")))
def hard_swish(b: Builder, m: Match) -> Replacement:
    """x * HardSigmoid(x, 1/6, 1/2) is HardSwish(x)."""
    gate = m.named["gate"]
    if not math.isclose(attr(gate, "alpha", 0.2), 1 / 6, rel_tol=1e-5) or attr(gate, "beta", 0.5) != 0.5:
        return None
    return _hard_swish(b, m)


_SHIFTED = Op("Add", X, Const(value=3.0))
_CLIPPED = As("clipped", Op("Clip", _SHIFTED, Optional(Const()), Optional(Const())))


def _clip_form(b: Builder, m: Match) -> Replacement:
    """x * clip(x + 3, 0, 6) / 6 is HardSwish(x)."""
    if clip_bounds(m["clipped"]) != (0.0, 6.0):
        return None
    return _hard_swish(b, m)


def clip_bounds(clipped: Value) -> tuple[float | None, float | None] | None:
    """The bounds of the Clip node that makes ``clipped``, None for an open end; None when they are not constant."""
    node = clipped.producer
    if node is None or node.op != "Clip":
        return None
    if node.version < 11:
        low, high = node.attributes.get("min"), node.attributes.get("max")
        return (None if low is None else float(low), None if high is None else float(high))
    bounds: list[float | None] = []
    for value in (node.input(1), node.input(2)):
        bound = scalar(value)
        if value is not None and bound is None:
            return None
        bounds.append(None if bound is None else float(bound))
    return (bounds[0], bounds[1])


_FORMS = [
    Op("Div", Op("Mul", X, _CLIPPED), SIX),
    Op("Mul", Op("Mul", X, _CLIPPED), SIXTH),
    Op("Mul", X, one_of(Op("Div", _CLIPPED, SIX), Op("Mul", _CLIPPED, SIXTH))),
]
RULES = RuleSet([silu, swish, hard_swish, *(rule(p, name="clip-hard-swish")(_clip_form) for p in _FORMS)])
fuse_silu = RULES.as_pass("fuse-silu")
