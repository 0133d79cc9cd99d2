"""The page of a folder: what it shows is what the folder holds; and it opens without errors and without a network."""

from __future__ import annotations

import json
import re
import shutil
from itertools import pairwise

import folders
import numpy as np
import pytest

import ronn_hrm as hrm
from ronn_hrm.kept import Kept
from ronn_hrm.report import html, report_data, save
from ronn_hrm.report.data import curve

BROWSER = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))), None)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    made = tmp_path_factory.mktemp("traffic")
    with pytest.MonkeyPatch.context() as patch:
        folders.known_coin(patch)
        folders.served(made)
    return made


@pytest.fixture(scope="module")
def cold(tmp_path_factory):
    """A folder of a session that has hardly begun."""
    made = tmp_path_factory.mktemp("cold <script>alert(1)")
    with folders.session(made) as session:
        folders.serve(session, folders.stream(5))
    return made


def data_of(page: str):
    return json.loads(re.search(r'<script type="application/json" id="data">(.*?)</script>', page, re.S)[1])


def test_the_page_says_what_the_folder_holds(folder):
    with Kept(folder) as kept:
        data = data_of(html(kept))
        state, logged = kept.needed_state(), kept.store.logged()
        assert data["logged"] == len(logged) == 1500 and data["mode"] == kept.phase
        assert sum(sum(w["paths"].values()) for w in data["windows"]) == 1500
        assert [e["kind"] for e in data["events"]].count("alarm") == 1
        newest = data["decisions"][0]
        explained = logged[-1].explained(kept.archive.load(logged[-1].decision.state))
        assert newest["id"] == 1500 and newest["reasons"] == [list(r) for r in explained.reasons]
        for shown in data["decisions"]:
            if shown["reasons"]:
                assert shown["bias"] + sum(v for _, v in shown["reasons"]) == pytest.approx(shown["score"], abs=1e-6)
        assert [r["name"] for r in data["replay"]["rows"] if r["now"]] == ["this state"]
        assert {r["name"] for r in data["replay"]["left_out"]} == {"size"}
        assert re.fullmatch(r"(\d+) of \1 scored decisions replay bit-equal from their states", data["replay"]["check"])
        assert data["advice"]["pays"] is False and data["state"]["id"] == state.id


def test_the_curve_goes_through_the_certificate(folder):
    with Kept(folder) as kept:
        data = report_data(kept)
        found = kept.certificate
    assert found is not None
    at = next(p for p in data["curve"]["points"] if p["lam"] == found.lam)
    assert at["share"] == pytest.approx(found.share) and at["upper"] == pytest.approx(found.bound)
    assert at["risk"] == pytest.approx(found.wrong / found.n) and data["curve"]["n"] == found.n
    assert data["statement"].startswith("At most 0.05 of all traffic") and len(data["certificate"]["assumptions"]) == 5


def test_few_thresholds_stand_for_many():
    rng = np.random.default_rng(0)
    scores = rng.normal(size=2000)
    losses = (rng.random(2000) < 0.2 * (scores < 0)).astype(float)
    guarantee = hrm.Guarantee(0.05)
    points = curve(scores, losses, guarantee, lam=scores[77], most=40)
    assert len(points) in (40, 41) and scores[77] in [p["lam"] for p in points]
    for before, after in pairwise(points):
        assert before["share"] < after["share"] and before["risk"] <= after["risk"] <= after["upper"]
    assert points[-1]["share"] == 1 and points[-1]["risk"] == losses.mean()
    assert curve(np.full(3, np.nan), np.zeros(3), guarantee) == []


def test_a_folder_with_nothing_certified_has_a_page(cold):
    with Kept(cold) as kept:
        page = html(kept)
    data = data_of(page)
    assert data["certificate"] is None and data["mode"] == "cold"
    assert "45 records are needed at alpha=0.05, delta=0.1" in data["why_not"]
    assert "<script>alert" not in page and data["name"].startswith("cold <script>")


# --- in a browser


@pytest.fixture(scope="module")
def browser():
    if BROWSER is None:
        pytest.skip("needs Chromium: `nox -s browser` on a machine that has it")
    playwright = pytest.importorskip("playwright.sync_api", reason="needs playwright: `nox -s browser`")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=BROWSER, args=["--headless=new", "--no-sandbox"])
        yield opened
        opened.close()


@pytest.fixture
def visit(browser, tmp_path):
    """Opens the page of a folder; at the end, whatever went wrong in it, or was asked of a network, fails the test."""
    wrong: list[str] = []
    contexts = []

    def go(folder, scheme="light"):
        path = tmp_path / f"{scheme}.html"
        with Kept(folder) as kept:
            save(kept, path)
        context = browser.new_context(color_scheme=scheme, viewport={"width": 1400, "height": 1000})
        contexts.append(context)
        page = context.new_page()
        page.on("console", lambda m: wrong.append(f"console {m.type}: {m.text}"))
        page.on("pageerror", lambda e: wrong.append(f"error: {e}"))
        page.on("dialog", lambda d: wrong.append(f"dialog: {d.message}"))
        page.on("request", lambda r: r.url == path.as_uri() or wrong.append(f"request: {r.url}"))
        page.goto(path.as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_the_page_opens_and_draws(visit, folder, scheme):
    page = visit(folder, scheme)
    assert page.locator("#curve path.line").count() >= 2 and page.locator("#curve circle.chosen").count() == 1
    assert page.locator("#stream rect").count() > 30 and page.locator("#stream line.event.bad").count() == 1
    assert page.locator("#memory path.line").count() >= 2
    assert page.locator("#decisions tbody tr").count() == 60
    for table in ("curve", "stream", "memory"):  # what pictures show can be read
        details = page.locator("details", has=page.locator(f"#{table}table"))
        details.locator("summary").click()
        assert page.locator(f"#{table}table tbody tr").first.is_visible()
        assert len(page.locator(f"#{table}said").text_content()) > 10
    assert "undefined" not in page.inner_text("main") and "NaN" not in page.inner_text("main")
    before = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.click("#theme")
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != before


def test_tooltips_tell_what_is_under_the_pointer(visit, folder):
    page = visit(folder)
    box = page.locator("#curve").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.5, box["y"] + box["height"] * 0.5)
    assert "upper bound" in page.inner_text("#tip")
    box = page.locator("#stream").bounding_box()
    page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.5)
    assert page.inner_text("#tip").startswith("requests ")


def test_a_page_of_almost_nothing_opens(visit, cold):
    page = visit(cold)
    assert "Nothing is certified" in page.inner_text("#certificate")
    assert "cold <script>" in page.inner_text("#title") and page.locator("#decisions tbody tr").count() == 5
