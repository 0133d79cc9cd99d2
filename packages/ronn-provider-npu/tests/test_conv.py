"""Convolutions on an OpenCL device, held against the CPU provider, in both of their forms and with little memory."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from held import HELD, UNIT, held, launcher
from hypothesis import given, settings
from hypothesis import strategies as st
from npu_runs import same

from ronn_codegen.clike.templates.conv import Conv, conv_kernel
from ronn_codegen.clike.templates.conv_shape import BYTES, Shape, shape_of, unit_bytes

FEW = settings(max_examples=2, deadline=None)
ROWS = (1, 3, 17)
"""Output channels of a group: less than a panel, and several panels."""


def normal(*shape: int, dtype: Any = np.float32) -> np.ndarray:
    return np.asarray(np.random.default_rng(sum(shape)).standard_normal(shape)).astype(dtype)


@st.composite
def convolutions(draw: st.DrawFn) -> tuple[tuple[int, ...], tuple[int, ...], dict[str, Any]]:
    """Shapes of x and w, and the attributes of Conv."""
    rank = draw(st.sampled_from([1, 2, 2, 3]))
    group, channels, rows = (
        draw(st.sampled_from([1, 1, 3])),
        draw(st.sampled_from([1, 2, 19])),
        draw(st.sampled_from(ROWS)),
    )
    kernel = [draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [draw(st.integers(1, 2)) for _ in range(rank)]
    sizes = [(k - 1) * d + 1 + draw(st.integers(0, 8)) for k, d in zip(kernel, dilations, strict=True)]
    how: dict[str, Any] = {"strides": [draw(st.integers(1, 2)) for _ in range(rank)], "dilations": dilations}
    if draw(st.booleans()):
        how["pads"] = [draw(st.integers(0, 2)) for _ in range(2 * rank)]
    else:
        how["auto_pad"] = draw(st.sampled_from(["SAME_UPPER", "SAME_LOWER", "VALID"]))
    images = draw(st.integers(1, 3))
    return (images, group * channels, *sizes), (group * rows, channels, *kernel), {**how, "group": group}


@pytest.mark.parametrize("how", [*HELD, *UNIT])
@FEW
@given(found=convolutions(), constant=st.booleans(), biased=st.booleans())
def test_conv(how: str, found: tuple[Any, ...], constant: bool, biased: bool) -> None:
    x, w, attributes = found
    inputs = [normal(*x), normal(*w), *([normal(w[0])] if biased else [])]
    fixed = range(1, len(inputs)) if constant else ()
    with held(how):
        same("Conv", inputs, fixed=fixed, within=1e-4, **attributes)


@pytest.mark.parametrize("how", ["vectors", "groups"])
@pytest.mark.parametrize("dtype", [np.float16, np.float64])
def test_types(how: str, dtype: Any) -> None:
    inputs = [normal(2, 3, 9, 8, dtype=dtype), normal(5, 3, 3, 3, dtype=dtype), normal(5, dtype=dtype)]
    with held(how):
        same("Conv", inputs, fixed=[1, 2], within=4e-3 if dtype == np.float16 else 1e-12, pads=[1, 1, 1, 1])
        same("Conv", inputs, within=4e-3 if dtype == np.float16 else 1e-12, pads=[1, 1, 1, 1])


@pytest.mark.parametrize("how", [*HELD, *UNIT])
def test_a_depth_of_many_blocks(how: str) -> None:
    with held(how):
        same("Conv", [normal(1, 140, 5, 5), normal(6, 140, 3, 3)], fixed=[1], within=1e-3, pads=[1, 1, 1, 1])


@pytest.mark.parametrize(
    ("activation", "params"),
    [("Relu", []), ("Clip", [0.0, 1.5]), ("HardSwish", []), ("Gelu", []), ("Softplus", []), ("Elu", [0.5]),
     ("HardSigmoid", [0.3, 0.4]), ("LeakyRelu", [0.1]), ("Tanh", []), ("Sigmoid", []), ("Silu", []), ("GeluTanh", [])],
)  # fmt: skip
def test_activations(activation: str, params: list[float]) -> None:
    how: dict[str, Any] = {"activation": activation} | ({"activation_params": params} if params else {})
    for groups in (1, 4):  # of the latter the depthwise kernel
        inputs = [normal(1, 4, 6, 7), normal(4, 4 // groups, 3, 2), normal(4)]
        same("FusedConv", inputs, fixed=[1, 2], within=1e-5, domain="ronn", group=groups, **how)


def test_an_addend() -> None:
    inputs = [normal(2, 4, 6, 7), normal(5, 4, 3, 2), normal(5), normal(2, 5, 4, 6)]
    for how in ("vectors", "groups"):
        with held(how):
            same("FusedConv", inputs, fixed=[1], within=1e-5, domain="com.microsoft", activation="Relu")


@pytest.mark.parametrize("how", ["vectors", "groups"])
@FEW
@given(data=st.data())
def test_conv_transpose(how: str, data: st.DataObject) -> None:
    rank, group = data.draw(st.integers(1, 3)), data.draw(st.integers(1, 2))
    kernel = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    more = [data.draw(st.integers(0, s - 1)) for s in strides]
    sizes = [data.draw(st.integers(2, 5)) for _ in range(rank)]
    inputs = [normal(2, 2 * group, *sizes), normal(2 * group, 3, *kernel), normal(3 * group)]
    with held(how):
        same(
            "ConvTranspose", inputs, fixed=[1] if data.draw(st.booleans()) else [], within=1e-4, strides=strides,
            dilations=dilations, output_padding=more, group=group,
        )  # fmt: skip


def _bytes(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    info = np.iinfo(dtype)
    return np.random.default_rng(sum(shape)).integers(info.min, info.max + 1, shape).astype(dtype)


@pytest.mark.parametrize("how", ["vectors", "groups", "unit"])
@FEW
@given(
    found=convolutions(), x_type=st.sampled_from([np.int8, np.uint8]), w_type=st.sampled_from([np.int8, np.uint8]),
    each=st.booleans(), constant=st.booleans(),
)  # fmt: skip
def test_bytes(how: str, found: tuple[Any, ...], x_type: Any, w_type: Any, each: bool, constant: bool) -> None:
    x_shape, w_shape, attributes = found
    filters = w_shape[0]
    x, w = _bytes(x_shape, x_type), _bytes(w_shape, w_type)
    x_zero = np.array(3, x_type)
    w_zero = np.arange(filters).astype(w_type) if each else np.array(2, w_type)
    scale = (np.linspace(0.01, 0.02, filters) if each else np.array(0.01)).astype(np.float32)
    bias = np.arange(filters, dtype=np.int32) - 5
    fixed = [3, 4, 5, 8] if constant else []
    inputs = [x, np.array(0.05, np.float32), x_zero, w, scale, w_zero, np.array(0.2, np.float32), x_zero, bias]
    with held(how):
        same("QLinearConv", inputs, fixed=fixed, **attributes)
        same("ConvInteger", [x, w, x_zero, w_zero], fixed=[1, 3] if constant else [], **attributes)


@pytest.mark.parametrize("how", ["vectors", "groups"])
@settings(max_examples=4, deadline=None)
@given(data=st.data())
def test_bytes_of_one_channel_each(how: str, data: st.DataObject) -> None:
    """The depthwise kernel: rows longer than a block, strides, dilations, padding, several rows of a group."""
    group, times = data.draw(st.integers(1, 4)), data.draw(st.integers(1, 2))
    x_type, w_type = (data.draw(st.sampled_from([np.int8, np.uint8])) for _ in range(2))
    sizes = data.draw(st.sampled_from([(9, 7), (5, 70), (1, 131), (67,)]))
    kernel = [min(n, data.draw(st.integers(1, 3))) for n in sizes]
    attributes = {
        "group": group, "strides": [data.draw(st.integers(1, 2)) for _ in sizes],
        "dilations": [data.draw(st.integers(1, 2)) if n > 3 else 1 for n in sizes],
        "pads": [data.draw(st.integers(0, 2)) for _ in 2 * sizes],
    }  # fmt: skip
    filters = group * times
    x, w = _bytes((2, group, *sizes), x_type), _bytes((filters, 1, *kernel), w_type)
    x_zero = np.array(data.draw(st.integers(0, 127)), x_type)
    w_zero = np.arange(filters).astype(w_type) if data.draw(st.booleans()) else np.array(2, w_type)
    scale, bias = np.linspace(0.01, 0.02, filters).astype(np.float32), np.arange(filters, dtype=np.int32) - 5
    inputs = [x, np.array(0.05, np.float32), x_zero, w, scale, w_zero, np.array(0.2, np.float32), x_zero, bias]
    with held(how):
        same("QLinearConv", inputs, fixed=[3, 5] if data.draw(st.booleans()) else [], **attributes)
        same("ConvInteger", [x, w, x_zero, w_zero], **attributes)


def test_local_memory_is_within_the_budget() -> None:
    for how in HELD | UNIT:
        made = launcher(how)
        for kind in ("f32", "u8"):
            shape, staged, sums = shape_of(made.target, 64, kind)
            rows, pixels, steps = made.target.unit
            assert (shape.rows % rows, shape.pixels % pixels, shape.depth % steps) == (0, 0, 0)
            form = Conv(shape, 3, kind, kind, staged, sums, "requantise" if kind == "u8" else "Relu")
            kernel = conv_kernel(form)
            (entry,) = made.build({"conv": kernel.source("conv", made.target)}, {"conv": kernel.params}).values()
            assert 0 < entry.local_bytes <= made.target.local_bytes, (how, kind)


def test_too_little_memory_is_a_reason() -> None:
    from ronn.records import replace
    from ronn_codegen.lowering import Refused

    with pytest.raises(Refused, match="100 bytes of local memory"):
        shape_of(replace(launcher("groups").target, local_bytes=100), 64, "f32")


UNITS = st.tuples(*[st.integers(1, 160)] * 2, st.integers(1, 64)).filter(lambda unit: unit != (1, 1, 1))


@settings(deadline=None, max_examples=300)
@given(
    unit=UNITS, rows=st.integers(1, 200), group=st.integers(1, 128), budget=st.integers(1, 64 << 10),
    kind=st.sampled_from(["f32", "u8"]),
)  # fmt: skip
def test_shapes_are_whole_tiles_of_the_matrix_unit_or_a_reason(
    unit: tuple[int, int, int], rows: int, group: int, budget: int, kind: str
) -> None:
    from ronn.records import replace
    from ronn_codegen.lowering import Refused

    target = replace(launcher("unit").target, unit=unit, group=group, local_bytes=budget)
    try:
        shape, staged, _ = shape_of(target, rows, kind)
    except Refused as reason:
        assert f"and there are {budget}" in str(reason)
        least = Shape(1, 1, unit[0], unit[1], 1, unit[2], False)
        assert unit_bytes(least, 4 if kind == "f32" else 2) > budget
        return
    assert (shape.rows % unit[0], shape.pixels % unit[1], shape.depth % unit[2]) == (0, 0, 0)
    assert unit_bytes(shape, BYTES[staged]) <= budget and shape.items <= group
