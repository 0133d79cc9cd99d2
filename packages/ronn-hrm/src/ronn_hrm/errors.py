"""Errors and warnings of routing."""

from __future__ import annotations

from ronn.errors import RonnError


class RoutingError(RonnError):
    """Two models cannot stand in for each other, or a part of the routing is used in a way that it cannot be."""


class CalibrationError(RoutingError):
    """Records that cannot certify anything: drawn from training data, too few, or of another state."""


class StateError(RoutingError):
    """What is kept on disk cannot be read, or belongs to other models."""


class DoesNotPayError(RoutingError):
    """A cheap model in front of this expensive one would save nothing. ``report`` has the figures."""

    report: object = None


class CalibrationWarning(UserWarning):
    """Calibration records that certify nothing, or look as if a model had been trained on them."""
