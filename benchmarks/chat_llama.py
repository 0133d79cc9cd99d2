"""The part of `benchmarks.chat` that runs llama.cpp, in a Python that has `llama_cpp`; imports nothing of this project.

    python chat_llama.py quantize SOURCE TARGET TYPE
    python chat_llama.py serve MODEL THREADS ROOM

`serve` reads lines from its input and answers each with one line of JSON: see `benchmarks.chat_worker`.
"""

import ctypes
import itertools
import json
import sys
import time

import numpy as np

try:
    import llama_cpp as ll
except ImportError:  # the timing is that of all contestants
    ll = None


def quantize(source, target, kind):
    """`kind`: Q4_0, Q2_K, TQ2_0 ...; weights that are quantised already are taken as they are and rounded again."""
    params = ll.llama_model_quantize_default_params()
    params.ftype = getattr(ll, f"LLAMA_FTYPE_MOSTLY_{kind}")
    params.allow_requantize = True
    params.nthread = 1
    if ll.llama_model_quantize(source.encode(), target.encode(), ctypes.byref(params)) != 0:
        raise SystemExit(f"llama.cpp cannot make {kind} of {source}")


class Served:
    def __init__(self, path, threads, room):
        self.model = ll.Llama(
            path, n_ctx=room, n_batch=room, n_ubatch=room, n_threads=threads, n_threads_batch=threads, flash_attn=True,
            verbose=False,
        )
        self.context = self.model._ctx.ctx
        self.size = self.model.n_vocab()

    def read(self, tokens):
        array = (ll.llama_token * len(tokens))(*tokens)
        if ll.llama_decode(self.context, ll.llama_batch_get_one(array, len(tokens))) != 0:
            raise SystemExit("llama_decode failed")
        return np.ctypeslib.as_array(ll.llama_get_logits_ith(self.context, -1), (self.size,))

    def reset(self):
        ll.llama_memory_clear(ll.llama_get_memory(self.context), False)

    def loss(self, tokens):
        """Bits of all tokens but the first, given those before."""
        self.reset()
        batch = ll.llama_batch_init(len(tokens), 0, 1)
        batch.n_tokens = len(tokens)
        for i, token in enumerate(tokens):
            batch.token[i], batch.pos[i], batch.n_seq_id[i], batch.seq_id[i][0] = token, i, 1, 0
            batch.logits[i] = 1
        if ll.llama_decode(self.context, batch) != 0:
            raise SystemExit("llama_decode failed")
        found = np.ctypeslib.as_array(ll.llama_get_logits(self.context), (len(tokens), self.size))
        rows = found[:-1].astype(np.float64)
        ll.llama_batch_free(batch)
        top = rows.max(1)
        total = np.log(np.exp(rows - top[:, None]).sum(1)) + top
        return float((total - rows[np.arange(len(rows)), tokens[1:]]).sum() / np.log(2))


def resident():
    with open("/proc/self/statm", encoding="ascii") as file:
        return int(file.read().split()[1]) * 4096


def serve(path, threads, room):
    before = resident()
    served = Served(path, threads, room)
    served.read([1])
    print(json.dumps({"ready": True}), flush=True)
    for line in sys.stdin:
        asked = json.loads(line)
        if "loss" in asked:
            answer = {"bits": served.loss(asked["loss"])}
        else:
            answer = timed(served, asked["prompt"], asked["tokens"])
            answer["ram"] = resident() - before
        print(json.dumps(answer), flush=True)


def timed(served, prompt, tokens):
    """Seconds for the prompt, and for each of the tokens behind it; the best next token each time."""
    served.reset()
    began = time.perf_counter()
    best = [int(served.read(prompt).argmax())]
    times = [time.perf_counter()]
    for token in tokens:
        best.append(int(served.read([token]).argmax()))
        times.append(time.perf_counter())
    steps = [b - a for a, b in itertools.pairwise(times)]
    return {"prompt": times[0] - began, "steps": steps, "best": best}


if __name__ == "__main__":
    if sys.argv[1] == "quantize":
        quantize(*sys.argv[2:5])
    else:
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
