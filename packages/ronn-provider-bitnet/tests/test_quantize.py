"""Quantising whole models: digits that are still told apart, budgets that are kept, bad models that are refused."""

from __future__ import annotations

from xml.etree import ElementTree

import digits
import numpy as np
import onnx
import onnxruntime as ort
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

from ronn.errors import InputError, OptionError
from ronn.model import Model
from ronn.numerics.task import cross_entropy
from ronn_provider_bitnet.quantize import Limits, QualityError, Settings, quantize
from ronn_provider_bitnet.quantize.layers import find_layers
from ronn_provider_bitnet.quantize.picture import draw
from ronn_provider_bitnet.quantize.search import path


def quantized(**given):
    train, _, test, labels = digits.data()
    settings = given.pop("settings", {})
    source = given.pop("model", None)
    known = {"data": train, "test": test, "labels": labels, "limits": Limits(0, 0, 1), **given}
    return quantize(digits.model() if source is None else source, settings=Settings(**settings), **known)


def row(found, name):
    return next(r for r in found.report.rows if r.name == name)


def test_the_network_for_digits_is_one():
    task = quantized(settings={"bits": "8"}).report.task
    assert task.before > 0.95 and task.rows == 500


@pytest.mark.parametrize(
    ("settings", "lost"),
    [({"bits": "8"}, 0.004), ({"bits": "4"}, 0.01), ({"bits": "2"}, 0.02), ({"bits": "1.58"}, 0.03),
     ({"bits": "1.58", "planes": 2}, 0.01), ({"bits": "1.58", "group": 32}, 0.02)],
)  # fmt: skip
def test_digits_are_still_told_apart(settings, lost):
    found = quantized(settings=settings)
    task = found.report.task
    assert task.before - task.after <= lost
    assert found.report.bytes_after < 0.35 * found.report.bytes_before


@pytest.mark.parametrize("bits", ["1", "1.58", "2", "4", "8"])
def test_onnxruntime_gives_the_same(bits, tmp_path):
    _, _, test, _ = digits.data()
    found = quantized(settings={"bits": bits, "smallest": 1})
    path = tmp_path / "out.onnx"
    found.save(path)
    onnx.checker.check_model(str(path))
    theirs = ort.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": test})[0]
    with found.session() as session:
        ours = session.run(test)[0]
    assert np.abs(ours - theirs).max() < 2e-4 * np.abs(theirs).max()
    assert [r.bits for r in found.report.rows] == ["8", bits, "8"]


def test_gptq_is_the_better_for_products():
    nearest, gptq = (quantized(settings={"bits": "2", "method": m}) for m in ("nearest", "gptq"))
    assert row(gptq, "layer1").sqnr_db > row(nearest, "layer1").sqnr_db + 3
    assert gptq.report.task.sqnr_db > nearest.report.task.sqnr_db


def test_figures_of_layers_are_those_of_their_products():
    train, _, _, _ = digits.data()
    found = quantized(settings={"bits": "1.58"})
    with Model.load(digits.model()).create_session() as a:
        hidden = a.run(train, trace=["r0"])["r0"].astype(np.float64)
        w = digits.trained()[2].astype(np.float64)
        node = next(n for n in found.ir.graph if n.name == "layer1")
    scale = node.inputs[2].data.reshape(64, -1)
    packed = node.inputs[1].data.reshape(64, -1)
    codes = np.stack([(packed >> (2 * i)) & 3 for i in range(4)], axis=-1).reshape(64, -1)[:, :96]
    block = node.attributes["block_size"]
    rounded = ((codes - 2.0) * np.repeat(scale, block, axis=1)[:, :96]).T
    signal, noise = np.sum((hidden @ w) ** 2), np.sum((hidden @ (w - rounded)) ** 2)
    assert row(found, "layer1").sqnr_db == pytest.approx(10 * np.log10(signal / noise), abs=0.01)


def test_norms_take_back_what_rounding_shifts():
    model = digits.model(norms=True)
    fixed, left = (
        quantized(model=model, settings={"bits": "1", "edge_bits": "1", "batch_norm": b}) for b in (True, False)
    )
    assert (fixed.report.norms, fixed.report.norms_there) == (2, 2)
    assert (left.report.norms, left.report.norms_there) == (0, 2)
    assert "BatchNormalization re-estimated: 0 of 2." in left.report.notes()
    assert fixed.report.task.sqnr_db > left.report.task.sqnr_db + 1


def test_norms_stay_where_nothing_was_rounded():
    model = digits.model(norms=True)
    found = quantized(model=model, settings={"bits": "1", "skip": ["layer0", "layer1"], "smallest": 1})
    assert (found.report.norms, found.report.norms_there) == (0, 2)


def test_a_budget_of_error_is_kept_with_the_fewest_bits():
    loose, tight = (quantized(settings={"bits": "1", "edge_bits": "8", "max_error": db}) for db in (15.0, 35.0))
    for found, db in ((loose, 15), (tight, 35)):
        assert found.report.task.sqnr_db >= db and not found.report.faults
    assert loose.report.bytes_after < tight.report.bytes_after


def test_the_picture_of_a_search_has_what_was_tried():
    found = quantized(settings={"bits": "1", "max_error": 25.0, "smallest": 1})
    root = ElementTree.fromstring(draw(found.report, "digits"))
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    rings = [e for e in circles if e.attrib["fill"] == "none"]
    assert len(rings) == len(found.report.points) + 1 and len([e for e in root.iter() if "polyline" in e.tag]) == 1
    plain = ElementTree.fromstring(draw(quantized().report, "digits"))
    assert not [e for e in plain.iter() if "polyline" in e.tag]


def test_a_budget_of_error_that_no_bits_keep_is_a_fault():
    found = quantized(settings={"bits": "1", "edge_bits": "2", "max_error": 60.0})
    assert "less than 60" in found.report.faults[0]


def test_a_budget_of_bytes_is_kept():
    free = quantized(settings={"bits": "1"})
    budget = free.report.bytes_after + 2000
    found = quantized(settings={"bits": "1", "max_bytes": budget})
    assert free.report.bytes_after < found.report.bytes_after <= budget
    assert found.report.task.sqnr_db > free.report.task.sqnr_db
    with pytest.raises(OptionError, match=r"take \d+ bytes with the fewest bits"):
        quantized(settings={"bits": "1", "max_bytes": 100})


def test_the_search_gives_bits_where_they_tell():
    class Option:
        def __init__(self, nbytes, noise):
            self.nbytes, self.noise = nbytes, noise

    layers = [[Option(10, 0.5), Option(20, 0.1)], [Option(10, 0.2), Option(20, 0.19)]]
    assert [p.choice for p in path(layers)] == [(0, 0), (1, 0), (1, 1)]
    costly = [[Option(10, 0.5), Option(12, 0.4), Option(50, 0.0)], [Option(10, 0.2), Option(13, 0.19)]]
    assert [p.choice for p in path(costly, 25)] == [(0, 0), (1, 0), (1, 1)]
    assert [p.choice for p in path(costly, 24)] == [(0, 0), (1, 0)]


def test_the_search_goes_by_what_the_outputs_tell():
    """Of two layers alike, that whose products hardly count keeps the fewest bits."""
    r = np.random.default_rng(3)
    inits = {n: r.standard_normal((64, 64)) for n in ("loud", "faint")} | {"eye": np.eye(64), "s": np.array(0.01)}
    nodes = [
        h.make_node("MatMul", ["x", "eye"], ["e"], "first"),
        h.make_node("MatMul", ["e", "loud"], ["a"], "loud"), h.make_node("MatMul", ["e", "faint"], ["b"], "faint"),
        h.make_node("Mul", ["b", "s"], ["c"]), h.make_node("Add", ["a", "c"], ["z"]),
        h.make_node("MatMul", ["z", "eye"], ["y"], "last"),
    ]  # fmt: skip
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", 64])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", 64])],
        [nh.from_array(a.astype(np.float32), n) for n, a in inits.items()],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8).SerializeToString()
    settings = Settings("2", edge_bits="float", max_error=20.0, smallest=1)
    x = r.standard_normal((256, 64)).astype(np.float32)
    found = quantize(model, data=x, settings=settings, limits=Limits(0, 0, 1))
    bits = {row.name: float(row.bits) for row in found.report.rows}
    assert found.report.task.sqnr_db >= 20 and bits["faint"] == 2 < bits["loud"]


def test_a_bad_model_is_not_written(tmp_path):
    found = quantized(settings={"bits": "1", "edge_bits": "1", "smallest": 1, "method": "nearest"}, limits=Limits())
    path = tmp_path / "out.onnx"
    with pytest.raises(QualityError, match="top-1 falls from") as e:
        found.save(path)
    assert "--force" in str(e.value) and not path.exists()
    found.save(path, force=True)
    assert path.exists()


def test_the_loss_is_the_cross_entropy_of_the_labels():
    _, _, test, labels = digits.data()
    task = quantized(settings={"bits": "1"}).report.task
    with Model.load(digits.model()).create_session() as session:
        scores = session.run(test)[0].astype(np.float64)
    chances = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    expected = -np.log2(chances[np.arange(len(labels)), labels]).mean()
    assert task.loss_before == pytest.approx(expected, rel=1e-5) and task.loss_after > task.loss_before
    assert cross_entropy(chances, labels) == pytest.approx(expected * len(labels), rel=1e-5)
    assert np.isnan(cross_entropy(chances, labels + 10))


def test_without_labels_agreement_counts():
    found = quantized(labels=None, settings={"bits": "1", "edge_bits": "1"}, limits=Limits(0, 1.0, 0))
    (fault,) = found.report.faults
    assert "the best class is the original's in" in fault
    assert found.report.task.before is None


def test_without_data_inputs_are_made_up_and_it_is_said():
    found = quantized(data=None, test=None, labels=None, settings={"bits": "8"}, limits=Limits(0, 1.1, 0))
    assert not found.report.faults
    assert found.report.task.made_up and row(found, "layer1").method == "nearest"
    assert any("made up" in n for n in found.report.notes())


@pytest.mark.parametrize(
    ("settings", "words"),
    [({"bits": "3"}, "is not one of"), ({"group": 48}, "power of two"), ({"bits": "4", "planes": 2}, "ternary"),
     ({"method": "best"}, "is not one of"), ({"max_error": 1.0, "max_bytes": 1}, "two budgets"),
     ({"edge_bits": "7"}, "is not one of"), ({"skip": ["layer9"]}, "did you mean"),
     ({"smallest": 10**9}, "no layer can be quantised")],
)  # fmt: skip
def test_settings_that_cannot_be(settings, words):
    with pytest.raises(OptionError, match=words):
        quantized(settings=settings)


def test_what_needs_data_says_so():
    for settings in ({"method": "gptq"}, {"max_error": 20.0}):
        with pytest.raises(OptionError, match="needs inputs"):
            quantized(data=None, settings=settings)


def test_labels_that_do_not_fit():
    with pytest.raises(InputError, match="499 labels, and 500 rows"):
        quantized(labels=digits.data()[3][1:])
    with pytest.raises(InputError, match="not whole numbers"):
        quantized(labels=np.ones(500))


def test_inputs_that_are_not_finite():
    x = digits.data()[0].copy()
    x[3, 5] = np.nan
    with pytest.raises(InputError, match=r"%x, which goes into 'layer0', is NaN"):
        quantized(data=x)


def graph_of(nodes, inits, k=64):
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", k])], [h.make_tensor_value_info("y", T.FLOAT, None)],
        [nh.from_array(a, n) for n, a in inits.items()],
    )  # fmt: skip
    made = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    return Model.load(made.SerializeToString()).ir.graph


@pytest.mark.parametrize(
    ("nodes", "dtype", "reason"),
    [
        ([("MatMul", ["x", "w"], {})], np.float64, "float64"),
        ([("Gemm", ["x", "w"], {"transA": 1})], np.float32, "transA"),
        ([("Gemm", ["x", "w", "x"], {})], np.float32, "bias is not constant"),
        ([("MatMul", ["x", "w"], {}), ("Gather", ["w", "i"], {})], np.float32, "uses the weights too"),
    ],
)
def test_layers_that_are_left_alone_say_why(nodes, dtype, reason):
    w = np.ones((64, 64), dtype)
    made = [h.make_node(op, given, ["y" if i == 0 else f"z{i}"], **a) for i, (op, given, a) in enumerate(nodes)]
    layers, skipped = find_layers(graph_of(made, {"w": w, "i": np.zeros(1, np.int64)}))
    assert not layers and reason in skipped[0].reason


def test_transposed_weights_are_found():
    w = np.random.default_rng(0).standard_normal((48, 64)).astype(np.float32)
    nodes = [h.make_node("Transpose", ["w"], ["t"], perm=[1, 0]), h.make_node("MatMul", ["x", "t"], ["y"])]
    (layer,), _ = find_layers(graph_of(nodes, {"w": w}))
    np.testing.assert_array_equal(layer.w, w)


def test_the_original_is_left_as_it_is():
    model = Model.load(digits.model())
    before = str(model.graph)
    quantized(model=model)
    assert str(model.graph) == before
