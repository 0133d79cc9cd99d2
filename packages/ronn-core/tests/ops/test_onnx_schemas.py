"""The file of ONNX's schemas says what the installed onnx says."""

from __future__ import annotations

import subprocess
import sys

import pytest
from onnx import defs

from ronn.ops import onnx_schemas
from ronn.ops.schema import find_schema, from_onnx, is_newer, max_opset, onnx_opset

KEYS = sorted({(s.domain, s.name) for s in defs.get_all_schemas_with_history()})


@pytest.mark.parametrize("domain", sorted({domain for domain, _ in KEYS}))
def test_every_schema_is_that_of_onnx(domain: str) -> None:
    compared = 0
    for op in (o for d, o in KEYS if d == domain):
        for version in range(1, min(onnx_schemas.opset(domain), onnx_opset(domain)) + 1):
            try:
                found = onnx_schemas.find(domain, op, version)
            except KeyError:
                continue
            assert found == from_onnx(domain, op, version), f"{op}-{version}: run python -m ronn.ops.onnx_schemas"
            compared += 1
    assert compared > 0 or onnx_schemas.opset(domain) == 0


def test_only_operators_with_tensors_for_defaults_are_left_out() -> None:
    known = set(onnx_schemas._file()[1])
    missing = {key for key in KEYS if key not in known}
    for domain, op in missing:
        schema = from_onnx(domain, op, onnx_opset(domain))
        assert schema is not None
        assert any(type(v).__module__.startswith("onnx") for v in schema.defaults.values())
        assert find_schema(domain, op, onnx_opset(domain)) == schema


def test_opsets_newer_than_the_file_are_asked_of_onnx(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(onnx_schemas, "_file", lambda: ({"": 9}, {}))
    find = find_schema.__wrapped__
    assert find("", "Gelu", 20) == from_onnx("", "Gelu", 20)
    assert find("", "Gelu", 9) is None
    assert max_opset("") == onnx_opset("")
    assert not is_newer("", onnx_opset("")) and is_newer("", onnx_opset("") + 1)
    assert not is_newer("com.example", 99)


def test_schemas_need_no_onnx() -> None:
    text = """
import sys
from ronn.ops.schema import find_schema, is_newer
assert find_schema("", "Conv", 13).since == 11
assert find_schema("", "Softmax", 13).defaults == {"axis": -1}
assert find_schema("", "Gelu", 13) is None or find_schema("", "Gelu", 13).since == 1
assert not is_newer("", 21)
print("onnx" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"
