"""Products with weights of one and two bits against float32 and against other runtimes' kernels, on one thread:
`python -m benchmarks.bitnet [--write]`.

Contestants are timed end to end, through sessions where they have them: the quantisation of activations and the
dispatch are inside. They run chains of products, each with weights of its own, in turn, in one process, with a pause in
front of each burst. Every answer is first held against exact integers or float64.

llama.cpp takes part where llama-cpp-python is installed (pip builds it from its source package; a C++ compiler and
CMake needed), or with --llama FOLDER; bitnet.cpp with --bitnet-cpp LIBRARY. About 12 GB of memory are needed; --quick
streams a quarter of the weights.
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

import threadpoolctl

from benchmarks.bench_report import RESULTS
from benchmarks.bitnet.contestants import Contestant, everyone
from benchmarks.bitnet.measure import CASES, STREAMED, Case, Row, extremes, measure, stages
from benchmarks.bitnet.picture import draw
from benchmarks.bitnet.report import PICTURE, text
from benchmarks.bitnet.sizes import sizes
from benchmarks.machine import describe
from benchmarks.page import publish

PAGE = Path(__file__).parents[2] / "docs" / "bitnet.md"
LLAMA = "llama-cpp-python"
LAYER = 4096  # rows and columns of the layer whose bytes are counted
PACKAGES = ("numpy", "onnxruntime", "numba", LLAMA)


def versions(llama: Path | None) -> dict[str, str]:
    """Of the packages that take part; llama.cpp's binding may be of another environment."""
    found = {}
    for name in PACKAGES:
        try:
            found[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    if llama is not None:
        found |= {
            d.metadata["Name"]: d.version
            for d in metadata.distributions(name=LLAMA, path=[str(llama.resolve().parents[1])])
        }
    return found


def keep(found: dict[str, Any]) -> None:
    """Results, page and picture."""
    publish("bitnet", found, text(found), PAGE)
    (PAGE.parent / PICTURE).write_text(draw(found), encoding="utf-8")


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks.bitnet", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--write", action="store_true", help="put table, picture and figures into docs/ and results/")
    parser.add_argument("--redraw", action="store_true", help="page and picture again, of the figures in results/")
    parser.add_argument("--quick", action="store_true", help="a quarter of the weights and of the time")
    parser.add_argument("--only", nargs="+", metavar="KIND", help=f"of {', '.join(c.kind for c in CASES)}")
    parser.add_argument("--seconds", type=float, default=10.0, help="for each case")
    parser.add_argument("--llama", type=Path, metavar="FOLDER", help="where libggml-base and libggml-cpu are")
    parser.add_argument("--bitnet-cpp", type=Path, metavar="LIBRARY", help="a build of bitnet.cpp's kernels")
    parser.add_argument("--json", type=Path, help="write the figures to this file as well")
    options = parser.parse_args(arguments)
    if options.redraw:
        keep(json.loads((RESULTS / "bitnet.json").read_text(encoding="utf-8")))
        return
    share = 4 if options.quick else 1
    cases = [c for c in CASES if not options.only or c.kind in options.only]
    try:
        contestants, missing = everyone(options.llama, options.bitnet_cpp)
    except OSError as e:
        parser.error(str(e))
    with threadpoolctl.threadpool_limits(1):
        found = run(contestants, cases, options.seconds / share, STREAMED // share)
    found |= {"versions": versions(options.llama), "missing": missing}
    print(text(found))
    if options.json is not None:
        options.json.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    if options.write:
        keep(found)


def run(
    contestants: Sequence[Contestant], cases: Sequence[Case], seconds: float, streamed: int, layer: int = LAYER
) -> dict[str, Any]:
    """What results/bitnet.json holds, as far as it is measured."""
    rows: list[Row] = []
    machine, began = describe(), time.perf_counter()

    def say(what: str) -> None:
        print(f"{time.perf_counter() - began:4.0f} s  {what}", flush=True)

    for stage in stages(cases):
        rows += measure(stage, contestants, seconds, streamed=streamed, say=say)
    return {
        "machine": machine,
        "streamed": streamed,
        "rows": [asdict(r) for r in rows],
        "sizes": [asdict(s) for s in sizes(layer)],
        "extremes": extremes(contestants),
    }


if __name__ == "__main__":
    main()
