"""The goals of ronn-provider-npu: `python -m benchmarks.npu [--only PART ...] [--stored]`, half an hour in all.

gemm       products of 1024 cubed beside clBLAST at its best parameters, in turns (minutes)
nodes      ONNX's node tests on an OpenCL device alone (minutes)
zoo        every model of the zoo on npu, cpu and reference, against ONNX Runtime (a quarter of an hour)
accuracy   photographs through float32 and int8 models, on profiles that have int8 only (minutes)
lines      what a new C-like device is written in

With `--stored` nothing is measured: the table is that of the figures kept last.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Callable
from importlib import metadata
from pathlib import Path

from benchmarks.machine import describe
from benchmarks.npu import results

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE = ROOT / "examples" / "custom-hardware" / "ronn_provider_acme"
ZOO = ROOT / "benchmarks" / "results" / "models-npu.json"
NATIVE, GEMM, POINTS, LINES = 0.85, 1.0, 0.01, 150
Row = tuple[str, str, str, bool | None]
"""What, target, found, and whether it is met (None: it was not measured)."""


def run(*command: str) -> None:
    print("+", *command, flush=True)
    subprocess.run([sys.executable, *command], cwd=ROOT, check=False)


def measure_nodes() -> None:
    sys.path.insert(0, str(ROOT / "docs"))
    import native_npu

    told = native_npu.figures()
    results.update("nodes", {"machine": describe(), "onnx": metadata.version("onnx"), **told})


def count_lines() -> dict[str, int]:
    """Lines of the example's files, comments and blank ones too."""
    return {n: len((EXAMPLE / f"{n}.py").read_text(encoding="utf-8").splitlines()) for n in ("dialect", "launcher")}


MEASURED: dict[str, Callable[[], None]] = {
    "gemm": lambda: run("-m", "benchmarks.npu.gemm", "--write"),
    "nodes": measure_nodes,
    "zoo": lambda: run("-m", "benchmarks.compare", "--providers", "npu", "cpu", "reference", "--write"),
    "accuracy": lambda: run("-m", "benchmarks.npu.accuracy", "--write"),
    "lines": lambda: None,
}


def gemm_rows() -> list[Row]:
    found = results.read("gemm")
    rows: list[Row] = []
    for device in [] if found is None else found["devices"]:
        ratio = device["sizes"]["1024x1024x1024"]["of_clblast"]
        what = f"GEMM 1024 cubed beside clBLAST, {device['device']}"
        if ratio is None:
            rows.append((what, f">= {GEMM}", str(device["clblast"]), None))
        else:
            share = device["sizes"]["1024x1024x1024"]["of_peak"]
            rows.append((what, f">= {GEMM}", f"{ratio:.2f} ({share:.0%} of peak)", ratio >= GEMM))
    return rows


def node_rows() -> list[Row]:
    found = results.read("nodes")
    if found is None:
        return []
    share = found["native"] / found["tensors"]
    what = "node tests of onnx.backend.test on tensors, native on OpenCL"
    return [(what, f">= {NATIVE:.0%}", f"{found['native']} of {found['tensors']}, {share:.1%}", share >= NATIVE)]


def zoo_rows() -> list[Row]:
    if not ZOO.is_file():
        return []
    models = json.loads(ZOO.read_text(encoding="utf-8"))["models"]
    right = sum(bool(m["ok"]) for m in models)
    whole = sum(bool(m.get("providers")) and not m.get("elsewhere") for m in models)
    text = f"{right} of {len(models)} right; {whole} whole on the device, the others' partitions explained"
    explained = all(m.get("providers") for m in models)
    return [("visible zoo on npu, cpu, reference", "all", text, right == len(models) and explained)]


def accuracy_rows() -> list[Row]:
    found = results.read("accuracy")
    rows: list[Row] = []
    for row in [] if found is None else found["rows"]:
        differ = 1 - row["agreement"]
        text = f"{differ:.2%} of {row['pictures']} pictures; {row['on_device']} of {row['nodes']} nodes on the device"
        what = f"{row['model']} in int8 on {row['profile']}: another best class than float32"
        rows.append((what, f"<= {POINTS:.0%}", text, differ <= POINTS))
    return rows


def line_rows() -> list[Row]:
    found = count_lines()
    text = f"{sum(found.values())} ({', '.join(f'{n} {k}' for n, k in found.items())})"
    return [("lines of a new C-like device", f"<= {LINES}", text, sum(found.values()) <= LINES)]


ROWS = {"nodes": node_rows, "zoo": zoo_rows, "gemm": gemm_rows, "lines": line_rows, "accuracy": accuracy_rows}


def table(parts: list[str]) -> tuple[str, bool]:
    """The table of targets, and whether all that was measured are met."""
    rows = [row for name, make in ROWS.items() if name in parts for row in make()]
    lines = ["| what | target | found | met |", "| --- | --- | --- | --- |"]
    words = {True: "yes", False: "**no**", None: "not measured"}
    lines += [f"| {what} | {target} | {found} | {words[met]} |" for what, target, found, met in rows]
    return "\n".join(lines), all(row[3] is not False for row in rows)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.npu", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--only", nargs="+", choices=list(MEASURED), default=list(MEASURED))
    parser.add_argument("--stored", action="store_true", help="measure nothing; the table of the figures kept last")
    given = parser.parse_args()
    if not given.stored:
        for part in given.only:
            MEASURED[part]()
    text, met = table(given.only)
    print(text)
    return 0 if met else 1


if __name__ == "__main__":
    raise SystemExit(main())
