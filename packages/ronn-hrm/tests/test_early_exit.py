"""Early exits: the expensive model goes on from where the cheap one stopped, with the same bits."""

from __future__ import annotations

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
import ronn_hrm as hrm
from ronn.errors import InputError, OptionError
from ronn.provider import KernelProvider, kernel
from ronn_hrm.advise import advise, measure
from ronn_hrm.early_exit import EarlyExit
from ronn_hrm.errors import RoutingError
from ronn_hrm.fingerprint import fingerprint

CLASSES, SIDE = 4, 12


def weights(*shape):
    return (np.random.default_rng(sum(shape)).standard_normal(shape) / np.sqrt(np.prod(shape[1:]))).astype(np.float32)


def network(residual=False, mask=False, early=False) -> onnx.ModelProto:
    """f32 image [N, 1, 12, 12] (and mask [N, 8, 1, 1]) -> logits [N, 4]: two convolutions, with a residual around the
    second; ``early`` also gives the first one's peaks."""
    nodes = [
        h.make_node("Conv", ["image", "w1"], ["c1"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c1"], ["r1"]),
        h.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2, 2], strides=[2, 2]),
        h.make_node("Conv", ["p1", "w2"], ["c2"], kernel_shape=[3, 3], pads=[1, 1, 1, 1]),
        h.make_node("Relu", ["c2"], ["r2"]),
    ]
    last = "r2"
    if residual:
        nodes.append(h.make_node("Add", [last, "p1"], ["sum"]))
        last = "sum"
    if mask:
        nodes.append(h.make_node("Mul", [last, "mask"], ["masked"]))
        last = "masked"
    nodes += [h.make_node("Flatten", [last], ["flat"]), h.make_node("Gemm", ["flat", "w3"], ["logits"])]
    outputs = [h.make_tensor_value_info("logits", T.FLOAT, ["N", CLASSES])]
    if early:
        nodes.append(h.make_node("ReduceMax", ["r1"], ["peak"], axes=[2, 3], keepdims=0))
        outputs.append(h.make_tensor_value_info("peak", T.FLOAT, ["N", 8]))
    inputs = [h.make_tensor_value_info("image", T.FLOAT, ["N", 1, SIDE, SIDE])]
    if mask:
        inputs.append(h.make_tensor_value_info("mask", T.FLOAT, ["N", 8, 1, 1]))
    constants = {"w1": weights(8, 1, 3, 3), "w2": weights(8, 8, 3, 3), "w3": weights(8 * 36, CLASSES)}
    graph = h.make_graph(nodes, "g", inputs, outputs, [numpy_helper.from_array(a, n) for n, a in constants.items()])
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=8)


def feeds(count, mask=False, seed=1):
    rng = np.random.default_rng(seed)
    found = [{"image": rng.standard_normal((1, 1, SIDE, SIDE)).astype(np.float32)} for _ in range(count)]
    return [{**f, "mask": rng.random((1, 8, 1, 1), np.float32)} for f in found] if mask else found


def same(a, b):
    assert list(a.keys()) == list(b.keys())
    for name, value in a.items():
        assert value.tobytes() == b[name].tobytes(), name


@pytest.mark.parametrize("providers", [["reference"], ["cpu", "reference"]], ids=lambda p: p[0])
@pytest.mark.parametrize(
    "how", [{}, {"residual": True}, {"mask": True}, {"residual": True, "mask": True}, {"early": True}], ids=str
)
@pytest.mark.parametrize("at", ["r1", "p1", "c2", "r2"])
def test_going_on_gives_the_bits_of_the_whole(how, at, providers):
    model, (x,) = network(**how), feeds(1, how.get("mask", False))
    early = EarlyExit(model, at, providers=providers)
    first, carry = early.full.begin(x)
    assert first[at].shape[0] == 1
    resumed = early.full.resume(carry)
    same(resumed, early.full.run(x))
    crossing = [v.name for v in early.prefix.outputs]
    kept = ronn.Session(model, providers).run(x, trace=crossing)  # the whole, not fused across the cut either
    for name, value in resumed.items():
        assert value.tobytes() == kept[name].tobytes(), name
    whole = ronn.Session(model, providers).run(x)
    assert list(whole.keys()) == list(resumed.keys())
    for name, value in whole.items():
        np.testing.assert_allclose(resumed[name], value, rtol=1e-5, atol=1e-6)


def test_no_node_runs_twice_and_no_array_is_copied():
    ran = []

    class Counting(KernelProvider):
        name = "counting"

        @kernel("Relu", since=6)
        def relu(self, ctx, x):
            ran.append(x.shape[1:])
            return np.maximum(x, 0)

    from ronn.plugins import registry

    registry().add(Counting())
    try:
        how = {"providers": ["counting", "cpu", "reference"], "options": {"optimization": "none"}}
        early = EarlyExit(network(), "r1", **how).fit(feeds(20))
        (x,) = feeds(1)
        ran.clear()
        _, carry = early.fast.begin(x)
        assert ran == [(8, SIDE, SIDE)]
        early.full.resume(carry)
        assert ran == [(8, SIDE, SIDE), (8, SIDE // 2, SIDE // 2)]
        first, carry = early.full.begin(x)
        assert carry.feeds["r1"] is first["r1"]
        assert early.suffix.stats().copies_in == 0 == early.fast.head.stats().copies_in
    finally:
        registry().remove("counting")


def test_the_carry_outlives_later_runs():
    early = EarlyExit(network(residual=True), "r2").fit(feeds(20))
    a, b = feeds(2)
    expected = early.full.run(a)
    _, carry = early.fast.begin(a)
    for x in (b, a, b):
        early.fast.run(x)
        early.full.run(x)
    same(early.full.resume(carry), expected)


def test_outputs_before_the_cut_come_from_the_carry():
    early = EarlyExit(network(early=True), "p1")
    (x,) = feeds(1)
    _, carry = early.full.begin(x)
    assert list(early.full.resume(carry).keys()) == ["logits", "peak"]
    assert list(early.full.resume(carry, outputs=["peak"]).keys()) == ["peak"]
    assert list(early.full.run(x, outputs=["peak", "logits"]).keys()) == ["peak", "logits"]
    with pytest.raises(InputError, match="logit"):
        early.full.run(x, outputs=["logit"])


@pytest.mark.parametrize("kind", ["linear", "ternary"])
@pytest.mark.parametrize("pool", ["auto", "mean", "flat"])
def test_a_fitted_head_answers_as_the_model_more_often_than_chance(kind, pool):
    early = EarlyExit(network(), "r2").fit(feeds(300), kind=kind, pool=pool)
    fresh = feeds(200, seed=7)
    agree = np.mean([early.fast.run(x)["logits"].argmax() == early.full.run(x)["logits"].argmax() for x in fresh])
    assert agree > (0.8 if pool != "mean" and kind == "linear" else 0.33)
    (weight,) = (v.data for n, v in early.head.graph.initializers.items() if n == "head.weight")
    if kind == "ternary":
        assert all(len(np.unique(abs(column[column != 0]))) == 1 for column in weight.T)
    hidden = early.fast.run(fresh[0])["hidden"]
    assert hidden.shape == (1, 8 if pool == "mean" else 8 * 36) == (1, len(weight))


def test_the_same_samples_give_the_same_head():
    one, two = (EarlyExit(network(), "r1").fit(feeds(50)) for _ in range(2))
    assert fingerprint(one.fast) == fingerprint(two.fast)
    assert fingerprint(one.fast) != fingerprint(EarlyExit(network(), "r1").fit(feeds(60)).fast)
    assert fingerprint(one.full) == fingerprint(two.full) != fingerprint(EarlyExit(network(), "r2").full)


def test_probabilities():
    model = network()
    model.graph.node.append(h.make_node("Softmax", ["logits"], ["share"]))
    model.graph.output[0].name = "share"
    early = EarlyExit(model, "r2").fit(feeds(100), probabilities=True)
    found = early.fast.run(feeds(1, seed=9)[0])["share"]
    np.testing.assert_allclose(found.sum(), 1, rtol=1e-5)


def test_a_head_of_ones_own():
    mean = h.make_node("ReduceMean", ["r1"], ["m"], axes=[2, 3], keepdims=0)
    given = h.make_graph(
        [mean, h.make_node("Gemm", ["m", "w"], ["logits"])],
        "head",
        [h.make_tensor_value_info("r1", T.FLOAT, ["N", 8, SIDE, SIDE])],
        [h.make_tensor_value_info("logits", T.FLOAT, ["N", CLASSES])],
        [numpy_helper.from_array(weights(8, CLASSES), "w")],
    )
    head = h.make_model(given, opset_imports=[h.make_opsetid("", 17)], ir_version=8)
    early = EarlyExit(network(), "r1", head)
    assert early.fast.run(feeds(1)[0])["logits"].shape == (1, CLASSES)
    with pytest.raises(RoutingError, match=r"head takes 'r1', and the exit gives 'r2'\nhint: name"):
        EarlyExit(network(), "r2", head)
    head.graph.output[0].name = head.graph.node[1].output[0] = "other"
    with pytest.raises(RoutingError, match="head gives other, and the model logits"):
        EarlyExit(network(), "r1", head)


@pytest.mark.parametrize(
    ("call", "error", "said"),
    [
        (lambda: EarlyExit(network(), "r1").fast, RoutingError, r"exit at r1 has no head yet\nhint: fit"),
        (lambda: EarlyExit(network(), "r3"), OptionError, "no value 'r3' to cut at"),
        (lambda: EarlyExit(network(), "logits"), OptionError, "no output lies behind it"),
        (lambda: EarlyExit(network(), "r1").fit([]), OptionError, "nothing to fit the head to"),
        (lambda: EarlyExit(network(), "r1").fit(feeds(3)), OptionError, r"3 rows are too few .*\nhint: give 8"),
        (lambda: EarlyExit(network(), "r1").fit(feeds(9), kind="deep"), OptionError, "kind='deep'.*\nhint: one of"),
        (lambda: EarlyExit(network(), "r1").fit(feeds(9), pool="max"), OptionError, "pool='max'"),
        (lambda: EarlyExit(network(early=True), "r1").fit(feeds(9), output="maen"), (InputError, KeyError), "maen"),
        (lambda: EarlyExit(network(), "r1").full.run({"imag": 3}), InputError, "did you mean 'image'"),
        (lambda: EarlyExit(network(), ["r1", "p1"]), OptionError, "nothing behind the cut takes 'r1'"),
    ],
)  # fmt: skip
def test_what_cannot_be(call, error, said):
    with pytest.raises(error, match=said):
        call()


def test_a_session_escalates_from_the_exit():
    early = EarlyExit(network(), "r2").fit(feeds(200))
    runs = {"run": 0, "resume": 0}
    for name in runs:
        original = getattr(early.full, name)

        def counted(*given, _name=name, _original=original, **options):
            runs[_name] += 1
            return _original(*given, **options)

        setattr(early.full, name, counted)
    session = hrm.HRMSession(
        *early, task=hrm.Classification("logits"), policy=hrm.StaticThreshold(0.999999), audit=hrm.Audit(rate=0.0)
    )
    requests = feeds(40, seed=3)
    for x in requests:
        outputs, why = session.run(x, explain=True)
        if why.answered_by == "full":
            assert outputs["logits"].tobytes() == early.full.run(x)["logits"].tobytes()
    session.close()
    assert runs["resume"] > 0


def test_advice_knows_that_an_exit_is_gone_on_from():
    early = EarlyExit(network(), "r2").fit(feeds(50))
    measured = measure(early.fast, early.full, feeds(5), budget=0.05)
    assert measured.resume is not None and measured.rest == measured.resume
    assert measure(early.prefix, early.full, feeds(5), budget=0.05).resume is None
    # The prefix takes 60 of the model's 100 ms, the head 1: what is not escalated saves 40.
    exit = advise(0.061, 0.0, 0.1, 0.9, 0.05, runs=9, certified=True, resume=0.04)
    assert exit.pays and exit.saved == pytest.approx(1 - (0.061 + 0.15 * 0.04) / 0.1)
    assert exit.mean == pytest.approx(0.061 + 0.1 * 0.04) and exit.worst == pytest.approx(0.101)
    anew = advise(0.061, 0.0, 0.1, 0.9, 0.05, runs=9, certified=True)
    assert anew.saved == pytest.approx(0.9 - 0.05 - 0.61) and anew.worst == pytest.approx(0.161)
    assert anew == advise(0.061, 0.0, 0.1, 0.9, 0.05, runs=9, certified=True, resume=None)
    assert "40 ms of it behind the exit" in str(exit).replace(".0", "") and "behind the exit" not in str(anew)
    for share in np.linspace(0.0, 0.5, 11):
        less = advise(0.061, 0.0, 0.1, float(share), 0.05, runs=9, certified=True, resume=0.04)
        if not less.pays:
            enough = less.needs["share"]
            assert advise(0.061, 0.0, 0.1, enough + 1e-6, 0.05, runs=9, certified=True, resume=0.04).pays
            assert not advise(0.061, 0.0, 0.1, enough - 1e-6, 0.05, runs=9, certified=True, resume=0.04).pays
            cheaper = less.needs["fast_and_router"]
            if cheaper is not None:
                assert advise(cheaper - 1e-6, 0.0, 0.1, float(share), 0.05, runs=9, resume=0.04).pays
