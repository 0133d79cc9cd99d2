"""Models in int8: what they lose, what they are made of, and that other runtimes read them the same."""

from __future__ import annotations

import json
from collections import Counter
from functools import cache

import numpy as np
import onnx
import onnxruntime
import pytest
from digit_nets import digits, mobile, residual
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn.errors import InputError, OptionError
from ronn.model import Model
from ronn_provider_npu.quantize import Limits, QualityError, Scheme, Settings, kept, quantize
from ronn_provider_npu.quantize.quantizer import prepare
from ronn_provider_npu.quantize.ranges import METHODS, range_of
from ronn_provider_npu.quantize.rounding import moments, rounded
from ronn_provider_npu.quantize.scheme import ACTIVATIONS, bias_of, params_of, weights_of
from ronn_provider_npu.quantize.steps import analyse

FLOATS = st.floats(-1e6, 1e6, width=32)
QUICK = Settings(method="mse", bias_correction=True, equalise=False, rounding="nearest")


def data():
    """Digits to calibrate with, others to test with, and their classes."""
    (x, _), (test, classes) = digits()
    return x[:160], test[:400], classes[:400]


@cache
def made(model, *, labels=True, **given):
    x, test, classes = data()
    return quantize(
        model, x, test=test, labels=classes if labels else None, settings=Settings(**{**vars_of(QUICK), **given})
    )


def vars_of(s):
    names = ("method", "bias_correction", "equalise", "rounding")
    return {name: getattr(s, name) for name in names}


def outputs(path, x):
    """What ONNX Runtime and RONN give."""
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    name = session.get_outputs()[0].name
    return session.run([name], {"x": x})[0], np.asarray(ronn.Session(path).run({"x": x})[name])


# --- scales


@given(FLOATS, FLOATS, st.sampled_from(ACTIVATIONS), hnp.arrays(np.float32, 20, elements=FLOATS))
def test_numbers_in_a_range_are_off_by_half_a_step_and_zero_is_met(a, b, activations, x):
    low, high = min(a, b, 0.0), max(a, b, 0.0)
    p = params_of(low, high, Scheme(activations))
    inside = np.clip(x, np.float32(low), np.float32(high))
    # Ends lie up to half a step outside, where the zero point is rounded.
    assert np.abs(p.real(p.quantise(inside)) - inside).max() <= p.scale * 1.01
    assert p.real(p.quantise(np.zeros(1)))[0] == 0
    assert p.zero == 0 or activations != "int8-symmetric"
    assert p.scale == np.float32(p.scale) > 0


@given(FLOATS, FLOATS, st.sampled_from(ACTIVATIONS), hnp.arrays(np.float32, 30, elements=FLOATS))
@settings(max_examples=30, deadline=None)
def test_bytes_are_those_of_quantize_linear(a, b, activations, x):
    p = params_of(min(a, b), max(a, b), Scheme(activations))
    zero = np.array(p.zero, p.dtype)
    graph = h.make_graph(
        [
            h.make_node("QuantizeLinear", ["x", "s", "z"], ["q"]),
            h.make_node("DequantizeLinear", ["q", "s", "z"], ["y"]),
        ],
        "g", [h.make_tensor_value_info("x", T.FLOAT, [30])],
        [h.make_tensor_value_info("q", T.UINT8 if p.dtype == np.uint8 else T.INT8, [30]),
         h.make_tensor_value_info("y", T.FLOAT, [30])],
        [nh.from_array(np.float32(p.scale), "s"), nh.from_array(zero, "z")],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    found = ronn.Session(model, providers=["reference"]).run({"x": x})
    assert np.array_equal(found["q"], p.quantise(x))
    assert np.array_equal(found["y"], p.real(p.quantise(x)))


@given(
    hnp.arrays(np.float32, (3, 4, 2), elements=st.floats(-100, 100, width=32)),
    hnp.arrays(np.float32, 3, elements=st.floats(-1e4, 1e4, width=32)), st.floats(1e-6, 10), st.booleans(),
)  # fmt: skip
def test_weights_are_off_by_half_a_step_and_biases_fit(w, bias, x_scale, per_channel):
    found = weights_of(w, Scheme(per_channel=per_channel), bias, x_scale)
    assert found.codes.dtype == np.int8
    assert found.codes.min() >= -127
    assert found.scale.shape == ((3,) if per_channel else (1,))
    scale = found.scale.reshape(-1, 1, 1)
    assert (np.abs(found.real() - w) <= scale * 0.5001).all()
    steps = bias_of(bias, found, x_scale)
    assert steps.dtype == np.int32
    unit = np.float64(x_scale) * found.scale
    assert (np.abs(steps * unit - bias) <= unit * 0.5001 + np.abs(bias) * 1e-6).all()


@given(
    st.sampled_from(ACTIVATIONS),
    st.integers(0, 99),
    st.sampled_from([500, 20000]),
    st.floats(0, 50),
    st.floats(-9, 9),
)
@settings(max_examples=20, deadline=None, derandomize=True)
def test_no_range_has_a_much_smaller_error_than_that_by_least_error(activations, seed, count, outlier, middle):
    x = (np.random.default_rng(seed).standard_normal(count) + middle).astype(np.float32)
    x[0] = outlier

    def error(method):
        p = range_of(x, Scheme(activations), method)
        return float(np.square(p.real(p.quantise(x)) - x).mean())

    assert error("mse") <= 1.25 * min(error(m) for m in METHODS) + 1e-12


def test_percentiles_and_entropy_cut_outliers_off():
    x = np.random.default_rng(0).standard_normal(50000).astype(np.float32)
    x[:2] = 60, -40
    tops = {m: range_of(x, Scheme(), m).every().max() for m in METHODS}
    assert tops["minmax"] > 59
    assert all(3 < tops[m] < 10 for m in ("percentile", "entropy"))


def test_a_range_is_that_of_what_a_function_shows():
    x = np.random.default_rng(0).uniform(-50, 5, 10000).astype(np.float32)
    seen = range_of(x, Scheme(), "mse", [lambda v: np.maximum(v, 0)])
    assert seen.every().min() > -10
    assert seen.every().max() > 4.5


# --- models


@pytest.mark.parametrize(
    ("net", "activations"), [(mobile, "uint8"), (residual, "uint8"), (residual, "int8"), (mobile, "int8-symmetric")]
)
def test_networks_keep_their_answers_and_run_on_bytes_alone(net, activations, tmp_path):
    found = made(net()) if activations == "uint8" else made(net(), scheme=Scheme(activations))
    report = found.report
    assert report.kept == ()
    assert report.task.agreement >= 0.98
    assert report.task.before - report.task.after <= 0.01
    assert not report.faults
    found.save(path := tmp_path / "int8.onnx")
    ops = Counter(n.op_type for n in onnx.load(path).graph.node)
    assert ops["QuantizeLinear"] == ops["DequantizeLinear"] == 1
    assert not set(ops) & {"Conv", "Gemm", "MatMul", "Add", "Relu", "HardSwish", "BatchNormalization"}
    theirs, ours = outputs(path, data()[1])
    # Requantisation may round a sum in the middle the other way, and layers behind carry that on.
    assert np.abs(theirs - ours).max() <= 0.06 * np.abs(theirs).max()
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).mean() > 0.99


@pytest.mark.parametrize("net", [mobile, residual])
def test_qdq_says_the_same_as_operators_on_bytes(net, tmp_path):
    a, b = made(net()), made(net(), form="qdq")
    b.save(path := tmp_path / "qdq.onnx")
    onnx.checker.check_model(path, full_check=True)
    x = data()[1]
    theirs, ours = outputs(path, x)
    (direct,) = a.session().run({"x": x}).values()
    assert (theirs.argmax(axis=1) == ours.argmax(axis=1)).mean() > 0.99
    assert (direct.argmax(axis=1) == ours.argmax(axis=1)).mean() > 0.99
    assert a.report.task.sqnr_db == pytest.approx(b.report.task.sqnr_db, abs=1.5)


def test_what_is_better_is_found_by_measure():
    x, test, _ = data()
    report = quantize(residual(1.0), x, test=test).report
    tried = {tuple(t.way.values()): t.sqnr_db for t in report.tried}
    assert {m for m, *_ in tried} == set(METHODS)
    assert len(tried) >= len(METHODS) + 3
    assert tried[tuple(report.way.values())] == max(tried.values())


def test_equalised_channels_lose_less():
    """Channels that differ by factors, which the next layer takes back, share one scale of activations."""
    r = np.random.default_rng(0)
    factors = np.exp(r.standard_normal(24) * 2).astype(np.float32)[:, None, None, None]
    weights = [
        r.standard_normal((24, 1, 3, 3)).astype(np.float32) * factors,
        r.standard_normal((24, 1, 3, 3)).astype(np.float32) / factors,
        r.standard_normal((8, 24, 1, 1)).astype(np.float32),
    ]
    nodes = [
        h.make_node("Conv", ["x", "w0"], ["a"], "first"), h.make_node("Relu", ["a"], ["b"]),
        h.make_node("Conv", ["b", "w1"], ["c"], "second", group=24), h.make_node("Conv", ["c", "w2"], ["y"], "third"),
    ]  # fmt: skip
    io = [[h.make_tensor_value_info(n, T.FLOAT, ["n", c, s, s])] for n, c, s in (("x", 1, 8), ("y", 8, 4))]
    graph = h.make_graph(nodes, "g", *io, [nh.from_array(w, f"w{i}") for i, w in enumerate(weights)])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()
    plain, equal = (made(model, labels=False, equalise=e).report for e in (False, True))
    assert equal.way["equalise"]
    assert equal.task.sqnr_db > plain.task.sqnr_db + 6
    assert quantize(model, data()[0]).report.way["equalise"]


@pytest.mark.parametrize("group", [1, 4])
def test_weights_that_make_up_for_each_other_lose_less(group):
    """Of a convolution whose inputs at one place hang together."""
    r = np.random.default_rng(0)
    x = r.standard_normal((64, 8, 1, 1)) * np.ones((1, 1, 6, 6)) + 0.1 * r.standard_normal((64, 8, 6, 6))
    w = (r.standard_normal((8, 8 // group, 3, 3)) ** 3).astype(np.float32)
    attributes = {"group": group, "pads": [1, 0, 1, 0], "strides": [1, 2], "dilations": [2, 1]}
    io = [[h.make_tensor_value_info(n, T.FLOAT, s)] for n, s in (("x", ["n", 8, 6, 6]), ("y", ["n", 8, 4, 2]))]
    graph = h.make_graph([h.make_node("Conv", ["x", "w"], ["y"], **attributes)], "g", *io, [nh.from_array(w, "w")])
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    feeds = [{"x": part.astype(np.float32)} for part in np.split(x, 4)]
    ir = prepare(Model.load(model).ir)
    analysis = analyse(ir.graph)
    (moment,) = moments(ir, analysis, feeds, lambda what, share: None).values()
    assert moment.shape == (group, 72 // group, 72 // group)
    nearest = weights_of(w, Scheme())
    codes = rounded(w, nearest.scale, moment)
    losses = []
    for some in (nearest.codes, codes):
        gap = (some * nearest.scale.reshape(-1, 1, 1, 1) - w).reshape(group, 8 // group, -1)
        losses.append(float(np.einsum("gok,gkl,gol->", gap, moment, gap)))
    assert losses[1] < losses[0] / 4
    assert np.abs(codes.astype(int) - nearest.codes).max() <= 8


def test_one_scale_for_all_weights_loses_more():
    wide = residual(1.0)
    channels, whole = (made(wide, scheme=Scheme(per_channel=p)).report.task.sqnr_db for p in (True, False))
    assert channels > whole + 2


def test_corrected_biases_take_back_the_average_error():
    """Weights of one sign, all rounded up, on inputs that are never negative."""
    w = np.full((1, 64), 0.7, np.float32)
    w[0, 0] = 127.4  # a step is 1.003: 0.7 becomes 1
    io = [[h.make_tensor_value_info(n, T.FLOAT, ["n", width])] for n, width in (("x", 64), ("y", 1))]
    constants = [nh.from_array(w, "w"), nh.from_array(np.ones(1, np.float32), "b")]
    graph = h.make_graph([h.make_node("Gemm", ["x", "w", "b"], ["y"], transB=1)], "g", *io, constants)
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    x = np.random.default_rng(0).uniform(0, 1, (64, 64)).astype(np.float32)
    x[:, 0] = 0.01
    off = {}
    for correct in (False, True):
        s = quantize(
            model, x, settings=Settings(method="minmax", bias_correction=correct, rounding="nearest")
        ).session()
        off[correct] = float(np.mean(s.run({"x": x})["y"] - (x @ w.T + 1)))
    assert off[False] > 3
    assert abs(off[True]) < 0.3


def test_what_stays_float_says_why(tmp_path):
    shape = ["n", 4, 6]
    nodes = [
        h.make_node("MatMul", ["x", "w"], ["a"], "product"),
        h.make_node("LayerNormalization", ["a", "g"], ["b"], "norm"),
        h.make_node("MatMul", ["b", "w"], ["c"], "left-out"), h.make_node("Tanh", ["c"], ["d"], "tanh"),
        h.make_node("Sub", ["d", "a"], ["y"], "difference"),
    ]  # fmt: skip
    r = np.random.default_rng(0)
    weights = [
        nh.from_array(r.standard_normal((6, 6)).astype(np.float32), "w"),
        nh.from_array(np.ones(6, np.float32), "g"),
    ]
    io = [[h.make_tensor_value_info(n, T.FLOAT, shape)] for n in ("x", "y")]
    model = h.make_model(h.make_graph(nodes, "g", *io, weights), opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    x = r.standard_normal((16, 4, 6)).astype(np.float32)
    found = quantize(model, x, settings=Settings(method="minmax", skip=["left-out"]), profile="edge-npu-8tops")
    reasons = {k.name: k.reason for k in found.report.kept}
    assert reasons == {
        "norm": "LayerNormalization has no int8 form", "left-out": "left out by name",
        "difference": "a difference of two values has no int8 form",
    }  # fmt: skip
    assert {k.op for k in found.report.outside} == {"LayerNormalization", "MatMul", "Sub"}
    found.save(path := tmp_path / "mixed.onnx")
    theirs, ours = outputs(path, x)
    assert np.allclose(theirs, ours, atol=1e-5)
    with pytest.raises(OptionError, match="did you mean 'left-out'"):
        quantize(model, x, settings=Settings(skip=["left_out"]))


def test_sequences_and_products_of_values(tmp_path):
    """Attention without its name: products of two values, a softmax inside, shapes that are computed."""
    r = np.random.default_rng(1)
    shape = ["n", "t", 8]
    nodes = [
        *(h.make_node("MatMul", ["x", w], [w[1]], f"to_{w[1]}") for w in ("wq", "wk", "wv")),
        h.make_node("Transpose", ["k"], ["kt"], perm=[0, 2, 1]), h.make_node("MatMul", ["q", "kt"], ["s"], "scores"),
        h.make_node("Div", ["s", "root"], ["r"], "scale"), h.make_node("Softmax", ["r"], ["p"], "softmax", axis=-1),
        h.make_node("MatMul", ["p", "v"], ["o"], "mix"), h.make_node("Add", ["o", "bias"], ["y"], "bias"),
    ]  # fmt: skip
    weights = [nh.from_array(r.standard_normal((8, 8)).astype(np.float32) / 2, w) for w in ("wq", "wk", "wv")]
    weights += [nh.from_array(np.float32(2.8), "root"), nh.from_array(r.standard_normal(8).astype(np.float32), "bias")]
    io = [[h.make_tensor_value_info(n, T.FLOAT, shape)] for n in ("x", "y")]
    model = h.make_model(h.make_graph(nodes, "g", *io, weights), opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    x = r.standard_normal((32, 5, 8)).astype(np.float32)
    found = quantize(model, x, settings=Settings(method="mse"))
    assert found.report.kept == ()
    assert found.report.task.sqnr_db > 20
    found.save(path := tmp_path / "attention.onnx", force=True)
    theirs, ours = outputs(path, x)
    assert np.abs(theirs - ours).max() < 0.1


def test_the_report_is_text_and_json():
    x, test, classes = data()
    report = quantize(mobile(), x, test=test, labels=classes, settings=QUICK, profile="tpu-128x128-int8").report
    told = json.loads(json.dumps(report.as_data()))
    assert len(told["steps"]) == len(report.rows) > 20
    assert all(s["sqnr_db"] > 5 for s in told["steps"])
    assert told["task"]["rows"] == len(test)
    assert told["float"] == []
    text = str(report)
    assert f"{report.task.agreement:.2%} of {len(test)} rows" in text
    assert "top-1" in text
    assert str(report.rows[0].name) in text


def test_data_that_are_held_out_are_not_calibrated_with():
    x, _, _ = data()
    report = quantize(residual(), x, settings=QUICK).report
    assert (report.runs, report.task.rows) == (15, 40)
    one = quantize(residual(), x[:8], settings=QUICK).report
    assert "what was calibrated with" in one.data


def test_wrong_uses_say_what_to_do(tmp_path):
    x, test, _ = data()
    with pytest.raises(OptionError, match="calibrate"):
        quantize(mobile(), None)
    with pytest.raises(InputError, match="NaN or infinite on the calibration data"):
        quantize(residual(), np.full((8, 1, 8, 8), np.nan, np.float32))
    with pytest.raises(OptionError, match="minmax, percentile, mse, entropy"):
        Settings(method="best")
    with pytest.raises(OptionError, match="int8-symmetric"):
        Scheme("int4")
    shape = h.make_graph(
        [h.make_node("Shape", ["x"], ["y"])], "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", 2])],
        [h.make_tensor_value_info("y", T.INT64, [2])],
    )  # fmt: skip
    with pytest.raises(OptionError, match="nothing can be quantised"):
        quantize(h.make_model(shape, opset_imports=[h.make_opsetid("", 17)], ir_version=9), x[:, 0, 0, :2])
    bad = quantize(mobile(), x[:16] * 0.01, test=test, settings=QUICK, limits=Limits(agreement=0.99))
    with pytest.raises(QualityError, match="was not written"):
        bad.save(tmp_path / "bad.onnx")
    assert not (tmp_path / "bad.onnx").exists()
    bad.save(tmp_path / "bad.onnx", force=True)
    assert (tmp_path / "bad.onnx").exists()


# --- sessions and commands


@pytest.fixture
def files(tmp_path, monkeypatch):
    """A float model and its data in files, in the current folder, and kept models in a folder of their own."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(kept, "models_folder", lambda: tmp_path / "kept")
    x, test, classes = data()
    (tmp_path / "float.onnx").write_bytes(residual())
    np.savez("calibration.npz", x=x)
    np.savez("test.npz", x=test)
    np.save("labels.npy", classes)
    return tmp_path


def test_a_session_with_calibration_data_is_quantised_and_keeps_the_model(files, caplog):
    x = data()[1]
    expected = ronn.Session("float.onnx").run({"x": x})
    options = {"profile": "edge-npu-8tops", "calibration": "calibration.npz"}
    for told in ("is quantised to int8 for profile edge-npu-8tops", "as kept in"):
        caplog.clear()
        with caplog.at_level("INFO", logger="ronn.providers"):
            session = ronn.Session("float.onnx", providers=[("npu", options), "cpu"])
            (found,) = session.run({"x": x}).values()
        assert any(told in r.getMessage() for r in caplog.records)
        (wanted,) = expected.values()
        assert (found.argmax(axis=1) == wanted.argmax(axis=1)).mean() > 0.98
        assert not np.array_equal(found, wanted)
        ops = {r.op for r in session.placement().rows}
        assert not ops & {"Conv", "Gemm", "FusedConv", "ronn::FusedConv"}
    (model,) = (files / "kept").iterdir()
    assert [f.path for f in kept.kept_files()] == [model]
    assert kept.problem(model) == ""
    model.write_bytes(b"cut off")
    assert kept.problem(model)
    ronn.Session("float.onnx", providers=[("npu", options), "cpu"]).run({"x": x[:8]})
    assert model.stat().st_size > 1000


def test_without_calibration_data_a_float_model_is_refused_with_the_way_out(files):
    with pytest.raises(ronn.PlacementError) as caught:
        ronn.Session("float.onnx", providers=[("npu", {"profile": "edge-npu-8tops"})])
    assert "ronn npu quantize" in str(caught.value)
    assert "calibration" in str(caught.value)


def test_calibration_is_left_alone_where_floats_are_multiplied(files):
    options = {"profile": "pocl-cpu", "calibration": "calibration.npz"}
    session = ronn.Session("float.onnx", providers=[("npu", options), "cpu"])
    session.run({"x": data()[1][:2]})
    assert not any("QLinear" in r.op for r in session.placement().rows)


def command(*arguments):
    from ronn.cli.app import run

    try:
        run(["npu", "quantize", *arguments])
    except SystemExit as e:
        return e.code or 0
    return 0


def test_the_command_writes_a_model_and_tells_what_it_costs(files, capsys):
    given = [
        "float.onnx",
        "--calibration",
        "calibration.npz",
        "--method",
        "mse",
        "--rounding",
        "nearest",
        "--test",
        "test.npz",
    ]
    assert command(*given, "--labels", "labels.npy", "--profile", "edge-npu-8tops", "-o", "int8.onnx") == 0
    out = capsys.readouterr().out
    assert "same best class" in out
    assert "wrote int8.onnx" in out
    assert any(n.op_type == "QLinearConv" for n in onnx.load("int8.onnx").graph.node)
    assert command(*given, "--form", "qdq", "--activations", "int8", "--json") == 0
    told = json.loads(capsys.readouterr().out)
    assert (told["form"], told["activations"], told["task"]["rows"]) == ("qdq", "int8", 400)
    assert command(*given, "-o", "int8.onnx") != 0
    assert "--overwrite" in capsys.readouterr().err
    assert command(*given, "--min-agreement", "1.1", "-o", "bad.onnx") == 4
    assert "was not written" in capsys.readouterr().err
