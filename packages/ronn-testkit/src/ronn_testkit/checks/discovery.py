"""Import and absence: quick, free of side effects, and missing hardware is a reason, never an exception."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

from ronn_testkit.subject import CheckFailed, Subject

IMPORT_SECONDS = 5.0
"""What importing a provider's module and asking for its devices may take, beyond importing ronn and NumPy."""

NOTHING_VISIBLE = {
    "CUDA_VISIBLE_DEVICES": "",
    "OCL_ICD_VENDORS": "/nonexistent",
    "ONEAPI_DEVICE_SELECTOR": "*:nothing",
}
"""Environment in which the usual drivers show no device."""

_SCRIPT = r"""
import json, os, signal, sys, threading, time, importlib
import numpy, ronn.provider
module, _, name = sys.argv[1].partition(":")
for entry in json.loads(sys.argv[2]):
    sys.path.append(entry)
opened, written = [], []
def audit(event, args):
    if event in ("socket.connect", "socket.bind", "socket.getaddrinfo", "socket.sendto"):
        opened.append(event)
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+"):
        path = os.fspath(args[0]) if not isinstance(args[0], int) else ""
        path = path if isinstance(path, str) else path.decode()
        if "__pycache__" not in path and path != os.devnull:
            written.append(path)
sys.addaudithook(audit)
environment, threads, handler = dict(os.environ), threading.active_count(), signal.getsignal(signal.SIGINT)
report = {"error": "", "reason": ""}
started = time.perf_counter()
try:
    target = importlib.import_module(module)
    for part in name.split("."):
        target = getattr(target, part)
    provider = target() if isinstance(target, type) else target
except BaseException as e:
    report["error"] = f"{type(e).__name__}: {e}"
else:
    report["imported"] = time.perf_counter() - started
    try:
        devices = list(provider.devices())
        report["reason"] = "" if devices else "no usable device"
    except ronn.provider.Unavailable as e:
        report["reason"] = str(e) or "unavailable, without a reason"
    except BaseException as e:
        report["error"] = f"devices(): {type(e).__name__}: {e}"
report["seconds"] = time.perf_counter() - started
report["sockets"], report["written"] = opened, written
report["environment"] = sorted(k for k in {*environment, *os.environ} if environment.get(k) != os.environ.get(k))
report["threads"] = threading.active_count() - threads
report["signals"] = signal.getsignal(signal.SIGINT) is not handler
print("@" + json.dumps(report))
"""


def discover(subject: Subject, **environment: str) -> dict[str, Any]:
    """What a fresh process sees when it imports the provider and asks for its devices."""
    result = subprocess.run(
        [sys.executable, "-c", _SCRIPT, subject.target, json.dumps([p for p in sys.path if p])],
        capture_output=True, text=True, timeout=120, env={**os.environ, **environment}, check=False,
    )  # fmt: skip
    last = result.stdout.strip().splitlines()[-1:] or [""]
    if not last[0].startswith("@"):
        raise CheckFailed(f"importing {subject.target} ends with {result.returncode}: {result.stderr[-400:]}")
    found: dict[str, Any] = json.loads(last[0][1:])
    return found


def imports_cleanly(subject: Subject) -> None:
    """The module imports and makes its provider without an exception, quickly, and leaves the process as it was."""
    report = discover(subject)
    if report["error"]:
        raise CheckFailed(f"{subject.target} fails at discovery: {report['error']}")
    if report["seconds"] > IMPORT_SECONDS:
        raise CheckFailed(f"{subject.target} takes {report['seconds']:.1f} s to import, more than {IMPORT_SECONDS} s")
    for what, text in (
        ("sockets", "opens sockets at import"),
        ("written", "writes files at import"),
        ("environment", "changes the environment at import"),
        ("threads", "starts threads at import"),
        ("signals", "replaces signal handlers at import"),
    ):
        if report[what]:
            raise CheckFailed(f"{subject.target} {text}: {report[what]}")


def absence_is_a_reason(subject: Subject) -> None:
    """Without its hardware the provider says Unavailable("why"): no exception of another kind, no crash."""
    report = discover(subject, **NOTHING_VISIBLE)
    if report["error"]:
        raise CheckFailed(f"with no accelerator visible, {subject.target} fails: {report['error']}")
    if report["reason"] == "unavailable, without a reason":
        raise CheckFailed("Unavailable was raised without a reason")
