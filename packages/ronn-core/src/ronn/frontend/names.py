"""Text in a model file that should be UTF-8 and may not be."""

from __future__ import annotations


def text(field: str | bytes) -> str:
    r"""A string field of a proto as str. Where it is not UTF-8, protobuf gives bytes: those print as ``\xff``."""
    return field if isinstance(field, str) else field.decode("utf-8", "backslashreplace")
