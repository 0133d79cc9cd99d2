"""Candidates: states that might replace the one in service, made of lessons."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from ronn.records import replace
from ronn_hrm.sleep.adapter import fit_adapter, fit_ridge
from ronn_hrm.sleep.lessons import Lessons, as_rows
from ronn_hrm.sleep.student import Distil, as_onnx, targets_of, teach
from ronn_hrm.state import Student

if TYPE_CHECKING:
    from ronn_hrm.fast_path import CheapModel
    from ronn_hrm.sleep.pace import Pace
    from ronn_hrm.sleep.settings import Sleep
    from ronn_hrm.state import State
    from ronn_hrm.task import Task

FEWEST = 50
"""Lessons from which on the cheap model is changed."""
_JUDGING = 0.3  # of the time that is left, for what comes behind the teaching of a student


class Unfit(Exception):
    """A candidate cannot be made of what there is; says why. Never leaves consolidation."""


def refreshed(state: State, lessons: Lessons, cheap: CheapModel, sleep: Sleep) -> State:
    """With memory made anew: the cheap model stays as the state has it."""
    from ronn_hrm.memory.index import neighbours_of

    if cheap.embed is None:
        return state
    kept = np.zeros(len(lessons), bool)
    kept[_spread(len(lessons), sleep.remembered)] = True
    return replace(state, neighbours=neighbours_of(lessons.episodes.where(kept), cheap.task), id="")


def adapted(state: State, lessons: Lessons, cheap: CheapModel, sleep: Sleep, pace: Pace, epoch: int) -> State:
    """With a linear correction of the original cheap model by the embedding."""
    task = cheap.task
    kind = task.kind
    if kind not in ("classification", "regression"):
        raise Unfit(f"a task of kind {kind} has no scores to correct")
    if _probabilities(task):
        raise Unfit("the scores are probabilities, and only logits can be corrected")
    if lessons.episodes.embedding is None:
        raise Unfit("there are no embeddings")
    lessons = lessons.where(np.isfinite(lessons.episodes.embedding).all(axis=1))
    lessons, given, goal = _pairs(lessons)
    assert lessons.episodes.embedding is not None
    pace.check()
    if kind == "regression":
        made = fit_ridge(given, lessons.episodes.embedding, goal, weights=lessons.weights)
    else:
        targets = targets_of(goal, 0.5)
        made = fit_adapter(given, lessons.episodes.embedding, targets, weights=lessons.weights, check=pace.check)
    return replace(state, correction=made, student=None, id="")


def taught(state: State, lessons: Lessons, cheap: CheapModel, sleep: Sleep, pace: Pace, epoch: int) -> State:
    """With a ternary student in the place of the cheap model. What is new weighs as much as what is replayed."""
    settings = Distil() if sleep.student is None else sleep.student
    task = cheap.task
    if task.kind != "classification":
        raise Unfit(f"students answer tasks of kind classification, not {task.kind}")
    source = _source(lessons) if settings.source == "auto" else settings.source
    if source != "embedding" and cheap.tap is None and cheap.served is not None and len(cheap.served) > 1:
        raise Unfit(f"a student gives scores alone, and both models give {', '.join(cheap.served)}")
    x, there = _sources(lessons, source)
    lessons = lessons.where(there)
    goal, kept = as_rows(lessons.episodes.full)
    lessons, x = lessons.where(kept), x[kept]
    _enough(lessons, f"with what the student is to see ({source})")
    left = pace.left
    layers = teach(
        x, targets_of(goal, settings.hard, probabilities=_probabilities(task)), settings,
        weights=_balanced(lessons, epoch), seed=epoch, check=pace.check,
        until=None if left is None else time.monotonic() + (1.0 - _JUDGING) * left,
    )  # fmt: skip
    model = as_onnx(layers, probabilities=_probabilities(task))
    return replace(state, student=Student(model, source), correction=None, id="")


Make = Callable[["State", Lessons, "CheapModel", "Sleep", "Pace", int], "State"]
CHANGES: dict[str, Make] = {"adapter": adapted, "student": taught}


def _pairs(lessons: Lessons) -> tuple[Lessons, np.ndarray, np.ndarray]:
    """Lessons for which both models gave one row alike, and these rows: of the original cheap and the expensive one."""
    given, there = as_rows(lessons.episodes.fast)
    lessons = lessons.where(there)
    goal, kept = as_rows(lessons.episodes.full)
    lessons, given = lessons.where(kept), given[kept]
    if given.shape[1] != goal.shape[1]:
        raise Unfit(f"the cheap model gives {given.shape[1]} scores, the expensive one {goal.shape[1]}")
    _enough(lessons, "that both models answered with one row")
    return lessons, given, goal


def _source(lessons: Lessons) -> str:
    """The name of the one input that most lessons keep, as real numbers of one size; else the embedding."""
    kept = [given for given in lessons.episodes.inputs if given is not None]
    if 2 * len(kept) < len(lessons) or not kept or any(len(given) != 1 for given in kept):
        return "embedding"
    name, first = next(iter(kept[0].items()))
    alike = all(name in g and g[name].dtype.kind == "f" and g[name].size == first.size for g in kept)
    return name if alike and first.shape[:1] == (1,) else "embedding"


def _sources(lessons: Lessons, source: str) -> tuple[np.ndarray, np.ndarray]:
    """What a student sees, rows float32 [M, D], and of which lessons, bool [N]."""
    if source == "embedding":
        found = lessons.episodes.embedding
        if found is None:
            raise Unfit("there are no embeddings for a student to see")
        there = np.isfinite(found).all(axis=1)
        return np.asarray(found[there], np.float32), there
    arrays = [None if kept is None else kept.get(source) for kept in lessons.episodes.inputs]
    flat = [None if a is None else np.asarray(a, np.float32).reshape(1, -1) for a in arrays]
    if not any(a is not None for a in flat):
        raise Unfit(f"episodes keep no input {source!r}: Memory(store_inputs=True)")
    return as_rows(flat)


def _enough(lessons: Lessons, which: str) -> None:
    if len(lessons) < FEWEST:
        raise Unfit(f"{len(lessons)} episodes {which} are too few: {FEWEST} at least")


def _balanced(lessons: Lessons, epoch: int) -> np.ndarray:
    """Weights with which lessons of ``epoch`` count as much as all others, up to four times each."""
    now = lessons.episodes.epoch == epoch
    count = int(now.sum())
    if count in (0, len(now)):
        return lessons.weights
    factor = min(max((len(now) - count) / count, 1.0), 4.0)
    weights = lessons.weights * np.where(now, np.float32(factor), np.float32(1.0))
    return np.asarray(weights / weights.mean(), np.float32)


def _probabilities(task: Task) -> bool:
    return bool(getattr(task, "probabilities", False))


def _spread(count: int, most: int) -> np.ndarray:
    """At most ``most`` of ``count`` rows, evenly."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64)) if count else np.zeros(0, np.int64)
