"""Fuzzes the targets one after another, and says what was found: ``python -m fuzz [TARGET ...] --seconds 60``."""

from __future__ import annotations

import argparse
import hashlib
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path
from typing import Any

TARGETS = ("frontend", "executor")
CASE_SECONDS = 60  # of one input, until libFuzzer calls it a hang; busy machines stall for a while
HANDLERS = [f"-handle_{s}=0" for s in ("segv", "bus", "abrt", "ill", "fpe")]  # Python's own tells the traceback
MOST_TOLD = 4000  # characters of what a process said that ended
MAX_BYTES = {"frontend": 4096, "executor": 400}


def fuzz(name: str, seconds: float, save: Path, corpus: Path | None, seed: int) -> int:
    """Keeps a child at work until the time is up; a crash or a hang ends one, and the next goes on. Returns the number
    of distinct findings."""
    save.mkdir(parents=True, exist_ok=True)
    outcomes: Counter[str] = Counter()
    findings: dict[str, str] = {}
    with tempfile.TemporaryDirectory() as folder:
        seeds = Path(folder) / "seeds"
        grown = Path(folder) / "corpus" if corpus is None else corpus / name
        for made in (seeds, grown):
            made.mkdir(parents=True, exist_ok=True)
        status = Path(folder) / "status.json"
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 1:
            command = [
                sys.executable, "-m", "fuzz.target", name, str(status), str(save), str(seeds),
                f"-max_total_time={left:.0f}", f"-timeout={CASE_SECONDS}", "-rss_limit_mb=0",
                f"-max_len={MAX_BYTES[name]}", f"-seed={seed}",
                f"-artifact_prefix={folder}/", *HANDLERS, "-verbosity=0", "-print_final_stats=0", str(grown),
            ]  # fmt: skip
            status.unlink(missing_ok=True)
            done = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, check=False)
            known: dict[str, Any] = {"outcomes": {}, "findings": {}}
            if status.exists():
                known = json.loads(status.read_text(encoding="utf-8"))
            outcomes.update(known["outcomes"])
            for what, where in known["findings"].items():
                findings.setdefault(what, where)
            if done.returncode != 0:
                last = status.with_suffix(".last").read_bytes() if status.exists() else b""
                data = last[8 : 8 + int.from_bytes(last[:8], "little")]
                kept = save / f"{name}-{hashlib.sha256(data).hexdigest()[:12]}"
                kept.write_bytes(data)
                told = done.stderr.decode(errors="replace")
                findings[f"the end of the process ({how(done.returncode)})"] = f"{kept}: {told[-MOST_TOLD:]}"
                outcomes["ENDED"] += 1
                for path in (*grown.iterdir(), *seeds.iterdir()):  # the next child would start with them
                    if path.read_bytes() == data:
                        path.unlink()
                if not known["outcomes"]:
                    break  # it does not even start
            seed += 1
    total = sum(outcomes.values())
    for what, where in findings.items():
        print(f"FOUND by {name}: {what}\n      {where}")
    print(f"{name}: {total} inputs in {seconds:.0f} s: " + ", ".join(f"{n} {k}" for k, n in outcomes.most_common()))
    return len(findings)


def how(code: int) -> str:
    """How a process ended, in words."""
    return signal.Signals(-code).name if code < 0 else {70: "hang"}.get(code, f"exit code {code}")


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m fuzz", description=__doc__)
    parser.add_argument("target", nargs="*", help=f"of {', '.join(TARGETS)} (default: all)")
    parser.add_argument("--seconds", type=float, default=30, help="for each target (default: 30)")
    parser.add_argument("--save", type=Path, default=Path("fuzz-findings"), help="where inputs that break are kept")
    parser.add_argument("--corpus", type=Path, help="a folder that keeps interesting inputs from one run to the next")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--replay", type=Path, help="run this one input of the one target, here")
    options = parser.parse_args()
    for name in options.target:
        if name not in TARGETS:
            parser.error(f"no target {name!r}; there are {', '.join(TARGETS)}")
    targets = options.target if options.target else TARGETS
    if options.replay is not None:
        if len(targets) != 1:
            parser.error("--replay wants one target")
        print(importlib.import_module(f"fuzz.{targets[0]}").run(options.replay.read_bytes()))
        return 0
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    found = sum(fuzz(name, options.seconds, options.save, options.corpus, options.seed) for name in targets)
    return min(found, 100)


if __name__ == "__main__":
    raise SystemExit(main())
