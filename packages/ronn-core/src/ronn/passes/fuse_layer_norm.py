"""Finds layer and RMS normalisation spelled with means, and takes the scale and bias behind it in."""

from __future__ import annotations

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.passes.edit import Builder, attr, ints, is_uniform, scalar
from ronn.passes.offer import offer
from ronn.passes.rewrite import As, Const, Match, Op, Pattern, Refusal, Replacement, RuleSet, Var, one_of, rule

X, D = Var("x"), Var("d")
ONE = Const(value=1.0)


def _mean(of: Pattern, name: str) -> Pattern:
    return one_of(Op("ReduceMean", of, name=name), Op("ReduceMean", of, Const(), name=name))


def _squared(of: Pattern) -> Pattern:
    return one_of(Op("Mul", of, of), Op("Pow", of, Const(value=2.0)))


def _deviation(of: Pattern) -> Pattern:
    """sqrt(mean(of ** 2) + eps)"""
    shifted = Op("Add", _mean(_squared(of), "var"), Const("eps"))
    return one_of(Op("Sqrt", shifted), Op("Pow", shifted, Const(value=0.5)))


def _over(top: Pattern, bottom: Pattern) -> list[Op]:
    """The ways to write top / bottom. ``top`` comes first: it binds what ``bottom`` refers to."""
    return [
        Op("Div", top, bottom),
        Op("Mul", top, one_of(Op("Reciprocal", bottom), Op("Div", ONE, bottom)), any_order=True),
    ]


def normalised_axis(node: Node, rank: int | None) -> int | None:
    """The first axis of a mean over the last axes that keeps them; None when it is something else."""
    axes = ints(node.input(1)) if node.version >= 18 else attr(node, "axes")
    if rank is None or axes is None or not attr(node, "keepdims", 1) or not axes:
        return None
    found = sorted(a % rank for a in axes)
    return found[0] if found == list(range(found[0], rank)) else None


def _ones(b: Builder, x: Value, axis: int) -> Value | None:
    shape, dtype = x.tensor.shape, x.dtype
    if shape is None or dtype is None:
        return None
    dims = [d for d in shape[axis:] if isinstance(d, int)]
    if len(dims) != len(shape) - axis:
        return None
    return b.constant(np.ones(dims, dtype.numpy), "scale")


def _normalisation(b: Builder, m: Match, op: str, version: int, means: tuple[str, ...]) -> Replacement:
    x = m["x"]
    axes = {normalised_axis(m.named[name], x.tensor.rank) for name in means}
    axis = axes.pop()
    if axes or axis is None:
        return Refusal("the means are not over the last axes")
    if x.dtype is None or not x.dtype.is_float or x.dtype.bits > 32:
        return Refusal(f"the operator computes in float32, the values are {x.type}")
    epsilon = scalar(m["eps"])
    if epsilon is None or not np.isfinite(epsilon) or epsilon < 0 or (m["eps"].tensor.rank or 0) > (x.tensor.rank or 0):
        return None
    scale = _ones(b, x, axis)
    if scale is None:
        return Refusal("the normalised dims are not known")
    rank = x.tensor.rank
    assert rank is not None
    attributes = {"axis": axis - rank, "epsilon": float(epsilon)}
    return offer(b, op, [x, scale], attributes, version=version, like=m.root.output)


def _layer_norm(b: Builder, m: Match) -> Replacement:
    """(x - mean) / sqrt(mean((x - mean)**2) + eps) is LayerNormalization(x, ones)."""
    return _normalisation(b, m, "LayerNormalization", 17, ("mean", "var"))


def _rms_norm(b: Builder, m: Match) -> Replacement:
    """x / sqrt(mean(x**2) + eps) is RMSNormalization(x, ones)."""
    return _normalisation(b, m, "RMSNormalization", 23, ("var",))


@rule(Op("Mul", Op("LayerNormalization RMSNormalization", X, Const("ones"), name="norm"), Var("scale")))
def norm_scale(b: Builder, m: Match) -> Replacement:
    """norm(x, ones) * scale is norm(x, scale)."""
    norm = m.named["norm"]
    scale = _parameter(b, m["scale"], m["ones"])
    if not is_uniform(m["ones"], 1) or scale is None or _more_outputs(norm):
        return None
    return offer(b, norm.op, [m["x"], scale], norm.attributes, version=norm.version, like=m.root.output)


@rule(Op("Add", Op("LayerNormalization", X, Var("scale"), name="norm"), Var("bias")))
def norm_bias(b: Builder, m: Match) -> Replacement:
    """LayerNormalization(x, scale) + bias is LayerNormalization(x, scale, bias)."""
    norm = m.named["norm"]
    bias = _parameter(b, m["bias"], m["scale"])
    if bias is None or _more_outputs(norm):
        return None
    return offer(b, norm.op, [m["x"], m["scale"], bias], norm.attributes, version=norm.version, like=m.root.output)


def _more_outputs(norm: Node) -> bool:
    return any(v.name and v.uses for v in norm.outputs[1:])


def _parameter(b: Builder, value: Value, like: Value) -> Value | None:
    """``value`` as a scale or bias of the shape of ``like``; None when it is of another shape."""
    wanted, shape = like.tensor.shape, value.tensor.shape
    if value.dtype is not like.dtype or wanted is None or shape is None:
        return None
    if shape == wanted:
        return value
    if value.data is not None and value.data.size == like.tensor.size and like.tensor.size > 0:
        extra = len(shape) - len(wanted)
        if extra > 0 and all(d == 1 for d in shape[:extra]) and shape[extra:] == wanted:
            norm_rank = like.tensor.rank
            assert norm_rank is not None
            return b.constant(value.data.reshape(value.data.shape[extra:]), "scale")
    return None


_CENTRED = As("d", Op("Sub", X, _mean(X, "mean")))
RULES = RuleSet(
    [
        *(rule(p, name="layer-norm")(_layer_norm) for p in _over(_CENTRED, _deviation(D))),
        *(rule(p, name="rms-norm")(_rms_norm) for p in _over(X, _deviation(X))),
        norm_scale,
        norm_bias,
    ]
)
fuse_layer_norm = RULES.as_pass("fuse-layer-norm")
