"""Which version of which domain a model speaks."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from ronn.frontend.names import text

if TYPE_CHECKING:
    import onnx

OPSETS_FROM_IR = 3  # older files name no opset: they speak version 1


def canonical_domain(domain: str) -> str:
    """``ai.onnx`` is the long name of the default domain, ``""``."""
    return "" if domain == "ai.onnx" else domain


def read_imports(imports: Iterable[onnx.OperatorSetIdProto], ir_version: int) -> dict[str, int]:
    """Domain -> version. ValueError when a version is not positive or a domain is imported twice, differently."""
    found: dict[str, int] = {}
    for entry in imports:
        domain, version = canonical_domain(text(entry.domain)), int(entry.version)
        if not 1 <= version < 2**31:
            raise ValueError(f"imports version {version} of domain {domain or 'ai.onnx'!r}, which cannot be")
        if found.setdefault(domain, version) != version:
            raise ValueError(f"imports domain {domain or 'ai.onnx'!r} in versions {found[domain]} and {version}")
    if not found and ir_version < OPSETS_FROM_IR:
        found[""] = 1
    return found


def version_for(domain: str, imports: dict[str, int]) -> int:
    """The version that a node of ``domain`` has. ValueError when ONNX's own domain is used but not imported.

    Other domains that no import names count as version 1: their operators rarely have versions at all.
    """
    version = imports.get(domain)
    if version is not None:
        return version
    if domain == "" or domain.startswith("ai.onnx"):
        raise ValueError(f"the model imports no opset of domain {domain or 'ai.onnx'!r}, which this node belongs to")
    return 1
