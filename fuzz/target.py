"""The child process: one target under libFuzzer. Findings are kept as files, and fuzzing goes on behind them.

``python -m fuzz.target NAME STATUS.json SAVE SEEDS [libFuzzer options and corpus folders]``
"""

from __future__ import annotations

import faulthandler
import hashlib
import importlib
import json
import mmap
import os
import resource
import sys
import time
import traceback
from collections import Counter
from pathlib import Path

import atheris

MOST_BYTES = 1 << 16  # of one input
MEMORY = 8 << 30  # bytes of address space
SECONDS_BETWEEN_REPORTS = 0.5


def place(error: BaseException) -> str:
    """The innermost line of RONN that an exception came through: what tells findings apart."""
    frames = [f for f in traceback.extract_tb(error.__traceback__) if "/ronn" in f.filename]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


class Target:
    """Counts outcomes, and keeps one input for each kind of exception that should not have come."""

    def __init__(self, name: str, status: Path, save: Path) -> None:
        self.module = importlib.import_module(f"fuzz.{name}")
        self.name = name
        self.status = status
        self.save = save
        self.outcomes: Counter[str] = Counter()
        self.findings: dict[str, str] = {}
        self.reported = 0.0
        with status.with_suffix(".last").open("w+b") as file:  # survives the process
            file.truncate(MOST_BYTES + 8)
            self.last = mmap.mmap(file.fileno(), MOST_BYTES + 8)

    def __call__(self, data: bytes) -> None:
        self.last[: len(data) + 8] = len(data).to_bytes(8, "little") + data
        try:
            self.outcomes[self.module.run(data)] += 1
        except Exception as e:
            self.found(data, e)
        if time.monotonic() - self.reported > SECONDS_BETWEEN_REPORTS:
            self.report()

    def found(self, data: bytes, error: Exception) -> None:
        what = f"{type(error).__name__} at {place(error)}"
        self.outcomes["FOUND"] += 1
        if what not in self.findings:
            file = self.kept(data)
            file.write_bytes(data)
            self.findings[what] = f"{file}: {str(error)[:300]}"
            self.report()

    def kept(self, data: bytes) -> Path:
        """Where an input that breaks something is kept."""
        return self.save / f"{self.name}-{hashlib.sha256(data).hexdigest()[:12]}"

    def report(self) -> None:
        self.reported = time.monotonic()
        text = json.dumps({"outcomes": self.outcomes, "findings": self.findings})
        temporary = self.status.with_suffix(".new")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, self.status)


def main() -> None:
    name, status, save, seeds, *options = sys.argv[1:]
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.enable()
    target = Target(name, Path(status), Path(save))
    target.report()
    if hasattr(target.module, "prepare"):
        target.module.prepare()
    for number, data in enumerate(target.module.seeds()):
        if not target.kept(data).exists():
            (Path(seeds) / f"{number:04}").write_bytes(data)
    custom = getattr(target.module, "mutate", None)
    atheris.Setup([sys.argv[0], *options, seeds], target, **({} if custom is None else {"custom_mutator": custom}))
    atheris.Fuzz()


if __name__ == "__main__":
    main()
