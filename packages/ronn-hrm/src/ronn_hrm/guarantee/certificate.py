"""Certificates: what was found, of what, and what has to hold for it."""

from __future__ import annotations

import contextlib
import json
import math
import os
from collections.abc import Mapping
from dataclasses import fields
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ronn.records import dataclass
from ronn_hrm.errors import StateError

if TYPE_CHECKING:
    from ronn_hrm.guarantee.ranked import Threshold
    from ronn_hrm.guarantee.settings import Guarantee

FORMAT = "ronn-hrm-certificate"
SCHEMA = 1

ASSUMPTIONS = (
    "A1: calibration records and the next requests are exchangeable until the next alarm",
    "A2: calibration records had no part in the training of either model, the scorer or the memory",
    "A3: the expensive model answers the same input the same way",
    "A4: models, options and versions are those of the fingerprints",
)
_TIMES = {
    "crc": "A5: alpha holds on average over draws of the records, not for each of them; delta has no part in it",
    "anytime": "A5: delta holds for all certificates of this state; another state has a delta of its own",
}
_ONCE = "A5: delta holds for this certificate; for all that are ever made, use kind='anytime'"

_TRAFFIC = "At most {alpha} of all traffic gets an answer that the expensive model would not have given, {sure}."
_HOLDS = {
    "ucb": (_TRAFFIC, "with probability {p} over the draw of the records"),
    "crc": (_TRAFFIC, "on average over draws of the records"),
    "selective": (
        "At most {alpha} of the cheap model's answers are not those of the expensive model, {sure}.",
        "with probability {p} over the draw of the records",
    ),
    "anytime": (_TRAFFIC, "with probability {p} for all certificates that this state ever gets"),
}


@dataclass(frozen=True, slots=True)
class Certificate:
    """That requests with a score of ``lam`` or more may be answered by the cheap model.

    kind, alpha, delta: as in ``Guarantee``. n: calibration records. wrong: the sum of losses of those at or above lam.
    share: of records at or above lam. bound: the upper bound on the risk that was found (at most alpha). since: seconds
    since 1970. epoch: counts the alarms before it. scorer: its kind. fingerprints: as in ``State``. assumptions: what
    has to hold, by default those of the kind.
    """

    kind: str
    alpha: float
    delta: float
    lam: float
    n: int
    wrong: float
    share: float
    bound: float
    since: float
    epoch: int
    scorer: str
    task: dict[str, Any]
    fingerprints: dict[str, str]
    assumptions: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.assumptions:
            object.__setattr__(self, "assumptions", (*ASSUMPTIONS, _TIMES.get(self.kind, _ONCE)))

    @classmethod
    def of(
        cls,
        threshold: Threshold,
        guarantee: Guarantee,
        *,
        since: float,
        epoch: int,
        scorer: str,
        task: dict[str, Any],
        fingerprints: Mapping[str, str],
    ) -> Certificate | None:
        """The certificate of a threshold; None where nothing is certified."""
        if not threshold.certified:
            return None
        return cls(
            guarantee.kind, guarantee.alpha, guarantee.delta, threshold.lam, threshold.n, threshold.wrong,
            threshold.share, threshold.bound, since, epoch, scorer, dict(task), dict(fingerprints),
        )  # fmt: skip

    def check(self, fingerprints: Mapping[str, str]) -> tuple[str, ...]:
        """Why the certificate says nothing about what has these fingerprints; empty where it holds."""
        reasons = []
        for name in sorted({*self.fingerprints, *fingerprints}):
            was, now = self.fingerprints.get(name), fingerprints.get(name)
            if was == now:
                continue
            if was is None:
                reasons.append(f"{name}: certified without it, now {now}")
            else:
                reasons.append(f"{name}: certified for {was}, now {'missing' if now is None else now}")
        return tuple(reasons)

    def as_data(self) -> dict[str, Any]:
        """Plain values, as JSON has them."""
        found = {f.name: getattr(self, f.name) for f in fields(self)}
        return {"format": FORMAT, "schema": SCHEMA, **found, "assumptions": list(self.assumptions)}

    @classmethod
    def from_data(cls, data: Any, where: str = "the certificate") -> Certificate:
        """What ``as_data`` gave. Raises ``StateError`` for anything else; ``where`` names it there."""
        if not isinstance(data, dict) or data.get("format") != FORMAT:
            raise StateError(f"{where} is no certificate of ronn-hrm", hint=f'its "format" would be "{FORMAT}"')
        if data.get("schema") != SCHEMA:
            raise StateError(
                f"{where} has schema {data.get('schema')!r}, and this version of ronn-hrm reads {SCHEMA}",
                hint="install the version that wrote it, or calibrate again",
            )
        values = {}
        for name, test, what in _FIELDS:
            if name not in data or not test(data[name]):
                found = repr(data[name]) if name in data else "missing"
                raise StateError(f"{name!r} of {where} is {found}, and must be {what}", hint="calibrate again")
            values[name] = data[name]
        values["assumptions"] = tuple(values["assumptions"])
        return cls(**values)

    def to_json(self) -> str:
        """Raises ``StateError`` where a number is not finite: nothing is certified then."""
        try:
            return json.dumps(self.as_data(), indent=1, allow_nan=False) + "\n"
        except ValueError as e:
            raise StateError(f"a certificate cannot be written with lam={self.lam!r}, bound={self.bound!r}") from e

    @classmethod
    def from_json(cls, text: str | bytes, where: str = "the certificate") -> Certificate:
        """Raises ``StateError`` for what is no certificate."""
        try:
            data = json.loads(text)
        except ValueError as e:
            raise StateError(f"{where} is no JSON: {e}") from e
        return cls.from_data(data, where)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Written beside ``path`` and renamed, so that there is the old file or the new one."""
        path, text = Path(path), self.to_json()
        beside = path.with_name(f"{path.name}.{os.getpid()}.tmp")
        try:
            with open(beside, "w", encoding="utf-8") as f:
                f.write(text)
                f.flush()
                os.fsync(f.fileno())
            os.replace(beside, path)
        except OSError:
            with contextlib.suppress(OSError):
                beside.unlink()
            raise

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Certificate:
        """Raises ``StateError`` where there is no such file, or one of another kind."""
        try:
            text = Path(path).read_bytes()
        except OSError as e:
            raise StateError(f"the certificate {os.fspath(path)!r} cannot be read: {e.strerror}") from e
        return cls.from_json(text, repr(os.fspath(path)))

    def __str__(self) -> str:
        holds, sure = _HOLDS[self.kind]
        holds = holds.format(alpha=f"{self.alpha:.4g}", sure=sure.format(p=f"{1 - self.delta:.4g}"))
        at = datetime.fromtimestamp(self.since, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
        marks = ", ".join(f"{name} {value}" for name, value in sorted(self.fingerprints.items()))
        return "\n".join(
            [
                holds,
                f"  answers  where the score is {self.lam:.6g} or more",
                f"  found    {self.n} records: {self.share:.1%} at or above the threshold, {self.wrong:g} wrong; "
                f"risk at most {self.bound:.4g}",
                f"  kind     {self.kind}, alpha={self.alpha:g}, delta={self.delta:g}; scorer {self.scorer};"
                f" task {self.task.get('kind', '?')}",
                f"  since    {at}, epoch {self.epoch}",
                f"  for      {marks}",
                "  as long as",
                *(f"    {line}" for line in self.assumptions),
            ]
        )


def _number(low: float, high: float) -> Any:
    return lambda x: isinstance(x, (int, float)) and not isinstance(x, bool) and math.isfinite(x) and low <= x <= high


def _count(x: Any) -> bool:
    return isinstance(x, int) and not isinstance(x, bool) and x >= 0


def _texts(x: Any) -> bool:
    return isinstance(x, (list, tuple)) and all(isinstance(line, str) for line in x)


_FIELDS = (
    ("kind", lambda x: isinstance(x, str) and x in _HOLDS, f"one of {', '.join(_HOLDS)}"),
    ("alpha", _number(0.0, 1.0), "a number from 0 to 1"),
    ("delta", _number(0.0, 1.0), "a number from 0 to 1"),
    ("lam", _number(-math.inf, math.inf), "a finite number"),
    ("n", _count, "a count"),
    ("wrong", _number(0.0, math.inf), "a number from 0 on"),
    ("share", _number(0.0, 1.0), "a number from 0 to 1"),
    ("bound", _number(0.0, 1.0), "a number from 0 to 1"),
    ("since", _number(-62135596800.0, 253402300799.0), "seconds since 1970"),
    ("epoch", _count, "a count"),
    ("scorer", lambda x: isinstance(x, str), "a text"),
    ("task", lambda x: isinstance(x, dict), "an object"),
    (
        "fingerprints",
        lambda x: isinstance(x, dict) and all(isinstance(v, str) for v in x.values()),
        "an object of texts",
    ),
    ("assumptions", _texts, "a list of texts"),
)
