"""Dynamic shapes: one session, fifty sizes, right each time, nothing compiled twice, nothing kept for ever."""

from __future__ import annotations

from typing import Any

from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import fill

SIZES = [(n % 7, 1 + (n * 13) % 67) for n in range(50)]


def fifty_shapes(subject: Subject) -> None:
    """Fifty sizes through one session equal the reference; a second round over them compiles nothing again."""
    from ronn.session import Session

    with subject.registered() as provider:
        model = chain(probe.chain_ops(subject), ["N", "M"])
        inputs = [fill(size, "float32", index) for index, size in enumerate(SIZES)]
        with Session(model, providers=["reference"], options={"optimization": "none"}) as oracle:
            expected = [oracle.run(x)["y"] for x in inputs]
        compiled = 0
        original = provider.compile

        def counting(*args: Any) -> Any:
            nonlocal compiled
            compiled += 1
            return original(*args)

        provider.compile = counting  # type: ignore[method-assign, assignment]
        try:
            with subject.session(model, plan_cache=len(SIZES)) as session:
                for round_ in range(2):
                    before = compiled
                    for x, want in zip(inputs, expected, strict=True):
                        difference = explain_difference(session.run(x)["y"], want, "close")
                        if difference:
                            raise CheckFailed(f"with x float32{list(x.shape)}: {difference}")
                    if round_ == 1 and compiled > before:
                        raise CheckFailed(f"{compiled - before} compilations for sizes that were compiled before")
        finally:
            del provider.compile
        if compiled > 2 * len(SIZES):
            raise CheckFailed(f"{compiled} compilations of one partition for {len(SIZES)} sizes")
