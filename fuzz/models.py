"""Small models whose operators read indices, sizes, counts and lengths from their inputs. Ranks are left open, so that
any array of the right dtype reaches the kernels."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import onnx
from onnx import TensorProto as T
from onnx import helper as h

OPSET = 23
F, I, B, U8, S = T.FLOAT, T.INT64, T.BOOL, T.UINT8, T.STRING


def _model(name: str, nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: list[str]) -> onnx.ModelProto:
    graph = h.make_graph(
        nodes,
        name,
        [h.make_tensor_value_info(n, t, None) for n, t in inputs.items()],
        [onnx.ValueInfoProto(name=n) for n in outputs],
    )
    imports = [h.make_opsetid("", OPSET), h.make_opsetid("com.microsoft", 1), h.make_opsetid("ai.onnx.ml", 5)]
    return h.make_model(graph, opset_imports=imports, ir_version=10)


def _one(op: str, inputs: dict[str, int], outputs: int = 1, domain: str = "", **attributes: Any) -> onnx.ModelProto:
    names = [f"y{i}" for i in range(outputs)]
    node = h.make_node(op, list(inputs), names, name=op.lower(), domain=domain, **attributes)
    return _model(op, [node], inputs, names)


def _graph(nodes: list[onnx.NodeProto], inputs: dict[str, int], outputs: dict[str, int]) -> onnx.GraphProto:
    infos = [[h.make_tensor_value_info(n, t, None) for n, t in part.items()] for part in (inputs, outputs)]
    return h.make_graph(nodes, "body", *infos)


def loop() -> onnx.ModelProto:
    body = _graph(
        [
            h.make_node("Add", ["v", "x"], ["v2"]),
            h.make_node("Gather", ["x", "i"], ["row"], axis=0),
            h.make_node("Identity", ["c"], ["c2"]),
        ],
        {"i": I, "c": B, "v": F},
        {"c2": B, "v2": F, "row": F},
    )
    node = h.make_node("Loop", ["n", "go", "x"], ["last", "rows"], body=body)
    return _model("Loop", [node], {"n": I, "go": B, "x": F}, ["last", "rows"])


def scan() -> onnx.ModelProto:
    nodes = [h.make_node("Add", ["s", "e"], ["s2"]), h.make_node("Neg", ["e"], ["o"])]
    body = _graph(nodes, {"s": F, "e": F}, {"s2": F, "o": F})
    node = h.make_node("Scan", ["s", "x"], ["t", "y"], body=body, num_scan_inputs=1)
    return _model("Scan", [node], {"s": F, "x": F}, ["t", "y"])


def branch() -> onnx.ModelProto:
    then = _graph([h.make_node("Reshape", ["x", "s"], ["a"])], {}, {"a": F})
    other = _graph([h.make_node("Tile", ["x", "s"], ["b"])], {}, {"b": F})
    node = h.make_node("If", ["c"], ["y"], then_branch=then, else_branch=other)
    return _model("If", [node], {"c": B, "x": F, "s": I}, ["y"])


def sequence() -> onnx.ModelProto:
    nodes = [
        h.make_node("SplitToSequence", ["x", "s"], ["q"], axis=0),
        h.make_node("SequenceInsert", ["q", "x", "i"], ["r"]),
        h.make_node("SequenceErase", ["r", "i"], ["e"]),
        h.make_node("SequenceAt", ["e", "i"], ["y"]),
        h.make_node("ConcatFromSequence", ["r"], ["z"], axis=0),
    ]
    return _model("sequences", nodes, {"x": F, "s": I, "i": I}, ["y", "z"])


def shapes() -> onnx.ModelProto:
    """A size that is computed from the input decides about the next shapes."""
    nodes = [
        h.make_node("NonZero", ["x"], ["at"]),
        h.make_node("Shape", ["at"], ["size"]),
        h.make_node("Concat", ["size", "s"], ["wanted"], axis=0),
        h.make_node("ConstantOfShape", ["wanted"], ["zeros"]),
        h.make_node("Reshape", ["x", "s"], ["y"]),
        h.make_node("MatMul", ["y", "y"], ["z"]),
    ]
    return _model("shapes", nodes, {"x": F, "s": I}, ["zeros", "z"])


def _resize(inputs: list[str], wanted: int, **attributes: Any) -> onnx.ModelProto:
    return _model("Resize", [h.make_node("Resize", inputs, ["y"], **attributes)], {"x": F, "s": wanted}, ["y"])


def _lstm() -> onnx.ModelProto:
    return _one("LSTM", {"x": F, "w": F, "r": F, "b": F, "lens": T.INT32}, 3, hidden_size=2)


MS, ML = "com.microsoft", "ai.onnx.ml"
XI = {"x": F, "i": I}
MODELS: dict[str, Callable[[], onnx.ModelProto]] = {
    "gather": lambda: _one("Gather", XI, axis=0),
    "gather last axis": lambda: _one("Gather", XI, axis=-1),
    "gather elements": lambda: _one("GatherElements", XI, axis=1),
    "gather nd": lambda: _one("GatherND", XI, batch_dims=1),
    "scatter elements": lambda: _one("ScatterElements", {**XI, "u": F}, axis=0, reduction="add"),
    "scatter nd": lambda: _one("ScatterND", {**XI, "u": F}),
    "slice": lambda: _one("Slice", {"x": F, "starts": I, "ends": I, "axes": I, "steps": I}),
    "resize scales": lambda: _resize(["x", "", "s"], F, mode="linear"),
    "resize sizes": lambda: _resize(["x", "", "", "s"], I, mode="nearest"),
    "resize cubic": lambda: _resize(["x", "", "", "s"], I, mode="cubic", antialias=1),
    "nms": lambda: _one("NonMaxSuppression", {"boxes": F, "scores": F, "n": I, "iou": F, "t": F}),
    "top k": lambda: _one("TopK", {"x": F, "k": I}, 2, axis=-1),
    "reshape": lambda: _one("Reshape", XI, allowzero=1),
    "expand": lambda: _one("Expand", XI),
    "tile": lambda: _one("Tile", XI),
    "pad": lambda: _one("Pad", {**XI, "v": F, "axes": I}, mode="constant"),
    "pad reflect": lambda: _one("Pad", XI, mode="reflect"),
    "unsqueeze": lambda: _one("Unsqueeze", XI),
    "squeeze": lambda: _one("Squeeze", XI),
    "split": lambda: _one("Split", XI, 3, axis=0),
    "one hot": lambda: _one("OneHot", {"i": I, "depth": I, "v": F}, axis=-1),
    "range": lambda: _one("Range", {"a": I, "b": I, "c": I}),
    "range of floats": lambda: _one("Range", {"a": F, "b": F, "c": F}),
    "constant of shape": lambda: _one("ConstantOfShape", {"s": I}),
    "cum sum": lambda: _one("CumSum", XI),
    "reduce sum": lambda: _one("ReduceSum", XI, keepdims=0),
    "reduce max": lambda: _one("ReduceMax", XI),
    "reverse sequence": lambda: _one("ReverseSequence", XI, batch_axis=1, time_axis=0),
    "compress": lambda: _one("Compress", {"x": F, "c": B}, axis=0),
    "where": lambda: _one("Where", {"c": B, "x": F, "y": F}),
    "trilu": lambda: _one("Trilu", XI),
    "roi align": lambda: _one("RoiAlign", {"x": F, "rois": F, "i": I}),
    "grid sample": lambda: _one("GridSample", {"x": F, "grid": F}),
    "grid sample cubic": lambda: _one("GridSample", {"x": F, "grid": F}, mode="cubic", padding_mode="reflection"),
    "affine grid": lambda: _one("AffineGrid", {"theta": F, "s": I}),
    "col2im": lambda: _one("Col2Im", {"x": F, "s": I, "b": I}),
    "max unpool": lambda: _one("MaxUnpool", {"x": F, "i": I, "s": I}, kernel_shape=[2, 2], strides=[2, 2]),
    "max pool": lambda: _one("MaxPool", {"x": F}, 2, kernel_shape=[2, 2], pads=[1, 0, 1, 0], strides=[2, 1]),
    "conv": lambda: _one("Conv", {"x": F, "w": F, "b": F}, auto_pad="SAME_UPPER"),
    "conv transpose": lambda: _one("ConvTranspose", {"x": F, "w": F}, strides=[2, 2]),
    "conv integer": lambda: _one("ConvInteger", {"x": U8, "w": U8, "a": U8, "b": U8}),
    "deform conv": lambda: _one("DeformConv", {"x": F, "w": F, "o": F}),
    "matmul": lambda: _one("MatMul", {"x": F, "y": F}),
    "gemm": lambda: _one("Gemm", {"x": F, "y": F, "z": F}, transA=1),
    "matmul integer": lambda: _one("MatMulInteger", {"x": U8, "y": U8, "a": U8, "b": U8}),
    "quantize": lambda: _one("QuantizeLinear", {"x": F, "s": F, "z": U8}, axis=0),
    "dequantize blocks": lambda: _one("DequantizeLinear", {"x": U8, "s": F, "z": U8}, axis=0, block_size=2),
    "batch norm": lambda: _one("BatchNormalization", {"x": F, "s": F, "b": F, "m": F, "v": F}),
    "layer norm": lambda: _one("LayerNormalization", {"x": F, "s": F, "b": F}, axis=-1),
    "lstm": _lstm,
    "gru": lambda: _one("GRU", {"x": F, "w": F, "r": F, "b": F, "lens": T.INT32, "h": F}, 2, hidden_size=2),
    "rnn": lambda: _one("RNN", {"x": F, "w": F, "r": F, "b": F}, 2, hidden_size=2),
    "lstm states": lambda: _one(
        "LSTM", {"x": F, "w": F, "r": F, "b": F, "lens": T.INT32, "h": F, "c": F, "p": F}, 3, hidden_size=2
    ),
    "instance norm": lambda: _one("InstanceNormalization", {"x": F, "s": F, "b": F}),
    "group norm": lambda: _one("GroupNormalization", {"x": F, "s": F, "b": F}, num_groups=2),
    "rms norm": lambda: _one("RMSNormalization", {"x": F, "s": F}),
    "prelu": lambda: _one("PRelu", {"x": F, "s": F}),
    "max roi pool": lambda: _one("MaxRoiPool", {"x": F, "r": F}, pooled_shape=[2, 2]),
    "tensor scatter": lambda: _one("TensorScatter", {"x": F, "u": F, "i": I}),
    "rotary": lambda: _one("RotaryEmbedding", {"x": F, "c": F, "s": F, "i": I}),
    "rotary of another domain": lambda: _one("RotaryEmbedding", {"x": F, "i": I, "c": F, "s": F}, domain=MS),
    "multi-head": lambda: _one(
        "MultiHeadAttention", {"q": F, "k": F, "v": F, "b": F, "m": T.INT32}, domain=MS, num_heads=2
    ),
    "attention with past": lambda: _one("Attention", {"q": F, "k": F, "v": F, "m": B, "pk": F, "pv": F}, 3),
    "linear attention": lambda: _one("LinearAttention", {"q": F, "k": F, "v": F}, 2, q_num_heads=2, kv_num_heads=2),
    "qlinear matmul": lambda: _one(
        "QLinearMatMul", {"a": U8, "as": F, "az": U8, "b": U8, "bs": F, "bz": U8, "s": F, "z": U8}
    ),
    "qlinear conv": lambda: _one(
        "QLinearConv", {"a": U8, "as": F, "az": U8, "b": U8, "bs": F, "bz": U8, "s": F, "z": U8, "bias": T.INT32}
    ),
    "qlinear add": lambda: _one(
        "QLinearAdd", {"a": U8, "as": F, "az": U8, "b": U8, "bs": F, "bz": U8, "s": F, "z": U8}, domain=MS
    ),
    "qgemm": lambda: _one("QGemm", {"a": U8, "as": F, "az": U8, "b": U8, "bs": F, "bz": U8}, domain=MS),
    "matmul to float": lambda: _one(
        "MatMulIntegerToFloat", {"a": U8, "b": U8, "as": F, "bs": F, "az": U8, "bz": U8, "bias": F}, domain=MS
    ),
    "dynamic lstm": lambda: _one(
        "DynamicQuantizeLSTM",
        {"x": F, "w": U8, "r": U8, "b": F, "l": T.INT32, "h": F, "c": F, "p": F, "ws": F, "wz": U8, "rs": F, "rz": U8},
        3, domain=MS, hidden_size=2,
    ),
    "bits": lambda: _one("MatMulNBits", {"x": F, "b": U8, "s": F}, domain=MS, K=16, N=3, bits=4, block_size=16),
    "fused conv": lambda: _one("FusedConv", {"x": F, "w": F, "b": F, "z": F}, domain=MS, activation="Relu"),
    "distances": lambda: _one("CDist", {"x": F, "y": F}, domain=MS, metric="euclidean"),
    "linear": lambda: _one("LinearRegressor", {"x": F}, domain=ML, coefficients=[1.0, 2.0, 3.0], intercepts=[1.0]),
    "scaler": lambda: _one("Scaler", {"x": F}, domain=ML, offset=[1.0, 2.0], scale=[1.0, 2.0]),
    "conv of a bias": lambda: _one("Conv", {"x": F, "w": F, "b": F}, kernel_shape=[2, 2], group=2, pads=[1, 1, 0, 0]),
    "loss": lambda: _one("SoftmaxCrossEntropyLoss", {"x": F, "t": I, "w": F}, 2),
    "attention": lambda: _one("Attention", {"q": F, "k": F, "v": F, "m": F}),
    "einsum": lambda: _one("Einsum", {"x": F, "y": F}, equation="...ij,...jk->...ik"),
    "div of integers": lambda: _one("Div", {"x": I, "y": I}),
    "mod of integers": lambda: _one("Mod", {"x": I, "y": I}),
    "pow of integers": lambda: _one("Pow", {"x": I, "y": I}),
    "shift": lambda: _one("BitShift", {"x": U8, "y": U8}, direction="LEFT"),
    "cast": lambda: _one("Cast", {"x": F}, to=T.INT8),
    "clip": lambda: _one("Clip", {"x": F, "lo": F, "hi": F}),
    "unique": lambda: _one("Unique", {"x": F}, 4, axis=0),
    "det": lambda: _one("Det", {"x": F}),
    "dft": lambda: _one("DFT", {"x": F, "n": I, "a": I}),
    "stft": lambda: _one("STFT", {"x": F, "step": I, "w": F, "n": I}),
    "mel": lambda: _one("MelWeightMatrix", {"a": I, "b": I, "c": I, "d": F, "e": F}),
    "hann": lambda: _one("HannWindow", {"n": I}),
    "blackman": lambda: _one("BlackmanWindow", {"n": I}),
    "center crop": lambda: _one("CenterCropPad", XI),
    "space to depth": lambda: _one("SpaceToDepth", {"x": F}, blocksize=2),
    "nll": lambda: _one("NegativeLogLikelihoodLoss", {"x": F, "t": I}, ignore_index=1),
    "tfidf": lambda: _one(
        "TfIdfVectorizer", {"x": I}, mode="TF", min_gram_length=1, max_gram_length=2, max_skip_count=1,
        ngram_counts=[0, 2], ngram_indexes=[0, 1, 2], pool_int64s=[1, 2, 3, 4],
    ),
    "strings": lambda: _one("StringSplit", {"x": S}, 2),
    "string concat": lambda: _one("StringConcat", {"x": S, "y": S}),
    "embed": lambda: _one(
        "EmbedLayerNormalization", {"i": T.INT32, "s": T.INT32, "w": F, "p": F, "g": F, "a": F, "b": F}, 2,
        domain="com.microsoft",
    ),
    "array features": lambda: _one("ArrayFeatureExtractor", XI, domain="ai.onnx.ml"),
    "loop": loop,
    "scan": scan,
    "if": branch,
    "sequences": sequence,
    "shapes": shapes,
}  # fmt: skip
