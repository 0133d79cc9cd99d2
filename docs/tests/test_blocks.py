"""The code blocks of the pages run and print what the pages say; and the program that runs them finds what is wrong."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import pytest

DOCS = Path(__file__).parent.parent
ROOT = DOCS.parent


def _load() -> ModuleType:
    spec = importlib.util.spec_from_file_location("docs_blocks", DOCS / "blocks.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # dataclasses look their module up
    spec.loader.exec_module(module)
    return module


blocks = _load()
PAGES = [str(p.relative_to(ROOT)) for p in blocks.pages()]


def _run(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(DOCS / "blocks.py"), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=600)


@pytest.mark.parametrize("page", PAGES)
def test_the_blocks_of_a_page_run(page: str) -> None:
    done = _run(ROOT / page)
    assert done.returncode == 0, done.stderr


def _page(folder: Path, text: str) -> Path:
    page = folder / "page.md"
    page.write_text(text, encoding="utf-8")
    return page


FINE = """# A page

<!-- given: small model -->

```python
import numpy as np, ronn
n = 3
print(ronn.Session("model.onnx").run({"x": x})["y"].shape, n)
```

```text title="Output"
(2, ...) 3
```

```text title="a/data.txt"
hello
```

```console
$ cat a/data.txt && \\
> echo twice
hello
twice
$ echo 3.75 ms
```

<!-- exit code: 3 -->
```sh
exit 3
```

<!-- not run: it would fail -->
```python
raise SystemExit
```
"""


def test_a_page_that_is_right(tmp_path: Path) -> None:
    done = _run(_page(tmp_path, FINE))
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("```python\n\n1 / 0\n```\n", 'page.md", line 3, in <module>'),
        ("```python\nprint(1)\n```\n\n```text title=\"Output\"\n2\n```\n", "line 6: the page says\n2\nand printed was\n1\n"),
        ("```console\n$ echo one\ntwo\n```\n", "printed was\none"),
        ("```console\n$ false\n```\n", "exit code 1, not 0"),
        ("<!-- exit code: 2 -->\n```sh\ntrue\n```\n", "exit code 0, not 2"),
        ("```console\necho one\n```\n", "begins with a command"),
        ("<!-- not run: -->\n```sh\ntrue\n```\n", "'not run' wants a value"),
        ("<!-- given: nothing -->\n", "has no 'nothing'"),
        ("<!-- not run: a reason -->\n\ntext\n", "not in front of a block"),
        ("    ronn doctor\n", "an indented block"),
        ("```pyhton\n1\n```\n", "language 'pyhton'"),
        ('```text title="Output"\n1\n```\n', "without a block that printed it"),
        ("<!-- output varies: by machine -->\n```console\n$ echo one\n?\n```\n", "printed was\none"),
    ],
)  # fmt: skip
def test_a_page_that_is_wrong(tmp_path: Path, text: str, message: str) -> None:
    done = _run(_page(tmp_path, text))
    assert done.returncode == 1
    assert message in done.stderr


@pytest.mark.parametrize(
    ("expected", "printed", "numbers_vary", "same"),
    [
        ("a 1", "a 1  \n", False, True),
        ("a 1", "a 2", False, False),
        ("a 1", "a 2", True, True),
        ("a 1.5e-3 ms", "a      12,000 ms", True, True),
        ("a 1 ms", "b 1 ms", True, False),
        ("a...c", "a\nb\nc c", False, True),
        ("a...c", "a b", False, False),
    ],
)
def test_what_agrees(expected: str, printed: str, numbers_vary: bool, same: bool) -> None:
    assert blocks.agrees(expected, printed, numbers_vary) is same


def test_outputs_are_put_into_the_page(tmp_path: Path) -> None:
    page = _page(
        tmp_path,
        '```console\n$ echo one; echo two\nthree\n$ echo 1\n```\n\ntext\n\n```python\nprint(7)\n```\n\n```text title="Output"\n8\n```\n',
    )
    assert _run("--write", page).returncode == 0
    assert (
        page.read_text() == page.read_text().replace("three", "")
        and "$ echo one; echo two\none\ntwo\n$ echo 1\n" in page.read_text()
    )
    assert 'title="Output"\n7\n```' in page.read_text()
    assert _run(page).returncode == 0
