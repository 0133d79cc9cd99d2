"""Rows of the SQLite file as episodes and log entries."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np

from ronn.errors import OptionError
from ronn.records import dataclass
from ronn_hrm.decision import Decision
from ronn_hrm.errors import StateError
from ronn_hrm.memory.codec import from_bytes, unpack
from ronn_hrm.memory.episode import Episodes
from ronn_hrm.state import State

COLUMNS = [
    "request", "digest", "at", "role", "path", "features", "namespace", "epoch", "state", "embedding", "loss", "score",
    "fast", "full", "inputs",
]  # fmt: skip
LOGGED = (
    "requests.id, digest, at, namespace, path, role, score, lam, state, names.names, features, neighbours, seconds, "
    "feedback.value"
)
LOGS = "requests LEFT JOIN names ON names.id = requests.names LEFT JOIN feedback ON feedback.request = requests.id"


@dataclass(frozen=True, slots=True)
class Logged:
    """How one request was answered, as the log has it.

    decision: as it was, with features; ``reasons`` are empty, and come back with the state: ``explained``. feedback:
    what a person said that the answer should have been, or None.
    """

    decision: Decision
    digest: bytes
    namespace: str
    at: float
    feedback: Any = None

    def explained(self, state: State) -> Decision:
        """The decision with the parts of its score, computed on the state that decided. StateError where it is another
        state, or does not give the same score again, to the bit."""
        d = self.decision
        if state.id != d.state:
            raise StateError(f"request {d.id} was decided by state {d.state}, not by {state.id}")
        if d.score is None:
            return d
        values = [value for _, value in d.features]
        score, _ = state.decide(values)
        if score != d.score:
            raise StateError(f"request {d.id}: state {state.id} gives {score!r}, and the log says {d.score!r}")
        return Decision(
            d.id,
            d.path,
            d.score,
            d.lam,
            state.scorer.parts(values),
            d.features,
            d.state,
            d.role,
            d.neighbours,
            d.seconds,
        )


def decode(rows: list[tuple[Any, ...]], where: Path | None) -> Episodes:
    """Columns of rows of ``COLUMNS``."""
    if not rows:
        return Episodes.of([])
    try:
        (request, digest, at, role, path, features, namespace, epoch, state, embedding, loss, score, fast, full, inputs
         ) = zip(*rows, strict=True)  # fmt: skip
        return Episodes(
            request=np.array(request, np.int64),
            digest=list(digest),
            at=np.array(at, np.float64),
            role=list(role),
            features=_table(features, "<f4"),
            embedding=None if all(e is None for e in embedding) else _table(embedding, "<f2"),
            fast=[None if data is None else from_bytes(data) for data in fast],
            full=[None if data is None else from_bytes(data) for data in full],
            loss=np.array([math.nan if value is None else value for value in loss], np.float64),
            score=np.array([math.nan if value is None else value for value in score], np.float64),
            path=list(path),
            state=list(state),
            epoch=np.array(epoch, np.int64),
            namespace=list(namespace),
            inputs=[None if data is None else unpack(data) for data in inputs],
        )
    except (ValueError, TypeError, AttributeError) as e:
        raise StateError(
            f"{where}: an episode cannot be read: {e}", hint="the file is damaged: restore a snapshot"
        ) from e


def logged_of(row: tuple[Any, ...], where: Path | None) -> Logged:
    """The log entry of a row of ``LOGGED``."""
    number, digest, at, namespace, path, role, score, lam, state, names, features, neighbours, seconds, said = row
    try:
        values = np.frombuffer(features, "<f8").tolist()
        pairs = tuple(zip(json.loads(names), values, strict=True))
        near = tuple(np.frombuffer(neighbours, "<i8").tolist())
        lam = math.nan if lam is None else lam
        feedback = None if said is None else json.loads(said)
        decision = Decision(number, path, score, lam, (), pairs, state, role, near, seconds)
    except (ValueError, TypeError) as e:
        raise StateError(f"{where}: a log entry cannot be read: {e}", hint="the file is damaged") from e
    return Logged(decision, digest, namespace, at, feedback)


def _table(blobs: tuple[bytes | None, ...], dtype: str) -> np.ndarray:
    """float32 [N, widest], NaN where a row has nothing."""
    width = max((len(b) for b in blobs if b is not None), default=0) // np.dtype(dtype).itemsize
    if width and all(b is not None and len(b) == len(blobs[0]) for b in blobs):  # type: ignore[arg-type]
        return np.frombuffer(b"".join(blobs), dtype).reshape(len(blobs), width).astype(np.float32)  # type: ignore[arg-type]
    table = np.full((len(blobs), width), np.nan, np.float32)
    for row, blob in zip(table, blobs, strict=True):
        if blob is not None:
            values = np.frombuffer(blob, dtype)
            row[: len(values)] = values
    return table


def condition_of(digest: bytes | None, namespace: str | None, before: float | None) -> tuple[str, list[Any]]:
    """The SQL for what is to be forgotten, and its parameters. OptionError where nothing is named."""
    given = [("digest = ?", digest), ("namespace = ?", namespace), ("at < ?", before)]
    given = [(condition, value) for condition, value in given if value is not None]
    if not given:
        raise OptionError("nothing to forget was named", hint="forget(digest=...), namespace= or before=")
    return " AND ".join(condition for condition, _ in given), [value for _, value in given]


def json_of(name: str, value: Any) -> str:
    """What is kept under a name as JSON. OptionError where it has no form there."""
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as e:
        raise OptionError(f"what is kept as {name!r} has no form in JSON: {e}") from e


def size_of(path: Path | None) -> int:
    """Bytes of a SQLite file and its journal."""
    if path is None:
        return 0
    return sum(p.stat().st_size for p in (path, path.with_name(path.name + "-wal")) if p.exists())
