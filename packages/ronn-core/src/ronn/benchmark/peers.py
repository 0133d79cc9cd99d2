"""Other runtimes to measure beside RONN, each with its best settings and the same number of threads."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from ronn.errors import ExecutionError, OptionError, nearest

PEERS = ("onnxruntime",)

Run = Callable[[Mapping[str, Any]], dict[str, Any]]


def check_peer(name: str) -> str:
    """The version of another runtime. OptionError for one that is not known or not installed."""
    from importlib import metadata

    if name not in PEERS:
        near = nearest(name, PEERS)
        raise OptionError(
            f"there is no runtime {name!r} to compare with",
            hint=f"did you mean {near!r}?" if near else f"known: {', '.join(PEERS)}",
        )
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        raise OptionError(f"{name} is not installed", hint=f"pip install {name}") from None


def open_onnxruntime(source: Path | str | bytes, threads: int, sizes: Mapping[str, int]) -> Run:
    """ONNX Runtime's CPU provider, all graph optimisations, no threads beyond the intra-op pool, dims fixed to
    ``sizes``. ExecutionError for a model that it does not load."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    for name, size in sizes.items():
        options.add_free_dimension_override_by_name(name, size)
    given = source if isinstance(source, bytes) else str(source)
    try:
        session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    except Exception as e:  # its errors have no base of their own
        raise ExecutionError(f"onnxruntime does not load the model: {e}") from e
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def timed_open(source: Path | str | bytes, threads: int, sizes: Mapping[str, int]) -> tuple[Run, float]:
    """The runtime opened, and how many seconds that took."""
    began = time.perf_counter()
    run = open_onnxruntime(source, threads, sizes)
    return run, time.perf_counter() - began


def relative_difference(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> float:
    """The largest difference of numeric outputs, relative to the largest number among them; infinite where they do not
    match in names, shapes, or in what is not finite."""
    import numpy as np

    worst = 0.0
    for name, mine in ours.items():
        other = theirs.get(name)
        a, b = np.asarray(mine), np.asarray(other)
        if other is None or a.shape != b.shape:
            return float("inf")
        if a.dtype.kind not in "fiub" and str(a.dtype) != "bfloat16":
            continue
        a, b = a.astype(np.float64), b.astype(np.float64)
        finite = np.isfinite(a)
        if not np.array_equal(finite, np.isfinite(b)) or not np.array_equal(a[~finite], b[~finite], equal_nan=True):
            return float("inf")
        if finite.any():
            scale = max(float(abs(a[finite]).max()), float(abs(b[finite]).max()))
            if scale > 0:
                worst = max(worst, float(abs(a[finite] - b[finite]).max()) / scale)
    return worst
