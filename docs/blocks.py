"""Runs the code blocks of a page as a reader would: `python docs/blocks.py [--write] PAGE ...`.

A page's blocks run in order, in one namespace and one temporary folder. What stands for what:

```python                     is run
```python title="serve.py"    is written to that file (any language)
```console                    lines behind `$ ` (and `> `, which continues one) are run by a shell; others are what they
                              must have printed
```sh                         is run by a shell
```text title="Output"        is what the block before it must have printed
```text, ```toml ...          other languages are only shown

In outputs `...` stands for any text. Comments in front of a block change what is done with it:

<!-- given: classifier, photo -->   functions of docs/given.py prepare files and names; also on a line of its own
<!-- not run: REASON -->            the block is only shown
<!-- exit code: 3 -->               its commands end with that code
<!-- numbers vary -->               in the output, any number may stand for any other, and spaces do not count
<!-- output varies: REASON -->      the output is not compared

`--write` puts what was printed in place of outputs that differ, and of outputs that are a single `?`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import io
import linecache
import os
import re
import shlex
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

from markdown_it import MarkdownIt

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
RUN = {"python", "console", "sh"}
SHOWN = {"text", "toml", "json", "yaml", "mermaid", "diff", "c"}
OUTPUT = "Output"
MARKS = re.compile(r"(given|not run|exit code|numbers vary|output varies)\b(?::\s*(.*))?", re.DOTALL)
NUMBER = re.compile(r"[-+]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:e[-+]?\d+)?", re.IGNORECASE)
SHELL_TIMEOUT_S = 300
MOST_SHOWN = 4000  # characters of what a failed command printed


class PageError(Exception):
    """A block that does not do what the page says."""


@dataclass
class Block:
    """A fenced block: ``line`` is that of its first line of content, from 1."""

    language: str
    title: str
    text: str
    line: int
    marks: dict[str, str] = field(default_factory=dict)

    @property
    def lines(self) -> list[str]:
        return self.text.splitlines()


@dataclass
class Change:
    """Lines of a page (from 1, ``count`` of them) that are to be replaced."""

    line: int
    count: int
    text: str


def parse(text: str) -> list[Block]:
    """The blocks of a page, in order; a block without language holds the marks that stand alone.

    Raises PageError for an unknown mark, a mark without its reason, an indented block and an unknown language.
    """
    blocks: list[Block] = []
    marks: dict[str, str] = {}
    for token in MarkdownIt("commonmark").enable("table").parse(_without_front_matter(text)):
        line = token.map[0] + 1 if token.map else 0
        if token.type == "html_block":
            for comment in re.findall(r"<!--\s*(.*?)\s*-->", token.content, re.DOTALL):
                marks.update(_mark(comment, line))
            if "given" in marks:
                blocks.append(Block("", "", "", line, {"given": marks.pop("given")}))
        elif token.type == "code_block":
            raise PageError(f"line {line}: an indented block; fence it and give it a language, or it is not run")
        elif token.type == "fence":
            language, _, rest = token.info.strip().partition(" ")
            title = re.search(r'title="([^"]*)"', rest)
            if language not in RUN | SHOWN and title is None:
                raise PageError(f"line {line}: language {language!r}; known are {', '.join(sorted(RUN | SHOWN))}")
            blocks.append(Block(language, title[1] if title else "", token.content, line + 1, marks))
            marks = {}
        elif marks and token.nesting >= 0:
            raise PageError(f"line {line}: the mark {', '.join(marks)!r} is not in front of a block")
    if marks:
        raise PageError(f"the mark {', '.join(marks)!r} at the end is not in front of a block")
    return blocks


def _without_front_matter(text: str) -> str:
    """The page with blank lines instead of the YAML between two lines of dashes at its head."""
    found = re.match(r"---\n.*?\n---\n", text, re.DOTALL)
    return "\n" * found[0].count("\n") + text[found.end() :] if found else text


def _mark(comment: str, line: int) -> dict[str, str]:
    found = MARKS.fullmatch(comment)
    if found is None:
        return {}
    name, value = found[1], (found[2] or "").strip()
    if name == "numbers vary":
        if value:
            raise PageError(f"line {line}: 'numbers vary' takes nothing behind it")
    elif not value:
        raise PageError(
            f"line {line}: '{name}' wants {'names' if name == 'given' else 'a value'}: <!-- {name}: ... -->"
        )
    return {name: value}


def agrees(expected: str, printed: str, numbers_vary: bool) -> bool:
    """Whether ``printed`` is what a page says: `...` stands for any text, spaces at ends of lines do not count."""

    def plain(text: str) -> str:
        lines = "\n".join(line.rstrip() for line in text.strip("\n").splitlines())
        if not numbers_vary:
            return lines
        return re.sub(r"[ \t─━-]+", " ", NUMBER.sub("0", lines))

    pattern = ".*?".join(re.escape(part) for part in plain(expected).split("..."))
    return re.fullmatch(pattern, plain(printed), re.DOTALL) is not None


class Page:
    """Runs the blocks of one page in the current folder."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.module = ModuleType("__main__")
        self.names: dict[str, Any] = self.module.__dict__
        self.printed: str | None = None
        self.changes: list[Change] = []
        self.given = _given()

    def run(self, blocks: list[Block]) -> None:
        for block in blocks:
            if "given" in block.marks:
                self.prepare(block)
            elif block.title == OUTPUT:
                self.compare(block)
            elif "not run" in block.marks:
                self.printed = None
            elif block.title:
                target = Path(block.title)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_text(block.text, encoding="utf-8")
            elif block.language == "python":
                self.python(block)
            elif block.language == "console":
                self.console(block)
            elif block.language == "sh":
                self.printed = self.shell(block.text, block, block.line)

    def prepare(self, block: Block) -> None:
        for name in re.split(r",\s*", block.marks["given"]):
            function = getattr(self.given, name.replace(" ", "_"), None)
            if function is None:
                raise PageError(f"line {block.line}: docs/given.py has no {name!r}")
            self.names.update(function() or {})

    def python(self, block: Block) -> None:
        file = str(self.path)
        # Blank lines in front, so that tracebacks name lines of the page.
        source = "\n" * (block.line - 1) + block.text
        linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
        out = io.StringIO()
        try:
            with contextlib.redirect_stdout(out):
                exec(compile(source, file, "exec"), self.names)
        except BaseException:
            raise PageError(f"line {block.line}: the block fails\n{out.getvalue()}{traceback.format_exc()}") from None
        self.printed = out.getvalue()

    def console(self, block: Block) -> None:
        """Runs each command (with its continuation lines) and compares the lines behind it."""
        lines = block.lines
        starts = [i for i, line in enumerate(lines) if line.startswith("$ ")]
        if not starts or starts[0] != 0:
            raise PageError(f"line {block.line}: a console block begins with a command: $ ...")
        for start, end in zip(starts, [*starts[1:], len(lines)], strict=True):
            behind = start + 1
            while behind < end and lines[behind].startswith("> "):
                behind += 1
            command = "\n".join(line.removeprefix("$ ").removeprefix("> ") for line in lines[start:behind])
            printed = self.shell(command, block, block.line + start)
            expected = "\n".join(lines[behind:end])
            if expected.strip():
                self.check(expected, printed, block.marks, block.line + behind, end - behind)

    def shell(self, command: str, block: Block, line: int) -> str:
        wanted = int(block.marks.get("exit code", "0"))
        try:
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, stdin=subprocess.DEVNULL, text=True,
                timeout=SHELL_TIMEOUT_S,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            raise PageError(f"line {line}: no end after {SHELL_TIMEOUT_S} s: {command}") from None
        if done.returncode != wanted:
            raise PageError(f"line {line}: exit code {done.returncode}, not {wanted}: {command}\n{_end(done.stdout)}")
        return done.stdout

    def compare(self, block: Block) -> None:
        if self.printed is None:
            if "not run" not in block.marks and "output varies" not in block.marks:
                raise PageError(f"line {block.line}: an output without a block that printed it")
            return
        self.check(block.text, self.printed, block.marks, block.line, len(block.lines))

    def check(self, expected: str, printed: str, marks: dict[str, str], line: int, count: int) -> None:
        missing = expected.strip() == "?"
        if missing or ("output varies" not in marks and not agrees(expected, printed, "numbers vary" in marks)):
            self.changes.append(Change(line, count, printed.strip("\n")))


def _end(text: str) -> str:
    return text if len(text) <= MOST_SHOWN else f"... {text[-MOST_SHOWN:]}"


def _given() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_given", DOCS / "given.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def reader() -> Iterator[None]:
    """A folder of its own, with the programs of this Python first on the PATH and no colours."""
    os.environ.update(
        PATH=os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
        COLUMNS="100", NO_COLOR="1", PYTHONWARNINGS="ignore::DeprecationWarning", TERM="dumb",
    )  # fmt: skip
    for name in [n for n in os.environ if n.startswith("RONN_") and n not in ("RONN_CACHE_DIR", "RONN_ZOO_CACHE")]:
        del os.environ[name]
    sys.path.insert(0, "")
    with tempfile.TemporaryDirectory(prefix="ronn-docs-") as folder, contextlib.chdir(folder):
        yield


def rewrite(text: str, changes: list[Change]) -> str:
    lines = text.splitlines()
    for change in sorted(changes, key=lambda c: -c.line):
        lines[change.line - 1 : change.line - 1 + change.count] = [s.rstrip() for s in change.text.splitlines()]
    return "\n".join(lines) + "\n"


def run_page(path: Path, write: bool = False) -> list[str]:
    """What is wrong with a page; empty when its blocks do what it says. ``write`` mends outputs in place."""
    text = path.read_text(encoding="utf-8")
    try:
        page = Page(path)
        saved = sys.modules["__main__"]
        sys.modules["__main__"] = page.module  # functions of the page can be pickled
        try:
            with reader():
                page.run(parse(text))
        finally:
            sys.modules["__main__"] = saved
    except PageError as error:
        return [f"{path}: {error}"]
    if write:
        if page.changes:
            path.write_text(rewrite(text, page.changes), encoding="utf-8")
        return []
    lines = text.splitlines()
    return [
        f"{path}: line {c.line}: the page says\n"
        + "\n".join(lines[c.line - 1 : c.line - 1 + c.count])
        + f"\nand printed was\n{_end(c.text)}\n(python docs/blocks.py --write {shlex.quote(str(path))} puts it there)"
        for c in page.changes
    ]


def pages() -> list[Path]:
    """Every page whose blocks are run."""
    found = [*DOCS.rglob("*.md"), ROOT / "README.md", *ROOT.glob("packages/*/README.md")]
    return sorted(p for p in found if "site" not in p.relative_to(ROOT).parts)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("pages", nargs="*", type=Path, help="Markdown files; all of them by default")
    parser.add_argument("--write", action="store_true", help="put what was printed in place of outputs that differ")
    options = parser.parse_args()
    wrong = []
    paths = [p.resolve() for p in options.pages] or pages()
    if len(paths) > 1:
        for path in paths:  # a process each: pages change settings of their process
            flags = ["--write"] if options.write else []
            done = subprocess.run([sys.executable, __file__, *flags, str(path)])
            wrong += [str(path)] if done.returncode else []
    else:
        wrong = run_page(paths[0], options.write)
    for message in wrong:
        print(message, file=sys.stderr)
    return 1 if wrong else 0


if __name__ == "__main__":
    raise SystemExit(main())
