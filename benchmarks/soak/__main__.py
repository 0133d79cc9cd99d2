"""Sessions under load: bits, memory, threads and processor time that must not change. Writes results/soak.json.

python -m benchmarks.soak [--seconds 600] [--ci] [--check NAME ...] [--no-zoo] [--write]

Exit status 1 when a check fails. `mixed`: shapes, threads, stops, time-outs, forks and errors at once. `concurrency`:
threads that share sessions get the bits of serial runs. `memory`: what the process holds levels off over many shapes.
`threads`: with deterministic=True their number changes no bit. `idle`: open sessions that do nothing use no processor.
"""

from __future__ import annotations

import argparse
import faulthandler
import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from benchmarks.machine import describe
from benchmarks.soak.checks import concurrency, idle, memory, threads
from benchmarks.soak.mixed import few_heaps, mixed

RESULTS = Path(__file__).parents[1] / "results" / "soak.json"
LONG = 300  # seconds from which warming up is a small part of it
NAMES = ["mixed", "concurrency", "memory", "threads", "idle"]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600, help="of the mixed check; others take a tenth at most")
    parser.add_argument("--runs", type=int, default=10_000, help="runs over 200 shapes")
    parser.add_argument("--ci", action="store_true", help="short: 60 seconds, 2000 runs, nothing fetched or written")
    parser.add_argument("--no-zoo", action="store_true", help="only models made here, nothing fetched")
    parser.add_argument("--check", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--write", action="store_true", help="keep the results also when not all checks were run")
    options = parser.parse_args()
    if options.ci:
        options.seconds, options.runs, options.no_zoo = min(options.seconds, 60), 2000, True
    faulthandler.enable()
    few_heaps()
    checks: dict[str, Callable[[], dict[str, Any]]] = {
        "mixed": lambda: mixed(options.seconds, growth=0.03 if options.seconds >= LONG else 0.1),
        "concurrency": lambda: concurrency(min(options.seconds / 10, 60)),
        "memory": lambda: memory(options.runs, allowed=0.05 if options.ci else 0.02),
        "threads": lambda: threads(not options.no_zoo),
        "idle": idle,
    }
    machine = describe()
    found: dict[str, dict[str, Any]] = {}
    for name in options.check:
        started = time.perf_counter()
        found[name] = result = checks[name]()
        shown = {k: v for k, v in result.items() if k not in ("models", "samples")}
        verdict = "ok" if result["ok"] else "FAILED"
        print(f"{name}: {verdict} in {time.perf_counter() - started:.0f} s {shown}", flush=True)
    if options.write or (options.check == NAMES and not options.ci):
        write(found, machine)
    if not all(result["ok"] for result in found.values()):
        raise SystemExit(1)


def write(found: dict[str, dict[str, Any]], machine: dict[str, Any]) -> None:
    """Puts results beside those of other checks that the file has; each knows the machine that it was run on."""
    kept = json.loads(RESULTS.read_text(encoding="utf-8")) if RESULTS.exists() else {"checks": {}}
    for result in kept["checks"].values():
        result.setdefault("machine", kept.get("machine"))
    results = kept["checks"] | {name: {**result, "machine": machine} for name, result in found.items()}
    ordered = {name: results[name] for name in NAMES if name in results}
    RESULTS.write_text(json.dumps({"checks": ordered}, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
