"""What a memory folder holds, for programs that only look: a session may be using it."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.cached import cached_property
from ronn_hrm.errors import StateError
from ronn_hrm.history import read_history
from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.memory.episode import AUDITED
from ronn_hrm.memory.episodic import EpisodicStore

if TYPE_CHECKING:
    from ronn_hrm.assess.groups import Group
    from ronn_hrm.certify import Records
    from ronn_hrm.guarantee.certificate import Certificate
    from ronn_hrm.guarantee.settings import Guarantee
    from ronn_hrm.memory.episode import Episodes
    from ronn_hrm.state import State
    from ronn_hrm.task import Task

SETTINGS = "settings"
"""The name under which a session's store keeps what ``settings_data`` gives."""


def settings_data(**parts: Any) -> dict[str, Any]:
    """What a session keeps of its settings, so that its folder can be understood alone: ``task``, ``assessor``,
    ``guarantee``, ``audit``, ``policy`` (objects with ``as_data``), ``fast``, ``full`` (paths or None)."""
    return {name: part.as_data() if hasattr(part, "as_data") else part for name, part in parts.items()}


class Kept:
    """A memory folder, opened to be read. StateError where it holds no memory."""

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self.folder = Path(folder)
        self.store = EpisodicStore(self.folder, readonly=True)
        self.archive = StateArchive(self.folder, readonly=True)
        self.windows, self.events = read_history(self.folder)
        self.settings: dict[str, Any] = self.store.get(SETTINGS, {})

    def close(self) -> None:
        self.store.close()

    def __enter__(self) -> Kept:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self.close()

    @cached_property
    def state(self) -> State | None:
        """The state that serves; None where there never was one."""
        current = self.archive.current()
        return None if current is None else self.archive.load(current)

    @property
    def certificate(self) -> Certificate | None:
        return None if self.state is None else self.state.certificate

    def needed_state(self) -> State:
        """The state that serves. StateError where there never was one."""
        if self.state is None:
            raise StateError(f"{self.folder} has no state yet", hint="calibrate, or serve requests until one is kept")
        return self.state

    @cached_property
    def guarantee(self) -> Guarantee:
        """The one that the session was made with; that of the certificate where the folder does not say."""
        from ronn_hrm.guarantee.settings import Guarantee

        said = self.settings.get("guarantee")
        if said is not None:
            return Guarantee(**said)
        made = self.certificate
        return Guarantee() if made is None else Guarantee(made.alpha, made.delta, made.kind)

    @property
    def audit_rate(self) -> float:
        return float(self.settings.get("audit", {}).get("rate", 0.05))

    @cached_property
    def task(self) -> Task | None:
        """The task, as far as plain values tell it: not for a loss of the user's own."""
        said = self.settings.get("task")
        if said is None and self.certificate is not None:
            said = self.certificate.task
        return None if said is None else task_from(said)

    @property
    def epoch(self) -> int:
        """The alarms before the certificate in force; else before the latest episode."""
        if self.certificate is not None:
            return self.certificate.epoch
        latest = self.store.episodes(limit=1, answers=False)
        return int(latest.epoch[-1]) if len(latest) else 0

    @property
    def phase(self) -> str:
        """``cold``, ``certified`` or ``guard``."""
        said = self.store.get("guard")
        if isinstance(said, Mapping) and "phase" in said:
            return str(said["phase"])
        return "certified" if self.state is not None and self.state.certified else "cold"

    def audited(self, epoch: int | None = None) -> Episodes:
        """Episodes of requests that the coin chose and that both models answered; of one epoch, or of all."""
        found = self.store.episodes(roles=AUDITED, epoch=epoch)
        return found.where(~np.isnan(found.loss)) if len(found) else found

    def records(self, episodes: Episodes) -> Records | None:
        """Episodes as the state that serves sees them (as its session does, without inputs that were not kept); None
        where the folder does not say enough to compute that: a loss or features of the user's own."""
        from ronn_hrm.assess.assessor import Assessor
        from ronn_hrm.certify import records_of
        from ronn_hrm.fast_path import CheapModel, FastPath

        state, task = self.needed_state(), self.task
        groups = groups_from(self.settings.get("assessor", {}).get("groups"))
        if task is None or groups is None or not len(episodes):
            return None
        assessor = Assessor(task, groups)
        if assessor.names != state.names:
            return None
        return records_of(FastPath(CheapModel(_Absent(), task, None), state), state, assessor, episodes)


def session_settings(kept: Kept) -> dict[str, Any]:
    """The arguments of an ``HRMSession`` on a folder, beside models and memory. StateError where the folder does not
    tell all of them: what is of the user's own, a program has to give."""
    from ronn_hrm.drift.settings import Audit
    from ronn_hrm.embed import FromInput, FromOutput

    said = kept.settings
    if not said:
        raise StateError(f"{kept.folder} does not say how its session was made", hint="use it with a session first")
    groups, task, given = groups_from(said["assessor"]["groups"]), kept.task, said["embed"]
    embed: Any = None
    if given is not None and given["kind"] in ("output", "input"):
        embed = (FromOutput if given["kind"] == "output" else FromInput)(given["name"])
    known = {"task": task, "groups": groups, "embed": embed}
    own = [n for n, v in known.items() if v is None and (n != "embed" or given is not None)]
    if embed is not None and embed.as_data() != given:
        own.append("embed")
    if said["policy"]["kind"] != "cascade":
        own.append("policy")
    if own:
        raise StateError(
            f"{kept.folder} cannot be opened without the program that made it: {', '.join(own)} of its own",
            hint="call the method of the session there, for instance session.sleep()",
        )
    return {**known, "guarantee": kept.guarantee, "audit": Audit(**said["audit"])}


class _Absent:
    """Stands for the cheap model where nothing is run: what it said is in the episodes."""

    def run(self, inputs: Any = None, **options: Any) -> Any:
        raise StateError("the cheap model is not there", hint="a folder alone cannot answer new inputs")


def task_from(data: Mapping[str, Any]) -> Task | None:
    """The task that ``as_data`` described; None for one with a loss of the user's own."""
    from ronn_hrm import task as tasks

    kinds: dict[str, Any] = {
        "classification": tasks.Classification, "regression": tasks.Regression, "token-labels": tasks.TokenLabels,
    }  # fmt: skip
    made = kinds.get(str(data.get("kind")))
    found: Task | None = None if made is None else made(**{k: v for k, v in data.items() if k != "kind"})
    return found


def groups_from(data: Any) -> list[Group] | None:
    """The groups of features that ``as_data`` described (the usual ones where nothing is said); None for others than
    RONN's own."""
    from ronn_hrm.assess import groups

    if data is None:
        return [groups.Confidence(), groups.Neighbourhood()]
    kinds: dict[str, Any] = {
        "confidence": groups.Confidence, "neighbourhood": groups.Neighbourhood, "input-shape": groups.InputShape,
        "tokens": groups.Tokens,
    }  # fmt: skip
    found: list[Group] = []
    for one in data:
        made = kinds.get(str(one.get("kind")))
        if made is None:
            return None
        found.append(made(**{k: v for k, v in one.items() if k != "kind"}))
    return found
