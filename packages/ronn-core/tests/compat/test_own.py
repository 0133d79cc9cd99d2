"""What the drop-in does in RONN's own way: more than onnxruntime, or differently, and said so."""

from __future__ import annotations

import copy
import ctypes
import pickle
import sys
import threading
import warnings
from pathlib import Path
from typing import Any

import ml_dtypes
import numpy as np
import onnx
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import models
from onnx import TensorProto, helper

import ronn.compat.onnxruntime as ort
from ronn.compat.onnxruntime.capi import onnxruntime_pybind11_state as state
from ronn.compat.onnxruntime.transformers.io_binding_helper import TypeHelper
from ronn.errors import CancelledError, MemoryLimitError

X = np.arange(6, dtype=np.float32).reshape(2, 3)


def test_errors_are_raised_from_ronns_own() -> None:
    with pytest.raises(state.InvalidArgument, match=r"out of (range|bounds) for axis 0") as raised:
        ort.InferenceSession(models.gather()).run(None, {"i": np.array([7])})
    assert "Name:'lookup'" in str(raised.value)
    assert type(raised.value.__cause__).__name__ == "ExecutionError"


def test_other_errors_have_a_class_too() -> None:
    from ronn.compat.onnxruntime.errors import while_running

    assert isinstance(while_running(MemoryLimitError("too much")), state.RuntimeException)
    assert str(while_running(CancelledError("stopped"))).endswith("terminate flag being set to true.")


def test_an_operator_that_nothing_runs_is_not_implemented() -> None:
    node = helper.make_node("Gradient", ["x"], ["y"], "slope", domain="ai.onnx.preview.training", xs=["x"], y="y")
    data = models.model(
        [node], [("x", TensorProto.FLOAT, [1])], [("y", TensorProto.FLOAT, [1])],
        domains={"ai.onnx.preview.training": 1},
    )  # fmt: skip
    with pytest.raises(state.NotImplemented, match="Could not find an implementation for Gradient"):
        ort.InferenceSession(data)


def test_pickle_carries_model_options_and_providers(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.add_free_dimension_override_by_name("batch", 2)
    path = tmp_path / "m.onnx"
    path.write_bytes(models.symbolic())
    for source in (path, models.symbolic()):
        session = ort.InferenceSession(source, options, providers=["CPUExecutionProvider"])
        again = pickle.loads(pickle.dumps(session))
        assert again.get_inputs()[0].shape == [2, None, 3]
        assert again.get_session_options().intra_op_num_threads == 1
        x = np.ones((2, 1, 3), np.float32)
        np.testing.assert_array_equal(again.run(["y"], {"x": x})[0], session.run(["y"], {"x": x})[0])


def test_values_and_options_can_be_pickled_and_copied() -> None:
    value = pickle.loads(pickle.dumps(ort.OrtValue.ortvalue_from_numpy(X)))
    np.testing.assert_array_equal(value.numpy(), X)
    options = ort.SessionOptions()
    options.logid = "a"
    other = copy.deepcopy(options)
    other.logid = "b"
    assert options.logid == "a"


def test_threads_and_levels_reach_the_session() -> None:
    options = ort.SessionOptions()
    options.intra_op_num_threads = 1
    options.use_deterministic_compute = True
    for level, name in ((0, "none"), (1, "basic"), (2, "full"), (3, "full"), (99, "full")):
        options.graph_optimization_level = ort.GraphOptimizationLevel(level)
        made = ort.InferenceSession(models.add(), options)._sess.options
        assert (made.optimization, made.threads, made.deterministic) == (name, 1, True)


def test_disabled_optimizers_turn_passes_off() -> None:
    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        session = ort.InferenceSession(models.add(), disabled_optimizers=["ConstantFolding", "NoSuch"])
    assert session._sess.options.disabled_passes == {"fold-constants"}
    assert [str(w.message) for w in said if w.category is UserWarning] == ["RONN has no optimizer 'NoSuch' to disable"]


def test_every_optimizer_that_is_mapped_is_a_pass() -> None:
    from ronn.compat.onnxruntime.options import OPTIMIZERS
    from ronn.passes.pipelines import all_passes

    assert set(OPTIMIZERS.values()) <= set(all_passes())


@pytest.mark.parametrize(
    ("key", "value", "said"),
    [
        ("session.intra_op.allow_spinning", "0", None),
        ("session.set_denormal_as_zero", "0", None),
        ("session.set_denormal_as_zero", "1", "RONN does not do session.set_denormal_as_zero=1"),
        ("session.load_model_format", "ORT", "RONN does not do session.load_model_format=ORT"),
        ("session.no_such_entry", "1", "RONN knows no session config entry 'session.no_such_entry'"),
    ],
)
def test_config_entries_are_accepted_or_warned_of(key: str, value: str, said: str | None) -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        ort.SessionOptions().add_session_config_entry(key, value)
    texts = [str(w.message) for w in caught]
    assert not texts if said is None else texts[0].startswith(said)


@pytest.mark.parametrize("level", [0, 1, 99])
def test_the_optimised_model_is_a_model(tmp_path: Path, level: int) -> None:
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel(level)
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    feed = {"x": np.ones((1, 2, 3), np.float32)}
    wanted = ort.InferenceSession(models.symbolic(), options).run(None, feed)
    got = ort.InferenceSession(tmp_path / "optimised.onnx").run(None, feed)
    for a, b in zip(wanted, got, strict=True):
        np.testing.assert_array_equal(a, b)


def test_the_optimised_model_cannot_be_written(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.optimized_model_filepath = str(tmp_path / "absent" / "optimised.onnx")
    with pytest.raises(state.Fail, match="could not be written"):
        ort.InferenceSession(models.add(), options)


def test_numbers_that_numpy_lacks_are_of_ml_dtypes() -> None:
    session = ort.InferenceSession(models.identity(TensorProto.BFLOAT16))
    x = np.array([1, 2], ml_dtypes.bfloat16)
    (y,) = session.run(None, {"x": x})
    assert y.dtype == x.dtype and y.tolist() == [1, 2]


def test_byte_order_and_byte_strings_are_read_right() -> None:
    (y,) = ort.InferenceSession(models.identity(TensorProto.FLOAT)).run(None, {"x": np.array([1, 2], ">f4")})
    assert y.tolist() == [1, 2]
    (s,) = ort.InferenceSession(models.identity(TensorProto.STRING)).run(None, {"x": np.array(["é".encode()])})
    assert s.tolist() == ["é"]


def test_a_wrong_feed_after_right_ones() -> None:
    session = ort.InferenceSession(models.add())
    session.run(None, {"X": X, "Y": X})
    with pytest.raises(state.InvalidArgument, match="Unexpected input data type"):
        session.run(None, {"X": X.astype(np.float64), "Y": X})
    with pytest.raises(state.InvalidArgument, match="Invalid input name: Q"):
        session.run(None, {"X": X, "Y": X, "Q": X})
    np.testing.assert_array_equal(session.run(None, {"X": X, "Y": X})[0], X + X)


def test_profiled_results_are_results(tmp_path: Path) -> None:
    options = ort.SessionOptions()
    options.enable_profiling = True
    options.profile_file_prefix = str(tmp_path / "p")
    session = ort.InferenceSession(models.add(), options)
    np.testing.assert_array_equal(session.run(None, {"X": X, "Y": X})[0], X + X)
    assert session.get_profiling_start_time_ns() > 0
    with pytest.raises(state.InvalidArgument):
        session.run(None, {"X": X[0], "Y": X})
    assert Path(session.end_profiling()).exists()


def test_memory_of_another_shape_is_refused() -> None:
    session = ort.InferenceSession(models.add())
    binding = session.io_binding()
    binding.bind_cpu_input("X", X)
    binding.bind_cpu_input("Y", X)
    out = np.zeros((2, 2), np.float32)
    binding.bind_output("Z", "cpu", 0, np.float32, (2, 2), out.ctypes.data)
    with pytest.raises(RuntimeError, match="Got invalid dimensions for output: Z"):
        session.run_with_iobinding(binding)
    binding.bind_output("Z", "cpu", 0, np.float32, (4,), out.ctypes.data)
    with pytest.raises(RuntimeError, match="Invalid rank for output: Z Got: 1 Expected: 2"):
        session.run_with_iobinding(binding)
    assert not out.any()


def test_addresses_are_checked_as_far_as_they_can_be() -> None:
    binding = ort.InferenceSession(models.identity(TensorProto.FLOAT)).io_binding()
    with pytest.raises(RuntimeError, match="is null"):
        binding.bind_input("x", "cpu", 0, np.float32, (2,), 0)
    with pytest.raises(RuntimeError, match="non-string Tensors"):
        binding.bind_input("x", "cpu", 0, np.str_, (2,), X.ctypes.data)
    with pytest.raises(ValueError, match="are to be provided"):
        binding.bind_output("y", buffer_ptr=X.ctypes.data)
    binding.bind_input("x", "cpu", 0, np.float32, (0,), 0)  # as empty tensors of other libraries have it
    binding.bind_output("y")
    binding._session.run_with_iobinding(binding)
    assert binding.get_outputs()[0].shape() == [0]


def test_an_output_on_another_device_is_refused_when_bound() -> None:
    with pytest.raises(RuntimeError, match="Can't allocate memory on the device"):
        ort.InferenceSession(models.add()).io_binding().bind_output("Z", "cuda")


def test_custom_operator_libraries_are_refused() -> None:
    with pytest.raises(state.NotImplemented, match="RONN loads no libraries of custom operators"):
        ort.SessionOptions().register_custom_ops_library("x.so")


def _dltensor(capsule: Any) -> tuple[int, int, int]:
    """Address of the data, type code and bits that a DLPack capsule states."""
    pointer = ctypes.pythonapi.PyCapsule_GetPointer
    pointer.restype, pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
    raw = ctypes.string_at(pointer(capsule, b"dltensor"), 24)
    return int.from_bytes(raw[:8], sys.byteorder), raw[20], raw[21]


@pytest.mark.parametrize(
    ("dtype", "code", "bits"),
    [
        (ml_dtypes.bfloat16, 4, 16),
        (ml_dtypes.float8_e4m3fn, 10, 8),
        (ml_dtypes.float8_e5m2, 12, 8),
        (np.float32, 2, 32),
    ],
)
def test_dlpack_of_types_that_numpy_does_not_export(dtype: Any, code: int, bits: int) -> None:
    value = ort.OrtValue.ortvalue_from_numpy(np.array([1, -2], dtype))
    assert _dltensor(value.__dlpack__()) == (value.data_ptr(), code, bits)
    assert _dltensor(value.__dlpack__(copy=True))[0] != value.data_ptr()


def test_torch_reads_bfloat16() -> None:
    torch = pytest.importorskip("torch")
    value = ort.OrtValue.ortvalue_from_numpy(np.array([1, -2], ml_dtypes.bfloat16))
    assert torch.from_dlpack(value._get_c_value()).float().tolist() == [1, -2]


def test_copy_tensors() -> None:
    target = ort.OrtValue.ortvalue_from_shape_and_type([2, 3], np.float32)
    ort.copy_tensors([ort.OrtValue.ortvalue_from_numpy(X)], [target])
    np.testing.assert_array_equal(target.numpy(), X)
    with pytest.raises(RuntimeError, match="as many destinations"):
        ort.copy_tensors([target], [])


def test_type_helper() -> None:
    session = ort.InferenceSession(models.add())
    assert TypeHelper.get_input_type(session, "X") == TypeHelper.get_output_type(session, "Z") == "tensor(float)"
    assert TypeHelper.ort_type_to_numpy_type("tensor(int64)") is np.int64
    assert TypeHelper.get_io_numpy_type_map(session) == dict.fromkeys("XYZ", np.float32)
    with pytest.raises(ValueError, match="input name Q not found"):
        TypeHelper.get_input_type(session, "Q")
    with pytest.raises(ValueError, match="not found in map"):
        TypeHelper.ort_type_to_numpy_type("tensor(bfloat16)")


def test_wrong_initializers_are_refused() -> None:
    for name, array, kind in (("nix", X, state.Fail), ("w", X, state.InvalidArgument)):
        options = ort.SessionOptions()
        options.add_initializer(name, ort.OrtValue.ortvalue_from_numpy(array))
        with pytest.raises(kind, match="nitializer"):
            ort.InferenceSession(models.symbolic(), options)


def test_importing_it_imports_no_onnx() -> None:
    import subprocess

    code = "import sys, ronn.compat.onnxruntime; assert 'onnx' not in sys.modules and 'numba' not in sys.modules"
    assert subprocess.run([sys.executable, "-c", code], timeout=60).returncode == 0


def test_a_declared_rank_stays_although_it_is_wrong() -> None:
    session = ort.InferenceSession(models.wrong_rank())
    assert session.get_outputs()[0].shape == ["seq"]
    assert session.run(None, {"x": X})[0].shape == (2, 3)


def test_version_is_unset_or_nought() -> None:
    def version(data: bytes) -> Any:
        return ort.InferenceSession(data).get_modelmeta().version

    assert version(models.add()) == 2**63 - 1
    assert version(models.add() + b"\x28\x00") == 0  # field 5, a varint: model_version = 0


def test_terminate_ends_a_run_in_progress() -> None:
    loop = """
        <ir_version: 9, opset_import: ["" : 18]>
        g (int64 n, float[K] x) => (float[K] y) {
            y = Loop (n, , x) <body = b (int64 i, bool c, float[K] v) => (bool c2, float[K] v2) {
                c2 = Identity(c)
                v2 = Neg(v)
            }>
        }"""
    session = ort.InferenceSession(onnx.parser.parse_model(loop).SerializeToString())
    options = ort.RunOptions()
    timer = threading.Timer(0.05, setattr, (options, "terminate", True))
    timer.start()
    with pytest.raises(state.Fail, match="Exiting due to terminate flag being set to true"):
        session.run(None, {"n": np.array(1 << 60), "x": X[0]}, options)
    timer.join()
    options.terminate = False
    assert session.run(None, {"n": np.array(3), "x": X[0]}, options)[0].tolist() == (-X[0]).tolist()
