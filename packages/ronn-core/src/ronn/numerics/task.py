"""The task: outputs of the quantised model beside the original's, and the labels where there are some."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError, OptionError, RonnError, nearest
from ronn.records import dataclass
from ronn.session import Session

Array = np.ndarray
LEAST_COSINE = 0.95
LEAST_AGREEMENT = 0.95
MOST_LOST = 0.02
"""What is let pass: of all outputs the cosine, of best classes the share that agrees, of top-1 with labels the loss."""
_FEWEST_CLASSES, _FEWEST_TOKENS = 3, 256


class QualityError(RonnError):
    """The quantised model is too far from the original to be written without being told to."""


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
    scores of classes. before, after: share of rows with the right class; loss_before, loss_after: cross-entropy of the
    right classes in bits; None without labels, and where scores are no floats."""

    outputs: tuple[Output, ...]
    scores: str | None
    rows: int
    agreement: float | None
    before: float | None
    after: float | None
    made_up: bool
    loss_before: float | None = None
    loss_after: float | None = None

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
    losses = [0.0, 0.0]
    seen = 0
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
            right = None if labels is None else labels[seen : seen + before[-1].size]
            seen += before[-1].size
            if right is not None and right.size == before[-1].size and a[picked].dtype.kind == "f":
                losses = [so_far + cross_entropy(s[picked], right) for so_far, s in zip(losses, (a, b), strict=True)]
    outputs = tuple(s.output(name) for name, s in sums.items())
    if picked is None:
        return Task(outputs, None, 0, None, None, None, made_up)
    was, now = np.concatenate(before), np.concatenate(after)
    agreement = float(np.mean(was == now)) if was.size else None
    if labels is None:
        return Task(outputs, picked, was.size, agreement, None, None, made_up)
    if labels.size != was.size:
        raise InputError(f"there are {labels.size} labels, and {was.size} rows of output {picked!r}")
    share = float(np.mean(was == labels)), float(np.mean(now == labels))
    loss = [total / was.size for total in losses] if losses[0] else [None, None]
    return Task(outputs, picked, was.size, agreement, *share, made_up, *loss)


def cross_entropy(scores: Array, labels: Array) -> float:
    """The sum over rows of the bits that the right class costs: scores (..., classes) are chances where each row is
    none below 0 and adds up to 1, else logits. NaN where a label is no class."""
    rows = scores.reshape(-1, scores.shape[-1])
    if labels.size and (labels.min() < 0 or labels.max() >= rows.shape[1]):
        return math.nan
    picked = np.take_along_axis(rows, labels[:, None], axis=1)[:, 0].astype(np.float64)
    with np.errstate(divide="ignore"):
        if rows.min(initial=0) >= 0 and np.allclose(rows.sum(axis=1, dtype=np.float64), 1, atol=1e-3):
            return float(-np.log2(picked).sum())
        peaks = rows.max(axis=1, keepdims=True)
        sums = np.exp(rows - peaks).sum(axis=1, dtype=np.float64)
        return float((np.log2(sums) + (peaks[:, 0] - picked) / math.log(2)).sum())


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
