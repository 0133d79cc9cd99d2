"""The pages in a browser: they open without errors and without network, and can be used."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx
import pytest
from onnx import TensorProto as T
from onnx import helper as h

from .pages import EVIL, EVIL_OP_NAME, inspected, write_pages

playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright and Chromium: `nox -s browser`")
BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)
if BROWSER is None:
    pytest.skip("needs Chromium: `nox -s browser` on a machine that has it", allow_module_level=True)


@pytest.fixture(scope="module")
def browser():
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--headless=new", "--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


@pytest.fixture
def visit(browser) -> Iterator:
    """Opens a page; at the end, whatever went wrong in it, or was asked of a network, fails the test."""
    wrong: list[str] = []
    contexts = []

    def go(path: Path, scheme: str = "light"):
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1500, "height": 1100})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        page.on("dialog", lambda d: wrong.append(f"dialog: {d.message}"))
        page.on("request", lambda r: r.url == path.as_uri() or wrong.append(f"request: {r.url}"))
        page.goto(path.as_uri())
        settle(page)
        return page

    yield go
    for context in contexts:
        context.close()
    assert wrong == []


WHERE = """title => {
  const i = graph.vertices.findIndex(x => x.title.startsWith(title)), v = graph.view;
  const r = graph.canvas.getBoundingClientRect();
  return [r.left + v.x + graph.at.x[i] * v.k, r.top + v.y + graph.at.y[i] * v.k];
}"""
COLOURS = """() => {
  const c = graph.canvas;
  return new Set(c.getContext("2d").getImageData(0, 0, c.width, c.height).data).size;
}"""


def settle(page) -> None:
    page.evaluate("new Promise(done => requestAnimationFrame(() => requestAnimationFrame(done)))")


def place(page, title: str) -> tuple[float, float]:
    """Where on the screen the node with this title is."""
    return tuple(page.evaluate(f"({WHERE})({title!r})"))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("name", ["inspect", "profile", "branches"])
def test_a_page_opens_and_draws(visit, pages, name, scheme):
    page = visit(pages[name], scheme)
    assert page.evaluate("typeof window.broken") == "undefined"
    colours = page.evaluate(COLOURS)
    assert colours > 8  # text, edges and nodes are there
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_hostile_names_are_text(visit, pages):
    page = visit(pages["inspect"])
    assert page.locator("#about2").inner_text().count("<script>") >= 3
    page.fill("#search", "name:bend")
    assert page.locator("#results b").first.inner_text() == "Tanh"
    page.locator("#results button").first.click()
    page.click("#tab-node")
    assert EVIL_OP_NAME.split("\u2028")[0] in page.locator("#node").inner_text()
    assert page.locator("img").count() == 0


def test_a_click_chooses_a_node_and_tells_all_of_it(visit, pages):
    page = visit(pages["inspect"])
    page.mouse.click(*place(page, "MatMul"))
    text = page.locator("#node").inner_text()
    assert "MatMul" in text and "reference" in text and "because" in text
    assert "f32[1,8]" in text and "-1 … 1" in text and EVIL.split("\u2028")[0] in text
    assert page.locator("#node svg.spark").count() == 1
    page.locator("#node button.link", has_text="%x").click()
    assert page.evaluate("graph.vertices[graph.chosen].title") == "input"


def test_zoom_and_pan(visit, pages):
    page = visit(pages["inspect"])
    x, y = place(page, "Tanh")
    k = page.evaluate("graph.view.k")
    page.mouse.move(x, y)
    page.mouse.wheel(0, -300)
    page.wait_for_function(f"graph.view.k > {k} * 1.2")
    moved = place(page, "Tanh")
    assert abs(moved[0] - x) < 2 and abs(moved[1] - y) < 2  # what is under the pointer stays there
    page.mouse.down()
    page.mouse.move(x + 50, y + 30)
    page.mouse.up()
    dragged = place(page, "Tanh")
    assert abs(dragged[0] - moved[0] - 50) < 2 and abs(dragged[1] - moved[1] - 30) < 2
    assert page.evaluate("graph.chosen") is None  # a drag is no click
    page.click("#fit")
    assert page.evaluate("graph.view.k * graph.at.height <= graph.canvas.clientHeight")


def test_passes_show_what_they_changed_before_and_after(visit, pages):
    page = visit(pages["inspect"])
    assert page.locator("#stages [aria-selected=true]").inner_text().startswith("assigned")
    page.locator("#stages .option", has_text="eliminate-identity").first.click()
    assert "after eliminate-identity" in page.locator("#count").inner_text()
    assert "removed" in page.locator("#diff").inner_text()
    ops = "graph.vertices.filter(v => v.node !== undefined).map(v => v.title)"
    assert "Identity" not in page.evaluate(ops)
    page.click("#side")
    assert "before eliminate-identity" in page.locator("#count").inner_text()
    assert "Identity" in page.evaluate(ops)
    page.keyboard.press("b")
    assert "Identity" not in page.evaluate(ops)
    page.click("#tab-changes")
    assert "Removed: 1" in page.locator("#changes").inner_text()
    page.locator("#changes button", has_text="Identity").click()
    assert "before" in page.locator("#count").inner_text()
    page.select_option("#against", "imported")
    page.locator("#stages .option").last.click()
    assert "removed" in page.locator("#diff").inner_text()


def test_search_by_operator_name_and_value(visit, pages):
    page = visit(pages["inspect"])
    for words, found in [
        ("op:matmul", 1),
        ("product", 1),
        ("value:b op:add", 1),
        ("provider:reference", 3),
        ("zzz", 0),
    ]:
        page.fill("#search", words)
        assert page.locator("#results button").count() == found, words
    page.fill("#search", "op:add")
    page.keyboard.press("Enter")
    assert page.evaluate("graph.vertices[graph.chosen].title") == "Add"
    page.keyboard.press("Escape")
    assert page.input_value("#search") == "" and page.evaluate("graph.found") is None


def test_the_graph_can_be_used_by_keyboard(visit, pages):
    page = visit(pages["inspect"])
    page.focus("#graph canvas")
    titles = []
    for _ in range(4):
        page.keyboard.press("ArrowDown")
        titles.append(page.evaluate("graph.vertices[graph.chosen].title"))
    assert titles == ["input", "MatMul", "Tanh", "Add"]
    page.keyboard.press("ArrowUp")
    assert "Tanh" in page.locator("#graph .said").inner_text()
    k = page.evaluate("graph.view.k")
    page.keyboard.press("+")
    assert page.evaluate("graph.view.k") > k
    page.keyboard.press("[")
    assert page.locator("#stages [aria-selected=true]").inner_text().startswith("specialised")
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "search"


def test_subgraphs_open_and_close(visit, pages):
    page = visit(pages["branches"])
    page.focus("#graph canvas")
    page.evaluate("graph.choose(graph.vertices.findIndex(v => v.title.startsWith('If')))")
    page.keyboard.press("Enter")
    assert "else_branch" in page.locator("#path").inner_text()
    assert page.evaluate("graph.vertices.map(v => v.title)") == ["from outside", "Neg", "output"]
    page.keyboard.press("Escape")
    assert "If ▸" in page.evaluate("graph.vertices.map(v => v.title)")
    page.fill("#search", "inner Exp")
    assert "then_branch" in page.locator("#path").inner_text()
    page.locator("#path button").first.click()
    assert page.locator("#plan option").count() == 3


def test_memory_over_time(visit, tmp_path):
    names = ["x", "a", "b", "c", "y"]
    nodes = [h.make_node("Exp", [s], [t], t) for s, t in itertools.pairwise(names)]
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("x", T.FLOAT, [64])], [h.make_tensor_value_info("y", T.FLOAT, [64])]
    )
    inspected(h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)).save(tmp_path / "m.html")
    page = visit(tmp_path / "m.html")
    assert "f32[64]" in page.locator("#memorynote").inner_text()
    page.focus("#memory")
    page.keyboard.press("Home")
    assert page.locator("#atstep").inner_text().startswith("Step 1 of 4")
    page.keyboard.press("ArrowRight")
    page.keyboard.press("Enter")
    assert page.evaluate("graph.vertices[graph.chosen].sub") == "b"


def test_a_profile_is_one_selection(visit, pages):
    page = visit(pages["profile"])
    page.locator("#tbody tr", has_text="Tanh").click()
    assert "bend" in page.locator("#details").inner_text()
    assert page.evaluate("graph.vertices[graph.chosen].title") == "Tanh"
    page.mouse.click(*place(page, "MatMul"))
    assert "product" in page.locator("#details").inner_text()
    page.fill("#search", "tanh")
    assert page.locator("#tbody tr").count() == 1
    page.select_option("#colour", "memory")
    page.mouse.move(*place(page, "Tanh"))
    assert "Tanh" in page.locator("#tip").inner_text()


@pytest.mark.parametrize("count", [1, 5000])
def test_small_and_large_models(visit, tmp_path, count):
    nodes = [
        h.make_node("Tanh" if i % 3 else "Add", [f"v{i}"] if i % 3 else [f"v{i}", f"v{i // 2}"], [f"v{i + 1}"], f"n{i}")
        for i in range(count)
    ]
    graph = h.make_graph(
        nodes, "g", [h.make_tensor_value_info("v0", T.FLOAT, [2])],
        [h.make_tensor_value_info(f"v{count}", T.FLOAT, [2])],
    )  # fmt: skip
    proto: onnx.ModelProto = h.make_model(graph, opset_imports=[h.make_opsetid("", 17)], ir_version=9)
    inspected(proto).save(tmp_path / "page.html")
    page = visit(tmp_path / "page.html")
    assert page.evaluate("nodesOf(S[0].graph).length") == count
    page.click("#fit")
    settle(page)
    page.fill("#search", f"n{count - 1}")
    assert page.evaluate("labelOf(verts[graph.chosen].node)") == f"n{count - 1}"
    x = np.array(page.evaluate("graph.at.x"))
    assert np.isfinite(x).all() and len(x) >= count
