"""Kinds of scorers by name, so that a state kept on disk finds its own again."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ronn_hrm.errors import StateError

if TYPE_CHECKING:
    from ronn_hrm.contracts import Scorer

Maker = Callable[[Mapping[str, Any]], "Scorer"]

_MAKERS: dict[str, Maker] = {}


def register(kind: str, maker: Maker) -> None:
    """Lets ``from_data`` make scorers of ``kind``: ``maker`` takes what the scorer's ``as_data`` gave.

    ``kind`` is the value of its key "kind"; registering it again replaces the maker.
    """
    _MAKERS[kind] = maker


def kinds() -> tuple[str, ...]:
    """What is registered, sorted."""
    _load_own()
    return tuple(sorted(_MAKERS))


def from_data(data: Mapping[str, Any]) -> Scorer:
    """The scorer whose ``as_data`` gave ``data``; StateError where its kind is not known or fields do not fit."""
    _load_own()
    kind = data.get("kind")
    maker = _MAKERS.get(str(kind))
    if maker is None:
        raise StateError(
            f"there is no scorer of kind {kind!r}",
            hint=f"known are {', '.join(kinds())}; others are made known by ronn_hrm.scorers.register(kind, maker)",
        )
    try:
        return maker(data)
    except (KeyError, TypeError, ValueError) as error:
        raise StateError(f"what is kept of the scorer of kind {kind!r} does not make one: {error!r}") from error


def _load_own() -> None:
    from ronn_hrm.scorers import additive, linear  # noqa: F401
