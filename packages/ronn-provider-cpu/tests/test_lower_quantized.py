"""Integer products run natively and are exact; requantised ones are those of the NumPy kernels to one step."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, numpy_nodes, one_node, run_one

import ronn

MS = "com.microsoft"
FEW = settings(max_examples=12, deadline=None)
F = np.float32
bytes_types = st.sampled_from([np.uint8, np.int8])


def some(rng: np.random.Generator, shape: Any, dtype: Any, extreme: bool = False) -> np.ndarray:
    info = np.iinfo(dtype)
    if extreme:
        return rng.choice(np.array([info.min, info.max], dtype), shape)
    return rng.integers(info.min, info.max + 1, shape).astype(dtype)


def check(
    op: str, inputs: list[np.ndarray | None], fixed: Any, *, step: int = 0, domain: str = "", outputs: int = 1,
    opset: int = 21, close: float = 0, **attributes: Any,
) -> None:  # fmt: skip
    """Runs ``op`` natively; it may differ from the NumPy kernel by ``step``. Inputs in ``fixed`` are constants."""
    names = ["" if v is None else f"x{i}" for i, v in enumerate(inputs)]
    given_ = {n: v for n, v in zip(names, inputs, strict=True) if v is not None}
    constants = {f"x{i}": given_.pop(f"x{i}") for i in fixed if f"x{i}" in given_}
    domains = {domain: 1} if domain else None
    model = one_node(
        op, given_, constants=constants, order=names, outputs=outputs, opset=opset, domain=domain, domains=domains,
        **attributes,
    )  # fmt: skip
    held(model, given_, op, step, close)


def held(model: bytes, given_: dict[str, np.ndarray], op: str, step: int = 0, close: float = 0) -> None:
    """Holds native results against those of the NumPy kernels."""
    got, session = run_one(model, given_, disabled_passes=("fuse-qdq",))
    assert numpy_nodes(session) == [] and native_nodes(session) == [op]
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    reference = plain.run(given_)
    for g, w in zip(got, reference, strict=True):
        assert g.dtype == w.dtype and g.shape == w.shape
        if step:
            assert np.abs(g.astype(np.int64) - w.astype(np.int64)).max(initial=0) <= step
        elif close:  # a rounding that falls the other way moves what is quantised by a step
            assert np.abs(g - w).max() < close
        elif g.dtype == np.float32:
            np.testing.assert_allclose(g, w, rtol=2e-6, atol=1e-6)
        else:
            np.testing.assert_array_equal(g, w)


@FEW
@given(lead=st.sampled_from([(5,), (2, 3), (1,), (40,)]), k=st.integers(1, 70), n=st.integers(1, 90),
       a_type=bytes_types, b_type=bytes_types, zeros=st.booleans(), per_column=st.booleans(), extreme=st.booleans(),
       seed=st.integers(0, 99))  # fmt: skip
def test_matmul_integer(lead, k, n, a_type, b_type, zeros, per_column, extreme, seed):
    rng = np.random.default_rng(seed)
    a, b = some(rng, (*lead, k), a_type, extreme), some(rng, (k, n), b_type, extreme)
    a_zero = some(rng, (), a_type) if zeros else None
    b_zero = some(rng, (n,) if per_column else (), b_type, extreme) if zeros else None
    check("MatMulInteger", [a, b, a_zero, b_zero], (1, 3))


@FEW
@given(k=st.integers(1, 70), n=st.integers(1, 90), a_type=bytes_types, b_type=bytes_types, y_type=bytes_types,
       per_column=st.booleans(), seed=st.integers(0, 99))  # fmt: skip
def test_qlinear_matmul(k, n, a_type, b_type, y_type, per_column, seed):
    rng = np.random.default_rng(seed)
    a, b = some(rng, (2, 7, k), a_type), some(rng, (k, n), b_type)
    b_scale = (rng.random(n if per_column else ()) * 0.02 + 0.001).astype(F)
    b_zero = some(rng, (n,) if per_column else (), b_type)
    inputs = [
        a, np.array(0.03, F), some(rng, (), a_type), b, np.asarray(b_scale), np.asarray(b_zero), np.array(1.7, F),
        some(rng, (), y_type),
    ]  # fmt: skip
    check("QLinearMatMul", inputs, range(1, 8), step=1)


@FEW
@given(data=st.data(), x_type=bytes_types, w_type=bytes_types, seed=st.integers(0, 99))
def test_convolutions(data, x_type, w_type, seed):
    rng = np.random.default_rng(seed)
    group = data.draw(st.sampled_from([1, 1, 2, 3, 20]))
    per, each = (1, 1) if group == 20 else (data.draw(st.integers(1, 9)), data.draw(st.integers(1, 20)))
    rank = data.draw(st.sampled_from([1, 2]))
    kernel = [data.draw(st.integers(1, 3)) for _ in range(rank)]
    strides = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    dilations = [data.draw(st.integers(1, 2)) for _ in range(rank)]
    pads = [data.draw(st.integers(0, 2)) for _ in range(2 * rank)]
    size = [data.draw(st.integers(5, 12)) for _ in range(rank)]
    x = some(rng, (data.draw(st.integers(1, 2)), group * per, *size), x_type)
    filters = group * each
    w = some(rng, (filters, per, *kernel), w_type)
    attributes = {"strides": strides, "dilations": dilations, "pads": pads, "group": group}
    x_zero, w_zero = some(rng, (), x_type), np.asarray(128 if w_type == np.uint8 else 0, w_type)
    check("ConvInteger", [x, w, x_zero, w_zero], (1, 3), **attributes)
    w_scale = (rng.random(filters) * 0.01 + 0.001).astype(F)
    bias = rng.integers(-5000, 5000, filters).astype(np.int32)
    inputs = [
        x, np.array(0.02, F), x_zero, w, w_scale, np.full(filters, w_zero, w_type), np.array(0.05, F),
        some(rng, (), x_type), bias,
    ]  # fmt: skip
    check("QLinearConv", inputs, range(1, 9), step=1, **attributes)


@pytest.mark.parametrize("w_type", [np.uint8, np.int8])
def test_weights_with_far_zero_points(w_type):
    """Weights less their zero points need nine bits: the product runs over two parts."""
    rng = np.random.default_rng(0)
    x, w = some(rng, (1, 6, 9, 9), np.uint8, True), some(rng, (20, 6, 3, 3), w_type, True)
    zero = np.asarray(np.iinfo(w_type).max, w_type)
    check("ConvInteger", [x, w, np.uint8(3).reshape(()), zero], (1, 3), pads=[1, 1, 1, 1])


@pytest.mark.parametrize("per_column", [False, True])
@pytest.mark.parametrize("w_type", [np.uint8, np.int8])
def test_float_outputs(per_column, w_type):
    rng = np.random.default_rng(1)
    x = rng.standard_normal((3, 4, 50)).astype(F)
    w, scale = some(rng, (50, 33), w_type), (rng.random(33 if per_column else 1) * 0.01 + 0.001).astype(F)
    zero = some(rng, (33,) if per_column else (1,), w_type)
    bias = rng.standard_normal(33).astype(F)
    check("DynamicQuantizeMatMul", [x, w, scale, zero, bias], range(1, 5), domain=MS)
    a = some(rng, (3, 4, 50), np.uint8)
    inputs = [a, w, np.array([0.02], F), scale, np.array([7], np.uint8), zero, bias]
    check("MatMulIntegerToFloat", inputs, (1, 3, 5, 6), domain=MS)


def test_qgemm():
    rng = np.random.default_rng(2)
    a, b = some(rng, (5, 24), np.uint8), some(rng, (19, 24), np.int8)
    c = rng.integers(-900, 900, 19).astype(np.int32)
    scale = (rng.random(19) * 0.01).astype(F)
    inputs = [a, np.array(0.1, F), np.array(9, np.uint8), b, scale, np.zeros(19, np.int8), c]
    zero_less = [*inputs[:5], np.zeros((), np.int8), c]
    check("QGemm", zero_less, range(1, 7), domain=MS, transB=1)
    check("QGemm", [*zero_less, np.array(0.2, F), np.array(40, np.uint8)], range(1, 9), step=1, domain=MS, transB=1)


def test_dynamic_quantize_linear():
    rng = np.random.default_rng(3)
    for x in (rng.standard_normal((3, 50000)), rng.random(17) + 3, np.zeros(5), -rng.random((2, 2))):
        check("DynamicQuantizeLinear", [x.astype(F)], (), outputs=3)


@pytest.mark.parametrize("group", [1, 2, 24])
@pytest.mark.parametrize("rank", [1, 2])
def test_conv_integer_to_float(group, rank):
    rng = np.random.default_rng(4)
    x, w = some(rng, (2, 24, 7, 21)[: 2 + rank], np.uint8), some(rng, (24, 24 // group, 3, 3)[: 2 + rank], np.int8)
    inputs = [x, w, np.array([0.02], F), (rng.random(24) * 0.01).astype(F), np.array(9, np.uint8), None]
    inputs.append(rng.standard_normal(24).astype(F))
    attributes = {"strides": [2, 1][:rank], "dilations": [1, 1][:rank], "group": group}
    pads = [1, 0, 1, 2] if rank == 2 else [1, 2]
    check("ConvIntegerToFloat", inputs, (1, 3, 6), domain="ronn.cpu", pads=pads, **attributes)


@pytest.mark.parametrize(("group", "stages"), [(1, 0), (1, 3), (4, 2), (32, 1)])
def test_qconv_nhwc(group, stages):
    rng = np.random.default_rng(5)
    x, w = some(rng, (2, 9, 10, 32), np.uint8), some(rng, (32, 32 // group, 3, 3), np.int8)
    scale = (rng.random(32) * 0.002).astype(F)
    inputs: list[np.ndarray | None] = [x, w, scale, rng.integers(-999, 999, 32).astype(np.int32)]
    if stages:
        affine = rng.standard_normal((stages, 2, 32)).astype(F)
        limits = np.array([[-100, 155, 0.3]] * stages, F)
        inputs += [affine, limits, some(rng, (2, 5, 10, 32), np.uint8)]
    attributes = {"strides": [2, 1], "pads": [1, 1, 1, 1], "dilations": [1, 1], "group": group}
    check(
        "QConvNhwc", inputs, range(1, 6), step=1, domain="ronn.cpu", x_zero=17, y_zero=100, low=-100.0, high=155.0,
        add_stage=stages - 1, **attributes,
    )  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
@pytest.mark.parametrize("op", ["QLinearAdd", "QLinearMul"])
def test_two_quantised_operands(op, dtype):
    rng = np.random.default_rng(6)
    scales = [np.array(s, F) for s in (0.02, 0.3, 0.11)]
    for a, b in (
        ((2, 5, 7, 9), (2, 5, 7, 9)), ((2, 5, 7, 9), (1, 5, 1, 1)), ((3, 40), (40,)), ((3, 40), (1,)), ((40,), (3, 40)),
        ((2, 5, 7, 9), (5, 7, 9)),
    ):  # fmt: skip
        inputs = [
            some(rng, a, dtype), scales[0], some(rng, (), dtype), some(rng, b, dtype), scales[1], some(rng, (), dtype),
            scales[2], some(rng, (), dtype),
        ]  # fmt: skip
        check(op, inputs, (1, 2, 4, 5, 6, 7), step=1, domain=MS)


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_tables(dtype):
    rng = np.random.default_rng(7)
    x, zero, out = some(rng, (3, 50), dtype), some(rng, (), dtype), some(rng, (), dtype)
    given = [x, np.array(0.05, F), zero, np.array(0.004, F), out]
    check("QLinearSigmoid", given, range(1, 5), domain=MS)
    check("QLinearLeakyRelu", given, range(1, 5), domain=MS, alpha=0.2)
    same = [np.array(0.05, F), zero]
    check("QLinearConcat", [*same, x, *same, some(rng, (3, 4), dtype), np.array(0.1, F), out], (0, 1, 3, 4, 6, 7),
          domain=MS, axis=1)  # fmt: skip


@pytest.mark.parametrize("channels", [1, 5, 16, 83])
def test_pools_of_bytes(channels):
    rng = np.random.default_rng(8)
    x = some(rng, (2, 9, 10, channels), np.uint8)
    window = {"kernel_shape": [3, 2], "strides": [2, 1], "pads": [1, 0, 1, 1]}
    check("NhwcMaxPool", [x], (), domain=MS, dilations=[1, 2], **window)
    for dtype in (np.uint8, np.int8):
        scales = [np.array(0.05, F), some(rng, (), dtype), np.array(0.03, F), some(rng, (), dtype)]
        for last in (0, 1):
            given = [some(rng, (2, 9, 10, channels) if last else (2, channels, 9, 10), dtype), *scales]
            for padded in (0, 1):
                check("QLinearAveragePool", given, range(1, 5), step=1, domain=MS, channels_last=last,
                      count_include_pad=padded, **window)  # fmt: skip
            check("QLinearGlobalAveragePool", given, range(1, 5), step=1, domain=MS, channels_last=last)


@pytest.mark.parametrize("hidden", [5, 40])
@pytest.mark.parametrize("direction", ["forward", "reverse", "bidirectional"])
def test_dynamic_quantize_lstm(direction, hidden):
    rng = np.random.default_rng(9)
    d, steps, batch, inputs = 2 if direction == "bidirectional" else 1, 6, 3, 21
    x = rng.standard_normal((steps, batch, inputs)).astype(F)
    w, r = some(rng, (d, inputs, 4 * hidden), np.int8), some(rng, (d, hidden, 4 * hidden), np.int8)
    per_tensor, per_column = (rng.random(d) * 0.01).astype(F), (rng.random((d, 4 * hidden)) * 0.01).astype(F)
    zeros = np.zeros((d, 4 * hidden), np.int8)
    bias = rng.standard_normal((d, 8 * hidden)).astype(F)
    state = rng.standard_normal((2, d, batch, hidden)).astype(F) * F(0.3)
    lengths = np.array([6, 2, 4], np.int32)
    for optional in ((None, None, None, None), (bias, lengths, state[0], state[1])):
        inputs_ = [x, w, r, *optional, None, per_tensor, np.zeros(d, np.int8), per_column, zeros]
        check("DynamicQuantizeLSTM", inputs_, (1, 2, 3, 8, 9, 10, 11), domain=MS, outputs=3, close=0.02,
              direction=direction, hidden_size=hidden)  # fmt: skip


@pytest.mark.parametrize("dtype", [np.uint8, np.int8])
def test_softmax_of_bytes(dtype):
    rng = np.random.default_rng(10)
    x, zero = some(rng, (3, 4, 21), dtype), np.array(-128 if dtype == np.int8 else 0, dtype)
    fixed = {"s": np.array(0.04, F), "z": some(rng, (), dtype), "t": np.array(1 / 256, F), "u": np.asarray(zero)}
    for axis, opset in ((-1, 13), (1, 12)):
        model = onnx.load_from_string(
            one_node("QLinearSoftmax", {"x": x}, constants=fixed, domain=MS, domains={MS: 1}, axis=axis)
        )
        model.graph.node[0].attribute.append(onnx.helper.make_attribute("opset", opset))
        held(model.SerializeToString(), {"x": x}, "QLinearSoftmax", step=1)
