"""G6: what routing adds to a request, in microseconds on one thread."""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable
from statistics import median

import numpy as np

import ronn_hrm as hrm
from benchmarks.hrm import digits
from benchmarks.hrm.drive import known_coin, on_digits
from benchmarks.hrm.goal import Goal
from ronn_hrm.assess.assessor import Assessor
from ronn_hrm.memory.index import FlatIndex
from ronn_hrm.requests import digest_of
from ronn_hrm.scorers import LogisticScorer, choose

BURST, BURSTS = 200, 15
PAUSE = 0.02  # seconds between bursts, so that a clock that was throttled recovers


def medians(contestants: dict[str, Callable[[], object]]) -> dict[str, float]:
    """Microseconds of one call: the median of each burst, and of these the least; bursts are taken in turn."""
    found: dict[str, list[float]] = {name: [] for name in contestants}
    clock = time.perf_counter
    for _ in range(BURSTS):
        for name, call in contestants.items():
            time.sleep(PAUSE)
            spent = []
            for _ in range(BURST):
                began = clock()
                call()
                spent.append(clock() - began)
            found[name].append(median(spent))
    return {name: 1e6 * min(times) for name, times in found.items()}


def overhead() -> Goal:
    """G6: a hit of the exact cache, the router without and with memory, and the writing down of an episode."""
    goal = Goal("G6", f"what routing adds, p50 in microseconds (least of {BURSTS} bursts of {BURST})")
    data = digits.digits()
    x = data.x[:7000]
    fast, full = (digits.scores(which, x) for which in ("fast", "full"))
    vectors = (x @ hrm.FromInput.principal("x", data.train_x, 64).projection).astype(np.float16).astype(np.float32)
    losses = (fast.argmax(axis=1) != full.argmax(axis=1)).astype(float)
    index = FlatIndex(vectors[:5000], full[:5000].argmax(axis=1), np.arange(5000))
    task = hrm.Classification()
    plain, near = Assessor(task, (hrm.Confidence(),)), Assessor(task)
    answers = list(fast[:, None])
    alone = choose(plain.many(answers[5000:], None, None), plain.names, losses[5000:])
    with_memory = LogisticScorer.fit(near.many(answers[5000:], vectors[5000:], index), near.names, losses[5000:])
    turn = itertools.cycle(range(5000, 7000))

    def route() -> None:
        alone.score(plain.assess(answers[next(turn)], None, None)[0])

    def route_with_memory() -> None:
        i = next(turn)
        with_memory.score(near.assess(answers[i], vectors[i], index)[0])

    with known_coin(0), on_digits() as session:
        feeds = {"x": x[:1]}
        session.run(feeds)
        session.drain()
        store = hrm.EpisodicStore(None, hrm.Memory())
        numbers = itertools.count()
        embedding, digest = vectors[0].astype(np.float16), bytes(16)
        features = np.array(near.assess(answers[0], vectors[0], index)[0], np.float32)

        def log() -> None:
            store.append(
                hrm.Episode(
                    request=next(numbers), digest=digest, at=0.0, role="train", path="full", features=features,
                    embedding=embedding, fast=answers[0], full=answers[0], loss=0.0,
                )
            )  # fmt: skip

        times = medians(
            {
                "hit": lambda: session.run(feeds), "digest": lambda: digest_of(feeds, b""), "route": route,
                "route with memory": route_with_memory, "search": lambda: index.search(vectors[next(turn)], near.k),
                "log": log,
            }
        )  # fmt: skip
        store.close()
    goal.figures |= times
    hit = times["hit"] - times["digest"]
    for what, value, most, prototype in (
        ("cache hit, hashing not counted", hit, 10.0, "-"),
        ("router without memory (assessment and score)", times["route"], 15.0, "16"),
        ("router with 5,000 remembered inputs of 64 numbers", times["route with memory"], 60.0, "69"),
        ("an episode handed to memory", times["log"], 5.0, "2-6"),
    ):
        goal.add(what, f"{value:.1f}", target=f"<= {most:g}", prototype=prototype, met=value <= most)
    goal.add("hashing of 3 KB", f"{times['digest']:.1f}", prototype="2.6")
    goal.add("search among the 5,000 alone", f"{times['search']:.1f}", prototype="24")
    return goal
