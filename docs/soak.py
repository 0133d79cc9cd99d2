"""The page of the soak, made from benchmarks/results/soak.json: what was done, and what the process held."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).resolve().parent.parent / "benchmarks" / "results" / "soak.json"
NOTES = {
    "run": "mixed shapes on shared sessions, from files too", "trace": "with intermediate values, or some outputs",
    "timeout": "a deadline, often too early", "stop": "with a `Stop` that another thread may set",
    "cancel": "while another thread calls `session.cancel()`", "wrong input": "wrong names, dtypes, shapes",
    "custom op": "a Python operator that raises at times", "memory limit": "inputs that fit in the limit, or do not",
    "new session": "made, run, closed, run again", "pickle": "a session pickled, restored and run",
    "housekeeping": "`memory()`, `stats()`, `placement()`, `trim()`", "threads of a run": "`run(threads=...)`",
    "fork": "a child forks off in the midst of it, and does such jobs on the inherited sessions",
    "run_async": "awaited", "async timeout": "awaited, with a deadline", "task cancel": "a task cancelled as it runs",
    "batcher": "requests that run together", "batcher cancel": "a request withdrawn",
    "batcher wrong input": "beside right ones", "run_batch_async": "awaited batches", "full queue": "more than may wait",
    "load_async": "loading while runs go on",
}  # fmt: skip


def page() -> str:
    """The text of docs/soak.md."""
    checks = json.loads(RESULTS.read_text(encoding="utf-8"))["checks"]
    lines = [
        "# Soak",
        "",
        "`nox -s soak` puts sessions under load for ten minutes and fails when anything changes that must not: results (bit by",
        "bit), memory, threads, open files, processor time at rest. `nox -s soak -- --ci` is the minute of it that every change",
        "runs. A hang is an error: the stacks of all threads are printed, of forked children too.",
        "",
        *mixed(checks["mixed"]),
        "",
        "## One thing at a time",
        "",
        "| check | what | found |",
        "| --- | --- | --- |",
        *(f"| {name} | {what} | {found} |" for name, what, found in rows(checks)),
    ]
    return "\n".join(lines)


def mixed(found: dict[str, Any]) -> list[str]:
    """The section about everything at once."""
    machine = found["machine"]
    samples = found["samples"]
    steady = samples[max(len(samples) // 4, 1) :]
    ends: dict[str, dict[str, int]] = {}
    for end, count in found["ends"].items():
        job, _, how = end.partition(": ")
        ends.setdefault(job, {})[how] = count
    verdict = "Nothing was wrong." if found["ok"] else "Wrong: " + "; ".join(found["wrong"]) + "."
    held = [
        ("memory of the process, MiB", "rss_mib"), ("the same after `trim()` of all sessions, MiB", "trimmed_mib"),
        ("taken from the C library, MiB", "malloc_mib"), ("blocks of Python's allocator", "python_blocks"),
        ("`session.memory().total` of all sessions, bytes", "session_bytes"), ("open sessions", "sessions"),
        ("Python threads", "python_threads"), ("threads of the process", "threads"), ("open files", "files"),
    ]  # fmt: skip
    return [
        "## Everything at once",
        "",
        f"{found['jobs']:,} jobs in {found['seconds']:.0f} seconds on {found['threads']} threads, one that forks, one with an",
        "event loop and four clients, and one that stops runs and changes the number of threads, on a machine with",
        f"{machine['usable_cores']} processors. Each result was held against what one quiet",
        f"run had given. {verdict}",
        "",
        "| job | what | how it ended |",
        "| --- | --- | --- |",
        *(
            f"| {job} | {NOTES[job]} | {', '.join(f'{n:,} {how}' for how, n in sorted(hows.items(), key=lambda e: -e[1]))} |"
            for job, hows in ends.items()
        ),
        "",
        f"What the process held, between {found['rounds']} rounds, when nothing ran:",
        "",
        "| | after a quarter | least since | most since | at the end |",
        "| --- | ---: | ---: | ---: | ---: |",
        *(
            f"| {text} | {steady[0][key]:,} | {min(s[key] for s in steady):,} | {max(s[key] for s in steady):,} "
            f"| {steady[-1][key]:,} |"
            for text, key in held
        ),
        "",
        f"A straight line through the memory after `trim()` rises by {found['mib_per_hour']:g} MiB an hour. The process has two",
        "heaps at most (as with `MALLOC_ARENA_MAX=2`): with glibc's usual number, which grows with the processors, what is free",
        "is scattered over them, and the memory of the process goes up and down by a quarter while what it has taken stays the",
        "same. Servers with many threads do well to set it too.",
    ]


def rows(checks: dict[str, Any]) -> list[tuple[str, str, str]]:
    """The checks of one thing each: name, what it does, what was found."""
    c, m, t, i = (checks[name] for name in ("concurrency", "memory", "threads", "idle"))
    held = m["mib_at_each_tenth"]
    return [
        (
            "concurrency",
            f"{c['threads']} threads share {c['sessions']} sessions for {c['seconds']:g} s",
            f"{c['runs']:,} runs, {c['different']} of them with other bits than alone",
        ),
        (
            "memory",
            f"{m['runs']:,} runs over {m['shapes']} shapes in random order, {m['planned']:,} plans",
            f"{held[1]} MiB after a fifth, {held[-1]} MiB at the end",
        ),
        (
            "threads",
            f"{len(t['models'])} models on {', '.join(map(str, t['threads']))} threads with `deterministic=True`",
            f"{len(t['different'])} of them with other bits",
        ),
        (
            "idle",
            f"{i['sessions']} open sessions that do nothing",
            f"{i['share'] * 100:.4f} % of a processor",
        ),
    ]
