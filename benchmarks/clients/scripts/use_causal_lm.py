"""optimum's causal language model: greedy tokens, with and without IOBinding. A small Llama of random weights."""

import tempfile

import torch
from optimum.onnxruntime import ORTModelForCausalLM
from show import show
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
config = LlamaConfig(
    vocab_size=320, hidden_size=64, intermediate_size=160, num_hidden_layers=3, num_attention_heads=4,
    num_key_value_heads=2, max_position_embeddings=128, bos_token_id=1, eos_token_id=None, pad_token_id=0,
)  # fmt: skip
prompt = torch.tensor([[1, 17, 42, 99, 7], [1, 250, 3, 88, 12]])
asked = {"max_new_tokens": 24, "do_sample": False, "attention_mask": torch.ones_like(prompt)}
with tempfile.TemporaryDirectory() as folder:
    source = LlamaForCausalLM(config).eval()
    source.save_pretrained(folder)
    expected = source.generate(prompt, **asked)
    tokens = {}
    for binding in (False, True):
        model = ORTModelForCausalLM.from_pretrained(folder, export=True, use_io_binding=binding)
        tokens[f"IOBinding {binding}"] = model.generate(prompt, **asked)
show(tokens=tokens, as_torch={name: bool(torch.equal(t, expected)) for name, t in tokens.items()})
