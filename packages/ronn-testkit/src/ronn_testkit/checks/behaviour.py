"""Errors, options, versions, determinism."""

from __future__ import annotations

import numpy as np
from onnx import helper

from ronn.errors import OptionError, ProviderError, RonnError
from ronn.plugins import registry
from ronn.provider import API_VERSION
from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import assemble, chain, element_type
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import fill


def errors_name_the_node(subject: Subject) -> None:
    """Inputs that cannot be right give a RonnError with node, operator and shapes; the session goes on working."""
    with subject.registered():
        ops = {recipe.op for recipe, dtype in probe.claimed(subject) if dtype == "float32"}
        binary = next((o for o in ("Add", "Mul", "Sub", "Div", "Max", "MatMul") if o in ops), None)
        indexed = [o for o in ("Gather", "GatherElements") if o in ops]
        if binary is None and not indexed:
            raise NotApplicable("the provider claims no float32 operator that can be given wrong sizes or indices")
        if binary is not None:
            square = fill((4, 4), "float32", 1)
            wrong = [fill((3, 5), "float32", 1), fill((4, 7), "float32", 2)]
            _fails(subject, binary, [square, square], wrong, ("3", "5", "4", "7"))
        for op in indexed:
            x, inside = fill((3, 5), "float32", 1), np.zeros((2, 2), np.int64)
            _fails(subject, op, [x, inside], [x, inside + 9], ("3", "5"))


def _fails(subject: Subject, op: str, good: list[np.ndarray], bad: list[np.ndarray], words: tuple[str, ...]) -> None:
    infos = [
        helper.make_tensor_value_info(n, element_type(a), [f"{n}0", f"{n}1"]) for n, a in zip("ab", good, strict=True)
    ]
    model = assemble([helper.make_node(op, ["a", "b"], ["y"], name="the_node")], infos, ["y"])
    with subject.session(model) as session:
        before = session.run(good)[0]
        try:
            session.run(bad)
        except RonnError as e:
            text = str(e)
        except BaseException as e:
            raise CheckFailed(f"{op} of wrong inputs raised {type(e).__name__}, which is no RonnError") from e
        else:
            raise CheckFailed(f"{op} of wrong sizes or indices raised nothing")
        missing = [w for w in ("the_node", op, *words) if w not in text]
        if missing:
            raise CheckFailed(f"the error of a failing {op} does not say {missing}: {text}")
        if explain_difference(session.run(good)[0], before, "exact"):
            raise CheckFailed("after a failed run the session gives another result")


def unknown_option_is_refused(subject: Subject) -> None:
    """A provider option that does not exist is an OptionError that names it."""
    with subject.registered():
        model = chain(probe.chain_ops(subject), [2])
        try:
            Session(model, providers=[(subject.name, {"no_such_option": 1})]).close()
        except OptionError as e:
            if "no_such_option" not in str(e):
                raise CheckFailed(f"the error does not name the option: {e}") from e
            return
        raise CheckFailed("an unknown provider option was accepted")


def api_version_is_checked(subject: Subject) -> None:
    """The provider states this core's contract version; a copy of it written for another one is refused."""
    with subject.registered() as provider:
        if provider.api_version != API_VERSION:
            raise CheckFailed(f"api_version is {provider.api_version}, this core has {API_VERSION}")
        name = f"{subject.name}-of-tomorrow"
        newer = type("Newer", (type(provider),), {"api_version": API_VERSION + 1, "name": name})
        try:
            registry().add(newer())
        except ProviderError:
            return
        registry().remove(name)
        raise CheckFailed("a provider written for another contract version was accepted")


def same_bits_twice(subject: Subject) -> None:
    """The same inputs give the same bits: again in one session, and in a new one."""
    with subject.registered():
        for case in probe.sample(subject, 40):
            with subject.session(case.model()) as session:
                first = list(session.run(case.fed))
                second = list(session.run(case.fed))
            with subject.session(case.model()) as session:
                third = list(session.run(case.fed))
            for other, where in ((second, "in the same session"), (third, "in a new session")):
                for a, b in zip(first, other, strict=True):
                    difference = explain_difference(b, a, "exact")
                    if difference:
                        raise CheckFailed(f"{case!r} gives other bits {where}: {difference}")
