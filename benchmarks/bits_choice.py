"""Measures the choices of `ronn_provider_bitnet/choices.json`: `python -m benchmarks.bits_choice [--write]`, a minute.

Kernels of dots and of look-ups take turns on the same shapes, in cache and on one thread, for machines with and without
dots of bytes; the best of many runs counts.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from benchmarks.machine import describe
from ronn_codegen.aligned import aligned_zeros
from ronn_codegen.native.library import Library, library, pack
from ronn_provider_bitnet.choice import Choice, key
from ronn_provider_bitnet.kernels.layout import pack_codes, padded, panel_rows
from ronn_provider_bitnet.kernels.lookup_layout import FORMS, ROWS, pack_lookups, sums_bytes

TABLE = Path(__file__).parents[1] / "packages/ronn-provider-bitnet/src/ronn_provider_bitnet/choices.json"
SIZES = ((64, 1024), (128, 1024), (256, 1024), (512, 1024), (1024, 1024), (4096, 1024), (1024, 4096))
ROWS_OF_ACTIVATIONS = (1, 64)
GROUP = 64
_KERNELS = "ronn_provider_bitnet.kernels"


def call(
    lib: Library, module: str, kernel: str, keep: list[np.ndarray], *arguments: float | np.ndarray
) -> Callable[[], None]:  # fmt: skip
    """A call of a kernel, whose arrays it keeps."""
    found = lib.kernel(f"{_KERNELS}.{module}", kernel)
    keep += [a for a in arguments if isinstance(a, np.ndarray)]
    block = pack(found.signature, [a.ctypes.data if isinstance(a, np.ndarray) else a for a in arguments])
    keep.append(block)
    place = block.ctypes.data
    return lambda: found.entry(place, 0, 1)


def contestants(
    lib: Library, name: str, planes: int, grouped: bool, n: int, k: int, m: int, keep: list[np.ndarray]
) -> tuple[Callable[[], None], Callable[[], None]]:
    """The product by dots and by look-up."""
    form, r = FORMS[name], np.random.default_rng(0)
    bits = 1 if name == "binary" else 2
    codes = r.integers(0, form.base, (n, k)).astype(np.uint8)
    group = GROUP if grouped else k
    groups = k // group
    scales = r.uniform(0.5, 2, (n, groups)).astype(np.float32)
    kind, panel = "bytes" if planes == 1 else "words", panel_rows(lib.machine.target)

    def activations(wide: int) -> np.ndarray:
        a = aligned_zeros((planes * m * groups * wide + 64,), np.int8)
        a[:] = r.integers(-127, 128, a.size)
        return a

    def column() -> np.ndarray:
        return aligned_zeros((-(-n // ROWS) * ROWS,), np.float32)

    zeros, scale, y = np.zeros((planes, m, groups), np.int32), np.ones(m, np.float32), aligned_zeros((m, n), np.float32)
    wide = padded(group, bits)
    dots = call(
        lib, "products", f"bits{bits}_{kind}", keep, activations(wide), m, groups, wide, n,
        pack_codes(codes, scales, bits, group, panel), zeros, scale, column(), y, 0, 0.0, 0.0,
    )  # fmt: skip
    words = form.words(group)
    wide = -(-words * form.step // 16) * 16
    lookups = call(
        lib, f"lookup_{name}", f"{name}_{'groups' if grouped else 'rows'}_{kind}", keep, activations(wide), m, groups,
        words, wide, n, pack_lookups(codes, form, GROUP if grouped else 0, scales if grouped else None), column(),
        zeros, scale, column(), aligned_zeros((sums_bytes(m, n, planes, 1),), np.uint8), y, 0, 0.0, 0.0,
    )  # fmt: skip
    return dots, lookups


def best(runs: tuple[Callable[[], None], ...], seconds: float) -> list[float]:
    """Microseconds of each, the best of many in turn."""
    found = [float("inf")] * len(runs)
    until = time.perf_counter() + seconds
    while time.perf_counter() < until:
        for i, run in enumerate(runs):
            for _ in range(5):
                started = time.perf_counter()
                run()
                found[i] = min(found[i], time.perf_counter() - started)
    return [round(t * 1e6, 2) for t in found]


def measure(seconds: float) -> dict[str, list[tuple[int, int, list[float], list[float]]]]:
    made = {}
    for level, dot in (("native", True), ("avx512", False)):
        lib = library(level)
        if lib.machine.target.name != "avx512" or lib.machine.target.int8_dot != dot:
            raise SystemExit(f"{level} is {lib.machine.target}: choices are measured on AVX-512 with dots of bytes")
        for name in FORMS:
            for planes in (1, 2):
                for grouped in (False, True):
                    rows = []
                    for n, k in SIZES:
                        times = []
                        for m in ROWS_OF_ACTIVATIONS:
                            keep: list[np.ndarray] = []
                            times.append(best(contestants(lib, name, planes, grouped, n, k, m, keep), seconds))
                        rows.append((n, k, [t[0] for t in times], [t[1] for t in times]))
                        chosen = Choice(n, k, ROWS_OF_ACTIVATIONS, tuple(rows[-1][2]), tuple(rows[-1][3]))
                        print(f"{key(name, planes, grouped, dot):40s} {chosen}", flush=True)
                    made[key(name, planes, grouped, dot)] = rows
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"write {TABLE.name}")
    parser.add_argument("--seconds", type=float, default=0.2, help="for each shape and number of rows")
    options = parser.parse_args()
    found = measure(options.seconds)
    if options.write:
        lines = []
        for name, rows in found.items():
            lines.append(f'  "{name}": [\n' + ",\n".join(f"   {json.dumps(r)}" for r in rows) + "\n  ]")
        facts = json.dumps(describe()["cpu"])
        TABLE.write_text(
            f'{{\n "measured_on": {facts},\n "rows": {json.dumps(ROWS_OF_ACTIVATIONS)},\n "choices": {{\n'
            + ",\n".join(lines) + "\n }\n}\n", encoding="utf-8",
        )  # fmt: skip


if __name__ == "__main__":
    main()
