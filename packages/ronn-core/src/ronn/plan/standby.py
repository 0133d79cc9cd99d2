"""Who takes over where a device fails: the providers that a session lists behind it, and nobody else."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

from ronn.errors import DeviceLostError, MemoryLimitError, RonnError
from ronn.forks import renew_after_fork
from ronn.plan.plan import Plan
from ronn.provider import Part


class Standby:
    """In the place of the function of a call that runs all of a part on a device.

    When the device is lost, the part runs as the plan that ``take_over(error)`` makes, now and from then on; when its
    memory ran out, this run does. ``take_over`` raises what is to be raised where nobody takes the part. The constants
    of the part stay with the host for it.
    """

    def __init__(self, fn: Callable[..., Any], part: Part, take_over: Callable[[RonnError], Plan]) -> None:
        self._fn: Callable[..., Any] | None = fn
        self._part = part
        self._take_over = take_over
        self._constants = {v: v.data for n in part.nodes for v in n.inputs if v is not None and v.data is not None}
        self._plan: Plan | None = None
        self._lock = threading.Lock()
        renew_after_fork(self)

    def after_fork(self) -> None:
        """In a child process: a lock that another thread of the parent held is nobody's now."""
        self._lock = threading.Lock()

    def __call__(self, *arrays: Any) -> Any:
        fn = self._fn
        if fn is not None:
            try:
                return fn(*arrays)
            except (DeviceLostError, MemoryLimitError) as e:
                plan = self._made(e)
                if isinstance(e, DeviceLostError):
                    self._fn = None
        else:
            assert self._plan is not None
            plan = self._plan
        results = plan.run(arrays)
        return results[0] if len(results) == 1 else results

    def _made(self, error: RonnError) -> Plan:
        with self._lock:
            if self._plan is None:
                for value, data in self._constants.items():
                    value.data = data
                self._plan = self._take_over(error)
                self._constants = {}
            return self._plan
