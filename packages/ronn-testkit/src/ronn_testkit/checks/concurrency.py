"""Concurrency: threads on one session, forked and spawned processes."""

from __future__ import annotations

import json
import os
import pickle
import signal
import subprocess
import sys
import threading
import time
import warnings

import numpy as np

from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.values import fill

THREADS = 4
RUNS = 25
CHILD_SECONDS = 60.0
"""What a run in a forked process may take."""
FORKS = 5
SHAPE = (61, 4099)


def threads_share_a_session(subject: Subject) -> None:
    """Threads that run one session at once each get what one thread alone gets; the session works afterwards."""
    with subject.registered():
        for ops in ([probe.chain_ops(subject)[0]], probe.chain_ops(subject)):
            with subject.session(chain(ops, list(SHAPE))) as session:
                _race(session)


def _race(session: Session) -> None:
    inputs = [fill(SHAPE, "float32", seed) for seed in range(THREADS)]
    expected = [session.run(x)[0] for x in inputs]
    problems: list[str] = []
    start = threading.Barrier(THREADS)

    def work(index: int) -> None:
        try:
            start.wait()
            for _ in range(RUNS):
                if not np.array_equal(session.run(inputs[index])[0], expected[index], equal_nan=True):
                    problems.append(f"thread {index} got another result than alone")
                    return
        except Exception as e:
            problems.append(f"thread {index}: {type(e).__name__}: {e}")

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    try:
        threads = [threading.Thread(target=work, args=(i,)) for i in range(THREADS)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    finally:
        sys.setswitchinterval(interval)
    if problems:
        raise CheckFailed(f"{THREADS} threads on one session: {problems[0]}")
    if not np.array_equal(session.run(inputs[0])[0], expected[0], equal_nan=True):
        raise CheckFailed("after threads used it, the session gives another result")


_CHILD = r"""
import importlib, json, pickle, sys, numpy, ronn
from ronn.plugins import registry
module, _, name = sys.argv[1].partition(":")
sys.path += [p for p in json.loads(sys.argv[2]) if p not in sys.path]
if sys.argv[3] not in registry().names:
    target = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    registry().add(target() if isinstance(target, type) else target)
x = numpy.load(sys.argv[5])
session = ronn.Session(sys.argv[4], providers=[sys.argv[3]], options={"optimization": "none"})
with open(sys.argv[7], "rb") as file:
    carried = pickle.load(file)
assert carried.providers == session.providers and carried.options == session.options, (carried, session)
numpy.savez(sys.argv[6], made=session.run(x)[0], carried=carried.run(x)[0])
"""


def fork_and_spawn(subject: Subject) -> None:
    """A forked process goes on with the parent's session, also from the midst of a run of another thread; a fresh one
    makes its own, and unpickles the parent's: all get the parent's result."""
    model = None
    with subject.registered():
        model = chain(probe.chain_ops(subject), [17, 33])
        x = fill((17, 33), "float32", 1)
        with subject.session(model) as session:
            expected = session.run(x)[0]
            if hasattr(os, "fork"):
                _fork(session, x, expected)
                _fork_in_the_midst(session, x, expected)
            carried = pickle.dumps(session)
    _spawn(subject, model.SerializeToString(), carried, x, expected)


def _fork_in_the_midst(session: Session, x: np.ndarray, expected: np.ndarray) -> None:
    done = threading.Event()

    def keep_busy() -> None:
        while not done.is_set():
            session.run(x)

    other = threading.Thread(target=keep_busy)
    other.start()
    try:
        for _ in range(FORKS):
            _fork(session, x, expected)
    finally:
        done.set()
        other.join()


def _fork(session: Session, x: np.ndarray, expected: np.ndarray) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        pid = os.fork()
    if pid == 0:
        code = 1
        try:
            code = 0 if np.array_equal(session.run(x)[0], expected) else 2
        finally:
            os._exit(code)
    deadline = time.monotonic() + CHILD_SECONDS
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            if status:
                raise CheckFailed(f"after fork, the session of the parent fails (status {status})")
            return
        time.sleep(0.01)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise CheckFailed("after fork, a run in the child does not end")


def _spawn(subject: Subject, model: bytes, carried: bytes, x: np.ndarray, expected: np.ndarray) -> None:
    import tempfile
    from pathlib import Path

    if "<locals>" in subject.target:
        raise NotApplicable("the provider's class is local to a function: no other process can import it")
    with tempfile.TemporaryDirectory(prefix="ronn-spawn-") as folder:
        paths = [Path(folder) / n for n in ("m.onnx", "x.npy", "y.npz", "session")]
        paths[0].write_bytes(model)
        paths[3].write_bytes(carried)
        np.save(paths[1], x)
        arguments = [subject.target, json.dumps([p for p in sys.path if p]), subject.name, *map(str, paths)]
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, timeout=300, check=False
        )
        if done.returncode:
            raise CheckFailed(f"in a fresh process: {done.stderr.strip()[-400:]}")
        with np.load(paths[2]) as found:
            for how, who in (("made", "a fresh process"), ("carried", "a pickled session in a fresh process")):
                if not np.array_equal(found[how], expected):
                    raise CheckFailed(f"{who} computes other bits")
