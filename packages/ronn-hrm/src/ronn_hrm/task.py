"""Tasks: what two models answer, and how far two answers are apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Protocol

import numpy as np

from ronn.errors import OptionError
from ronn.records import dataclass


class Task(Protocol):
    """What is compared between the cheap and the expensive model.

    output: name of the output that answers (None: the first). ``answer`` takes it out of a run's outputs as an array
    that memory keeps; ``loss`` says how far two such arrays are apart, from 0 (the same) to 1; ``scores`` gives the
    class scores (logits) of an answer as a row [classes], or None where there are none; ``label`` the class that an
    answer stands for, or None.
    """

    @property
    def kind(self) -> str: ...
    @property
    def output(self) -> str | None: ...
    def answer(self, outputs: Mapping[str, Any]) -> np.ndarray: ...
    def loss(self, fast: np.ndarray, full: np.ndarray) -> float: ...
    def scores(self, answer: np.ndarray) -> np.ndarray | None: ...
    def label(self, answer: np.ndarray) -> int | None: ...
    def as_data(self) -> dict[str, Any]: ...


def output_of(outputs: Mapping[str, Any], name: str | None) -> np.ndarray:
    """The output called ``name``, or the first one."""
    if name is None:
        name = next(iter(outputs.keys()))
    return np.asarray(outputs[name])


@dataclass(frozen=True, slots=True)
class Classification:
    """One class per row: the last axis of ``output`` has a score for each class. Two answers are as far apart as the
    share of rows with different best classes. probabilities: the scores are probabilities, not logits."""

    output: str | None = None
    probabilities: bool = False

    @property
    def kind(self) -> str:
        return "classification"

    def answer(self, outputs: Mapping[str, Any]) -> np.ndarray:
        """Scores float32 [rows, classes]."""
        found = output_of(outputs, self.output)
        if found.ndim == 0 or found.shape[-1] < 2:
            raise OptionError(
                f"output {self.output!r} of shape {list(found.shape)} has no score for each of several classes",
                hint="name the output with the scores, or use Custom(loss=...)",
            )
        return found.reshape(-1, found.shape[-1]).astype(np.float32, copy=False)

    def loss(self, fast: np.ndarray, full: np.ndarray) -> float:
        if fast.shape != full.shape:
            return 1.0
        if len(fast) == 1:
            return float(fast.argmax() != full.argmax())
        return float((fast.argmax(axis=-1) != full.argmax(axis=-1)).mean()) if len(fast) else 0.0

    def scores(self, answer: np.ndarray) -> np.ndarray | None:
        """Logits [classes] of the row whose two best are closest together."""
        if len(answer) == 0:
            return None
        row: np.ndarray = answer[0]
        if len(answer) > 1:
            two = np.partition(answer, -2, axis=-1)[:, -2:]
            row = answer[int((two[:, 1] - two[:, 0]).argmin())]
        return np.log(np.maximum(row, 1e-12)) if self.probabilities else row

    def label(self, answer: np.ndarray) -> int | None:
        return int(answer[0].argmax()) if len(answer) == 1 else None

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "output": self.output, "probabilities": self.probabilities}


@dataclass(frozen=True, slots=True)
class Regression:
    """Numbers: an answer is wrong by the share of its elements that differ by more than ``tolerance`` (absolute)."""

    tolerance: float
    output: str | None = None

    @property
    def kind(self) -> str:
        return "regression"

    def answer(self, outputs: Mapping[str, Any]) -> np.ndarray:
        return output_of(outputs, self.output).astype(np.float32, copy=False)

    def loss(self, fast: np.ndarray, full: np.ndarray) -> float:
        if fast.shape != full.shape:
            return 1.0
        # A NaN is no answer within any tolerance, unless both say NaN.
        near = (np.abs(fast - full) <= self.tolerance) | (np.isnan(fast) & np.isnan(full)) | (fast == full)
        return 1.0 - float(near.mean()) if near.size else 0.0

    def scores(self, answer: np.ndarray) -> np.ndarray | None:
        return None

    def label(self, answer: np.ndarray) -> int | None:
        return None

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "output": self.output, "tolerance": self.tolerance}


@dataclass(frozen=True, slots=True)
class TokenLabels:
    """One class a token: ``output`` is [..., tokens, classes]; the loss is the share of tokens with different classes,
    or, with ``strict``, 1 as soon as one differs."""

    output: str | None = None
    strict: bool = False

    @property
    def kind(self) -> str:
        return "token-labels"

    def answer(self, outputs: Mapping[str, Any]) -> np.ndarray:
        found = output_of(outputs, self.output)
        if found.ndim < 2 or found.shape[-1] < 2:
            raise OptionError(f"output {self.output!r} of shape {list(found.shape)} is not [tokens, classes]")
        return found.reshape(-1, found.shape[-1]).astype(np.float32, copy=False)

    def loss(self, fast: np.ndarray, full: np.ndarray) -> float:
        if fast.shape != full.shape:
            return 1.0
        wrong = fast.argmax(axis=-1) != full.argmax(axis=-1)
        if self.strict:
            return float(wrong.any())
        return float(wrong.mean()) if wrong.size else 0.0

    def scores(self, answer: np.ndarray) -> np.ndarray | None:
        """Logits of the token whose two best classes are closest together."""
        if len(answer) == 0:
            return None
        two = np.partition(answer, -2, axis=-1)[:, -2:]
        return np.asarray(answer[int((two[:, 1] - two[:, 0]).argmin())])

    def label(self, answer: np.ndarray) -> int | None:
        return None

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "output": self.output, "strict": self.strict}


@dataclass(frozen=True, slots=True)
class Custom:
    """A loss of your own: a function of two answers (arrays of ``output``) that gives a number from 0 to 1.

    name: stands for the function in certificates; a state kept on disk is refused where it differs.
    """

    loss_of: Callable[[np.ndarray, np.ndarray], float]
    name: str
    output: str | None = None

    @property
    def kind(self) -> str:
        return f"custom:{self.name}"

    def answer(self, outputs: Mapping[str, Any]) -> np.ndarray:
        return output_of(outputs, self.output)

    def loss(self, fast: np.ndarray, full: np.ndarray) -> float:
        found = float(self.loss_of(fast, full))
        if not 0.0 <= found <= 1.0:
            raise OptionError(f"the loss of Custom({self.name!r}) is {found}, and must be from 0 to 1")
        return found

    def scores(self, answer: np.ndarray) -> np.ndarray | None:
        return None

    def label(self, answer: np.ndarray) -> int | None:
        return None

    def as_data(self) -> dict[str, Any]:
        return {"kind": self.kind, "output": self.output}
