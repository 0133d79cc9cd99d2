"""SessionOptions and RunOptions."""

from __future__ import annotations

import warnings
from typing import Any, Generic, TypeVar, overload

from ronn.compat.onnxruntime.enums import ExecutionMode, ExecutionOrder, GraphOptimizationLevel
from ronn.compat.onnxruntime.errors import TERMINATED, Fail, InvalidArgument, NotImplemented, status
from ronn.compat.onnxruntime.values import OrtValue
from ronn.options import SessionOptions as RonnOptions
from ronn.plan.stop import Stop

T = TypeVar("T")

MAX_KEY, MAX_VALUE = 1024, 8192  # characters, as in onnxruntime

LEVELS = {
    GraphOptimizationLevel.ORT_DISABLE_ALL: "none",
    GraphOptimizationLevel.ORT_ENABLE_BASIC: "basic",
    GraphOptimizationLevel.ORT_ENABLE_EXTENDED: "full",
    GraphOptimizationLevel.ORT_ENABLE_LAYOUT: "full",
    GraphOptimizationLevel.ORT_ENABLE_ALL: "full",
}

OPTIMIZERS = {
    "ConstantFolding": "fold-constants",
    "CommonSubexpressionElimination": "common-subexpr",
    "EliminateIdentity": "eliminate-identity",
    "ConvBNFusion": "fuse-conv-bn",
    "GeluFusion": "fuse-gelu",
    "LayerNormFusion": "fuse-layer-norm",
    "AttentionFusion": "fuse-attention",
    "QuickGeluFusion": "fuse-silu",
}
"""onnxruntime's optimizers that have a pass of RONN's to match; ``disabled_optimizers`` turns it off."""

NO_EFFECT = frozenset({
    "session.intra_op.allow_spinning", "session.inter_op.allow_spinning", "session.force_spinning_stop",
    "session.disable_prepacking", "session.use_env_allocators", "session.use_device_allocator_for_initializers",
    "session.allow_released_opsets_only", "session.use_ort_model_bytes_directly",
    "session.use_ort_model_bytes_for_initializers", "session.dynamic_block_base", "session.qdqisint8allowed",
    "session.disable_quant_qdq", "session.disable_double_qdq_remover", "session.enable_quant_qdq_cleanup",
    "session.x64quantprecision", "session.disable_aot_function_inlining", "session.save_model_format",
    "session.strict_shape_type_inference", "session.graph_optimizations_loop_level",
    "session.use_memory_mapped_ort_model",
    "session.record_ep_graph_assignment_info", "session.disable_cpu_ep_fallback", "session.disable_model_compile",
    "session.qdq_matmulnbits_accuracy_level", "session.enable_dq_matmulnbits_fusion",
    "optimization.enable_gelu_approximation", "optimization.disable_specified_optimizers",
    "optimization.minimal_build_optimizations", "optimization.enable_cast_chain_elimination",
    "memory.enable_memory_arena_shrinkage", "mlas.enable_gemm_fastmath_arm64_bfloat16",
})  # fmt: skip
"""Session config entries that say how onnxruntime is to work inside, where RONN has its own way (its threads never spin
between runs, for one); results do not depend on them."""

_ONLY = {"session.load_model_format": ("ONNX", ""), "session.set_denormal_as_zero": ("0",)}
"""Entries of which RONN does as some values say, and not as others."""


class _Option(Generic[T]):
    """An attribute of one type; anything else is a TypeError, as in onnxruntime."""

    def __init__(self, kind: type[T], default: T, doc: str = "") -> None:
        self.kind = kind
        self.default = default
        self.__doc__ = doc

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = name
        self.owner = owner.__name__

    @overload
    def __get__(self, instance: None, owner: type) -> _Option[T]: ...
    @overload
    def __get__(self, instance: Any, owner: type) -> T: ...
    def __get__(self, instance: Any, owner: type) -> Any:
        return self if instance is None else instance._values.get(self.name, self.default)

    def __set__(self, instance: Any, value: Any) -> None:
        instance._values[self.name] = self._read(value)

    def _read(self, value: Any) -> Any:
        if self.kind is bool and isinstance(value, int):
            return bool(value)
        if self.kind is int and not isinstance(value, (str, float)):
            try:
                return int(value)
            except TypeError:
                pass
        elif isinstance(value, self.kind):
            return value
        raise TypeError(
            f"(): incompatible function arguments. {self.owner}.{self.name} takes {self.kind.__name__}, "
            f"not {type(value).__name__}: {value!r}"
        )


class _Terminate(_Option[bool]):
    """Sets the stop of the options, or puts one in its place that is not set."""

    def __set__(self, instance: RunOptions, value: Any) -> None:
        super().__set__(instance, value)
        if instance.terminate:
            instance._stop.set()
        elif instance._stop.due:
            instance._stop = Stop()


def _entry(entries: dict[str, str], key: Any, value: Any) -> None:
    if not isinstance(key, str) or not isinstance(value, str):
        raise TypeError(f"incompatible function arguments. Config entries are strings: {key!r}, {value!r}")
    if not key or len(key) > MAX_KEY:
        raise RuntimeError(f"Config key is empty or longer than maximum length {MAX_KEY}")
    if len(value) > MAX_VALUE:
        raise RuntimeError(f"Config value is longer than maximum length: {MAX_VALUE}")
    entries[key] = value


class SessionOptions:
    """How a session is made. An attribute that onnxruntime does not have is an AttributeError."""

    __slots__ = ("_by_denotation", "_by_name", "_entries", "_initializers", "_values")

    enable_cpu_mem_arena = _Option(bool, True, "Accepted; RONN's arenas come from a bounded pool either way.")
    enable_mem_pattern = _Option(bool, True, "Accepted; RONN always plans memory.")
    enable_mem_reuse = _Option(bool, True, "Accepted; RONN always reuses memory.")
    enable_profiling = _Option(bool, False, "Whether runs are recorded for ``end_profiling``.")
    execution_mode = _Option(ExecutionMode, ExecutionMode.ORT_SEQUENTIAL)
    execution_order = _Option(ExecutionOrder, ExecutionOrder.DEFAULT)
    graph_optimization_level = _Option(GraphOptimizationLevel, GraphOptimizationLevel.ORT_ENABLE_ALL)
    inter_op_num_threads = _Option(int, 0, "Accepted; there is one pool of threads.")
    intra_op_num_threads = _Option(int, 0, "Threads that a run may use; 0 means all that the process may.")
    log_severity_level = _Option(int, -1)
    log_verbosity_level = _Option(int, 0)
    logid = _Option(str, "")
    optimized_model_filepath = _Option(str, "", "Where to write the optimised model when the session is made.")
    profile_file_prefix = _Option(str, "onnxruntime_profile_")
    use_deterministic_compute = _Option(bool, False)
    use_per_session_threads = _Option(bool, True, "Accepted; sessions share one pool of threads.")

    def __init__(self) -> None:
        self._values: dict[str, Any] = {}
        self._entries: dict[str, str] = {}
        self._by_name: dict[str, int] = {}
        self._by_denotation: dict[str, int] = {}
        self._initializers: dict[str, OrtValue] = {}

    def add_session_config_entry(self, key: str, value: str) -> None:
        """Notes a setting by name. What RONN does not know, or does not do, is a warning."""
        _entry(self._entries, key, value)
        if key in NO_EFFECT or value in _ONLY.get(key, ()):
            return
        if key in _ONLY:
            warnings.warn(f"RONN does not do {key}={value}; the entry has no effect", stacklevel=2)
        elif not key.startswith(("ep.", "ep_factory.")):
            warnings.warn(f"RONN knows no session config entry {key!r}; it has no effect", stacklevel=2)

    def get_session_config_entry(self, key: str) -> str:
        if key not in self._entries:
            raise RuntimeError(f"SessionOptions does not have configuration with key: {key}")
        return self._entries[key]

    def add_free_dimension_override_by_name(self, name: str, value: int) -> None:
        """Fixes the size of the dims that have this symbol."""
        self._by_name[name] = int(value)

    def add_free_dimension_override_by_denotation(self, denotation: str, value: int) -> None:
        """Fixes the size of the dims of inputs that have this denotation."""
        self._by_denotation[denotation] = int(value)

    def add_initializer(self, name: str, value: OrtValue) -> None:
        """Puts a tensor in the place of an initializer of the model."""
        if not isinstance(value, OrtValue):
            raise RuntimeError("An OrtValue is needed for an initializer")
        self._initializers[name] = value

    def has_providers(self) -> bool:
        return False

    def register_custom_ops_library(self, path: str) -> None:
        """Refused: such libraries are written against onnxruntime's C API."""
        raise status(NotImplemented, f"RONN loads no libraries of custom operators: {path}")

    def _for_ronn(self, disabled_optimizers: Any = None) -> RonnOptions:
        """The same, as far as it concerns RONN, in RONN's terms."""
        for name, size in (*self._by_name.items(), *self._by_denotation.items()):
            if size < 0:
                raise status(InvalidArgument, f"free dimension override of {name!r} is {size}")
        wanted = set(disabled_optimizers if disabled_optimizers is not None else ())
        for name in sorted(wanted - OPTIMIZERS.keys()):
            warnings.warn(f"RONN has no optimizer {name!r} to disable", stacklevel=4)
        return RonnOptions(
            optimization=LEVELS[self.graph_optimization_level],
            disabled_passes=frozenset(OPTIMIZERS[n] for n in wanted & OPTIMIZERS.keys()),
            dimensions=dict(self._by_name),
            threads=max(self.intra_op_num_threads, 0),
            deterministic=self.use_deterministic_compute,
        )


class RunOptions:
    """How one run goes. ``terminate = True``, also from another thread, ends the runs that were given these options,
    each before its next kernel, and lets none begin until it is False again."""

    __slots__ = ("_entries", "_stop", "_values")

    log_severity_level = _Option(int, -1)
    log_verbosity_level = _Option(int, 0)
    logid = _Option(str, "")
    only_execute_path_to_fetches = _Option(bool, False, "Accepted; all outputs are computed.")
    terminate = _Terminate(bool, False)

    def __init__(self) -> None:
        self._stop = Stop()
        self._values: dict[str, Any] = {}
        self._entries: dict[str, str] = {}

    def add_run_config_entry(self, key: str, value: str) -> None:
        _entry(self._entries, key, value)

    def get_run_config_entry(self, key: str) -> str:
        if key not in self._entries:
            raise RuntimeError(f"RunOptions does not have configuration with key: {key}")
        return self._entries[key]


def stop_of(options: Any) -> Stop:
    """What ends the runs of these options. TypeError for something else, Fail when they are to end already."""
    if not isinstance(options, RunOptions):
        raise TypeError(
            f"run(): incompatible function arguments. run_options takes RunOptions, not {type(options).__name__}"
        )
    if options.terminate:
        raise status(Fail, TERMINATED)
    stop: Stop = options._stop
    return stop
