"""Other runtimes to measure beside RONN, and how far their outputs are from RONN's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ronn.benchmark.data import Agreement
from ronn.errors import OptionError, nearest

PEERS = ("onnxruntime",)


def check_peer(name: str) -> str:
    """The version of another runtime. OptionError for one that is not known or not installed."""
    if name not in PEERS:
        near = nearest(name, PEERS)
        raise OptionError(
            f"there is no runtime {name!r} to compare with",
            hint=f"did you mean {near!r}?" if near else f"known: {', '.join(PEERS)}",
        )
    from ronn.numerics.runtime import version

    found = version()
    if found is None:
        raise OptionError(f"{name} is not installed", hint=f"pip install {name}")
    return found


def agreement(ours: Mapping[str, Any], theirs: Mapping[str, Any]) -> Agreement:
    """How far RONN's outputs are from another runtime's."""
    from ronn.numerics.difference import measure, worst

    found = worst([measure(theirs.get(name), mine) for name, mine in ours.items()])
    return Agreement(found.equal, found.reason, found.max_abs / found.scale if found.scale > 0 else 0.0)
