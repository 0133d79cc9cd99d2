"""Holds what was measured against what the CPU engine is meant to reach: `python -m benchmarks.targets [--quick]`.

Reads the model timings that `benchmarks.bench` wrote for one and two threads, and measures the rest here: start-up with
a warm and with an empty cache, planning of a new size, idle processor time. A target that is missed is said to be.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.bench_report import RESULTS, geometric_mean
from benchmarks.machine import describe

LIGHT = ("light-resnet50", "light-inception_v2", "light-shufflenet", "light-squeezenet", "light-bvlc_alexnet")
SMALL = ("sk-", "silero-", "ppocr-cls", "attacut-c", "lac-")
"""How the names of models begin that are held to the target of small ones if a peer takes less than ``SMALL_MS``."""
SMALL_MS = 1.0
PEERS = ("onnxruntime", "openvino")
_COMPARED = ("ronn", "onnxruntime")
START_MODEL, SIZES_MODEL = "light-resnet50", "minilm-l6-int8w"
ROUNDS = 9


@dataclass(frozen=True)
class Row:
    """One line of the table. ``met`` is None where nothing was measured."""

    what: str
    threads: int
    measured: str
    target: str
    met: bool | None


def best_peer_ratio(entry: dict[str, Any]) -> float | None:
    """RONN's median over that of the faster peer; a peer whose answer is wrong counts as absent."""
    found = entry.get("contestants", {})
    own = found.get("ronn", {}).get("median_ms")
    times = [
        found[p]["median_ms"] for p in PEERS if "median_ms" in found.get(p, {}) and found[p].get("equal") is not False
    ]
    return own / min(times) if own is not None and times else None


def model_rows(result: dict[str, Any]) -> list[Row]:
    """The rows that one thread count's timings answer."""
    threads = result["threads"]
    ratios = {e["name"]: r for e in result["models"] if (r := best_peer_ratio(e)) is not None}
    rows = []

    def mean(what: str, names: list[str], bound: float) -> None:
        value = geometric_mean([ratios[n] for n in names if n in ratios])
        text = "not measured" if value is None else f"{value:.2f} over {sum(n in ratios for n in names)} models"
        rows.append(Row(what, threads, text, f"<= {bound:.2f}", None if value is None else value <= bound))

    mean("RONN / best peer, geometric mean over the zoo", [n for n in ratios if n not in LIGHT], 0.80)
    mean("RONN / best peer, geometric mean over the light models", list(LIGHT), 0.80)
    worst = sorted(ratios.items(), key=lambda kv: -kv[1])
    if worst:
        above = ", ".join(f"{n} {r:.2f}" for n, r in worst if r > 1.0)
        text = above if above else f"{worst[0][0]} {worst[0][1]:.2f}"
        rows.append(Row("RONN / best peer, models above 1", threads, text, "<= 1.00", worst[0][1] <= 1.0))
    own = {e["name"]: e["contestants"]["ronn"]["median_ms"] for e in result["models"] if e["name"] in ratios}
    small = {n: r for n, r in ratios.items() if n.startswith(SMALL) and own[n] / r < SMALL_MS}
    if small:
        text = ", ".join(f"{n} {r:.2f}" for n, r in sorted(small.items(), key=lambda kv: -kv[1])[:4])
        rows.append(Row("models under 1 ms, worst", threads, text, "<= 0.70 each", max(small.values()) <= 0.7))
    int8 = {n: r for n, r in ratios.items() if any(w in n for w in ("int8", "qdq", "qlinear", "dyn"))}
    if int8:
        text = ", ".join(f"{n} {r:.2f}" for n, r in sorted(int8.items(), key=lambda kv: -kv[1])[:4])
        rows.append(Row("int8 models, worst", threads, text, "<= 0.90 each", max(int8.values()) <= 0.9))
    return rows


def memory_row(result: dict[str, Any]) -> Row:
    """The most memory that importing, loading and running take over the weights, against ONNX Runtime's."""
    over_weights = {}
    for entry in result["models"]:
        found = entry.get("contestants", {})
        figures = [(found.get(n, {}).get("taken_memory_mib"), found.get(n, {}).get("weights_mib")) for n in _COMPARED]
        if all(None not in pair for pair in figures):
            over_weights[entry["name"]] = [taken - weights for taken, weights in figures]
    what = "peak memory over weights <= ONNX Runtime's"
    if not over_weights:
        return Row(what, result["threads"], "not measured", "every model", None)
    above = {n: pair for n, pair in over_weights.items() if pair[0] > pair[1]}
    worst = sorted(above.items(), key=lambda kv: kv[1][1] - kv[1][0])
    text = f"{len(over_weights) - len(above)} of {len(over_weights)} models"
    text += "".join(f"; {n} {own:.0f} MiB, ONNX Runtime {peer:.0f}" for n, (own, peer) in worst[:4])
    return Row(what, result["threads"], text, "every model", not above)


_START = """
import sys, time
import numpy as np
name, path, feed = sys.argv[1], sys.argv[2], dict(np.load(sys.argv[3]))
started = time.perf_counter()
if name == "ronn":
    import ronn
    session = ronn.Session(path, options={"threads": 1})
    session.run(feed)
else:
    import onnxruntime as ort
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    session = ort.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    session.run(None, feed)
print(time.perf_counter() - started)
"""


def _start(name: str, path: Path, feed: Path, **environment: str) -> float:
    """Seconds from a path to the first answer in a fresh process that has NumPy and the inputs: import, load, run."""
    command = [sys.executable, "-c", _START, name, str(path), str(feed)]
    done = subprocess.run(command, capture_output=True, text=True, check=True, env={**os.environ, **environment})
    return float(done.stdout.split()[-1])


def start_rows() -> list[Row]:
    """Load and first run: cache warm, and cache empty."""
    import numpy as np

    from benchmarks.zoo.feeds import make_feed
    from benchmarks.zoo.fetch import model_path
    from benchmarks.zoo.manifest import load_manifest

    model = load_manifest().models[START_MODEL]
    path = model_path(START_MODEL)
    with tempfile.TemporaryDirectory() as scratch:
        feed = Path(scratch) / "feed.npz"
        np.savez(feed, **make_feed(model, model.sizes[0]))
        times: dict[str, list[float]] = {"ronn": [], "onnxruntime": []}
        _start("ronn", path, feed)
        for _ in range(ROUNDS):
            for name in times:
                times[name].append(_start(name, path, feed))
        own, peer = (statistics.median(times[n]) for n in ("ronn", "onnxruntime"))
        warm = Row(
            f"import + load + first run, warm cache, {START_MODEL}", 1,
            f"{own * 1e3:.0f} ms, ONNX Runtime {peer * 1e3:.0f} ms", "<= ONNX Runtime's", own <= peer,
        )  # fmt: skip
        cold = {"RONN_CACHE_DIR": str(Path(scratch) / "cache")}
        command = [sys.executable, "-m", "ronn", "warmup", "--all"]
        started = time.perf_counter()
        subprocess.run(command, check=True, capture_output=True, env={**os.environ, **cold})
        library = time.perf_counter() - started
        first = _start("ronn", path, feed, **cold)
        empty = Row(
            "empty cache: kernel library, then the first run of a model", 2,
            f"{library:.0f} s, {first:.2f} s", "<= 30 s, <= 2 s", library <= 30 and first <= 2,
        )  # fmt: skip
    return [warm, empty]


def planning_row() -> Row:
    """What a run with a new size costs beyond a run with a known one."""
    import numpy as np

    import ronn
    from benchmarks.zoo.fetch import model_path

    session = ronn.Session(str(model_path(SIZES_MODEL)), options={"threads": 1, "plan_cache": 64})
    names = [v.name for v in session.inputs]
    nodes = len(list(session.graph))
    costs = []
    for length in range(16, 16 + 2 * ROUNDS):
        feed = {n: np.ones((1, length), np.int64) for n in names}
        marks = [time.perf_counter()]
        for _ in range(2):
            session.run(feed)
            marks.append(time.perf_counter())
        costs.append((marks[1] - marks[0]) - (marks[2] - marks[1]))
    milliseconds = statistics.median(costs[2:]) * 1e3
    text = f"{milliseconds:.1f} ms for {nodes} nodes"
    return Row("planning of a new input size", 1, text, "<= 15 ms for 300 nodes", milliseconds <= 15)


def idle_row() -> Row:
    """Processor time of ten open sessions over two seconds."""
    import ronn
    from benchmarks.zoo.feeds import make_feed
    from benchmarks.zoo.fetch import model_path
    from benchmarks.zoo.manifest import load_manifest

    model = load_manifest().models["mnist-cnn"]
    feed = make_feed(model, model.sizes[0])
    sessions = [ronn.Session(str(model_path("mnist-cnn")), options={"threads": 2}) for _ in range(10)]
    for session in sessions:
        session.run(feed)
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(2)
    share = (time.process_time() - before) / 2
    return Row("processor time of 10 idle sessions", 2, f"{share:.2%}", "0 %", share < 0.0005)


def table(rows: list[Row]) -> str:
    """The rows as Markdown."""
    lines = ["| what | threads | measured | target | |", "| --- | --- | --- | --- | --- |"]
    for row in rows:
        verdict = "not measured" if row.met is None else "met" if row.met else "missed"
        lines.append(f"| {row.what} | {row.threads} | {row.measured} | {row.target} | {verdict} |")
    return "\n".join(lines) + "\n"


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.targets", description=__doc__.splitlines()[0])
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder with the timings of benchmarks.bench")
    parser.add_argument("--quick", action="store_true", help="read the timings of a quick run")
    options = parser.parse_args(arguments)
    rows: list[Row] = []
    stem = "bench-quick" if options.quick else "bench"
    for file in (f"{stem}.json", f"{stem}-2-threads.json"):
        path = options.results / file
        if path.is_file():
            result = json.loads(path.read_text(encoding="utf-8"))
            rows += model_rows(result)
            rows += [memory_row(result)] if result["threads"] == 1 else []
    rows += start_rows()
    rows += [planning_row(), idle_row()]
    print(table(rows))
    target = options.results / ("targets-quick.json" if options.quick else "targets.json")
    found = {"machine": describe(), "rows": [asdict(row) for row in rows]}
    target.write_text(json.dumps(found, indent=1) + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
