"""Scorers: from features to log-odds that the cheap model answers as the expensive one would."""

from __future__ import annotations

from ronn_hrm.scorers.additive import AdditiveScorer
from ronn_hrm.scorers.choose import Candidate, auroc, choose, chosen, compare, share_about
from ronn_hrm.scorers.linear import ConfidenceScorer, LinearScorer, LogisticScorer, MarginScorer, SizeRule, unfitted
from ronn_hrm.scorers.registry import from_data, kinds, register

__all__ = [
    "AdditiveScorer", "Candidate", "ConfidenceScorer", "LinearScorer", "LogisticScorer", "MarginScorer", "SizeRule",
    "auroc", "choose", "chosen", "compare", "from_data", "kinds", "register", "share_about", "unfitted",
]  # fmt: skip
