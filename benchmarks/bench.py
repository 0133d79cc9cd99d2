"""Times RONN, ONNX Runtime and OpenVINO in turn: `python -m benchmarks.bench [--name N ...] [--threads T] [--quick]`.

All contestants are open in one process and run in bursts of about 0.1 s, A B C A B C; before each burst come a pause
of 80 ms and two uncounted runs, because a peer's threads go on spinning after a run and would tax the next one.
Peak memory and start-up are measured apart, each contestant alone in a fresh process: see `benchmarks.alone`.
"""

from __future__ import annotations

import argparse
import gc
import tempfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import bench_report
from benchmarks.alone import write_job
from benchmarks.contestants import CONTESTANTS, Run, installed, open_for, symbol_sizes
from benchmarks.machine import describe
from benchmarks.tolerance import compare_outputs, worst_of
from benchmarks.workers import run_worker, write_result
from benchmarks.zoo.cache import ZooError
from benchmarks.zoo.feeds import Feed, make_feed
from benchmarks.zoo.fetch import model_path
from benchmarks.zoo.manifest import ZooModel, load_manifest
from ronn.benchmark.timing import BURST_S, PAUSE_S, in_turn, single

ROUNDS, QUICK_ROUNDS = 9, 4
MODEL_BUDGET_S, QUICK_BUDGET_S = 30.0, 15.0
WORKER_TIMEOUT_S = 900.0


def _message(error: BaseException) -> str:
    return f"{type(error).__name__}: {' '.join(str(error).split())}"[:300]


def interleave(runs: dict[str, Run], feed: Feed, rounds: int, budget_s: float) -> dict[str, list[float]]:
    """Seconds of each counted run per contestant; stops early once the budget is spent and each ran often enough."""
    takers = {name: single(partial(run, feed)) for name, run in runs.items()}
    taken = in_turn(takers, budget_s, rounds=rounds, burst=BURST_S, pause=PAUSE_S)
    return {name: each.times for name, each in taken.items()}


def summary(times: list[float]) -> dict[str, float]:
    """Milliseconds: median, the 50th, 95th and 99th percentile, least; and the number of runs."""
    milliseconds = np.asarray(times) * 1e3
    p50, p95, p99 = np.percentile(milliseconds, (50, 95, 99))
    return {
        "median_ms": float(np.median(milliseconds)), "p50_ms": float(p50), "p95_ms": float(p95),
        "p99_ms": float(p99), "min_ms": float(milliseconds.min()), "runs": len(times),
    }  # fmt: skip


def time_model(name: str, size_number: int, threads: int, quick: bool) -> dict[str, Any]:
    """Runs in a worker process: opens every contestant, checks its first answer, times them in turn."""
    model = load_manifest().models[name]
    path, feed = model_path(name), make_feed(model, model.sizes[size_number])
    answer: dict[str, Any] = {"contestants": {}}
    sizes = symbol_sizes(path, feed)
    runs: dict[str, Run] = {}
    reference: dict[str, Any] | None = None
    for contestant in ("onnxruntime", "ronn", "openvino"):
        if not installed(contestant):
            answer["contestants"][contestant] = {"error": "not installed"}
            continue
        try:
            run = open_for(contestant, path, threads, feed, sizes)
            outputs = dict(run(feed))
        except Exception as error:
            answer["contestants"][contestant] = {"error": _message(error)}
            continue
        entry: dict[str, Any] = {}
        if contestant == "onnxruntime":
            reference = {
                key: np.array(value) if isinstance(value, np.ndarray) else value for key, value in outputs.items()
            }
        elif reference is not None and model.task is None:
            if contestant == "openvino" and len(outputs) == len(reference):
                outputs = dict(zip(reference, outputs.values(), strict=True))
            worst = worst_of(list(compare_outputs(reference, outputs, model.precision).values()))
            entry["equal"], entry["relative_difference"] = worst.ok, float(min(worst.relative, 1e30))
        answer["contestants"][contestant] = entry
        runs[contestant] = run
    gc.collect()
    gc.disable()
    order = {contestant: runs[contestant] for contestant in CONTESTANTS if contestant in runs}
    rounds, budget = (QUICK_ROUNDS, QUICK_BUDGET_S) if quick else (ROUNDS, MODEL_BUDGET_S)
    for contestant, times in interleave(order, feed, rounds, budget).items():
        answer["contestants"][contestant].update(summary(times))
    return answer


def measure_alone(model: ZooModel, size_number: int, threads: int, contestant: str) -> dict[str, Any]:
    """What a contestant takes in a process of its own, imports included, and the MiB of the model's files."""
    path, feed = model_path(model.name), make_feed(model, model.sizes[size_number])
    with tempfile.TemporaryDirectory() as scratch:
        job = Path(scratch) / "job.pickle"
        sizes = symbol_sizes(path, feed)
        write_job({"contestant": contestant, "path": str(path), "threads": threads, "feed": feed, "sizes": sizes}, job)
        found = run_worker("benchmarks.alone", [str(job)], threads, WORKER_TIMEOUT_S)
    if "error" in found:
        return {"alone_error": found["error"]}
    return {**found, "weights_mib": weights_bytes(path) / 2**20}


def weights_bytes(path: Path) -> int:
    """Bytes of the model's file and of its external data: near enough to those of its weights."""
    import onnx
    from onnx.external_data_helper import ExternalDataInfo

    names = {
        ExternalDataInfo(tensor).location
        for tensor in onnx.load(str(path), load_external_data=False).graph.initializer
        if tensor.data_location == onnx.TensorProto.EXTERNAL
    }
    return sum(file.stat().st_size for file in (path, *(path.parent / name for name in sorted(names))))


def bench_model(model: ZooModel, size_number: int, threads: int, quick: bool) -> dict[str, Any]:
    label = model.sizes[size_number].label
    entry: dict[str, Any] = {"name": model.name, "kind": model.kind, "size": label}
    try:
        model_path(model.name, lambda message: print(f"{model.name}: {message}", flush=True))
    except ZooError as error:
        entry["unavailable"] = str(error)
        return entry
    arguments = ["--name", model.name, "--size", str(size_number), "--threads", str(threads)]
    timed = [*arguments, "--quick"] if quick else arguments
    entry.update(run_worker("benchmarks.bench", timed, threads, WORKER_TIMEOUT_S))
    for contestant, figures in entry.get("contestants", {}).items():
        if "error" not in figures:
            figures.update(measure_alone(model, size_number, threads, contestant))
    for peer in ("onnxruntime", "openvino"):
        pair = [entry.get("contestants", {}).get(each, {}).get("median_ms") for each in (peer, "ronn")]
        entry[f"{peer}_over_ronn"] = pair[0] / pair[1] if None not in pair else None
    return entry


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.bench", description=__doc__.splitlines()[0])
    parser.add_argument("--name", nargs="+", action="extend", help="only these models")
    parser.add_argument("--small", action="store_true", help="only models small enough for CI")
    parser.add_argument("--size", type=int, default=0, help="which of a model's sizes (0 is the first)")
    parser.add_argument(
        "--threads", type=int, nargs="+", default=[1], help="the same number for every contestant; several: in turn"
    )
    parser.add_argument("--quick", action="store_true", help="few rounds: to see that it works, not to quote")
    parser.add_argument("--output", type=Path, default=bench_report.RESULTS, help="folder for JSON and PNG")
    parser.add_argument("--worker-result", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker_result is not None:
        name = options.name[0]
        write_result(options.worker_result, time_model(name, options.size, options.threads[0], options.quick))
        return 0
    try:
        models = load_manifest().select(options.name, options.small)
    except KeyError as error:
        parser.error(str(error.args[0]))
    for threads in options.threads:
        machine, entries = describe(), []
        for number, model in enumerate(models, start=1):
            entry = bench_model(model, min(options.size, len(model.sizes) - 1), threads, options.quick)
            entries.append(entry)
            print(f"[{number}/{len(models)}] {bench_report.one_line(entry)}", flush=True)
        result = {"machine": machine, "threads": threads, "quick": options.quick, "models": entries}
        bench_report.write(result, options.output)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
