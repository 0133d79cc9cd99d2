"""The runtimes that are compared, each with its best settings and the same number of threads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from benchmarks.zoo.feeds import Feed

Run = Callable[[dict[str, np.ndarray]], dict[str, Any]]


def symbol_sizes(path: Path, feed: Feed) -> dict[str, int]:
    """What the symbolic dims of the model's inputs are in `feed`; not those that have several sizes."""
    import onnx

    found: dict[str, set[int]] = {}
    for declared in onnx.load(str(path), load_external_data=False).graph.input:
        given = feed.get(declared.name)
        if isinstance(given, np.ndarray):
            for dim, size in zip(declared.type.tensor_type.shape.dim, given.shape, strict=False):
                if dim.dim_param:
                    found.setdefault(dim.dim_param, set()).add(size)
    return {name: next(iter(sizes)) for name, sizes in found.items() if len(sizes) == 1}


def open_onnxruntime(
    source: Path | bytes, threads: int, optimise: bool = True, sizes: dict[str, int] | None = None
) -> Run:
    """CPU provider, all graph optimisations (or none), no threads beyond the intra-op pool, dims fixed to `sizes`."""
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.inter_op_num_threads = 1
    options.log_severity_level = 3
    levels = ort.GraphOptimizationLevel
    options.graph_optimization_level = levels.ORT_ENABLE_ALL if optimise else levels.ORT_DISABLE_ALL
    for name, size in ({} if sizes is None else sizes).items():
        options.add_free_dimension_override_by_name(name, size)
    given = source if isinstance(source, bytes) else str(source)
    session = ort.InferenceSession(given, options, providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return lambda feed: dict(zip(names, session.run(None, feed), strict=True))


def open_openvino(source: Path | bytes, threads: int, feed: Feed | None = None) -> Run:
    """CPU device, latency hint, float32 arithmetic as the other contestants use, input shapes fixed to `feed`'s."""
    import openvino as ov
    import openvino.properties.hint as hint

    core = ov.Core()
    settings = {
        hint.performance_mode: hint.PerformanceMode.LATENCY,
        hint.inference_precision: ov.Type.f32,
        hint.dynamic_quantization_group_size: 0,  # else products with int8 weights are not taken in float32
        "INFERENCE_NUM_THREADS": threads,
    }
    model = core.read_model(source if isinstance(source, bytes) else str(source))
    if feed is not None:
        shapes = {name: list(value.shape) for name, value in feed.items() if isinstance(value, np.ndarray)}
        try:
            model.reshape(shapes)
        except RuntimeError:  # a model that fixed shapes break: as it comes
            model = core.read_model(source if isinstance(source, bytes) else str(source))
    compiled = core.compile_model(model, "CPU", settings)
    request = compiled.create_infer_request()
    names = [sorted(output.names)[0] if output.names else str(at) for at, output in enumerate(compiled.outputs)]

    def run(feed: Feed) -> dict[str, Any]:
        request.infer(feed, share_inputs=True, share_outputs=True)
        return dict(zip(names, (tensor.data for tensor in request.output_tensors), strict=True))

    return run


def open_ronn(source: Path | bytes, threads: int) -> Run:
    return open_ronn_session(source, threads).run  # type: ignore[no-any-return]


def open_ronn_session(source: Path | bytes, threads: int, providers: list[str] | None = None) -> Any:
    """A RONN session, default providers unless some are listed; `threads` is passed on where the options know it (else
    see `workers`)."""
    import dataclasses

    import ronn

    known = {field.name for field in dataclasses.fields(ronn.SessionOptions)}
    given: dict[str, Any] = {"threads": threads} if "threads" in known else {}
    options = ronn.SessionOptions(**given)
    return ronn.Session(source if isinstance(source, bytes) else str(source), providers, options=options)


def open_for(contestant: str, path: Path, threads: int, feed: Feed, sizes: dict[str, int]) -> Run:
    """A contestant at its best for one feed: input shapes are fixed for those who profit from it."""
    if contestant == "onnxruntime":
        return open_onnxruntime(path, threads, sizes=sizes)
    if contestant == "openvino":
        return open_openvino(path, threads, feed)
    return open_ronn(path, threads)


CONTESTANTS: dict[str, Callable[[Path, int], Run]] = {
    "ronn": open_ronn,
    "onnxruntime": open_onnxruntime,
    "openvino": open_openvino,
}


def installed(name: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(name) is not None


def detached(outputs: dict[str, Any]) -> dict[str, Any]:
    """The outputs as own copies, so that a later run cannot change them."""
    return {name: value.copy() if isinstance(value, np.ndarray) else value for name, value in outputs.items()}


def placement_counts(session: Any) -> tuple[dict[str, int], list[str]]:
    """Nodes per provider in the compiled plan, and the operators that `reference` runs."""
    from collections import Counter

    entries = list(session.placement())
    counts = Counter(str(entry.provider) for entry in entries)
    on_reference = sorted({str(entry.op) for entry in entries if entry.provider == "reference"})
    return dict(counts.most_common()), on_reference


def refusals(session: Any, provider: str) -> list[str]:
    """Why nodes are not on `provider`, by operator, with how many they are; the most frequent first."""
    from collections import Counter

    rows = (row for row in session.placement() if row.provider not in (provider, "ronn"))
    counts = Counter(f"{row.op}: {row.reason.removeprefix(f'{provider}: ').split('; ')[0]}" for row in rows)
    return [f"{n} {text}" for text, n in counts.most_common()]
