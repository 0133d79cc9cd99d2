"""Pooling, resizing and reordering run natively, and agree with the NumPy kernels."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from native_support import native_nodes, numpy_nodes, one_node, run_one

import ronn
from ronn_provider_cpu.compiling import level, native_library

pytestmark = pytest.mark.skipif(level() == "none", reason="native kernels are off")
QUICK = settings(max_examples=50, deadline=None)


def lanes() -> int:
    library = native_library()
    assert library is not None
    return library.machine.target.lanes(32)


def floats(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def agree(op: str, x: np.ndarray, native: bool = True, **how: Any) -> np.ndarray:
    """Runs one node natively and by NumPy; the outputs must be close. The native one is returned."""
    model = one_node(op, {"x": x}, **how)
    (got, *_), session = run_one(model, {"x": x})
    options = {"optimization": "none"}
    wanted = next(iter(ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options=options).run({"x": x})))
    np.testing.assert_allclose(got, wanted, rtol=1e-5, atol=1e-5)
    assert got.shape == wanted.shape and got.dtype == wanted.dtype
    assert (native_nodes(session) if native else numpy_nodes(session)) == [op]
    return got


@st.composite
def windows(draw: Any, op: str) -> dict[str, Any]:
    rank = draw(st.integers(1, 3))
    kernel = [draw(st.integers(1, 4)) for _ in range(rank)]
    how: dict[str, Any] = {"kernel_shape": kernel, "strides": [draw(st.integers(1, 4)) for _ in range(rank)]}
    if draw(st.booleans()):
        how["pads"] = [draw(st.integers(0, k - 1)) for k in kernel * 2]
    else:
        how["auto_pad"] = draw(st.sampled_from(["VALID", "SAME_UPPER", "SAME_LOWER"]))
    if draw(st.booleans()) and "auto_pad" not in how:
        how["ceil_mode"] = 1
    if draw(st.booleans()):
        how["dilations"] = [draw(st.integers(1, 2)) for _ in range(rank)]
    if op == "AveragePool":
        how["count_include_pad"] = draw(st.integers(0, 1))
    return how


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@QUICK
@given(st.data())
def test_pool(op: str, data: Any) -> None:
    how = data.draw(windows(op))
    extents = [(k - 1) * d + 1 for k, d in zip(how["kernel_shape"], how.get("dilations", [1] * 3), strict=False)]
    spatial = [e + data.draw(st.integers(0, 40 if i == len(extents) - 1 else 6)) for i, e in enumerate(extents)]
    x = floats(data.draw(st.integers(1, 2)), data.draw(st.integers(1, 5)), *spatial)
    agree(op, x, **how)


@pytest.mark.parametrize("op", ["MaxPool", "AveragePool"])
@QUICK
@given(st.data())
def test_pool_of_blocks(op: str, data: Any) -> None:
    how = data.draw(windows(op))
    assume(len(how["kernel_shape"]) == 2)
    for name in ("kernel_shape", "strides", "dilations"):
        if name in how:
            how[name] = [*how[name], 1]
    if "pads" in how:
        how["pads"] = [*how["pads"][:2], 0, *how["pads"][2:], 0]
    high, wide = data.draw(st.integers(9, 12)), data.draw(st.integers(9, 30))
    agree(op, floats(2, 3, high, wide, lanes()), **how)


@pytest.mark.parametrize("op", ["GlobalMaxPool", "GlobalAveragePool"])
@pytest.mark.parametrize("shape", [(1, 1, 1), (2, 3, 7, 7), (1, 5, 40, 41), (2, 2, 3, 4, 5), (1, 300, 1, 1)])
def test_global_pool(op: str, shape: tuple[int, ...]) -> None:
    agree(op, floats(*shape))


def test_pool_over_everything_is_global() -> None:
    x = floats(2, 3, 7, 9)
    for op in ("MaxPool", "AveragePool"):
        np.testing.assert_allclose(agree(op, x, kernel_shape=[7, 9]), agree("Global" + op, x), rtol=1e-6)


def test_maxima_with_indices() -> None:
    x = floats(1, 2, 6, 6)
    agree("MaxPool", x, outputs=2, kernel_shape=[2, 2])


def test_infinities_and_nan() -> None:
    x = floats(1, 1, 5, 40)
    x[0, 0, 2, 3], x[0, 0, 3, 20], x[0, 0, 1, 33] = np.nan, np.inf, -np.inf
    for op in ("MaxPool", "AveragePool"):
        got = agree(op, x, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        assert np.isnan(got[0, 0, 1:4, 2:5]).all() and np.isnan(got).sum() == 9


MODES = ["nearest", "linear", "cubic"]
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric", "half_pixel_symmetric"]
NEAREST = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]


@QUICK
@given(st.data())
def test_resize(data: Any) -> None:
    mode = data.draw(st.sampled_from(MODES))
    rank = data.draw(st.integers(2, 5))
    shape = [data.draw(st.integers(1, 4)) for _ in range(rank)]
    shape[-1] = data.draw(st.integers(1, 40))
    how: dict[str, Any] = {
        "mode": mode, "coordinate_transformation_mode": data.draw(st.sampled_from(COORDINATES)),
        "nearest_mode": data.draw(st.sampled_from(NEAREST)),
    }  # fmt: skip
    if mode == "cubic":
        how["exclude_outside"] = data.draw(st.integers(0, 1))
    if mode != "nearest":
        how["antialias"] = data.draw(st.integers(0, 1))
    x = floats(*shape)
    if data.draw(st.booleans()):
        sizes = np.array([data.draw(st.integers(1, 2 * d + 2)) for d in shape], np.int64)
        constants, order = {"sizes": sizes}, ["x", "", "", "sizes"]
        assume(list(sizes) != shape)
    else:
        scales = np.array([data.draw(st.sampled_from([1.0, 2.0, 0.6, 3.0, 1.5])) for _ in shape], np.float32)
        constants, order = {"scales": scales}, ["x", "", "scales"]
        assume((np.floor(np.array(shape, np.float32) * scales) >= 1).all() and (scales != 1).any())
    agree("Resize", x, constants=constants, order=order, **how)


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("channels", [1, 3, 16, 20])
def test_resize_with_channels_last(mode: str, channels: int) -> None:
    x = floats(2, 5, 6, channels)
    scales = {"scales": np.array([1, 2, 3, 1], np.float32)}
    agree("Resize", x, constants=scales, order=["x", "", "scales"], mode=mode)


@pytest.mark.parametrize(("opset", "attributes"), [(7, {"scales": [1.0, 1.0, 2.0, 3.0]}), (9, {})])
def test_upsample(opset: int, attributes: dict[str, Any]) -> None:
    x = floats(1, 2, 3, 5)
    constants = {} if attributes else {"scales": np.array([1, 1, 2, 2], np.float32)}
    for mode in ("nearest", "linear"):
        agree("Upsample", x, opset=opset, constants=constants, mode=mode, **attributes)


def test_old_resize() -> None:
    agree("Resize", floats(1, 2, 3, 5), opset=10, constants={"scales": np.array([1, 1, 2, 0.5], np.float32)})


def test_resize_to_the_same_size_is_no_work() -> None:
    x = floats(1, 2, 3, 5)
    np.testing.assert_array_equal(agree("Resize", x, constants={"s": np.ones(4, np.float32)}, order=["x", "", "s"]), x)


@pytest.mark.parametrize("mode", ["nearest", "linear", "cubic"])
@pytest.mark.parametrize("low, high", [((0.2, 0.1), (0.8, 1.4)), ((-0.5, 0.3), (1.2, 0.3)), ((0.9, 0.0), (0.1, 1.0))])
def test_resize_of_a_crop(mode: str, low: tuple[float, float], high: tuple[float, float]) -> None:
    roi = np.array([0, 0, *low, 1, 1, *high], np.float32)
    x = floats(2, 3, 6, 7)
    for size in ((4, 5), (9, 7), (1, 12)):
        constants = {"roi": roi, "sizes": np.array([2, 3, *size], np.int64)}
        agree(
            "Resize", x, constants=constants, order=["x", "roi", "", "sizes"], mode=mode,
            coordinate_transformation_mode="tf_crop_and_resize", extrapolation_value=3.0,
        )  # fmt: skip


@pytest.mark.parametrize("nhwc", [0, 1])
@QUICK
@given(st.integers(1, 3), st.integers(1, 40), st.integers(1, 20), st.integers(1, 20))
def test_there_and_back(nhwc: int, n: int, c: int, h: int, w: int) -> None:
    from ronn_provider_cpu.ops import DOMAIN

    x = floats(*((n, h, w, c) if nhwc else (n, c, h, w)))
    domains = {DOMAIN: 1}
    blocked = agree("Block", x, domain=DOMAIN, domains=domains, lanes=lanes(), nhwc=nhwc)
    assert blocked.shape == (n, -(-c // lanes()), h, w, lanes())
    back = agree("Unblock", blocked, domain=DOMAIN, domains=domains, channels=c, nhwc=nhwc)
    np.testing.assert_array_equal(back, x)


@QUICK
@given(st.data())
def test_regroup(data: Any) -> None:
    from native_support import latest_plan
    from onnx import helper

    from ronn_provider_cpu.kernels.blocked import to_blocks
    from ronn_provider_cpu.ops import DOMAIN

    n, h, w = data.draw(st.integers(1, 2)), data.draw(st.integers(1, 3)), data.draw(st.integers(1, 150))
    channels = data.draw(st.lists(st.integers(1, 40), min_size=1, max_size=4))
    starts = [data.draw(st.integers(0, c - 1)) for c in channels]
    sizes = [data.draw(st.integers(1, c - s)) for c, s in zip(channels, starts, strict=True)]
    plain = [floats(n, c, h, w) + i for i, c in enumerate(channels)]
    feeds = {f"x{i}": to_blocks(x, lanes()) for i, x in enumerate(plain)}
    node = helper.make_node(
        "Regroup", list(feeds), ["y"], domain=DOMAIN, lanes=lanes(), channels=channels, starts=starts, sizes=sizes
    )
    graph = helper.make_graph(
        [node], "g", [helper.make_tensor_value_info(k, 1, v.shape) for k, v in feeds.items()],
        [helper.make_tensor_value_info("y", 1, None)],
    )  # fmt: skip
    imports = [helper.make_opsetid("", 18), helper.make_opsetid(DOMAIN, 1)]
    model = helper.make_model(graph, opset_imports=imports, ir_version=10).SerializeToString()
    (got,), session = run_one(model, feeds)
    wanted = np.concatenate([x[:, s : s + k] for x, s, k in zip(plain, starts, sizes, strict=True)], 1)
    np.testing.assert_array_equal(got, to_blocks(wanted, lanes()))
    assert all(call.native is not None for call in latest_plan(session).calls)
