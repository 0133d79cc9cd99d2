"""Which convolutions become BitConv, and what with."""

from __future__ import annotations

import ml_dtypes
import numpy as np
import onnx
import pytest
from conv_models import convolution, expected, filters, rounded
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn.errors import OptionError
from ronn_codegen.simd.target import AVX2, AVX512, BASELINE
from ronn_provider_bitnet.kernels.conv_layout import Window, panels, widths
from ronn_provider_bitnet.passes.conv_bits import find_filters
from ronn_provider_bitnet.passes.conv_cost import bit_time, float_time
from ronn_provider_cpu.compiling import native_library

SHAPE = (2, 64, 7, 6)


def run(model, x, **options):
    s = ronn.Session(model, providers=[("bitnet", {"convolutions": "small", **options})])
    return s, s.run(x)[0]


def bit_node(s):
    (node,) = (n for n in s._base.assigned() if n.op in ("BitConv", "BlockedBitConv"))
    return node


def draw(shape=SHAPE, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def close(y, wanted, tolerance=1e-4):
    np.testing.assert_allclose(y, wanted, rtol=0, atol=tolerance * np.abs(wanted).max())


@pytest.mark.parametrize(("zeros", "bits"), [(True, 2), (False, 1)])
@pytest.mark.parametrize("group", [0, 256, 128, 64, 32])
def test_codes_of_filters(zeros, bits, group):
    w = filters((9, 512, 3, 2), zeros=zeros, group=group)
    found = find_filters(w)
    assert (found.bits, found.group, found.one_zero) == (bits, group, 1)
    signs = found.codes.astype(np.int64) - 1 if bits == 2 else 2 * found.codes.astype(np.int64) - 1
    wide = np.repeat(found.scale, group if group else 512, axis=1)[:, :, None, None]
    np.testing.assert_array_equal(signs * wide, w)


def test_other_filters_are_left_alone():
    w = filters((9, 64, 3, 3), zeros=True)
    w[3, 5] *= np.float32(1.001)
    assert find_filters(w) == "weights are not -s, 0 and s"
    assert find_filters(draw((9, 64, 3, 3))) == "weights are not -s, 0 and s"


@pytest.mark.parametrize(("axes", "together"), [([1, 2, 3], 0), ([-3, -2, -1], 0), ([0, 1, 2, 3], 1)])
def test_the_quantiser_in_front_is_taken_in(axes, together):
    w, x = filters((32, 64, 3, 3), zeros=True), draw()
    s, y = run(convolution(SHAPE, w, quantised=True, axes=axes), x)
    node = bit_node(s)
    assert (node.attributes["planes"], node.attributes["together"], node.inputs[0].name) == (1, together, "x")
    close(y, expected(rounded(x, together=bool(together)), w), 1e-5)


def test_quantisers_of_pixels_stay():
    w = filters((32, 64, 3, 3), zeros=True)
    s, _ = run(convolution(SHAPE, w, quantised=True, axes=[1]), draw())
    assert bit_node(s).attributes["planes"] == 2


def dequantised(q, scale, zero=None, **attributes):
    """y = conv(x, DequantizeLinear(q))."""
    inits = [nh.from_array(q, "q"), nh.from_array(scale.astype(np.float32), "s")]
    inits += [] if zero is None else [nh.from_array(zero, "z")]
    nodes = [
        h.make_node("DequantizeLinear", [i.name for i in inits], ["w"], **attributes),
        h.make_node("Conv", ["x", "w"], ["y"], pads=[1] * 4),
    ]
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, SHAPE)], [h.make_tensor_value_info("y", T.FLOAT, None)],
        inits,
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 25)], ir_version=13).SerializeToString()


FORMS = {
    "rows of ternary": ((32, 1), ml_dtypes.int2, (-1, 2), {"axis": 0}),
    "rows of four values": ((32, 1), ml_dtypes.int2, (-2, 2), {"axis": 0}),
    "rows with zero points": ((32, 1), ml_dtypes.uint2, (0, 4), {"axis": 0}),
    "ternary in four bits": ((32, 1), ml_dtypes.int4, (-1, 2), {"axis": 0}),
    "one scale": ((1, 1), np.int8, (-1, 2), {}),
    "blocks of channels": ((32, 2), ml_dtypes.int2, (-1, 2), {"axis": 1, "block_size": 32}),
    "blocks of channels and taps": ((32, 2, 3, 3), ml_dtypes.int2, (-1, 2), {"axis": 1, "block_size": 32}),
    "blocks with zero points": ((32, 2, 3, 3), ml_dtypes.uint2, (0, 4), {"axis": 1, "block_size": 32}),
}


@pytest.mark.parametrize("level", ["native", "none"])
@pytest.mark.parametrize("name", FORMS)
def test_weights_behind_dequantize_linear(name, level, monkeypatch):
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    facts, dtype, span, attributes = FORMS[name]
    r = np.random.default_rng(1)
    q = r.integers(*span, (32, 64, 3, 3))
    scale = r.uniform(0.5, 2, facts)
    zero = r.integers(0, 4, facts) if "zero" in name else np.zeros(facts, np.int64)
    wide = [np.repeat(a, 64 // a.shape[1], axis=1) if a.ndim == 4 or "blocks" in name else a for a in (scale, zero)]
    wide = [a if a.ndim == 4 else a[:, :, None, None] for a in wide]
    given = [a[:, 0] if len(a) > 1 else a[0, 0] for a in (scale, zero)] if "block_size" not in attributes else [
        np.broadcast_to(a if a.ndim == 4 else a[:, :, None, None], (32, 2, 3, 3)) for a in (scale, zero)
    ]  # fmt: skip
    scales, zeros = (np.ascontiguousarray(a) for a in given)
    x = draw()
    s, y = run(dequantised(q.astype(dtype), scales, zeros.astype(dtype) if "zero" in name else None, **attributes), x)
    close(y, expected(x, (q - wide[1]) * wide[0].astype(np.float32), pads=[1] * 4))
    node = bit_node(s)
    assert node.inputs[2].tensor.static_shape == ((32, 1) if facts == (1, 1) else facts)
    assert (node.input(4) is not None) == ("zero" in name)


def test_two_values_about_zero_are_one_bit():
    q = 2 * np.random.default_rng(0).integers(0, 2, (32, 64, 3, 3)) - 1
    s, y = run(dequantised(q.astype(np.int8), np.full(32, 0.5), axis=0), draw())
    assert bit_node(s).attributes["bits"] == 1
    close(y, expected(draw(), q * 0.5, pads=[1] * 4))


@pytest.mark.parametrize("form", ["BatchNormalization", "Sub, Mul, Add"])
def test_what_scales_channels_behind_is_taken_in(form):
    r = np.random.default_rng(0)
    facts = {n: r.uniform(0.5, 2, 32).astype(np.float32) for n in ("gain", "shift", "mean", "var")}
    facts["gain"][3] = -1
    norm = [h.make_node("BatchNormalization", ["y", *facts], ["n"]), h.make_node("Relu", ["n"], ["z"])]
    q, scale = r.integers(-1, 2, (32, 64, 3, 3)).astype(ml_dtypes.int2), r.uniform(0.5, 2, 32).astype(np.float32)
    weights = [h.make_node("DequantizeLinear", ["q", "s"], ["v"], axis=0)]
    if form == "Sub, Mul, Add":
        facts = {n: a[:, None, None] for n, a in facts.items()}
        facts["gain"] = facts["gain"] / np.sqrt(facts.pop("var") + np.float32(1e-5))
        norm[:1] = [
            h.make_node("Sub", ["y", "mean"], ["m"]), h.make_node("Mul", ["gain", "m"], ["k"]),
            h.make_node("Add", ["k", "shift"], ["n"]),
        ]
    bias = draw(32)
    inits = [nh.from_array(a, n) for n, a in {**facts, "q": q, "s": scale, "b": bias}.items()]
    graph = h.make_graph(
        [*weights, h.make_node("Conv", ["x", "v", "b"], ["y"]), *norm], "g",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", *SHAPE[1:]])], [h.make_tensor_value_info("z", T.FLOAT, None)],
        inits,
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 25)], ir_version=13).SerializeToString()
    s, y = run(model, draw())
    wanted = expected(draw(), q.astype(np.float32) * scale[:, None, None, None]) + bias[:, None, None]
    gain, shift, mean, *var = (a.reshape(-1, 1, 1) for a in facts.values())
    gain = gain / np.sqrt(var[0] + 1e-5) if var else gain
    close(y, np.maximum((wanted - mean) * gain + shift, 0))
    assert bit_node(s) and not {"BatchNormalization", "Add", "Mul", "Sub"} & {n.op for n in s._base.assigned()}


LEFT = {
    "depthwise": ((64, 1, 6, 6), {"group": 64}, SHAPE),
    "groups of 16 channels": ((64, 16, 3, 3), {"group": 4}, SHAPE),
    "3 spatial axes": ((64, 16, 2, 2, 2), {}, (1, 16, 3, 3, 3)),
}


@pytest.mark.parametrize("reason", LEFT)
def test_what_stays_in_float32_and_why(reason):
    w_shape, attributes, shape = LEFT[reason]
    model = convolution(shape, filters(w_shape, zeros=True), **attributes)
    s = ronn.Session(model, providers=["bitnet"], options={"disabled_passes": ["block-layout"]})
    close(s.run(draw(shape))[0], expected(draw(shape), filters(w_shape, zeros=True), **attributes))
    (row,) = s.placement().rows
    assert row.op == "Conv" and reason in row.reason


def test_weights_of_many_values_stay_where_they_are():
    q = np.random.default_rng(0).integers(-5, 6, (32, 64, 3, 3)).astype(np.int8)
    s, y = run(dequantised(q, np.full(32, 0.5), axis=0), draw())
    close(y, expected(draw(), q * 0.5, pads=[1] * 4))
    assert "BitConv" not in {n.op for n in s._base.assigned()}


def window(channels, size, taps):
    pad = taps // 2
    return Window(1, channels, channels, (size, size), (taps, taps), (1, 1), (1, 1), (pad,) * 4, 1)


@pytest.mark.parametrize("target", [AVX512, AVX2, BASELINE])
def test_bytes_are_expected_to_be_quicker_than_words(target):
    for w in (window(16, 112, 3), window(256, 14, 1), window(512, 7, 3)):
        assert 0 < bit_time(w, 2, 1, target) < bit_time(w, 2, 2, target) and float_time(w, target) > 0


def test_words_are_taken_for_pointwise_convolutions_and_not_for_small_windows():
    """Winograd's algorithm multiplies less than half as often."""
    target = AVX512.__class__("avx512", 512, 32, fma=True, int8_dot=True)
    assert bit_time(window(256, 14, 1), 2, 2, target) < float_time(window(256, 14, 1), target)
    assert bit_time(window(64, 56, 3), 2, 2, target) > float_time(window(64, 56, 3), target)


@pytest.mark.parametrize("target", [AVX512, AVX2, BASELINE])
def test_panels_hold_every_filter_once(target):
    lanes = target.lanes(32)
    for filters_ in range(1, 12 * lanes):
        found = panels(filters_, target)
        assert [first for first, _, _ in found] == np.cumsum([0, *(count for _, count, _ in found[:-1])]).tolist()
        assert sum(count for _, count, _ in found) == filters_
        assert all(vectors in widths(target) and first % lanes == 0 for first, _, vectors in found)


def test_another_choice_is_an_error():
    with pytest.raises(OptionError, match="convolutions"):
        run(convolution(SHAPE, filters((32, 64, 3, 3), zeros=True)), draw(), convolutions="tiny")


@pytest.mark.parametrize("shape", [(1, 64, 56, 56), ("N", 64, "H", "W")])
def test_weights_behind_dequantize_linear_are_float32_where_that_is_faster(shape):
    q = np.random.default_rng(0).integers(-1, 2, (64, 64, 3, 3)).astype(ml_dtypes.int2)
    model = onnx.load_from_string(dequantised(q, np.full(64, 0.5), axis=0))
    for value in model.graph.input:
        value.CopyFrom(h.make_tensor_value_info("x", T.FLOAT, shape))
    x = draw((1, 64, 56, 56))
    given = model.SerializeToString()
    kept, y = run(given, x)
    assert bit_node(kept) is not None
    left, z = run(given, x, convolutions="fast")
    target = native_library().machine.target
    quicker = bit_time(window(64, 56, 3), 2, 2, target) < float_time(window(64, 56, 3), target)
    found = {n.op for n in left._base.assigned()}
    assert ("BlockedConv" in found or "Conv" in found) != quicker and "DequantizeLinear" not in found
    close(y, z)
