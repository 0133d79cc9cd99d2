"""Ternary weights of published checkpoints, and their way into ONNX.

``read`` takes packed tensors out of Hugging Face's BitNet checkpoints (safetensors) and GGUF files (I2_S, TQ1_0 and
TQ2_0); ``to_onnx`` makes a model of layers from them, ``put_weights`` puts them into a graph that is there already.
Reading needs the extras ``safetensors`` or ``gguf``.
"""

from ronn_provider_bitnet.formats.ggml import read_gguf
from ronn_provider_bitnet.formats.graphs import put_weights, to_onnx
from ronn_provider_bitnet.formats.huggingface import read_safetensors
from ronn_provider_bitnet.formats.reading import read
from ronn_provider_bitnet.formats.ternary import Ternary
from ronn_provider_bitnet.trits import pack_trits, unpack_trits

__all__ = ["Ternary", "pack_trits", "put_weights", "read", "read_gguf", "read_safetensors", "to_onnx", "unpack_trits"]
