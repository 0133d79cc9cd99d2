"""The page of a memory folder: ``ronn hrm report``."""

from __future__ import annotations

from ronn_hrm.report.data import report_data
from ronn_hrm.report.page import html, save

__all__ = ["html", "report_data", "save"]
