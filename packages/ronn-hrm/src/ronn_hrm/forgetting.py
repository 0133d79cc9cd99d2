"""Forgetting in a folder that no session has open: without models, so that nothing can be certified anew."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from ronn.records import replace
from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.memory.episodic import EpisodicStore


def forget(
    folder: Path, *, digest: bytes | None = None, namespace: str | None = None, before: float | None = None
) -> dict[str, Any]:
    """Removes episodes, log entries and kept answers for which all that is given holds, and every state that has such
    episodes in its memory. Where the state that serves is among them, one without memory and certificate serves.

    Returns ``episodes`` (how many, kept answers included), ``states`` (ids of those removed), ``voided`` (whether a
    certificate went). StateError where a session has the folder open; OptionError where nothing is given.
    """
    with EpisodicStore(folder) as store:
        gone = store.requests_of(digest=digest, namespace=namespace, before=before)
        archive = StateArchive(folder)
        states = archive.holding(gone)
        current, voided = archive.current(), False
        if current in states:
            state = archive.load(current)
            voided = state.certificate is not None
            bare = replace(state, number=state.number + 1, lam=math.inf, certificate=None, neighbours=None, id="")
            archive.save(bare)
            archive.promote(bare.id)
            guard = store.get("guard")
            if isinstance(guard, dict) and guard.get("phase") == "certified":
                store.put("guard", {**guard, "phase": "cold"})
        count = store.forget(digest=digest, namespace=namespace, before=before)
        for id in states:
            archive.remove(id)
    return {"episodes": count, "states": states, "voided": voided}
