"""What a session is made of, looked at before anything runs: settings of the right kind, models that fit each other."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.debug import WARNING, tell
from ronn.errors import OptionError
from ronn_hrm.embed import FromInput
from ronn_hrm.errors import RoutingError
from ronn_hrm.models import input_names_of

if TYPE_CHECKING:
    from ronn_hrm.fast_path import CheapModel
    from ronn_hrm.task import Task

_SETTINGS = {  # by argument: what it has to have, and how one is made
    "task": ("loss", "Classification(), Regression(tolerance=...), TokenLabels() or Custom(...)"),
    "embed": ("as_data", "FromOutput(name), FromInput(name) or FromFunction(function, name)"),
    "policy": ("threshold", "Cascade(), Budgeted(full=0.2) ..."),
    "guarantee": ("delta", "Guarantee(alpha=0.01)"),
    "audit": ("run_length", "Audit(rate=0.05)"),
    "memory": ("exact_mb", 'Memory(path="folder")'),
    "scorer": ("score_many", '"auto", or a scorer such as ConfidenceScorer.of(names)'),
    "escalations": ("take", "Escalations(most=100, seconds=60)"),
    "sleep": ("idle_s", "Sleep(auto=True)"),
}
_WITH_CLASSES = ("classification", "token-labels")


def check_settings(given: Mapping[str, Any]) -> None:
    """OptionError for an argument of ``HRMSession`` that is something else than it is to be."""
    for name, (attribute, made) in _SETTINGS.items():
        value = given[name]
        if value is None or (name == "scorer" and value == "auto"):
            continue
        if isinstance(value, type) or not hasattr(value, attribute):
            what = f"the class {value.__name__}" if isinstance(value, type) else repr(value)
            raise OptionError(f"{name}={what} is no {name} of an HRMSession", hint=f"{name}={made}")
    for name, attribute, made in (("gates", "refuses", "[Gate(...)]"), ("groups", "of", "[Confidence()]")):
        value = given[name]
        if value is None:
            continue
        if not isinstance(value, (list, tuple)) or not all(hasattr(v, attribute) for v in value):
            raise OptionError(f"{name}={value!r} is no sequence of {name}", hint=f"{name}={made}")
    audit, policy = given["audit"], given["policy"]
    if audit is not None and audit.rate == 0.0 and (policy is None or policy.certified):
        tell(WARNING, "hrm", "Audit(rate=0): nothing tells when a certificate does not hold any more; 0.05 is usual")


def check_scorer(scorer: Any, names: tuple[str, ...]) -> None:
    """OptionError for a scorer that was fitted on other features than the assessor has, or in another order."""
    if isinstance(scorer, str):
        return
    places = getattr(scorer, "at", None)
    fits = set(scorer.names) <= set(names)
    if fits and places is not None:
        fits = all(at < len(names) and names[at] == name for at, name in zip(places, scorer.names, strict=True))
    if not fits:
        raise OptionError(
            f"the scorer {scorer.kind!r} was made for the features {', '.join(scorer.names)}; here they are "
            f"{', '.join(names)}, in this order",
            hint='fit it on features of this session, give the groups= that it was fitted with, or scorer="auto"',
        )


def check_embed(embed: Any, session: Any) -> None:
    """RoutingError for an embedding of an input that there is not."""
    names = input_names_of(session)
    if isinstance(embed, FromInput) and names is not None and embed.name not in names:
        raise RoutingError(
            f"FromInput({embed.name!r}): requests hold {', '.join(names)}", hint="name an input of the cheap model"
        )


def check_pair(cheap: CheapModel, full: Any, task: Task) -> None:
    """RoutingError for models that cannot stand in for each other, as far as both tell what they take and give."""
    ours, theirs = getattr(cheap.source, "inputs", None), getattr(full, "inputs", None)
    if ours is not None and theirs is not None:
        _check_inputs({v.name: v for v in ours}, {v.name: v for v in theirs})
    ours, theirs = getattr(cheap.source, "outputs", None), getattr(full, "outputs", None)
    if ours and theirs:
        _check_outputs(list(ours), list(theirs), task)


def _check_inputs(ours: dict[str, Any], theirs: dict[str, Any]) -> None:
    if set(ours) != set(theirs):
        raise RoutingError(
            f"the cheap model takes {', '.join(ours)}, and the expensive one {', '.join(theirs)}",
            hint="both get the same requests: put the one that differs behind Prepared(session, prepare)",
        )
    for name, mine in ours.items():
        other = theirs[name]
        if mine.dtype != other.dtype or not _may_be_equal(mine.shape, other.shape):
            raise RoutingError(
                f"an input is {mine} for the cheap model, and {other} for the expensive one",
                hint="both get the same requests: put the one that differs behind Prepared(session, prepare)",
            )


def _check_outputs(ours: list[Any], theirs: list[Any], task: Task) -> None:
    names, others = [v.name for v in ours], [v.name for v in theirs]
    if task.output is not None and task.output not in others:
        raise RoutingError(
            f"the expensive model has no output {task.output!r}; it has {', '.join(others)}",
            hint="name the output that answers, alike in both models",
        )
    if task.output is None and names[0] != others[0]:
        raise RoutingError(
            f"the first output is {names[0]!r} of the cheap model, and {others[0]!r} of the expensive one",
            hint="name the output that answers, alike in both models: task=Classification(output=...)",
        )
    name = names[0] if task.output is None else task.output
    mine, other = ours[names.index(name)], theirs[others.index(name)]
    if task.kind not in _WITH_CLASSES or not mine.shape or not other.shape:
        return
    classes, of_other = mine.shape[-1], other.shape[-1]
    if not _may_be_equal((classes,), (of_other,)):
        raise RoutingError(
            f"output {name!r} has {classes} classes in the cheap model, and {of_other} in the expensive one",
            hint="models of one task have the same classes in the same order",
        )


def _may_be_equal(shape: Any, other: Any) -> bool:
    """Whether two declared shapes can be of one array: sizes that are no numbers may be any."""
    if shape is None or other is None:
        return True
    return len(shape) == len(other) and all(
        a == b or not isinstance(a, int) or not isinstance(b, int) for a, b in zip(shape, other, strict=True)
    )


class FirstAnswers:
    """Looks at the first answers of both models for what their declarations did not say, and tells it once."""

    def __init__(self, task: Task, most: int = 3) -> None:
        self._task = task
        self._left = most if task.kind in _WITH_CLASSES else 0

    def look(self, fast: np.ndarray | None, full: np.ndarray) -> None:
        """Answers float32 [rows, classes] to one request."""
        if not self._left or fast is None:
            return
        self._left -= 1
        if fast.shape != full.shape:
            text = (
                f"the cheap model answers {list(fast.shape)} and the expensive one {list(full.shape)}: they never "
                "agree, and nothing will be certified; give the task the output with the scores of the same classes"
            )
        elif not getattr(self._task, "probabilities", True) and _are_probabilities(fast) and _are_probabilities(full):
            text = (
                "the scores of both models look like probabilities, and are taken for logits: confidence is "
                "underrated; say Classification(probabilities=True)"
            )
        else:
            return
        self._left = 0
        tell(WARNING, "hrm", text)


def _are_probabilities(rows: np.ndarray) -> bool:
    return rows.size > 0 and bool((rows >= 0).all()) and bool((np.abs(rows.sum(axis=-1) - 1.0) < 1e-3).all())
