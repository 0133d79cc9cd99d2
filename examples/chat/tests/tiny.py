"""A model of the same kind with two small layers and random weights: as a GGUF file, and computed in NumPy."""

from __future__ import annotations

from pathlib import Path

import gguf
import numpy as np

from examples.chat.decoder import Shape

SHAPE = Shape(
    layers=2, width=64, heads=4, key_heads=2, head_width=16, inner=96, vocabulary=261, longest=256, rotary_base=500.0
)
MARKS = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
Q4_1, Q8_0 = gguf.GGMLQuantizationType.Q4_1, gguf.GGMLQuantizationType.Q8_0


def random_weights(seed: int = 0) -> dict[str, np.ndarray]:
    """Float32, by the names and in the order of rotary pairs that GGUF has."""
    rng, s = np.random.default_rng(seed), SHAPE
    q, kv = s.heads * s.head_width, s.key_heads * s.head_width
    sizes = {
        "attn_q": (q, s.width), "attn_k": (kv, s.width), "attn_v": (kv, s.width), "attn_output": (s.width, q),
        "ffn_gate": (s.inner, s.width), "ffn_up": (s.inner, s.width), "ffn_down": (s.width, s.inner),
    }  # fmt: skip
    found = {"token_embd.weight": rng.normal(size=(s.vocabulary, s.width)), "output_norm.weight": np.ones(s.width)}
    for layer in range(s.layers):
        for name, size in sizes.items():
            found[f"blk.{layer}.{name}.weight"] = rng.normal(size=size) * size[1] ** -0.5
        for name in ("attn_norm", "ffn_norm"):
            found[f"blk.{layer}.{name}.weight"] = 1 + 0.1 * rng.normal(size=s.width)
    return {name: array.astype(np.float32) for name, array in found.items()}


def write_gguf(path: Path, weights: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Layers in Q4_1 and the embedding in Q8_0, with a vocabulary of bytes; the weights as the file has them."""
    writer, s, kept = gguf.GGUFWriter(path, "llama"), SHAPE, {}
    writer.add_block_count(s.layers)
    writer.add_context_length(s.longest)
    writer.add_embedding_length(s.width)
    writer.add_feed_forward_length(s.inner)
    writer.add_head_count(s.heads)
    writer.add_head_count_kv(s.key_heads)
    writer.add_rope_freq_base(s.rotary_base)
    writer.add_layer_norm_rms_eps(s.epsilon)
    writer.add_vocab_size(s.vocabulary)
    letters = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = [byte for byte in range(256) if byte not in letters]
    words = [chr(b) if b in letters else chr(256 + others.index(b)) for b in range(256)]
    words = [*MARKS, *words, "he", "hel"]
    writer.add_token_list(words)
    writer.add_token_merges(["h e", "he l"])
    normal, control = gguf.TokenType.NORMAL, gguf.TokenType.CONTROL
    writer.add_token_types([control if word in MARKS else normal for word in words])
    writer.add_eos_token_id(2)
    for name, array in weights.items():
        if name.endswith("norm.weight"):
            writer.add_tensor(name, array)
            kept[name] = array
            continue
        kind = Q8_0 if name == "token_embd.weight" else Q4_1
        data = gguf.quantize(array, kind)
        writer.add_tensor(name, data, raw_dtype=kind)
        kept[name] = gguf.dequantize(data, kind).reshape(array.shape).astype(np.float32)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return kept


def logits(weights: dict[str, np.ndarray], tokens: list[int]) -> np.ndarray:
    """f64[steps, vocabulary], straight from the formulas; rotary pairs lie side by side."""
    s, steps = SHAPE, len(tokens)
    w = {name: array.astype(np.float64) for name, array in weights.items()}

    def norm(x: np.ndarray, name: str) -> np.ndarray:
        return x / np.sqrt((x**2).mean(-1, keepdims=True) + s.epsilon) * w[name]

    def turned(x: np.ndarray) -> np.ndarray:
        angles = np.arange(steps)[:, None] * s.rotary_base ** (-np.arange(0, s.head_width, 2) / s.head_width)
        pairs = (x[..., ::2] + 1j * x[..., 1::2]) * np.exp(1j * angles)[:, None]
        return np.stack([pairs.real, pairs.imag], axis=-1).reshape(x.shape)

    x = w["token_embd.weight"][tokens]
    late = np.triu(np.ones((steps, steps), bool), 1)
    for layer in range(s.layers):
        b = f"blk.{layer}."
        normal = norm(x, f"{b}attn_norm.weight")
        q, k, v = (
            (normal @ w[f"{b}attn_{p}.weight"].T).reshape(steps, heads, s.head_width)
            for p, heads in (("q", s.heads), ("k", s.key_heads), ("v", s.key_heads))
        )
        k, v = (np.repeat(part, s.heads // s.key_heads, axis=1) for part in (turned(k), v))
        scores = np.einsum("qhd,khd->hqk", turned(q), k) * s.head_width**-0.5
        scores[:, late] = -np.inf
        share = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", share / share.sum(-1, keepdims=True), v).reshape(steps, -1)
        x = x + mixed @ w[f"{b}attn_output.weight"].T
        normal = norm(x, f"{b}ffn_norm.weight")
        gate = normal @ w[f"{b}ffn_gate.weight"].T
        x = x + (gate / (1 + np.exp(-gate)) * (normal @ w[f"{b}ffn_up.weight"].T)) @ w[f"{b}ffn_down.weight"].T
    return norm(x, "output_norm.weight") @ w["token_embd.weight"].T
