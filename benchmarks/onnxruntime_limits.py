"""What each onnxruntime release loads: the newest IR version and opsets, found by trying.

    python -m benchmarks.onnxruntime_limits 1.19.2 1.20.1 --write

installs each release into a folder of its own, has it load one-node models of rising versions, and with ``--write``
puts the answers into the table that ``ronn check --min-version`` reads. Releases whose wheels fit no supported Python
have the figures that ONNX Runtime's documentation gives.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto
from onnx import helper as h

TABLE = Path(__file__).parents[1] / "packages/ronn-core/src/ronn/tools/onnxruntime.json"
_PROBE = """
import json, sys
import onnxruntime as ort
def loads(path):
    try:
        ort.InferenceSession(path, providers=["CPUExecutionProvider"])
    except Exception:
        return False
    return True
print(json.dumps({kind: max((v for v, p in files if loads(p)), default=0) for kind, files in json.load(open(sys.argv[1])).items()}))
"""  # noqa: E501
_FIRST_OF_NUMPY2 = (1, 19)


def model(op: str, domain: str, imports: dict[str, int], ir_version: int) -> onnx.ModelProto:
    """``y = op(x)`` on two floats."""
    graph = h.make_graph(
        [h.make_node(op, ["x"], ["y"], domain=domain)],
        "g",
        [h.make_tensor_value_info("x", TensorProto.FLOAT, [2])],
        [h.make_tensor_value_info("y", TensorProto.FLOAT, [2])],
    )
    opsets = [h.make_opsetid(d, v) for d, v in imports.items()]
    return h.make_model(graph, opset_imports=opsets, ir_version=ir_version)


_KINDS: dict[str, tuple[range, Callable[[int], onnx.ModelProto]]] = {
    "opset": (range(7, 40), lambda v: model("Relu", "", {"": v}, 3)),
    "ml_opset": (range(1, 12), lambda v: model("Binarizer", "ai.onnx.ml", {"": 8, "ai.onnx.ml": v}, 3)),
    "ir": (range(3, 24), lambda v: model("Relu", "", {"": 8}, v)),
}


def limits(version: str, folder: Path) -> dict[str, int]:
    """The newest opset, ai.onnx.ml opset and IR version that a release loads."""
    release = tuple(int(p) for p in version.split(".")[:2])
    numpy = f"numpy=={np.__version__}" if release >= _FIRST_OF_NUMPY2 else "numpy<2"
    install = ["uv", "pip", "install", "-q", "--python", sys.executable, "--target", str(folder / version)]
    subprocess.run([*install, f"onnxruntime=={version}", numpy], check=True)
    listed: dict[str, list[tuple[int, str]]] = {}
    for kind, (versions, make) in _KINDS.items():
        for v in versions:
            path = folder / f"{kind}-{v}.onnx"
            path.write_bytes(make(v).SerializeToString())
            listed.setdefault(kind, []).append((v, str(path)))
    (folder / "probe.json").write_text(json.dumps(listed))
    done = subprocess.run(
        [sys.executable, "-c", _PROBE, str(folder / "probe.json")],
        env={"PYTHONPATH": str(folder / version)},
        capture_output=True,
        text=True,
        check=True,
    )
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("version", nargs="+", help="releases of onnxruntime")
    parser.add_argument("--write", action="store_true", help=f"put the answers into {TABLE.name}")
    given = parser.parse_args()
    table = json.loads(TABLE.read_text())
    for version in given.version:
        with tempfile.TemporaryDirectory() as folder:
            try:
                found = limits(version, Path(folder))
            except subprocess.CalledProcessError as e:
                print(f"{version}: {e}\n{e.stderr}", file=sys.stderr)
                continue
        print(version, found, flush=True)
        table["releases"][".".join(version.split(".")[:2])] = {**found, "source": "measured"}
    if given.write:
        order = sorted(table["releases"], key=lambda v: [int(p) for p in v.split(".")])
        table["releases"] = {v: table["releases"][v] for v in order}
        rows = ",\n".join(f"    {json.dumps(v)}: {json.dumps(r)}" for v, r in table["releases"].items())
        sources = json.dumps(table["sources"], indent=2).replace("\n", "\n  ")
        TABLE.write_text(f'{{\n  "sources": {sources},\n  "releases": {{\n{rows}\n  }}\n}}\n')


if __name__ == "__main__":
    main()
