"""Measures the choices of `ronn_codegen/tuned.json`: `python -m benchmarks.tune [--level avx2] [--write] [NAME...]`.

One choice after another: every candidate is put into the table, models of single operators are planned with it and run
in turn, and the candidate with the best geometric mean of times stays, if it beats the present one by 2 %. Choices by
size are measured for each size class alone. Times are those of the processor: work of others beside it counts little.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from benchmarks.machine import describe

TABLE = Path(__file__).parents[1] / "packages/ronn-codegen/src/ronn_codegen/tuned.json"
ROUNDS = 7
GAIN = 0.98
Shape = tuple[int, ...]


@dataclass(frozen=True)
class Choice:
    """A name of the table: its candidates, and for each size class (its bound; None: the last) what is timed."""

    name: str
    candidates: tuple[int, ...]
    classes: tuple[tuple[int | None, tuple[Shape, ...]], ...]


# Products: (rows, columns, depth). Convolutions: (channels in, out, height and width, kernel).
CHOICES = (
    Choice("gemm_steps", (256, 384, 512, 768, 1024), (
        (64, ((16, 1024, 2048), (48, 1536, 4096), (64, 768, 3072))),
        (None, ((256, 512, 2304), (512, 512, 4096), (384, 1024, 1536))),
    )),
    Choice("conv_panel_bytes", (16 << 10, 24 << 10, 48 << 10, 64 << 10, 128 << 10), (
        (None, ((256, 64, 56, 1), (512, 128, 28, 1), (1024, 256, 14, 1), (512, 2048, 7, 1), (64, 64, 56, 3))),
    )),
    Choice("conv_resident_bytes", (128 << 10, 256 << 10, 512 << 10), (
        (None, ((256, 64, 56, 1), (64, 256, 56, 1), (128, 512, 28, 1), (64, 64, 56, 5), (32, 64, 112, 1))),
    )),
    Choice("winograd_tiles", (7, 14, 21, 28), (
        (None, ((64, 64, 56, 3), (128, 128, 28, 3), (256, 256, 14, 3), (512, 512, 7, 3))),
    )),
    Choice("winograd_fused_bytes", (1 << 18, 3 << 18, 1 << 20, 2 << 20, 4 << 20), (
        (None, ((64, 64, 56, 3), (128, 128, 28, 3), (256, 256, 14, 3), (64, 64, 112, 3))),
    )),
)  # fmt: skip


def product(shape: Shape) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of one product by a constant, and its feed."""
    m, n, k = shape
    weight = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    return _model(helper.make_node("MatMul", ["x", "w"], ["y"]), (m, k), weight)


def convolution(shape: Shape) -> tuple[bytes, dict[str, np.ndarray]]:
    """A model of one convolution that keeps the size, between reorderings, and its feed."""
    c, k, size, taps = shape
    weight = np.random.default_rng(0).standard_normal((k, c, taps, taps)).astype(np.float32)
    node = helper.make_node("Conv", ["x", "w"], ["y"], pads=[taps // 2] * 4)
    return _model(node, (1, c, size, size), weight)


def _model(node: Any, shape: Shape, weight: np.ndarray) -> tuple[bytes, dict[str, np.ndarray]]:
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info("x", TensorProto.FLOAT, shape)],
        [helper.make_empty_tensor_value_info("y")], [numpy_helper.from_array(weight, "w")],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9)
    return made.SerializeToString(), {"x": np.random.default_rng(1).standard_normal(shape).astype(np.float32)}


def put(bits: int, choice: Choice, number: int, value: int) -> None:
    """Puts a value for one size class into the table of this process."""
    from ronn_codegen import tuned

    tuned.table()[str(bits)][choice.name][number][1] = value


def best(bits: int, choice: Choice, number: int) -> tuple[int, dict[int, float]]:
    """The value that stays, and the mean time of every candidate in units of the present one's."""
    import ronn
    from ronn_codegen import tuned

    shapes = choice.classes[number][1]
    make = product if choice.name.startswith("gemm") else convolution
    present = int(tuned.table()[str(bits)][choice.name][number][1] or 0)
    sessions: dict[tuple[int, Shape], tuple[Any, dict[str, np.ndarray]]] = {}
    candidates = sorted({*choice.candidates, present})
    for value in candidates:
        put(bits, choice, number, value)
        for shape in shapes:
            model, feed = make(shape)
            session = ronn.Session(model, providers=["cpu"], options={"threads": 1})
            session.run(feed)
            sessions[value, shape] = session, feed
    times: dict[tuple[int, Shape], list[float]] = {key: [] for key in sessions}
    for _ in range(ROUNDS):
        for key, (session, feed) in sessions.items():
            times[key].append(min(_timed(session, feed)))
    medians = {key: statistics.median(ts) for key, ts in times.items()}
    scores = {
        v: math.exp(statistics.fmean(math.log(medians[v, s] / medians[present, s]) for s in shapes)) for v in candidates
    }
    winner = min(scores, key=lambda v: scores[v])
    chosen = winner if scores[winner] < GAIN else present
    put(bits, choice, number, chosen)
    return chosen, scores


def _timed(session: Any, feed: dict[str, np.ndarray]) -> Iterator[float]:
    until = time.perf_counter() + 0.02
    while True:
        started = time.thread_time()
        session.run(feed)
        yield time.thread_time() - started
        if time.perf_counter() > until:
            return


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tune", description=__doc__.splitlines()[0])
    parser.add_argument("--level", default="native", help="native, avx512, avx2 or baseline")
    parser.add_argument("--write", action="store_true", help="write the table")
    parser.add_argument("names", nargs="*", help="choices to measure; all without any")
    options = parser.parse_args(arguments)
    os.environ["RONN_CPU_LEVEL"] = options.level
    from ronn_codegen import tuned
    from ronn_codegen.native.machine import machine

    bits = machine(options.level).target.bits
    for choice in (c for c in CHOICES if not options.names or c.name in options.names):
        old = tuned.table()[str(bits)][choice.name]
        value = tuned.tuned(choice.name, bits)
        fresh = [next((v for b, v in old if b == bound), value) for bound, _ in choice.classes]
        tuned.table()[str(bits)][choice.name] = [[b, v] for (b, _), v in zip(choice.classes, fresh, strict=True)]
        for number, (bound, _) in enumerate(choice.classes):
            chosen, scores = best(bits, choice, number)
            told = "  ".join(f"{v}: {s:.3f}" for v, s in scores.items())
            print(
                f"{choice.name} ({'any size' if bound is None else f'up to {bound}'}): {chosen}   [{told}]", flush=True
            )
    if options.write:
        found = {"measured_on": describe()["cpu"], **tuned.table()}
        TABLE.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
