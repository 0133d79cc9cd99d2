"""How sessions live in a process: forks at any moment, signals, the end of the interpreter, threads, memory."""

from __future__ import annotations

import itertools
import os
import signal
import subprocess
import sys
import textwrap
import time
from pathlib import Path

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

WIDTH = 512
FORKS = pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
LINUX = pytest.mark.skipif(not os.path.exists("/proc/self/smaps_rollup"), reason="asks the Linux kernel")


def layers(count: int, width: int = WIDTH, seed: int = 0) -> bytes:
    """``count`` matrix products in a row, all with one weight."""
    w = np.random.default_rng(seed).standard_normal((width, width)).astype(np.float32) / np.float32(width**0.5)
    names = ["x", *(f"h{i}" for i in range(1, count)), "y"]
    nodes = [helper.make_node("MatMul", [a, "w"], [b]) for a, b in itertools.pairwise(names)]
    ends = [[helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width])] for n in "xy"]
    graph = helper.make_graph(nodes, "g", *ends, [numpy_helper.from_array(w, "w")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=9).SerializeToString()


def rows(count: int, width: int = WIDTH) -> np.ndarray:
    return np.random.default_rng(1).standard_normal((count, width)).astype(np.float32)


SETUP = """
    import os, signal, sys, threading, time, warnings
    import numpy as np
    import ronn
    from test_processes import layers, rows
    warnings.simplefilter("ignore", DeprecationWarning)  # forks of a process with threads are what is tested

    def child(run):
        pid = os.fork()
        if pid == 0:
            signal.alarm(30)  # a hang ends it
            code = 1
            try:
                code = 0 if run() else 2
            finally:
                os._exit(code)
        return os.waitpid(pid, 0)[1]
"""


def start(code: str, **environment: str) -> subprocess.Popen[str]:
    header = f"import sys; sys.path[:0] = [{os.path.dirname(__file__)!r}]\n"
    program = header + textwrap.dedent(SETUP) + textwrap.dedent(code)
    return subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        env={**os.environ, **environment},
    )  # fmt: skip


def finish(process: subprocess.Popen[str], code: int = 0) -> str:
    """What a process wrote by its end. A hang is a failure."""
    try:
        out, error = process.communicate(timeout=120)
    except subprocess.TimeoutExpired:
        process.kill()
        raise
    assert process.returncode == code, f"{process.returncode}: {out}\n{error}"
    assert "Traceback" not in error or code, error
    return out


# --- forks


@FORKS
def test_a_fork_while_another_thread_holds_every_lock() -> None:
    code = """
    from ronn import plugins
    session = ronn.Session(layers(2), providers=["cpu"], options={"threads": 2, "memory_limit": "200MB"})
    x = rows(8)
    y = session.run(x)["y"]
    variant = session._base
    plan = variant.plans()[-1][1]
    locks = [session._lock, variant._lock, plan._lock, session._budget._lock, plugins._lock]
    held, let_go = threading.Event(), threading.Event()

    def hold():
        for lock in locks:
            lock.acquire()
        held.set()
        let_go.wait()
        for lock in reversed(locks):
            lock.release()

    other = threading.Thread(target=hold)
    other.start()
    held.wait()

    def run():
        same = np.array_equal(session.run(x)["y"], y)
        session.run(rows(3))  # a plan of its own
        fresh = ronn.Session(layers(2), providers=["cpu"]).run(x)["y"]
        session.trim()
        session.close()
        return same and np.array_equal(fresh, y)

    print(child(run))
    let_go.set()
    other.join()
    assert np.array_equal(session.run(x)["y"], y)
    """
    assert finish(start(code)) == "0\n"


@FORKS
def test_a_forked_child_has_the_memory_of_runs_that_it_does_not_go_on_with() -> None:
    code = """
    x = rows(2000)
    with ronn.Session(layers(6), providers=["cpu"], options={"threads": 1, "memory_limit": "1GB"}) as session:
        y = session.run(x)["y"]
        need, constants = session._base.plans()[-1][1].need, session._budget.constants
    limit = constants + 2 * need + 1000  # two runs at once, and no third one
    session = ronn.Session(layers(6), providers=["cpu"], options={"threads": 1, "memory_limit": limit})
    ends = []

    def keep_busy():
        while not ends:
            session.run(x)

    threads = [threading.Thread(target=keep_busy) for _ in range(2)]
    for t in threads:
        t.start()
    for _ in range(5):
        time.sleep(0.02)
        print(child(lambda: all(np.array_equal(session.run(x)["y"], y) for _ in range(3))))
    ends.append(1)
    for t in threads:
        t.join()
    """
    assert finish(start(code)).split() == ["0"] * 5


@FORKS
@LINUX
def test_forked_children_share_the_weights() -> None:
    """A child that runs adds what it computes, not what it computes with."""
    code = """
    import gc
    session = ronn.Session(layers(1, 2048), providers=["cpu"], options={"threads": 1})  # 16 MB of weights, packed
    x = rows(1, 2048)
    session.run(x)
    gc.freeze()

    def private():
        with open("/proc/self/smaps_rollup") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith("Private_Dirty"))

    def run():
        before = private()
        for _ in range(3):
            session.run(x)
        print(private() - before, flush=True)
        return True

    assert child(run) == 0
    """
    grown = int(finish(start(code)))
    assert grown < 2000, f"{grown} kB"


@LINUX
def test_a_second_session_of_a_file_adds_kilobytes(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(layers(1, 2048))
    code = f"""
    def held():
        with open("/proc/self/smaps_rollup") as f:
            return sum(int(line.split()[1]) for line in f if line.startswith(("Private", "Shared")))

    x = rows(1, 2048)
    sessions = [ronn.Session({str(path)!r}, providers=["cpu"], options={{"threads": 1}}) for _ in range(2)]
    first = [s.run(x)["y"] for s in sessions][0]
    before = held()
    sessions += [ronn.Session({str(path)!r}, providers=["cpu"], options={{"threads": 1}}) for _ in range(8)]
    assert all(np.array_equal(s.run(x)["y"], first) for s in sessions)
    print((held() - before) // 8)
    """
    each = int(finish(start(code)))
    assert each < 500, f"{each} kB for each further session of 16 MB of weights"


# --- threads


@LINUX
def test_the_number_of_threads_does_not_grow_with_sessions() -> None:
    code = """
    def threads():
        return len(os.listdir("/proc/self/task"))

    x = rows(300)
    sessions = [ronn.Session(layers(3, seed=i), providers=["cpu"], options={"threads": 3}) for i in range(12)]
    sessions[0].run(x)
    first = threads()
    for session in sessions:
        session.run(x)

    def work(k):
        for session in sessions[k:] + sessions[:k]:
            session.run(x)

    users = [threading.Thread(target=work, args=(k,)) for k in range(6)]
    for t in users:
        t.start()
    for t in users:
        t.join()
    until = time.monotonic() + 10
    while threads() != first and time.monotonic() < until:
        time.sleep(0.01)  # a thread that was joined is still on its way out
    print(first, threads(), threading.active_count())
    """
    first, last, of_python = finish(start(code, OPENBLAS_NUM_THREADS="1", OMP_NUM_THREADS="1")).split()
    assert first == last == of_python == "3"  # this one, and two of the pool


def test_idle_sessions_use_no_processor() -> None:
    code = """
    sessions = [ronn.Session(layers(3, seed=i), providers=["cpu"], options={"threads": 4}) for i in range(6)]
    for session in sessions:
        session.run(rows(300))
    time.sleep(0.2)
    before = time.process_time()
    time.sleep(1)
    print(time.process_time() - before)
    """
    used = float(finish(start(code)))
    assert used < 0.01, f"{used * 1e3:.1f} ms in a second"


# --- signals

LONG = """
    session = ronn.Session(layers(400, 1024), providers=["cpu"], options={"threads": 2})
    short = rows(1, 1024)
    y = session.run(short)["y"]
    x = rows(1500, 1024)  # some ten seconds
    plan = session._ready(x, ())[1]
    print("ready", flush=True)
    started = time.monotonic()
"""


def test_ctrl_c_ends_a_long_run_soon() -> None:
    code = f"""{LONG}
    signal.signal(signal.SIGINT, signal.default_int_handler)  # where tests run in the background it is ignored
    try:
        session.run(x)
    except KeyboardInterrupt:
        print("interrupted", np.array_equal(session.run(short)["y"], y), session.memory().plans[-1].arenas, flush=True)
    """
    process = start(code)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    sent = time.monotonic()
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "interrupted True 1\n"
    took = time.monotonic() - sent
    assert finish(process) == ""
    assert took < 5, f"{took:.1f} s"


def test_a_handler_of_the_programs_own_runs_meanwhile() -> None:
    code = f"""{LONG}
    signal.signal(signal.SIGINT, lambda *_: print("handled", flush=True))
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        session.run(x)
    except KeyboardInterrupt:
        print("ended")
    """
    process = start(code)
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.5)
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == "handled\n"
    process.send_signal(signal.SIGTERM)
    assert finish(process) == "ended\n"


@pytest.mark.skipif(os.name == "nt", reason="no signals as of POSIX here")
def test_sigterm_does_what_it_does_to_any_process() -> None:
    process = start(f"{LONG}\n    session.run(x)")
    assert process.stdout is not None and process.stdout.readline() == "ready\n"
    time.sleep(0.3)
    sent = time.monotonic()
    process.terminate()
    finish(process, code=-signal.SIGTERM)
    assert time.monotonic() - sent < 5


# --- the end of the interpreter


def test_the_interpreter_ends_in_the_midst_of_runs() -> None:
    code = f"""{LONG}
    for _ in range(2):
        threading.Thread(target=session.run, args=(x,), daemon=True).start()
    time.sleep(0.3)
    print("leaving", flush=True)
    """
    process = start(code)
    started = time.monotonic()
    assert finish(process) == "ready\nleaving\n"
    assert time.monotonic() - started < 60


def test_sessions_in_globals_and_in_cycles_end_quietly() -> None:
    code = """
    import atexit

    class Holder:
        def __init__(self):
            self.session = ronn.Session(layers(2), providers=["cpu"], options={"threads": 2})
            self.myself = self

        def __del__(self):
            self.session.close()

    holder = Holder()
    outputs = holder.session.run(rows(200))
    atexit.register(lambda: print(holder.session.run(rows(300))["y"].shape, flush=True))

    def late():
        time.sleep(0.2)
        holder.session.run(rows(20))
        print("thread", flush=True)

    threading.Thread(target=late).start()
    """
    assert finish(start(code)).split("\n") == ["thread", f"(300, {WIDTH})", ""]


def test_runs_of_a_daemon_thread_that_never_ends() -> None:
    code = """
    session = ronn.Session(layers(1, 64), providers=["cpu"], options={"threads": 2})
    x = rows(1, 64)

    def forever():
        while True:
            session.run(x)

    for _ in range(3):
        threading.Thread(target=forever, daemon=True).start()
    time.sleep(0.2)
    """
    for _ in range(3):
        assert finish(start(code)) == ""
