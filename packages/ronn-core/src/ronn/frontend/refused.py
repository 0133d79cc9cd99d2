"""Problems of a file that come with a cure."""

from __future__ import annotations


class Refused(ValueError):
    """What is wrong with a part of a file, and what to do about it."""

    def __init__(self, message: str, hint: str | None) -> None:
        super().__init__(message)
        self.hint = hint


def hint_of(error: BaseException | None) -> str | None:
    """The hint of an error, or of what caused it."""
    while error is not None:
        found = getattr(error, "hint", None)
        if found is not None:
            return str(found)
        error = error.__cause__
    return None
