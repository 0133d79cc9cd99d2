"""Writes native-npu.md: which node tests of onnx.backend.test an OpenCL device runs alone, and why it does not run the
others; and passes.txt of the provider's tests, which lists them. `python docs/native_npu.py [--jobs N]`; runs the suite
once. A test counts when all its nodes run on the device and its outputs are those that are expected."""

from __future__ import annotations

import argparse
import os
import re
import sys
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from importlib import metadata
from pathlib import Path
from typing import Any

from native import CONTROL, apart, array_of, table
from onnx.backend.test.case.node import collect_testcases

import ronn
from ronn.errors import PlacementError, RonnError
from ronn_testkit import onnx_cases
from ronn_testkit.onnx_backend import backend_of
from ronn_testkit.passes import PassList, onnx_series

PAGE = Path(__file__).parent / "native-npu.md"
PASSES = Path(__file__).parent.parent / "packages" / "ronn-provider-npu" / "tests" / "passes.txt"
PROCESSES = max(1, len(os.sched_getaffinity(0)))
SPAWN = "spawn"  # a forked process has none of its parent's devices

Outcome = tuple[str, str, list[tuple[str, str]]]
"""Name of a test, why it stands apart, and which operators the device does not run, and why."""

_REFUSAL = re.compile(r"^\s*(\S+) '.*' \(opset \d+\): npu: (.*)$", re.M)


def outcomes(part: int, parts: int) -> list[Outcome]:
    """What came of every ``parts``-th test."""
    warnings.simplefilter("ignore")
    chosen = {case.name: case for i, case in enumerate(collect_testcases(None)) if i % parts == part}
    others = {name: apart(ronn.Model.load(case.model).graph) for name, case in chosen.items()}
    tried = [name for name, other in others.items() if not other]
    results = {r.name: r for r in onnx_cases.run(backend_of("ronn", ["npu"]), names=tried, groups=["node"])}
    found: list[Outcome] = [(name, other, []) for name, other in others.items() if other]
    for name in tried:
        result = results.get(name)
        if result is None or not result.passed:
            text = "" if result is None else result.reason
            found.append(
                (name, "", refusals(chosen[name]) if result is None or result.refused else [_other(chosen[name], text)])
            )
        else:
            found.append((name, "", []))
    return found


def refusals(case: Any) -> list[tuple[str, str]]:
    """The operators of a test that the device refuses, and why."""
    try:
        session = ronn.Session(case.model, providers=["npu"])
        session.run([array_of(v) for v in case.data_sets[0][0]])
    except PlacementError as e:
        found = {(op, _plain(why)) for op, why in _REFUSAL.findall(str(e)) if op not in CONTROL}
        return sorted(found) if found else [_other(case, str(e).splitlines()[0])]
    except RonnError as e:
        return [_other(case, str(e).splitlines()[0])]
    return [_other(case, "other values")]


def _other(case: Any, why: str) -> tuple[str, str]:
    ops = sorted({node.op_type for node in case.model.graph.node})
    return ", ".join(ops[:2]), why


def _plain(why: str) -> str:
    if "has no known size" in why or "found out while it runs" in why:
        return "sizes that are not known before it runs"
    return "no kernel" if why.startswith("no native kernel") else why


def page(found: Sequence[Outcome]) -> str:
    whole = [r for r in found if not r[1]]
    native = sum(not parts for _, _, parts in whole)
    kinds = [other for _, other, _ in found if other]
    beside = ", ".join(f"{kinds.count(kind)} of {kind}" for kind in sorted(set(kinds)))
    lines = [
        "<!-- Written by docs/native_npu.py: do not edit. -->",
        "",
        "# What OpenCL runs",
        "",
        f"Of the {len(found)} node tests of onnx {metadata.version('onnx')}, {len(whole)} concern tensors (apart: {beside}).",
        f"An OpenCL device alone (`providers=[\"npu\"]`, PoCL) runs {native} of these, {native / len(whole):.1%}: all their",
        "nodes, with the outputs that are expected; the plan runs control flow. What it does not run, and why:",
        "",
        *table(whole),
    ]  # fmt: skip
    return "\n".join(lines) + "\n"


def everything(jobs: int) -> list[Outcome]:
    """What came of every test, in so many processes."""
    import multiprocessing

    with ProcessPoolExecutor(jobs, mp_context=multiprocessing.get_context(SPAWN)) as pool:
        parts = pool.map(outcomes, range(4 * jobs), [4 * jobs] * (4 * jobs))
        return sorted(outcome for part in parts for outcome in part)


def figures(jobs: int | None = None) -> dict[str, int]:
    """How many tests there are, how many concern tensors, and how many of these run on the device alone."""
    found = everything(PROCESSES if jobs is None else jobs)
    tensors = [r for r in found if not r[1]]
    return {"tests": len(found), "tensors": len(tensors), "native": sum(not parts for _, _, parts in tensors)}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=PROCESSES, help="processes")
    found = everything(parser.parse_args().jobs)
    text = page(found)
    PAGE.write_text(text, encoding="utf-8")
    native = {name for name, other, parts in found if not other and not parts}
    opsets = onnx_cases.opsets()
    since = {name: opsets.get(name, 0) for name in native}
    PassList(onnx_series(), ("native",), native=native, since=since).write(PASSES)
    sys.stdout.write("\n".join(text.splitlines()[4:7]) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
