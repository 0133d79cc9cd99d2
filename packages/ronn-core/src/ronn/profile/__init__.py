"""Profiles: where the time of a run goes, kernel by kernel, and how far each is from what the machine can do."""

from __future__ import annotations

from ronn.profile.collect import profile_plan
from ronn.profile.data import KernelTime, Profile

__all__ = ["KernelTime", "Profile", "profile_plan"]
