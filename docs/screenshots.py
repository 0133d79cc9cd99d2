"""Takes the pictures of RONN's pages: `python -m docs.screenshots [NAME ...]` (or `nox -s screenshots`).

Needs playwright and Chromium, and the models that the pictures are of, which `benchmarks.zoo` fetches.
"""

from __future__ import annotations

import argparse
import os
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

IMAGES = Path(__file__).resolve().parent / "images"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "chrome")
SIZE = {"width": 1500, "height": 1000}
MODELS = {
    "efficientnet-lite0": "efficientnet-lite0.onnx",
    "light-resnet50": "resnet50.onnx",
    "mnist-cnn": "mnist-cnn.onnx",
    "minilm-l6-int8w": "minilm-l6.onnx",
    "silero-vad-16k-op15": "silero-vad.onnx",
}


@dataclass(frozen=True)
class Picture:
    """model: in the zoo; empty where the page needs none. page: writes the page of the model's file. act: what is done
    on it first. part: of the page, a selector; all that the window shows without."""

    model: str
    page: Callable[[Path, Path], None]
    act: Callable[[Any], None] = lambda page: None
    scheme: str = "light"
    part: str = ""


def inspected(**sizes: int) -> Callable[[Path, Path], None]:
    def write(model: Path, page: Path) -> None:
        import ronn
        from ronn.inspection import inspect_model

        inspect_model(ronn.load(model), sizes=sizes, path=model).save(page)

    return write


def profiled(model: Path, page: Path) -> None:
    import ronn

    session = ronn.Session(model, options={"threads": 1})
    session.profile(np.random.default_rng(0).random((1, 3, 224, 224), np.float32), runs=30).save(page)


def routed(model: Path, page: Path) -> None:
    """Digits that begin to be turned, answered by a ternary network in front of one of float32."""
    import ronn_hrm as hrm
    from benchmarks.hrm import digits, drive, streams
    from ronn_hrm.kept import Kept
    from ronn_hrm.report import save

    data = digits.digits()
    stream = streams.drifting(data.x, data.labels, 0, phase=5000, warm_up=2000)
    with drive.on_digits(memory=hrm.Memory(path="digits")) as session:
        for at, item in enumerate(stream.item):
            session.run({"x": stream.x[item][None]})
            if at % 50 == 0:
                session.drain(60)
            if at == 9000:
                session.sleep()
    with Kept("digits") as kept:
        save(kept, page)


def choose(page: Any, op: str, nth: int = 0) -> None:
    """Chooses the nth node of an operator."""
    page.evaluate(
        "([op, nth]) => graph.choose(graph.vertices.map((v, i) => i).filter(i => graph.vertices[i].node !== undefined"
        " && shortOp(N[graph.vertices[i].node].op) === op)[nth])",
        [op, nth],
    )


def show_node(page: Any) -> None:
    choose(page, "BlockedConv", 4)


def show_pass(page: Any) -> None:
    page.locator("#stages .option", has_text="fuse-conv-bn").first.click()
    page.click("#side")
    page.click("#tab-changes")


def show_branch(page: Any) -> None:
    page.locator("#stages .option", has_text="portable").click()
    page.fill("#search", "/model/decoder")
    page.evaluate("graph.choose(graph.vertices.findIndex(v => v.title.startsWith('If')))")
    page.click("#tab-node")


def show_constant(page: Any) -> None:
    page.select_option("#colour", "weights")
    page.fill("#search", "layer.2")
    page.evaluate(
        "graph.choose(graph.vertices.findIndex((v, i) => graph.found.has(i) && v.node !== undefined"
        " && N[v.node].in.some(x => x >= 0 && (constant(x) || {}).histogram)))"
    )
    page.click("#tab-node")


PICTURES = {
    "inspect": Picture("efficientnet-lite0", inspected(N=1, H=224, W=224), show_node),
    "inspect-small": Picture("mnist-cnn", inspected(N=8)),
    "inspect-pass": Picture("light-resnet50", inspected(), show_pass, scheme="dark"),
    "inspect-search": Picture("minilm-l6-int8w", inspected(batch=1, sequence=64), show_constant),
    "inspect-branches": Picture("silero-vad-16k-op15", inspected(batch=1, sequence=512), show_branch),
    "inspect-memory": Picture("light-resnet50", inspected(), part="#memorypanel"),
    "profile": Picture("efficientnet-lite0", profiled),
    "hrm-report": Picture("", routed, lambda page: page.evaluate("document.body.style.zoom = 0.74")),
}


def take(names: list[str]) -> None:
    from playwright.sync_api import sync_playwright

    from benchmarks.zoo.fetch import model_path

    browser = next(filter(None, map(shutil.which, BROWSERS)), None)
    if browser is None:
        raise SystemExit(f"none of {', '.join(BROWSERS)} is installed")
    models = {name: model_path(name) for name in dict.fromkeys(PICTURES[n].model for n in names) if name}
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as driver:
        os.chdir(folder)  # pages name the model's file as it was given: without a folder
        opened = driver.chromium.launch(executable_path=browser, args=["--headless=new", "--no-sandbox"])
        for name in names:
            picture = PICTURES[name]
            model, page_file = Path(MODELS.get(picture.model, "")), Path(f"{name}.html")
            if picture.model and not model.exists():
                shutil.copy(models[picture.model], model)
            picture.page(model, page_file)
            page = opened.new_page(viewport=SIZE, color_scheme=picture.scheme)
            page.goto(page_file.resolve().as_uri())
            page.wait_for_timeout(200)
            picture.act(page)
            page.wait_for_timeout(300)
            target = page.locator(picture.part) if picture.part else page
            target.screenshot(path=IMAGES / f"{name}.png")
            page.close()
            print(f"wrote docs/images/{name}.png")
        opened.close()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(PICTURES)}; all without")
    names = parser.parse_args().names
    for name in names:
        if name not in PICTURES:
            parser.error(f"there is no picture {name!r}; there are {', '.join(PICTURES)}")
    take(names if names else list(PICTURES))


if __name__ == "__main__":
    main()
