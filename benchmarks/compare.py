"""Every zoo model at every size through ONNX Runtime and RONN: `python -m benchmarks.compare [--write]`; with
`--providers npu cpu` through these providers, and why nodes are not on the first of them.

Exit status 1 when an answer is wrong, a runtime fails, or a model that should be here is not.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import models_table
from benchmarks.tasks import decisions, needed_score, task_score
from benchmarks.tolerance import compare_outputs, worst_of
from benchmarks.workers import run_worker, write_result
from benchmarks.zoo.cache import ZooError
from benchmarks.zoo.feeds import make_feed
from benchmarks.zoo.fetch import model_path
from benchmarks.zoo.manifest import ZooModel, load_manifest

DEFAULT_TIMEOUT_S = 900.0


def count_nodes(path: Path) -> int:
    """Nodes of the file's graph, those of subgraphs included."""
    import onnx

    def inside(graph: onnx.GraphProto) -> int:
        total = len(graph.node)
        for node in graph.node:
            for attribute in node.attribute:
                total += inside(attribute.g) if attribute.HasField("g") else 0
                total += sum(inside(each) for each in attribute.graphs)
        return total

    return inside(onnx.load(path, load_external_data=False).graph)


def _message(error: BaseException) -> str:
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return f"{type(error).__name__}: {' '.join(lines)}"[:400]


def _judge(model: ZooModel, expected: dict[str, Any], actual: dict[str, Any], noise: float | None) -> dict[str, Any]:
    """Verdict of one size: element-wise, or by the model's task when the manifest gives it one."""
    results = compare_outputs(expected, actual, model.precision)
    worst = worst_of(list(results.values()))
    row: dict[str, Any] = {
        "max_difference": worst.worst if np.isfinite(worst.worst) else None,
        "relative": worst.relative if np.isfinite(worst.relative) else None,
        "allowed": worst.allowed,
    }
    if model.task is not None and noise is not None:
        score = task_score(model.task, expected, actual)
        needed = needed_score(model.task, noise, decisions(model.task, expected))
        row.update(score=score, needed_score=needed, noise_score=noise, ok=score >= needed)
        row["reason"] = None if row["ok"] else f"{model.task} {score:.4f}, needed {needed:.4f}"
        return row
    bad = {name: item for name, item in results.items() if not item.ok}
    row["ok"] = not bad
    row["reason"] = "; ".join(f"{name}: {item.reason}" for name, item in list(bad.items())[:3]) if bad else None
    return row


def compare_model(name: str, threads: int, providers: list[str] | None = None) -> dict[str, Any]:
    """Runs in the worker process. The answer has one entry in "sizes" per size of the manifest."""
    from benchmarks.contestants import detached, open_onnxruntime, open_ronn_session, placement_counts, refusals
    from benchmarks.noise import optimisation_noise, task_noise

    model = load_manifest().models[name]
    path = model_path(name)
    feeds = [make_feed(model, size) for size in model.sizes]
    answer: dict[str, Any] = {"nodes": count_nodes(path), "bytes": path.stat().st_size, "sizes": []}
    started = time.perf_counter()
    run_ort = open_onnxruntime(path, threads)
    answer["onnxruntime_load_s"] = time.perf_counter() - started
    expected = [detached(run_ort(feed)) for feed in feeds]
    scores: list[float | None] = [None] * len(feeds)
    if model.task is not None:
        scores = list(task_noise(path, model.task, feeds, expected))
    noise = optimisation_noise(path, feeds, expected)

    run_ronn: Callable[[Any], Any] | None = None
    try:
        started = time.perf_counter()
        session = open_ronn_session(path, threads, providers)
        answer["ronn_load_s"] = time.perf_counter() - started
        run_ronn = session.run
    except Exception as error:
        answer["error"] = f"load: {_message(error)}"
    for number, size in enumerate(model.sizes):
        row: dict[str, Any] = {"size": size.label, "onnxruntime_noise": noise[number] if noise else None}
        if run_ronn is None:
            row.update(ok=False, reason=answer["error"])
        else:
            try:
                started = time.perf_counter()
                actual = dict(run_ronn(feeds[number]))
                row["ronn_first_run_s"] = time.perf_counter() - started
                row.update(_judge(model, expected[number], actual, scores[number]))
            except Exception as error:
                row.update(ok=False, reason=f"run: {_message(error)}")
        answer["sizes"].append(row)
    if run_ronn is not None:
        try:
            answer["providers"], answer["on_reference"] = placement_counts(session)
            if providers:
                answer["elsewhere"] = refusals(session, providers[0])
        except Exception as error:
            answer["placement_error"] = _message(error)
    return answer


def _tell(head: str, message: str) -> None:
    print(f"{head}: {message}", flush=True)


def compare_all(
    models: list[ZooModel], threads: int, timeout_s: float, providers: list[str] | None = None
) -> list[dict[str, Any]]:
    entries = []
    for number, model in enumerate(models, start=1):
        entry: dict[str, Any] = {"name": model.name, "kind": model.kind, "compare": model.compare, "task": model.task}
        head = f"[{number}/{len(models)}] {model.name}"
        try:
            model_path(model.name, partial(_tell, head))
            arguments = ["--name", model.name, "--threads", str(threads)]
            arguments += ["--providers", *providers] if providers else []
            entry.update(run_worker("benchmarks.compare", arguments, threads, timeout_s))
        except ZooError as error:
            entry["unavailable"] = str(error)
        entry["ok"] = bool(entry.get("sizes")) and all(size["ok"] for size in entry["sizes"])
        entries.append(entry)
        print(f"{head}: {models_table.one_line(entry)}", flush=True)
    return entries


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.compare", description=__doc__.splitlines()[0])
    parser.add_argument("--name", nargs="+", action="extend", help="only these models")
    parser.add_argument("--small", action="store_true", help="only models small enough for CI")
    parser.add_argument("--providers", nargs="+", help="of RONN's session, in order (else its own choice)")
    parser.add_argument(
        "--write",
        action="store_true",
        help="write docs/models.md and benchmarks/results/models.json, with --providers NAME ... models-NAME",
    )
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--timeout", type=float, default=DEFAULT_TIMEOUT_S, help="seconds for one model")
    parser.add_argument("--worker-result", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.worker_result is not None:
        write_result(options.worker_result, compare_model(options.name[0], options.threads, options.providers))
        return 0
    try:
        models = load_manifest().select(options.name, options.small)
    except KeyError as error:
        parser.error(str(error.args[0]))
    entries = compare_all(models, options.threads, options.timeout, options.providers)
    right = sum(entry["ok"] for entry in entries)
    print(f"{right} passed, {len(entries) - right} failed")
    if options.write:
        complete = options.name is None and not options.small
        models_table.write(entries, complete, options.providers)
    return 0 if right == len(entries) else 1


if __name__ == "__main__":
    raise SystemExit(main())
