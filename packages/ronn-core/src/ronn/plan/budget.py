"""A limit on the memory that a session holds: what a run needs is asked for before it is allocated."""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Sequence

from ronn.errors import MemoryLimitError, OptionError
from ronn.forks import renew_after_fork
from ronn.listeners import emit

_UNITS = {"": 1, "B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "KIB": 2**10, "MIB": 2**20, "GIB": 2**30}


def parse_size(given: int | str, name: str = "memory_limit", *, least: int = 1) -> int:
    """Bytes of ``512MB``, ``1.5 GiB`` or a plain number. OptionError, naming the option, for anything else."""
    if isinstance(given, int) and not isinstance(given, bool):
        size = given
    else:
        found = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*", given) if isinstance(given, str) else None
        if found is None or found[2].upper() not in _UNITS:
            raise OptionError(f"{name}={given!r} is not a size", hint='bytes, or text as "512MB" or "2GiB"')
        size = int(float(found[1]) * _UNITS[found[2].upper()])
    if size < least:
        raise OptionError(f"{name}={given!r} is too small: {least} is the least")
    return size


def size_text(n: float) -> str:
    """``12.3 MB``."""
    for unit in ("B", "kB", "MB"):
        if n < 1000:
            return f"{n:.0f} {unit}" if unit == "B" else f"{n:.1f} {unit}"
        n /= 1000
    return f"{n:.1f} GB"


class Budget:
    """What a session holds, against its limit: constants, arenas, and what runs in progress have allocated.

    ``reclaim`` gives idle arenas back; it is tried before a run is refused. Refused, not delayed: a thread that waits
    for memory that its own caller holds would wait forever.
    """

    def __init__(self, limit: int, session: int = 0, model: str = "") -> None:
        self.limit = limit
        self.session, self.model = session, model
        self.constants = 0
        self.taken = 0
        self.reclaim: Callable[[], None] | None = None
        self._lock = threading.RLock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.RLock()

    def admit(self, constants: int, need: int, largest: Sequence[tuple[int, str]]) -> None:
        """Takes note of the constants of all plans. MemoryLimitError, naming the largest tensors, when a plan that
        needs ``need`` bytes more for a run could never run."""
        if constants + need > self.limit:
            self._refused(need, constants)
            named = "; ".join(f"{text} {size_text(size)}" for size, text in largest)
            raise MemoryLimitError(
                f"the model needs {size_text(constants + need)} (constants {size_text(constants)}, one run "
                f"{size_text(need)}), and memory_limit is {size_text(self.limit)}",
                detail=f"  largest  {named}" if named else "",
                hint="raise memory_limit, or run smaller inputs",
            )
        self.constants = constants

    def take(self, nbytes: int) -> None:
        """Room for ``nbytes`` more. MemoryLimitError when there is none."""
        with self._lock:
            if self.constants + self.taken + nbytes > self.limit and self.reclaim is not None:
                self.reclaim()
            if self.constants + self.taken + nbytes > self.limit:
                self._refused(nbytes, self.constants + self.taken)
                raise MemoryLimitError(
                    f"this run needs {size_text(nbytes)} more; the session holds "
                    f"{size_text(self.constants + self.taken)} of {size_text(self.limit)}",
                    hint="other runs of this session are in progress: run fewer at once, or raise memory_limit",
                )
            self.taken += nbytes

    def _refused(self, needed: int, held: int) -> None:
        emit("MemoryRefused", session=self.session, model=self.model, needed=needed, held=held, limit=self.limit)

    def give(self, nbytes: int) -> None:
        """Gives room back."""
        with self._lock:
            self.taken -= nbytes
