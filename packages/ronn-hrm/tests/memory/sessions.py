"""Whole sessions of two models, to be killed while they answer, audit, certify and consolidate."""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
from pathlib import Path

import numpy as np
import pair
from memory.killed import Events, say

import ronn
import ronn_hrm as hrm
from ronn_hrm.fast_path import FastPath
from ronn_hrm.memory.archive import StateArchive
from ronn_hrm.state import State


class Models:
    """A cheap and an expensive model for digits, opened once."""

    def __init__(self) -> None:
        models = (pair.fast_model(), pair.full_model())
        self.fast, self.full = (ronn.Session(m, providers="cpu", options={"threads": 1}) for m in models)
        self.images = pair.traffic()[0]

    def open(self, folder: Path | None) -> hrm.HRMSession:
        return hrm.HRMSession(
            self.fast, self.full, embed=hrm.FromInput("x"), guarantee=hrm.Guarantee(alpha=0.05),
            audit=hrm.Audit(rate=0.3, max_rate=0.5), memory=hrm.Memory(folder, episodes=1000),
        )  # fmt: skip

    def met(self) -> Models:
        """With everything imported that a session needs, so that processes forked from this one need not."""
        rng = np.random.default_rng(0)
        with self.open(None) as session:
            for _ in range(500):
                session.run(self.request(rng))
            session.drain(60)
            for strategy in ("adapter", "memory"):
                session.consolidate(strategy=strategy)
            session.calibrate()
        return self

    def request(self, rng: np.random.Generator) -> np.ndarray:
        row = self.images[rng.integers(len(self.images))]
        return (row + rng.normal(size=64) * 0.05).astype(np.float32)[None]

    def decisions_of(self, session: hrm.HRMSession, state: State) -> str:
        """What a state answers, scores and decides on fixed inputs, and by which neighbours, to the bit."""
        seen = hashlib.blake2b(digest_size=16)
        parts = session._parts
        fast = FastPath(parts.cheap, state)
        for x in self.images[:20]:
            feeds = {"x": x[None]}
            run = fast.run(feeds)
            features, near = parts.assessor.assess(run.answer, run.embedding, state.neighbours, feeds)
            seen.update(np.asarray(run.answer).tobytes())
            seen.update(repr((tuple(features), near, state.decide(features))).encode())
        return seen.hexdigest()

    def write(self, folder: Path, run: int, seed: int, point: int | None, opened: int) -> None:
        """Answers on one thread, and consolidates on another, until it is killed."""
        events = Events(point)
        session = self.open(folder)
        events.watch(session._parts.store)
        save, promote = StateArchive.save, StateArchive.promote

        def saved(archive: StateArchive, state: State) -> None:
            say(f"state {state.id} {self.decisions_of(session, state)}")
            save(archive, state)

        def promoted(archive: StateArchive, id: str) -> None:
            say(f"promoting {id}")
            promote(archive, id)
            say(f"promoted {id}")

        StateArchive.save, StateArchive.promote = saved, promoted  # type: ignore[method-assign]
        say("open")
        os.close(opened)
        threading.Thread(target=self._answer, args=(session, seed), daemon=True).start()
        for turn in itertools.count(seed):
            if turn % 3:
                session.calibrate()
            else:
                session.consolidate(strategy=("adapter", "memory")[turn % 2])

    def _answer(self, session: hrm.HRMSession, seed: int) -> None:
        rng = np.random.default_rng(seed)
        number = 0
        while True:
            for _ in range(int(rng.integers(1, 30))):
                first, (_, why) = number == 0, session.run(self.request(rng), explain=True)
                number = why.id
                if first:
                    say(f"first {number}")
            session._parts.store.flush()
            say(f"flushed {number}")
