"""Convolutions of few bits: windows as ONNX Runtime sees them, and weights that both runtimes read."""

from __future__ import annotations

import numpy as np
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from ronn.errors import OptionError
from ronn.frontend.proto import model_to_proto
from ronn.model import Model
from ronn_provider_bitnet.quantize import Limits, Settings, quantize
from ronn_provider_bitnet.quantize.layers import find_layers
from ronn_provider_bitnet.quantize.windows import windows


def draw(shape, seed):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def network(attributes, shape=(6, 3, 9, 10), kernel=(3, 3), opset=17, ir=8, norm=False):
    """One convolution of x, its channels 8, with BatchNormalization behind it where ``norm``."""
    inits = {"w": draw((8, shape[1] // attributes.get("group", 1), *kernel), 1), "b": draw(8, 2)}
    nodes = [h.make_node("Conv", ["x", "w", "b"], ["c" if norm else "y"], name="conv", **attributes)]
    if norm:
        inits |= {n: np.abs(draw(8, i)) + 1 for i, n in enumerate(("gain", "shift", "mean", "var"))}
        nodes.append(h.make_node("BatchNormalization", ["c", "gain", "shift", "mean", "var"], ["y"]))
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", *shape[1:]])],
        [h.make_tensor_value_info("y", T.FLOAT, None)], [nh.from_array(a, n) for n, a in inits.items()],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=ir).SerializeToString()


def theirs(model, x):
    return ort.InferenceSession(model, providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]


CASES = [
    ({}, (6, 3, 9, 10), (3, 3)),
    ({"pads": [1, 0, 2, 1], "strides": [2, 3]}, (6, 3, 9, 10), (3, 3)),
    ({"dilations": [2, 1], "pads": [2, 1, 2, 1]}, (2, 5, 9, 10), (3, 2)),
    ({"auto_pad": "SAME_UPPER", "strides": [2, 2]}, (2, 3, 9, 10), (4, 3)),
    ({"auto_pad": "SAME_LOWER", "strides": [2, 1]}, (2, 3, 9, 10), (4, 2)),
    ({"auto_pad": "VALID"}, (2, 3, 9, 10), (3, 3)),
    ({"strides": [2]}, (3, 4, 17), (5,)),
    ({}, (2, 2, 5, 6, 4), (2, 3, 1)),
]


@pytest.mark.parametrize(("attributes", "shape", "kernel"), CASES)
def test_windows_times_weights_are_the_convolution(attributes, shape, kernel):
    model, x = network(attributes, shape, kernel), draw(shape, 3)
    (layer,), _ = find_layers(Model.load(model).ir.graph, smallest=1)
    rows = np.concatenate(list(windows(x, layer.window)))
    expected = np.moveaxis(theirs(model, x), 1, -1).reshape(-1, 8)
    np.testing.assert_allclose(rows @ layer.w.T + draw(8, 2), expected, rtol=1e-4, atol=1e-4)


def quantized(model, x, **settings):
    return quantize(
        model, data=x, settings=Settings(**{"smallest": 1, "edge_bits": settings["bits"], **settings}),
        limits=Limits(0, 0, 1),
    )  # fmt: skip


@pytest.mark.parametrize("bits", ["1", "1.58", "2", "4", "8"])
@pytest.mark.parametrize(("opset", "ir"), [(11, 6), (17, 8), (21, 10), (25, 13)])
def test_both_runtimes_read_the_rounded_weights(bits, opset, ir, tmp_path):
    x = draw((6, 3, 9, 10), 3)
    found = quantized(network({}, opset=opset, ir=ir), x, bits=bits, group=32)
    found.save(tmp_path / "out.onnx")
    with found.session() as session:
        ours = session.run(x)[0]
    expected = theirs(network({}, opset=opset, ir=ir), x)
    # Everything but the bias is in the products that the report tells of.
    (row,) = found.report.rows
    signal = expected - draw(8, 2)[:, None, None]
    db = 10 * np.log10((signal**2).sum() / ((ours - expected) ** 2).sum())
    assert db == pytest.approx(row.sqnr_db, abs=0.05) and row.group == 0
    got = theirs(tmp_path / "out.onnx", x)
    assert np.abs(got - ours).max() < 1e-4 * np.abs(got).max()
    width = 8 if bits == "8" else 4 if bits == "4" or opset < 25 else 2
    assert row.after == (216 + 8) * width // 8 + 8 * 4
    assert found.report.bytes_after == row.after + 8 * 4


def test_two_planes_of_a_convolution():
    x = draw((6, 3, 9, 10), 3)
    one, two = (quantized(network({}), x, bits="1.58", planes=p) for p in (1, 2))
    assert two.report.rows[0].sqnr_db > one.report.rows[0].sqnr_db + 4
    with two.session() as session:
        ours = session.run(x)[0]
    got = theirs(model_to_proto(two.ir).SerializeToString(), x)
    assert np.abs(got - ours).max() < 1e-4 * np.abs(got).max()


def test_norms_behind_convolutions():
    x = draw((40, 3, 9, 10), 3)
    model = network({}, norm=True)
    fixed, left = (quantized(model, x, bits="1", batch_norm=b) for b in (True, False))
    assert (fixed.report.norms, left.report.norms) == (1, 0)
    wanted = _figures(theirs(model, x))
    with fixed.session() as a, left.session() as b:
        np.testing.assert_allclose(_figures(a.run(x)[0]), wanted, rtol=1e-3, atol=1e-3)
        assert np.abs(_figures(b.run(x)[0]) - wanted).max() > 0.05


def _figures(y):
    """Mean and deviation of each channel."""
    return np.stack([y.mean(axis=(0, 2, 3)), y.std(axis=(0, 2, 3))])


def test_convolutions_by_groups_of_channels_are_left_alone():
    layers, skipped = find_layers(Model.load(network({"group": 3}, (2, 3, 9, 10))).ir.graph, smallest=1)
    assert not layers and "groups of channels" in skipped[0].reason


@pytest.mark.parametrize(("opset", "ir"), [(11, 6), (17, 8), (18, 8), (25, 13)])
def test_activations_of_eight_bits_are_part_of_the_model(opset, ir):
    x = draw((6, 32, 9, 10), 3)
    model = deeper(opset, ir)
    both = [quantized(model, x, bits="1.58", edge_bits="8", activations=a) for a in (16, 8)]
    assert [b.report.as_data()["activations"] for b in both] == [16, 8]
    proto = model_to_proto(both[1].ir)
    assert [n.op_type for n in proto.graph.node].count("Round") == 1  # one input of two layers; edges keep theirs
    with both[1].session(providers=[("bitnet", {"convolutions": "small"})]) as session:
        ours = session.run(x)[0]
        planes = [n.attributes["planes"] for n in session._base.assigned() if "BitConv" in n.op]
    assert planes == [1, 1]
    got = theirs(proto.SerializeToString(), x)
    # What lies half way between two steps may be rounded either way, where a sum before it differs in its last bit.
    off = np.abs(got - ours) / np.abs(got).max()
    assert (off > 1e-5).mean() < 0.2 and off.max() < 5e-3
    with both[0].session() as session:
        assert 0 < np.abs(session.run(x)[0] - ours).max() < 0.05 * np.abs(ours).max()


def deeper(opset, ir):
    """Four convolutions, two of them of one input between the first and the last."""
    inits = {f"w{i}": draw((32, 32, 3, 3), i) / 16 for i in range(4)}
    nodes = [
        h.make_node("Conv", ["x", "w0"], ["a"], name="first"), h.make_node("Conv", ["a", "w1"], ["b"], name="second"),
        h.make_node("Conv", ["a", "w2"], ["c"], name="third"), h.make_node("Add", ["b", "c"], ["d"]),
        h.make_node("Conv", ["d", "w3"], ["y"], name="last"),
    ]  # fmt: skip
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", 32, 9, 10])],
        [h.make_tensor_value_info("y", T.FLOAT, None)], [nh.from_array(a, n) for n, a in inits.items()],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=ir).SerializeToString()


@pytest.mark.parametrize("more", [{"planes": 2}, {"form": "trits"}])
def test_activations_of_eight_bits_that_cannot_be(more):
    with pytest.raises(OptionError, match="--activations 8"):
        Settings("1.58", activations=8, **more)
    with pytest.raises(OptionError, match="--activations 4"):
        Settings(activations=4)


def test_shapes_and_biases_that_exporters_leave_to_be_computed():
    """PyTorch's exporter makes a bias of zeros from the shape of the weights; these are quantised all the same."""
    inits = {"w": draw((8, 3, 3, 3), 1), "half": np.array([0.5], np.float32)}
    inits |= {n: np.abs(draw(8, i)) + 1 for i, n in enumerate(("gain", "shift", "mean", "var"))}
    nodes = [
        h.make_node("Shape", ["w"], ["first"], start=0, end=1), h.make_node("Expand", ["half", "first"], ["b"]),
        h.make_node("Conv", ["x", "w", "b"], ["c"], name="conv"),
        h.make_node("BatchNormalization", ["c", "gain", "shift", "mean", "var"], ["y"]),
    ]  # fmt: skip
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", 3, 9, 9])],
        [h.make_tensor_value_info("y", T.FLOAT, None)], [nh.from_array(a, n) for n, a in inits.items()],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 20)], ir_version=9).SerializeToString()
    x = draw((16, 3, 9, 9), 5)
    settings = [Settings("4", edge_bits="4", smallest=1, sequential=s) for s in (True, False)]
    reports = [quantize(model, data=x, settings=s, limits=Limits(0, 0, 1)).report for s in settings]
    assert [r.norms for r in reports] == [1, 1] and not reports[0].skipped
    assert reports[0].task.sqnr_db == pytest.approx(reports[1].task.sqnr_db, abs=0.01)
    assert reports[0].bytes_after < 0.6 * reports[0].bytes_before
