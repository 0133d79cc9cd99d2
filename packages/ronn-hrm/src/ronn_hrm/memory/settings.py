"""What is remembered: where, how much, for how long."""

from __future__ import annotations

import math
import os
import re
from typing import Any

from ronn.errors import OptionError
from ronn.records import dataclass

FSYNC = ("flush", "always", "never")

_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0, "w": 604800.0}
_MIB = float(1 << 20)


@dataclass(frozen=True, slots=True)
class Memory:
    """What is remembered, and within which bounds; beyond them the oldest goes first.

    path: a folder, made where it is missing, readable by its owner only; None keeps everything in this process and
        forgets it with the session.
    exact_mb: MiB for answers of the expensive model that are served again to equal requests; 0 switches this off.
    exact_on_disk: whether these answers go to the folder on ``close`` and come back on the next start.
    episodes: how many requests are kept with answers and embedding. episodes_mb: MiB for them.
    requests_mb: MiB for the log of decisions (about 200 bytes a request).
    states_mb: MiB for states; the one that serves is kept in any case. Decisions can be replayed to the bit as long as
        the state that made them is kept.
    store_inputs: whether episodes keep the inputs themselves; without them only what was computed from them is kept.
    ttl: seconds, or text such as ``"90s"``, ``"12h"``, ``"30d"``, after which answers, episodes and log entries are
        gone; None: never.
    fsync: when what was written is made to survive a loss of power: ``flush`` (where it is asked for, and for states),
        ``always`` (each batch), ``never``. A killed process loses no batch in any case.
    """

    path: str | os.PathLike[str] | None = None
    exact_mb: float = 64.0
    episodes: int = 50_000
    episodes_mb: float = 256.0
    requests_mb: float = 64.0
    states_mb: float = 256.0
    store_inputs: bool = False
    exact_on_disk: bool = True
    ttl: float | str | None = None
    fsync: str = "flush"

    def __post_init__(self) -> None:
        if self.path is not None and not isinstance(self.path, (str, os.PathLike)):
            raise OptionError(f"path={self.path!r} is not a path", hint="a folder, or None to keep nothing on disk")
        for name in ("exact_mb", "episodes_mb", "requests_mb", "states_mb"):
            value = getattr(self, name)
            if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 <= value < math.inf:
                raise OptionError(f"{name}={value!r} is not a number of MiB", hint="0 or more")
        if isinstance(self.episodes, bool) or not isinstance(self.episodes, int) or self.episodes < 1:
            raise OptionError(f"episodes={self.episodes!r} is not a count", hint="at least 1; 50000 is the default")
        for name in ("store_inputs", "exact_on_disk"):
            if not isinstance(getattr(self, name), bool):
                raise OptionError(f"{name}={getattr(self, name)!r} is neither True nor False")
        if self.fsync not in FSYNC:
            raise OptionError(f"fsync={self.fsync!r} is unknown", hint=f"one of {', '.join(FSYNC)}")
        if self.ttl is not None:
            seconds_of(self.ttl)

    @property
    def ttl_seconds(self) -> float | None:
        return None if self.ttl is None else seconds_of(self.ttl)

    @property
    def exact_bytes(self) -> int:
        return int(self.exact_mb * _MIB)

    @property
    def episode_bytes(self) -> int:
        return int(self.episodes_mb * _MIB)

    @property
    def request_bytes(self) -> int:
        return int(self.requests_mb * _MIB)

    @property
    def state_bytes(self) -> int:
        return int(self.states_mb * _MIB)

    def as_data(self) -> dict[str, Any]:
        return {
            "path": None if self.path is None else os.fspath(self.path),
            "exact_mb": self.exact_mb,
            "episodes": self.episodes,
            "episodes_mb": self.episodes_mb,
            "requests_mb": self.requests_mb,
            "states_mb": self.states_mb,
            "store_inputs": self.store_inputs,
            "exact_on_disk": self.exact_on_disk,
            "ttl": self.ttl,
            "fsync": self.fsync,
        }


def seconds_of(ttl: float | str) -> float:
    """A duration in seconds: a positive number, or text of a number and one of the units s, m, h, d, w."""
    if isinstance(ttl, str):
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhdw])\s*", ttl)
        value = math.nan if found is None else float(found[1]) * _UNITS[found[2]]
    elif isinstance(ttl, bool) or not isinstance(ttl, (int, float)):
        value = math.nan
    else:
        value = float(ttl)
    if not 0 < value < math.inf:
        raise OptionError(f"ttl={ttl!r} is not a duration", hint='seconds, or text such as "90s", "12h", "30d"')
    return value
