"""Products with weights of one and two bits against float32 and onnxruntime's 2-bit weights, end to end in sessions:
`OPENBLAS_NUM_THREADS=1 python -m benchmarks.bitnet [--write]`, one thread.

A contestant runs a chain of square products, each with weights of its own; its time is that of one product, the
quantisation of activations and the dispatch inside. *In cache* the chain has one product, *out of cache* so many that
their weights have 200 MB or more, as a language model's have. Contestants take turns. The best of float32 is the faster
of NumPy (OpenBLAS) and onnxruntime. Every contestant's answer is first held against float32's. `--write` puts table and
figures into docs/bitnet.md and results/.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

import ml_dtypes
import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from benchmarks.machine import describe
from benchmarks.page import publish
from ronn.benchmark.timing import PAUSE_S, in_turn, single

PAGE = Path(__file__).parents[1] / "docs" / "bitnet.md"
SIZE = 4096
STREAMED = 200 << 20  # bytes of weights of a chain out of cache
BITS = {
    "float32": 32, "ternary, 8-bit activations": 2, "ternary, 16-bit activations": 2, "binary, 8-bit activations": 1,
    "onnxruntime, 2 bits": 2, "onnxruntime, 2 bits, look-up": 2,
}  # fmt: skip
TOLERANCE = {"float32": 1e-5, "ternary, 16-bit activations": 1e-3}
LOOSE = 0.05  # of what is computed with 8-bit activations
Run = Callable[[], object]


@dataclass(frozen=True)
class Row:
    """Microseconds of one product (medians): ``ratio`` is best float32 over this."""

    case: str
    contestant: str
    microseconds: float
    ratio: float
    gbytes_per_second: float


def signs(zeros: bool, index: int, size: int) -> np.ndarray:
    r = np.random.default_rng(index)
    return r.integers(-1, 2, (size, size), np.int8) if zeros else (2 * r.integers(0, 2, (size, size), np.int8) - 1)


def scale(size: int) -> np.float32:
    return np.float32(1.2 / size**0.5)


def chain(kind: str, layers: int, size: int) -> bytes:
    """x -> x @ W0 @ W1 ...; each kind has the same weights, ternary unless it is binary."""
    nodes, inits, last = [], [], "x"
    zeros = not kind.startswith("binary")
    for i in range(layers):
        w, out = signs(zeros, i, size), f"y{i}"
        if kind == "float32":
            inits.append(nh.from_array(w.astype(np.float32) * scale(size), f"w{i}"))
            nodes.append(h.make_node("MatMul", [last, f"w{i}"], [out]))
        elif kind.startswith("onnxruntime"):
            codes = (w.T + 1).astype(np.uint8).reshape(size, size // 128, 32, 4)
            packed = sum(codes[..., j] << (2 * j) for j in range(4)).astype(np.uint8)
            inits += [
                nh.from_array(packed, f"w{i}"), nh.from_array(np.full(size * size // 128, scale(size)), f"s{i}"),
                nh.from_array(np.full(size * size // 512, 0x55, np.uint8), f"z{i}"),
            ]  # fmt: skip
            nodes.append(h.make_node(
                "MatMulNBits", [last, f"w{i}", f"s{i}", f"z{i}"], [out], domain="com.microsoft", K=size, N=size, bits=2,
                block_size=128, accuracy_level=4,
            ))  # fmt: skip
        else:
            quantised = last
            if "8-bit" in kind:
                more, quantised = _quantiser(last, i)
                nodes += more
            inits.append(nh.from_array(w.astype(ml_dtypes.int2), f"q{i}"))
            nodes.append(h.make_node("DequantizeLinear", [f"q{i}", "s"], [f"w{i}"]))
            nodes.append(h.make_node("MatMul", [quantised, f"w{i}"], [out]))
        last = out
    constants = {"s": scale(size), "top": 127, "least": 1e-5, "low": -128, "high": 127, "axis": [-1]}
    used = {name for node in nodes for name in node.input}
    dtypes = {"axis": np.int64}
    inits += [nh.from_array(np.asarray(v, dtypes.get(n, np.float32)), n) for n, v in constants.items() if n in used]
    graph = h.make_graph(
        nodes, "chain", [h.make_tensor_value_info("x", T.FLOAT, ["M", size])],
        [h.make_tensor_value_info(last, T.FLOAT, ["M", size])], inits,
    )  # fmt: skip
    imports = [h.make_opsetid("", 25), h.make_opsetid("com.microsoft", 1)]
    return h.make_model(graph, opset_imports=imports, ir_version=13).SerializeToString()


def _quantiser(x: str, i: int) -> tuple[list[object], str]:
    names = {n: f"{n}{i}" for n in ("absolute", "peak", "limited", "step", "scaled", "rounded", "clipped", "given")}
    steps = [
        ("Abs", [x], "absolute"), ("ReduceMax", [names["absolute"], "axis"], "peak"),
        ("Clip", [names["peak"], "least"], "limited"), ("Div", ["top", names["limited"]], "step"),
        ("Mul", [x, names["step"]], "scaled"), ("Round", [names["scaled"]], "rounded"),
        ("Clip", [names["rounded"], "low", "high"], "clipped"), ("Div", [names["clipped"], names["step"]], "given"),
    ]  # fmt: skip
    return [h.make_node(op, ins, [names[out]]) for op, ins, out in steps], names["given"]


def numpy_run(layers: int, size: int, x: np.ndarray) -> Run:
    weights = [signs(True, i, size).astype(np.float32) * scale(size) for i in range(layers)]

    def run() -> np.ndarray:
        y = x
        for w in weights:
            y = y @ w
        return y

    return run


def ort_run(model: bytes, x: np.ndarray, *, lookup: bool = False) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    if lookup:
        options.add_session_config_entry("mlas.use_lut_gemm", "1")
    session = onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    return lambda: session.run(None, {"x": x})[0]


def ronn_run(model: bytes, x: np.ndarray, provider: str) -> Run:
    session = ronn.Session(model, providers=[provider], options={"threads": 1})
    return lambda: session.run(x)[0]


def contestants(size: int, m: int, streamed: bool) -> tuple[dict[str, Run], dict[str, int]]:
    """What runs, and the products that each run has."""
    x = np.random.default_rng(99).standard_normal((m, size)).astype(np.float32)
    layers = {k: max(1, math.ceil(STREAMED * 8 / (b * size * size))) if streamed else 1 for k, b in BITS.items()}
    found: dict[str, Run] = {"float32, NumPy": numpy_run(layers["float32"], size, x)}
    for kind in BITS:
        model = chain(kind, layers[kind], size)
        if kind == "float32":
            found["float32, onnxruntime"] = ort_run(model, x)
            found["float32, RONN"] = ronn_run(model, x, "cpu")
        elif kind.startswith("onnxruntime"):
            found[kind] = ort_run(model, x, lookup="look-up" in kind)
        else:
            found[f"RONN, {kind}"] = ronn_run(model, x, "bitnet")
    return found, {name: layers[_kind(name)] for name in found}


def _kind(name: str) -> str:
    return "float32" if name.startswith("float32") else name.removeprefix("RONN, ")


def check(found: dict[str, Run]) -> None:
    """Answers of one product must be float32's, as far as their activations let them."""
    expected = found["float32, NumPy"]()
    for name, run in found.items():
        if "binary" in name:
            continue  # other weights: the provider's tests hold it against integers
        off = float(np.abs(np.asarray(run()) - expected).max() / np.abs(expected).max())
        if off > TOLERANCE.get(_kind(name), LOOSE):
            raise SystemExit(f"{name} is off by {off:.2g} of the largest")


def read_rate(size: int = 256 << 20) -> float:
    """Bytes a second that one thread reads from memory, with vector loads: the best of a few tries."""
    from numba import njit

    from ronn_codegen.simd import ops
    from ronn_codegen.simd.memory import VectorType
    from ronn_codegen.simd.target import host

    vectors = VectorType("i32", host().lanes(32))
    load, splat, lanes = vectors.load, vectors.splat, vectors.lanes
    zero = np.int32(0)

    @njit(error_model="numpy", nogil=True)
    def read(place, count):  # type: ignore[no-untyped-def]
        a, b, c, d = splat(zero), splat(zero), splat(zero), splat(zero)
        i = 0
        while i + 4 * lanes <= count:
            a, b = a + load(place, i), b + load(place, i + lanes)
            c, d = c + load(place, i + 2 * lanes), d + load(place, i + 3 * lanes)
            i += 4 * lanes
        return ops.reduce_add(a + b + c + d)

    data = np.ones(size // 4, np.int32)
    read(data.ctypes.data, 64)
    best = math.inf
    for _ in range(7):
        started = time.perf_counter()
        read(data.ctypes.data, data.size)
        best = min(best, time.perf_counter() - started)
    return size / best


def measure(case: str, size: int, m: int, streamed: bool, seconds: float) -> list[Row]:
    found, layers = contestants(size, m, streamed)
    if not streamed:
        check(found)
    taken = in_turn({name: single(run) for name, run in found.items()}, seconds, pause=PAUSE_S)
    medians = {name: statistics.median(t.times) / layers[name] for name, t in taken.items()}
    best = min(medians["float32, NumPy"], medians["float32, onnxruntime"])
    return [
        Row(case, name, t * 1e6, best / t, size * size * BITS[_kind(name)] / 8 / t / 1e9) for name, t in medians.items()
    ]


def table(rows: list[Row], rate: float) -> str:
    lines = [
        "| case | contestant | us a product | against the best float32 | weights, GB/s |",
        "| --- | --- | ---: | ---: | ---: |",
    ]
    lines += [
        f"| {r.case} | {r.contestant} | {r.microseconds:.0f} | {r.ratio:.1f} x | {r.gbytes_per_second:.1f} |"
        for r in rows
    ]
    return "\n".join([*lines, "", f"One thread reads {rate / 1e9:.1f} GB/s from memory in the same run.", ""])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help="put table and figures into docs/bitnet.md and results/")
    parser.add_argument("--size", type=int, default=SIZE, help="rows and columns of the weights")
    parser.add_argument("--seconds", type=float, default=12.0, help="for each case")
    options = parser.parse_args()
    if os.environ.get("OPENBLAS_NUM_THREADS") != "1":
        parser.error("NumPy is to have one thread as well: set OPENBLAS_NUM_THREADS=1")
    size, text = options.size, f"{options.size} x {options.size}"
    before = read_rate()
    rows = []
    for case, m, streamed in (
        (f"1 row, {text}, in cache", 1, False), (f"1 row, {text}, out of cache", 1, True),
        (f"8 rows, {text}", 8, False), (f"128 rows, {text}", 128, False),
    ):  # fmt: skip
        rows += measure(case, size, m, streamed, options.seconds)
    rate = max(before, read_rate())
    made = table(rows, rate)
    print(made)
    if options.write:
        facts = {"machine": describe(), "read_gbytes_per_second": rate / 1e9, "rows": [asdict(r) for r in rows]}
        publish("bitnet", facts, made, PAGE)


if __name__ == "__main__":
    main()
