"""States on disk: each in a folder of its own, written beside and renamed, checked when they are read."""

from __future__ import annotations

import hashlib
import json
import math
import os
import re
import threading
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn_hrm.errors import StateError
from ronn_hrm.guarantee.certificate import Certificate
from ronn_hrm.memory import folder as folders
from ronn_hrm.memory.codec import from_bytes, to_bytes
from ronn_hrm.memory.index import FlatIndex, index_from
from ronn_hrm.state import Correction, State, Student

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer

FORMAT = 1
_HEAD = "state.json"
_CURRENT = "CURRENT"
_FILE = re.compile(r"[a-z]+(\.[a-z]+)*")
_DAMAGED = "it is damaged: promote another state, or restore a snapshot"


class StateArchive:
    """States by id, under ``folder/states``, and which of them serves (``folder/CURRENT``); or in this process.

    folder: None to keep nothing on disk. scorer_from: makes a scorer of what its ``as_data`` gave; None:
    ``ronn_hrm.scorers.from_data``. fsync: whether what is written is to survive a loss of power. limit: bytes, beyond
    which ``promote`` drops the oldest states. readonly: for programs that look at the folder of a running session. A
    state is there whole or not at all, whenever the process is killed. Any thread may call any method.
    """

    def __init__(
        self,
        folder: str | os.PathLike[str] | None = None,
        *,
        scorer_from: Callable[[dict[str, Any]], Scorer] | None = None,
        fsync: bool = True,
        limit: int | None = None,
        readonly: bool = False,
    ) -> None:
        self.folder = None if folder is None else Path(folder)
        self._scorer_from = scorer_from
        self._fsync = fsync
        self._limit = limit
        self._changing = threading.RLock()
        self._kept: dict[str, State] = {}
        self._current: str | None = None
        self._readonly = readonly
        if self.folder is not None and not readonly:
            folders.prepare(self.folder)
            folders.prepare(self.folder / "states")
            for left in (self.folder / "states").glob(".*"):  # of a process that was killed
                folders.remove_tree(left)

    def save(self, state: State) -> None:
        """Keeps a state, in place of one with the same id (which decides alike; its certificate may be older)."""
        self._check_writable()
        with self._changing:
            if self.folder is None:
                self._kept[state.id] = state
                return
            files = state_files(state)
            home = self._home(state.id)
            if not home.is_dir():
                self._save_new(home, files)
                return
            for name, data in files.items():  # the head comes last
                if not _holds(home / name, data):
                    folders.write_file(home / name, data, sync=self._fsync)

    def _save_new(self, home: Path, files: dict[str, bytes]) -> None:
        beside = home.with_name(f".{home.name}.new")
        folders.remove_tree(beside)
        serving = self.current()
        try:
            beside.mkdir(mode=0o700)
            for name, data in files.items():
                # Most new states differ from the one that serves in little more than the threshold.
                if serving is not None and folders.linked(self._home(serving) / name, beside / name, data):
                    continue
                with open(beside / name, "xb") as out:
                    out.write(data)
                    out.flush()
                    if self._fsync:
                        os.fsync(out.fileno())
            if self._fsync:
                folders.sync_folder(beside)
            os.rename(beside, home)
            if self._fsync:
                folders.sync_folder(home.parent)
        except OSError as e:
            folders.remove_tree(beside)
            raise StateError(f"{home} cannot be written: {e.strerror}", hint="make room on the disk") from e

    def load(self, id: str) -> State:
        """The state. StateError where there is none of that id, or where it is not what was saved."""
        if self.folder is None:
            found = self._kept.get(id)
            if found is None:
                raise StateError(f"there is no state {id!r}", hint=f"there are {', '.join(self.ids()) or 'none'}")
            return found
        home = self._home(id)
        try:
            head = json.loads((home / _HEAD).read_bytes())
        except FileNotFoundError as e:
            raise StateError(f"there is no state {id!r} in {home.parent}") from e
        except (OSError, ValueError, RecursionError) as e:
            raise StateError(f"{home / _HEAD} cannot be read: {e}", hint=_DAMAGED) from e
        try:
            if head["format"] != FORMAT:
                raise StateError(
                    f"{home} has format {head['format']}, and this version reads {FORMAT}",
                    hint="use the version of ronn-hrm that wrote it",
                )
            files = {name: _read(home, name, digest) for name, digest in head["files"].items()}
            state = _state_of(head, files, self._scorer())
        except (KeyError, TypeError, ValueError, AttributeError) as e:
            if isinstance(e, StateError):
                raise
            raise StateError(f"{home} does not hold a state: {e!r}", hint=_DAMAGED) from e
        if state.id != id:
            raise StateError(f"{home} holds state {state.id}", hint=_DAMAGED)
        return state

    def current(self) -> str | None:
        """The id of the state that serves, or None."""
        if self.folder is None:
            return self._current
        try:
            text = (self.folder / _CURRENT).read_text("ascii").strip()
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as e:
            raise StateError(f"{self.folder / _CURRENT} cannot be read: {e}", hint=_DAMAGED) from e
        if not _is_id(text):
            raise StateError(f"{self.folder / _CURRENT} names no state: {text!r}", hint=_DAMAGED)
        return text

    def promote(self, id: str) -> None:
        """Makes a saved state the one that serves; at once, or, where the process is killed, not at all."""
        self._check_writable()
        with self._changing:
            if id not in self:
                raise StateError(f"state {id!r} is not saved", hint="save it before it is promoted")
            if self.folder is None:
                self._current = id
            else:
                folders.write_file(self.folder / _CURRENT, f"{id}\n".encode(), sync=self._fsync)
            self._trim()

    def __contains__(self, id: str) -> bool:
        if self.folder is None:
            return id in self._kept
        return _is_id(id) and (self._home(id) / _HEAD).is_file()

    def ids(self) -> list[str]:
        """Of all states, in the order of their numbers."""
        if self.folder is None:
            return sorted(self._kept, key=lambda id: self._kept[id].number)
        states = self.folder / "states"
        found = [path.name for path in states.iterdir() if _is_id(path.name)] if states.is_dir() else []
        return sorted((id for id in found if id in self), key=self._number)

    def prune(self, keep: int = 5, needed: Collection[str] = ()) -> list[str]:
        """Removes all but the newest ``keep``, the one that serves, and those ``needed`` (for instance to replay the
        log: ``EpisodicStore.states``); the ids of those removed."""
        with self._changing:
            ids = self.ids()
            stay = {*ids[max(len(ids) - keep, 0) :], *needed, self.current()}
            return self._remove_all(id for id in ids if id not in stay)

    def remove(self, id: str) -> None:
        """Removes a state that does not serve."""
        self._check_writable()
        with self._changing:
            if id == self.current():
                raise StateError(f"state {id} serves", hint="promote another before it is removed")
            self._remove_all([id])

    def holding(self, requests: np.ndarray) -> list[str]:
        """Ids of states that remember inputs of some requests."""
        return [id for id in self.ids() if np.isin(self._remembered(id), requests).any()]

    def forget(self, requests: np.ndarray) -> list[str]:
        """Removes the states that remember inputs of some requests, all but the one that serves; their ids. For where
        these are forgotten, and a state without them is made and promoted."""
        with self._changing:
            serving = self.current()
            return self._remove_all(id for id in self.holding(requests) if id != serving)

    def bytes(self) -> int:
        """What all states take; what several share is counted once."""
        seen: set[object] = set()
        return sum(self._size(id, seen) for id in self.ids())

    def _remembered(self, id: str) -> np.ndarray:
        """Requests whose inputs a state remembers."""
        if self.folder is None:
            neighbours = self._kept[id].neighbours
            return np.empty(0, np.int64) if neighbours is None else neighbours.requests
        try:
            return from_bytes((self._home(id) / "neighbours.requests.npy").read_bytes())
        except FileNotFoundError:
            return np.empty(0, np.int64)

    def _remove_all(self, ids: Iterable[str]) -> list[str]:
        self._check_writable()
        gone = list(ids)
        for id in gone:
            if self.folder is None:
                self._kept.pop(id, None)
            else:
                folders.remove_tree(self._home(id))
        return gone

    def _trim(self) -> None:
        """Keeps within the limit: the state that serves, and the newest others."""
        if self._limit is None:
            return
        serving, seen = self.current(), set[object]()
        total = 0 if serving is None else self._size(serving, seen)
        newest = [id for id in reversed(self.ids()) if id != serving]
        for at, id in enumerate(newest):
            total += self._size(id, seen)
            if total > self._limit:
                self._remove_all(newest[at:])
                return

    def _size(self, id: str, seen: set[object]) -> int:
        """Bytes of a state, without parts that were ``seen`` before."""
        if self.folder is None:
            parts = _parts_of(self._kept[id])
        else:
            found = [path.stat() for path in self._home(id).iterdir()]
            parts = {(one.st_dev, one.st_ino): one.st_size for one in found}
        size = sum(count for part, count in parts.items() if part not in seen)
        seen.update(parts)
        return size

    def _check_writable(self) -> None:
        if self._readonly:
            raise folders.readonly(self.folder)

    def _home(self, id: str) -> Path:
        if not _is_id(id):
            raise StateError(f"{id!r} is not the id of a state", hint="16 hex digits")
        assert self.folder is not None
        return self.folder / "states" / id

    def _number(self, id: str) -> int:
        try:
            return int(json.loads((self._home(id) / _HEAD).read_bytes())["number"])
        except (OSError, ValueError, KeyError, TypeError):
            return -1

    def _scorer(self) -> Callable[[dict[str, Any]], Scorer]:
        if self._scorer_from is not None:
            return self._scorer_from
        from ronn_hrm.scorers import from_data

        return from_data


def _holds(path: Path, data: bytes) -> bool:
    return path.is_file() and path.read_bytes() == data


def _parts_of(state: State) -> dict[object, int]:
    """What a state keeps in this process: bytes by object."""
    student, correction = state.student, state.correction
    parts: dict[object, int] = {id(state): 2000}
    if isinstance(state.neighbours, FlatIndex):
        parts[id(state.neighbours)] = state.neighbours.nbytes
    if correction is not None:
        parts[id(correction)] = correction.weight.nbytes + correction.bias.nbytes
    if student is not None:
        parts[id(student)] = len(student.model)
    return parts


def _read(home: Path, name: str, digest: str) -> bytes:
    path = home / name
    if _FILE.fullmatch(name) is None:
        raise StateError(f"{path} is no file of a state", hint=_DAMAGED)
    try:
        data = path.read_bytes()
    except OSError as e:
        raise StateError(f"{path} cannot be read: {e.strerror}", hint=_DAMAGED) from e
    if _digest(data) != digest:
        raise StateError(f"{path} is not what was saved", hint=_DAMAGED)
    return data


def state_files(state: State) -> dict[str, bytes]:
    """A state as files by name; the last is the head, which names the others and what is in them."""
    files: dict[str, bytes] = {}
    index = state.neighbours
    kind = None
    if index is not None:
        kind = getattr(index, "kind", None)
        if kind is None or not hasattr(index, "arrays"):
            raise StateError(
                f"neighbours of {type(index).__name__} cannot be kept on disk", hint="use FlatIndex or AnnIndex"
            )
        files |= {f"neighbours.{name}.npy": to_bytes(array) for name, array in index.arrays().items()}
    if state.correction is not None:
        files["correction.weight.npy"] = to_bytes(state.correction.weight)
        files["correction.bias.npy"] = to_bytes(state.correction.bias)
    if state.student is not None:
        files["student.onnx"] = bytes(state.student.model)
    head = {
        "format": FORMAT,
        "id": state.id,
        "number": state.number,
        "names": list(state.names),
        "scorer": state.scorer.as_data(),
        "lam": _number_text(state.lam),
        "certificate": None if state.certificate is None else state.certificate.as_data(),
        "fingerprints": state.fingerprints,
        "neighbours": kind,
        "student": None if state.student is None else state.student.source,
        "files": {name: _digest(data) for name, data in files.items()},
    }
    return files | {_HEAD: (json.dumps(head, indent=1, allow_nan=False) + "\n").encode()}


def _state_of(head: dict[str, Any], files: dict[str, bytes], scorer_from: Callable[[dict[str, Any]], Scorer]) -> State:
    arrays = {name: from_bytes(data) for name, data in files.items() if name.endswith(".npy")}
    neighbours = correction = student = None
    if head["neighbours"] is not None:
        found = {name.split(".")[1]: array for name, array in arrays.items() if name.startswith("neighbours.")}
        neighbours = index_from(head["neighbours"], found)
    if "correction.weight.npy" in arrays:
        correction = Correction(arrays["correction.weight.npy"], arrays["correction.bias.npy"])
    if head["student"] is not None:
        student = Student(files["student.onnx"], head["student"])
    return State(
        number=int(head["number"]),
        names=tuple(head["names"]),
        scorer=scorer_from(head["scorer"]),
        lam=float(head["lam"]),
        certificate=None if head["certificate"] is None else Certificate.from_data(head["certificate"]),
        neighbours=neighbours,
        correction=correction,
        student=student,
        fingerprints=dict(head["fingerprints"]),
    )


def _number_text(value: float) -> float | str:
    """JSON has no infinity."""
    return float(value) if math.isfinite(value) else repr(float(value))


def _digest(data: bytes) -> str:
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def _is_id(text: str) -> bool:
    return len(text) == 16 and all(c in "0123456789abcdef" for c in text)
