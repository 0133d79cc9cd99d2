"""Makes docstrings Markdown, for the reference: lines `name: text` about parameters and fields become list items."""

from __future__ import annotations

import re
from typing import Any

import griffe

ITEM = re.compile(r"(\*{0,2}\w+(?:, \*{0,2}\w+)*): (.*)")


def as_markdown(text: str, names: set[str]) -> str:
    """The docstring with a list item for each line that begins with some of ``names`` and a colon; lines that are
    indented behind it belong to it."""
    out: list[str] = []
    item = False
    for line in text.splitlines():
        found = ITEM.fullmatch(line)
        words = [w.strip(" *") for w in found[1].split(",")] if found else []
        if found and set(words) <= names:
            if out and out[-1] and not item:
                out.append("")
            out.append(f"- {', '.join(f'`{w}`' for w in words)}: {found[2]}")
            item = True
        elif item and line[:1] not in ("", " "):
            out += ["", line] if out[-1] else [line]
            item = False
        else:
            out.append(line)
    return "\n".join(out)


class Docstrings(griffe.Extension):
    """Rewrites the docstrings of functions by their parameters, and those of classes by parameters and fields."""

    def on_function(self, *, func: griffe.Function, **kwargs: Any) -> None:
        self._rewrite(func, {p.name for p in func.parameters})

    def on_class(self, *, cls: griffe.Class, **kwargs: Any) -> None:
        names = set(cls.members)
        init = cls.members.get("__init__")
        if isinstance(init, griffe.Function):
            names |= {p.name for p in init.parameters}
        self._rewrite(cls, names)

    def _rewrite(self, thing: griffe.Object, names: set[str]) -> None:
        if thing.docstring is not None:
            thing.docstring.value = as_markdown(thing.docstring.value, names)
