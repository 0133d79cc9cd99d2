"""What a program may do with onnxruntime, as functions of the module; each gives plain data or raises.

``CASES`` are to be alike to the letter, ``CLASSES`` in the class of the exception only (onnxruntime puts source lines
and C++ signatures into the words).
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import numpy as np

CASES: dict[str, Callable[[Any], Any]] = {}
CLASSES: dict[str, Callable[[Any], Any]] = {}
X = np.arange(6, dtype=np.float32).reshape(2, 3)
CPU = ["CPUExecutionProvider"]


def case(fn: Callable[[Any], Any]) -> Callable[[Any], Any]:
    CASES[fn.__name__] = fn
    return fn


def many(kind: dict[str, Callable[[Any], Any]], **functions: Callable[[Any], Any]) -> None:
    kind.update(functions)


def session(ort: Any, data: bytes, options: Any = None) -> Any:
    return ort.InferenceSession(data, options, providers=CPU)


def args(nodes: Any) -> list[Any]:
    return [(n.name, n.type, n.shape) for n in nodes]


def add(ort: Any, names: Any = None, **feed: Any) -> Any:
    return session(ort, models.add()).run(names, feed)


def identity(ort: Any, element: int, shape: Any, value: Any) -> Any:
    return session(ort, models.identity(element, shape)).run(None, {"x": value})


# --- running

many(
    CASES,
    run=lambda o: add(o, X=X, Y=X),
    run_names=lambda o: add(o, ["Z"], X=X, Y=X),
    run_no_names=lambda o: add(o, [], X=X, Y=X),
    run_twice_the_name=lambda o: add(o, ["Z", "Z"], X=X, Y=X),
    run_tuple_of_names=lambda o: add(o, ("Z",), X=X, Y=X),
    missing_input=lambda o: add(o, X=X),
    missing_inputs=lambda o: add(o),
    unknown_input=lambda o: add(o, X=X, Y=X, Q=X),
    unknown_output=lambda o: add(o, ["Q"], X=X, Y=X),
    wrong_dtype=lambda o: add(o, X=X.astype(np.float64), Y=X),
    wrong_integer=lambda o: add(o, X=X.astype(np.int32), Y=X),
    wrong_rank=lambda o: add(o, X=X[0], Y=X),
    wrong_dim=lambda o: add(o, X=np.ones((2, 4), np.float32), Y=X),
    wrong_dims=lambda o: add(o, X=np.ones((5, 4), np.float32), Y=X),
    feed_of_a_list=lambda o: session(o, models.add()).run(None, [X, X]),
    feed_nested_lists=lambda o: add(o, X=X.tolist(), Y=X),
    feed_nested_integers=lambda o: add(o, X=[[1, 2, 3], [4, 5, 6]], Y=X),
    feed_ragged=lambda o: add(o, X=[[1, 2, 3], [4, 5]], Y=X),
    feed_dict=lambda o: add(o, X={1: 2.0}, Y=X),
    feed_text=lambda o: add(o, X="abc", Y=X),
    feed_tuple=lambda o: add(o, X=((1.0, 2, 3), (4, 5, 6)), Y=X),
    feed_objects=lambda o: add(o, X=X.astype(object), Y=X),
    feed_not_contiguous=lambda o: add(o, X=np.ones((3, 2), np.float32).T, Y=X[:, ::-1]),
    feed_ortvalue=lambda o: add(o, X=o.OrtValue.ortvalue_from_numpy(X), Y=X),
    feed_numpy_scalar=lambda o: identity(o, 1, [], np.float32(3)),
    feed_zero_dims=lambda o: identity(o, 1, [], np.array(3, np.float32)),
    feed_python_float=lambda o: identity(o, 1, [], 3.0),
    feed_python_int=lambda o: identity(o, 7, [], 3),
    feed_bools=lambda o: identity(o, 9, ["n"], [True, False]),
    feed_half=lambda o: identity(o, 10, ["n"], np.array([1, 2], np.float16)),
    feed_strings=lambda o: identity(o, 8, ["n"], np.array(["a", "bé"])),
    feed_string_objects=lambda o: identity(o, 8, ["n"], np.array(["a", "bé"], object)),
    feed_list_of_strings=lambda o: identity(o, 8, ["n"], ["a", "b"]),
    feed_one_string=lambda o: identity(o, 8, ["n"], "a"),
    feed_bytes_for_strings=lambda o: identity(o, 8, ["n"], [b"a"]),
    feed_numbers_for_strings=lambda o: identity(o, 8, ["n"], [1, 2]),
    feed_integers_for_strings=lambda o: identity(o, 8, ["n"], np.array([1, 2])),
    feed_empty=lambda o: identity(o, 1, ["n"], np.zeros(0, np.float32)),
    maps_of_integers=lambda o: session(o, models.zipmap()).run(None, {"x": np.eye(2, dtype=np.float32)}),
    maps_of_strings=lambda o: session(o, models.zipmap("str")).run(None, {"x": np.eye(2, dtype=np.float32)}),
    sequence=lambda o: session(o, models.sequences()).run(None, {"s": [X, X], "x": X}),
    sequence_empty=lambda o: session(o, models.sequences()).run(None, {"s": [], "x": X}),
    sequence_as_array=lambda o: session(o, models.sequences()).run(None, {"s": X, "x": X}),
    negative_index=lambda o: session(o, models.gather()).run(None, {"i": np.array([-1])}),
    scalar_output=lambda o: session(o, models.symbolic()).run(["total"], {"x": np.ones((2, 5, 3), np.float32)}),
    wrong_symbolic_dim=lambda o: session(o, models.symbolic()).run(None, {"x": np.ones((2, 5, 4), np.float32)}),
)
many(
    CLASSES,
    index_out_of_range=lambda o: session(o, models.gather()).run(None, {"i": np.array([7])}),
    reshape_that_fails=lambda o: session(o, models.reshape()).run(
        None, {"x": np.zeros(4, np.float32), "s": np.array([3])}
    ),
    feed_none=lambda o: add(o, X=None, Y=X),
    names_of_a_string=lambda o: add(o, "Z", X=X, Y=X),
    run_options_of_another_type=lambda o: session(o, models.add()).run(None, {"X": X, "Y": X}, 3),
)

for element in (*range(1, 14), *range(16, 21)):
    CASES[f"type_{element}"] = lambda o, e=element: args(session(o, models.identity(e)).get_inputs())


@case
def descriptions(ort: Any) -> Any:
    found = session(ort, models.symbolic())
    return args(found.get_inputs()), args(found.get_outputs()), [str(a) for a in found.get_inputs()]


@case
def descriptions_of_containers(ort: Any) -> Any:
    made = [session(ort, m) for m in (models.zipmap(), models.zipmap("str"), models.sequences())]
    return [(args(s.get_inputs()), args(s.get_outputs())) for s in made]


@case
def descriptions_of_outputs(ort: Any) -> Any:
    return args(session(ort, models.declared()).get_outputs())


@case
def node_args_are_read_only(ort: Any) -> Any:
    try:
        session(ort, models.add()).get_inputs()[0].name = "other"
    except AttributeError:
        return "AttributeError"
    return "set"


for version in (3, 4, 8):

    def overridable(ort: Any, ir: int = version) -> Any:
        found = session(ort, models.overridable(ir))
        x, b = np.zeros(2, np.float32), np.ones(2, np.float32)
        lists = args(found.get_inputs()), args(found.get_overridable_initializers())
        return lists, found.run(None, {"x": x}), found.run(None, {"x": x, "b": b}) if ir > 3 else None

    CASES[f"overridable_ir{version}"] = overridable


@case
def initializer_of_ir3_is_no_input(ort: Any) -> Any:
    x = np.zeros(2, np.float32)
    return session(ort, models.overridable(3)).run(None, {"x": x, "b": x})


@case
def metadata(ort: Any) -> Any:
    names = ("producer_name", "graph_name", "domain", "description", "graph_description", "version")
    found = []
    for model in (models.described(), models.add()):
        meta = session(ort, model).get_modelmeta()
        found.append([*(getattr(meta, n) for n in names), dict(sorted(meta.custom_metadata_map.items()))])
    return found


# --- loading


def in_folder(ort: Any, name: str, data: bytes | None) -> Any:
    here = os.getcwd()
    with tempfile.TemporaryDirectory() as folder:
        os.chdir(folder)
        try:
            if data is not None:
                Path(name).write_bytes(data)
            return args(ort.InferenceSession(name, providers=CPU).get_inputs())
        finally:
            os.chdir(here)


many(
    CASES,
    unknown_operator=lambda o: session(o, models.unknown_op()),
    unknown_operator_in_file=lambda o: in_folder(o, "u.onnx", models.unknown_op()),
    unknown_domain=lambda o: session(o, models.unknown_domain()),
    input_of_nobody=lambda o: session(o, models.bad_wiring()),
    no_bytes=lambda o: session(o, b""),
    bytes_of_something_else=lambda o: session(o, b"hello world this is not a model"),
    bytes_cut_short=lambda o: session(o, models.add()[:40]),
    no_file=lambda o: in_folder(o, "nosuch.onnx", None),
    empty_file=lambda o: in_folder(o, "e.onnx", b""),
    file_of_something_else=lambda o: in_folder(o, "g.onnx", b"hello world this is not a model"),
    file=lambda o: in_folder(o, "a.onnx", models.add()),
    path_of_a_number=lambda o: session(o, 3),
    path_of_nothing=lambda o: session(o, None),
    path_of_a_bytearray=lambda o: session(o, bytearray(models.add())),
)
many(
    CLASSES,
    opset_too_new=lambda o: session(o, models.newer(opset=99)),
    ir_too_new=lambda o: session(o, models.newer(ir=99)),
    session_options_of_another_type=lambda o: o.InferenceSession(models.add(), 3),
)

# --- providers


def provided(ort: Any, *rest: Any, **given: Any) -> Any:
    made = ort.InferenceSession(models.add(), *rest, **given)
    return made.get_providers(), made.get_provider_options(), made._providers, made._provider_options


many(
    CASES,
    no_providers=lambda o: provided(o),
    cuda_first=lambda o: provided(o, providers=["CUDAExecutionProvider", *CPU]),
    cuda_alone=lambda o: provided(o, providers=["CUDAExecutionProvider"]),
    unknown_provider=lambda o: provided(o, providers=["Foo"]),
    unknown_provider_without_fallback=lambda o: provided(o, providers=["Foo"], enable_fallback=0),
    provider_with_options=lambda o: provided(o, providers=[(CPU[0], {"arena_extend_strategy": "kSameAsRequested"})]),
    provider_options=lambda o: provided(o, providers=CPU, provider_options=[{"a": 1}]),
    provider_options_too_many=lambda o: provided(o, providers=CPU, provider_options=[{}, {}], enable_fallback=0),
    provider_options_alone=lambda o: provided(o, provider_options=[{}]),
    provider_of_a_number=lambda o: provided(o, providers=[3], enable_fallback=0),
    providers_of_a_dict=lambda o: provided(o, providers={"CPUExecutionProvider": 1}, enable_fallback=0),
    provider_twice=lambda o: provided(o, providers=CPU * 2),
    positional=lambda o: provided(o, o.SessionOptions(), CPU),
    unknown_keyword=lambda o: provided(o, foo=3),
    set_providers=lambda o: session(o, models.add()).set_providers(CPU),
    set_unknown_provider=lambda o: session(o, models.add()).set_providers(["Foo"]),
    device=lambda o: o.get_device(),
    cpu_is_available=lambda o: "CPUExecutionProvider" in o.get_available_providers(),
    version=lambda o: (tuple(map(int, o.__version__.split(".")[:2])), o.get_version_string(), len(list(o.__path__))),
)

# --- options


@case
def defaults_of_options(ort: Any) -> Any:
    options, run = ort.SessionOptions(), ort.RunOptions()
    names = (
        "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "enable_profiling", "inter_op_num_threads",
        "intra_op_num_threads", "log_severity_level", "log_verbosity_level", "logid", "optimized_model_filepath",
        "profile_file_prefix", "use_deterministic_compute", "use_per_session_threads",
    )  # fmt: skip
    enums = ("graph_optimization_level", "execution_mode", "execution_order")
    of_run = ("log_severity_level", "log_verbosity_level", "logid", "only_execute_path_to_fetches", "terminate")
    return (
        [getattr(options, n) for n in names],
        [str(getattr(options, n)) for n in enums],
        [getattr(run, n) for n in of_run],
    )


@case
def levels(ort: Any) -> Any:
    members = ort.GraphOptimizationLevel.__members__
    one = ort.GraphOptimizationLevel.ORT_ENABLE_ALL
    return {n: (m.name, m.value, int(m), str(m)) for n, m in members.items()}, one == 99, repr(one), hash(one)


@case
def modes(ort: Any) -> Any:
    return [{n: int(m) for n, m in e.__members__.items()} for e in (ort.ExecutionMode, ort.ExecutionOrder)]


def option(name: str, value: Any) -> Callable[[Any], Any]:
    def of(ort: Any) -> Any:
        options = ort.SessionOptions()
        setattr(options, name, value)
        return getattr(options, name)

    return of


many(
    CASES,
    threads_below_zero=option("intra_op_num_threads", -1),
    any_severity=option("log_severity_level", 9),
    profiling_as_a_number=option("enable_profiling", 1),
)
many(
    CLASSES,
    unknown_option=option("foo", 1),
    threads_of_text=option("intra_op_num_threads", "2"),
    threads_of_a_float=option("intra_op_num_threads", 2.5),
    level_of_a_number=option("graph_optimization_level", 99),
    path_option_of_a_number=option("optimized_model_filepath", 3),
    arena_of_text=option("enable_cpu_mem_arena", "x"),
    unknown_run_option=lambda o: setattr(o.RunOptions(), "foo", 1),
    config_entry_of_a_number=lambda o: o.SessionOptions().add_session_config_entry("foo", 1),
    severity_of_nine=lambda o: o.set_default_logger_severity(9),
)


def entry(ort: Any, key: str, value: str) -> Any:
    options = ort.SessionOptions()
    options.add_session_config_entry(key, value)
    return options.get_session_config_entry(key)


@case
def sizes_that_differ_in_one_symbol(ort: Any) -> Any:
    found = session(ort, models.shared_symbol())
    feed = {"x": np.ones(1, np.float32), "y": np.ones(3, np.float32), "w": np.ones(4, np.float32)}
    again = {n: np.ones(2, np.float32) for n in "xyw"}
    return found.run(None, feed), found.run(None, again), found.run(None, feed)


many(
    CASES,
    config_entry=lambda o: entry(o, "session.intra_op.allow_spinning", "0"),
    config_entry_absent=lambda o: o.SessionOptions().get_session_config_entry("nix"),
    config_entry_without_key=lambda o: entry(o, "", "1"),
    config_key_too_long=lambda o: entry(o, "f" * 3000, "1"),
    config_value_too_long=lambda o: entry(o, "a", "1" * 10000),
)


def with_sizes(ort: Any, method: str, name: str, model: bytes) -> Any:
    options = ort.SessionOptions()
    getattr(options, method)(name, 2)
    found = session(ort, model, options)
    return args([*found.get_inputs(), *found.get_outputs()]), found


NAMED = "add_free_dimension_override_by_name"
many(
    CASES,
    dimension_by_name=lambda o: with_sizes(o, NAMED, "batch", models.symbolic())[0],
    dimension_of_nobody=lambda o: with_sizes(o, NAMED, "nix", models.symbolic())[0],
    dimension_by_denotation=lambda o: with_sizes(
        o, "add_free_dimension_override_by_denotation", "DATA_BATCH", models.denoted()
    )[0],
    dimension_that_a_feed_breaks=lambda o: with_sizes(o, NAMED, "batch", models.symbolic())[1].run(
        None, {"x": np.ones((3, 5, 3), np.float32)}
    ),
)


@case
def added_initializer(ort: Any) -> Any:
    options = ort.SessionOptions()
    value = ort.OrtValue.ortvalue_from_numpy(np.ones((3, 4), np.float32))
    options.add_initializer("w", value)
    return session(ort, models.symbolic(), options).run(["y"], {"x": np.ones((1, 1, 3), np.float32)})


@case
def options_are_copied(ort: Any) -> Any:
    options = ort.SessionOptions()
    found = session(ort, models.add(), options)
    options.logid = "later"
    return found.get_session_options() is options, found.get_session_options().logid


@case
def optimised_model(ort: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.optimized_model_filepath = str(Path(folder, "optimised.onnx"))
        options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_ENABLE_BASIC
        session(ort, models.symbolic(), options)
        again = ort.InferenceSession(options.optimized_model_filepath, providers=CPU)
        return again.run(None, {"x": np.ones((1, 1, 3), np.float32)})


@case
def profile(ort: Any) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        options = ort.SessionOptions()
        options.enable_profiling = True
        options.profile_file_prefix = str(Path(folder, "trace"))
        found = session(ort, models.add(), options)
        for _ in range(2):
            found.run(None, {"X": X, "Y": X})
        path = found.end_profiling()
        events = json.loads(Path(path).read_text())
        named = [(e["cat"], e["name"], e["ph"], e["args"].get("op_name")) for e in events]
        return named, Path(path).name.startswith("trace_"), found.end_profiling()


@case
def terminated(ort: Any) -> Any:
    options = ort.RunOptions()
    options.terminate = True
    return session(ort, models.add()).run(None, {"X": X, "Y": X}, options)


@case
def terminated_on_what_is_bound(ort: Any) -> Any:
    found = session(ort, models.add())
    binding = found.io_binding()
    binding.bind_cpu_input("X", X)
    binding.bind_cpu_input("Y", X)
    binding.bind_output(found.get_outputs()[0].name)
    options = ort.RunOptions()
    options.terminate = True
    return found.run_with_iobinding(binding, options)


@case
def no_longer_terminated(ort: Any) -> Any:
    options = ort.RunOptions()
    options.terminate = True
    options.terminate = False
    return session(ort, models.add()).run(None, {"X": X, "Y": X}, options)


@case
def no_profile(ort: Any) -> Any:
    found = session(ort, models.add())
    return found.end_profiling()


@case
def fallback(ort: Any) -> Any:
    found = session(ort, models.add())
    states = [found._enable_fallback]
    found.disable_fallback()
    return [*states, found._enable_fallback]


@case
def process_functions(ort: Any) -> Any:
    return [
        ort.set_default_logger_severity(3),
        ort.set_default_logger_verbosity(0),
        ort.disable_telemetry_events(),
        ort.enable_telemetry_events(),
        ort.set_seed(1),
        ort.has_collective_ops(),
        ort.preload_dlls(cuda=False),
    ]
