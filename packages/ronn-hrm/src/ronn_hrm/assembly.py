"""Putting a session together: models, memory, the state it goes on from, and who does what."""

from __future__ import annotations

import json
import math
import time
from hashlib import blake2b
from typing import TYPE_CHECKING, Any

from ronn.debug import WARNING, tell
from ronn.records import replace
from ronn_hrm.assess.assessor import Assessor, own_groups
from ronn_hrm.checks import check_embed, check_pair, check_scorer, check_settings
from ronn_hrm.drift.guard import Guard
from ronn_hrm.fast_path import CheapModel, FastPath
from ronn_hrm.fingerprint import fingerprint
from ronn_hrm.history import History
from ronn_hrm.hooks import hooks
from ronn_hrm.keeper import Keeper
from ronn_hrm.learner import Learner
from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.memory.episodic import EpisodicStore
from ronn_hrm.memory.working import ExactCache
from ronn_hrm.metrics import Metrics
from ronn_hrm.models import ExpensiveModel, input_names_of, opened
from ronn_hrm.parts import Parts
from ronn_hrm.policies import Cascade
from ronn_hrm.requests import Coin
from ronn_hrm.router import Live, Router
from ronn_hrm.scorers import unfitted
from ronn_hrm.service import Service
from ronn_hrm.state import State
from ronn_hrm.supervisor import Supervisor
from ronn_hrm.task import Classification
from ronn_hrm.watching import keep_settings, watch

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer


Pieces = tuple[Parts, Router, Supervisor, Learner]


def assemble(
    fast: Any, full: Any, *, task: Any, embed: Any, policy: Any, guarantee: Any, audit: Any, memory: Any,
    scorer: Scorer | str, groups: Any, gates: Any, escalations: Any, on_drift: str, sleep: Any,
    metrics: Metrics, kept: tuple[EpisodicStore, StateArchive] | None = None,
) -> Pieces:  # fmt: skip
    """The pieces of an ``HRMSession``, which has the arguments. kept: memory to go on with; None: what is in the folder
    that ``memory`` names, or nothing."""
    check_settings(
        {"task": task, "embed": embed, "policy": policy, "guarantee": guarantee, "audit": audit, "memory": memory,
         "scorer": scorer, "groups": groups, "gates": gates, "escalations": escalations, "sleep": sleep}
    )  # fmt: skip
    task = Classification() if task is None else task
    cheap = CheapModel(opened(fast), task, embed)
    check_embed(embed, cheap.source)
    found = hooks()
    groups = [*own_groups(), *found.features(task)] if groups is None else groups
    assessor = Assessor(task, groups)
    check_scorer(scorer, assessor.names)
    expensive = ExpensiveModel(full, lambda session: check_pair(cheap, session, task))
    fingerprints = {
        "fast": fingerprint(cheap.source),
        "task": _short(task.as_data()),
        "assessor": _short([assessor.as_data(), None if embed is None else embed.as_data()]),
    }
    if memory.path is not None or expensive.is_open:
        fingerprints["full"] = expensive.fingerprint()
    if kept is None:
        other = found.store(memory)  # first: it makes sure that nobody else has the folder
        store = EpisodicStore(memory.path, memory) if other is None else other
        kept = store, StateArchive(memory.path, fsync=memory.fsync != "never", limit=memory.state_bytes)
    store, archive = kept
    cache = ExactCache(memory.exact_bytes, memory.ttl_seconds, fingerprints.get("full", ""))
    if memory.path is not None and memory.exact_on_disk:
        store.recall_exact(cache)
    parts = Parts(
        cheap=cheap, full=expensive, task=task, assessor=assessor, policy=Cascade() if policy is None else policy,
        guarantee=guarantee, audit=audit, gates=tuple(gates), escalations=escalations, memory=memory, cache=cache,
        store=store, coin=Coin(store.key, store.starts), metrics=metrics, history=History(metrics, store.folder),
        input_names=input_names_of(cheap.source), names=None, valid_since=-math.inf,
    )  # fmt: skip
    guard, state = _going_on(parts, archive, fingerprints)
    if state is None:
        first = unfitted(assessor.names) if scorer == "auto" else scorer
        assert not isinstance(first, str)
        state = State(0, assessor.names, first, math.inf, None, None, None, None, fingerprints)
    archive.save(state)  # what it decides can be decided again
    paused = "guard" if guard.phase == "guard" else "cold-start"
    router = Router(parts, Live(state, FastPath(cheap, state), parts.policy, guard.epoch, paused))
    keeper = Keeper("ronn-hrm")
    service = Service(parts, router, guard, archive, keeper, on_drift=on_drift)
    learner = Learner(
        parts, service, fingerprints, scorer=scorer, sleep=sleep, fit=found.scorer(assessor.names, task),
        consolidator=found.consolidator(sleep),
    )  # fmt: skip
    supervisor = Supervisor(parts, router, service, keeper, learner, sleep)
    watch(parts, guard, keeper, lambda: router.live.state)
    keep_settings(parts)
    return parts, router, supervisor, learner


def _going_on(parts: Parts, archive: StateArchive, fingerprints: dict[str, str]) -> tuple[Guard, State | None]:
    """The guard and the state that memory holds; void where they are of other models, or where an alarm came after the
    state."""
    store, alpha, run_length = parts.store, parts.guarantee.alpha, parts.audit.run_length
    audit, found = hooks().drift_detector(alpha, run_length), store.get("guard")
    guard = Guard(alpha, run_length, audit) if found is None else Guard.from_data(found, alpha, run_length, audit)
    before = store.get("fingerprints")
    parts.valid_since = store.get("valid since", -math.inf)
    if before != fingerprints:
        store.put("fingerprints", fingerprints)
        if before is not None:
            changed = [name for name in fingerprints if before.get(name) != fingerprints[name]]
            guard.void(f"changed since: {', '.join(changed)}", time.time())
            parts.valid_since = time.time()
            store.put("valid since", parts.valid_since)
            store.put("guard", guard.as_data())
            tell(
                WARNING,
                "hrm",
                f"{parts.memory.path}: what was certified and learnt is void: {', '.join(changed)} changed",
            )
            return guard, None
    current = archive.current()
    if current is None:
        return guard, None
    state = archive.load(current)
    certificate = state.certificate
    if certificate is None or certificate.epoch != guard.epoch or certificate.alpha != alpha:
        return guard, replace(state, lam=math.inf, certificate=None, id="")
    if guard.phase != "certified":  # ended between taking the state into service and noting that
        guard.certify(guard.epoch)
    return guard, state


def _short(data: Any) -> str:
    return blake2b(json.dumps(data, sort_keys=True).encode(), digest_size=8).hexdigest()
