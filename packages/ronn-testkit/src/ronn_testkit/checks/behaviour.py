"""Errors, options, versions, determinism."""

from __future__ import annotations

from ronn.errors import OptionError, ProviderError, RonnError
from ronn.plugins import registry
from ronn.provider import API_VERSION
from ronn.session import Session
from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.tolerance import explain_difference
from ronn_testkit.values import fill


def errors_name_the_node(subject: Subject) -> None:
    """Sizes that do not fit give a RonnError with node, operator and shapes; the session goes on working."""
    from onnx import TensorProto, helper

    from ronn_testkit.models import assemble

    with subject.registered():
        ops = {recipe.op for recipe, dtype in probe.claimed(subject) if dtype == "float32"}
        op = next((o for o in ("Add", "Mul", "Sub", "Div", "Max", "MatMul") if o in ops), None)
        if op is None:
            raise NotApplicable("the provider claims no float32 operator of two inputs that can be given wrong sizes")
        infos = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [f"{n}0", f"{n}1"]) for n in ("a", "b")]
        model = assemble([helper.make_node(op, ["a", "b"], ["y"], name="the_node")], infos, ["y"])
        with subject.session(model) as session:
            good = [fill((4, 4), "float32", 1), fill((4, 4), "float32", 2)]
            before = session.run(good)[0]
            try:
                session.run([fill((3, 5), "float32", 1), fill((4, 7), "float32", 2)])
            except RonnError as e:
                text = str(e)
            except BaseException as e:
                raise CheckFailed(f"{op} of 3x5 and 4x7 raised {type(e).__name__}, which is no RonnError") from e
            else:
                raise CheckFailed(f"{op} of 3x5 and 4x7 raised nothing")
            missing = [w for w in ("the_node", op, "3", "5", "4", "7") if w not in text]
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
