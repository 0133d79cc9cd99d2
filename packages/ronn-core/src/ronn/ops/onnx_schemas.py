"""ONNX's operator schemas as a file beside this one: a model is read without importing onnx, which takes half the time
that a small one needs to start. What the file lacks is asked of the installed onnx.

    python -m ronn.ops.onnx_schemas     # writes the file anew, from the installed onnx

The first line holds the newest opset of each domain, every other one a schema: domain, operator, version, and the rest
as JSON.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ronn.ops.schema import OpSchema

FILE = Path(__file__).with_suffix(".txt")
_SELDOM = ("defaults", "required", "functions", "deprecated")  # written where there is any


def opset(domain: str) -> int:
    """The newest opset of ``domain`` in the file; 0 for a domain that it lacks."""
    return _file()[0].get(domain, 0)


def find(domain: str, op: str, version: int) -> OpSchema | None:
    """The schema of an operator that ``opset(domain)`` has, in a version up to that; None where there was none yet.

    KeyError for an operator that the file lacks.
    """
    versions = _file()[1][domain, op]
    since = max((v for v in versions if v <= version), default=None)
    return None if since is None else _parse(domain, op, since, versions[since])


@cache
def _file() -> tuple[dict[str, int], dict[tuple[str, str], dict[int, str]]]:
    head, *lines = FILE.read_text(encoding="utf-8").splitlines()
    found: dict[tuple[str, str], dict[int, str]] = {}
    for line in lines:
        domain, op, since, rest = line.split("\t", 3)
        found.setdefault((domain, op), {})[int(since)] = rest
    return json.loads(head), found


def _parse(domain: str, op: str, since: int, text: str) -> OpSchema:
    from ronn.ops.schema import Formal, OpSchema

    fields: dict[str, Any] = json.loads(text)
    for name in ("inputs", "outputs"):
        fields[name] = tuple(Formal(*formal) for formal in fields.get(name, ()))
    types = {name: tuple(allowed) for name, allowed in fields.pop("types", {}).items()}
    required, functions = frozenset(fields.pop("required", ())), tuple(fields.pop("functions", ()))
    return OpSchema(domain, op, since, required=required, types=types, functions=functions, **fields)


def text() -> str:
    """What the file holds when it is written with the installed onnx."""
    from onnx import defs

    from ronn.ops.schema import from_onnx, onnx_opset

    raw = sorted({(s.domain, s.name, s.since_version) for s in defs.get_all_schemas_with_history()})
    lines = [json.dumps({domain: onnx_opset(domain) for domain in sorted({key[0] for key in raw})})]
    for domain, op, since in raw:
        schema = from_onnx(domain, op, since)
        assert schema is not None
        fields = {**asdict(schema), "required": sorted(schema.required)}
        for name in ("inputs", "outputs"):
            fields[name] = [[*formal.values()] for formal in fields[name]]
        fields = {
            k: v for k, v in fields.items() if k not in ("domain", "op", "since", *_SELDOM) or (k in _SELDOM and v)
        }
        if all(isinstance(v, (int, float, str, list)) for v in schema.defaults.values()):  # else a tensor
            lines.append("\t".join((domain, op, str(since), json.dumps(fields, separators=(",", ":")))))
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    FILE.write_text(text(), encoding="utf-8")
