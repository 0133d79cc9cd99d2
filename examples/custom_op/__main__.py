"""``python -m examples.custom_op`` from the top of the repository."""

from __future__ import annotations

import time

from rich.console import Console
from rich.table import Table

import ronn
from examples.custom_op import model


def main() -> int:
    console = Console()
    session = ronn.Session(model.make())
    for seconds in (1.0, 2.5):
        audio = model.speech_like(seconds)
        session.run(audio)
        started = time.perf_counter()
        features = session.run(audio)["features"]
        took = (time.perf_counter() - started) * 1e3
        frames = (len(audio) - model.SIZE) // model.HOP + 1
        console.print(f"{seconds} s of audio: {len(features)} of {frames} frames are loud, in {took:.2f} ms")
    table = Table("node", "operator", "runs on", "why")
    for row in session.placement():
        table.add_row(row.node, row.op, row.provider, row.reason)
    console.print(table)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
