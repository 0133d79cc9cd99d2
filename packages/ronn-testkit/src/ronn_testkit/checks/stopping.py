"""Stopping: timeouts and cancellation end a run between kernels, and the session goes on as if nothing had been."""

from __future__ import annotations

import threading
import time

import numpy as np

from ronn.errors import CancelledError, RunTimeoutError
from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.values import fill

LENGTH = 100  # nodes, more than any provider makes one kernel of
SHAPE = (256, 2048)  # 2 MiB
TRIES = 12


def runs_can_be_stopped(subject: Subject) -> None:
    """A long run ends soon after its timeout and after ``session.cancel()``; runs after that give what they gave."""
    with subject.registered():
        model = chain(probe.chain_ops(subject, LENGTH), list(SHAPE))
        with subject.session(model) as session:
            x = fill(SHAPE, "float32", 3)
            expected = session.run(x)[0]
            full = min(_seconds(session, x) for _ in range(3))
            for how in (_timed_out, _cancelled):
                stopped = 0
                for attempt in range(TRIES):
                    stopped += how(session, x, full * (attempt + 1) / (TRIES + 4))
                    if not np.array_equal(session.run(x)[0], expected, equal_nan=True):
                        raise CheckFailed(f"after a run that was stopped ({how.__name__[1:]}), another result")
                if not stopped:
                    raise CheckFailed(
                        f"none of {TRIES} runs of {LENGTH} nodes was {how.__name__[1:].replace('_', ' ')}: a run of "
                        f"{full * 1e3:.1f} ms goes on to its end"
                    )
            held = session.memory().total
            for _ in range(TRIES):
                _timed_out(session, x, full / 4)
            if session.memory().total > held:
                raise CheckFailed(f"stopped runs leave {session.memory().total - held} bytes in the session")


def _seconds(session: Session, x: np.ndarray) -> float:
    started = time.perf_counter()
    session.run(x)
    return time.perf_counter() - started


def _timed_out(session: Session, x: np.ndarray, after: float) -> bool:
    try:
        session.run(x, timeout=after)
    except RunTimeoutError:
        return True
    return False


def _cancelled(session: Session, x: np.ndarray, after: float) -> bool:
    timer = threading.Timer(after, session.cancel)
    timer.start()
    try:
        session.run(x)
    except CancelledError:
        return True
    finally:
        timer.join()
    return False
