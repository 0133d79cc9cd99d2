"""InferenceSession on a RONN session."""

from __future__ import annotations

import copy
import os
import threading
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.compat.onnxruntime import load
from ronn.compat.onnxruntime.errors import Fail, InvalidArgument, status, while_running
from ronn.compat.onnxruntime.feeds import check_feed, read_feed
from ronn.compat.onnxruntime.iobinding import IOBinding
from ronn.compat.onnxruntime.modelmeta import ModelMetadata, NodeArg, input_arg, output_arg, type_name
from ronn.compat.onnxruntime.options import RunOptions, SessionOptions, stop_of
from ronn.compat.onnxruntime.profiling import Profiler
from ronn.compat.onnxruntime.providers import CPU, chosen
from ronn.compat.onnxruntime.values import OrtValue, check_device
from ronn.errors import InputError, RonnError
from ronn.frontend.proto import save_model
from ronn.ir.types import Type
from ronn.model import Model
from ronn.plan.stop import Stop
from ronn.session import Session as RonnSession
from ronn.values import symbols_of


class Session:
    """What onnxruntime's sessions have in common."""

    _sess: RonnSession
    """The RONN session underneath: ``placement()``, ``profile()``, ``memory()`` and the rest are there."""

    def __init__(self, enable_fallback: bool = True) -> None:
        self._enable_fallback = enable_fallback
        self._profiler: Profiler | None = None
        self._inputs_meta: list[NodeArg] = []
        self._outputs_meta: list[NodeArg] = []
        self._overridable_initializers: list[NodeArg] = []
        self._types: dict[str, Type | None] = {}
        self._without_symbols: RonnSession | None = None

    # --- what the session is about

    def get_session_options(self) -> SessionOptions:
        return self._sess_options

    def get_inputs(self) -> list[NodeArg]:
        """Inputs that a run must be fed, in order."""
        return list(self._inputs_meta)

    def get_outputs(self) -> list[NodeArg]:
        return list(self._outputs_meta)

    def get_overridable_initializers(self) -> list[NodeArg]:
        """Constants that a run may be fed (models of IR 4 and newer list them as inputs)."""
        return list(self._overridable_initializers)

    def get_modelmeta(self) -> ModelMetadata:
        return self._model_meta

    def get_providers(self) -> list[str]:
        return list(self._providers)

    def get_provider_options(self) -> dict[str, dict[str, str]]:
        return {name: dict(options) for name, options in self._provider_options.items()}

    def set_providers(self, providers: Any = None, provider_options: Any = None) -> None:
        """Chooses providers anew. There is one, so only the checks remain."""
        self._choose(providers, provider_options)

    def _choose(self, wanted: Any, options: Any) -> None:
        self._provider_options = chosen(wanted, options)
        self._providers = list(self._provider_options)

    def disable_fallback(self) -> None:
        """A wrong list of providers is an error from now on."""
        self._enable_fallback = False

    def enable_fallback(self) -> None:
        """A wrong list of providers means the CPU from now on."""
        self._enable_fallback = True

    # --- running

    def run(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        run_options: RunOptions | None = None,
    ) -> list[Any]:
        """Runs the model once.

        output_names: what to return; None or empty for all outputs. input_feed: by name, arrays, nested lists,
        ``OrtValue``s, or dicts for maps. Returns arrays, lists for sequences, dicts for maps; each is the caller's own.
        """
        stop = None if run_options is None else stop_of(run_options)
        try:
            values: Any = [input_feed[name] for name in self._input_names]
        except (AttributeError, KeyError, TypeError):
            values = None
        plain = values is not None and len(input_feed) == len(values) and self._profiler is None
        if plain and all([type(v) is np.ndarray for v in values]):  # noqa: C419  # a generator is slower
            try:
                results = list(self._sess.run(values, stop=stop))
            except InputError:
                results = self._run_any(input_feed, stop)  # which says what is wrong as onnxruntime does
            except RonnError as e:
                raise while_running(e) from e
        else:
            results = self._run_any(input_feed, stop)
        return results if not output_names else self._pick(results, output_names)

    def _run_any(self, input_feed: Mapping[str, Any], stop: Stop | None) -> list[Any]:
        """Checks and converts what is fed, runs, and gives all outputs."""
        given = list(input_feed.keys())
        missing = [a.name for a in self._inputs_meta if a.name not in given and not a.type.startswith("optional")]
        if missing:
            raise ValueError(f"Required inputs ({missing}) are missing from input feed ({given}).")
        feed: dict[str, Any] = {}
        for name, value in input_feed.items():
            if name not in self._types:
                raise status(InvalidArgument, f"Invalid input name: {name}")
            feed[name] = read_feed(name, value, self._types[name])
        for name, value in feed.items():
            check_feed(value, self._args[name], self._types[name])
        try:
            try:
                return self._run_on(self._sess, feed, stop)
            except InputError:  # each input fits, so some share a symbol and differ in it, which onnxruntime allows
                if self._without_symbols is None:
                    self._without_symbols = self._make_without_symbols()
                return self._run_on(self._without_symbols, feed, stop)
        except RonnError as e:
            raise while_running(e) from e

    def _run_on(self, session: RonnSession, feed: dict[str, Any], stop: Stop | None) -> list[Any]:
        if self._profiler is None:
            return list(session.run(feed, stop=stop))
        _, plan, _, _ = session._ready(feed, ())
        return list(self._profiler.run(plan, lambda: session.run(feed, stop=stop)))

    def _make_without_symbols(self) -> RonnSession:
        """A session whose inputs may differ in a symbol: ``InferenceSession`` knows what to make it of."""
        raise NotImplementedError(f"{type(self).__name__}._make_without_symbols")

    def _pick(self, results: list[Any], names: Sequence[str]) -> list[Any]:
        if isinstance(names, str):
            raise TypeError(f"run(): incompatible function arguments. Output names are a sequence, not {names!r}")
        for name in names:
            if name not in self._output_index:
                raise status(InvalidArgument, f"Invalid output name:{name}")
        return [results[self._output_index[name]] for name in names]

    def run_async(
        self,
        output_names: Sequence[str] | None,
        input_feed: Mapping[str, Any],
        callback: Callable[[list[Any], Any, str], Any],
        user_data: Any,
        run_options: RunOptions | None = None,
    ) -> None:
        """Runs in another thread, which calls ``callback(results, user_data, error text)`` at the end."""

        def work() -> None:
            try:
                results, error = self.run(output_names, input_feed, run_options), ""
            except Exception as e:
                results, error = [], str(e)
            callback(results, user_data, error)

        threading.Thread(target=work, name="ronn-run-async", daemon=True).start()

    def run_with_ort_values(
        self,
        output_names: Sequence[str] | None,
        input_dict_ort_values: Mapping[str, OrtValue],
        run_options: RunOptions | None = None,
    ) -> list[OrtValue]:
        """As ``run``, from and to OrtValues."""
        feed = {name: value._get_c_value()._data for name, value in input_dict_ort_values.items()}
        return [OrtValue(r) for r in self.run(output_names, feed, run_options)]

    def io_binding(self) -> IOBinding:
        """A set of inputs and outputs bound to memory, for ``run_with_iobinding``."""
        return IOBinding(self)

    def run_with_iobinding(self, iobinding: IOBinding, run_options: RunOptions | None = None) -> None:
        """Runs on what is bound. Results go to the memory that outputs are bound to."""
        iobinding._run(run_options)

    def create_ortvalue_from_shape_and_type(
        self, shape: Sequence[int], element_type: Any, device_type: str = "cpu", device_id: int = 0, vendor_id: int = -1
    ) -> OrtValue:
        check_device(device_type)
        return OrtValue.ortvalue_from_shape_and_type(shape, element_type)

    # --- profiling

    def end_profiling(self) -> str:
        """Writes the trace of all runs so far and returns the name of its file; "" where nothing was recorded."""
        profiler, self._profiler = self._profiler, None
        return "" if profiler is None else profiler.write()

    def get_profiling_start_time_ns(self) -> int:
        return self._profiling_start_time_ns

    # --- set by InferenceSession

    _sess_options: SessionOptions
    _model_meta: ModelMetadata
    _providers: list[str]
    _provider_options: dict[str, dict[str, str]]
    _profiling_start_time_ns: int = 0
    _input_names: tuple[str, ...]
    _output_index: dict[str, int]
    _args: dict[str, NodeArg]


class InferenceSession(Session):
    """Runs a model.

    path_or_bytes: a path, or the bytes of a model. sess_options: ``SessionOptions``. providers: names, or (name,
    options) pairs; what is not available is a warning, and the CPU does it. provider_options: one dict for each name.
    """

    def __init__(
        self,
        path_or_bytes: str | bytes | os.PathLike[str],
        sess_options: SessionOptions | None = None,
        providers: Sequence[str | tuple[str, dict[Any, Any]]] | None = None,
        provider_options: Sequence[dict[Any, Any]] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(enable_fallback=int(kwargs.get("enable_fallback", 1)) == 1)
        self._model_path: str | None = None
        self._model_bytes: bytes | None = None
        if isinstance(path_or_bytes, (str, os.PathLike)):
            self._model_path = os.fspath(path_or_bytes)
        elif isinstance(path_or_bytes, bytes):
            self._model_bytes = path_or_bytes
        else:
            raise TypeError(f"Unable to load from type '{type(path_or_bytes)}'")
        if sess_options is not None and not isinstance(sess_options, SessionOptions):
            raise TypeError(
                "__init__(): incompatible constructor arguments. sess_options takes SessionOptions, "
                f"not {type(sess_options).__name__}"
            )
        self._sess_options_initial = sess_options
        self._sess_options = SessionOptions() if sess_options is None else copy.deepcopy(sess_options)
        self._fallback_providers = [CPU]
        self._disabled_optimizers = kwargs.get("disabled_optimizers")
        try:
            self._choose(providers, provider_options)
        except (ValueError, RuntimeError) as e:
            if not self._enable_fallback:
                raise
            _say_fallback(e, providers, self._fallback_providers)
            self._choose(self._fallback_providers, None)
            self.disable_fallback()
        self._create()

    def _create(self) -> None:
        options = self._sess_options
        path, data = self._model_path, self._model_bytes
        profiler = Profiler(options.profile_file_prefix) if options.enable_profiling else None
        if profiler is None:
            model = load.load(path, data, options)
            self._sess = self._made(model)
        else:
            name = "model_loading_array" if path is None else "model_loading_uri"
            model = profiler.timed(name, lambda: load.load(path, data, options))
            self._sess = profiler.timed("session_initialization", lambda: self._made(model))
            self._profiling_start_time_ns = profiler.started_ns
        self._profiler = profiler
        self._describe()
        if options.optimized_model_filepath:
            self._save_optimised(options.optimized_model_filepath)

    def _made(self, model: Model) -> RonnSession:
        options = self._sess_options._for_ronn(self._disabled_optimizers)
        known = symbols_of(model.graph)
        options = options.replace(dimensions={n: s for n, s in options.dimensions.items() if n in known})
        try:
            return RonnSession(model, options=options)
        except RonnError as e:
            raise load.refused(e, model, self._model_path) from e

    def _make_without_symbols(self) -> RonnSession:
        model = load.load(self._model_path, self._model_bytes, self._sess_options)
        load.forget_symbols(model, self._sess_options._by_name)
        return self._made(model)

    def _describe(self) -> None:
        model = self._sess.model
        sizes = self._sess_options._by_name
        graph = model.graph
        self._inputs_meta = [input_arg(v.name, v.type, sizes) for v in graph.inputs]
        symbols = {d for a in self._inputs_meta for d in a.shape if isinstance(d, str)}
        inferred = self._sess.graph
        self._outputs_meta = [
            output_arg(name, found.type, declared.type, sizes, symbols)
            for name, found, declared in zip(inferred.output_names, inferred.outputs, graph.outputs, strict=True)
        ]
        constants = {n: graph.initializers[n].type for n in model.ir.overridable}
        self._overridable_initializers = [input_arg(n, t, sizes) for n, t in constants.items()]
        self._types = {**{v.name: v.type for v in graph.inputs}, **constants}
        self._args = {a.name: a for a in (*self._inputs_meta, *self._overridable_initializers)}
        self._input_names = tuple(v.name for v in graph.inputs)
        self._output_index = {a.name: i for i, a in enumerate(self._outputs_meta)}
        for name, type in self._types.items():
            if not type_name(type):
                raise status(Fail, f"Input {name!r} has no type")
        path, data = self._model_path, self._model_bytes
        self._model_meta = ModelMetadata(model.metadata, lambda: load.states_its_version(path, data))

    def _save_optimised(self, path: str) -> None:
        """Writes the graph as it is after the passes that hold for every input size, in operators that ONNX has."""
        from ronn.tools.export import export

        model, options = self._sess.model.ir, self._sess.options
        try:
            made = export(model, level=options.optimization, disabled_passes=tuple(options.disabled_passes))
            save_model(made, path)
        except (RonnError, OSError) as e:
            raise status(Fail, f"The optimised model could not be written to {path}: {e}") from e

    def __getstate__(self) -> dict[str, Any]:
        return {
            "model": self._model_path if self._model_path is not None else self._model_bytes,
            "options": self._sess_options,
            "providers": [(n, o) for n, o in self._provider_options.items()],
        }

    def __setstate__(self, state: dict[str, Any]) -> None:
        InferenceSession.__init__(self, state["model"], state["options"], state["providers"])


def _say_fallback(error: Exception, wanted: Any, instead: list[str]) -> None:
    """onnxruntime prints this, and some programs' users look for it."""
    line = "*************** EP Error ***************"
    print(line)  # noqa: T201
    print(f"EP Error {error} when using {wanted}")  # noqa: T201
    print(f"Falling back to {instead} and retrying.")  # noqa: T201
    print("*" * len(line))  # noqa: T201
