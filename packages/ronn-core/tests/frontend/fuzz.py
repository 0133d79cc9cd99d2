"""A fuzzer: broken variants of real models go through load, session and run; only RonnError may come out.

    python fuzz.py --seconds 60 --corpus models/ zoo_index.json one.onnx

Cases run in a child process with bounded memory, and an alarm each. A crash, a hang, or an exception that is no
RonnError is a finding: its model is kept under --save, and ``--replay FILE`` runs it again with the traceback. Without
--corpus the node models of onnx.backend.test are the corpus. A seed gives the same cases in the same order.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import random
import signal
import subprocess
import sys
import tempfile
import threading
import time
import traceback
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
CASE_SECONDS = 5
HANG_SECONDS = 20  # until a child that even its alarm cannot wake is ended
MEMORY = 6 * 2**30
MAX_MODEL_BYTES = 3 * 2**20
MAX_INPUT_ELEMENTS = 100_000


class CaseTimeout(BaseException):
    """The alarm of a case. Not an Exception, so that nothing swallows it."""


def tell(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def corpus(paths: list[str], seed: int) -> list[bytes]:
    """The models to start from, in an order that depends on nothing but the arguments."""
    if not paths:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            from onnx.backend.test.case.node import collect_testcases

            cases = collect_testcases(None)
        return [c.model.SerializeToString() for c in random.Random(seed).sample(cases, 400)]
    found = [p for path in paths for p in _files(Path(path))]
    return [p.read_bytes() for p in found if p.stat().st_size <= MAX_MODEL_BYTES]


def _files(path: Path) -> Iterator[Path]:
    if path.suffix == ".json":
        yield from (Path(entry["model"]) for _, entry in sorted(json.loads(path.read_text()).items()))
    elif path.is_dir():
        yield from sorted(path.rglob("*.onnx"))
    else:
        yield path


def case(models: list[bytes], seed: int, index: int) -> bytes:
    sys.path.insert(0, str(HERE))
    from mutate import mutate

    rng = random.Random(f"{seed}/{index}")
    return mutate(rng.choice(models), rng)


def run_case(data: bytes, rng: random.Random) -> str:
    """How far the model got: ``refused at load``, ``refused at session``, ``refused at run``, ``ran``."""
    import ronn
    from ronn.errors import RonnError
    from ronn.frontend import weights

    if rng.random() < 0.5:  # the way that only large models go
        weights.MIN_MODEL, weights.MIN_RAW = 0, 8
    else:
        weights.MIN_MODEL = 2**20

    try:
        model = ronn.load(data)
    except RonnError:
        return "refused at load"
    try:
        session = ronn.Session(model)
    except RonnError:
        return "refused at session"
    with session:
        try:
            feed = {v.name: _input(v, rng) for v in session.inputs}
        except _CannotFeed:
            return "made a session"
        try:
            session.run(feed)
        except RonnError:
            return "refused at run"
    return "ran"


class _CannotFeed(Exception):
    pass


def _input(info: Any, rng: random.Random) -> Any:
    import numpy as np

    from ronn.ir.types import DType, TensorType

    if not isinstance(info.type, TensorType) or info.type.dtype is None:
        raise _CannotFeed
    shape = [d if isinstance(d, int) else 2 for d in (info.type.shape if info.type.shape is not None else (2, 2))]
    count = whole = 1
    for d in shape:
        count, whole = count * d, whole * max(abs(d), 1)
    if count < 0 or whole > MAX_INPUT_ELEMENTS:
        raise _CannotFeed
    dtype = info.type.dtype
    if dtype is DType.STRING:
        return np.full(shape, "text", object)
    low, high = (
        (0, 2) if dtype is DType.BOOL or dtype.bits < 8 else (-3, 4) if not dtype.name.startswith("U") else (0, 4)
    )
    numbers = np.random.default_rng(rng.randrange(2**32)).integers(low, high, count)
    return numbers.astype(dtype.numpy).reshape(shape)


# --- the child


def worker(args: argparse.Namespace) -> None:
    """Runs cases from --start on, and reports each as a line of JSON."""
    try:
        import resource

        resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (ImportError, ValueError):
        pass
    warnings.simplefilter("ignore")
    models = corpus(args.corpus, args.seed)

    def ring(number: int, frame: object) -> None:
        raise CaseTimeout

    signal.signal(signal.SIGALRM, ring)
    index = args.start
    while args.cases is None or index < args.cases:
        report({"start": index})
        data = case(models, args.seed, index)
        signal.alarm(CASE_SECONDS)
        try:
            outcome = run_case(data, random.Random(index))
            report({"done": index, "outcome": outcome})
        except (Exception, CaseTimeout) as e:
            signal.alarm(0)
            report({"done": index, "outcome": type(e).__name__, "where": place(e), "text": str(e)[:300]})
        finally:
            signal.alarm(0)
        index += 1
    report({"end": True})


def report(line: dict[str, Any]) -> None:
    os.write(3, (json.dumps(line) + "\n").encode())


def place(e: BaseException) -> str:
    """The innermost line of RONN that an exception went through: what tells findings apart."""
    frames = [
        f for f in traceback.extract_tb(e.__traceback__) if "ronn" in Path(f.filename).parts or "/ronn" in f.filename
    ]
    frames = [f for f in frames if "tests" not in Path(f.filename).parts]
    return f"{Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else "?"


# --- the parent


def fuzz(args: argparse.Namespace) -> int:
    """Keeps a child at work until time or cases are up. Returns the number of distinct findings."""
    end = time.monotonic() + args.seconds if args.seconds is not None else float("inf")
    outcomes: Counter[str] = Counter()
    findings: dict[tuple[str, str], tuple[int, str]] = {}
    index = 0
    while time.monotonic() < end and (args.cases is None or index < args.cases):
        with contextlib.ExitStack() as stack:
            index, finding = _child(args, index, end, outcomes, findings, stack)
        if finding is not None:
            findings.setdefault((finding, "?"), (index, ""))
            outcomes[finding] += 1
            index += 1
    save = Path(args.save)
    models = corpus(args.corpus, args.seed) if findings else []
    for (kind, where), (number, text) in findings.items():
        save.mkdir(parents=True, exist_ok=True)
        file = save / f"{kind}-{where.replace(':', '-')}-{args.seed}-{number}.onnx"
        file.write_bytes(case(models, args.seed, number))
        tell(f"FOUND {kind} at {where} (case {number}): {text}\n      kept as {file}")
    tell(f"{index} cases, seed {args.seed}: " + ", ".join(f"{n} {k}" for k, n in outcomes.most_common()))
    return len(findings)


GOOD = {"refused at load", "refused at session", "refused at run", "made a session", "ran"}


def _child(
    args: argparse.Namespace,
    start: int,
    end: float,
    outcomes: Counter[str],
    findings: dict[tuple[str, str], tuple[int, str]],
    stack: contextlib.ExitStack,
) -> tuple[int, str | None]:
    """One child's work. Returns the next case to run, or the case that ended the child and how."""
    reading, writing = os.pipe()
    command = [sys.executable, __file__, "--worker", "--seed", str(args.seed), "--start", str(start)]
    if args.cases is not None:
        command += ["--cases", str(args.cases)]
    errors = stack.enter_context(tempfile.TemporaryFile())  # noqa: SIM115
    process = subprocess.Popen(
        ["bash", "-c", f'exec "$@" 3>&{writing}', "fuzz", *command, "--corpus", *args.corpus],
        pass_fds=(writing,),
        stdout=subprocess.DEVNULL,
        stderr=errors,
    )
    os.close(writing)
    at, last, ended = start, time.monotonic(), False
    hung = threading.Event()

    def watch() -> None:
        while process.poll() is None:
            now = time.monotonic()
            if now - last > HANG_SECONDS + (40 if at == start else 0):
                hung.set()
                process.kill()
            elif now > end:
                process.kill()
            time.sleep(0.2)

    watcher = threading.Thread(target=watch)
    watcher.start()
    with os.fdopen(reading) as lines:
        for line in lines:
            event = json.loads(line)
            last = time.monotonic()
            if "end" in event:
                ended = True
            if "done" in event:
                at = event["done"] + 1
                outcomes[event["outcome"]] += 1
                if event["outcome"] not in GOOD:
                    findings.setdefault((event["outcome"], event["where"]), (event["done"], event["text"]))
            if last > end:
                process.kill()
                break
    watcher.join()
    code = process.wait()
    if ended or time.monotonic() >= end:
        return at, None
    if hung.is_set():
        return at, "hang"
    errors.seek(0)
    tail = errors.read()[-2000:].decode(errors="replace")
    tell(f"child ended with {code} in case {at}: {tail}")
    return at, signal.Signals(-code).name if code < 0 else f"exit{code}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float)
    parser.add_argument("--cases", type=int, help="stop after this many cases")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--corpus", nargs="*", default=[], help="models, folders of them, or a JSON index of them")
    parser.add_argument("--save", default="fuzz-findings", help="where models that break something are kept")
    parser.add_argument("--replay", help="run this one model, here, and show what comes out")
    parser.add_argument("--worker", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--start", type=int, default=0, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.worker:
        worker(args)
        return 0
    if args.replay is not None:
        signal.alarm(CASE_SECONDS * 4)
        tell(run_case(Path(args.replay).read_bytes(), random.Random(0)))
        return 0
    if args.seconds is None and args.cases is None:
        args.seconds = 60.0
    return min(fuzz(args), 100)


if __name__ == "__main__":
    sys.exit(main())
