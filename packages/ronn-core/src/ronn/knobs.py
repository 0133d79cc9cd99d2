"""Every ``RONN_*`` setting of the environment, declared once. Nothing else reads ``os.environ``."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any, Generic, TypeVar

from ronn.errors import OptionError
from ronn.records import dataclass

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Knob(Generic[T]):
    """One setting. ``get()`` reads the environment at each call, so that tests and programs can change it."""

    name: str
    default: T
    help: str
    parse: Callable[[str], T]

    def get(self) -> T:
        """The value in force. OptionError when the environment holds something that the knob cannot have."""
        text = os.environ.get(self.name, "").strip()
        if not text:
            return self.default
        try:
            return self.parse(text)
        except ValueError as e:
            raise OptionError(f"{self.name}={text!r} {e}", hint=self.help) from None

    @property
    def is_set(self) -> bool:
        return os.environ.get(self.name, "").strip() != ""


def _number(text: str) -> int:
    try:
        return int(text)
    except ValueError:
        raise ValueError("is not a whole number") from None


def _switch(text: str) -> bool:
    if text.lower() in ("1", "true", "yes", "on"):
        return True
    if text.lower() in ("0", "false", "no", "off"):
        return False
    raise ValueError("is not a switch (1 or 0)")


DEBUG = Knob(
    "RONN_DEBUG",
    0,
    "What to tell on stderr: 1 providers, 2 timings, 3 assignment, 4 generated source, 5 IR per stage, 6 IR per pass.",
    _number,
)
VERIFY = Knob("RONN_VERIFY", False, "Verify the IR after each pass, and each kernel's outputs while running.", _switch)
GUARD = Knob(
    "RONN_GUARD",
    False,
    "Run native kernels one by one, guard zones round every buffer: a stray write is an error that names it.",
    _switch,
)
PRINT_AFTER = Knob(
    "RONN_PRINT_AFTER", "", "Print the IR to stderr after these passes (comma-separated names, or 'all').", str
)
PASS_LIMIT = Knob(
    "RONN_PASS_LIMIT",
    -1,
    "Stop after this many rewrites (-1: no limit); finds the rewrite that breaks a model.",
    _number,
)
PROVIDERS = Knob("RONN_PROVIDERS", "", "Allow-list of providers to discover (comma-separated); empty means all.", str)
OPS = Knob(
    "RONN_OPS",
    "",
    "Modules or .py files to import that register operators with ronn.op (comma-separated): for the command line.",
    str,
)
CACHE_DIR = Knob("RONN_CACHE_DIR", "", "Folder for caches; empty means the platform's user cache folder.", str)
THREADS = Knob(
    "RONN_THREADS", 0, "Threads that a run may use; 0 means what affinity mask and cgroup quota leave.", _number
)
CPU_LEVEL = Knob(
    "RONN_CPU_LEVEL",
    "native",
    "Instructions that CPU kernels use: native, avx512, avx2, baseline, or none (NumPy kernels only).",
    str,
)
MAP_FILES = Knob(
    "RONN_MAP_FILES",
    True,
    "Map model files and external data; 0 reads them whole, for files that are overwritten while sessions use them.",
    _switch,
)
ASYNC_THREADS = Knob(
    "RONN_ASYNC_THREADS",
    0,
    "Runs that asyncio programs await which may go on at once; 0 means one for each processor, and at least two.",
    _number,
)


def all_knobs() -> list[Knob[Any]]:
    """Every declared setting, sorted by name."""
    return sorted((v for v in globals().values() if isinstance(v, Knob)), key=lambda k: k.name)


def words(text: str) -> list[str]:
    """The entries of a comma-separated setting."""
    return [w.strip() for w in text.split(",") if w.strip()]
