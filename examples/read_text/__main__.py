"""``python -m examples.read_text [picture]`` from the top of the repository; see README.md beside this file."""

from __future__ import annotations

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

import ronn
from benchmarks.zoo.fetch import ZooError, model_path
from examples.read_text import detection, picture, recognition

MODELS = {"detector": "ppocrv4-det", "recogniser": "ppocrv4-rec"}


class Stopwatch:
    """Times named stages, in milliseconds."""

    def __init__(self) -> None:
        self.stages: dict[str, float] = {}

    @contextmanager
    def __call__(self, stage: str) -> Iterator[None]:
        start = time.perf_counter()
        yield
        self.stages[stage] = self.stages.get(stage, 0.0) + (time.perf_counter() - start) * 1e3


def read_text(
    image: Image.Image, detector: detection.Run, recogniser: recognition.Run, alphabet: list[str], watch: Stopwatch
) -> list[tuple[detection.Box, str, float]]:
    """Every line found in ``image``: its box, its text, the recogniser's score."""
    with watch("find lines"):
        boxes = detection.detect(image, detector)
    with watch("cut lines out"):
        strips = [picture.cut(image, box.corners) for box in boxes]
    with watch("read lines"):
        read = recognition.recognise(strips, recogniser, alphabet) if strips else []
    return [(box, text, score) for box, (text, score) in zip(boxes, read, strict=True)]


def runner(session: ronn.Session) -> detection.Run:
    """The session as a function from one array to one array."""

    def run(array: np.ndarray) -> np.ndarray:
        (out,) = session.run({session.inputs[0].name: array})
        return np.asarray(out)

    return run


def show(console: Console, found: list[tuple[detection.Box, str, float]], rounds: list[Stopwatch]) -> None:
    """Prints the lines, and the time of each stage in the first and in the second round."""
    lines = Table(title="What the picture says", title_justify="left")
    for heading in ("#", "text", "score", "box is text", "top left"):
        lines.add_column(heading, justify="left" if heading == "text" else "right")
    for number, (box, text, score) in enumerate(found, start=1):
        x, y = box.corners[0]
        lines.add_row(str(number), text, f"{score:.3f}", f"{box.score:.3f}", f"{x:.0f}, {y:.0f}")
    console.print(lines)
    times = Table(title="Time", title_justify="left")
    times.add_column("stage")
    times.add_column("first, ms", justify="right")
    times.add_column("again, ms", justify="right")
    for stage, first in rounds[0].stages.items():
        again = rounds[1].stages.get(stage)
        times.add_row(stage, f"{first:.1f}", "-" if again is None else f"{again:.1f}")
    console.print(times)


def show_placement(console: Console, sessions: dict[str, ronn.Session]) -> None:
    """Prints how many nodes of each model ran on which provider."""
    table = Table(title="Where it ran", title_justify="left")
    for heading in ("part", "model", "nodes by provider"):
        table.add_column(heading)
    for part, session in sessions.items():
        counts = ", ".join(f"{provider}: {n}" for provider, n in session.placement().counts().items())
        table.add_row(part, MODELS[part], counts)
    console.print(table)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m examples.read_text", description="Reads the text in a picture.")
    parser.add_argument("picture", nargs="?", type=Path, help="a picture file; without one, a sample is drawn")
    parser.add_argument("--output", type=Path, default=Path("build/read_text.png"), help="the annotated picture")
    parser.add_argument("--provider", action="append", help="providers, in order (default: cpu, then reference)")
    options = parser.parse_args()
    console = Console(width=None if Console().is_terminal else 100)

    first = Stopwatch()
    try:
        with first("fetch the models (cached)"):
            files = {part: model_path(name, console.print) for part, name in MODELS.items()}
    except ZooError as error:
        console.print(f"The models cannot be had: {error}", style="red", markup=False)
        return 1
    image = picture.draw_sample() if options.picture is None else Image.open(options.picture).convert("RGB")
    with first("load the models"):
        sessions = {part: ronn.Session(file, providers=options.provider) for part, file in files.items()}
    alphabet = recognition.alphabet_of(dict(sessions["recogniser"].metadata.custom))
    runs = {part: runner(session) for part, session in sessions.items()}

    rounds = [first, Stopwatch()]
    for watch in rounds:
        found = read_text(image, runs["detector"], runs["recogniser"], alphabet, watch)
    show(console, found, rounds)
    show_placement(console, sessions)
    options.output.parent.mkdir(parents=True, exist_ok=True)
    picture.annotate(image, [box.corners for box, _, _ in found], [text for _, text, _ in found]).save(options.output)
    console.print(f"Annotated picture: {options.output.resolve()}", soft_wrap=True)
    return 0 if found else 1


if __name__ == "__main__":
    raise SystemExit(main())
