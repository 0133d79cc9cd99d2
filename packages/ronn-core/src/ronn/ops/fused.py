"""The ``ronn`` domain: fused operators that passes offer to providers, and the operators that they stand for.

``FusedConv``, ``FusedGemm`` and ``FusedMatMul`` take the inputs and attributes of ``Conv``, ``Gemm`` and ``MatMul``
(which gets an optional third input: a bias of one dim, added to the last dim), and apply ``activation`` with
``activation_params`` to the result:

| activation | parameters |
| --- | --- |
| "" (none), Relu, Sigmoid, Tanh, HardSwish, Silu, Gelu (erf), GeluTanh, Softplus | none |
| LeakyRelu, Elu | alpha |
| HardSigmoid | alpha, beta |
| Clip | min, max |
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from ronn.ir.graph import Node, Value
from ronn.ops.infer import InferContext, infer_as, rule
from ronn.ops.schema import Formal, OpSchema, find_schema

if TYPE_CHECKING:
    from ronn.passes.edit import Builder

DOMAIN = "ronn"
BASES = {"FusedConv": ("Conv", 22), "FusedGemm": ("Gemm", 13), "FusedMatMul": ("MatMul", 13)}
ACTIVATION_ARITY = {
    "": 0, "Relu": 0, "Sigmoid": 0, "Tanh": 0, "HardSwish": 0, "Silu": 0, "Gelu": 0, "GeluTanh": 0, "Softplus": 0,
    "LeakyRelu": 1, "Elu": 1, "HardSigmoid": 2, "Clip": 2,
}  # fmt: skip
_FUSED_ATTRIBUTES = ("activation", "activation_params")


def find(op: str) -> OpSchema | None:
    """The schema of a ``ronn`` operator; None when there is none of that name."""
    found = BASES.get(op)
    if found is None:
        return None
    base = find_schema("", *found)
    assert base is not None
    inputs = base.inputs
    if op == "FusedMatMul":
        inputs = (*inputs, Formal("bias", base.inputs[0].type, optional=True))
    return replace(
        base,
        domain=DOMAIN,
        op=op,
        since=1,
        inputs=inputs,
        defaults={**base.defaults, "activation": "", "activation_params": []},
        attributes={**base.attributes, "activation": "STRING", "activation_params": "FLOATS"},
        max_inputs=len(inputs),
    )


@rule(*BASES, domain=DOMAIN)
def fused(c: InferContext) -> None:
    """The rule of the plain operator: further inputs and attributes are nothing to it."""
    op, version = BASES[c.node.op]
    infer_as(op, InferContext(c.node, find_schema("", op, version)))


def base_attributes(node: Node) -> dict[str, object]:
    """The attributes that the plain operator takes."""
    return {k: v for k, v in node.attributes.items() if k not in _FUSED_ATTRIBUTES}


def decompose(b: Builder, node: Node) -> Value | None:
    """Builds the plain operators that a fused node stands for; None for a node that is no fused one."""
    found = BASES.get(node.op)
    if node.domain != DOMAIN or found is None:
        return None
    op, _ = found
    inputs = node.inputs[:2] if op == "MatMul" else node.inputs
    value = b.node(op, inputs, base_attributes(node)).output
    bias = node.input(2) if op == "MatMul" else None
    if bias is not None:
        value = b.op("Add", value, bias)
    params = [float(p) for p in node.attributes.get("activation_params", ())]
    return activate(b, value, str(node.attributes.get("activation", "")), params)


def activate(b: Builder, x: Value, activation: str, params: list[float]) -> Value:
    """Builds an activation of the table above."""
    match activation, params:
        case "", _:
            return x
        case "Clip", [low, high]:
            return _clip(b, x, low, high)
        case "LeakyRelu" | "Elu", [alpha]:
            return b.op(activation, x, alpha=alpha)
        case "HardSigmoid", [alpha, beta]:
            return b.op("HardSigmoid", x, alpha=alpha, beta=beta)
        case "HardSwish", []:
            return b.op("HardSwish", x, version=max(b.version, 14))
        case "Silu", []:
            return b.op("Mul", x, b.op("Sigmoid", x))
        case "Gelu", []:
            return b.op("Gelu", x, version=max(b.version, 20))
        case "GeluTanh", []:
            return b.op("Gelu", x, version=max(b.version, 20), approximate="tanh")
    if ACTIVATION_ARITY.get(activation) == len(params) == 0:
        return b.op(activation, x)
    raise ValueError(f"fused activation {activation!r} with parameters {params}")


def _clip(b: Builder, x: Value, low: float, high: float) -> Value:
    if b.version < 11:
        return b.op("Clip", x, min=low, max=high)
    dtype = np.dtype(np.float32) if x.dtype is None else x.dtype.numpy
    return b.op("Clip", x, b.constant(np.array(low, dtype)), b.constant(np.array(high, dtype)))
