"""Network and files: a session opens no socket, and writes nowhere but in the cache folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np

from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.values import fill

_CHILD = r"""
import importlib, json, os, sys, numpy, onnx, ronn
from ronn.plugins import registry
module, _, name = sys.argv[1].partition(":")
sys.path += [p for p in json.loads(sys.argv[2]) if p not in sys.path]
found = []
cache = os.path.realpath(os.environ["RONN_CACHE_DIR"])
def audit(event, args):
    if event.startswith("socket.") and event != "socket.__new__" or event == "socket.__new__":
        found.append("network: " + event)
        raise OSError("the network is blocked by ronn-testkit")
    if event == "open" and isinstance(args[1], str) and set(args[1]) & set("wax+") and not isinstance(args[0], int):
        path = os.path.realpath(os.fsdecode(args[0]))
        if not path.startswith((cache + os.sep, os.devnull)) and ".pyc" not in path:
            found.append("writes " + path)
sys.addaudithook(audit)
error = ""
try:
    if sys.argv[3] not in registry().names:
        target = importlib.import_module(module)
        for part in name.split("."):
            target = getattr(target, part)
        registry().add(target() if isinstance(target, type) else target)
    with ronn.Session(sys.argv[4], providers=[sys.argv[3]]) as session:
        session.run(numpy.load(sys.argv[5]))
except BaseException as e:
    error = f"{type(e).__name__}: {e}"
print("@" + json.dumps([found, error]))
"""


def no_network_no_files(subject: Subject) -> None:
    """Discovery, compilation and a run in a process whose sockets are blocked and whose writes are watched."""
    if "<locals>" in subject.target:
        raise NotApplicable("the provider's class is local to a function: no other process can import it")
    with subject.registered():
        model = chain(probe.chain_ops(subject), [17, 33])
    with tempfile.TemporaryDirectory(prefix="ronn-isolated-") as folder:
        cache = Path(folder) / "cache"
        cache.mkdir()
        (Path(folder) / "m.onnx").write_bytes(model.SerializeToString())
        np.save(Path(folder) / "x.npy", fill((17, 33), "float32", 1))
        arguments = [
            subject.target, json.dumps([p for p in sys.path if p]), subject.name, f"{folder}/m.onnx", f"{folder}/x.npy",
        ]  # fmt: skip
        done = subprocess.run(
            [sys.executable, "-c", _CHILD, *arguments], capture_output=True, text=True, timeout=300, check=False,
            env={**os.environ, "RONN_CACHE_DIR": str(cache), "HOME": folder},
        )  # fmt: skip
    last = done.stdout.strip().splitlines()[-1:] or [""]
    if not last[0].startswith("@"):
        raise CheckFailed(f"the watched process ends with {done.returncode}: {done.stderr[-400:]}")
    found, error = json.loads(last[0][1:])
    if found:
        raise CheckFailed(f"a session on {subject.name} {found[0]}" + (f" ({len(found)} events)" if found[1:] else ""))
    if error:
        raise CheckFailed(f"in a watched process: {error}")
