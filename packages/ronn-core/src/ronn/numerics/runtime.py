"""ONNX Runtime, where it is installed, as something to compare with."""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from ronn.errors import ExecutionError, OptionError
from ronn.frontend.proto import model_to_proto, save_model
from ronn.ir.graph import Graph, IRModel, Value, clone
from ronn.ir.types import TensorType


def version() -> str | None:
    """The version of ONNX Runtime here; None where it is not installed."""
    from importlib import metadata

    for name in ("onnxruntime", "onnxruntime-gpu", "onnxruntime-openvino"):
        try:
            return metadata.version(name)
        except metadata.PackageNotFoundError:
            continue
    return None


class OnnxRuntime:
    """A model in ONNX Runtime on its CPU provider. threads: 0 for its own choice. optimise: with all of its own passes.
    sizes: for symbolic dims of the inputs, fixed for good, from which its passes profit.

    OptionError where it is not installed, ExecutionError for what it refuses.
    """

    def __init__(
        self, model: IRModel, *, optimise: bool = True, threads: int = 0, sizes: Mapping[str, int] | None = None
    ) -> None:
        self._model, self._optimise, self._threads = model, optimise, threads
        self._sizes = {} if sizes is None else dict(sizes)
        self._module = _module()
        self._session = self._open(model)
        self.outputs = [o.name for o in self._session.get_outputs()]

    def run(self, feed: Mapping[str, Any]) -> dict[str, Any]:
        """The outputs by name."""
        return self._run(self._session, feed)

    def ready(self, feed: Mapping[str, Any]) -> Callable[[], Any]:
        """A run on these inputs with nothing around it, for taking times."""
        return partial(self._session.run, None, self._given(self._session, feed))

    def values(self, feed: Mapping[str, Any], graph: Graph) -> dict[str, Any]:
        """What the nodes of ``graph``, the imported one, make, by name: from a session that gives all of it."""
        copied = clone(graph)
        known = set(copied.output_names)
        for node in copied:
            for value in node.outputs:
                if value.name and value.name not in known and _plain(value):
                    known.add(value.name)
                    copied.add_output(value)
        model = self._model
        return self._run(
            self._open(IRModel(copied, model.opset_imports, model.functions, model.metadata, model.source)), feed
        )

    def _run(self, session: Any, feed: Mapping[str, Any]) -> dict[str, Any]:
        try:
            results = session.run(None, self._given(session, feed))
        except Exception as e:  # onnxruntime's errors have no common base
            raise ExecutionError(f"ONNX Runtime fails: {e}") from e
        return dict(zip([o.name for o in session.get_outputs()], results, strict=True))

    def _given(self, session: Any, feed: Mapping[str, Any]) -> dict[str, Any]:
        return {i.name: feed[i.name] for i in session.get_inputs() if feed.get(i.name) is not None}

    def _open(self, model: IRModel) -> Any:
        ort = self._module
        options = ort.SessionOptions()
        options.log_severity_level = 4
        options.intra_op_num_threads = self._threads
        options.inter_op_num_threads = 1  # of sequential execution: no second pool that spins
        for name, size in self._sizes.items():
            options.add_free_dimension_override_by_name(name, size)
        if not self._optimise:
            options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
        try:
            if Path(model.source).is_file() and model is self._model:
                return ort.InferenceSession(model.source, options, providers=["CPUExecutionProvider"])
            size = sum(v.data.nbytes for v in model.graph.initializers.values() if v.data is not None)
            if size < 1 << 30:
                data = model_to_proto(model).SerializeToString()
                return ort.InferenceSession(data, options, providers=["CPUExecutionProvider"])
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder) / "model.onnx"
                save_model(model, path)
                return ort.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        except Exception as e:  # onnxruntime's errors have no common base
            raise ExecutionError(f"ONNX Runtime does not load {model.source}: {e}") from e


def _plain(value: Value) -> bool:
    return value.type is None or isinstance(value.type, TensorType)


def _module() -> Any:
    try:
        import onnxruntime
    except ImportError as e:
        raise OptionError(
            "comparing with ONNX Runtime needs the package onnxruntime, which is not installed",
            hint="pip install onnxruntime",
        ) from e
    if not hasattr(onnxruntime, "InferenceSession") or "ronn" in str(getattr(onnxruntime, "__name__", "")):
        raise OptionError("onnxruntime here is RONN itself (ronn.compat): there is nothing to compare with")
    return onnxruntime
