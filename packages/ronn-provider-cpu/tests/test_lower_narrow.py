"""Convolutions with few output channels run on tiles along rows, and agree with the NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from native_support import latest_plan, run_one
from onnx import helper, numpy_helper

import ronn
from ronn.ops.fused import ACTIVATION_ARITY
from ronn_provider_cpu.compiling import level, native_library

pytestmark = pytest.mark.skipif(level() == "none", reason="native kernels are off")


def model(x: np.ndarray, w: np.ndarray, bias: bool, domain: str = "", **attributes: Any) -> bytes:
    names = {"w": w}
    if bias:
        names["b"] = np.linspace(-1, 1, w.shape[0]).astype(np.float32)
    node = helper.make_node("FusedConv" if domain else "Conv", ["x", *names], ["y"], domain=domain, **attributes)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(a, n) for n, a in names.items()],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 21)] + ([helper.make_opsetid(domain, 1)] if domain else [])
    return helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()


def check(shape: tuple[int, ...], k: int, kernel: tuple[int, ...], **how: Any) -> list[str]:
    """The kernels that ran; the result must agree with NumPy's."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal(shape).astype(np.float32)
    w = rng.standard_normal((k, shape[1], *kernel)).astype(np.float32)
    made = model(x, w, **{"bias": True, **how})
    (got,), session = run_one(made, {"x": x})
    options = {"optimization": "none"}
    (wanted,) = ronn.Session(made, providers=[("cpu", {"kernels": "numpy"})], options=options).run({"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    return [kernel.name for call in latest_plan(session).calls for kernel in call.native.kernels]


def few() -> int:
    library = native_library()
    assert library is not None
    return max(library.machine.target.lanes(32) // 4, 1)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("less", [0, 1])
def test_few_channels(less: int, bias: bool) -> None:
    k = max(few() - less, 1)
    assert check((2, 9, 20, 70), k, (3, 3), bias=bias, pads=[1, 1, 1, 1])[-1] == "narrow_conv_f32"
    assert check((1, 9, 7, 228), k, (3, 5), bias=bias) == ["narrow_conv_f32"]  # read in place
    assert check((1, 2, 3000), k, (33,), bias=bias, strides=[3], pads=[4, 5])[-1] == "narrow_conv_f32"


def test_many_channels_and_short_rows_go_in_blocks() -> None:
    for shape, k in (((1, 9, 20, 70), 4 * few() + 1), ((1, 9, 20, 3), 1)):
        assert "narrow_conv_f32" not in check(shape, k, (3, 3))
    rng = np.random.default_rng(0)
    x, w = rng.standard_normal((1, 4, 20, 70)).astype(np.float32), rng.standard_normal((2, 2, 3, 3)).astype(np.float32)
    _, session = run_one(model(x, w, True, group=2), {"x": x})
    names = [kernel.name for call in latest_plan(session).calls for kernel in call.native.kernels]
    assert "narrow_conv_f32" not in names


@pytest.mark.parametrize("activation", sorted(ACTIVATION_ARITY))
def test_activations(activation: str) -> None:
    params = [0.1, 0.4][: ACTIVATION_ARITY[activation]]
    how: dict[str, Any] = {"activation_params": params} if params else {}
    names = check((1, 6, 9, 77), few(), (3, 7), domain="com.microsoft", activation=activation, **how)
    assert names[-1] == "narrow_conv_f32"


def test_one_row_in_pieces_on_threads() -> None:
    x = np.random.default_rng(1).standard_normal((1, 1, 1, 60000)).astype(np.float32)
    w = np.random.default_rng(2).standard_normal((1, 1, 1, 200)).astype(np.float32)
    made = model(x, w, True, strides=[1, 2])
    results = [next(iter(ronn.Session(made, providers=[("cpu", {"threads": n})]).run({"x": x}))) for n in (1, 2, 4)]
    for other in results[1:]:
        np.testing.assert_array_equal(results[0], other)


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize(("k", "kernel"), [(1, (2, 2)), (1, (1, 2)), (1, (2, 1)), (1, (1, 1))])
def test_upsampling(k: int, kernel: tuple[int, int], bias: bool) -> None:
    """A transposed convolution whose windows do not overlap."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((2, 24, 9, 70)).astype(np.float32)
    names = {"w": rng.standard_normal((24, k, *kernel)).astype(np.float32)}
    if bias:
        names["b"] = np.arange(1, k + 1, dtype=np.float32)
    node = helper.make_node("ConvTranspose", ["x", *names], ["y"], strides=kernel)
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info("x", 1, x.shape)], [helper.make_tensor_value_info("y", 1, None)],
        [numpy_helper.from_array(a, n) for n, a in names.items()],
    )  # fmt: skip
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 21)], ir_version=10).SerializeToString()
    (got,), session = run_one(made, {"x": x})
    options = {"optimization": "none"}
    (wanted,) = ronn.Session(made, providers=[("cpu", {"kernels": "numpy"})], options=options).run({"x": x})
    np.testing.assert_allclose(got, wanted, rtol=1e-4, atol=1e-4)
    names_run = [kernel.name for call in latest_plan(session).calls for kernel in call.native.kernels]
    if few() > 2:
        assert "narrow_conv_f32" in names_run


@pytest.mark.parametrize("k", [1, 40])
def test_columns_of_pixels_are_rows(k: int) -> None:
    """Dims of size 1 come first wherever they stand, with strides and pads of their own."""
    for shape, kernel, how in (
        ((2, 9, 200, 1), (5, 1), {"pads": [2, 0, 1, 0], "strides": [2, 1]}),
        ((1, 9, 200, 1), (5, 1), {"strides": [1, 3], "dilations": [3, 2]}),
        ((1, 9, 1, 200), (1, 5), {}),
        ((1, 9, 40, 1), (3, 3), {"pads": [1, 1, 1, 1]}),
        ((1, 9, 1, 1), (1, 1), {}),
        ((1, 4, 5, 1, 30), (2, 1, 3), {}),
    ):
        names = check(shape, k, kernel, **how)
        if k == 1 and few() > 1 and "dilations" in how:
            assert "narrow_conv_f32" in names
