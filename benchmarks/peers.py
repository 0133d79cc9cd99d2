"""Asks the runtimes that are installed what they can do: `python -m benchmarks.peers [--write]`.

Every line is a small program run on RONN, ONNX Runtime and OpenVINO, and what came of it. ``--write`` puts them into
results/peers.json and docs/comparison.md.
"""

from __future__ import annotations

import argparse
import inspect
import json
import multiprocessing
import pickle
import re
import warnings
from collections.abc import Callable
from importlib import metadata
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from benchmarks.page import publish

PAGE = Path(__file__).parents[1] / "docs" / "comparison.md"
NAMES = {"ronn": "RONN", "onnxruntime": "ONNX Runtime", "openvino": "OpenVINO"}
NEEDS = {
    "ronn": [
        "ronn-core", "ronn-codegen", "ronn-provider-cpu", "numpy", "onnx", "ml_dtypes", "protobuf", "numba", "llvmlite",
        "pluggy",
    ],
    "onnxruntime": ["onnxruntime", "numpy", "flatbuffers", "protobuf", "packaging", "ml_dtypes", "typing_extensions"],
    "openvino": ["openvino", "numpy", "openvino-telemetry"],
}  # fmt: skip
FORK_TIMEOUT_S = 20


def model(op: str = "Relu", dtype: int = TensorProto.FLOAT, opset: int = 21, **attributes: Any) -> bytes:
    """x -> op -> mid -> Neg -> y, of shape [4]."""
    value = [helper.make_tensor_value_info(n, dtype, [4]) for n in ("x", "y")]
    nodes = [helper.make_node(op, ["x"], ["mid"], **attributes), helper.make_node("Neg", ["mid"], ["y"])]
    graph = helper.make_graph(nodes, "g", value[:1], value[1:])
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=10)
    return bytes(made.SerializeToString())


class Runtime:
    """One runtime behind one face."""

    def __init__(self, name: str) -> None:
        self.name = name

    def open(self, data: bytes) -> Any:
        if self.name == "ronn":
            import ronn

            return ronn.Session(data)
        if self.name == "onnxruntime":
            import onnxruntime

            return onnxruntime.InferenceSession(data, providers=["CPUExecutionProvider"])
        import openvino

        core = openvino.Core()
        return core.compile_model(core.read_model(data), "CPU")

    def run(self, session: Any, x: np.ndarray) -> np.ndarray:
        if self.name == "ronn":
            return np.asarray(session.run({"x": x})["y"])
        if self.name == "onnxruntime":
            return np.asarray(session.run(None, {"x": x})[0])
        return np.asarray(session({"x": x})[0])


X = np.array([-1, 0, 1, 2], np.float32)
Answer = str
Check = Callable[[Runtime], Answer]


def pickles(runtime: Runtime) -> Answer:
    """A session can be pickled"""
    copy = pickle.loads(pickle.dumps(runtime.open(model())))
    return "yes" if (runtime.run(copy, X) == -np.maximum(X, 0)).all() else "wrong answer"


def _child(runtime: Runtime, session: Any, x: np.ndarray, out: Any) -> None:
    out.put(float(runtime.run(session, x).sum()))


def forks(runtime: Runtime) -> Answer:
    """A session that has run works in a forked process"""
    count = 512
    w = np.ones((count, count), np.float32)
    value = [helper.make_tensor_value_info(n, TensorProto.FLOAT, [count, count]) for n in ("x", "y")]
    made = helper.make_model(
        helper.make_graph([helper.make_node("MatMul", ["x", "w"], ["y"])], "g", value[:1], value[1:],
                          [onnx.numpy_helper.from_array(w, "w")]),
        opset_imports=[helper.make_opsetid("", 21)], ir_version=10,
    )  # fmt: skip
    session = runtime.open(made.SerializeToString())
    expected = float(runtime.run(session, w).sum())
    context = multiprocessing.get_context("fork")
    out = context.Queue()
    child = context.Process(target=_child, args=(runtime, session, w, out))
    child.start()
    try:
        found = out.get(timeout=FORK_TIMEOUT_S)
    except Exception:
        child.kill()
        return f"no answer in {FORK_TIMEOUT_S} s"
    finally:
        child.join(FORK_TIMEOUT_S)
    return "yes" if found == expected else "wrong answer"


def bfloat16(runtime: Runtime) -> Answer:
    """bfloat16 inputs and outputs on the CPU"""
    import ml_dtypes

    x = X.astype(ml_dtypes.bfloat16)
    session = runtime.open(model("Relu", TensorProto.BFLOAT16))
    if runtime.name == "openvino":  # it takes and gives bytes with a type beside them
        import openvino

        given = openvino.Tensor(x.view(np.uint16), openvino.Shape([4]), openvino.Type.bf16)
        request = session.create_infer_request()
        request.infer({"x": given})
        found = np.frombuffer(request.get_output_tensor(0).data.tobytes(), ml_dtypes.bfloat16).astype(np.float32)
        return "yes, as bytes" if (found == -np.maximum(X, 0)).all() else "wrong answer"
    return "yes" if (runtime.run(session, x).astype(np.float32) == -np.maximum(X, 0)).all() else "wrong answer"


def newer_opset(runtime: Runtime) -> Answer:
    """A model of one opset newer than onnx's newest, of operators that have not changed"""
    session = runtime.open(model(opset=onnx.defs.onnx_opset_version() + 1))
    return "yes, with a warning" if (runtime.run(session, X) == -np.maximum(X, 0)).all() else "wrong answer"


def intermediate(runtime: Runtime) -> Answer:
    """An intermediate value by name, without editing the model"""
    session = runtime.open(model())
    if runtime.name == "ronn":
        found = session.run({"x": X}, trace=["mid"])["mid"]
    elif runtime.name == "onnxruntime":
        found = session.run(["mid"], {"x": X})[0]
    else:
        found = session({"x": X})["mid"]
    return "yes" if (found == np.maximum(X, 0)).all() else "wrong answer"


def absent(runtime: Runtime) -> Answer:
    """Asking for a GPU that is not there"""
    if runtime.name == "ronn":
        import ronn

        ronn.Session(model(), providers=["cuda"])
    elif runtime.name == "onnxruntime":
        import onnxruntime

        with warnings.catch_warnings(record=True) as found:
            warnings.simplefilter("always")
            session = onnxruntime.InferenceSession(model(), providers=["CUDAExecutionProvider"])
        return f"{'a warning' if found else 'nothing'}, then {', '.join(session.get_providers())}"
    else:
        import openvino

        core = openvino.Core()
        core.compile_model(core.read_model(model()), "GPU")
    return "runs"


def typo(runtime: Runtime) -> Answer:
    """A misspelt option"""
    if runtime.name == "ronn":
        import ronn

        ronn.Session(model(), options={"thread": 1})
    elif runtime.name == "onnxruntime":
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.add_session_config_entry("session.intra_op.allow_spining", "0")
        onnxruntime.InferenceSession(model(), options)
    else:
        import openvino

        core = openvino.Core()
        core.compile_model(core.read_model(model()), "CPU", {"NUM_STREAM": 1})
    return "accepted, without a word"


def timeout(runtime: Runtime) -> Answer:
    """A timeout for a run"""
    import onnxruntime
    import openvino

    import ronn

    functions = {
        "ronn": ronn.Session.run,
        "onnxruntime": onnxruntime.InferenceSession.run,
        "openvino": openvino.CompiledModel.__call__,
    }
    return "yes" if "timeout" in inspect.signature(functions[runtime.name]).parameters else "no such argument"


def awaitable(runtime: Runtime) -> Answer:
    """A run that can be awaited"""
    import onnxruntime
    import openvino

    import ronn

    if runtime.name == "ronn":
        return "yes" if inspect.iscoroutinefunction(getattr(ronn.Session, "run_async", None)) else "no"
    found = {
        "onnxruntime": getattr(onnxruntime.InferenceSession, "run_async", None),
        "openvino": getattr(openvino, "AsyncInferQueue", None),
    }[runtime.name]
    return "no: callbacks" if found is not None and not inspect.iscoroutinefunction(found) else "yes"


def python_operator(runtime: Runtime) -> Answer:
    """An operator written in Python, with nothing else installed"""
    import onnxruntime
    import openvino

    import ronn

    if runtime.name == "ronn":
        return "yes" if callable(getattr(ronn, "op", None)) else "no"
    if runtime.name == "openvino":
        return "yes: a class" if hasattr(openvino, "Op") else "no"
    return "yes" if hasattr(onnxruntime, "PyCustomOpDef") else "no (onnxruntime-extensions has it)"


def conformance(runtime: Runtime) -> Answer:
    """ONNX's own backend tests passed"""
    if runtime.name == "openvino":
        return "not run"
    found = json.loads((Path(__file__).with_name("results") / "conformance.json").read_text(encoding="utf-8"))
    total = next(r["counts"]["total"] for r in found if r["backend"] == runtime.name)
    return f"{total['passed']} of {total['total']}"


def size(runtime: Runtime) -> Answer:
    """Installed, with what it needs"""
    total = 0
    for name in NEEDS[runtime.name]:
        try:
            files = metadata.files(name) or []
        except metadata.PackageNotFoundError:
            continue
        total += sum(f.stat().st_size for f in (Path(str(p.locate())) for p in files) if f.is_file())
    return f"{total / 1e6:.0f} MB"


CHECKS: list[Check] = [
    pickles, forks, bfloat16, newer_opset, intermediate, absent, typo, timeout, awaitable, python_operator, conformance,
    size,
]  # fmt: skip


def ask(check: Check, runtime: Runtime) -> Answer:
    """What came of it; the first line of an error is an answer too."""
    try:
        with warnings.catch_warnings():
            if check is not absent:
                warnings.simplefilter("ignore")
            return check(runtime)
    except Exception as error:
        words = re.sub(r"\S*/\S*", "", " ".join(str(error).split()))  # no paths
        return f"{type(error).__name__}: {words[:80].strip()}{'...' if len(words) > 80 else ''}"


def table(found: dict[str, Any]) -> str:
    versions = found["versions"]
    lines = [
        f"On {found['system']}; " + ", ".join(f"{n} {v}" for n, v in versions.items()) + ".",
        "",
        "| | " + " | ".join(NAMES.values()) + " |",
        "| --- | --- | --- | --- |",
    ]
    for row in found["rows"]:
        cells = [row[name].replace("|", "\\|").replace("<", "&lt;").replace("_", "\\_") for name in NAMES]
        lines.append(f"| {row['what']} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.peers", description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--write", action="store_true", help="into results/peers.json and docs/comparison.md")
    options = parser.parse_args()
    import platform

    rows = [{"what": c.__doc__, **{n: ask(c, Runtime(n)) for n in NAMES}} for c in CHECKS]
    packages = ("ronn-core", "onnxruntime", "openvino", "onnx", "numpy")
    versions = {p: metadata.version(p) for p in packages}
    system = f"{platform.system()} {platform.machine()}, Python {platform.python_version()}"
    found = {"system": system, "versions": versions, "rows": rows}
    print(table(found))
    if options.write:
        publish("peers", found, table(found), page=PAGE)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
