"""Sessions under load: bits, memory and processor time that must not change. Writes results/soak.json.

python -m benchmarks.soak [--seconds 60] [--runs 10000] [--check NAME ...] [--no-zoo]

Exit status 1 when a check fails. `concurrency`: threads that share sessions get the bits of serial runs. `memory`: what
the process holds levels off over many shapes. `threads`: with deterministic=True their number changes no bit.
`idle`: open sessions that do nothing use no processor.
"""

from __future__ import annotations

import argparse
import gc
import json
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
from onnx import TensorProto, helper, numpy_helper

import ronn
from benchmarks.machine import describe

RESULTS = Path(__file__).parent / "results" / "soak.json"
Feed = dict[str, np.ndarray]


class Builder:
    """A model under construction; `add` returns the name of a node's (first) output. Weights are drawn from `seed`."""

    def __init__(self, seed: int) -> None:
        self.rng = np.random.default_rng(seed)
        self.nodes: list[Any] = []
        self.constants: list[Any] = []

    def weight(self, *shape: int) -> str:
        scale = 1 / np.sqrt(np.prod(shape[1:]) if len(shape) > 1 else 4)
        return self.constant((self.rng.standard_normal(shape) * scale).astype(np.float32))

    def constant(self, value: Any, dtype: Any = None) -> str:
        name = f"c{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(value, dtype), name))
        return name

    def add(self, op: str, *inputs: str, outputs: int = 1, **attributes: Any) -> str:
        names = [f"v{len(self.nodes)}_{i}" for i in range(outputs)]
        self.nodes.append(helper.make_node(op, list(inputs), names, **attributes))
        return names[0]

    def model(self, x: list[int | str], result: str) -> bytes:
        """The model whose float32 input `x` has this shape and whose output `y` is `result`."""
        self.nodes.append(helper.make_node("Identity", [result], ["y"]))
        graph = helper.make_graph(
            self.nodes,
            "soak",
            [helper.make_tensor_value_info("x", TensorProto.FLOAT, x)],
            [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
            self.constants,
        )
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10).SerializeToString()


def convolutions(seed: int = 0) -> bytes:
    """Images (N, 3, 32, 32) -> classes (N, 10): a residual block, a depthwise convolution, a pool."""
    b = Builder(seed)
    x = b.add("Relu", b.add("Conv", "x", b.weight(32, 3, 3, 3), b.weight(32), pads=[1, 1, 1, 1], strides=[2, 2]))
    y = b.add("Relu", b.add("Conv", x, b.weight(32, 32, 3, 3), b.weight(32), pads=[1, 1, 1, 1]))
    x = b.add("Add", x, b.add("Conv", y, b.weight(32, 32, 1, 1), b.weight(32)))
    x = b.add("HardSwish", b.add("Conv", x, b.weight(32, 1, 3, 3), pads=[1, 1, 1, 1], group=32))
    x = b.add("MaxPool", x, kernel_shape=[2, 2], strides=[2, 2])
    x = b.add("Flatten", b.add("GlobalAveragePool", x))
    return b.model(["N", 3, 32, 32], b.add("Gemm", x, b.weight(10, 32), b.weight(10), transB=1))


def transformer(seed: int = 1, width: int = 64, heads: int = 4) -> bytes:
    """Sequences (N, T, 64) -> the same shape: two blocks of self-attention and a feed-forward layer."""
    b = Builder(seed)
    x = "x"
    split, joined = b.constant([0, 0, heads, width // heads], np.int64), b.constant([0, 0, width], np.int64)
    scale = b.constant(1 / np.sqrt(width / heads), np.float32)
    for _ in range(2):
        n = b.add("LayerNormalization", x, b.weight(width), b.weight(width))
        q, k, v = (
            b.add("Transpose", b.add("Reshape", b.add("MatMul", n, b.weight(width, width)), split), perm=perm)
            for perm in ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        )
        scores = b.add("Softmax", b.add("Mul", b.add("MatMul", q, k), scale), axis=-1)
        mixed = b.add("Transpose", b.add("MatMul", scores, v), perm=[0, 2, 1, 3])
        x = b.add("Add", x, b.add("MatMul", b.add("Reshape", mixed, joined), b.weight(width, width)))
        n = b.add("LayerNormalization", x, b.weight(width), b.weight(width))
        wide = b.add("Gelu", b.add("Add", b.add("MatMul", n, b.weight(width, 4 * width)), b.weight(4 * width)))
        x = b.add("Add", x, b.add("MatMul", wide, b.weight(4 * width, width)))
    return b.model(["N", "T", width], x)


def recurrent(seed: int = 2, width: int = 40) -> bytes:
    """Sequences (T, N, 40) -> (T, 2, N, 40): a bidirectional LSTM and a GRU behind it."""
    b = Builder(seed)
    y = b.add(
        "LSTM", "x", b.weight(2, 4 * width, width), b.weight(2, 4 * width, width), b.weight(2, 8 * width), outputs=3,
        hidden_size=width, direction="bidirectional",
    )  # fmt: skip
    x = b.add("ReduceSum", y, b.constant([1], np.int64), keepdims=0)
    w, r, bias = b.weight(2, 3 * width, width), b.weight(2, 3 * width, width), b.weight(2, 6 * width)
    gates = b.add("GRU", x, w, r, bias, outputs=2, hidden_size=width, direction="bidirectional")
    return b.model(["T", "N", width], b.add("Tanh", gates))


def dynamic(seed: int = 3, width: int = 48) -> bytes:
    """Rows (N, M, 48) -> (N, 96 + M): reductions, a concatenation of free sizes, a gather by a computed index."""
    b = Builder(seed)
    h = b.add("Sigmoid", b.add("Add", b.add("MatMul", "x", b.weight(width, width)), b.weight(width)))
    one = b.constant([1], np.int64)
    mean, high = b.add("ReduceMean", h, one, keepdims=0), b.add("ReduceMax", h, one, keepdims=0)
    norm = b.add("ReduceL2", h, b.constant([2], np.int64), keepdims=0)
    order = b.add("ArgMax", norm, axis=-1, keepdims=1)
    best = b.add("GatherElements", norm, order, axis=1)
    return b.model(["N", "M", width], b.add("Concat", mean, high, b.add("Div", norm, best), axis=-1))


MODELS: dict[str, tuple[Callable[[], bytes], list[tuple[int, ...]]]] = {
    "convolutions": (convolutions, [(1, 3, 32, 32), (2, 3, 32, 32), (5, 3, 32, 32)]),
    "transformer": (transformer, [(1, 7, 64), (2, 33, 64), (1, 64, 64)]),
    "recurrent": (recurrent, [(3, 1, 40), (12, 2, 40), (31, 1, 40)]),
    "dynamic": (dynamic, [(1, 1, 48), (3, 17, 48), (16, 65, 48), (5, 130, 48)]),
}


def values(shape: tuple[int, ...], seed: int) -> Feed:
    return {"x": np.random.default_rng(seed).standard_normal(shape).astype(np.float32)}


def outputs_of(session: ronn.Session, feed: Feed) -> list[np.ndarray]:
    return [np.array(each) for each in session.run(feed).values()]


def same(a: list[np.ndarray], b: list[np.ndarray]) -> bool:
    """Equal bit by bit: NaNs of other payloads and zeros of the other sign differ."""
    return len(a) == len(b) and all(
        x.shape == y.shape and x.dtype == y.dtype and (list(x.flat) == list(y.flat) if x.dtype == object
                                                       else x.tobytes() == y.tobytes())
        for x, y in zip(a, b, strict=True)
    )  # fmt: skip


def concurrency(seconds: float, threads: int = 8) -> dict[str, Any]:
    """Threads that each run any of four sessions with any of their feeds, against serial runs."""
    options = [{"threads": 1}, {"threads": 2}, {"threads": 2}, {"threads": 3}]
    jobs = []
    sessions = []
    for (make, shapes), given in zip(MODELS.values(), options, strict=True):
        session = ronn.Session(make(), providers=["cpu"], options=given)
        sessions.append(session)
        for seed, shape in enumerate(shapes):
            feed = values(shape, seed)
            jobs.append((session, feed, outputs_of(session, feed)))
    wrong: list[int] = []
    failures: list[str] = []
    counts: list[int] = []
    until = time.monotonic() + seconds

    def work(seed: int) -> None:
        rng = np.random.default_rng(seed)
        done = 0
        try:
            while time.monotonic() < until:
                number = int(rng.integers(len(jobs)))
                session, feed, expected = jobs[number]
                if not same(outputs_of(session, feed), expected):
                    wrong.append(number)
                done += 1
        except Exception as error:  # in a thread nobody else would see it
            failures.append(f"{type(error).__name__}: {error}")
        counts.append(done)

    workers = [threading.Thread(target=work, args=(i,), daemon=True) for i in range(threads)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(seconds + 120)
    stuck = sum(worker.is_alive() for worker in workers)
    return {
        "sessions": len(sessions), "threads": threads, "seconds": seconds, "runs": sum(counts),
        "runs_of_the_slowest_thread": min(counts, default=0), "different": len(wrong), "stuck": stuck,
        "failures": failures, "ok": not wrong and not failures and not stuck and min(counts, default=0) > 0,
    }  # fmt: skip


def memory(runs: int, shapes: int = 200, allowed: float = 0.02) -> dict[str, Any]:
    """What the process holds after a fifth of the runs and after all of them, over many shapes in random order."""
    session = ronn.Session(dynamic(), providers=["cpu"], options={"threads": 2})
    rng = np.random.default_rng(0)
    every = [(n, m, 48) for n in range(1, 11) for m in range(1, 62, 3)][:shapes]
    feeds = [values(shape, 0) for shape in every]
    process = psutil.Process()
    held = []
    for number in range(runs):
        session.run(feeds[int(rng.integers(shapes))])
        if (number + 1) % (runs // 10) == 0:
            gc.collect()
            held.append(process.memory_info().rss)
    growth = held[-1] / held[1] - 1
    stats = session.stats()
    return {
        "runs": runs, "shapes": len(every), "mib_at_each_tenth": [round(each / 2**20, 1) for each in held],
        "growth": round(growth, 5), "allowed": allowed, "planned": stats.planned, "ok": growth < allowed,
    }  # fmt: skip


def _bits(source: Any, feeds: list[Feed], counts: tuple[int, ...]) -> list[str]:
    """What differs between the numbers of threads; nothing when all is well."""
    expected: list[list[np.ndarray]] = []
    found = []
    for threads in counts:
        options: dict[str, Any] = {"threads": threads, "deterministic": True}
        with ronn.Session(source, options=options) as session:
            for number, feed in enumerate(feeds):
                got = outputs_of(session, feed)
                if len(expected) <= number:
                    expected.append(got)
                elif not same(got, expected[number]):
                    found.append(f"feed {number}: {threads} threads against {counts[0]}")
    return found


def threads(zoo: bool, counts: tuple[int, ...] = (1, 2, 4)) -> dict[str, Any]:
    """The made models, and the small ones of the zoo, with each number of threads."""
    models: dict[str, list[str]] = {}
    for name, (make, shapes) in MODELS.items():
        models[name] = _bits(make(), [values(shape, seed) for seed, shape in enumerate(shapes)], counts)
    if zoo:
        from benchmarks.zoo.feeds import make_feed
        from benchmarks.zoo.fetch import model_path
        from benchmarks.zoo.manifest import load_manifest

        for model in load_manifest().select(None, True):
            models[model.name] = _bits(model_path(model.name), [make_feed(model, s) for s in model.sizes], counts)
    different = {name: found for name, found in models.items() if found}
    return {"threads": list(counts), "models": sorted(models), "different": different, "ok": not different}


def idle(seconds: float = 2.0, sessions: int = 10, allowed: float = 0.001) -> dict[str, Any]:
    """Processor seconds that open sessions take, over the seconds that pass."""
    makers = list(MODELS.values())
    opened = []
    for number in range(sessions):
        make, shapes = makers[number % len(makers)]
        session = ronn.Session(make(), providers=["cpu"], options={"threads": 2})
        for seed, shape in enumerate(shapes):
            session.run(values(shape, seed))
        opened.append(session)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(seconds)
    share = (time.process_time() - before) / seconds
    return {"sessions": len(opened), "seconds": seconds, "share": round(share, 6), "ok": share < allowed}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=60, help="how long threads share sessions")
    parser.add_argument("--runs", type=int, default=10_000, help="runs over 200 shapes")
    parser.add_argument("--no-zoo", action="store_true", help="only models made here, nothing fetched")
    names = ["concurrency", "memory", "threads", "idle"]
    parser.add_argument("--check", nargs="+", choices=names, default=names)
    options = parser.parse_args()
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "concurrency": lambda: concurrency(options.seconds),
        "memory": lambda: memory(options.runs),
        "threads": lambda: threads(not options.no_zoo),
        "idle": idle,
    }
    found: dict[str, Any] = {"machine": describe(), "checks": {}}
    for name in options.check:
        started = time.perf_counter()
        result = checks[name]()
        found["checks"][name] = result
        shown = {k: v for k, v in result.items() if k != "models"}
        print(
            f"{name}: {'ok' if result['ok'] else 'FAILED'} in {time.perf_counter() - started:.0f} s {shown}", flush=True
        )
    if options.check == names:
        RESULTS.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if not all(result["ok"] for result in found["checks"].values()):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
