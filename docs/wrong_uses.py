"""Wrong uses, each as a reader might write it: ``docs/errors.md`` shows what they print when they are run, and
``docs/tests/test_errors.py`` holds each to naming the thing and the cure.

They run one after another in a folder with ``model.onnx`` (``image`` float32 (batch, 3, 4, 4) -> ``scores`` (batch, 2)),
``session`` on it, an ``image`` that fits, and the files that ``prepare`` writes.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
import textwrap
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper, save

import ronn


@dataclass(frozen=True)
class Wrong:
    """A wrong use: what it is, the program, and words that its error must hold: the thing and the cure."""

    title: str
    program: str
    names: tuple[str, ...]
    cures: tuple[str, ...]

    @property
    def code(self) -> str:
        return textwrap.dedent(self.program).strip()


WRONG = [
    Wrong("A wrong input name", 'session.run({"imgae": image})', ("'imgae'",), ("did you mean 'image'",)),
    Wrong(
        "A wrong dtype",
        'session.run({"image": image.astype("float64")})',
        ("'image'", "f32", "float64"),
        ("array.astype('float32')",),
    ),
    Wrong(
        "A wrong shape: rank",
        'session.run({"image": image[0]})',
        ("'image'", "rank 4", "[3, 4, 4]"),
        ("array[None]",),
    ),
    Wrong(
        "A wrong shape: size",
        'session.run({"image": image.transpose(0, 2, 3, 1)})',
        ("'image'", "4 instead of 3 at axis 1"),
        ("transpose",),
    ),
    Wrong("A missing input", "session.run({})", ("'image'", "f32[batch,3,4,4]"), ("give them by name",)),
    Wrong("An output that the model does not have", 'session.run(image, outputs=["score"])', ("'score'",), ("'scores'",)),
    Wrong(
        "A buffer that does not fit",
        'session.run(image, out={"scores": np.empty((1, 3), np.float32)})',
        ("'scores'", "[1, 3]", "[1,2]"),
        ("numpy.empty((1, 2), 'float32')",),
    ),
    Wrong(
        "A corrupt file",
        """
        data = open("model.onnx", "rb").read()
        open("half.onnx", "wb").write(data[: len(data) // 2])
        ronn.Session("half.onnx")
        """,
        ("half.onnx", "cut short"),
        ("get or export it again",),
    ),
    Wrong(
        "A file that is something else",
        'ronn.Session("pointer.onnx")',
        ("pointer.onnx", "Git LFS pointer"),
        ("git lfs pull",),
    ),
    Wrong("A file that is not there", 'ronn.Session("modle.onnx")', ("modle.onnx",), ("did you mean model.onnx",)),
    Wrong(
        "An unsupported operator",
        'ronn.Session("swirl.onnx")',
        ("my.domain::Swirl", "'twist'", "no kernel"),
        ("@ronn.op",),
    ),
    Wrong(
        "A node that the listed providers do not run",
        'ronn.Session("decoder.onnx", providers=["cpu"])',
        ("'decode'", "ImageDecoder", "cpu: no kernel"),
        ("providers", "'reference'"),
    ),
    Wrong(
        "A provider that is not there",
        'ronn.Session("model.onnx", providers=["cuda"])',
        ("'cuda'", "installed: cpu"),
        ("ronn-provider-cuda",),
    ),
    Wrong(
        "A memory limit",
        'ronn.Session("model.onnx", options={"memory_limit": "1kB"}).run(image)',
        ("memory_limit", "1.0 kB"),
        ("raise memory_limit",),
    ),
    Wrong(
        "A timeout",
        'ronn.Session("endless.onnx").run(image, timeout=0.5)',
        ("timeout=0.5",),
        ("give it longer",),
    ),
    Wrong(
        "A run that is cancelled",
        """
        stop = ronn.Stop()
        stop.set("the user has left")
        session.run(image, stop=stop)
        """,
        ("the user has left",),
        (),
    ),
    Wrong(
        "A typo in an option",
        'ronn.Session("model.onnx", options={"memory_limt": "512MB"})',
        ("'memory_limt'",),
        ("did you mean 'memory_limit'",),
    ),
    Wrong(
        "A typo in the builder",
        "ronn.SessionOptions.builder().thread(2)",
        ("'thread'",),
        ("did you mean 'threads'",),
    ),
    Wrong(
        "A typo in an option of a provider",
        'ronn.Session("model.onnx", providers=[("cpu", {"thread": 2})])',
        ("'cpu'", "'thread'"),
        ("did you mean 'threads'",),
    ),
    Wrong(
        "A value that an option cannot have",
        'ronn.SessionOptions(memory_limit="lots")',
        ("memory_limit", "'lots'"),
        ("512MB",),
    ),
    Wrong(
        "A typo in a file of options",
        """
        open("deploy.toml", "w").write("thread = 2")
        ronn.Session("model.onnx", options="deploy.toml")
        """,
        ("deploy.toml", "'thread'"),
        ("did you mean 'threads'",),
    ),
    Wrong(
        "A router for a session that does not route",
        'ronn.Session("model.onnx", options={"router": "hrm"})',
        ("'hrm'",),
        ("create_session(options)",),
    ),
    Wrong(
        "A router that is not there",
        'ronn.load("model.onnx").create_session(router="hrm")',
        ("'hrm'", "installed"),
        ("pip install ronn-hrm",),
    ),
    Wrong(
        "A dim that the model does not have",
        'ronn.Session("model.onnx", options={"dimensions": {"bach": 1}})',
        ("'bach'",),
        ("did you mean 'batch'",),
    ),
    Wrong(
        "A file that is not the one that was pinned",
        'ronn.load("model.onnx", sha256="0" * 64)',
        ("model.onnx", "0" * 64),
        ("pin the new hash",),
    ),
    Wrong(
        "A model beyond a limit",
        'ronn.load("model.onnx", {"max_nodes": 2})',
        ("has 4 nodes", "max_nodes is 2"),
        ('options={"max_nodes": 4}',),
    ),
    Wrong(
        "Weights that are not beside the model",
        'ronn.load("external.onnx")',
        ("external.onnx", "'weights.bin'", "initializer 'w'"),
        ("put it there",),
    ),
    Wrong(
        "An index that is out of range, inside the model",
        'ronn.Session("table.onnx").run(np.array([2, 9]))',
        ("'look_up'", "Gather", "size is 4", "i64[2]"),
        ("look at the values of 'ids'",),
    ),
    Wrong(
        "A session that is closed",
        """
        with ronn.Session("model.onnx") as closed:
            pass
        closed.run(image)
        """,
        ("closed",),
        ("make a new one",),
    ),
]


def prepare() -> dict[str, Any]:
    """Writes the files into the current folder; returns the names that programs may use."""

    def write(name: str, nodes: list[Any], inputs: dict[str, Any], outputs: list[str], **weights: np.ndarray) -> None:
        kinds = {n: v if isinstance(v, tuple) else (TensorProto.FLOAT, v) for n, v in inputs.items()}
        graph = helper.make_graph(
            nodes,
            "g",
            [helper.make_tensor_value_info(n, kind, shape) for n, (kind, shape) in kinds.items()],
            [helper.make_tensor_value_info(n, TensorProto.FLOAT, None) for n in outputs],
            [numpy_helper.from_array(w, n) for n, w in weights.items()],
        )
        imports = [helper.make_opsetid("", 21), helper.make_opsetid("my.domain", 1)]
        save(helper.make_model(graph, opset_imports=imports, ir_version=10), name)

    image = {"image": ["batch", 3, 4, 4]}
    make = helper.make_node
    nodes = [
        make("Conv", ["image", "w"], ["conv_out"], "conv"),
        make("Relu", ["conv_out"], ["relu_out"], "relu"),
        make("Flatten", ["relu_out"], ["flat"], "flatten"),
        make("Gemm", ["flat", "m"], ["scores"], "classify"),
    ]
    w, m = (np.linspace(-1, 1, np.prod(s), dtype=np.float32).reshape(s) for s in ((8, 3, 3, 3), (32, 2)))
    write("model.onnx", nodes, image, ["scores"], w=w, m=m)
    twist = make("Swirl", ["image"], ["y"], "twist", domain="my.domain", angle=0.5)
    write("swirl.onnx", [twist], image, ["y"])
    body = helper.make_graph(
        [make("Add", ["v", "v"], ["v2"], "grow"), make("Identity", ["c"], ["c2"])],
        "body",
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("i", 7, []), ("c", 9, []), ("v", 1, None))],
        [helper.make_tensor_value_info(n, t, s) for n, t, s in (("c2", 9, []), ("v2", 1, None))],
    )
    loop = make("Loop", ["trips", "", "image"], ["y"], "repeat", body=body)
    # Sizes are fixed, so that the plan is there before the clock runs.
    write("endless.onnx", [loop], {"image": [1, 3, 4, 4]}, ["y"], trips=np.array(2**62))
    ids = {"ids": (TensorProto.INT64, ["n"])}
    write("table.onnx", [make("Gather", ["table", "ids"], ["y"], "look_up")], ids, ["y"], table=np.eye(4, dtype=np.float32))
    decode = make("ImageDecoder", ["file"], ["y"], "decode")
    write("decoder.onnx", [decode], {"file": (TensorProto.UINT8, ["n"])}, ["y"])
    write("external.onnx", nodes[:1], image, ["conv_out"], w=w)
    _move_out("external.onnx", "weights.bin")
    Path("pointer.onnx").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 98304\n")
    return {"ronn": ronn, "np": np, "image": np.ones((1, 3, 4, 4), np.float32), "session": ronn.Session("model.onnx")}


def _move_out(model: str, weights: str) -> None:
    import onnx

    loaded = onnx.load(model)
    save(loaded, model, save_as_external_data=True, location=weights, size_threshold=0)
    Path(weights).unlink()


@contextlib.contextmanager
def folder() -> Iterator[dict[str, Any]]:
    """A folder of its own to run them in, and the names; only RONN's own providers count, so that all see the same."""
    before, allowed = Path.cwd(), os.environ.get("RONN_PROVIDERS")
    from ronn.plugins import reset

    os.environ["RONN_PROVIDERS"] = "cpu,reference"
    reset()
    try:
        with tempfile.TemporaryDirectory() as made, warnings.catch_warnings():
            warnings.simplefilter("ignore")
            os.chdir(made)
            yield prepare()
    finally:
        os.chdir(before)
        if allowed is None:
            del os.environ["RONN_PROVIDERS"]
        else:
            os.environ["RONN_PROVIDERS"] = allowed
        reset()


def outcome(wrong: Wrong, names: dict[str, Any]) -> Exception:
    """What the program raises. RuntimeError when it raises nothing, or nothing of RONN's."""
    try:
        exec(compile(wrong.code, wrong.title, "exec"), dict(names))
    except ronn.RonnError as e:
        return e
    except Exception as e:
        raise RuntimeError(f"{wrong.title}: {type(e).__name__}: {e}") from e
    raise RuntimeError(f"{wrong.title}: raises nothing")


def outcomes() -> list[tuple[Wrong, Exception]]:
    """Every wrong use with its error."""
    with folder() as names:
        return [(wrong, outcome(wrong, names)) for wrong in WRONG]


def main() -> None:
    for wrong, error in outcomes():
        print(f"--- {wrong.title}\n{wrong.code}\n\n{type(error).__name__}: {error}\n")


if __name__ == "__main__":
    main()
