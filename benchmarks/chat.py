"""SmolLM2-135M in float32 and in few bits: what it loses, and how fast it writes, beside onnxruntime and llama.cpp.

    python -m benchmarks.chat [--quality] [--write] [--llama PYTHON]

Without `--quality` it is the timing: 128 tokens are read and 64 written, one at a time, on one thread and on two; each
contestant is a process of its own (`chat_worker.py`, `chat_llama.py`), and they take turns. onnxruntime runs RONN's
files. llama.cpp, where `--llama` or CHAT_LLAMA names a Python that has `llama_cpp`, runs the GGUF file that the weights
come from and what it makes of that in fewer bits. With `--quality`: bits per byte of a text, the half of Python's help
pages that nothing was fitted to. Files are made first, and kept (`examples/chat/forms.py`): minutes a form. `--write`
puts table and figures into docs/bitnet.md, docs/images and results/.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.bench_report import RESULTS
from benchmarks.chat_report import picture, table
from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.zoo.cache import cache_root
from examples.chat import forms, weights
from examples.chat.__main__ import checkpoint_path

PAGE = Path(__file__).parents[1] / "docs" / "bitnet.md"
PICTURE = PAGE.parent / "images" / "chat.svg"
PROMPT, WRITTEN, ROOM = 128, 64, 256
PIECES, PIECE = 24, 256
"""Pieces of the text whose bits are counted, and the tokens of each."""
PAUSE_S = 0.1
LLAMA = {"gguf": "Q4_1", "4": "Q4_0", "2": "Q2_K", "1.58": "TQ2_0"}
"""What llama.cpp has that is nearest to a form; the first is the file as it comes."""
ENGINES = ("ronn", "onnxruntime", "llama.cpp")
SLOW = {("onnxruntime", "gguf")}
"""What runs once: zero points that are no whole numbers are onnxruntime's slow way, half a second a token."""
Ask = Callable[[dict[str, Any]], dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """``kind``: of the weights, as the engine calls them."""

    engine: str
    form: str
    kind: str
    path: Path

    @property
    def command(self) -> list[str]:
        if self.engine == "llama.cpp":
            return [str(Path(__file__).with_name("chat_llama.py")), "serve", str(self.path)]
        return ["-m", "benchmarks.chat_worker", self.engine, str(self.path)]

    @property
    def disk(self) -> int:
        """Bytes of the file, and of the data beside it."""
        data = self.path.with_name(f"{self.path.name}.data")
        return self.path.stat().st_size + (data.stat().st_size if data.exists() else 0)


def contestants(folder: Path, gguf: Path, names: list[str], llama: str | None) -> list[Contestant]:
    found = []
    for name in names:
        path = forms.path_of(folder, name)
        found += [Contestant("ronn", name, name, path), Contestant("onnxruntime", name, name, path)]
        if llama is not None and name in LLAMA:
            found.append(Contestant("llama.cpp", name, LLAMA[name], _made_by_llama(llama, gguf, LLAMA[name])))
    return found


def _made_by_llama(python: str, gguf: Path, kind: str) -> Path:
    if kind in gguf.stem:
        return gguf
    path = gguf.with_name(f"{gguf.stem.rpartition('.')[0]}.{kind}.gguf")
    if not path.exists():
        program = str(Path(__file__).with_name("chat_llama.py"))
        subprocess.run([python, program, "quantize", str(gguf), str(path), kind], check=True, capture_output=True)
    return path


@contextmanager
def served(contestant: Contestant, threads: int, llama: str | None) -> Iterator[Ask]:
    """Starts a contestant, and gives the function that asks it."""
    python = str(llama) if contestant.engine == "llama.cpp" else sys.executable
    limits = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS"), "1")
    with subprocess.Popen(
        [python, *contestant.command, str(threads), str(ROOM)], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL, text=True, env={**os.environ, **limits},
    ) as process:  # fmt: skip
        assert process.stdin is not None and process.stdout is not None
        read, write = process.stdout, process.stdin

        def answer() -> dict[str, Any]:
            line = read.readline()
            if not line:
                raise SystemExit(f"{contestant.engine} with {contestant.path.name} ended without an answer")
            found: dict[str, Any] = json.loads(line)
            return found

        def ask(question: dict[str, Any]) -> dict[str, Any]:
            write.write(json.dumps(question) + "\n")
            write.flush()
            return answer()

        answer()  # that it is ready
        try:
            yield ask
        finally:
            write.close()


def speeds(
    all_of: list[Contestant], tokens: list[int], threads: int, rounds: int, llama: str | None
) -> list[dict[str, Any]]:
    """Rates of the contestants of each form, which take turns; the answers of one form are held against each other."""
    question = {"prompt": tokens[:PROMPT], "tokens": tokens[PROMPT : PROMPT + WRITTEN]}
    rows = []
    for form in dict.fromkeys(c.form for c in all_of):
        group = [c for c in all_of if c.form == form]
        with ExitStack() as stack:
            asks = [stack.enter_context(served(c, threads, llama)) for c in group]
            first = [ask(question) for ask in asks]  # not counted: plans are made here
            taken: list[list[dict[str, Any]]] = [[] for _ in group]
            for _ in range(rounds):
                for ask, own, contestant, begun in zip(asks, taken, group, first):
                    if (contestant.engine, contestant.form) in SLOW:
                        own.append(begun)
                        continue
                    time.sleep(PAUSE_S)
                    own.append(ask(question))
        _same(group, first)
        for contestant, own in zip(group, taken):
            rates = [WRITTEN / sum(o["steps"]) for o in own]
            read = [PROMPT / o["prompt"] for o in own]
            rows.append({
                "engine": contestant.engine, "form": form, "kind": contestant.kind, "threads": threads,
                "decode": statistics.median(rates), "best_decode": max(rates), "prompt": statistics.median(read),
                "disk": contestant.disk, "ram": own[-1]["ram"],
            })  # fmt: skip
            rate = f"{rows[-1]['decode']:.1f} tokens/s"
            _say(f"{threads} thread(s), {form}: {contestant.engine} {contestant.kind}: {rate}")
    return rows


def _same(group: list[Contestant], answers: list[dict[str, Any]]) -> None:
    """onnxruntime has RONN's file: most of the best next tokens must be the same."""
    ours = next(a["best"] for c, a in zip(group, answers) if c.engine == "ronn")
    for contestant, answer in zip(group, answers):
        same = float(np.mean(np.equal(ours, answer["best"])))
        if contestant.engine == "onnxruntime" and same < 0.6:
            raise SystemExit(f"{contestant.form}: RONN and onnxruntime agree on {same:.0%} of the tokens only")


def quality(all_of: list[Contestant], checkpoint: weights.Checkpoint, llama: str | None) -> list[dict[str, Any]]:
    """Bits per byte of the text, given up to 255 tokens before each token."""
    text = forms.texts()[1]
    tokens = checkpoint.tokenizer.encode(text).ids
    starts = np.linspace(0, len(tokens) - PIECE, PIECES).astype(int)
    pieces = [tokens[s : s + PIECE] for s in starts]
    size = sum(len(checkpoint.tokenizer.decode(p[1:]).encode()) for p in pieces)
    rows = []
    for contestant in all_of:
        if contestant.engine == "onnxruntime":
            continue
        with served(contestant, 1, llama) as ask:
            bits = sum(ask({"loss": piece})["bits"] for piece in pieces)
        who = {"engine": contestant.engine, "form": contestant.form, "kind": contestant.kind}
        rows.append({**who, "bits_per_byte": bits / size})
        _say(f"{contestant.engine} {contestant.kind}: {bits / size:.4f} bits per byte of {size}")
    return rows


def merged(kept: Iterable[dict[str, Any]], new: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures of a part of the forms take the places of earlier ones of the same kind."""

    def which(row: dict[str, Any]) -> tuple[Any, ...]:
        return row.get("threads", 1), list(forms.FORMS).index(row["form"]), ENGINES.index(row["engine"])

    fresh = {which(r) for r in new}
    return sorted([*(r for r in kept if which(r) not in fresh), *new], key=which)


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quality", action="store_true", help="bits per byte instead of the timing")
    parser.add_argument("--write", action="store_true", help="put table, picture and figures where they are kept")
    parser.add_argument("--llama", default=os.environ.get("CHAT_LLAMA"), help="a Python that has llama_cpp")
    parser.add_argument("--forms", nargs="*", default=list(forms.FORMS), choices=list(forms.FORMS))
    parser.add_argument("--threads", type=int, nargs="*", default=[1, 2])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--folder", type=Path, default=cache_root() / "chat")
    options = parser.parse_args()
    from rich.console import Console

    gguf = checkpoint_path(Console(stderr=True), options.folder)
    checkpoint = weights.read(gguf)
    for name in options.forms:
        forms.make(checkpoint, name, options.folder)
    all_of = contestants(options.folder, gguf, options.forms, options.llama)
    kept = RESULTS / "chat.json"
    found: dict[str, Any] = json.loads(kept.read_text(encoding="utf-8")) if kept.exists() else {}
    if options.quality:
        text = f"Python {sys.version.split()[0]}'s pydoc_data.topics, every other one"
        found |= {"quality": merged(found.get("quality", ()), quality(all_of, checkpoint, options.llama)), "text": text}
    else:
        tokens = checkpoint.tokenizer.encode(forms.texts()[1]).ids
        rows = [r for t in options.threads for r in speeds(all_of, tokens, t, options.rounds, options.llama)]
        found |= {"machine": describe(), "speed": merged(found.get("speed", ()), rows)}
    made = table(found)
    _say(made)
    if options.write:
        publish("chat", found, made, PAGE)
        picture(found, PICTURE)


if __name__ == "__main__":
    main()
