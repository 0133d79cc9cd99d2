"""Pages hold everything in themselves, and nothing in a model's names gets out of the page's data."""

from __future__ import annotations

import json
import math
import re
from html.parser import HTMLParser
from importlib.resources import files
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ronn.page import embedded, render

from .pages import EVIL, EVIL_OP_NAME, write_pages

LOADERS = re.compile(
    r"\b(fetch|XMLHttpRequest|WebSocket|EventSource|sendBeacon|importScripts|eval|Function)\s*\(|\bimport\b|@import|url\("
    r"(?!#)|innerHTML|insertAdjacentHTML|document\.write|srcdoc"
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
)


class Outline(HTMLParser):
    """Elements of a page, and the text of each script."""

    def __init__(self) -> None:
        super().__init__()
        self.elements: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.inside = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append((tag, dict(attrs)))
        self.inside = tag
        if tag == "script":
            self.scripts.append("")

    def handle_endtag(self, tag: str) -> None:
        self.inside = ""

    def handle_data(self, data: str) -> None:
        if self.inside == "script":
            self.scripts[-1] += data


@pytest.fixture(scope="module")
def pages(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    return write_pages(tmp_path_factory.mktemp("pages"))


def outline(page: Path) -> Outline:
    parser = Outline()
    parser.feed(page.read_text(encoding="utf-8"))
    parser.close()
    return parser


@pytest.mark.parametrize("name", ["inspect", "profile", "branches"])
def test_a_page_refers_to_nothing_outside(pages, name):
    found = outline(pages[name])
    for tag, attributes in found.elements:
        assert tag not in {"link", "img", "iframe", "object", "embed", "base", "form", "audio", "video", "source"}
        assert not attributes.keys() & {"src", "href", "srcset", "data", "action", "onload", "onerror", "background"}
    policy = next(a["content"] for t, a in found.elements if t == "meta" and a.get("http-equiv"))
    assert policy == "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'"
    text = pages[name].read_text(encoding="utf-8").replace(found.scripts[0], "")
    assert set(re.findall(r"\w+://[^\s\"'`)]+", text)) == {"http://www.w3.org/2000/svg"}
    assert LOADERS.search(text) is None


def test_the_parts_of_pages_load_nothing():
    for package in ("ronn.page", "ronn.inspection", "ronn.profile"):
        for part in files(package).iterdir():
            if part.name.endswith((".js", ".css", ".html")):
                assert LOADERS.search(part.read_text(encoding="utf-8")) is None, part.name


@pytest.mark.parametrize("name", ["inspect", "profile"])
def test_names_of_a_model_cannot_leave_the_data(pages, name):
    found = outline(pages[name])
    assert len(found.scripts) == 2 and "img" not in {t for t, _ in found.elements}
    data = json.loads(found.scripts[0])
    assert EVIL_OP_NAME in json.dumps(data, ensure_ascii=False).replace('\\"', '"')
    if name == "inspect":
        assert EVIL_OP_NAME in {n["name"] for n in data["nodes"]} and data["facts"]["metadata"] == {EVIL: EVIL}
        assert {n["name"] for n in data["nodes"]} >= {"{{data}}", "]]>&lt;\\"}


@given(JSON)
def test_embedded_data_is_the_same_data_and_no_markup(data):
    text = embedded(data)
    assert json.loads(text) == data
    assert not set(text) & set("<>&\u2028\u2029") and text.isascii()


def test_numbers_that_json_lacks_are_null():
    data = {"a": [math.nan, (1.5, -math.inf)], "b": {"c": math.inf}}
    assert json.loads(embedded(data)) == {"a": [None, [1.5, None]], "b": {"c": None}}


def test_titles_are_text_and_data_is_put_in_once():
    page = render("</title><b>", {"x": "{{script}}"}, package="ronn.profile", name="profile")
    assert "<title>&lt;/title&gt;&lt;b&gt;</title>" in page
    assert '"{{script}}"' in page
