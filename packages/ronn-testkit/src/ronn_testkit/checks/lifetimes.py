"""Life-times: outputs are the caller's for good, inputs are let go, and ``out=`` is written to and nothing else."""

from __future__ import annotations

import gc
import weakref

import numpy as np

from ronn import dlpack
from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import Case, chain
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import fill

SHAPE = (33, 65)
GUARD = 64  # elements on each side of a buffer


class _Given(np.ndarray):
    """An array that can be asked whether it is still there, and that views of it hold."""

    @classmethod
    def of(cls, values: np.ndarray) -> _Given:
        made = cls(values.shape, values.dtype)
        made[...] = values
        return made


def outputs_outlive_and_inputs_are_let_go(subject: Subject) -> None:
    """What DLPack made of an output holds after later runs, ``trim`` and ``close``. No input is held after its run."""
    with subject.registered():
        for case in probe.sample(subject, 12):
            _outlives(subject, case)
        with subject.session(chain(probe.chain_ops(subject), list(SHAPE))) as session:
            given = _Given.of(fill(SHAPE, "float32", 4))
            alive = weakref.ref(given)
            session.run(given)
            del given
            gc.collect()
            if alive() is not None:
                raise CheckFailed("an input is still held when its run is over")


def _outlives(subject: Subject, case: Case) -> None:
    session = subject.session(case.model())
    first = [o for o in session.run(case.fed) if isinstance(o, np.ndarray) and o.dtype.kind not in "OUST"]
    kept = [np.array(o) for o in first]
    try:
        shared = [dlpack.read(dlpack.Shared(o)) for o in first]
    except (BufferError, TypeError):  # a dtype that DLPack lacks
        session.close()
        return
    del first
    other = case.with_fed([np.array(a[::-1] if a.ndim else a) for a in case.fed])
    if case.op != "GatherElements":  # whose indices depend on their places
        session.run(other.fed)
    session.trim()
    session.run(case.fed)
    session.close()
    del session
    gc.collect()
    for index, (now, then) in enumerate(zip(shared, kept, strict=True)):
        if explain_difference(now, then, "exact"):
            raise CheckFailed(f"{case!r}: output {index}, shared through DLPack, changed behind the caller's back")


def outputs_go_to_buffers(subject: Subject) -> None:
    """``run(out=...)`` gives what a plain run gives, in the memory that it was given, and touches nothing beside it."""
    with subject.registered():
        for length in (1, 5):
            model = chain(list(probe.chain_ops(subject, length)), list(SHAPE))
            with subject.session(model) as session:
                for seed in range(3):
                    _into(session, fill(SHAPE, "float32", seed))


def _into(session: Session, x: np.ndarray) -> None:
    expected, before = session.run(x)[0], x.copy()
    memory = np.full(x.size + 2 * GUARD, np.nan, np.float32)
    target = memory[GUARD:-GUARD].reshape(x.shape)
    for _ in range(2):  # into what is new, and over what is there
        got = session.run(x, out=[target])[0]
        if got is not target or explain_difference(target, expected, "exact"):
            raise CheckFailed("run(out=...) leaves another result in the buffer than a plain run gives")
    if not (np.isnan(memory[:GUARD]).all() and np.isnan(memory[-GUARD:]).all()):
        raise CheckFailed("run(out=...) wrote beside the buffer")
    if explain_difference(x, before, "exact"):
        raise CheckFailed("run(out=...) changed its input")
    if np.may_share_memory(session.run(x)[0], memory):
        raise CheckFailed("a later run returned memory that out= had")
