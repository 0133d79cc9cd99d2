"""Certified thresholds: bounds, the kinds of guarantee, certificates, trials of them."""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn_hrm.guarantee.certificate import Certificate as Certificate
    from ronn_hrm.guarantee.kinds import calibrate as calibrate
    from ronn_hrm.guarantee.kinds import least_records as least_records
    from ronn_hrm.guarantee.kinds import risk_at as risk_at
    from ronn_hrm.guarantee.ranked import Threshold as Threshold
    from ronn_hrm.guarantee.settings import Guarantee as Guarantee
    from ronn_hrm.guarantee.trial import empirical as empirical
    from ronn_hrm.guarantee.trial import violations as violations

_HOME = {
    "Certificate": "certificate", "Guarantee": "settings", "Threshold": "ranked", "calibrate": "kinds",
    "least_records": "kinds", "risk_at": "kinds", "empirical": "trial", "violations": "trial",
}  # fmt: skip

__all__ = [*_HOME]


def __getattr__(name: str) -> Any:
    home = _HOME.get(name)
    if home is None:
        raise AttributeError(f"module 'ronn_hrm.guarantee' has no attribute {name!r}")
    return getattr(import_module(f"ronn_hrm.guarantee.{home}"), name)
