"""Times the matrix product template against NumPy's on this machine: ``python -m ronn_codegen.bench``.

One thread each (set OPENBLAS_NUM_THREADS=1 or what your BLAS reads), in turn, medians.
"""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable

import numpy as np

from ronn_codegen.simd.target import host
from ronn_codegen.templates.gemm import gemm, pack, tile_of

SIZES = [(1024, 1024, 1024), (128, 768, 768), (64, 384, 1536), (1, 4096, 4096)]
ROUNDS = 15


def seconds(run: Callable[[], object]) -> float:
    started = time.perf_counter()
    run()
    return time.perf_counter() - started


def main() -> None:
    tile = tile_of(host())
    multiply = gemm(tile)
    rng = np.random.default_rng(0)
    sys.stdout.write(f"{host()}\n{tile}\n{'m x n x k':>18}  {'template':>9}  {'NumPy':>9}  GFLOP/s  ratio\n")
    for m, n, k in SIZES:
        a = rng.standard_normal((m, k)).astype(np.float32)
        b = rng.standard_normal((k, n)).astype(np.float32)
        c, packed = np.empty((m, n), np.float32), pack(b, tile)
        address = (a.ctypes.data, k, packed.ctypes.data, c.ctypes.data, n)

        def ours(m: int = m, n: int = n, k: int = k, address: tuple[int, ...] = address) -> None:
            multiply(m, n, k, *address, 0, 1)

        def theirs(a: np.ndarray = a, b: np.ndarray = b, c: np.ndarray = c) -> None:
            np.matmul(a, b, out=c)

        ours()
        theirs()
        pairs = [(seconds(ours), seconds(theirs)) for _ in range(ROUNDS)]
        mine, other = (2e-9 * m * n * k / statistics.median(column) for column in zip(*pairs, strict=True))
        sys.stdout.write(f"{f'{m} x {n} x {k}':>18}  {mine:>9.1f}  {other:>9.1f}  {'':7}  {mine / other:.2f}\n")


if __name__ == "__main__":
    main()
