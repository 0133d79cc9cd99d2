"""The fast path: the cheap model of one state, with what consolidation added to it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.records import dataclass
from ronn_hrm.embed import FromFunction, FromOutput, rounded
from ronn_hrm.errors import RoutingError
from ronn_hrm.tap import tapped

if TYPE_CHECKING:
    from ronn.session import Session
    from ronn_hrm.contracts import Runnable
    from ronn_hrm.embed import Embed
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.state import State, Student
    from ronn_hrm.task import Task


@dataclass(slots=True)
class FastRun:
    """What the cheap model made of one request.

    outputs: by name, as they are served. answer: as this state gives it; raw: as the original cheap model does (None
    where it was not run). embedding: float32 [dims], rounded as memory keeps it, or None: there is one for requests of
    one row only. carry: where the expensive model can go on from, or None. known: whether this state's model can
    answer such a request; if not, answer is that of the original, for which nothing is certified.
    """

    outputs: Mapping[str, Any]
    answer: np.ndarray
    raw: np.ndarray | None
    embedding: np.ndarray | None
    carry: Any = None
    known: bool = True


class CheapModel:
    """The original cheap model, tapped for the embedding; states share it."""

    def __init__(self, session: Runnable, task: Task, embed: Embed | None) -> None:
        self.source = session
        self.task = task
        self.embed = embed
        self.tap = embed.name if isinstance(embed, FromOutput) else None
        self.session: Any = session
        self.dims: int | None = None
        """Numbers of an embedding: of the first request, or of what a state remembers."""
        self.served: tuple[str, ...] | None = None
        """Outputs that are served where none are asked for by name, once that is known."""
        self.begins = hasattr(session, "begin")
        if self.tap is not None and hasattr(session, "model") and not self.begins:
            self.session = tapped(session, self.tap)  # type: ignore[arg-type]
        self.output_names: tuple[str, ...] | None = None
        found = getattr(session, "outputs", None)
        if found is not None:
            self.output_names = tuple(v.name for v in found)
            if task.output is not None and task.output not in self.output_names:
                raise RoutingError(
                    f"the cheap model has no output {task.output!r}; it has {', '.join(self.output_names)}",
                    hint="name the output that answers, as Classification(output=...), alike in both models",
                )

    def run(self, feeds: Mapping[str, Any], **options: Any) -> tuple[Mapping[str, Any], Any]:
        """The outputs, and where the expensive model can go on from (None: it cannot)."""
        if self.begins:
            begun: tuple[Mapping[str, Any], Any] = self.session.begin(feeds, **options)
            return begun
        return self.session.run(feeds, **options), None

    def close(self) -> None:
        """Closes the tapped copy, where there is one."""
        if self.session is not self.source:
            self.session.close()

    def embedding(
        self, feeds: Mapping[str, Any], outputs: Mapping[str, Any] | None, answer: np.ndarray | None = None
    ) -> np.ndarray | None:
        """float32 [dims], rounded; None where there is none, where it needs outputs and there are none, where the
        answer has several rows, and where it would be longer or shorter than others."""
        embed = self.embed
        if embed is None:
            return None
        if not isinstance(embed, FromFunction):
            if answer is not None and self.task.kind == "classification" and len(answer) != 1:
                return None
            if not embed.fits(feeds):
                return None
        if isinstance(embed, FromOutput):
            found = None if outputs is None else np.asarray(outputs[embed.name], np.float32).reshape(-1)
        else:
            found = embed.of(feeds)
        if found is None:
            return None
        if self.dims is None:
            self.dims = len(found)
        return rounded(found) if len(found) == self.dims else None


class FastPath:
    """The cheap model as one state has it: the original, its scores corrected, or a student in its place."""

    def __init__(self, model: CheapModel, state: State) -> None:
        self._model = model
        self._task = model.task
        if model.dims is None and state.neighbours is not None:
            model.dims = getattr(state.neighbours, "dims", None)
        self._correction = state.correction
        self._student = None if state.student is None else _StudentRun(state.student)
        self._plain = self._correction is None and self._student is None and model.embed is None
        # A student on an input stands for the whole model, unless memory looks inside of the original.
        self._needs_model = self._student is None or state.student.source == "embedding" or model.tap is not None  # type: ignore[union-attr]

    @property
    def output_names(self) -> tuple[str, ...] | None:
        """What it gives, as far as that is known before it runs."""
        return self._model.output_names if self._needs_model else (_name(self._task),)

    def run(self, feeds: Mapping[str, Any], **options: Any) -> FastRun:
        """Runs one request; options as for ``Session.run``."""
        model, task = self._model, self._task
        if not self._needs_model:
            assert self._student is not None
            own = self._student.of_feeds(feeds)
            if own is not None:
                return FastRun({_name(task): own}, own, None, model.embedding(feeds, None, own))
        outputs, carry = model.run(feeds, **options)
        raw = task.answer(outputs)
        if self._plain:
            return FastRun(outputs, raw, raw, None, carry)
        embedding = model.embedding(feeds, outputs, raw)
        answer = self._changed(raw, embedding, feeds)
        if answer is None:
            return FastRun(outputs, raw, raw, embedding, carry, known=False)
        if answer is not raw:
            name = task.output if task.output is not None else next(iter(outputs.keys()))
            served = dict(outputs.items())
            served[name] = answer.reshape(np.shape(outputs[name])).astype(np.asarray(outputs[name]).dtype, copy=False)
            outputs = served
        return FastRun(outputs, answer, raw, embedding, carry)

    def _changed(
        self, raw: np.ndarray | None, embedding: np.ndarray | None, feeds: Mapping[str, Any] | None
    ) -> np.ndarray | None:
        """The answer of this state; None where it cannot be told from what is there."""
        if self._student is not None:
            return self._student.of(embedding, feeds)
        if self._correction is None or raw is None or len(raw) != 1:
            return raw
        return None if embedding is None else self._correction(raw, embedding)

    def again(self, episodes: Episodes) -> tuple[list[np.ndarray], np.ndarray]:
        """What this state answers to episodes: answers, and bool [N]: for which it can be told from what was kept."""
        answers: list[np.ndarray] = []
        known = np.zeros(len(episodes), bool)
        for i, raw in enumerate(episodes.fast):
            embedding = None if episodes.embedding is None else episodes.embedding[i]
            if embedding is not None and np.isnan(embedding).any():
                embedding = None
            answer = self._changed(raw, embedding, episodes.inputs[i])
            if answer is not None:
                answers.append(answer)
                known[i] = True
        return answers, known


def _name(task: Task) -> str:
    return task.output if task.output is not None else "scores"


class _StudentRun:
    """A student's session, on kernels for few bits where they are installed."""

    def __init__(self, student: Student) -> None:
        from ronn.plugins import registry
        from ronn.session import Session

        few_bits = any(r.name == "bitnet" and r.ok and r.devices() for r in registry().records)
        self._source = student.source
        self._session: Session = Session(
            student.model, providers=["bitnet", "reference"] if few_bits else None, options={"threads": 1}
        )
        shape = self._session.inputs[0].shape
        assert shape is not None and isinstance(shape[1], int)
        self._dims = shape[1]

    def of(self, embedding: np.ndarray | None, feeds: Mapping[str, Any] | None) -> np.ndarray | None:
        if self._source == "embedding":
            return None if embedding is None else self._rows(embedding)
        return None if feeds is None else self.of_feeds(feeds)

    def of_feeds(self, feeds: Mapping[str, Any]) -> np.ndarray | None:
        """None where the input is missing, or has no whole number of rows."""
        given = feeds.get(self._source)
        return None if given is None else self._rows(np.asarray(given, np.float32))

    def _rows(self, given: np.ndarray) -> np.ndarray | None:
        if given.size == 0 or given.size % self._dims:
            return None
        found: np.ndarray = self._session.run({"x": given.reshape(-1, self._dims)})[0]
        return found


def losses_of(task: Task, answers: Sequence[np.ndarray], full: Sequence[np.ndarray | None]) -> np.ndarray:
    """Losses float64 [N] between answers; NaN where the expensive model's is not known."""
    pairs = zip(answers, full, strict=True)
    return np.array([np.nan if b is None else task.loss(a, b) for a, b in pairs], np.float64)
