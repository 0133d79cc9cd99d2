"""One contestant of `benchmarks.chat` in a process of its own.

    python -m benchmarks.chat_worker ENGINE MODEL THREADS ROOM

It answers each line of its input with one line of JSON. `{"prompt": [...], "tokens": [...]}`: seconds for the prompt,
for each of the tokens behind it, the best next tokens, and the memory taken since before the model was loaded.
`{"loss": [...]}`: the bits of all these tokens but the first, given those before.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from benchmarks.chat_llama import resident, timed
from examples.chat.decoder import Shape

Array = np.ndarray


class Contestant(Protocol):
    def reset(self) -> None:
        """Forgets what was read."""

    def read(self, tokens: list[int]) -> Array:
        """The logits behind the last token, f32[vocabulary]."""

    def logits(self, tokens: list[int]) -> Array:
        """Those behind each token, with nothing before them: f32[steps, vocabulary]."""


class Ronn:
    def __init__(self, path: Path, threads: int, room: int) -> None:
        import ronn
        from examples.chat.generate import Decoder

        self.session = ronn.Session(path, providers=["bitnet"], options={"threads": threads})
        self.shape = shape_of(path)
        self.decoder = Decoder(self.session, self.shape, room)

    def reset(self) -> None:
        self.decoder.rewind(0)

    def read(self, tokens: list[int]) -> Array:
        return self.decoder.read(tokens)

    def logits(self, tokens: list[int]) -> Array:
        from examples.chat.forms import feed

        found: Array = self.session.run(feed(self.shape, np.array(tokens)), outputs=["logits"])["logits"][0]
        return found


class Onnxruntime:
    """The same file. Products with few bits have 8-bit activations, which is its fast way (``accuracy_level=4``)."""

    def __init__(self, path: Path, threads: int, room: int) -> None:
        import onnxruntime as ort

        ort.set_default_logger_severity(3)
        options = ort.SessionOptions()
        options.intra_op_num_threads = threads
        model = str(eight_bit_activations(path))
        self.session = ort.InferenceSession(model, options, providers=["CPUExecutionProvider"])
        self.shape = shape_of(path)
        self.binding = self.session.io_binding()
        sizes = (1, room, self.shape.cache_width)
        self.caches = {n: ort.OrtValue.ortvalue_from_numpy(np.zeros(sizes, np.float32)) for n in self.shape.caches}
        for name, cache in self.caches.items():
            self.binding.bind_ortvalue_input(f"past.{name}", cache)
            self.binding.bind_ortvalue_output(f"present.{name}", cache)
        self.found = ort.OrtValue.ortvalue_from_numpy(np.zeros((1, 1, self.shape.vocabulary), np.float32))
        self.binding.bind_ortvalue_output("logits", self.found)
        self.length = 0

    def reset(self) -> None:
        self.length = 0

    def read(self, tokens: list[int]) -> Array:
        self.binding.bind_cpu_input("tokens", np.array([tokens]))
        self.binding.bind_cpu_input("start", np.array([self.length]))
        self.binding.bind_cpu_input("wanted", np.array([len(tokens) - 1]))
        self.session.run_with_iobinding(self.binding)
        self.length += len(tokens)
        found: Array = self.found.numpy()[0, 0]
        return found

    def logits(self, tokens: list[int]) -> Array:
        from examples.chat.forms import feed

        found: Array = self.session.run(["logits"], feed(self.shape, np.array(tokens)))[0][0]
        return found


def eight_bit_activations(path: Path) -> Path:
    """The model with accuracy level 4, beside the one at ``path``, with which it shares its data."""
    import onnx

    model = onnx.load(path, load_external_data=False)
    for node in model.graph.node:
        if node.op_type == "MatMulNBits" and not any(a.name == "accuracy_level" for a in node.attribute):
            node.attribute.append(onnx.helper.make_attribute("accuracy_level", 4))
    made = path.with_name(f"{path.stem}.a8.onnx")
    onnx.save(model, made)
    return made


def shape_of(path: Path) -> Shape:
    """As far as running it goes: layers, the width of a token in the caches, and the vocabulary."""
    import onnx

    graph = onnx.load(path, load_external_data=False).graph
    pasts = [v for v in graph.input if v.name.startswith("past.")]
    wide = pasts[0].type.tensor_type.shape.dim[2].dim_value
    vocabulary = graph.output[0].type.tensor_type.shape.dim[2].dim_value
    return Shape(len(pasts) // 2, 0, 0, 1, wide, 0, vocabulary, 1 << 20)


ENGINES = {"ronn": Ronn, "onnxruntime": Onnxruntime}


def bits_of(logits: Array, tokens: list[int]) -> float:
    """Bits of all tokens but the first."""
    rows = logits[:-1].astype(np.float64)
    top = rows.max(axis=1)
    total = np.log(np.exp(rows - top[:, None]).sum(axis=1)) + top
    return float((total - rows[np.arange(len(rows)), tokens[1:]]).sum() / np.log(2))


def main() -> None:
    engine, path, threads, room = sys.argv[1], Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    before = resident()
    served: Contestant = ENGINES[engine](path, threads, room)
    _tell({"ready": True})
    for line in sys.stdin:
        asked = json.loads(line)
        if "loss" in asked:
            _tell({"bits": bits_of(served.logits(asked["loss"]), asked["loss"])})
        else:
            answer = timed(served, asked["prompt"], asked["tokens"])
            _tell({**answer, "ram": resident() - before})


def _tell(answer: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(answer) + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
