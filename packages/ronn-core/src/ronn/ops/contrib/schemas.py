"""Schemas of the ``com.microsoft`` operators, one line an operator: inputs, outputs, type variables, attributes.

``X:T`` is a formal parameter called X of type variable T, ``X?:T`` an optional one, ``X*:T`` a variadic one, ``X**:T``
one of mixed types. An attribute is given by its default, or by its ONNX type name where it has none (``INT!`` when it
is required).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

from ronn.ops.schema import Formal, OpSchema

_GROUPS = {
    "floats": "float float16 bfloat16 double",
    "f": "float",
    "bytes": "uint8 int8",
    "u8": "uint8",
    "i32": "int32",
    "i64": "int64",
    "ids": "int32 int64",
    "bool": "bool",
    "string": "string",
    "quant": "uint8 int8 uint16 int16 int32 uint4 int4",
    "numeric": "float float16 bfloat16 double int8 int16 int32 int64 uint8 uint16 uint32 uint64",
}
_GROUPS["any"] = _GROUPS["numeric"] + " bool string"

SCHEMAS: dict[str, OpSchema] = {}
"""By operator: those of ``com.microsoft``."""
ONNX_DOMAIN: dict[str, OpSchema] = {}
"""By operator: normalisations that optimisers put in ONNX's own domain before (or without) ONNX defining them."""

_ATTRIBUTE_TYPES: dict[type, str] = {int: "INT", float: "FLOAT", str: "STRING"}


def _formals(text: str) -> tuple[Formal, ...]:
    out = []
    for word in text.split():
        name, variable = word.split(":")
        out.append(Formal(name.rstrip("?*"), variable, name.endswith("?"), name.endswith("*"), not name.endswith("**")))
    return tuple(out)


def _op(op: str, inputs: str, outputs: str, types: Mapping[str, str], **attributes: Any) -> None:
    formals = _formals(inputs)
    kinds, defaults, required = {}, {}, set()
    for name, value in attributes.items():
        if isinstance(value, str) and value.rstrip("!") in ("INT", "INTS", "FLOAT", "FLOATS", "STRING", "STRINGS"):
            kinds[name] = value.rstrip("!")
            if value.endswith("!"):
                required.add(name)
        else:
            kinds[name], defaults[name] = _ATTRIBUTE_TYPES[type(value)], value
    SCHEMAS[op] = OpSchema(
        "com.microsoft", op, 1, formals, _formals(outputs), defaults, kinds, frozenset(required),
        {k: tuple(f"tensor({n})" for n in _GROUPS[v].split()) for k, v in types.items()},
        min_inputs=sum(1 for f in formals if not f.optional),
        max_inputs=2**31 - 1 if formals and formals[-1].variadic else len(formals),
    )  # fmt: skip


_T = {"T": "floats"}
_TM = {"T": "floats", "M": "ids"}
_CONV = {
    "auto_pad": "NOTSET",
    "dilations": "INTS",
    "group": 1,
    "kernel_shape": "INTS",
    "pads": "INTS",
    "strides": "INTS",
}
_POOL = {"auto_pad": "NOTSET", "ceil_mode": 0, "kernel_shape": "INTS!", "pads": "INTS", "strides": "INTS"}
_Q = {"T": "bytes", "S": "f"}
_LSTM = {
    "activation_alpha": "FLOATS", "activation_beta": "FLOATS", "activations": "STRINGS", "clip": "FLOAT",
    "direction": "forward", "hidden_size": "INT", "input_forget": 0,
}  # fmt: skip

# --- dense
_op("Gelu", "X:T", "Y:T", _T)
_op("FastGelu", "X:T bias?:T", "Y:T", _T)
_op("BiasGelu", "A:T B:T", "C:T", _T)
_op("QuickGelu", "X:T", "Y:T", _T, alpha=1.702)
_op("BiasAdd", "X:T bias:T skip:T", "Y:T", _T)
_op("BiasSplitGelu", "X:T bias:T", "Y:T", _T)
_op("BiasSoftmax", "data:T bias:T", "output:T", _T, axis=1, is_inner_broadcast="INT!")
_op("FusedMatMul", "A:T B:T", "Y:T", _T, alpha=1.0, transA=0, transB=0, transBatchA=0, transBatchB=0)
_op("TransposeMatMul", "A:T B:T", "Y:T", _T, alpha=1.0, transA=0, transB=0)
_op("FusedGemm", "A:T B:T C?:T", "Y:T", _T, alpha=1.0, beta=1.0, transA=0, transB=0, activation="STRING",
    activation_alpha="FLOAT", activation_beta="FLOAT", activation_gamma="FLOAT")  # fmt: skip
_op("FusedConv", "X:T W:T B?:T Z?:T", "Y:T", _T, activation="STRING", activation_params="FLOATS", **_CONV)
_op("SkipLayerNormalization", "input:T skip:T gamma:T beta?:T bias?:T",
    "output:T mean?:U inv_std_var?:U input_skip_bias_sum?:T", {"T": "floats", "U": "f"}, epsilon=1e-12)  # fmt: skip
_op("SkipSimplifiedLayerNormalization", "input:T skip:T gamma:T bias?:T",
    "output:T mean?:U inv_std_var?:U input_skip_bias_sum?:T", {"T": "floats", "U": "f"}, epsilon=1e-12)  # fmt: skip
_op("GroupNorm", "X:T gamma:M beta:M", "Y:T", {"T": "floats", "M": "floats"}, activation="INT!", channels_last=1,
    epsilon=1e-5, groups="INT!")  # fmt: skip
_op("MatMulNBits", "A:T B:U scales:T zero_points?:Z g_idx?:I bias?:T", "Y:T",
    {"T": "floats", "U": "bytes", "Z": "numeric", "I": "i32"}, K="INT!", N="INT!", bits=4, block_size="INT!",
    accuracy_level=0)  # fmt: skip

# --- embeddings and attention
_op("EmbedLayerNormalization",
    "input_ids:I segment_ids?:I word_embedding:T position_embedding:T segment_embedding?:T gamma:T beta:T mask?:I "
    "position_ids?:I", "output:T mask_index?:I embedding_sum?:T", {"T": "floats", "I": "i32"}, epsilon=1e-12,
    mask_index_type=0)  # fmt: skip
_op("RotaryEmbedding", "input:T position_ids:M cos_cache:T sin_cache:T", "output:T", {"T": "floats", "M": "i64"},
    interleaved=0, is_packed_batching=0, num_heads=0, rotary_embedding_dim=0, scale=1.0)  # fmt: skip
_op("Attention", "input:T weights:T bias?:T mask_index?:M past?:T attention_bias?:T past_sequence_length?:M",
    "output:T present?:T", _TM, num_heads="INT!", unidirectional=0, qkv_hidden_sizes="INTS", scale="FLOAT",
    mask_filter_value=-10000.0, do_rotary=0, past_present_share_buffer=0, rotary_embedding_dim=0)  # fmt: skip
_op("MultiHeadAttention",
    "query:T key?:T value?:T bias?:T key_padding_mask?:M attention_bias?:T past_key?:T past_value?:T "
    "past_sequence_length?:M cache_indirection?:M", "output:T present_key?:T present_value?:T qk?:T", _TM,
    num_heads="INT!", mask_filter_value=-10000.0, scale="FLOAT", unidirectional=0)  # fmt: skip
_op("GroupQueryAttention",
    "query:T key?:T value?:T past_key?:T past_value?:T seqlens_k:M total_sequence_length:M cos_cache?:T sin_cache?:T "
    "position_ids?:P attention_bias?:T head_sink?:T", "output:T present_key?:T present_value?:T",
    {"T": "floats", "M": "i32", "P": "i64"}, num_heads="INT!", kv_num_heads="INT!", scale="FLOAT", do_rotary=0,
    rotary_interleaved=0, local_window_size=-1, softcap=0.0, smooth_softmax=0)  # fmt: skip
_op("QAttention",
    "input:A weight:B bias:T input_scale:T weight_scale:T mask_index?:M input_zero_point?:A weight_zero_point?:B "
    "past?:T",
    "output:T present?:T", {"A": "bytes", "B": "bytes", "T": "floats", "M": "i32"}, num_heads="INT!", unidirectional=0,
    scale="FLOAT", mask_filter_value=-10000.0, do_rotary=0, past_present_share_buffer=0)  # fmt: skip

# --- integer matrix products
_op("DynamicQuantizeMatMul", "A:F B:T b_scale:F b_zero_point?:T bias?:F", "Y:F", {"F": "f", "T": "bytes"})
_op("MatMulIntegerToFloat", "A:A B:B a_scale:F b_scale:F a_zero_point?:A b_zero_point?:B bias?:F", "Y:F",
    {"A": "bytes", "B": "bytes", "F": "floats"})  # fmt: skip
_op("QGemm", "A:A a_scale:S a_zero_point:A B:B b_scale:S b_zero_point:B C?:C y_scale?:S y_zero_point?:Y", "Y:Y",
    {"A": "bytes", "B": "bytes", "C": "i32", "S": "f", "Y": "any"}, alpha=1.0, transA=0, transB=0)  # fmt: skip
_op("DynamicQuantizeLSTM",
    "X:F W:T R:T B?:F sequence_lens?:I initial_h?:F initial_c?:F P?:F W_scale:F W_zero_point:T R_scale:F "
    "R_zero_point:T",
    "Y?:F Y_h?:F Y_c?:F", {"F": "f", "T": "bytes", "I": "i32"}, **_LSTM)  # fmt: skip

# --- quantised elementwise operators and pools
_op("QLinearAdd", "A:T A_scale:S A_zero_point?:T B:T B_scale:S B_zero_point?:T C_scale:S C_zero_point?:T", "C:T", _Q)
_op("QLinearMul", "A:T A_scale:S A_zero_point?:T B:T B_scale:S B_zero_point?:T C_scale:S C_zero_point?:T", "C:T", _Q)
_op("QLinearSigmoid", "X:T X_scale:S X_zero_point?:T Y_scale:S Y_zero_point?:T", "Y:T", _Q)
_op("QLinearLeakyRelu", "X:T X_scale:S X_zero_point?:T Y_scale:S Y_zero_point?:T", "Y:T", _Q, alpha=0.01)
_op("QLinearSoftmax", "X:T X_scale:S x_zero_point?:T y_scale:S y_zero_point:T", "Y:T", _Q, axis=-1, opset="INT!")
_op("QLinearConcat", "Y_scale:S Y_zero_point:T inputs**:V", "Y:T", {**_Q, "V": "any"}, axis="INT!")
_op("QLinearWhere", "condition:B X:T x_scale:S x_zero_point:T Y:T y_scale:S y_zero_point:T z_scale:S z_zero_point:T",
    "Z:T", {**_Q, "B": "bool"})  # fmt: skip
_op("QLinearAveragePool", "X:T x_scale:S x_zero_point?:T y_scale:S y_zero_point?:T", "Y:T", _Q, channels_last=0,
    count_include_pad=0, **_POOL)  # fmt: skip
_op("QLinearGlobalAveragePool", "X:T x_scale:S x_zero_point:T y_scale:S y_zero_point:T", "Y:T", _Q, channels_last=0)
_op("NhwcMaxPool", "x:T", "y:T", _Q, dilations="INTS", **_POOL)
_op("QuantizeLinear", "x:F y_scale:F y_zero_point?:Q", "y:Q", {"F": "floats", "Q": "quant"}, axis="INT", block_size=0)
_op("DequantizeLinear", "x:Q x_scale:F x_zero_point?:Q", "y:F", {"F": "floats", "Q": "quant"}, axis="INT", block_size=0)

# --- various
_op("Trilu", "X:T k?:I", "Y:T", {"T": "any", "I": "i64"}, upper=1)
_op("Inverse", "X:T", "Y:T", _T)
_op("ExpandDims", "X:T axis:I", "Y:T", {"T": "any", "I": "i32"})
_op("CDist", "A:T B:T", "C:T", _T, metric="STRING!")
_op("Unique", "x:T", "y:T idx:I counts:I", {"T": "floats", "I": "i64"})
_op("Range", "start:T limit:T delta?:T", "Y:T", {"T": "numeric"})
_op("Pad", "data:T pads:I value?:T", "output:T", {"T": "numeric", "I": "i64"}, mode="constant")
_op("Tokenizer", "X:S", "Y:S", {"S": "string"}, mark="INT!", mincharnum="INT!", pad_value="STRING!",
    separators="STRINGS", tokenexp="STRING")  # fmt: skip
_op("MurmurHash3", "X:T", "Y:H", {"T": "any", "H": "numeric"}, positive=1, seed=0)
_op("GridSample", "X:T Grid:T", "Y:T", _T, align_corners=0, mode="bilinear", padding_mode="zeros")


def _norm(op: str, inputs: str, outputs: str) -> None:
    _op(op, inputs, outputs, {"T": "floats", "U": "f"}, axis=-1, epsilon=1e-5, stash_type=1)
    ONNX_DOMAIN[op] = dataclasses.replace(SCHEMAS.pop(op), domain="")


_norm("LayerNormalization", "X:T Scale:T B?:T", "Y:T Mean?:U InvStdDev?:U")
_norm("SimplifiedLayerNormalization", "X:T scale:T", "Y:T inv_std_var?:U")
