"""Times matrix products on this machine beside NumPy and ONNX Runtime: ``python -m ronn_codegen.bench [FILE.json]``.

One thread each (set OPENBLAS_NUM_THREADS=1 or what your BLAS reads), in turn; the best of many short bursts counts, in
processor time of the thread, so that other work on the machine counts little. The right operand is a constant: packed
for the kernels, an initializer for ONNX Runtime, where it is installed. ``peak`` is a loop of multiply-adds alone,
timed in the same turns. Convolutions have ``ronn_codegen.bench_conv``.
"""

from __future__ import annotations

import ctypes
import json
import platform
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
from numba import njit

from ronn_codegen.native.library import library
from ronn_codegen.native.library import pack as argument_block
from ronn_codegen.simd import tile as t
from ronn_codegen.simd.target import Target, host
from ronn_codegen.templates.gemm_shape import block_of_steps, last_step, packed_size, tile_of

SIZES = [  # m, n, k
    *((d, d, d) for d in (64, 128, 256, 512, 768, 1024)),
    (128, 768, 768), (128, 3072, 768), (128, 768, 3072), (64, 384, 1536), (64, 1536, 384), (197, 768, 768),
    (50, 384, 384), (32, 384, 384), (16, 768, 768), (12, 768, 3072), (8, 4096, 1024), (8, 4096, 4096),
    (4, 4096, 4096), (2, 768, 3072), (1, 4096, 4096), (1, 1000, 2048), (1, 512, 512), (1, 128, 128),
    (512, 512, 64), (128, 128, 32), (3136, 64, 64), (12544, 16, 16), (12544, 24, 96), (1000, 10, 84), (20, 20, 20),
]  # fmt: skip
SECONDS = 1.0  # for each contestant and size
_BURST = 200e-6  # seconds that a burst of calls should last
_PEAK_STEPS = 10000

Run = Callable[[], object]


def best_seconds(runs: Mapping[str, Run], seconds: float) -> dict[str, float]:
    """The best seconds of processor time of one call of each, in bursts by turns."""
    bursts: dict[str, int] = {}
    for name, run in runs.items():
        run()
        started = time.thread_time()
        run()
        bursts[name] = max(1, int(_BURST / (time.thread_time() - started)))
    best = dict.fromkeys(runs, float("inf"))
    end = time.perf_counter() + seconds * len(runs)
    while time.perf_counter() < end:
        for name, run in runs.items():
            run()
            started = time.thread_time()
            for _ in range(bursts[name]):
                run()
            best[name] = min(best[name], (time.thread_time() - started) / bursts[name])
    return best


def peak_run(target: Target, terms: t.Terms = t.FACTORS) -> tuple[Run, int]:
    """A loop of multiply-adds on registers alone, and how many operations a call does, if ``terms`` are one product."""
    tile = tile_of(target)
    shape = t.TileShape(tile.rows, tile.vectors, tile.lanes)

    def emit(builder: Any, steps: Any, place: Any) -> None:
        at = t.pointer(builder, place)
        x = t.broadcast(builder, terms.operands(shape.vec), at)

        def step(_: Any, sums: Any) -> Any:
            return [[terms.add(builder, shape.vec, x, x, value) for value in row] for row in sums]

        def put(value: Any, to: Any, _: int) -> Any:
            t.store(builder, shape.vec, value, to)
            return value

        sums = t.loop(builder, steps, t.zeros(shape), step)
        t.each(builder, sums, at, shape.columns * 4, shape.lanes * 4, put)

    spin = t.emitted("peak", "i64 i64", emit)

    @njit(nogil=True)
    def run(steps: int, place: int) -> None:
        spin(steps, place)

    memory = np.zeros(shape.rows * shape.columns, np.float32)
    place = memory.ctypes.data

    def spun() -> np.ndarray:
        run(_PEAK_STEPS, place)
        return memory

    return spun, 2 * _PEAK_STEPS * memory.size


class Bound:
    """A kernel with arguments that stay; ``keep`` lives as long."""

    def __init__(self, module: str, name: str, *arguments: float, keep: Any = None) -> None:
        kernel = library().kernel(f"ronn_codegen.templates.{module}", name)
        self._keep = keep, argument_block(kernel.signature, arguments)
        self._place = self._keep[1].ctypes.data
        self._entry = ctypes.CFUNCTYPE(None, ctypes.c_void_p, ctypes.c_int64, ctypes.c_int64)(kernel.address)

    def __call__(self) -> None:
        self._entry(self._place, 0, 1)


def product_runs(m: int, n: int, k: int) -> dict[str, Run]:
    """The contestants of one product."""
    tile = tile_of(library().machine.target)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    c, packed = np.zeros((m, n), np.float32), np.zeros(packed_size(k, n, tile), np.float32)
    Bound("gemm_pack", "pack_f32", k, n, 1, b.ctypes.data, n, 1, 0, packed.ctypes.data, 0)()
    places = (packed.ctypes.data, tile.columns, last_step(n, tile), k * tile.columns, 0)
    multiply = Bound(
        "gemm", "gemm_f32", m, n, k, block_of_steps(m, k, tile), 1, 0, a.ctypes.data, k, 1, *places,
        c.ctypes.data, n, 0, 0, 0, 1.0, 1.0, 0, 0.0, 0.0, keep=(a, packed, c),
    )  # fmt: skip

    runs: dict[str, Run] = {"template": multiply, "numpy": lambda: np.matmul(a, b, out=c)}
    peer = _onnxruntime(a, b)
    return runs if peer is None else {**runs, "onnxruntime": peer}


def _onnxruntime(a: np.ndarray, b: np.ndarray) -> Run | None:
    """MatMul with bound input and output; None where ONNX Runtime is not installed."""
    try:
        import onnxruntime
        from onnx import TensorProto, helper, numpy_helper
    except ImportError:
        return None
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["a", "b"], ["y"])],
        "product",
        [helper.make_tensor_value_info("a", TensorProto.FLOAT, list(a.shape))],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, [a.shape[0], b.shape[1]])],
        [numpy_helper.from_array(b, "b")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    binding = session.io_binding()
    binding.bind_cpu_input("a", a)
    out = onnxruntime.OrtValue.ortvalue_from_numpy(np.zeros((a.shape[0], b.shape[1]), np.float32))
    binding.bind_ortvalue_output("y", out)
    return lambda: session.run_with_iobinding(binding)


def main(arguments: list[str]) -> None:
    rows: list[dict[str, Any]] = []
    spin, spins = peak_run(host())
    for m, n, k in SIZES:
        seconds = best_seconds({**product_runs(m, n, k), "peak": spin}, SECONDS)
        peak = spins / seconds.pop("peak") * 1e-9
        reached = {name: round(2 * m * n * k / value * 1e-9, 2) for name, value in seconds.items()}
        row = {"m": m, "n": n, "k": k, "gflops": reached, "peak": round(peak, 1)}
        text = "  ".join(f"{name} {value:7.1f} ({value / peak:4.0%})" for name, value in reached.items())
        if "onnxruntime" in seconds:
            row["of_onnxruntime"] = round(seconds["template"] / seconds["onnxruntime"], 3)
            text += f"  time {row['of_onnxruntime']:.2f} of ONNX Runtime's"
        rows.append(row)
        sys.stdout.write(f"{f'{m} x {n} x {k}':20} {text}\n")
        sys.stdout.flush()
    if arguments:
        result = {"machine": platform.machine(), "target": asdict(host()), "threads": 1, "rows": rows}
        Path(arguments[0]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
