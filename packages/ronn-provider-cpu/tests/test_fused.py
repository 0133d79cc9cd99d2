"""The fused operators of the ``ronn`` domain: the plain operator, then the activation."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from node_cases import provider

from ronn.ir.graph import Node, Value
from ronn.ir.types import DType, TensorType
from ronn.ops.fused import ACTIVATION_ARITY
from ronn.ops.infer import infer_node
from ronn.ops.schema import schema_of
from ronn.provider.kernels import KernelContext
from ronn_provider_cpu.kernels._common import HALF_NOTE

PARAMETERS = {"LeakyRelu": [0.1], "Elu": [0.7], "HardSigmoid": [0.3, 0.4], "Clip": [-0.5, 0.75]}
ERF = np.vectorize(math.erf)
EXPECTED: dict[str, Any] = {
    "": lambda x: x,
    "Relu": lambda x: np.maximum(x, 0),
    "Sigmoid": lambda x: 1 / (1 + np.exp(-x)),
    "Tanh": np.tanh,
    "HardSwish": lambda x: x * np.clip(x / 6 + 0.5, 0, 1),
    "Silu": lambda x: x / (1 + np.exp(-x)),
    "Gelu": lambda x: 0.5 * x * (1 + ERF(x / math.sqrt(2))),
    "GeluTanh": lambda x: 0.5 * x * (1 + np.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))),
    "Softplus": lambda x: np.log1p(np.exp(x)),
    "LeakyRelu": lambda x: np.where(x < 0, 0.1 * x, x),
    "Elu": lambda x: np.where(x < 0, 0.7 * np.expm1(x), x),
    "HardSigmoid": lambda x: np.clip(0.3 * x + 0.4, 0, 1),
    "Clip": lambda x: np.clip(x, -0.5, 0.75),
}


def run(op: str, inputs: list[np.ndarray], domain: str = "ronn", version: int = 1, **attributes: Any) -> Any:
    """(the result of one node, what the provider says about it)."""
    values = [Value(f"x{i}", TensorType(DType.of(x.dtype), x.shape)) for i, x in enumerate(inputs)]
    node = Node(op, values, [Value("y")], attributes, domain=domain, version=version)
    infer_node(node)
    kernel, verdict = provider().kernel_set.select(node)
    assert kernel is not None, verdict
    return kernel.bind(KernelContext(node, schema_of(node), {}))(*inputs), verdict


def floats(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@pytest.mark.parametrize("activation", sorted(ACTIVATION_ARITY))
@pytest.mark.parametrize("op", ["FusedConv", "FusedGemm", "FusedMatMul"])
def test_activation(op: str, activation: str) -> None:
    """Every activation that passes may fuse, on small and on large results (which are worked on in blocks)."""
    params = PARAMETERS.get(activation, [])
    for scale in (1, 40):
        if op == "FusedConv":
            inputs = [floats(0, 2, 3, 4 * scale, 6), floats(1, 8, 3, 3, 3), floats(2, 8)]
            plain, _ = run("Conv", inputs, "", 22, pads=[1, 1, 1, 1])
            extra = {"pads": [1, 1, 1, 1]}
        elif op == "FusedGemm":
            inputs = [floats(0, 6 * scale, 5), floats(1, 5, 80), floats(2, 80)]
            plain, _ = run("Gemm", inputs, "", 13)
            extra = {}
        else:
            inputs = [floats(0, 2, 6 * scale, 5), floats(1, 5, 80), floats(2, 80)]
            plain = inputs[0] @ inputs[1] + inputs[2]
            extra = {}
        got, _ = run(op, inputs, activation=activation, activation_params=params, **extra)
        np.testing.assert_allclose(got, EXPECTED[activation](plain.astype(np.float64)), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [np.float16, "bfloat16"])
def test_half_precision_is_said(dtype: Any) -> None:
    """float16 and bfloat16 come back in their type, and the placement says how they were computed."""
    import ml_dtypes

    kind = np.dtype(ml_dtypes.bfloat16) if dtype == "bfloat16" else np.dtype(dtype)
    a, b = floats(0, 4, 8), floats(1, 8, 3)
    got, verdict = run("MatMul", [a.astype(kind), b.astype(kind)], "", 13)
    assert got.dtype == kind
    assert verdict.note == HALF_NOTE
    wide = a.astype(kind).astype(np.float32) @ b.astype(kind).astype(np.float32)
    np.testing.assert_array_equal(got, wide.astype(kind))
    _, plain = run("MatMul", [a, b], "", 13)
    assert plain.note == ""


def test_refusals_say_why() -> None:
    """A dtype, an activation and an operator that no kernel takes are refused with a reason."""
    x = Value("x", TensorType(DType.INT8, (2, 2)))
    for op, domain, attributes, text in (
        ("Softmax", "", {}, "int8"),
        ("FusedGemm", "ronn", {"activation": "Nope"}, "Nope"),
        ("Unheard", "", {}, "no kernel"),
    ):
        inputs = [Value("f", TensorType(DType.FLOAT32, (2, 2)))] * 2 if op == "FusedGemm" else [x]
        kernel, verdict = provider().kernel_set.select(
            Node(op, inputs, [Value("y")], attributes, domain=domain, version=13 if not domain else 1)
        )
        assert kernel is None
        assert text in verdict.reason
