"""Profiles of what a device did: each kernel by its own clock, transfers as rows of their own."""

import json

import numpy as np
from onnx import parser

import ronn
from ronn.plan.stop import running

TEXT = """<ir_version: 9, opset_import: ["" : 18]>
g (float[N] x) => (float[N] y) <int64 i = {0}> { a = Exp(x) b = CumSum(a, i) y = Neg(b) }"""
X = np.linspace(-1, 1, 200_000, dtype=np.float32)


def profile():
    return ronn.Session(parser.parse_model(TEXT), providers=["npu"]).profile(X, runs=3)


def test_kernels_and_transfers_have_rows(tmp_path):
    found = profile()
    names = [k.name for k in found.kernels]
    assert names[0] == "upload %x" and names[-1] == "download %y" and len(names) >= 4
    upload, download = found.kernels[0], found.kernels[-1]
    assert upload.nbytes == download.nbytes == X.nbytes and upload.ops == "Upload"
    assert all(k.seconds > 0 and k.kind == "native" for k in found.kernels)
    kernels = found.kernels[1:-1]
    assert {k.provider for k in kernels} == {"npu"}
    assert all(k.flops or k.nbytes for k in kernels)
    assert "CumSum" in "".join(k.ops for k in kernels)
    assert 0 < sum(k.seconds for k in found.kernels) <= found.wall * 20
    assert found.functions == 0 and found.python >= 0
    assert running.clock is None
    found.save(tmp_path / "p.html")
    assert "CumSum" in (tmp_path / "p.html").read_text()
    json.dumps(found.as_data())


def test_the_timeline_is_that_of_the_run():
    found = profile()
    order = [found.kernels[s.kernel].name for s in found.spans]
    assert order[0] == "upload %x" and order[-1] == "download %y"
    starts = [s.start for s in found.spans]
    assert starts == sorted(starts) and starts[0] > -1e-3
    assert found.spans[-1].start + found.spans[-1].seconds < 1
    shown = [e["name"] for e in found.trace()["traceEvents"] if e.get("ph") == "X"]
    assert set(order) <= set(shown)


def test_the_graph_has_the_nodes_of_the_device():
    found = profile()
    ops = [n.ops for n in found.graph]
    assert ops[0] == "Upload" and ops[-1] == "Download"
    assert "CumSum" in "+".join(ops)
    assert found.graph[-1].inputs == (len(ops) - 2,)
