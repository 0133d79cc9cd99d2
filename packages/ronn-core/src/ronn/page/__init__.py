"""Pages that hold everything in themselves: one shell, one graph view, and what each page puts into them."""

from __future__ import annotations

import html
import json
import math
import re
from importlib.resources import files
from typing import Any

_SHARED = ("base.js", "layout.js", "graph.js")
_SEPARATORS = {ord(c): f"\\u{ord(c):04x}" for c in "<>&\u2028\u2029"}


def render(title: str, data: Any, *, package: str, name: str) -> str:
    """One page. ``package`` holds its parts: ``name.html`` (what stands in the body), ``name.css`` and ``name.js``,
    which finds ``data`` as ``P``, and the functions of ``base.js`` and ``graph.js``.

    The page loads nothing and, by its policy, cannot. Whatever strings ``data`` and ``title`` hold, they stay text.
    """
    parts = {
        "title": html.escape(title),
        "style": _part("ronn.page", "base.css") + _part(package, f"{name}.css"),
        "body": _part(package, f"{name}.html"),
        "data": embedded(data),
        "script": "".join(_part("ronn.page", shared) for shared in _SHARED) + _part(package, f"{name}.js"),
    }
    return re.sub(r"\{\{(\w+)\}\}", lambda found: parts[found[1]], _part("ronn.page", "shell.html"))


def embedded(data: Any) -> str:
    """JSON that may stand in a page's script: nothing in it ends the script or begins a comment, and numbers that JSON
    does not know are null."""
    try:
        text = json.dumps(data, default=str, allow_nan=False, separators=(",", ":"))
    except ValueError:
        text = json.dumps(_finite(data), default=str, allow_nan=False, separators=(",", ":"))
    return text.translate(_SEPARATORS)


def _finite(data: Any) -> Any:
    if isinstance(data, float):
        return data if math.isfinite(data) else None
    if isinstance(data, dict):
        return {key: _finite(item) for key, item in data.items()}
    return [_finite(item) for item in data] if isinstance(data, (list, tuple)) else data


def _part(package: str, name: str) -> str:
    return files(package).joinpath(name).read_text(encoding="utf-8")
