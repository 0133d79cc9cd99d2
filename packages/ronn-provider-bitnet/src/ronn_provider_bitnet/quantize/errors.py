"""Errors of quantising."""

from __future__ import annotations

from ronn.errors import RonnError


class QualityError(RonnError):
    """The quantised model is too far from the original to be written without being told to."""
