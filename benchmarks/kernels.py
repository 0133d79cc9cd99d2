"""How far kernels are from the machine's limits: `python -m benchmarks.kernels [--write]`, one thread.

For each kernel: operations, bytes, the limit that follows from the ceilings measured in the same run (multiply-adds a
second, or bytes a second where those bind), and the time taken. Convolutions count the operations of their definition,
so Winograd's may pass 100 %. `--write` puts the table into docs/performance.md and the figures into results/.
"""

from __future__ import annotations

import argparse
import math
import time
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

import ronn
from benchmarks.machine import describe
from benchmarks.page import publish

RUNS, TRIES = 30, 8
GEMM_SIZES = (128, 256, 512, 1024)


@dataclass(frozen=True)
class Distance:
    """A kernel's work, its limit and where it is. ``share`` is limit over time: 1 is as fast as the machine goes."""

    what: str
    flops: int
    nbytes: int
    microseconds: float
    limit: str
    share: float


def model(op: str, shapes: dict[str, tuple[int, ...]], constants: dict[str, np.ndarray], **attributes: Any) -> bytes:
    """A model of one node."""
    domain = str(attributes.pop("domain", ""))
    node = helper.make_node(op, [*shapes, *constants], ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "one", [helper.make_tensor_value_info(n, TensorProto.FLOAT, s) for n, s in shapes.items()],
        [helper.make_empty_tensor_value_info("y")], [numpy_helper.from_array(a, n) for n, a in constants.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 23), helper.make_opsetid("com.microsoft", 1)]
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def product(m: int, n: int, k: int) -> bytes:
    return model("MatMul", {"x": (m, k)}, {"w": random(k, n)})


def convolution(c: int, k: int, size: int, taps: int, stride: int = 1, group: int = 1) -> bytes:
    return model(
        "Conv", {"x": (1, c, size, size)}, {"w": random(k, c // group, taps, taps)}, pads=[taps // 2] * 4,
        strides=[stride] * 2, group=group,
    )  # fmt: skip


CASES: dict[str, bytes] = {
    "product, 512 x 512 x 512": product(512, 512, 512),
    "product, 64 x 1536 x 384 (a transformer's rows)": product(64, 1536, 384),
    "product, 1 x 4096 x 4096 (weights stream from memory)": product(1, 4096, 4096),
    "convolution 3x3, 128 channels, 28 x 28 (Winograd)": convolution(128, 128, 28, 3),
    "convolution 1x1, 256 to 64 channels, 56 x 56": convolution(256, 64, 56, 1),
    "convolution 7x7 / 2, 3 to 64 channels, 224 x 224": convolution(3, 64, 224, 7, 2),
    "depthwise convolution 3x3, 144 channels, 56 x 56": convolution(144, 144, 56, 3, 1, 144),
    "softmax, 4096 rows of 256": model("Softmax", {"x": (4096, 256)}, {}, axis=-1),
    "layer normalisation, 1024 rows of 768": model(
        "LayerNormalization", {"x": (1024, 768)}, {"s": random(768), "b": random(768)}, axis=-1
    ),
    "transpose, 64 x 112 x 112 to channels last": model("Transpose", {"x": (1, 64, 112, 112)}, {}, perm=[0, 2, 3, 1]),
}


@cache
def peak_flops() -> float:
    """Multiply-adds a second, counted twice, of one thread: the best of several measurements."""
    session = ronn.Session(product(16, 16, 16), providers=["cpu"], options={"threads": 1})
    found = [session.profile({"x": random(16, 16)}, runs=1).ceilings for _ in range(2 * TRIES)]
    return max(c.flops for c in found if c is not None)


def stream_speed(nbytes: int) -> float:
    """Bytes a second of a copy (read and written) or of a product that only reads, whichever is faster, of as many
    bytes as a kernel moves: the caches that it meets are those of the kernel."""
    source = np.ones(max(nbytes // 8, 4096), np.float32)
    sink = np.zeros_like(source)
    both = np.ones(2 * source.size, np.float32)
    best = math.inf
    for work in (lambda: np.copyto(sink, source), lambda: np.dot(both, both)):
        for _ in range(40):
            started = time.perf_counter()
            work()
            best = min(best, time.perf_counter() - started)
    return both.nbytes / best


def distance(what: str, source: bytes) -> Distance:
    """Profiles a model of one node: the sum of its kernels against what the roofline allows."""
    session = ronn.Session(source, providers=["cpu"], options={"threads": 1})
    feed = {v.name: random(*(int(d) for d in v.shape)) for v in session.inputs}  # type: ignore[union-attr]
    tries, peak = [session.profile(feed, runs=RUNS) for _ in range(TRIES)], peak_flops()
    kernels = tries[0].kernels
    flops, nbytes = sum(k.flops for k in kernels), max(k.nbytes for k in kernels)
    seconds = min(sum(k.seconds for k in t.kernels) for t in tries)
    stream = stream_speed(nbytes)
    compute, traffic = flops / peak, nbytes / stream
    limit = f"{peak / 1e9:.0f} GFLOP/s" if compute >= traffic else f"{stream / 1e9:.0f} GB/s"
    return Distance(what, flops, nbytes, seconds * 1e6, limit, max(compute, traffic) / seconds)


def layers(path: str, feed: dict[str, np.ndarray]) -> list[Distance]:
    """Every convolution of a model, by node: all its kernels together against the peak."""
    session = ronn.Session(path, providers=["cpu"], options={"threads": 1})
    tries, peak = [session.profile(feed, runs=10) for _ in range(TRIES)], peak_flops()
    found = []
    for name in dict.fromkeys(k.node for k in tries[0].kernels if "Conv" in k.ops):
        mine = [[k for k in t.kernels if k.node == name] for t in tries]
        seconds = min(sum(k.seconds for k in kernels) for kernels in mine)
        flops, nbytes = max(k.flops for k in mine[0]), sum(k.nbytes for k in mine[0])
        share = flops / peak / seconds
        found.append(Distance(name, flops, nbytes, seconds * 1e6, f"{peak / 1e9:.0f} GFLOP/s", share))
    return found


def table(rows: list[Distance]) -> str:
    """The rows as Markdown."""
    lines = ["| kernel | MFLOP | MB | us | limit | of the limit |", "| --- | ---: | ---: | ---: | --- | ---: |"]
    lines += [
        f"| {r.what} | {r.flops / 1e6:.1f} | {r.nbytes / 1e6:.2f} | {r.microseconds:.0f} | {r.limit} | {r.share:.0%} |"
        for r in rows
    ]
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.kernels", description=__doc__.splitlines()[0])
    parser.add_argument("--write", action="store_true", help="write docs/performance.md and results/kernels.json")
    options = parser.parse_args(arguments)
    from benchmarks.zoo.feeds import make_feed
    from benchmarks.zoo.fetch import model_path
    from benchmarks.zoo.manifest import load_manifest

    rows = [distance(what, source) for what, source in CASES.items()]
    products = [distance(f"{n} cubed", product(n, n, n)) for n in GEMM_SIZES]
    resnet = load_manifest().models["light-resnet50"]
    convolutions = layers(str(model_path(resnet.name)), make_feed(resnet, resnet.sizes[0]))
    made = (
        f"Measured on {describe()['cpu']}, one thread.\n\n{table(rows)}\nProducts of square matrices:\n\n"
        f"{table(products)}\nResNet-50's convolutions, farthest from the limit first:\n\n"
        f"{table(sorted(convolutions, key=lambda r: r.share)[:12])}"
    )
    print(made)
    if options.write:
        found = {"machine": describe(), "kernels": [asdict(r) for r in rows], "products": [asdict(r) for r in products],
                 "resnet50": [asdict(r) for r in convolutions]}  # fmt: skip
        publish("kernels", found, made)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
