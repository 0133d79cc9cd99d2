"""The page itself: everything in one file that loads nothing."""

from __future__ import annotations

import os
from pathlib import Path

from ronn.page import render
from ronn_hrm.kept import Kept
from ronn_hrm.report.data import report_data


def html(kept: Kept) -> str:
    """The page of what a memory folder holds."""
    data = report_data(kept)
    return render(f"{data['name']}: RONN routing", data, package="ronn_hrm.report", name="report")


def save(kept: Kept, path: str | os.PathLike[str]) -> None:
    """Writes the page."""
    Path(path).write_text(html(kept), encoding="utf-8", errors="replace")
