"""The task: outputs of the quantised model beside the original's, and the labels where there are some."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError, OptionError, nearest
from ronn.records import dataclass
from ronn.session import Session

Array = np.ndarray
LEAST_COSINE = 0.95
LEAST_AGREEMENT = 0.95
MOST_LOST = 0.02
"""What is let pass: of all outputs the cosine, of best classes the share that agrees, of top-1 with labels the loss."""
_FEWEST_CLASSES, _FEWEST_TOKENS = 3, 256


@dataclass(frozen=True, slots=True)
class Limits:
    """What a quantised model may lose before it counts as bad."""

    cosine: float = LEAST_COSINE
    agreement: float = LEAST_AGREEMENT
    lost: float = MOST_LOST


@dataclass(frozen=True, slots=True)
class Output:
    """A float output: cosine with the original's, and its power over that of the difference in decibels."""

    name: str
    cosine: float
    sqnr_db: float


@dataclass(frozen=True, slots=True)
class Task:
    """rows: of the scores. agreement: share of rows with the original's best class; None where no output looks like
    scores of classes. before, after: share of rows with the right class; None without labels."""

    outputs: tuple[Output, ...]
    scores: str | None
    rows: int
    agreement: float | None
    before: float | None
    after: float | None
    made_up: bool

    @property
    def cosine(self) -> float:
        """Of the worst output; 1 where there is none of floats."""
        return min((o.cosine for o in self.outputs), default=1.0)

    @property
    def sqnr_db(self) -> float:
        """Of the worst output; infinite where there is none of floats."""
        return min((o.sqnr_db for o in self.outputs), default=math.inf)

    def faults(self, limits: Limits) -> list[str]:
        """Why the model is bad, in words; empty where it is not. Classes of inputs that were made up do not count."""
        found = [
            f"output {o.name!r} has a cosine of {o.cosine:.4f} with the original's, less than {limits.cosine:g}"
            for o in self.outputs
            if not o.cosine >= limits.cosine
        ]
        if self.before is not None and self.after is not None:
            if self.before - self.after > limits.lost:
                found.append(
                    f"top-1 falls from {self.before:.2%} to {self.after:.2%}, by more than {limits.lost * 100:g} points"
                )
        elif self.agreement is not None and not self.made_up and self.agreement < limits.agreement:
            found.append(
                f"the best class is the original's in {self.agreement:.2%} of {self.rows} rows, "
                f"less than {limits.agreement:.2%}"
            )
        return found


@dataclass(slots=True)
class _Sums:
    a: float = 0.0
    b: float = 0.0
    both: float = 0.0
    off: float = 0.0

    def add(self, a: Array, b: Array) -> None:
        wide, other = a.astype(np.float64).reshape(-1), b.astype(np.float64).reshape(-1)
        self.a += float(wide @ wide)
        self.b += float(other @ other)
        self.both += float(wide @ other)
        gap = wide - other
        self.off += float(gap @ gap)

    def output(self, name: str) -> Output:
        if not math.isfinite(self.b) or not math.isfinite(self.a):
            return Output(name, math.nan, -math.inf)
        if self.off == 0:
            return Output(name, 1.0, math.inf)
        if self.a == 0 or self.b == 0:
            return Output(name, 0.0, -math.inf if self.a == 0 else 0.0)
        return Output(name, min(1.0, self.both / math.sqrt(self.a * self.b)), 10 * math.log10(self.a / self.off))


def judge(
    original: Session,
    quantised: Session,
    feeds: Sequence[Mapping[str, Any]],
    *,
    labels: Array | None = None,
    scores: str | None = None,
    made_up: bool = False,
    tell: Callable[[float], None] = lambda share: None,
) -> Task:
    """Runs both on the feeds. scores: the output of shape (..., classes), or of whole classes; None finds it.

    Raises InputError where labels and rows are not as many, OptionError for an unknown output.
    """
    sums: dict[str, _Sums] = {}
    picked = scores
    before: list[Array] = []
    after: list[Array] = []
    for number, feed in enumerate(feeds):
        tell(number / len(feeds))
        a, b = dict(original.run(feed).items()), dict(quantised.run(feed).items())
        if number == 0:
            picked = _pick(a, scores, labels is not None)
        for name, value in a.items():
            if isinstance(value, np.ndarray) and value.dtype.kind == "f":
                sums.setdefault(name, _Sums()).add(value, b[name])
        if picked is not None:
            before.append(_best(a[picked]))
            after.append(_best(b[picked]))
    outputs = tuple(s.output(name) for name, s in sums.items())
    if picked is None:
        return Task(outputs, None, 0, None, None, None, made_up)
    was, now = np.concatenate(before), np.concatenate(after)
    agreement = float(np.mean(was == now)) if was.size else None
    if labels is None:
        return Task(outputs, picked, was.size, agreement, None, None, made_up)
    if labels.size != was.size:
        raise InputError(f"there are {labels.size} labels, and {was.size} rows of output {picked!r}")
    right = (float(np.mean(was == labels)), float(np.mean(now == labels)))
    return Task(outputs, picked, was.size, agreement, *right, made_up)


def _best(value: Array) -> Array:
    return value.argmax(axis=-1).reshape(-1) if value.dtype.kind == "f" else value.reshape(-1)


def _pick(outputs: Mapping[str, Any], scores: str | None, labelled: bool) -> str | None:
    """The output with scores: floats (rows, classes), or (..., tokens) of many."""
    arrays = {n: v for n, v in outputs.items() if isinstance(v, np.ndarray)}
    if scores is not None:
        if scores not in arrays:
            near = nearest(scores, list(arrays))
            raise OptionError(
                f"--scores {scores!r}: the model has no such output", hint=f"did you mean {near!r}?" if near else None
            )
        return scores
    for name, value in arrays.items():
        if value.dtype.kind != "f" or value.ndim < 2:
            continue
        fewest = _FEWEST_CLASSES if value.ndim == 2 else _FEWEST_TOKENS
        if value.shape[-1] >= fewest and (value.ndim < 4):
            return name
    if labelled:
        raise OptionError("no output looks like scores of classes", hint="--scores NAME says which the labels go with")
    return None
