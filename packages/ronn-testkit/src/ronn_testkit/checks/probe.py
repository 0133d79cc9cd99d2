"""What the checks run: cases of operators that the provider claims."""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any
from weakref import WeakKeyDictionary

from hypothesis import HealthCheck, Phase, given, settings

from ronn.errors import PlacementError
from ronn_testkit.models import Case
from ronn_testkit.recipes import RECIPES, Recipe
from ronn_testkit.subject import NotApplicable, Subject

_claimed: WeakKeyDictionary[Subject, list[tuple[Recipe, str]]] = WeakKeyDictionary()


def claimed(subject: Subject) -> list[tuple[Recipe, str]]:
    """The (recipe, dtype) pairs whose first drawn case the provider takes. Within ``registered()``."""
    found = _claimed.get(subject)
    if found is None:
        found = [
            (recipe, dtype)
            for recipe in RECIPES.values()
            for dtype in recipe.dtypes
            if takes(subject, first_case(recipe, dtype))
        ]
        _claimed[subject] = found
    if not found:
        raise NotApplicable("the provider claims none of the operators that the kit can make inputs for")
    return found


def takes(subject: Subject, case: Case) -> bool:
    """Whether the provider claims the case's node; asks ``supports`` and runs nothing."""
    return bool(verdict(subject, case))


def verdict(subject: Subject, case: Case) -> Any:
    """What ``supports`` says about the case's node."""
    from ronn.frontend.onnx import load
    from ronn.ops.infer import infer_types
    from ronn.plugins import registry

    graph = load(case.model()).graph
    infer_types(graph)
    (node,) = graph
    record = registry().get(subject.name)
    assert record.provider is not None
    return record.provider.supports(node, record.devices()[0])


def quiet(examples: int, *, shrink: bool = True) -> settings:
    """Settings that draw the same cases every time, and keep no database."""
    phases = (Phase.generate, Phase.shrink) if shrink else (Phase.generate,)
    return settings(
        max_examples=examples, derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck), phases=phases, print_blob=False,
    )  # fmt: skip


def drawn(recipe: Recipe, dtype: str, count: int) -> list[Case]:
    """``count`` cases (at most) that do not change from run to run."""
    out: list[Case] = []

    @quiet(count, shrink=False)
    @given(recipe.cases(dtype))
    def collect(case: Case) -> None:
        out.append(case)

    collect()
    return out


@functools.cache
def first_case(recipe: Recipe, dtype: str) -> Case:
    """A case with elements in it, if one of the first few has any."""
    few = drawn(recipe, dtype, 4)
    return next((c for c in few if all(getattr(a, "size", 1) > 1 for a in c.fed)), few[-1])


def sample(subject: Subject, count: int) -> Iterator[Case]:
    """One case for each of ``count`` claimed operators, spread over the list; float32 where it is claimed."""
    by_op: dict[str, tuple[Recipe, str]] = {}
    for recipe, dtype in claimed(subject):
        if recipe.op not in by_op or dtype == "float32":
            by_op[recipe.op] = (recipe, dtype)
    pairs = list(by_op.values())
    step = max(1, len(pairs) // count)
    for recipe, dtype in pairs[::step][:count]:
        yield first_case(recipe, dtype)


CHAINABLE = ("Relu", "Add", "Sigmoid", "Mul", "Tanh", "Abs", "Sub", "Neg", "Max", "Min", "LeakyRelu", "Elu", "Identity")


def chain_ops(subject: Subject, length: int = 5) -> Sequence[str]:
    """Claimed float32 operators of one or two inputs of one shape, for models of several nodes."""
    ops = [recipe.op for recipe, dtype in claimed(subject) if dtype == "float32"]
    usable = [op for op in CHAINABLE if op in ops]
    if not usable:
        raise NotApplicable(f"the provider claims none of {', '.join(CHAINABLE)} in float32")
    return [usable[i % len(usable)] for i in range(length)]


def refused(error: BaseException) -> bool:
    """Whether a session could not be made because nobody takes a node."""
    return isinstance(error, PlacementError)
