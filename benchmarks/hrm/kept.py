"""Arrays that take long to make, kept in the zoo's cache under the digest of the code and numbers they come from."""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from benchmarks.zoo.cache import cache_root, replaced_file

Arrays = dict[str, np.ndarray]


def kept(
    name: str,
    make: Callable[..., Mapping[str, np.ndarray]],
    code: Sequence[Any],
    depends: Sequence[Any] = (),
    **parameters: Any,
) -> Arrays:
    """What ``make(**parameters)`` gives, made once for the source of ``code`` (functions, classes, modules), the plain
    values ``depends`` and the parameters."""
    seen = hashlib.blake2b(digest_size=8)
    for part in (make, *code):
        seen.update(inspect.getsource(part).encode())
    seen.update(json.dumps([list(depends), parameters], sort_keys=True).encode())
    path = cache_root() / "hrm" / f"{name}-{seen.hexdigest()}.npz"
    if not path.is_file():
        made = make(**parameters)
        with replaced_file(path) as temporary, temporary.open("wb") as stream:
            np.savez(stream, **made)
    with np.load(path, allow_pickle=False) as found:
        return {key: found[key] for key in found.files}
