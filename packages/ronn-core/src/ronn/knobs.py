"""Every ``RONN_*`` setting of the environment, declared once. Nothing else reads ``os.environ``."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Generic, TypeVar, cast

from ronn.errors import OptionError

T = TypeVar("T", int, bool, str)


@dataclass(frozen=True, slots=True)
class Knob(Generic[T]):
    """One setting. ``get()`` reads the environment at each call, so that tests and programs can change it."""

    name: str
    default: T
    help: str

    def get(self) -> T:
        """The value in force. OptionError when the environment holds something that is not of the knob's type."""
        text = os.environ.get(self.name)
        if text is None or text.strip() == "":
            return self.default
        kind = type(self.default)
        if kind is bool:
            if text.strip().lower() in _TRUE:
                return cast(T, True)
            if text.strip().lower() in _FALSE:
                return cast(T, False)
            raise OptionError(f"{self.name}={text!r} is not a switch", hint="use 1 or 0")
        if kind is int:
            try:
                return cast(T, int(text))
            except ValueError:
                raise OptionError(f"{self.name}={text!r} is not a whole number", hint=self.help) from None
        return cast(T, text.strip())

    @property
    def is_set(self) -> bool:
        return os.environ.get(self.name, "").strip() != ""


_TRUE = {"1", "true", "yes", "on"}
_FALSE = {"0", "false", "no", "off"}

DEBUG = Knob(
    "RONN_DEBUG",
    0,
    "How much to tell on stderr: 1 providers, 2 timings, 3 assignment, 4 generated source, 5 IR per stage, 6 IR per pass.",
)
VERIFY = Knob("RONN_VERIFY", False, "Verify the IR after each pass, and each kernel's outputs while running.")
PRINT_AFTER = Knob("RONN_PRINT_AFTER", "", "Print the IR to stderr after these passes (comma-separated names, or 'all').")
PASS_LIMIT = Knob("RONN_PASS_LIMIT", -1, "Stop after this many rewrites (-1: no limit); finds the rewrite that breaks a model.")
PROVIDERS = Knob("RONN_PROVIDERS", "", "Allow-list of providers to discover (comma-separated); empty means all.")
CACHE_DIR = Knob("RONN_CACHE_DIR", "", "Folder for caches; empty means the platform's user cache folder.")


def all_knobs() -> list[Knob[int] | Knob[bool] | Knob[str]]:
    """Every declared setting, sorted by name."""
    return sorted((v for v in globals().values() if isinstance(v, Knob)), key=lambda k: k.name)


def words(text: str) -> list[str]:
    """The entries of a comma-separated setting."""
    return [w.strip() for w in text.split(",") if w.strip()]
