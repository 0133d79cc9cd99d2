"""Trains the examples of docs/bitnet.md and measures them in ONNX Runtime and in RONN: `python -m benchmarks.qat`.

`mnist` or `text` alone is one of the two. What is trained is kept in the zoo's cache (`qat/NAME.pt`, `qat/NAME.onnx`),
and a run trains what is missing; `--again` trains everything. `--write` puts tables and figures into docs/bitnet.md and
results/. One thread; seeds are fixed, so that a machine repeats its figures. Seconds are of the processor.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime
import torch
from torch import nn

import ronn
from benchmarks.machine import describe
from benchmarks.page import publish
from benchmarks.qat import mnist, place, text
from benchmarks.zoo.cache import replaced_file
from ronn_provider_bitnet.training import export_onnx

PAGE = Path(__file__).parents[2] / "docs" / "bitnet.md"
SPLIT = 500  # inputs of one run
Row = dict[str, Any]


def kept(name: str, shell: nn.Module, train: Callable[[], nn.Module], again: bool) -> tuple[nn.Module, float]:
    """The model ``name``, and the seconds that its training took: ``shell`` with the cache's weights, or trained."""
    path = place(f"{name}.pt")
    if path.exists() and not again:
        found = torch.load(path, weights_only=True)
        shell.load_state_dict(found["state"])
        return shell.eval(), found["seconds"]
    print(f"training {name}", flush=True)
    started = time.process_time()
    model = train()
    seconds = time.process_time() - started
    with replaced_file(path) as temporary:
        torch.save({"state": model.state_dict(), "seconds": seconds}, temporary)
    return model, seconds


def export(name: str, model: nn.Module, example: torch.Tensor) -> Path:
    """Models in float32 keep their BatchNormalization, which the optimiser folds, for quantisers to re-estimate."""
    norms = any(isinstance(layer, nn.modules.batchnorm._BatchNorm) for layer in model.modules())
    with replaced_file(place(f"{name}.onnx")) as temporary:
        if any(hasattr(layer, "quantised_weight") for layer in model.modules()):
            export_onnx(model, example, temporary)
        else:
            batch = ({0: torch.export.Dim.DYNAMIC},)
            torch.onnx.export(
                model, (example,), temporary, dynamo=True, opset_version=20, input_names=["x"], output_names=["y"],
                dynamic_shapes=batch, external_data=False, optimize=not norms, verbose=False,
            )  # fmt: skip
    return place(f"{name}.onnx")


def outputs(path: Path, x: np.ndarray) -> tuple[dict[str, np.ndarray], Row]:
    """What ONNX Runtime and RONN make of ``x``, in parts; and what RONN's plan has."""
    parts = np.array_split(x, max(1, len(x) // SPLIT))
    theirs = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    found = {"onnxruntime": np.concatenate([theirs.run(None, {"x": part})[0] for part in parts])}
    facts: Row = {}
    for provider in ("cpu", "bitnet"):
        with ronn.Session(path, providers=[provider], options={"threads": 1}) as session:
            found[provider] = np.concatenate([session.run(part)["y"] for part in parts])
            ops = [row.op for row in session.placement().rows]
            facts[f"packed_{provider}"] = session.memory().packed
    facts["few_bits"] = sum(op.startswith("ronn.bitnet::") for op in ops)
    return found, facts


def measure(name: str, model: nn.Module, seconds: float, x: np.ndarray, score: Callable[[np.ndarray], float]) -> Row:
    """A row of a table: the score in PyTorch, ONNX Runtime and RONN, and how often classes are PyTorch's."""
    with torch.no_grad():
        own = torch.cat([model(part) for part in torch.from_numpy(x).split(SPLIT)]).numpy()
    path = export(name, model, torch.from_numpy(x[:2]))
    found, facts = outputs(path, x)
    row: Row = {"name": name, "seconds": seconds, "torch": score(own), "bytes": path.stat().st_size, **facts}
    for runtime, scores in found.items():
        row[runtime] = score(scores)
        row[f"{runtime}_agrees"] = float((scores.argmax(-1) == own.argmax(-1)).mean())
    return row


def run_mnist(again: bool) -> list[Row]:
    images, labels = mnist.digits("t10k")
    start, seconds = kept("mnist-float", mnist.network(), mnist.train_float, again)
    models = {"mnist-float": (start, seconds)}
    for variant in mnist.VARIANTS:
        shell, train = mnist.with_bits(start, variant), partial(mnist.train_bits, start, variant)
        models[f"mnist-{variant}"] = kept(f"mnist-{variant}", shell, train, again)
    score = partial(mnist.top1, labels=labels.numpy())
    return [measure(name, *model, images.numpy(), score) for name, model in models.items()]


def run_text(again: bool) -> list[Row]:
    train, test = text.read_sources()
    windows, labels = text.test_windows(test)
    start, early = kept("text-start", text.Transformer(), partial(text.train_float, train), again)
    on, late = kept("text-float", text.Transformer(), partial(text.train_on, start, train), again)
    models = {"text-start": (start, early), "text-float": (on, late)}
    for variant in text.VARIANTS:
        shell, learn = text.with_bits(start, variant), partial(text.train_bits, start, on, variant, train)
        models[f"text-{variant}"] = kept(f"text-{variant}", shell, learn, again)
    score = partial(text.bits_per_byte, labels=labels)
    return [measure(name, *model, windows, score) for name, model in models.items()]


NAMES = {
    "mnist-float": "float32", "mnist-ternary": "ternary", "mnist-binary": "binary",
    "mnist-XNOR": "binary, and signs of activations",
    "text-start": f"float32, {text.STEPS} steps", "text-float": f"float32, {text.STEPS + text.MORE} steps",
    "text-ternary": f"ternary, the last {text.MORE} of {text.STEPS + text.MORE} steps",
    "text-binary": f"binary, the last {text.MORE} of {text.STEPS + text.MORE} steps",
}  # fmt: skip


def mnist_table(rows: list[Row]) -> str:
    base = rows[0]["bitnet"]
    lines = [
        "| MNIST: conv2 and fc1 | top-1 | points to float32 | in ONNX Runtime | classes as PyTorch's "
        "| weights packed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        lines.append(
            f"| {NAMES[r['name']]} | {r['bitnet']:.2%} | {100 * (r['bitnet'] - base):+.2f} | {r['onnxruntime']:.2%} | "
            f"{r['bitnet_agrees']:.2%} | {r['packed_bitnet'] / 1e3:.0f} kB |"
        )
    return "\n".join(lines)


def text_table(rows: list[Row]) -> str:
    base = next(r["bitnet"] for r in rows if r["name"] == "text-float")
    lines = [
        "| Transformer: layers of the blocks | bits per byte | against float32 | in ONNX Runtime | bytes as PyTorch's "
        "| weights packed |",
        "| --- | ---: | ---: | ---: | ---: | ---: |",
    ]
    for r in rows:
        lines.append(
            f"| {NAMES[r['name']]} | {r['bitnet']:.3f} | {r['bitnet'] / base - 1:+.1%} | {r['onnxruntime']:.3f} | "
            f"{r['bitnet_agrees']:.2%} | {r['packed_bitnet'] / 1e3:.0f} kB |"
        )
    return "\n".join(lines)


PARTS = {"mnist": (run_mnist, mnist_table), "text": (run_text, text_table)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", help=f"{' or '.join(PARTS)}; both by default")
    parser.add_argument("--again", action="store_true", help="train what is in the cache, too")
    parser.add_argument("--write", action="store_true", help="put tables and figures into docs/bitnet.md and results/")
    options = parser.parse_args()
    if unknown := set(options.parts) - set(PARTS):
        parser.error(f"no part {', '.join(sorted(unknown))}")
    torch.set_num_threads(1)
    for part in options.parts or PARTS:
        run, table = PARTS[part]
        rows = run(options.again)
        seconds = sum(row["seconds"] for row in rows)
        made = f"{table(rows)}\n\nAll of them train in {seconds / 60:.1f} minutes of one core.\n"
        print(made, flush=True)
        if options.write:
            facts = {"machine": describe(), "torch": torch.__version__, "rows": rows}
            publish(f"qat-{part}", facts, made, PAGE)


if __name__ == "__main__":
    main()
