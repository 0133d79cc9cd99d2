"""Options of a session in a TOML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import fields
from pathlib import Path
from typing import Any

from ronn.errors import OptionError

FILE = "file"
"""The key of a router's configuration that has the path of the file that it came from."""


def read(path: str | os.PathLike[str]) -> dict[str, Any]:
    """Values of session options from the file, each checked alone. OptionError naming the file and the key."""
    from ronn.options import SessionOptions, unknown_option

    path = Path(path)
    kinds = {f.name: str(f.type) for f in fields(SessionOptions)}
    found: dict[str, Any] = {}
    for name, value in _parsed(path).items():
        try:
            if name not in kinds:
                raise unknown_option(name)
            none = value == "none" and kinds[name].endswith("None")
            found[name] = None if none else _router(value, path) if name == "router" else value
            SessionOptions(**{name: found[name]})
        except OptionError as e:
            raise OptionError(f"{path}: {e.message}", hint=e.hint) from e
    return found


def _parsed(path: Path) -> dict[str, Any]:
    import tomllib

    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as e:
        reason = e.strerror if isinstance(e, OSError) else "it is not UTF-8 text"
        raise OptionError(
            f"{path}: cannot be read as a file of options: {reason}",
            hint="options are SessionOptions, a mapping, or the path of a TOML file",
        ) from e
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as e:
        raise OptionError(
            f"{path}: is not TOML: {e}", hint='one option a line, as threads = 2 or precision = "bf16"'
        ) from e


def _router(given: Any, path: Path) -> Any:
    """A router whose configuration says what file it came from."""
    from ronn.options import router_spec

    spec = router_spec(given)
    name, config = (spec, {}) if isinstance(spec, str) else spec
    if FILE in config:
        raise OptionError(f"router.{name}.{FILE} is this file itself, and not to be given", hint=f"leave {FILE} out")
    return name, {**config, FILE: str(path.absolute())}


def beside(config: Mapping[str, Any], name: str | os.PathLike[str]) -> Path:
    """The file ``name`` in a router's configuration: where that came from a file, relative to the folder of it."""
    return Path(str(config.get(FILE, ""))).parent / name
