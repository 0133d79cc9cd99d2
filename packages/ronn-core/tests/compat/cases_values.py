"""Cases of OrtValue, IOBinding, the backend interface and what programs do to sessions."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module
from typing import Any

import models
import numpy as np
from cases import CASES, CLASSES, CPU, X, case, many, session
from onnx import TensorProto, load_model_from_string


def value(ort: Any, array: Any = X) -> Any:
    return ort.OrtValue.ortvalue_from_numpy(array)


def about(v: Any) -> Any:
    flags = v.is_tensor(), v.has_value(), v.is_sparse_tensor(), v.is_tensor_sequence()
    return v.shape(), v.data_type(), v.element_type(), v.device_name(), v.tensor_size_in_bytes(), flags


def shaped(ort: Any, shape: Any, kind: Any) -> Any:
    made = ort.OrtValue.ortvalue_from_shape_and_type(shape, kind)
    return made.shape(), made.data_type(), made.element_type()


many(
    CASES,
    ortvalue=lambda o: (about(value(o)), value(o).numpy(), np.asarray(value(o))),
    ortvalue_aliases=lambda o: value(o).data_ptr() == X.ctypes.data,
    ortvalue_not_contiguous=lambda o: value(o, X.T).numpy(),
    ortvalue_zero_dims=lambda o: value(o, np.array(1.0)).shape(),
    ortvalue_of_a_list=lambda o: value(o, [1, 2]),
    ortvalue_of_strings=lambda o: value(o, np.array(["a"])),
    ortvalue_of_objects=lambda o: value(o, np.array(["a"], object)),
    ortvalue_of_a_scalar=lambda o: value(o, np.float32(1)),
    ortvalue_on_cuda=lambda o: o.OrtValue.ortvalue_from_numpy(X, "cuda", 0),
    ortvalue_on_foo=lambda o: o.OrtValue.ortvalue_from_numpy(X, "foo", 0),
    ortvalue_of_shape=lambda o: shaped(o, [2, 3], np.float32),
    ortvalue_of_tuple=lambda o: shaped(o, (2,), "float32"),
    ortvalue_of_onnx_type=lambda o: shaped(o, [2], TensorProto.BFLOAT16),
    ortvalue_of_string_shape=lambda o: shaped(o, [2], np.str_),
    ortvalue_of_no_type=lambda o: shaped(o, [2], "zz"),
    ortvalue_as_bfloat16=lambda o: about(
        o.OrtValue.ortvalue_from_numpy_with_onnx_type(np.array([1, 2], np.uint16), TensorProto.BFLOAT16)
    ),
    ortvalue_as_float8=lambda o: about(
        o.OrtValue.ortvalue_from_numpy_with_onnx_type(np.array([1, 2], np.uint8), TensorProto.FLOAT8E4M3FN)
    ),
    ortvalue_to_dlpack=lambda o: (np.from_dlpack(value(o)), value(o).__dlpack_device__()),
    ortvalue_from_dlpack=lambda o: about(o.OrtValue.from_dlpack(X)),
)
many(
    CLASSES,
    ortvalue_as_wider=lambda o: o.OrtValue.ortvalue_from_numpy_with_onnx_type(X, TensorProto.INT64),
)


@case
def ortvalue_update(ort: Any) -> Any:
    made = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    made.update_inplace(X)
    return made.numpy()


@case
def ortvalue_update_of_another_size(ort: Any) -> Any:
    return ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32).update_inplace(X[0])


def with_values(ort: Any, names: Any, **feed: Any) -> Any:
    return [about(v) for v in session(ort, models.add()).run_with_ort_values(names, feed)]


many(
    CASES,
    run_with_ort_values=lambda o: with_values(o, None, X=value(o), Y=value(o)),
    run_with_ort_values_and_names=lambda o: with_values(o, ["Z"], X=value(o), Y=value(o)),
    run_with_ort_values_missing=lambda o: with_values(o, None, X=value(o)),
    run_with_ort_values_unknown=lambda o: with_values(o, None, X=value(o), Y=value(o), Q=value(o)),
    run_with_arrays_for_ort_values=lambda o: with_values(o, None, X=X, Y=X),
)


@case
def bfloat16_through_ort_values(ort: Any) -> Any:
    made = ort.OrtValue.ortvalue_from_numpy_with_onnx_type(np.array([1, 2], np.uint16), TensorProto.BFLOAT16)
    return about(session(ort, models.identity(TensorProto.BFLOAT16)).run_with_ort_values(None, {"x": made})[0])


# --- IOBinding


def bound(ort: Any, *steps: Callable[[Any], Any], inputs: bool = True) -> Any:
    found = session(ort, models.add())
    binding = found.io_binding()
    if inputs:
        binding.bind_cpu_input("X", X)
        binding.bind_cpu_input("Y", X)
    for step in steps:
        step(binding)
    found.run_with_iobinding(binding)
    outputs = [(v.shape(), v.numpy().copy()) for v in binding.get_outputs()]
    return outputs, binding.copy_outputs_to_cpu()


def at(array: np.ndarray, shape: Any = None, kind: Any = None) -> tuple[Any, ...]:
    kind = array.dtype.type if kind is None else kind
    return "cpu", 0, kind, array.shape if shape is None else shape, array.ctypes.data


many(
    CASES,
    binding=lambda o: bound(o, lambda b: b.bind_output("Z")),
    binding_on_cpu=lambda o: bound(o, lambda b: b.bind_output("Z", "cpu")),
    binding_twice=lambda o: bound(o, lambda b: b.bind_output("Z"), lambda b: b.bind_output("Z")),
    binding_without_pointer=lambda o: bound(o, lambda b: b.bind_output("Z", "cpu", 0, np.float32, (2, 3))),
    binding_an_input_by_address=lambda o: bound(
        o, lambda b: b.bind_input("X", *at(X, [2, 3])), lambda b: b.bind_output("Z")
    ),
    binding_an_input_by_onnx_type=lambda o: bound(
        o, lambda b: b.bind_input("X", *at(X, kind=1)), lambda b: b.bind_output("Z")
    ),
    binding_an_input_by_type_name=lambda o: bound(
        o, lambda b: b.bind_input("X", *at(X, kind="float32")), lambda b: b.bind_output("Z")
    ),
    binding_no_output=lambda o: bound(o),
    binding_unknown_input=lambda o: bound(o, lambda b: b.bind_cpu_input("Q", X)),
    binding_unknown_output=lambda o: bound(o, lambda b: b.bind_output("Q")),
    binding_wrong_dtype=lambda o: bound(
        o, lambda b: b.bind_cpu_input("X", X.astype(np.float64)), lambda b: b.bind_output("Z")
    ),
    binding_wrong_rank=lambda o: bound(o, lambda b: b.bind_input("X", *at(X, (3,))), lambda b: b.bind_output("Z")),
    binding_a_list=lambda o: bound(o, lambda b: b.bind_cpu_input("X", [[1.0]])),
    binding_not_contiguous=lambda o: bound(
        o, lambda b: b.bind_cpu_input("X", np.ones((3, 2), np.float32).T), lambda b: b.bind_output("Z")
    ),
)
many(
    CLASSES,
    binding_without_inputs=lambda o: bound(o, lambda b: b.bind_output("Z"), inputs=False),
    binding_an_input_on_cuda=lambda o: bound(
        o, lambda b: b.bind_input("X", "cuda", 0, np.float32, (2, 3), X.ctypes.data)
    ),
)


@case
def binding_an_output_to_memory(ort: Any) -> Any:
    out = np.zeros((2, 3), np.float32)
    found = session(ort, models.add())
    binding = found.io_binding()
    binding.bind_cpu_input("X", X)
    binding.bind_cpu_input("Y", X)
    binding.bind_output("Z", *at(out))
    found.run_with_iobinding(binding)
    there = binding.get_outputs()[0].data_ptr() == out.ctypes.data
    first = out.copy()
    binding.bind_input("Y", *at(np.ones((2, 3), np.float32)))
    return first, there, binding.copy_outputs_to_cpu()


@case
def binding_reads_memory_at_the_run(ort: Any) -> Any:
    x, out = X.copy(), np.zeros((2, 3), np.float32)
    found = ort.InferenceSession(models.add(), providers=CPU)
    binding = ort.IOBinding(found)
    binding.bind_cpu_input("X", x)
    binding.bind_input("Y", *at(x))
    binding.bind_output("Z", *at(out))
    found.run_with_iobinding(binding)
    x += 100
    found.run_with_iobinding(binding)
    return out


@case
def binding_values(ort: Any) -> Any:
    found = session(ort, models.add())
    out = value(ort, np.zeros((2, 3), np.float32))
    binding = found.io_binding()
    binding.bind_ortvalue_input("X", value(ort))
    binding.bind_ortvalue_input("Y", value(ort))
    binding.bind_ortvalue_output("Z", out)
    found.run_with_iobinding(binding)
    kept = out.numpy().copy()
    binding.clear_binding_outputs()
    return kept, len(binding.get_outputs())


@case
def binding_memory_of_another_type(ort: Any) -> Any:
    return bound(ort, lambda b: b.bind_output("Z", *at(np.zeros((2, 3)))))


# --- the rest


@case
def subclass(ort: Any) -> Any:
    class Mine(ort.InferenceSession):  # type: ignore[name-defined,misc]
        def __init__(self, path: Any, **given: Any) -> None:
            super().__init__(path, **given)
            self.mine = path

        def __getstate__(self) -> Any:
            return {"path": self.mine}

        def __setstate__(self, state: Any) -> None:
            self.__init__(state["path"], providers=CPU)  # type: ignore[misc]

    found = Mine(models.add(), providers=CPU)
    again = Mine.__new__(Mine)
    again.__setstate__(found.__getstate__())
    return again.run(None, {"X": X, "Y": X}), isinstance(found, ort.InferenceSession), found._model_path


def backend(ort: Any) -> Any:
    return import_module(f"{ort.__name__}.backend")


@case
def backend_runs(ort: Any) -> Any:
    b, proto = backend(ort), load_model_from_string(models.add())
    ready = session(ort, models.add())
    return [
        b.prepare(proto, "CPU").run([X, X]),
        b.prepare(models.add()).run([X, X]),
        b.prepare(ready).run([X, X]),
        b.run(proto, [X, X]),
        b.prepare(models.identity(1, [2])).run(X[0, :2]),
        b.supports_device("CPU"),
        b.supports_device("CUDA"),
        b.is_compatible(proto),
    ]


many(
    CLASSES,
    backend_single_array_for_two=lambda o: backend(o).prepare(session(o, models.add())).run(X),
    backend_too_few=lambda o: backend(o).prepare(session(o, models.add())).run([X]),
)


@case
def modules(ort: Any) -> Any:
    names = (
        "capi", "capi._pybind_state", "capi.onnxruntime_pybind11_state", "capi.onnxruntime_inference_collection",
        "capi.onnxruntime_validation", "backend", "transformers",
    )  # fmt: skip
    for name in names:
        import_module(f"{ort.__name__}.{name}")
    state = import_module(f"{ort.__name__}.capi.onnxruntime_pybind11_state")
    errors = (
        "EPFail", "Fail", "InvalidArgument", "InvalidGraph", "InvalidProtobuf", "ModelLoaded", "NoModel", "NoSuchFile",
        "NotImplemented", "RuntimeException",
    )  # fmt: skip
    return [(e, getattr(state, e).__mro__[1].__name__) for e in errors]


@case
def run_async(ort: Any) -> Any:
    import threading

    done, found = threading.Event(), []

    def callback(results: Any, user_data: Any, error: str) -> None:
        found.append((results, user_data, error))
        done.set()

    session(ort, models.add()).run_async(None, {"X": X, "Y": X}, callback, "mine")
    done.wait(10)
    return found
