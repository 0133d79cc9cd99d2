"""Run by test_workers: a worker that does what its last argument says."""

from __future__ import annotations

import os
import signal
import sys
import time

from benchmarks.workers import THREAD_VARIABLES, write_result

path, behaviour = sys.argv[2], sys.argv[3]
if behaviour == "answer":
    write_result(path, {"threads": [os.environ[name] for name in THREAD_VARIABLES]})
elif behaviour == "crash":
    os.kill(os.getpid(), signal.SIGSEGV)
elif behaviour == "raise":
    raise RuntimeError("cannot load this model")
elif behaviour == "hang":
    time.sleep(60)
