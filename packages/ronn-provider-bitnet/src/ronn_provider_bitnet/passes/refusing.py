"""Why a product that keeps its weights in few bits stays as it is, for placements."""

from __future__ import annotations

from ronn.ir.graph import Node
from ronn.passes.manager import PassContext

_MARK = "not few bits: "


def leave(node: Node, reason: str, context: PassContext) -> bool:
    """Reports that ``node`` stays as it is; the reason goes with it. False, as passes that change nothing say."""
    context.refuse(node, reason)
    if _MARK + reason not in node.tags:
        node.tags = (*node.tags, _MARK + reason)
    return False


def left_because(node: Node) -> str:
    """The last reason for which ``node`` was left as it is; empty where it never was."""
    return next((tag.removeprefix(_MARK) for tag in reversed(node.tags) if tag.startswith(_MARK)), "")
