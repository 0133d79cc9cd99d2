"""Ownership: inputs are only read, outputs belong to the caller."""

from __future__ import annotations

import numpy as np

from ronn_testkit.checks import probe
from ronn_testkit.models import Case
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.tolerance import explain_difference


def nothing_is_shared(subject: Subject) -> None:
    """A run changes no input; its outputs share no memory with inputs, nor with what later runs return."""
    with subject.registered():
        for case in probe.sample(subject, 40):
            _check(subject, case)


def _check(subject: Subject, case: Case) -> None:
    with subject.session(case.model()) as session:
        before = [np.array(a) for a in case.fed]
        first = list(session.run(case.fed))
        for index, (now, then) in enumerate(zip(case.fed, before, strict=True)):
            if explain_difference(np.asarray(now), then, "exact"):
                raise CheckFailed(f"{case!r} changed its input {index}")
        arrays = [o for o in first if isinstance(o, np.ndarray)]
        for out in arrays:
            if any(np.may_share_memory(out, a) for a in case.fed):
                raise CheckFailed(f"{case!r} returned memory of an input")
        kept = [np.array(a) for a in arrays]
        other = case.with_fed([np.array(a[::-1] if a.ndim else a) for a in case.fed])
        second = [o for o in session.run(_valid(case, other)) if isinstance(o, np.ndarray)]
        for index, (now, then) in enumerate(zip(arrays, kept, strict=True)):
            if explain_difference(now, then, "exact"):
                raise CheckFailed(f"{case!r}: a later run changed output {index} of an earlier one")
        if any(np.may_share_memory(a, b) for a in arrays for b in second):
            raise CheckFailed(f"{case!r}: two runs returned the same memory")


def _valid(case: Case, other: Case) -> list[np.ndarray]:
    """The other inputs; the first ones where reversing could make them invalid (indices that depend on position)."""
    return case.fed if case.op in ("GatherElements",) else other.fed
