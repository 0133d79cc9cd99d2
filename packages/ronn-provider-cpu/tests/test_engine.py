"""The executor and its pool: every share runs once, threads change no bit, nothing hangs, nothing stays busy."""

from __future__ import annotations

import itertools
import multiprocessing
import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest
from native_support import latest_plan
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper

import ronn
from ronn.plan.stop import NEVER
from ronn_provider_cpu.compiling import native_library, unusable
from ronn_provider_cpu.engine.measure import ceilings, launch_costs
from ronn_provider_cpu.engine.native import engine
from ronn_provider_cpu.engine.pool import Launch, Pool

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())

SECONDS = float(os.environ.get("STRESS_SECONDS", "2"))
"""How long the long tests go on; 60 for a release."""


@pytest.fixture(scope="module")
def kernels():
    """Addresses of the kernels of ``engine_kernels`` by name."""
    made = native_library()
    if made.missing(["engine_kernels"]):
        made.build_here("engine_kernels")
    return lambda name: made.address("engine_kernels", name)


class Steps:
    """A list of steps, with the argument blocks that they need."""

    def __init__(self):
        self.rows, self.blocks = [], []

    def add(self, kernel, shares, *words):
        block = np.array(words, np.int64)
        self.blocks.append(block)
        self.rows.append((kernel, block.ctypes.data, shares))
        return self

    @property
    def array(self):
        return np.array(self.rows, np.int64).reshape(-1, 3)


def passing(kernels, length, shares, steps):
    """``steps`` steps in which each element comes from its neighbour; the buffers, and what is in the last one then."""
    buffers = [np.zeros(length, np.int64) for _ in range(steps + 1)]
    buffers[0][:] = np.arange(length)
    made = Steps()
    for source, sink in itertools.pairwise(buffers):
        made.add(kernels("pass_on"), shares, source.ctypes.data, sink.ctypes.data, length)
    return made, buffers, np.roll(np.arange(length), -steps) + steps


def whole(launch):
    """Runs all steps of a launch: it comes back in between from time to time."""
    step = launch()
    while step:
        step = launch(NEVER, step)


@pytest.mark.parametrize("threads", [1, 2, 3, 5])
@pytest.mark.parametrize("shares", [1, 2, 7, 40])
def test_every_share_runs_once_a_step(kernels, threads, shares):
    counts = np.zeros(shares, np.int64)
    made = Steps()
    for _ in range(50):
        made.add(kernels("count_shares"), shares, counts.ctypes.data)
    array = made.array
    for _ in range(20):
        engine(native_library(), threads).launch(array)
    # Alone, a thread may do a step as one share.
    assert counts.sum() == 50 * 20 * shares if threads > 1 else counts[0] == 1000


@pytest.mark.parametrize("threads", [1, 2, 4])
def test_what_a_step_writes_the_next_one_reads(kernels, threads):
    made, buffers, expected = passing(kernels, 64, 16, 400)
    launch = Launch(native_library(), made.array, threads)
    for _ in range(10):
        for buffer in buffers[1:]:
            buffer[:] = -1
        whole(launch)
        np.testing.assert_array_equal(buffers[-1], expected)


def test_many_short_runs(kernels):
    """Workers fall asleep and are woken at every moment of it."""
    counts = np.zeros(2, np.int64)
    made = Steps().add(kernels("count_shares"), 2, counts.ctypes.data)
    launch = Launch(native_library(), made.array, 2)
    rng = np.random.default_rng(0)
    pauses = rng.choice([0, 0, 0, 2e-5, 6e-5, 1e-4], 3000)
    for pause in pauses:
        whole(launch)
        end = time.perf_counter() + pause
        while time.perf_counter() < end:
            pass
    assert list(counts) == [3000, 3000]


def test_python_threads_share_the_pool(kernels):
    wrong = []
    until = time.monotonic() + SECONDS

    def work(seed):
        made, buffers, expected = passing(kernels, 32, 3 + seed, 60)
        launch = Launch(native_library(), made.array, 1 + seed % 4)
        while time.monotonic() < until:
            buffers[-1][:] = -1
            whole(launch)
            if not np.array_equal(buffers[-1], expected):
                wrong.append(seed)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(SECONDS + 60)
        assert not t.is_alive()
    assert not wrong


def test_a_pool_can_be_stopped(kernels):
    own = Pool(native_library())
    counts = np.zeros(3, np.int64)
    made = Steps().add(kernels("count_shares"), 3, counts.ctypes.data)
    own.run(made.array, 3, None)
    assert list(counts) == [1, 1, 1] and len(own._threads) == 2
    own.stop()
    assert not any(t.is_alive() for t in own._threads)


def test_a_pool_without_threads_does_everything_itself(kernels, monkeypatch):
    def refuse(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threading.Thread, "start", refuse)
    own = Pool(native_library())
    counts = np.zeros(5, np.int64)
    made = Steps().add(kernels("count_shares"), 5, counts.ctypes.data)
    own.run(made.array, 4, None)
    assert list(counts) == [1] * 5 and not own._threads


def test_a_clock_takes_times_in_order(kernels):
    runs = engine(native_library(), 2)
    made = Steps()
    for _ in range(5):
        made.add(kernels("nothing"), 2, 0)
    clock = np.zeros(6, np.int64)
    runs.launch(made.array, clock)
    assert (np.diff(clock) >= 0).all() and clock[0] > 0
    assert 1e-11 < runs.tick < 1e-8
    assert (clock[-1] - clock[0]) * runs.tick < 1


# --- sessions


def network(seed=0, width=96, layers=4):
    """Matrix products with activations between them, large enough to be shared out."""
    rng = np.random.default_rng(seed)
    nodes, weights, value = [], [], "x"
    for i in range(layers):
        w = rng.standard_normal((width, width)).astype(np.float32) / np.float32(width**0.5)
        weights.append(numpy_helper.from_array(w, f"w{i}"))
        nodes += [h.make_node("MatMul", [value, f"w{i}"], [f"m{i}"]), h.make_node("Tanh", [f"m{i}"], [f"t{i}"])]
        value = f"t{i}"
    nodes.append(h.make_node("Softmax", [value], ["y"], axis=-1))
    graph = h.make_graph(
        nodes,
        "net",
        [h.make_tensor_value_info("x", T.FLOAT, ["N", width])],
        [h.make_tensor_value_info("y", T.FLOAT, ["N", width])],
        weights,
    )
    return h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9).SerializeToString()


def feed(seed, rows=200, width=96):
    return np.random.default_rng(seed).standard_normal((rows, width)).astype(np.float32)


def test_bits_do_not_depend_on_threads():
    x = feed(1)
    results = []
    for threads in (1, 2, 4):
        session = ronn.Session(network(), providers=["cpu"], options={"threads": threads, "deterministic": True})
        results += [session.run(x)["y"] for _ in range(3)]
        shares = max(int(s.steps[:, 2].max()) for s in latest_plan(session).segments)
        assert shares > 1 if threads > 1 else shares == 1
    for y in results[1:]:
        np.testing.assert_array_equal(y, results[0])


def test_eight_threads_run_four_sessions():
    sessions = [ronn.Session(network(i), providers=["cpu"], options={"threads": 1 + i % 3}) for i in range(4)]
    feeds = [feed(i, rows) for i, rows in enumerate((1, 7, 64, 200))]
    expected = [[s.run(x)["y"] for x in feeds] for s in sessions]
    wrong, runs = [], []
    until = time.monotonic() + SECONDS

    def work(seed):
        rng = np.random.default_rng(seed)
        n = 0
        while time.monotonic() < until:
            s, f = rng.integers(0, 4, 2)
            if not np.array_equal(sessions[s].run(feeds[f])["y"], expected[s][f]):
                wrong.append((s, f))
            n += 1
        runs.append(n)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(SECONDS + 60)
        assert not t.is_alive()
    assert not wrong and min(runs) > 0
    assert sum(s.stats().runs for s in sessions) == sum(runs) + 16


def test_open_sessions_use_no_processor():
    sessions = [ronn.Session(network(i), providers=["cpu"], options={"threads": 2}) for i in range(10)]
    for session in sessions:
        session.run(feed(0))
    time.sleep(0.1)
    before = time.process_time()
    time.sleep(0.5)
    used = time.process_time() - before
    assert used < 0.005, f"{used * 1e3:.2f} ms of 500"


# --- processes


def in_process(code, timeout=120, **environment):
    """Runs Python code in a process of its own; its standard output. A hang is a failure."""
    header = f"import sys; sys.path[:0] = [{os.path.dirname(__file__)!r}]\n"
    done = subprocess.run(
        [sys.executable, "-c", header + textwrap.dedent(code)],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={**os.environ, **environment},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


SETUP = """
    import os, signal, threading, time
    import numpy as np
    import ronn
    from test_engine import feed, network
    session = ronn.Session(network(), providers=["cpu"], options={"threads": 2})
    x = feed(3)
    y = session.run(x)["y"]
"""


def test_the_interpreter_ends_with_workers_alive():
    code = """
    for _ in range(50):
        session.run(x)
    threads = [threading.Thread(target=lambda: [session.run(x) for _ in range(10**9)], daemon=True) for _ in range(2)]
    for t in threads:
        t.start()
    time.sleep(0.05)
    print("done", flush=True)
    """
    started = time.monotonic()
    assert in_process(SETUP + code) == "done\n"
    assert time.monotonic() - started < 60


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
def test_a_fork_runs_and_so_does_its_parent():
    code = """
    import warnings
    warnings.simplefilter("ignore")
    busy = True
    def keep_busy():
        while busy:
            session.run(x)
    other = threading.Thread(target=keep_busy)
    other.start()
    for _ in range(10):
        child = os.fork()
        if child == 0:
            signal.alarm(30)
            same = all(np.array_equal(session.run(x)["y"], y) for _ in range(5))
            more = np.isfinite(session.run(feed(4, 33))["y"]).all()
            fresh = ronn.Session(network(), providers=["cpu"], options={"threads": 2}).run(x)["y"]
            os._exit(0 if same and more and np.array_equal(fresh, y) else 1)
        print(os.waitpid(child, 0)[1])
        assert np.array_equal(session.run(x)["y"], y)
    busy = False
    other.join()
    """
    assert in_process(SETUP + code).split() == ["0"] * 10


def run_in_child(seed):
    """What a spawned process computes."""
    return ronn.Session(network(), providers=["cpu"], options={"threads": 2}).run(feed(seed))["y"]


def test_spawned_processes_run():
    code = """
    import multiprocessing
    from test_engine import run_in_child
    if __name__ == "__main__":
        with multiprocessing.get_context("spawn").Pool(2) as children:
            for seed, got in zip((3, 5), children.map(run_in_child, (3, 5))):
                assert np.array_equal(got, session.run(feed(seed))["y"])
        print("same")
    """
    assert "spawn" in multiprocessing.get_all_start_methods()
    assert in_process(SETUP + code) == "same\n"


@pytest.mark.skipif(not hasattr(os, "sched_setaffinity"), reason="no affinity masks here")
def test_the_pool_fits_the_affinity_mask():
    code = """
    import os
    os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    from ronn.threads import default_threads
    from ronn_provider_cpu.engine import pool
    print(default_threads())
    import ronn
    from test_engine import feed, network
    ronn.Session(network(), providers=["cpu"]).run(feed(0))
    print(len(pool._pool._threads))
    """
    assert in_process(code, RONN_THREADS="").split() == ["1", "0"]


def test_ceilings_and_costs_are_plausible():
    most, costs = ceilings(native_library(), 1), launch_costs(native_library(), 2)
    assert 1e9 < most.flops < 1e13 and 1e8 < most.memory < 1e13 and most.cache > 0.5 * most.memory
    assert 0 < costs["launch"] < 1e6 and costs["barrier"] < 1e6


@pytest.mark.skipif(not os.path.exists("/proc/self/statm"), reason="asks the Linux kernel")
def test_memory_stays_flat_over_many_sizes():
    """Plans of 200 sizes come and go; what the process holds levels off."""

    def resident():
        with open("/proc/self/statm") as f:
            return int(f.read().split()[1]) * os.sysconf("SC_PAGE_SIZE") / 1e6

    session = ronn.Session(network(), providers=["cpu"], options={"threads": 2})
    rng = np.random.default_rng(0)
    sizes = rng.choice(np.arange(1, 400), 200, replace=False)
    held = []
    for _ in range(2):
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            session.run(feed(0, rows=int(rng.choice(sizes))))
        held.append(resident())
    assert held[1] - held[0] < 8
    assert session.stats().planned > 20


def test_nothing_is_compiled_for_a_new_size():
    session = ronn.Session(network(), providers=["cpu"], options={"threads": 2})
    for rows in (1, 2, 17, 200):
        session.run(feed(0, rows=rows))
    before = session.stats()
    for rows in range(3, 60, 4):
        session.run(feed(0, rows=rows))
    assert session.stats().compiles == before.compiles
    assert session.stats().planned > before.planned + 10
