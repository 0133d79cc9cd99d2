"""What `precision="bf16"` gains and costs: `python -m benchmarks.bf16 [--write]`, one thread.

Products and convolutions: their kernels' time against the rate of bfloat16 dots measured in the same run, and against
float32. Whole models: the best run against float32's, the runs taken in turn, and how far the outputs are from it. A
model whose outputs are too far (cosine below 0.999, or another class in a row of scores) fails the run. `--write` puts
the tables into docs/performance.md and the figures into results/.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass

import numpy as np

import ronn
from benchmarks.kernels import convolution, product, random
from benchmarks.machine import describe
from benchmarks.page import publish

PRECISIONS = ("float32", "bf16")
MODELS = ("light-resnet50", "minilm-l6-int8w", "open-nsfw")
COSINE = 0.999
CASES = {
    "product, 512 x 512 x 512": product(512, 512, 512),
    "product, 1024 x 1024 x 1024": product(1024, 1024, 1024),
    "product, 64 x 1536 x 384 (a transformer's rows)": product(64, 1536, 384),
    "product, 1 x 4096 x 4096 (weights stream from memory)": product(1, 4096, 4096),
    "product, 1 x 1024 x 1024": product(1, 1024, 1024),
    "convolution 1x1, 256 to 64 channels, 56 x 56": convolution(256, 64, 56, 1),
    "convolution 1x1, 1024 to 256 channels, 14 x 14": convolution(1024, 256, 14, 1),
    "convolution 3x3 / 2, 128 channels, 56 x 56": convolution(128, 128, 56, 3, 2),
}


@dataclass(frozen=True)
class Kernel:
    """Microseconds of all kernels of one node; ``of_peak``: its operations against the measured rate of dots."""

    what: str
    float32: float
    bf16: float
    of_peak: float


@dataclass(frozen=True)
class Model:
    """Milliseconds of the best run of a model; the least cosine of outputs, and whether rows of scores (outputs of two
    dims) have their largest in the same place."""

    name: str
    size: str
    float32: float
    bf16: float
    cosine: float
    same_choice: bool


def dot_peak() -> float:
    """Operations a second of bfloat16 dots on registers alone, or of multiply-adds where there is no such dot."""
    from ronn_codegen.bench import peak_run
    from ronn_codegen.native.library import library
    from ronn_codegen.simd.dot import bf16_terms

    target = library().machine.target
    run, operations = peak_run(target, bf16_terms(target)) if target.bf16_dot else peak_run(target)
    run()
    best = math.inf
    for _ in range(200):
        started = time.perf_counter()
        run()
        best = min(best, time.perf_counter() - started)
    return operations * (2 if target.bf16_dot else 1) / best


def sessions(source: bytes | str) -> dict[str, ronn.Session]:
    return {p: ronn.Session(source, providers=["cpu"], options={"threads": 1, "precision": p}) for p in PRECISIONS}


def kernel(what: str, source: bytes) -> Kernel:
    """The least time of the node's kernels in profiles of both precisions, taken in turn."""
    both = sessions(source)
    feed = {v.name: random(*(int(d) for d in v.shape)) for v in both["float32"].inputs}  # type: ignore[union-attr]
    best, flops = dict.fromkeys(PRECISIONS, math.inf), 0
    for _ in range(12):
        for precision, session in both.items():
            profile = session.profile(feed, runs=5)
            used = [k for k in profile.kernels if not k.name.startswith(("block_", "unblock_"))]
            best[precision] = min(best[precision], sum(k.seconds for k in used))
            flops = max(k.flops for k in used)
    return Kernel(what, best["float32"] * 1e6, best["bf16"] * 1e6, flops / best["bf16"] / dot_peak())


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    x, y = (v.astype(np.float64).ravel() for v in (a, b))
    sizes = float(np.linalg.norm(x) * np.linalg.norm(y))
    return float(x @ y) / sizes if sizes else 1.0


def model(name: str, size: str, path: str, feed: dict[str, np.ndarray], seconds: float = 6.0) -> Model:
    both = sessions(path)
    outputs = {p: s.run(feed) for p, s in both.items()}
    best = dict.fromkeys(PRECISIONS, math.inf)
    end = time.perf_counter() + seconds
    while time.perf_counter() < end:
        for precision, session in both.items():
            started = time.perf_counter()
            session.run(feed)
            best[precision] = min(best[precision], time.perf_counter() - started)
    pairs = [(v, outputs["bf16"][k]) for k, v in outputs["float32"].items() if v.dtype.kind == "f"]
    return Model(
        name, size, best["float32"] * 1e3, best["bf16"] * 1e3, min(cosine(a, b) for a, b in pairs),
        all(np.array_equal(a.argmax(-1), b.argmax(-1)) for a, b in pairs if a.ndim == 2),
    )  # fmt: skip


def tables(kernels: list[Kernel], models: list[Model]) -> str:
    lines = ["| node | float32, us | bf16, us | gain | of the dot's rate |", "| --- | ---: | ---: | ---: | ---: |"]
    lines += [
        f"| {k.what} | {k.float32:.0f} | {k.bf16:.0f} | {k.float32 / k.bf16:.2f} | {k.of_peak:.0%} |" for k in kernels
    ]
    lines += ["", "| model | float32, ms | bf16, ms | bf16 / float32 | cosine | same classes |"]
    lines += ["| --- | ---: | ---: | ---: | ---: | --- |"]
    lines += [
        f"| {m.name}, {m.size} | {m.float32:.2f} | {m.bf16:.2f} | {m.bf16 / m.float32:.2f} | {m.cosine:.6f}"
        f" | {'yes' if m.same_choice else 'no'} |"
        for m in models
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bf16", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and results/bf16.json")
    options = parser.parse_args(arguments)
    from benchmarks.zoo.feeds import make_feed
    from benchmarks.zoo.fetch import model_path
    from benchmarks.zoo.manifest import load_manifest

    kernels = [kernel(what, source) for what, source in CASES.items()]
    known = load_manifest().models
    models = [
        model(name, size.label, str(model_path(name)), make_feed(known[name], size))
        for name in MODELS
        for size in known[name].sizes
    ]
    made = f"Measured on {describe()['cpu']}, one thread.\n\n{tables(kernels, models)}"
    print(made)
    if options.write:
        found = {"machine": describe(), "kernels": [asdict(k) for k in kernels], "models": [asdict(m) for m in models]}
        publish("bf16", found, made)
    return 0 if all(m.cosine > COSINE and m.same_choice for m in models) else 1


if __name__ == "__main__":
    raise SystemExit(main())
