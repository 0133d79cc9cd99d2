"""The plugin that core finds: the router ``hrm``. Importing it imports nothing of the routing."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from ronn.hookspecs import hookimpl

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.options import SessionOptions


@hookimpl
def ronn_cli(app: Any) -> None:
    from ronn_hrm.cli import group

    app.add_typer(group(), name="hrm")


@hookimpl
def ronn_routers() -> Mapping[str, Callable[[Model, SessionOptions, Mapping[str, Any]], Any]]:
    """``hrm``: the model is the expensive one, the configuration names the cheap one."""
    return {"hrm": _route}


def _route(model: Model, options: SessionOptions, config: Mapping[str, Any]) -> Any:
    from ronn_hrm.config import session_of

    return session_of(model, options, config)
