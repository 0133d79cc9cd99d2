"""What of a model fits an accelerator: its profile against a node, and against what the node is lowered to.

What flows must be of dtypes and ranks that the device has: values that are no constants, and both operands of products.
Other constants (axes, shapes, scales, zero points) are what kernels are made with, and may be of any dtype.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

from ronn.ir.types import TensorType
from ronn.ops.fused import BASES, DOMAIN
from ronn_provider_npu.profiles.text import binary

if TYPE_CHECKING:
    from ronn.ir.graph import Node, Value
    from ronn_codegen.lowering import Lowering
    from ronn_provider_npu.profiles.profile import DeviceProfile

PRODUCTS: Mapping[str, tuple[int, ...]] = {
    "MatMul": (0, 1), "FusedMatMul": (0, 1), "Gemm": (0, 1), "FusedGemm": (0, 1), "MatMulInteger": (0, 1),
    "MatMulIntegerToFloat": (0, 1), "QLinearMatMul": (0, 3), "QGemm": (0, 3), "MatMulNBits": (0,),
    "DynamicQuantizeMatMul": (0, 1), "Conv": (0, 1), "FusedConv": (0, 1), "ConvTranspose": (0, 1), "DeformConv": (0, 1),
    "ConvInteger": (0, 1), "QLinearConv": (0, 3), "Einsum": (0, 1), "Attention": (0, 1, 2),
    "MultiHeadAttention": (0, 1, 2), "GroupQueryAttention": (0, 1, 2), "FlexAttention": (0, 1, 2),
    "LSTM": (0, 1, 2), "GRU": (0, 1, 2), "RNN": (0, 1, 2),
}  # fmt: skip
"""Operators whose work is products, of any domain, and which inputs are multiplied."""

ACCUMULATOR_BYTES = 4


def operands_of(node: Node) -> list[Value]:
    """The inputs that a node multiplies; none for other operators."""
    at = PRODUCTS.get(node.op, ())
    return [v for i in at if i < len(node.inputs) and (v := node.inputs[i]) is not None]


def tile_bytes(profile: DeviceProfile, itemsize: int) -> int:
    """What the least product takes on the chip: a tile of each operand, and of the sums of 32 bits."""
    rows, columns, depth = profile.unit
    return (rows + columns) * depth * itemsize + rows * columns * ACCUMULATOR_BYTES


def refusal(node: Node, profile: DeviceProfile) -> str:
    """Why a node does not fit a profile; empty where it does. Sizes need not be known."""
    operators = (profile.operators.refusal(name) for name in _names(node))
    reason = next(filter(None, operators), "") or _rank(node, profile) or _dtypes(node, profile)
    return f"profile {profile.name}: {reason}" if reason else ""


def _names(node: Node) -> tuple[str, ...]:
    """The operators that a node stands for: those of RONN's fused ones are what they were made of."""
    if node.domain != DOMAIN or node.op not in BASES:
        return (node.op_id,)
    activation = str(node.attributes.get("activation") or "")
    return (BASES[node.op][0], _ACTIVATIONS.get(activation, activation)) if activation else (BASES[node.op][0],)


_ACTIVATIONS = {"Silu": "Sigmoid", "GeluTanh": "Gelu"}


def _rank(node: Node, profile: DeviceProfile) -> str:
    most = profile.operators.max_rank
    for value, t in _flowing(node):
        if t.shape is not None and len(t.shape) > most:
            return f"%{value.name} has rank {len(t.shape)}, and it takes {most} at most"
    return ""


def _dtypes(node: Node, profile: DeviceProfile) -> str:
    operands = operands_of(node)
    own = profile.operators.dtypes_of(node.op_id)
    rates = profile.products
    unit = "matrix unit" if profile.has_matrix_unit else "vector unit"
    for value in operands:
        dtype = _dtype(value)
        if dtype is None or (dtype in own if own is not None else dtype in rates):
            continue
        if own is not None:
            return f"its {node.op_id} takes {', '.join(own)}; %{value.name} is {dtype}"
        floats = profile.int8_only and dtype.startswith("float")
        hint = " (quantise the model: `ronn npu quantize`, or the provider's option calibration)" if floats else ""
        return f"its {unit} multiplies {rates}; %{value.name} is {dtype}{hint}"
    for dtype in {d for v in operands if (d := _dtype(v)) is not None}:
        need = tile_bytes(profile, _itemsize(operands, dtype))
        if need > profile.kernel_bytes:
            rows, columns, _ = profile.unit
            return (
                f"a tile of {rows} x {columns} in {dtype} takes {binary(need)} on the chip, and a kernel has "
                f"{binary(profile.kernel_bytes)}"
            )
    for value, t in _flowing(node):
        if t.dtype is None or value in operands:
            continue
        dtype = t.dtype.numpy_name
        if own is not None and dtype not in own:
            return f"its {node.op_id} takes {', '.join(own)}; %{value.name} is {dtype}"
        if own is None and dtype not in profile.vector.peak:
            return f"its vector unit takes {profile.vector.peak}; %{value.name} is {dtype}"
    return ""


def unfit(c: Lowering, profile: DeviceProfile) -> str:
    """Why what a node is lowered to does not fit; empty where it does: tensors inside of others that would start where
    none may."""
    if profile.memory.views:
        return ""
    least = profile.memory.alignment
    for out, (source, offset) in c.aliases.items():
        if offset % least:
            made, of = c.node.outputs[out], c.node.inputs[source]
            where = f"%{made.name} would start {offset} bytes into %{'' if of is None else of.name}"
            return f"profile {profile.name}: {where}, and its tensors start at multiples of {least} bytes"
    return ""


def _flowing(node: Node) -> Iterator[tuple[Value, TensorType]]:
    operands = operands_of(node)
    for value in (*node.inputs, *node.outputs):
        if value is not None and (not value.is_const or value in operands) and isinstance(value.type, TensorType):
            yield value, value.type


def _dtype(value: Value) -> str | None:
    t = value.type
    return t.dtype.numpy_name if isinstance(t, TensorType) and t.dtype is not None else None


def _itemsize(operands: list[Value], dtype: str) -> int:
    value = next(v for v in operands if _dtype(v) == dtype)
    assert isinstance(value.type, TensorType)
    assert value.type.dtype is not None
    return max(value.type.dtype.bits // 8, 1)
