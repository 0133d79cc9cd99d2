"""The smallest files: layers as trits give what the ordinary files give, in fewer bytes."""

from __future__ import annotations

import digits
import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from ronn.errors import OptionError
from ronn_provider_bitnet.quantize import Limits, Settings, quantize


def quantized(model, settings, **more):
    return quantize(model, settings=Settings(smallest=1, **settings), limits=Limits(-1, 0, 1), **more)


@pytest.mark.parametrize(
    "settings",
    [{}, {"bits": "1"}, {"planes": 2}, {"edge_bits": "1.58"}, {"bits": "4"}],
    ids=["ternary", "binary", "planes", "edges", "no trits"],
)
def test_both_forms_give_the_same(settings, tmp_path):
    train, _, test, _ = digits.data()
    known = {"data": train, "test": test}
    small, plain = (quantized(digits.model(norms=True), {**settings, "form": f}, **known) for f in ("trits", "onnx"))
    small.save(tmp_path / "small.onnx")
    plain.save(tmp_path / "plain.onnx")
    ours, theirs = (
        ronn.Session(tmp_path / f"{n}.onnx", providers=["bitnet"]).run(test)[0] for n in ("small", "plain")
    )
    assert np.abs(ours - theirs).max() < 2e-4 * np.abs(theirs).max()
    fewer = plain.report.bytes_after - small.report.bytes_after
    assert fewer == 0 if settings.get("bits") == "4" else fewer > 0
    assert (tmp_path / "small.onnx").stat().st_size < (tmp_path / "plain.onnx").stat().st_size + 600


def linear(k=2048, n=2048, opset=21):
    w = np.random.default_rng(0).standard_normal((k, n)).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"], "body")], "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", k])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", n])], [nh.from_array(w, "w")],
    )  # fmt: skip
    return h.make_model(graph, opset_imports=[h.make_opsetid("", opset)], ir_version=10).SerializeToString()


@pytest.mark.parametrize(
    ("settings", "on_disk", "in_ram"),
    [({"bits": "1.58"}, 19.0, 15.5), ({"bits": "1"}, 19.0, 31.0)],
)
def test_bytes_of_a_body_with_its_scales(settings, on_disk, in_ram, tmp_path):
    model, x = linear(), np.random.default_rng(1).standard_normal((4, 2048)).astype(np.float32)
    found = quantized(model, {**settings, "edge_bits": settings["bits"], "form": "trits", "method": "nearest"}, data=x)
    path = tmp_path / "small.onnx"
    found.save(path)
    floats = 4 * 2048 * 2048
    assert floats / path.stat().st_size > on_disk
    with ronn.Session(path, providers=["bitnet"]) as session:
        session.run(x)
        assert [row.op for row in session.placement().rows] == ["ronn.bitnet::BitLinear"]
        assert floats / session.memory().packed > in_ram


def test_the_opset_must_have_such_scales():
    with pytest.raises(OptionError, match="is of opset 20"):
        quantized(linear(64, 64, opset=20), {"edge_bits": "1.58", "form": "trits", "group": 32})
    with pytest.raises(OptionError, match="form bytes"):
        Settings(form="bytes")
