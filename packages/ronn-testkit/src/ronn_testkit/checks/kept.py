"""What a provider keeps: memory within the session's limit, and files that are told apart from damaged ones."""

from __future__ import annotations

import tempfile
import tracemalloc
from dataclasses import replace
from pathlib import Path

import numpy as np

from ronn.errors import MemoryLimitError
from ronn_testkit.checks import probe
from ronn_testkit.models import chain
from ronn_testkit.subject import CheckFailed, NotApplicable, Subject
from ronn_testkit.values import fill

SHAPE = (256, 1024)  # 1 MiB
ROOM = 16  # arrays of that size: more than a chain of five nodes needs, with what kernels written in NumPy make besides
FILES = 8


def limit_is_kept(subject: Subject) -> None:
    """A run that cannot fit into ``memory_limit`` is a MemoryLimitError, and one that does allocates no more."""
    with subject.registered():
        model = chain(probe.chain_ops(subject), ["N", SHAPE[1]])
        x = fill(SHAPE, "float32", 0)
        limit = ROOM * x.nbytes
        with subject.session(model, memory_limit=limit) as session:
            expected = session.run(x)[0]
            try:
                session.run(np.concatenate([x] * 2 * ROOM))
            except MemoryLimitError:
                pass
            else:
                raise CheckFailed(f"a run with an output of {2 * limit} bytes passes memory_limit={limit}")
            tracemalloc.start()
            try:
                got = session.run(x)[0]
                peak = tracemalloc.get_traced_memory()[1]
            finally:
                tracemalloc.stop()
            if not np.array_equal(got, expected, equal_nan=True):
                raise CheckFailed("after a run that was refused, the session gives another result")
            if peak > limit:
                raise CheckFailed(f"a run allocates {peak} bytes within memory_limit={limit}")


def damaged_files_are_found(subject: Subject) -> None:
    """Files that the provider keeps are sound, and copies that were cut short or damaged are not."""
    with subject.registered() as provider:
        with subject.session(chain(probe.chain_ops(subject), [4, 4])) as session:
            session.run(fill((4, 4), "float32", 0))
        files = [f for f in provider.cached_files() if f.current]
        if not files:
            raise NotApplicable("the provider keeps no files")
        for file in files[:FILES]:
            told = provider.check_cached(file)
            if told:
                raise CheckFailed(f"{file.path.name}, which a session has just used, is called bad: {told}")
            data = file.path.read_bytes()
            middle = len(data) // 2
            flipped = data[:middle] + data[middle:].translate(bytes(b ^ 0x10 for b in range(256)))
            for what, bad in (("cut short", data[:middle]), ("damaged", flipped), ("empty", b"")):
                with tempfile.TemporaryDirectory(prefix="ronn-damaged-") as folder:
                    copy = Path(folder) / file.path.name
                    copy.write_bytes(bad)
                    if not provider.check_cached(replace(file, path=copy)):
                        raise CheckFailed(f"a copy of {file.path.name} that is {what} passes check_cached")
