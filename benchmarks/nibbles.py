"""Products with weights of four bits (MatMulNBits) against ONNX Runtime's and the CPU provider's, on one thread,
through sessions: `python -m benchmarks.nibbles [--write]`, about two minutes.

Weights and scales are the same for all. *Bytes* are products with 8-bit activations (accuracy_level 4), *words* with
16-bit ones, float32 those of accuracy_level 0 elsewhere. A chain out of cache has products whose weights take 200 MB or
more, each its own; a row of a table is the time of one product. Contestants take turns; each answer is held against
exact products first. `--write` puts table and figures into docs/bitnet.md and results/.
"""

from __future__ import annotations

import argparse
import math
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from benchmarks.machine import describe
from benchmarks.page import publish
from ronn.benchmark.timing import PAUSE_S, in_turn, single

PAGE = Path(__file__).parents[1] / "docs" / "bitnet.md"
SIZE, STREAMED = 4096, 200 << 20
OURS, OURS_WORDS, THEIRS, THEIRS_FLOAT, CPU = (
    "RONN, bytes", "RONN, words", "ONNX Runtime, bytes", "ONNX Runtime, float32", "RONN's CPU provider, float32"
)  # fmt: skip
LIKE = {OURS: 0.05, THEIRS: 0.05, OURS_WORDS: 1e-3, THEIRS_FLOAT: 1e-3, CPU: 1e-3}  # parts of the largest
Array = np.ndarray


@dataclass(frozen=True)
class Row:
    """Microseconds of one product: the median and the least. ratio: of ONNX Runtime's with bytes, over the median."""

    case: str
    contestant: str
    microseconds: float
    least: float
    ratio: float


def weights(index: int, size: int, group: int) -> tuple[Array, Array]:
    """Codes u8[N, K] below 16, and f32[N, groups]."""
    r = np.random.default_rng(index)
    scale = r.uniform(0.5, 1.5, (size, size // group)).astype(np.float32)
    return r.integers(0, 16, (size, size), np.uint8), scale * np.float32(0.2 / size**0.5)


def model(layers: int, size: int, group: int, level: int) -> bytes:
    """x -> x @ W0.T @ W1.T ..."""
    nodes, inits = [], []
    for i in range(layers):
        codes, scale = weights(i, size, group)
        packed = (codes[:, ::2] | codes[:, 1::2] << 4).reshape(size, size // group, group // 2)
        inits += [nh.from_array(packed, f"w{i}"), nh.from_array(scale.reshape(-1), f"s{i}")]
        names = ["x" if i == 0 else f"y{i - 1}", f"w{i}", f"s{i}"]
        how = {"K": size, "N": size, "bits": 4, "block_size": group, "accuracy_level": level}
        nodes.append(h.make_node("MatMulNBits", names, [f"y{i}"], domain="com.microsoft", **how))
    graph = h.make_graph(
        nodes, "chain", [h.make_tensor_value_info("x", T.FLOAT, ["M", size])],
        [h.make_tensor_value_info(f"y{layers - 1}", T.FLOAT, ["M", size])], inits,
    )  # fmt: skip
    imports = [h.make_opsetid("", 20), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=9).SerializeToString()


def contestants(layers: int, size: int, group: int, x: Array) -> dict[str, Callable[[], Array]]:
    import onnxruntime

    def theirs(given: bytes) -> Callable[[], Array]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")
        session = onnxruntime.InferenceSession(given, options, providers=["CPUExecutionProvider"])
        return lambda: session.run(None, {"x": x})[0]

    def ours(given: bytes, provider: str) -> Callable[[], Array]:
        session = ronn.Session(given, providers=[provider], options={"threads": 1})
        return lambda: session.run(x)[0]

    bytes_, floats = model(layers, size, group, 4), model(layers, size, group, 0)
    return {
        OURS: ours(bytes_, "bitnet"), OURS_WORDS: ours(floats, "bitnet"), THEIRS: theirs(bytes_),
        THEIRS_FLOAT: theirs(floats), CPU: ours(floats, "cpu"),
    }  # fmt: skip


def check(found: dict[str, Callable[[], Array]], size: int, group: int, x: Array) -> None:
    """SystemExit where an answer of one product is too far from the exact one."""
    codes, scale = weights(0, size, group)
    expected = x @ ((codes - np.float32(8)) * np.repeat(scale, group, axis=1)).T
    for name, run in found.items():
        off = float(np.abs(run() - expected).max() / np.abs(expected).max())
        if off > LIKE[name]:
            raise SystemExit(f"{name} is off by {off:.2g} of the largest")


def measure(case: str, m: int, layers: int, size: int, group: int, seconds: float) -> list[Row]:
    x = np.random.default_rng(99).standard_normal((m, size)).astype(np.float32)
    found = contestants(layers, size, group, x)
    if layers == 1:
        check(found, size, group, x)
    taken = in_turn({name: single(run) for name, run in found.items()}, seconds, pause=PAUSE_S)
    times = {name: (statistics.median(t.times) / layers, min(t.times) / layers) for name, t in taken.items()}
    return [Row(case, name, a * 1e6, b * 1e6, times[THEIRS][0] / a) for name, (a, b) in times.items()]


def table(rows: list[Row]) -> str:
    lines = [
        "| case | contestant | us a product (least) | against ONNX Runtime's bytes |", "| --- | --- | ---: | ---: |",
    ]  # fmt: skip
    lines += [f"| {r.case} | {r.contestant} | {r.microseconds:.0f} ({r.least:.0f}) | {r.ratio:.2f} x |" for r in rows]
    return "\n".join([*lines, ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put table and figures into docs/bitnet.md and results/")
    parser.add_argument("--size", type=int, default=SIZE, help="rows and columns of the weights")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each case")
    options = parser.parse_args()
    size, streamed = options.size, math.ceil(STREAMED / (options.size**2 / 2))
    rows: list[Row] = []
    for group in (32, 128):
        for name, m, layers in (("1 row, in cache", 1, 1), ("1 row, from memory", 1, streamed), ("128 rows", 128, 1)):
            rows += measure(f"{name}, {group} weights a scale", m, layers, size, group, options.seconds)
    made = table(rows)
    print(made)
    if options.write:
        facts = {"machine": describe(), "size": size, "rows": [asdict(r) for r in rows]}
        publish("nibbles", facts, made, PAGE)


if __name__ == "__main__":
    main()
