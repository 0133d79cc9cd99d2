"""The course of a session on a small pair, the picture of it, and System 2's views of a digit."""

from __future__ import annotations

from xml.etree import ElementTree

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

import ronn
import ronn_hrm as hrm
from examples.system1_system2 import digits, picture
from examples.system1_system2.course import WINDOW, Lengths, Pair, travel


def linear(weight: np.ndarray) -> ronn.Session:
    graph = helper.make_graph(
        [helper.make_node("MatMul", ["x", "w"], ["scores"])], "linear",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, len(weight)])],
        [helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, weight.shape[1]])],
        [numpy_helper.from_array(weight.astype(np.float32), "w")],
    )  # fmt: skip
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return ronn.Session(model, options={"threads": 1})


@pytest.fixture
def pair() -> Pair:
    """Points in three sectors: the expensive model knows them, the cheap one nearly; a change turns them."""
    rng = np.random.default_rng(0)
    right = np.concatenate([np.eye(3), np.zeros((1, 3))])
    points = rng.normal(size=(6000, 4)).astype(np.float32)
    turned = np.ascontiguousarray(points[:, [3, 0, 1, 2]]) * 3
    return Pair(
        "points", linear(right + rng.normal(size=(4, 3)) * 0.1), linear(right),
        lambda i, changed: {"x": (turned if changed else points)[i % 6000][None]},
        lambda i: int((points[i % 6000] @ right).argmax()), "axes are exchanged", hrm.FromInput("x"), (1, 2), alpha=0.1,
    )  # fmt: skip


def test_the_course_has_its_parts_and_counts_every_request_once(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(hrm.EpisodicStore, "key", property(lambda store: bytes(32)))  # the same coin each time
    course = travel(pair, Lengths(400, 100, 150, 600), lambda text: None)
    assert [p.name for p in course.parts] == [
        "cold start", "as usual", "change, guard", "before sleep", "after sleep"
    ]  # fmt: skip
    for part in course.parts:
        assert part.requests == sum(part.paths.values()) == len(part.seconds)
        assert part.runs >= part.paths["full"] - 1e-9
    cold, usual = course.parts[:2]
    assert cold.agree == cold.requests, "System 2 answered, or what it said before"
    assert cold.certified > 0 and usual.share("fast") > 0.3 and usual.of(usual.agree) >= 0.9
    assert course.requests == sum(p.requests for p in course.parts)
    assert all(w["requests"] == WINDOW for w in course.windows[:-1])
    happened = [what for _, what in course.events]
    assert "certified" in happened and "change" in happened and happened.count("sleep") == 2
    drawn = ElementTree.fromstring(picture.draw([course, course]))
    texts = [e.text for e in drawn.iter("{http://www.w3.org/2000/svg}text")]
    assert texts.count("change") == 2 and "points: who answered" in texts
    space = "{http://www.w3.org/2000/svg}"
    rects = [r for r in drawn.iter(f"{space}rect") if r.find(f"{space}title") is not None]
    assert sum(float(r.get("width", 0)) * float(r.get("height", 0)) for r in rects) == pytest.approx(
        2 * picture.HEIGHT * (picture.WIDTH - picture.LEFT - picture.RIGHT), rel=0.02
    )


def test_the_expensive_network_takes_the_mean_over_its_views() -> None:
    rng = np.random.default_rng(0)
    weight, bias = rng.normal(size=(784, 10)).astype(np.float32), rng.normal(size=10).astype(np.float32)
    x = rng.random((1, 784), np.float32)
    table = digits.views()
    assert table.shape == (15, 784) and (table == np.arange(784)).all(axis=1).sum() == 1, "one view is the digit itself"
    seen = np.append(x[0], np.float32(0))[table]
    with ronn.Session(digits.full_model([(weight, bias)])) as session:
        assert session.run(x)["scores"] == pytest.approx((seen @ weight + bias).mean(axis=0)[None], rel=1e-4, abs=1e-4)
