"""Hashes that a model's files must have: what is read is hashed, and nothing else than what was hashed is used."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from pathlib import PurePosixPath

from ronn.errors import ModelError, OptionError
from ronn.frontend.refused import Refused
from ronn.records import dataclass

Sha256 = str | Mapping[str, str]
"""The hash of the model file in hex; or one for each file, by its name in the model's folder."""


@dataclass(frozen=True, slots=True)
class Pins:
    """``model`` is the hash of the model file; ``files`` those by name, None where only one hash was given."""

    model: str | None
    files: Mapping[str, str] | None = None

    @property
    def sha256(self) -> Sha256 | None:
        """As it was given."""
        return self.model if self.files is None else self.files

    @classmethod
    def of(cls, given: Sha256 | None) -> Pins | None:
        """None where nothing is pinned. OptionError for what is no hash."""
        if given is None:
            return None
        if isinstance(given, str):
            return cls(_hash("sha256", given))
        if not isinstance(given, Mapping) or not given:
            raise OptionError(f"sha256={given!r} is neither a hash nor a mapping of file names to hashes")
        return cls(None, {str(PurePosixPath(n)): _hash(f"sha256[{n!r}]", h) for n, h in given.items()})

    def check_model(self, data: bytes, name: str, file_name: str | None) -> None:
        """ModelError when the model's bytes are not the pinned ones. ``file_name``: that of its file, if it has one."""
        expected = self.model
        if expected is None and self.files is not None:
            if file_name is None:
                raise OptionError("sha256 names files, and the model is read from none", hint="give one hash")
            expected = self.files.get(file_name)
            if expected is None:
                raise OptionError(f"sha256 has no hash of {file_name!r}; it has {', '.join(map(repr, self.files))}")
        wrong = None if expected is None else mismatch(data, expected)
        if wrong is not None:
            raise ModelError(f"{name}: {wrong[0]}", hint=wrong[1])

    def check_external(self, data: bytes, location: str) -> None:
        """Refused when the bytes of an external file are not the pinned ones, or it is not pinned."""
        expected = None if self.files is None else self.files.get(str(PurePosixPath(location)))
        if expected is None:
            raise Refused(
                f"external data file {location!r} is not pinned: sha256 covers other files only",
                f'give a hash for each file: sha256={{"model.onnx": "...", "{location}": "..."}}',
            )
        wrong = mismatch(data, expected)
        if wrong is not None:
            raise Refused(f"external data file {location!r}: {wrong[0]}", wrong[1])


def mismatch(data: bytes, expected: str) -> tuple[str, str] | None:
    """What is wrong and what to do when ``data`` has another hash; None when it has this one."""
    found = hashlib.sha256(data).hexdigest()
    if found == expected:
        return None
    return (
        f"its sha256 is {found}, not {expected}",
        "it is not the file that was pinned, or was changed since: get it anew, or pin the new hash if you trust it",
    )


def _hash(what: str, given: object) -> str:
    text = given.lower() if isinstance(given, str) else ""
    if re.fullmatch(r"[0-9a-f]{64}", text) is None:
        raise OptionError(f"{what}={given!r} is not a sha256", hint="64 hexadecimal digits, as `sha256sum FILE` prints")
    return text
