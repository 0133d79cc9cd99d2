"""Runs that overlap, wait, time out and are stopped; large transfers beside kernels and through pinned buffers."""

import asyncio
import pickle
import threading

import numpy as np
import pytest
from npu_runs import one_node
from onnx import parser
from test_cache import kernel

import ronn
from ronn.errors import CancelledError, RunTimeoutError
from ronn_codegen.clike.kernel import over_items
from ronn_codegen.clike.launcher import Place
from ronn_provider_npu import discovery, queue
from ronn_provider_npu.launcher import OpenCLLauncher

TEXT = """<ir_version: 9, opset_import: ["" : 18]>
g (float[N] x) => (float[N] y, float[N] z) <int64 i = {0}> { a = Exp(x) b = CumSum(a, i) z = Neg(b) y = Abs(z) }"""
X = np.linspace(-1, 1, 3000, dtype=np.float32)


def session(providers=("npu",), **options):
    return ronn.Session(parser.parse_model(TEXT), providers=list(providers), options=options)


def check(outputs, x):
    want = np.cumsum(np.exp(x.astype(np.float64)))
    np.testing.assert_allclose(outputs["y"], want, rtol=1e-4)
    np.testing.assert_allclose(outputs["z"], -want, rtol=1e-4)


@pytest.mark.parametrize("staging", [0, 1 << 18, (1 << 18) + 7])
def test_large_transfers_go_beside_kernels(staging, monkeypatch):
    monkeypatch.setattr(queue, "LARGE", 1 << 10)
    launcher = OpenCLLauncher(discovery.usable()[0].device, staging=staging)
    q = launcher.queue()
    data = np.arange(300_000, dtype=np.float32)
    entry = launcher.build({"k": kernel(2).source("k", launcher.target)}, {"k": kernel(2).params})["k"]
    x, y = (Place(launcher.allocate(data.nbytes), 0, data.nbytes) for _ in range(2))
    launch = q.bind(entry, [x, y, data.size], over_items(data.size, launcher.target))
    for shift in (0, 1):
        back, given = np.empty_like(data), data + shift
        ticket = q.write(x, given)
        assert ticket is not None
        q.read(y, back, launch([ticket]))
        q.finish()
        np.testing.assert_array_equal(back, 2 * given)
    q.close()


def test_threads_share_a_session():
    s = session()
    failed = []

    def work(k):
        x = X + k
        for _ in range(5):
            try:
                check(s.run(x), x)
            except Exception as e:
                failed.append(e)

    running = [threading.Thread(target=work, args=(k,)) for k in range(4)]
    for t in running:
        t.start()
    for t in running:
        t.join()
    assert failed == []


def test_runs_can_be_awaited():
    s = session()

    async def both():
        return await asyncio.gather(*(s.run_async(X + k) for k in range(3)))

    for k, outputs in enumerate(asyncio.run(both())):
        check(outputs, X + k)


def test_a_stopped_run_ends_and_the_session_goes_on():
    s = session()
    s.run(X)
    stop = ronn.Stop()
    stop.set()
    with pytest.raises(CancelledError):
        s.run(X, stop=stop)
    with pytest.raises(RunTimeoutError):
        s.run(X, timeout=0)
    check(s.run(X), X)


def test_a_run_is_stopped_between_its_kernels(monkeypatch):
    s = session()
    s.run(X)
    stop, launched = ronn.Stop(), []
    bind = queue.OpenCLQueue.bind

    def counting(self, entry, arguments, grid):
        launch = bind(self, entry, arguments, grid)

        def counted(after):
            launched.append(entry.name)
            stop.set("enough")
            return launch(after)

        return counted

    monkeypatch.setattr(queue.OpenCLQueue, "bind", counting)
    s.trim()
    with pytest.raises(CancelledError, match="enough before it came to this node"):
        s.run(X, stop=stop)
    assert len(launched) == 1
    monkeypatch.undo()
    s.trim()
    check(s.run(X), X)


def test_outputs_that_no_kernel_makes():
    model = parser.parse_model(
        '<ir_version: 9, opset_import: ["" : 18]> g (float[2,3] x) => (float[6] y, float[3,2] z) '
        "<int64[1] s = {6}, int64[2] t = {3, 2}> { y = Reshape(x, s) z = Reshape(x, t) }"
    )
    x = np.arange(6, dtype=np.float32).reshape(2, 3)
    y, z = ronn.Session(model, providers=["npu"]).run(x)
    assert y.tolist() == x.reshape(-1).tolist() and z.tolist() == x.reshape(3, 2).tolist()


def test_sessions_travel_by_pickle():
    model, given = one_node("Relu", [np.array([-1, 2], np.float32)])
    s = ronn.Session(model, providers=["npu"])
    s.run(given)
    assert pickle.loads(pickle.dumps(s)).run(given)["y0"].tolist() == [0, 2]


def test_no_threads_of_ours_are_left():
    before = set(threading.enumerate())
    s = session()
    s.run(X)
    s.close()
    assert set(threading.enumerate()) <= before
