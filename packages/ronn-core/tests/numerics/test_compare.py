"""``ronn.compare``: one model in two ways, two models matched by name and by structure, samples of many kinds."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.numerics.matching import family, match
from ronn.numerics.samples import Reading, read_samples, restore, save_arrays

RNG = np.random.default_rng(0)
W1, W2 = (RNG.standard_normal(s).astype(np.float32) for s in ((6, 16), (16, 12)))
X = RNG.standard_normal((5, 6)).astype(np.float32)


def save(path: Path, nodes: list[Any], weights: dict[str, np.ndarray], x: str = "x", y: str = "y") -> Path:
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info(x, T.FLOAT, ["n", 6])], [h.make_tensor_value_info(y, T.FLOAT, ["n", 12])],
        [numpy_helper.from_array(np.asarray(v), k) for k, v in weights.items()],
    )  # fmt: skip
    onnx.save(h.make_model(graph, opset_imports=[h.make_opsetid("", 18)], ir_version=9), path)
    return path


@pytest.fixture
def plain(tmp_path: Path) -> Path:
    """x [n, 6] -> MatMul, Relu, MatMul, Tanh -> y [n, 12]."""
    nodes = [
        h.make_node("MatMul", ["x", "w1"], ["h"], "first"), h.make_node("Relu", ["h"], ["r"], "middle"),
        h.make_node("MatMul", ["r", "w2"], ["z"], "second"), h.make_node("Tanh", ["z"], ["y"], "last"),
    ]  # fmt: skip
    return save(tmp_path / "plain.onnx", nodes, {"w1": W1, "w2": W2})


@pytest.fixture
def quantised(tmp_path: Path) -> Path:
    """The same with bytes between QuantizeLinear and DequantizeLinear, and other names."""
    scale, weights = np.float32(0.05), {}
    for name, w in (("w1", W1), ("w2", W2)):
        s = np.float32(np.abs(w).max() / 127)
        weights |= {f"{name}q": np.rint(w / s).astype(np.int8), f"{name}s": s}
    weights |= {"s": scale, "o": np.uint8(128), "wo": np.int8(0)}

    def there_and_back(name: str) -> list[Any]:
        return [
            h.make_node("QuantizeLinear", [name, "s", "o"], [name + "_q"]),
            h.make_node("DequantizeLinear", [name + "_q", "s", "o"], [name + "_d"]),
        ]

    nodes = [
        *there_and_back("x"),
        h.make_node("DequantizeLinear", ["w1q", "w1s", "wo"], ["k1"]),
        h.make_node("MatMul", ["x_d", "k1"], ["a"], "n1"), h.make_node("Relu", ["a"], ["b"], "n2"),
        *there_and_back("b"),
        h.make_node("DequantizeLinear", ["w2q", "w2s", "wo"], ["k2"]),
        h.make_node("MatMul", ["b_d", "k2"], ["c"], "n3"), h.make_node("Tanh", ["c"], ["out"], "n4"),
    ]  # fmt: skip
    return save(tmp_path / "quantised.onnx", nodes, weights, y="out")


def test_one_model_in_two_ways(plain: Path) -> None:
    found = ronn.compare(plain, data={"x": X}, providers_a=["reference"], seconds=0)
    assert found.equal and [s.letter for s in found.sides] == ["A", "B"] and found.samples == ["inputs"]
    assert [r.name for r in found.nodes] == ["h", "r", "z", "y"] and all(r.how == "name" for r in found.nodes)
    assert [r.node for r in found.nodes] == ["first", "middle", "second", "last"]
    assert all(r.spread.worst.max_abs < 1e-5 and r.spread.cosine == pytest.approx(1) for r in found.nodes)
    (row,) = found.outputs
    assert (row.letter, row.name, row.spread.argmax) == ("B", "y", 1.0) and found.sides[0].latency is None
    assert found.sides[0].file == plain.stat().st_size and found.sides[0].weights == W1.nbytes + W2.nbytes
    assert "within the tolerance" in str(found) and "passes none" in found.sides[1].name


def test_times_are_taken_in_turn(plain: Path) -> None:
    told = []
    found = ronn.compare(
        plain, data={"x": X}, providers_a=["reference"], nodes=False, seconds=0.1,
        progress=lambda text, share: told.append((text, share)),
    )  # fmt: skip
    assert found.nodes == []
    for side in found.sides:
        assert side.latency is not None and side.latency.runs >= 3
        assert 0 < side.latency.min_ms <= side.latency.median_ms <= side.latency.p95_ms
        assert side.memory is not None and side.memory >= W1.nbytes and side.load_ms > 0
    assert told[0][0] == "loading A" and [s for _, s in told] == sorted(s for _, s in told)


def test_a_quantised_model_is_matched_by_structure(plain: Path, quantised: Path) -> None:
    found = ronn.compare(plain, quantised, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0)
    pairs = {r.name: (r.other, r.how) for r in found.nodes}
    assert pairs["h"] == ("a", "structure") and pairs["z"] == ("c", "structure") and pairs["y"] == ("out", "structure")
    assert pairs["r"] == ("b_d", "structure")  # as it is used
    assert found.only_a == () and found.only_b == ()
    assert found.outputs[0].other == "out" and not found.equal
    errors = [r.spread.worst.max_abs / r.spread.worst.scale for r in found.nodes]
    assert all(0 < e < 0.2 for e in errors), errors
    loose = ronn.compare(
        plain, quantised, {"x": X}, providers_a=["reference"], providers_b=["reference"], rtol=0.2, seconds=0
    )
    assert loose.equal
    first = found.first_beyond()
    assert first is not None and first.node == "first"
    fallen = [f for f in found.sides[1].fallen if f.what == "dequantised"]
    assert [f.node for f in fallen] == ["n1", "n3"] and "%x_q" in fallen[0].reason


def test_what_has_no_counterpart_is_told(plain: Path, tmp_path: Path) -> None:
    nodes = [
        h.make_node("MatMul", ["x", "w1"], ["h"], "first"), h.make_node("Elu", ["h"], ["e"], "elu"),
        h.make_node("MatMul", ["e", "w2"], ["z"], "second"), h.make_node("Sigmoid", ["z"], ["y"], "other"),
    ]  # fmt: skip
    other = save(tmp_path / "other.onnx", nodes, {"w1": W1, "w2": W2})
    found = ronn.compare(plain, other, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0)
    assert found.only_a == ("middle",) and found.only_b == ("elu",)
    assert "not matched: 1 nodes of A alone: middle" in str(found) and not found.equal
    first = found.first_beyond()
    assert first is not None and first.name == "z"


def test_samples(plain: Path, tmp_path: Path) -> None:
    inputs = ronn.load(plain).inputs
    reading = Reading({"n": 2})

    def names(data: Any) -> list[str]:
        return [s.name for s in read_samples(data, inputs, reading)]

    folder = tmp_path / "data"
    folder.mkdir()
    np.savez(folder / "a.npz", x=X)
    np.save(folder / "b.npy", X[:1])
    (folder / "notes.txt").write_text("not data")
    assert names(folder) == ["a.npz", "b.npy"]
    assert names("random:2") == ["made up (seed 0)", "made up (seed 1)"]
    assert names([folder / "b.npy", "random"]) == ["b.npy", "made up (seed 0)"]
    assert names(f"x={folder / 'b.npy'}") == [f"x={folder / 'b.npy'}"]
    assert names({"x": X}) == names(X) == ["inputs"] and names([X, X[:2]]) == ["inputs 0", "inputs 1"]
    assert read_samples("random", inputs, reading)[0].feed["x"].shape == (2, 6)
    found = ronn.compare(plain, data=[folder, "random:2"], providers_a=["reference"], seconds=0)
    assert len(found.samples) == 4 and all(len(r.spread.found) == 4 for r in (*found.outputs, *found.nodes))
    cases = tmp_path / "case"
    for number in (0, 1):
        (cases / f"test_data_set_{number}").mkdir(parents=True)
        tensor = numpy_helper.from_array(X[number : number + 2])
        (cases / f"test_data_set_{number}" / "input_0.pb").write_bytes(tensor.SerializeToString())
    assert names(cases) == ["test_data_set_0", "test_data_set_1"]
    assert names(cases / "test_data_set_1") == ["test_data_set_1"]
    np.testing.assert_array_equal(read_samples(cases, inputs, reading)[1].feed["x"], X[1:3])
    for wrong, error in (("random:x", ronn.OptionError), (tmp_path / "no.npz", ronn.InputError)):
        with pytest.raises(error):
            read_samples(wrong, inputs, reading)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ronn.InputError, match="no inputs in"):
        read_samples(tmp_path / "empty", inputs, reading)


def test_arrays_that_numpy_lacks_are_written_and_read_back(tmp_path: Path) -> None:
    import ml_dtypes

    from ronn.ir.types import DType, TensorType
    from ronn.values import ValueInfo

    values = {
        "a": np.arange(3).astype(ml_dtypes.bfloat16), "b": np.arange(3).astype(ml_dtypes.int4),
        "c": np.ones(2, np.float16), "d": np.array(["x", "yz"], object),
    }  # fmt: skip
    save_arrays(tmp_path / "x.npz", values)
    infos = [ValueInfo(k, None, None, TensorType(DType.of(v.dtype), v.shape)) for k, v in values.items()]
    with np.load(tmp_path / "x.npz") as read:
        for name, value in values.items():
            again = restore(read[name], name, infos)
            assert again.tolist() == value.tolist() and (again.dtype == value.dtype or value.dtype == object)


def test_operators_on_bytes_have_families() -> None:
    for op, want in (("QLinearConv", "Conv"), ("ConvInteger", "Conv"), ("MatMulInteger", "MatMul"), ("QGemm", "Gemm"),
                     ("MatMulIntegerToFloat", "MatMul"), ("FusedConv", "Conv"), ("Relu", "Relu")):  # fmt: skip
        assert family(op) == want


def test_bytes_without_a_dequantisation_are_read_as_numbers(plain: Path, tmp_path: Path) -> None:
    nodes = [
        h.make_node("QuantizeLinear", ["x", "s", "o"], ["xq"]),
        h.make_node("QLinearMatMul", ["xq", "s", "o", "w1q", "w1s", "wo", "s", "o"], ["h_quantized"], "first"),
        h.make_node("QLinearMatMul", ["h_quantized", "s", "o", "w2q", "w2s", "wo", "s2", "o"], ["zq"], "second"),
        h.make_node("DequantizeLinear", ["zq", "s2", "o"], ["y"]),
    ]  # fmt: skip
    weights: dict[str, Any] = {"s": np.float32(0.1), "s2": np.float32(0.5), "o": np.uint8(128), "wo": np.int8(0)}
    for name, w in (("w1", W1), ("w2", W2)):
        scale = np.float32(np.abs(w).max() / 127)
        weights |= {f"{name}q": np.rint(w / scale).astype(np.int8), f"{name}s": scale}
    other = ronn.load(save(tmp_path / "q.onnx", nodes, weights))
    matching = match(ronn.load(plain).graph, other.graph)
    pair = next(p for p in matching.pairs if p.a == "h")
    assert (pair.b, pair.how) == ("h_quantized", "name") and pair.scale == np.float32(0.1)
    np.testing.assert_allclose(pair.as_number(np.array([128, 138], np.uint8)), [0, 1], atol=1e-6)


def test_wrong_arguments(plain: Path, tmp_path: Path) -> None:
    with pytest.raises(ronn.OptionError, match="did you mean 'onnxruntime'"):
        ronn.compare(plain, runtimes=["onnxruntme"])
    other = save(tmp_path / "o.onnx", [h.make_node("MatMul", ["input", "w"], ["y"])],
                 {"w": RNG.standard_normal((6, 12)).astype(np.float32)}, x="input")  # fmt: skip
    found = ronn.compare(plain, other, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0)
    assert found.outputs[0].name == "y"  # the only input of one is that of the other


def test_against_onnxruntime(plain: Path) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    found = ronn.compare(plain, data={"x": X}, providers_a=["reference"], runtimes=["onnxruntime"], seconds=0.05)
    assert found.equal and [s.letter for s in found.sides] == ["A", "B", "C"]
    assert "onnxruntime" in found.sides[2].name and found.sides[2].latency is not None
    assert [(r.letter, r.spread.equal) for r in found.outputs] == [("B", True), ("C", True)]
    assert ronn.bisect(plain, {"x": X}, providers=["reference"], against="onnxruntime").verdict == "equal"


def test_onnxruntime_tells_the_operator(plain: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    from ronn.providers import reference

    right = reference.node_function
    monkeypatch.setattr(
        reference, "node_function",
        lambda node: (lambda x: np.maximum(x, 0.1)) if node.op == "Relu" else right(node),
    )  # fmt: skip
    found = ronn.bisect(plain, {"x": X}, providers=["reference"], against="onnxruntime")
    assert found.verdict == "operators" and found.nodes == ("middle",), str(found)
    assert any("%h" in line for line in found.inputs)


def test_as_data_is_json(plain: Path, quantised: Path) -> None:
    found = ronn.compare(plain, quantised, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0)
    data = json.loads(json.dumps(found.as_data(), allow_nan=False))
    assert data["equal"] is False and {r["name"] for r in data["nodes"]} == {"h", "r", "z", "y"}
    assert data["sides"][1]["fallen"][0]["what"] == "dequantised"


def test_sides_stand_side_by_side(plain: Path, quantised: Path) -> None:
    found = ronn.compare(
        plain, quantised, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0.02, batch=8
    )
    a, b = found.sides
    agreement = found.agreement("B")
    assert agreement.same_class is not None and 0 <= agreement.same_class <= 1
    assert agreement.cosine == found.outputs[0].spread.cosine and agreement.snr_db == found.outputs[0].spread.snr_db
    assert a.latency is not None and a.throughput is not None and b.throughput is not None
    assert (a.latency.rows, a.throughput.rows, a.throughput.open) == (1, 8, True)
    assert b.throughput.per_second == pytest.approx(8 / b.throughput.seconds)
    assert a.packed is not None and a.memory is not None and a.packed <= a.memory
    told = str(found)
    for words in ("latency, 1 row", "throughput, 8 rows", "rows/s", "same class as A", "not measured"):
        assert words in told, words
    assert "x as fast)" in told or "x slower)" in told
    data = found.as_data()
    assert data["agreement"]["B"]["cosine"] == agreement.cosine
    assert data["sides"][1]["throughput"] == {"rows": 8, "per_second": b.throughput.per_second}


def test_a_batch_needs_an_open_axis(plain: Path) -> None:
    model = onnx.load(plain)
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 5
    found = ronn.compare(model, data={"x": X}, providers_a=["reference"], seconds=0.02, batch=8)
    assert found.sides[0].throughput is not None and not found.sides[0].throughput.open
    assert "fixes the first axis" in found.notes[0] and "runs/s" in str(found)
    with pytest.raises(ronn.OptionError, match="a batch of 0 rows"):
        ronn.compare(plain, batch=0)


def test_rows_are_repeated_along_the_open_axis() -> None:
    from ronn.ir.types import DType, TensorType
    from ronn.numerics.samples import Sample
    from ronn.numerics.timed import resized, rows_of
    from ronn.values import ValueInfo

    def info(name: str, *shape: int | str) -> ValueInfo:
        return ValueInfo(name, "float32", shape, TensorType(DType.FLOAT32, shape))

    inputs = [info("x", "n", 2), info("mask", "n"), info("table", "m", 2)]
    sample = Sample("s", {"x": np.arange(6).reshape(3, 2), "mask": np.arange(3), "table": np.zeros((4, 2))})
    made = resized(sample, inputs, 5)
    assert made.feed["mask"].tolist() == [0, 1, 2, 0, 1] and made.feed["x"][4].tolist() == [2, 3]
    assert made.feed["table"].shape == (4, 2) and rows_of(made.feed, inputs) == 5
    assert resized(sample, inputs, 1).feed["x"].tolist() == [[0, 1]]


def test_the_picture_has_each_side_and_each_value(plain: Path, quantised: Path) -> None:
    from xml.etree import ElementTree

    from ronn.numerics.comparison_picture import draw

    found = ronn.compare(
        plain, quantised, {"x": X}, providers_a=["reference"], providers_b=["reference"], seconds=0.02
    )
    svg = draw(found)
    root = ElementTree.fromstring(svg)
    circles = [e for e in root.iter() if e.tag.endswith("circle")]
    assert len(circles) == len(found.nodes) + len(found.outputs)
    words = " ".join(e.text or "" for e in root.iter() if e.tag.endswith("text"))
    for text in ("plain.onnx", "quantised.onnx", "latency", "throughput", "file", "cosine", "signal over error"):
        assert text in words, text
    bars = [e for e in root.iter() if e.tag.endswith("rect")]
    assert len(bars) >= 8 and all(float(e.attrib["width"]) > 0 for e in bars)
    quick = ronn.compare(plain, data={"x": X}, providers_a=["reference"], nodes=False, seconds=0)
    assert "latency" not in draw(quick)
