"""The docs say what the code says: generated pages are fresh, hooks have headings, links lead somewhere."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import inspect
import json
import re
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent


def load(name: str) -> ModuleType:
    """A program of docs/ as a module."""
    spec = importlib.util.spec_from_file_location(f"docs_{name}", DOCS / f"{name}.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    return load("generate")


def test_generated_pages_are_fresh() -> None:
    """In a process of its own: what other tests import registers errors and lowerings."""
    done = subprocess.run([sys.executable, DOCS / "generate.py", "--check"], capture_output=True, text=True)
    assert done.returncode == 0, f"run: python docs/generate.py\n{done.stdout}{done.stderr}"


def test_the_support_matrix_is_fresh() -> None:
    support = load("support")
    assert support.PAGE.read_text(encoding="utf-8") == support.page() + "\n", "run: python docs/support.py"


def test_the_pictures_and_tables_of_the_performance_page_are_those_of_the_committed_results() -> None:
    charts = load("charts")
    assert charts.PAGE.read_text(encoding="utf-8") == charts.page(), "run: python docs/charts.py"
    for name, text in charts.pictures().items():
        assert (charts.PICTURES / f"{name}.svg").read_text(encoding="utf-8") == text, "run: python docs/charts.py"


def test_the_answers_of_other_runtimes_are_those_that_were_kept() -> None:
    from benchmarks.bench_report import RESULTS
    from benchmarks.peers import PAGE, table

    kept = json.loads((RESULTS / "peers.json").read_text(encoding="utf-8"))
    assert table(kept) in PAGE.read_text(encoding="utf-8"), "run: python -m benchmarks.peers --write"


@pytest.mark.parametrize("module", ["ronn", "ronn.events", "ronn.provider"])
def test_the_reference_is_complete(module: str) -> None:
    """Every public name stands on the page of its module, and says what it is; so do the public members of classes."""
    page = (DOCS / "reference" / f"{module.rpartition('.')[2]}.md").read_text(encoding="utf-8")
    asked = set(re.findall(r"^::: (\S+)$", page, flags=re.M))
    owner = importlib.import_module(module)
    names = [n for n in owner.__all__ if not inspect.ismodule(getattr(owner, n))]
    assert {f"{module}.{n}" for n in names} <= asked
    silent = []
    for name in owner.__all__:
        thing = getattr(owner, name)
        if not (inspect.isclass(thing) or inspect.isfunction(thing)):
            continue
        if not inspect.getdoc(thing):
            silent.append(name)
        for member, value in vars(thing).items() if inspect.isclass(thing) else ():
            function = getattr(value, "fget", getattr(value, "__func__", value))
            if not member.startswith("_") and inspect.isfunction(function) and not inspect.getdoc(getattr(thing, member)):
                silent.append(f"{name}.{member}")
    assert silent == []


def test_pages_that_load_from_elsewhere_are_found() -> None:
    foreign = load("site_hooks").foreign
    for html in (
        '<script src="https://x.example/a.js"></script>', "<img alt='' src='//x.example/a.png'>",
        '<link rel="stylesheet" href="https://x.example/a.css">', '<link href="http://x.example" rel=preconnect>',
        "<style>@import url(https://x.example/a.css)</style>",
    ):  # fmt: skip
        assert foreign(html), html
    for html in ('<a href="https://x.example">', '<img src="a.png">', "<code>&lt;script src='https://x'&gt;</code>"):
        assert not foreign(html), html


def test_every_hook_has_a_heading_with_its_arguments(generate: ModuleType) -> None:
    page = (DOCS / "hooks.md").read_text(encoding="utf-8")
    specs = generate.hook_specs()
    assert "ronn_providers" in specs
    for name, spec in specs.items():
        assert f"\n## {name}\n" in page
        for argument in spec.__code__.co_varnames[: spec.__code__.co_argcount]:
            assert re.search(rf"def {name}\(.*\b{argument}\b", page)


def test_every_setting_and_pass_has_a_heading() -> None:
    from ronn.knobs import all_knobs
    from ronn.passes.pipelines import all_passes

    knobs, passes = ((DOCS / f"{n}.md").read_text(encoding="utf-8") for n in ("knobs", "passes"))
    assert [k.name for k in all_knobs() if f"\n## {k.name}\n" not in knobs] == []
    assert [p for p in all_passes() if f"\n## {p}\n" not in passes] == []


def test_nothing_but_knobs_reads_the_environment() -> None:
    # Those that list foreign variables are about the environment itself.
    allowed = {"knobs.py", "cli/doctor.py", "host.py", "compat/finder.py"}
    source = ROOT / "packages" / "ronn-core" / "src" / "ronn"
    readers = {
        str(path.relative_to(source))
        for path in source.rglob("*.py")
        if re.search(r"\bos\.(environ|getenv)\b", path.read_text(encoding="utf-8").replace('reads ``os.environ``', ""))
    }
    assert readers <= allowed


PAGES = sorted([*DOCS.rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])


@pytest.mark.parametrize("page", PAGES, ids=lambda p: str(p.relative_to(ROOT)))
def test_links_lead_to_files(page: Path) -> None:
    text = re.sub(r"```.*?```", "", page.read_text(encoding="utf-8"), flags=re.S)
    for target in re.findall(r"\]\(([^)#\s]+)(?:#[^)]*)?\)", text):
        if "://" not in target:
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_readme_has_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    commands = re.findall(r"^(python3 -m venv .*)$", text, flags=re.M)
    assert [c.rsplit(" ", 1)[1] for c in commands] == ["demo", "tests"]
    assert "no network code, no telemetry" in text.splitlines()[0].lower()


def test_modules_stay_small() -> None:
    long = {
        str(path.relative_to(ROOT)): n
        for path in ROOT.glob("packages/*/src/**/*.py")
        if (n := len(path.read_text(encoding="utf-8").splitlines())) > 600
    }
    assert long == {}


def test_core_imports_no_provider_and_no_testkit() -> None:
    source = ROOT / "packages" / "ronn-core" / "src" / "ronn"
    guilty = {
        f"{path.name}: {name}"
        for path in source.rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, (ast.Import, ast.ImportFrom))
        for name in ([a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""])
        if name.startswith("ronn_")
    }
    assert guilty == set()


def test_what_users_asked_for_names_tests_that_exist() -> None:
    named = re.findall(r"`(ronn-[\w-]+/tests/[\w/]+\.py)(?:::(\w+))?`", (DOCS / "pains.md").read_text(encoding="utf-8"))
    assert len(named) > 20
    missing = [
        (file, function)
        for file, function in named
        if not (ROOT / "packages" / file).is_file()
        or f"def {function}" not in (ROOT / "packages" / file).read_text(encoding="utf-8")
    ]
    assert missing == []
