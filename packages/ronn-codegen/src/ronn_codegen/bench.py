"""Times products on this machine beside NumPy: ``python -m ronn_codegen.bench [FILE.json]``.

One thread each (set OPENBLAS_NUM_THREADS=1 or what your BLAS reads), in turn, medians, on packed operands. Convolutions
have ``ronn_codegen.bench_conv``.
"""

from __future__ import annotations

import json
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np

from ronn_codegen.native.library import library
from ronn_codegen.simd.target import host
from ronn_codegen.templates.gemm_shape import block_of_steps, last_step, packed_size, tile_of

SIZES = [(1024, 1024, 1024), (128, 768, 768), (64, 384, 1536), (1, 4096, 4096)]
ROUNDS = 25

Run = Callable[[], object]


def gflops(flops: int, runs: dict[str, Run]) -> dict[str, float]:
    """Median GFLOP/s of each, run in turn after one uncounted round."""
    seconds: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(ROUNDS + 1):
        for name, run in runs.items():
            started = time.perf_counter()
            run()
            seconds[name].append(time.perf_counter() - started)
    return {name: round(flops / statistics.median(times[1:]) * 1e-9, 1) for name, times in seconds.items()}


def product_runs(m: int, n: int, k: int) -> dict[str, Run]:
    kernels = library()
    tile = tile_of(kernels.machine.target)
    rng = np.random.default_rng(0)
    a = rng.standard_normal((m, k)).astype(np.float32)
    b = rng.standard_normal((k, n)).astype(np.float32)
    c, packed = np.empty((m, n), np.float32), np.empty(packed_size(k, n, tile), np.float32)
    pack = kernels.kernel("ronn_codegen.templates.gemm_pack", "pack_f32")
    pack(k, n, 1, b.ctypes.data, n, 1, 0, packed.ctypes.data, 0)
    multiply = kernels.kernel("ronn_codegen.templates.gemm", "gemm_f32")
    sizes = (m, n, k, block_of_steps(m, k, tile), 1, 0)
    places = (packed.ctypes.data, tile.columns, last_step(n, tile), k * tile.columns, 0)

    def template() -> None:
        multiply(*sizes, a.ctypes.data, k, 1, *places, c.ctypes.data, n, 0, 0, 0, 1.0, 1.0, 0, 0.0, 0.0)

    return {"template": template, "numpy": lambda: np.matmul(a, b, out=c)}


def main(arguments: list[str]) -> None:
    rows: list[dict[str, Any]] = []
    for m, n, k in SIZES:
        found = gflops(2 * m * n * k, product_runs(m, n, k))
        rows.append({"kernel": "gemm", "size": f"{m} x {n} x {k}", "gflops": found})
    for row in rows:
        figures = "  ".join(f"{name} {value:6.1f}" for name, value in row["gflops"].items())
        sys.stdout.write(f"{row['kernel']:5} {row['size']:28} {figures}  GFLOP/s\n")
    if arguments:
        result = {"machine": platform.machine(), "target": asdict(host()), "threads": 1, "rows": rows}
        Path(arguments[0]).write_text(json.dumps(result, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
