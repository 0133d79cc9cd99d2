"""What quantising trained models costs, without training them again: `python -m benchmarks.bitnet_accuracy [PART ...]`.

`mnist`: digits read right, by the zoo's network and by one with BatchNormalization. `photos`: EfficientNet-lite0 of the
zoo, by agreement with its float32 self on crops of ten ImageNet photographs, quantised with crops of ten others.
`text`: bits per byte of a small transformer. `search`: bits chosen layer by layer under a budget, with a picture.
`sizes`: bytes of one product in the file and in memory, scales included. Models are brought to opset 25 first, whose
integers of 2 bits convolutions are kept in. Networks that are trained here come from
`nox -s training -- examples`. `--write` puts tables and figures into docs/bitnet.md and results/; parts that were not
asked for stay as they are.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from onnx import TensorProto as T
from onnx import helper as h
from onnx import numpy_helper as nh

import ronn
from benchmarks.bench_report import RESULTS
from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.photos import crops, photos
from benchmarks.qat import model_path as trained
from benchmarks.zoo.fetch import model_path
from benchmarks.zoo.recipes.mnist import load_digits
from ronn.model import Model
from ronn.tools.convert import convert
from ronn_provider_bitnet.quantize import Limits, Quantized, Settings, quantize
from ronn_provider_bitnet.quantize.picture import draw

PAGE = Path(__file__).parents[1] / "docs" / "bitnet.md"
NAME = "bitnet-accuracy"
ANY = Limits(-1, 0, 1)  # figures of bad models are wanted too
Row = dict[str, Any]
DIGITS, CROPS, WINDOWS, SIZE = 2048, 8, 256, 2048
"""Images of digits, crops of a photograph and windows of text to calibrate with; rows and columns of a product."""

PLAIN: Row = {"sequential": False}
MNIST: dict[str, Row] = {
    "ternary, rounded": {"bits": "1.58", "method": "nearest", "batch_norm": False},
    "ternary, GPTQ": {"bits": "1.58", "batch_norm": False, **PLAIN},
    "ternary, GPTQ, BatchNorm": {"bits": "1.58", **PLAIN},
    "ternary, in turn": {"bits": "1.58"},
    "ternary in all layers, in turn": {"bits": "1.58", "edge_bits": "1.58", "smallest": 1},
    "binary, GPTQ, BatchNorm": {"bits": "1", **PLAIN},
    "binary, in turn": {"bits": "1"},
}
PHOTOS: dict[str, Row] = {
    "4 bits, GPTQ, BatchNorm": {"bits": "4", **PLAIN},
    "4 bits, in turn": {"bits": "4"},
    "2 bits, in turn": {"bits": "2"},
    "ternary, in turn": {"bits": "1.58"},
    "two ternary planes, in turn": {"bits": "1.58", "planes": 2},
}
TEXT: dict[str, Row] = {
    "ternary, groups of 64, GPTQ": {"bits": "1.58", "group": 64, **PLAIN},
    "ternary, groups of 64, in turn": {"bits": "1.58", "group": 64},
    "two ternary planes, groups of 64, GPTQ": {"bits": "1.58", "planes": 2, "group": 64, **PLAIN},
    "two ternary planes, groups of 64, in turn": {"bits": "1.58", "planes": 2, "group": 64},
}
SEARCH: Row = {"bits": "2", "max_bytes": 4_000_000}
OPSET = 25


def measured(model: str, name: str, settings: Row, **data: Any) -> tuple[Row, Quantized]:
    """A model quantised in one way, as a row of a table."""
    began = time.process_time()
    original = Model(convert(Model.load(data.pop("path")).ir, opset=OPSET).model)
    found = quantize(original, settings=Settings(**settings), limits=ANY, **data)
    report, task = found.report, found.report.task
    row: Row = {
        "model": model, "name": name, "settings": settings, "seconds": time.process_time() - began,
        "bytes_before": report.bytes_before, "bytes_after": report.bytes_after, "cosine": task.cosine,
        "sqnr_db": task.sqnr_db, "agreement": task.agreement, "before": task.before, "after": task.after,
        "loss_before": task.loss_before, "loss_after": task.loss_after, "layers": len(report.rows),
        "norms": report.norms,
    }  # fmt: skip
    print(f"{model}: {name}: {row['agreement']:.2%} agree, {row['sqnr_db']:.1f} dB, {row['seconds']:.0f} s", flush=True)
    return row, found


def run_mnist() -> list[Row]:
    images, _ = load_digits("train")
    test, labels = load_digits("t10k")
    rows = []
    for model, path in (("zoo", model_path("mnist-cnn")), ("BatchNorm", trained("mnist-float"))):
        for name, settings in MNIST.items():
            if model == "zoo" and "BatchNorm" in name:  # it has none
                continue
            given = {"path": path, "data": images[:DIGITS], "test": test, "labels": labels}
            rows.append(measured(model, name, settings, **given)[0])
    return rows


def photo_data() -> dict[str, Any]:
    every = photos()
    calibration, _ = crops(every[1::2], CROPS, 0)
    test, classes = crops(every[0::2], CROPS, 1)
    return {"path": model_path("efficientnet-lite0"), "data": calibration, "test": test, "labels": classes}


def run_photos() -> list[Row]:
    data = photo_data()
    return [measured("efficientnet-lite0", name, settings, **data)[0] for name, settings in PHOTOS.items()]


def run_text() -> list[Row]:
    from benchmarks.qat import text  # needs PyTorch

    train, test = text.read_sources()
    windows, following = text.test_windows(test)
    drawn = np.random.default_rng(0).integers(0, len(train) - text.CONTEXT, (WINDOWS, 1))
    calibration = train[drawn + np.arange(text.CONTEXT)].astype(np.int64)
    given = {"path": trained("text-float"), "data": calibration, "test": windows, "labels": following}
    return [measured("transformer", name, settings, **given)[0] for name, settings in TEXT.items()]


def run_search(picture: Path | None) -> list[Row]:
    row, found = measured("efficientnet-lite0", f"at most {SEARCH['max_bytes'] / 1e6:.0f} MB", SEARCH, **photo_data())
    counts: dict[str, int] = {}
    for layer in found.report.rows:
        counts[layer.bits] = counts.get(layer.bits, 0) + 1
    if picture is not None:
        picture.write_text(draw(found.report, "EfficientNet-lite0"), encoding="utf-8")
    return [{**row, "bits": counts}]


def run_sizes() -> list[Row]:
    """One product of random weights, its bytes in the smallest file and in a session."""
    w = np.random.default_rng(0).standard_normal((SIZE, SIZE)).astype(np.float32)
    graph = h.make_graph(
        [h.make_node("MatMul", ["x", "w"], ["y"], "body")], "g", [h.make_tensor_value_info("x", T.FLOAT, ["n", SIZE])],
        [h.make_tensor_value_info("y", T.FLOAT, ["n", SIZE])], [nh.from_array(w, "w")],
    )  # fmt: skip
    model = h.make_model(graph, opset_imports=[h.make_opsetid("", 21)], ir_version=10)
    x, rows = np.random.default_rng(1).standard_normal((4, SIZE)).astype(np.float32), []
    for bits, name in (("1.58", "ternary"), ("1", "binary")):
        for form in ("onnx", "trits"):
            settings = Settings(bits, edge_bits=bits, method="nearest", form=form)
            found = quantize(model, data=x, settings=settings, limits=ANY)
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "small.onnx")
                found.save(path, force=True)
                with ronn.Session(path, providers=["bitnet"]) as session:
                    session.run(x)
                    row = {"name": name, "form": form, "file": path.stat().st_size, "packed": session.memory().packed}
            rows.append({**row, "float32": w.nbytes})
    return rows


def tables(found: Row) -> str:
    parts = []
    if found.get("mnist"):
        lines = ["| MNIST, 10000 digits | float32 | quantised | points | constants |"]
        lines.append("| --- | ---: | ---: | ---: | ---: |")
        for r in found["mnist"]:
            where = "zoo's network" if r["model"] == "zoo" else "network with BatchNorm"
            lines.append(
                f"| {where}: {r['name']} | {r['before']:.2%} | {r['after']:.2%} | "
                f"{100 * (r['after'] - r['before']):+.2f} | {_smaller(r)} |"
            )
        parts.append("\n".join(lines))
    rows = [*found.get("photos", []), *found.get("search", [])]
    if rows:
        lines = [
            "| EfficientNet-lite0, crops of photographs | same best class | cosine | signal over error | constants |",
            "| --- | ---: | ---: | ---: | ---: |",
        ]
        for r in rows:
            counts = sorted(r.get("bits", {}).items(), key=lambda item: float(item[0]))
            mixed = ", ".join(f"{n} layer{'s' if n > 1 else ''} of {b}" for b, n in counts)
            name = f"{r['name']}: {mixed} bits" if mixed else r["name"]
            lines.append(
                f"| {name} | {r['agreement']:.1%} | {r['cosine']:.4f} | {r['sqnr_db']:.1f} dB | {_smaller(r)} |"
            )
        parts.append("\n".join(lines))
    if found.get("text"):
        lines = ["| Transformer, bits per byte | float32 | quantised | loss | constants |"]
        lines.append("| --- | ---: | ---: | ---: | ---: |")
        for r in found["text"]:
            before, after = r["loss_before"], r["loss_after"]
            lines.append(f"| {r['name']} | {before:.3f} | {after:.3f} | {after / before - 1:+.1%} | {_smaller(r)} |")
        parts.append("\n".join(lines))
    if found.get("sizes"):
        head = f"| {SIZE} x {SIZE} weights and their scales | in the file | packed in memory |"
        lines = [head, "| --- | ---: | ---: |"]
        for r in found["sizes"]:
            form = "ordinary ONNX" if r["form"] == "onnx" else "trits"
            lines.append(
                f"| {r['name']}, {form} | {r['float32'] / r['file']:.1f}x smaller | "
                f"{r['float32'] / r['packed']:.1f}x smaller |"
            )
        parts.append("\n".join(lines))
    return "\n\n".join(parts) + f"\n\nMeasured on {found['machine']['cpu']}.\n"


def _smaller(row: Row) -> str:
    return f"{row['bytes_before'] / row['bytes_after']:.1f}x smaller"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    every = ("mnist", "photos", "text", "search", "sizes")
    parser.add_argument("parts", nargs="*", metavar="PART", help=", ".join(every))
    parser.add_argument("--write", action="store_true", help="write docs/bitnet.md and results/")
    given = parser.parse_args()
    unknown = set(given.parts) - set(every)
    if unknown:
        parser.error(f"no part {min(unknown)!r}: {', '.join(every)}")
    results = RESULTS / f"{NAME}.json"
    found = json.loads(results.read_text(encoding="utf-8")) if results.exists() else {}
    found["machine"] = describe()
    picture = PAGE.parent / "images" / "quantize-efficientnet.svg" if given.write else None
    runs = {
        "mnist": run_mnist, "photos": run_photos, "text": run_text, "search": lambda: run_search(picture),
        "sizes": run_sizes,
    }  # fmt: skip
    for part in given.parts if given.parts else every:
        found[part] = runs[part]()
    print("\n" + tables(found))
    if given.write:
        publish(NAME, found, tables(found), PAGE)


if __name__ == "__main__":
    main()
