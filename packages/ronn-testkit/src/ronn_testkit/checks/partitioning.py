"""Partitioning: with some claims switched off a model still runs right, with the copies that it needs."""

from __future__ import annotations

import random
from typing import Any

from ronn.plugins import registry
from ronn.provider import No
from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import fill

LENGTH = 7
SUBSETS = 8


def claims_switched_off(subject: Subject) -> None:
    """Random subsets of a chain are refused: each node runs where it should, the result is the reference's."""
    if subject.name == "reference":
        raise NotApplicable("the reference is what stands behind the others")
    with subject.registered() as provider:
        model = chain(probe.chain_ops(subject, LENGTH), [9, 17])
        x = fill((9, 17), "float32", 2)
        with Session(model, providers=["reference"], options={"optimization": "none"}) as oracle:
            expected = oracle.run(x)[0]
        names = [n.name for n in model.graph.node]
        rng = random.Random(7)
        original = provider.supports
        for _ in range(SUBSETS):
            off = {n for n in names if rng.random() < 0.5}

            def supports(node: Any, device: Any, off: set[str] = off) -> Any:
                return No("switched off by the test") if node.name in off else original(node, device)

            provider.supports = supports  # type: ignore[method-assign]
            try:
                with subject.session(model, fallback=True) as session:
                    got = session.run(x)[0]
                    placed = {row.node: row.provider for row in session.placement()}
                    copies = sum(1 for row in session.placement() if row.op.endswith("Copy"))
            finally:
                del provider.supports
            _check(subject, names, off, placed, copies)
            difference = explain_difference(got, expected, "close")
            if difference:
                raise CheckFailed(f"with {sorted(off)} on the reference: {difference}")


def _check(subject: Subject, names: list[str], off: set[str], placed: dict[str, str], copies: int) -> None:
    # A pass of the provider may have fused nodes: those carry other names.
    for name in set(names) & set(placed):
        want = "reference" if name in off else subject.name
        if placed[name] != want:
            raise CheckFailed(f"node {name!r} runs on {placed[name]}, not on {want}")
    if not off and "reference" in placed.values():
        raise CheckFailed("a node that the provider claims runs on the reference")
    if registry().get(subject.name).devices()[0].memory == "host":
        if copies:
            raise CheckFailed(f"{copies} copies between parts that are both in host memory")
        return
    # ``x`` may be needed on both sides of every boundary; a value crosses each way at most once.
    if off != set(names) and not 1 <= copies <= 2 * len(names) + 2:
        raise CheckFailed(f"{copies} copies for {len(names)} nodes, {len(off)} of them on the host")
