"""Runs every program with onnxruntime and with RONN, and compares: ``python -m benchmarks.clients.compare [NAME...]``.

Each program gets an environment of its own (below --environments), in which onnxruntime and RONN are both installed.
The outcomes go to benchmarks/results/clients.json, those of programs that were not named stay, and docs/clients.md is
made of them all. Exit status 1 when a program fails or an answer differs.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from benchmarks.clients.programs import PROGRAMS, Program

ROOT = Path(__file__).parents[2]
TABLE = ROOT / "docs" / "clients.md"
RESULTS = ROOT / "benchmarks" / "results" / "clients.json"
PACKAGES = ("ronn-core", "ronn-codegen", "ronn-provider-cpu")
ORT = "onnxruntime==1.32.0"
TIMEOUT_S = 1800.0
RUNTIMES = {"onnxruntime": (), "ronn.compat.onnxruntime": ("-m", "ronn.compat")}


class ClientError(Exception):
    """A program could not be installed, or failed."""


@dataclass(frozen=True)
class Outcome:
    """What came of one program: the differences (none: equal), how many values were compared, and how many names RONN
    has beyond what was wanted."""

    differences: list[str]
    values: int
    more: int = 0


def install(program: Program, folder: Path) -> Path:
    """Makes the program's environment, or completes it; returns its Python."""
    python = folder / program.script / "bin" / "python"
    uv = shutil.which("uv", path=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]))
    if uv is None:
        raise ClientError("the command uv is needed: pip install uv")
    links = [w for link in os.environ.get("PIP_FIND_LINKS", "").split() for w in ("--find-links", link)]
    pip = [uv, "pip", "install", "-q", *links, "-p", str(python)]
    ours = [w for name in PACKAGES for w in ("-e", str(ROOT / "packages" / name))]
    if not python.exists():
        _call([uv, "venv", "-q", "-p", sys.executable, str(folder / program.script)])
    _call([*pip, *ours, ORT, *program.needs])
    if program.wheels:
        _call([*pip, "--no-deps", *program.wheels])
    return python


def _call(command: list[str], environment: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, env=environment, cwd=ROOT)
    if done.returncode != 0:
        raise ClientError(f"{' '.join(command)}\n{done.stderr[-2000:]}")
    return done.stdout


def run(program: Program, python: Path, runtime: str) -> dict[str, Any]:
    """Runs the program's script and returns what it showed."""
    environment = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    output = _call([str(python), *RUNTIMES[runtime], str(program.path)], environment)
    shown = json.loads(output.strip().splitlines()[-1])
    if shown["runtime"] != runtime:
        raise ClientError(f"{program.name} ran on {shown['runtime']} instead of {runtime}")
    found: dict[str, Any] = shown["found"]
    return found


def differences(wanted: Any, got: Any, tolerance: float, path: str = "") -> Iterator[str]:
    """Where two results differ: floats by more than the tolerance, anything else at all."""
    if isinstance(wanted, dict) and isinstance(got, dict) and wanted.keys() == got.keys():
        for key in wanted:
            yield from differences(wanted[key], got[key], tolerance, f"{path}.{key}")
    elif isinstance(wanted, list) and isinstance(got, list) and len(wanted) == len(got):
        for i, (a, b) in enumerate(zip(wanted, got, strict=True)):
            yield from differences(a, b, tolerance, f"{path}[{i}]")
    elif isinstance(wanted, float) and isinstance(got, float):
        close = math.isclose(wanted, got, rel_tol=tolerance, abs_tol=tolerance)
        if not close and not (math.isnan(wanted) and math.isnan(got)):
            yield f"{path}: {wanted} and {got}"
    elif wanted != got or type(wanted) is not type(got):
        yield f"{path}: {str(wanted)[:200]} and {str(got)[:200]}"


def count(found: Any) -> int:
    """Numbers and texts in a result."""
    if isinstance(found, dict):
        return sum(count(v) for v in found.values())
    return sum(count(v) for v in found) if isinstance(found, list) else 1


def compare(program: Program, wanted: dict[str, Any], got: dict[str, Any]) -> Outcome:
    """Holds RONN's result against onnxruntime's."""
    found, more = [], 0
    for name in program.superset:
        missing = sorted(set(wanted[name]) - set(got[name]))
        found += [f".{name}: lacks {item}" for item in missing]
        more += len(set(got[name]) - set(wanted[name]))
    plain = [{k: v for k, v in result.items() if k not in program.superset} for result in (wanted, got)]
    found += differences(*plain, program.tolerance)
    return Outcome(found, count(wanted), more)


def table(outcomes: dict[str, Outcome], programs: tuple[Program, ...] = PROGRAMS) -> str:
    """The page ``docs/clients.md``; outcomes by the programs' names."""
    lines = [
        "# Programs that run unchanged",
        "",
        "Programs of others that import onnxruntime. Each was run once with onnxruntime 1.32 and once with",
        "`python -m ronn.compat`, in the same environment, and what it found was compared: texts, labels, boxes and",
        "counts must be the same, floats must agree to the tolerance (relative, and absolute below 1).",
        "`nox -s clients` does it all and writes this page; the scripts are in `benchmarks/clients/scripts`.",
        "",
        "| program | what is called | values compared | tolerance | result |",
        "| --- | --- | ---: | ---: | --- |",
    ]
    for p in programs:
        o = outcomes.get(p.name)
        if o is None:
            continue
        result = "same" if not o.differences else f"{len(o.differences)} differ: {o.differences[0]}"
        if o.more:
            result += f"; {o.more} more pass with RONN"
        note = f" ({p.why})" if p.why else ""
        named = p.wheels if p.wheels else tuple(n for n in p.needs if "==" in n)
        versions = ", ".join(w.replace("==", " ") for w in named[:3])
        lines.append(f"| {p.name} ({versions}) | {p.call} | {o.values} | {p.tolerance:g}{note} | {result} |")
    same = sum(not o.differences for o in outcomes.values())
    lines += ["", f"{same} of {len(outcomes)} programs give the same result."]
    absent = [p.name for p in programs if p.name not in outcomes]
    if absent:
        lines += ["", f"Not run yet: {', '.join(absent)}."]
    return "\n".join(lines) + "\n"


def kept(path: Path) -> dict[str, Outcome]:
    """Outcomes of earlier runs."""
    return {n: Outcome(**o) for n, o in json.loads(path.read_text(encoding="utf-8")).items()} if path.exists() else {}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", help="programs (default: all)")
    parser.add_argument("--environments", type=Path, default=ROOT / ".nox" / "client-environments")
    options = parser.parse_args()
    known = {p.name: p for p in PROGRAMS} | {p.script.removeprefix("use_"): p for p in PROGRAMS}
    unknown = [n for n in options.names if n not in known]
    if unknown:
        parser.error(f"no program {unknown[0]!r}; there are {', '.join(p.name for p in PROGRAMS)}")
    bad = 0
    for program in [known[n] for n in options.names] or PROGRAMS:
        print(f"{program.name} ...", flush=True)
        try:
            python = install(program, options.environments)
            wanted, got = (run(program, python, runtime) for runtime in RUNTIMES)
        except (ClientError, subprocess.TimeoutExpired, json.JSONDecodeError) as e:
            print(f"  failed: {e}", flush=True)
            bad += 1
            continue
        outcome = compare(program, wanted, got)
        print(
            "  same" if not outcome.differences else "\n".join(f"  {d}" for d in outcome.differences[:10]), flush=True
        )
        bad += bool(outcome.differences)
        outcomes = {**kept(RESULTS), program.name: outcome}
        RESULTS.write_text(json.dumps({n: asdict(o) for n, o in sorted(outcomes.items())}, indent=1) + "\n")
        TABLE.write_text(table(outcomes), encoding="utf-8")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
