"""Options about resources, limits before allocation, what a session holds and gives back, the quick way in."""

from __future__ import annotations

import gc
import os
import subprocess
import sys
import textwrap
import threading
import time
import weakref

import numpy as np
import pytest
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
import ronn.usage
from ronn.errors import InputError, MemoryLimitError, OptionError, RonnError
from ronn.plan.budget import parse_size
from ronn.plan.frame import make_arena
from ronn.plugins import registry
from ronn.provider import Call, CompiledPart, Provider, Yes

REFERENCE = ["reference"]


def model(nodes, inputs, outputs, weights=()):
    graph = h.make_graph(
        nodes,
        "g",
        [h.make_tensor_value_info(n, t, s) for n, t, s in inputs],
        [h.make_tensor_value_info(n, t, s) for n, t, s in outputs],
        [numpy_helper.from_array(a, n) for n, a in weights],
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()


def chain(n, size=None, weights=()):
    """Relu, Neg, Relu, ... of one input; each result lives in the arena but the last."""
    names = ["x", *(f"v{i}" for i in range(n))]
    nodes = [h.make_node(("Exp", "Neg")[i % 2], [names[i]], [names[i + 1]]) for i in range(n)]
    shape = ["N"] if size is None else [size]
    return model(nodes, [("x", T.FLOAT, shape)], [(names[-1], T.FLOAT, None)], weights)


# --- options


@pytest.mark.parametrize(
    ("text", "size"), [("512MB", 512 * 10**6), ("2 GiB", 2**31), ("1.5kb", 1500), (77, 77), ("100", 100), ("3B", 3)]
)
def test_sizes(text, size):
    assert parse_size(text) == size
    assert ronn.SessionOptions(memory_limit=text).memory_limit == size


@pytest.mark.parametrize(
    "bad",
    [
        {"memory_limit": "lots"},
        {"memory_limit": 0},
        {"memory_limit": "1 parsec"},
        {"memory_limit": True},
        {"threads": -1},
        {"threads": 1.5},
        {"precision": "float8"},
    ],
)
def test_values_that_options_cannot_have(bad):
    with pytest.raises(OptionError, match=next(iter(bad))):
        ronn.SessionOptions(**bad)


class Counting(Provider):
    """Takes everything, returns its inputs; counts what it compiles; remembers the options that it was given."""

    name = "counting"
    options = {"threads": 0, "precision": "float32", "colour": "red"}

    def __init__(self):
        self.seen = []
        self.closed = 0

    def supports(self, node, device):
        return Yes()

    def compile(self, part, device, options):
        self.seen.append(dict(options))

        def close():
            self.closed += 1

        return CompiledPart([Call(np.copy, n.inputs, n.outputs, (n,)) for n in part.nodes], close, compiles=3)


@pytest.fixture
def counting():
    provider = Counting()
    registry().add(provider)
    yield provider
    registry().remove("counting")


def test_providers_get_the_options_that_they_have(counting):
    m = chain(1)
    x = np.ones(2, np.float32)
    ronn.Session(m, providers=["counting"], options={"threads": 3, "precision": "bf16"}).run(x)
    assert counting.seen[-1] == {"threads": 3, "precision": "bf16", "colour": "red"}
    ronn.Session(m, providers=[("counting", {"threads": 1})], options={"threads": 3, "deterministic": True}).run(x)
    assert counting.seen[-1] == {"threads": 1, "precision": "float32", "colour": "red"}


def test_stats_count_runs_plans_and_compiles(counting):
    session = ronn.Session(chain(1), providers=["counting"], options={"plan_cache": 2})
    assert session.stats() == ronn.usage.Stats(0, 0, 0, 0)
    for n in (1, 2, 1, 1, 3, 4):
        session.run(np.ones(n, np.float32))
    stats = session.stats()
    assert (stats.runs, stats.plans, stats.planned, stats.compiles) == (6, 2, 4, 12)
    session.close()
    assert session.stats().runs == 6
    assert counting.closed == 4  # two when they were evicted, two by close


def test_runs_of_many_threads_are_all_counted():
    session = ronn.Session(chain(3, 4), providers=REFERENCE)
    threads = [
        threading.Thread(target=lambda: [session.run(np.ones(4, np.float32)) for _ in range(300)]) for _ in range(6)
    ]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert session.stats().runs == 1800


def test_plans_in_use_outlive_idle_ones():
    session = ronn.Session(chain(2), providers=REFERENCE, options={"plan_cache": 2})
    hot = np.ones(5, np.float32)
    session.run(hot)
    for n in range(6, 12):
        session.run(hot)  # by the quick way, which keeps no order
        session.run(np.ones(n, np.float32))
    assert session.stats().planned == 7


def test_plans_that_were_dropped_are_gone(adding):
    """Whoever ran a plan by the quick way does not keep it, nor lose count."""
    session = ronn.Session(chain(3), providers=["adding"], options={"plan_cache": 3})
    plans = weakref.WeakSet()
    rng = np.random.default_rng(0)
    for n in rng.integers(1, 20, 300):
        assert session.run(np.zeros(n, np.float32))[0].shape == (n,)
        plans.update(p for _, p in session._base.plans())
        assert len(session._seen) <= 3
    assert session.stats().runs == 300
    gc.collect()
    assert len(plans) == 3


# --- limits


class Adding(Provider):
    """Every node adds one to its first input, in memory that the plan gives it; ``wait`` is called before."""

    name = "adding"

    def __init__(self):
        self.wait = lambda x: None

    def supports(self, node, device):
        return Yes()

    def compile(self, part, device, options):
        def fn(x, *_, out=None):
            self.wait(x)
            return np.add(x, 1, out=out)

        return CompiledPart([Call(fn, n.inputs, n.outputs, (n,), into=True) for n in part.nodes])


@pytest.fixture
def adding():
    provider = Adding()
    registry().add(provider)
    yield provider
    registry().remove("adding")


def test_constants_beyond_the_limit_are_refused_when_the_session_is_made():
    nodes = [h.make_node("Add", ["x", "w"], ["y"])]
    m = model(nodes, [("x", T.FLOAT, ["N", 1])], [("y", T.FLOAT, None)], [("w", np.ones(50_000, np.float32))])
    with pytest.raises(MemoryLimitError, match=r"constants 200\.0 kB.*100\.0 kB(.|\n)*float32\[50000\]"):
        ronn.Session(m, providers=REFERENCE, options={"memory_limit": "100kB"})
    session = ronn.Session(m, providers=REFERENCE, options={"memory_limit": "1MB"})
    assert session.run(np.zeros((2, 1), np.float32))["y"].shape == (2, 50_000)
    with pytest.raises(MemoryLimitError, match=r"%y: f32\[20,50000\] needs 4\.0 MB, and memory_limit is 1\.0 MB"):
        session.run(np.zeros((20, 1), np.float32))
    assert session.run(np.zeros((2, 1), np.float32))["y"].shape == (2, 50_000)


def test_a_run_that_cannot_fit_is_refused_before_anything_is_allocated(adding, monkeypatch):
    made = []
    monkeypatch.setattr("ronn.plan.plan.make_arena", lambda size: made.append(size) or make_arena(size))
    session = ronn.Session(chain(4), providers=["adding"], options={"memory_limit": 1_000_000})
    session.run(np.ones(10, np.float32))
    made.clear()
    with pytest.raises(MemoryLimitError, match="memory_limit is 1"):
        session.run(np.ones(200_000, np.float32))
    assert made == []
    session.run(np.ones(10, np.float32))


def test_runs_at_once_stay_within_the_limit(adding):
    """Of two runs at once the second one is refused: the limit has room for one."""
    inside, go = threading.Event(), threading.Event()

    def wait(x):
        if x[0] == 1:
            inside.set()
            go.wait(20)

    adding.wait = wait
    n = 10_000
    session = ronn.Session(chain(3, n), providers=["adding"], options={"memory_limit": 170_000})
    results = []
    first = threading.Thread(target=lambda: results.append(session.run(np.ones(n, np.float32))))
    first.start()
    assert inside.wait(20)
    with pytest.raises(MemoryLimitError, match="other runs"):
        session.run(np.zeros(n, np.float32))
    go.set()
    first.join()
    assert results[0][0][0] == 4
    assert session.run(np.zeros(n, np.float32))[0][0] == 3


def test_idle_arenas_of_other_plans_make_room(adding):
    session = ronn.Session(chain(4), providers=["adding"], options={"memory_limit": 100_000})
    for n in range(5_000, 6_000, 100):
        session.run(np.ones(n, np.float32))
    memory = session.memory()
    assert memory.total <= 100_000 and len(memory.plans) == 10


# --- what is held, and given back


def test_memory_counts_each_array_once():
    w = np.arange(300, dtype=np.float32)
    nodes = [
        h.make_node("Add", ["x", "w"], ["a"]),
        h.make_node("Exp", ["a"], ["b"]),
        h.make_node("Mul", ["b", "w"], ["y"]),
    ]
    session = ronn.Session(
        model(nodes, [("x", T.FLOAT, ["N", 300])], [("y", T.FLOAT, None)], [("w", w)]), providers=REFERENCE
    )
    for n in (1, 4):
        session.run(np.zeros((n, 300), np.float32))
    memory = session.memory()
    assert memory.weights == w.nbytes and memory.packed == 0
    assert [p.signature for p in memory.plans] == ["f32[1,300]", "f32[4,300]"]
    assert memory.total == memory.weights + memory.arenas and memory.idle == memory.arenas
    assert "2 plans" in str(memory)


def test_trim_keeps_the_latest_plan_and_no_arena():
    session = ronn.Session(chain(4), providers=REFERENCE)
    for n in (100, 200, 300):
        session.run(np.ones(n, np.float32))
    session.trim()
    memory = session.memory()
    assert [p.signature for p in memory.plans] == ["f32[300]"] and memory.arenas == 0
    assert session.run(np.ones(100, np.float32))[0].shape == (100,)
    assert session.stats().runs == 4


RSS = """
    import gc, os, sys
    import numpy as np
    from onnx import TensorProto as T, helper as h, numpy_helper
    import ronn, ronn.provider
    gc.disable()

    def rss():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    class Filling(ronn.provider.Provider):
        name = "filling"

        def supports(self, node, device):
            return ronn.provider.Yes()

        def compile(self, part, device, options):
            def fn(*xs, out=None):
                out = np.empty((), np.float32) if out is None else out
                out[...] = 1
                return out
            calls = [ronn.provider.Call(fn, n.inputs, n.outputs, (n,), into=True) for n in part.nodes]
            return ronn.provider.CompiledPart(calls)

    from ronn.plugins import registry
    registry().add(Filling())
    side = 4000  # 64 MB a tensor
    nodes = [h.make_node("Add", ["x", "w"], ["a"]), h.make_node("Exp", ["a"], ["b"]), h.make_node("Exp", ["b"], ["c"]),
             h.make_node("ReduceSum", ["c"], ["y"], keepdims=0)]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, [side])],
                         [h.make_tensor_value_info("y", T.FLOAT, None)],
                         [numpy_helper.from_array(np.ones((side, side), np.float32), "w")])
    data = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()
    del graph, nodes
    x = np.ones(side, np.float32)
    start = rss()
    session = ronn.Session(data, providers=["filling"])
    session.run(x)
    held = rss()
    session.trim()
    trimmed = rss()
    session.run(x)
    session.close()
    print(held - start, trimmed - start, rss() - start, session.memory().total)
"""


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="asks the Linux kernel")
def test_memory_leaves_the_process():
    """An arena of 128 MB goes with trim(), the weights of 64 MB with close(); no garbage collection helps."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(RSS)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    held, trimmed, closed, total = map(float, done.stdout.split())
    assert held > 170
    assert trimmed < held - 100
    assert closed < 40
    assert total == 0


MANY = """
    import os
    import numpy as np
    from onnx import TensorProto as T, helper as h, numpy_helper
    import ronn

    def rss():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    weights = [numpy_helper.from_array(np.full((400, 400), i, np.float32), f"w{i}") for i in range(150)]
    names = ["x", *(f"v{i}" for i in range(150))]
    nodes = [h.make_node("Add", [names[i], f"w{i}"], [names[i + 1]]) for i in range(150)]
    graph = h.make_graph(nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, ["N", 400])],
                         [h.make_tensor_value_info(names[-1], T.FLOAT, None)], weights)
    data = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()
    del graph, nodes, weights
    start = rss()
    session = ronn.Session(data, providers=["reference"])
    session.run(np.zeros((1, 400), np.float32))
    held = rss()
    session.close()
    print(held - start, rss() - start)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="asks the Linux kernel")
def test_memory_in_small_pieces_leaves_the_process_too():
    """96 MB in 150 weights: pieces that the C library would keep for later."""
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(MANY)], capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    held, closed = map(float, done.stdout.split())
    assert held > 60
    assert closed < 0.4 * held


def test_a_model_of_the_callers_own_stays_whole():
    w = np.arange(3, dtype=np.float32)
    loaded = ronn.load(
        model([h.make_node("Add", ["x", "w"], ["y"])], [("x", T.FLOAT, [3])], [("y", T.FLOAT, None)], [("w", w)])
    )
    for _ in range(2):
        with ronn.Session(loaded, providers=REFERENCE) as session:
            np.testing.assert_array_equal(session.run(np.zeros(3, np.float32))[0], w)
    with pytest.raises(RonnError, match="closed"):
        session.run(np.zeros(3, np.float32))


def test_runs_in_progress_survive_close():
    w = np.full(1000, 2, np.float32)
    m = model([h.make_node("Mul", ["x", "w"], ["a"]), h.make_node("Mul", ["a", "w"], ["y"])], [("x", T.FLOAT, [1000])],
              [("y", T.FLOAT, None)], [("w", w)])  # fmt: skip
    wrong = []
    for _ in range(20):
        session = ronn.Session(m, providers=REFERENCE)
        session.run(np.ones(1000, np.float32))

        def work(session=session):
            try:
                while True:
                    if not (session.run(np.ones(1000, np.float32))[0] == 4).all():
                        wrong.append("numbers")
            except RonnError as e:
                if "closed" not in str(e):
                    wrong.append(str(e))

        threads = [threading.Thread(target=work) for _ in range(3)]
        for t in threads:
            t.start()
        session.close()
        for t in threads:
            t.join()
    assert wrong == []


def test_a_session_that_is_closed_while_others_plan_says_so():
    session = ronn.Session(chain(2), providers=REFERENCE)
    wrong = []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            while True:
                n = int(rng.integers(1, 1000))
                session.run(np.ones(n, np.float32), trace=["v0"] if n % 3 == 0 else [])
        except Exception as e:
            if not (isinstance(e, RonnError) and "closed" in str(e)):
                wrong.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(4)]
    for t in threads:
        t.start()
    time.sleep(0.3)
    session.close()
    for t in threads:
        t.join(60)
        assert not t.is_alive()
    assert wrong == []
    for use in (session.placement, lambda: session.run(np.ones(2, np.float32), trace=["v0"])):
        with pytest.raises(RonnError, match="closed"):
            use()


# --- the quick way


def two_inputs():
    nodes = [h.make_node("Add", ["a", "b"], ["s"]), h.make_node("Sub", ["a", "b"], ["d"])]
    return model(nodes, [("a", T.FLOAT, ["N"]), ("b", T.FLOAT, ["N"])], [("s", T.FLOAT, None), ("d", T.FLOAT, None)])


def test_every_form_of_input_does_the_same_again():
    session = ronn.Session(two_inputs(), providers=REFERENCE)
    a, b = np.array([5, 6], np.float32), np.array([1, 2], np.float32)
    for given in (
        {"a": a, "b": b},
        {"b": b, "a": a},
        [a, b],
        (a, b),
        [[5.0, 6.0], b],
        {"a": a[::1], "b": [1.0, 2.0]},
    ) * 2:
        out = session.run(given)
        np.testing.assert_array_equal(out["s"], [6, 8])
        np.testing.assert_array_equal(out["d"], [4, 4])
    assert session.stats().planned == 1


def test_checks_hold_for_inputs_like_those_seen():
    session = ronn.Session(two_inputs(), providers=REFERENCE)
    a = np.ones(2, np.float32)
    session.run([a, a])
    for bad, text in [
        ([a, a, a], "3 inputs"),
        ({"a": a}, "missing"),
        ({"a": a, "b": a, "c": a}, "no input 'c'"),
        ([a, np.ones(3, np.float32)], "dim 'N'"),
        ([a, a.astype(np.float64)], "float64"),
        ([a, a.astype(">f4")], "input 'b'"),
        ([a, a[None]], "rank"),
        (a, "1 inputs"),
    ]:
        with pytest.raises(InputError, match=text):
            session.run(bad)


def test_results_are_the_callers_own_again_and_again(adding):
    session = ronn.Session(chain(3, 3), providers=["adding"])
    x = np.zeros(3, np.float32)
    kept = [session.run(x)[0] for _ in range(20)]
    assert len({k.__array_interface__["data"][0] for k in kept}) == 20
    for k in kept:
        k[:] = 9
    assert session.run(x)[0][0] == 3


def test_subclasses_and_strided_arrays():
    session = ronn.Session(two_inputs())
    grid = np.arange(8, dtype=np.float32).reshape(4, 2)
    for _ in range(2):
        np.testing.assert_array_equal(session.run([grid[:, 0], grid[:, 1]])["s"], grid.sum(1))
        np.testing.assert_array_equal(session.run([grid[:, 0].view(np.ma.MaskedArray).data, grid[::-1, 1]])["d"][0], -7)
