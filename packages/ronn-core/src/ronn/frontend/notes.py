"""What exporters write beside nodes: module paths, lines of Python. Nothing that a run needs."""

from __future__ import annotations

from pathlib import Path

from ronn.frontend.limits import DEFAULTS, Limits
from ronn.frontend.names import text
from ronn.frontend.source import read_source

_LONGEST = 4000  # characters of a note
DOC = "doc_string"


def node_notes(path: Path, limits: Limits = DEFAULTS) -> dict[str, dict[str, str]]:
    """The notes of the nodes of the main graph that have some, by ``%`` and the name of the first output; a node's own
    doc string is called ``doc_string``. Raises ModelError as ``load`` does."""
    parsed = read_source(path, limits)
    try:
        found: dict[str, dict[str, str]] = {}
        for node in parsed.model.graph.node:
            notes = {text(p.key): text(p.value)[:_LONGEST] for p in node.metadata_props}
            if node.doc_string:
                notes[DOC] = text(node.doc_string)[:_LONGEST]
            if notes and node.output:
                found["%" + text(node.output[0])] = notes
        return found
    finally:
        if parsed.weights is not None:
            parsed.weights.close()
