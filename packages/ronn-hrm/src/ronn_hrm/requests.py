"""What is known of a request before any model ran: its digest, and the coin that decides what it may be used for."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from ronn.errors import InputError

Feeds = dict[str, np.ndarray]
_SEEN = 1 << 17  # digests whose occurrences are counted
_UNIT = 2.0**-64

# What an episode is for, by the second number of the coin, where the expensive model was asked anyway.
_TAUGHT = 0.7
# While every request goes to the expensive model.
COLLECTING = (("calibrate", 0.32), ("gate", 0.40), ("fit", 0.55), ("train", 1.0))
_OF_AUDITED = 0.75  # calibrate; the others gate


def feeds_of(inputs: Any, names: Sequence[str] | None) -> Feeds:
    """Inputs as a mapping of name to array: from a mapping, a sequence in input order, or one array.

    names: of the inputs, in order; None where that is not known: then only a mapping will do. Raises InputError.
    """
    if isinstance(inputs, Mapping):
        return {n: v if type(v) is np.ndarray else np.asarray(v) for n, v in inputs.items()}
    if names is None:
        raise InputError("inputs must be a mapping of name to array: this pair of models does not tell their order")
    given = list(inputs) if isinstance(inputs, (list, tuple)) and len(names) != 1 else [inputs]
    if isinstance(inputs, (list, tuple)) and len(names) == 1 and len(inputs) == 1 and hasattr(inputs[0], "shape"):
        given = list(inputs)
    if len(given) != len(names):
        raise InputError(f"{len(given)} inputs were given, and the model takes {len(names)}: {', '.join(names)}")
    return {n: v if type(v) is np.ndarray else np.asarray(v) for n, v in zip(names, given, strict=True)}


def digest_of(feeds: Feeds, salt: bytes) -> bytes:
    """16 bytes that are equal for inputs of equal names, dtypes, shapes and bytes, and for one ``salt`` (what answers
    are of: the fingerprint of the expensive model)."""
    seen = hashlib.blake2b(salt, digest_size=16)
    for name in sorted(feeds) if len(feeds) > 1 else feeds:
        array = feeds[name]
        seen.update(f"{name}\0{array.dtype.str}{array.shape}\0".encode())
        if array.dtype.kind == "O":
            for item in array.reshape(-1).tolist():
                part = item if isinstance(item, bytes) else str(item).encode()
                seen.update(len(part).to_bytes(8, "little") + part)
        elif array.dtype.kind in "fiubc" and array.flags.c_contiguous:
            seen.update(array.data)
        else:
            seen.update(array.tobytes())
    return seen.digest()


class Coin:
    """Tosses for requests: two numbers from 0 to 1 that depend on the secret key, the digest, and how often that digest
    was met. So they are independent of what the input is, known before any route, the same whatever the order of
    threads, and can be tossed again."""

    def __init__(self, key: bytes, generation: int = 0) -> None:
        """generation: differs between runs of a program that goes on with the same key."""
        # Copied for each toss: the key is taken in once.
        self._keyed = hashlib.blake2b(key=key, digest_size=16)
        self._generation = generation
        self._met: dict[bytes, int] = {}
        self._lock = threading.Lock()

    def toss(self, digest: bytes) -> tuple[float, float, bool]:
        """Two numbers from 0 to 1 (1 excluded) for this occurrence of the digest, and whether it is the first."""
        with self._lock:
            met = self._met.get(digest, 0)
            if not met and len(self._met) >= _SEEN:
                self._met.clear()
                self._generation += 1 << 20
            self._met[digest] = met + 1
        return (*self.of(digest, met, self._generation), not met)

    def of(self, digest: bytes, occurrence: int, generation: int) -> tuple[float, float]:
        """The toss for one occurrence (from 0 on)."""
        keyed = self._keyed.copy()
        keyed.update(digest + (occurrence + (generation << 64)).to_bytes(16, "little"))
        found = int.from_bytes(keyed.digest(), "little")
        return (found >> 64) * _UNIT, (found & 0xFFFFFFFFFFFFFFFF) * _UNIT


def role_of(first: float, second: float, rate: float, collecting: bool) -> tuple[str, str]:
    """What a request is for: the role that the coin gives it whatever becomes of it (``calibrate``, ``gate``, or empty:
    not audited), and the one that it has if the expensive model answers it anyway.

    first, second: of the coin. rate: of audits. collecting: the expensive model answers everything (nothing is
    certified).
    """
    if collecting:
        role = next(name for name, below in COLLECTING if first < below)
        return (role if role in ("calibrate", "gate") else ""), role
    if first < rate:
        role = "calibrate" if second < _OF_AUDITED else "gate"
        return role, role
    return "", "train" if second < _TAUGHT else "fit"
