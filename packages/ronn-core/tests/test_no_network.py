"""No package of RONN has network code; and the guard that holds every test to that bites."""

from __future__ import annotations

import ast
import asyncio
import socket
import urllib.request
from pathlib import Path

import pytest

PACKAGES = Path(__file__).parents[2]
NETWORK = {
    "socket", "socketserver", "ssl", "http", "urllib", "ftplib", "smtplib", "poplib", "imaplib", "nntplib", "telnetlib",
    "xmlrpc", "webbrowser", "wsgiref", "requests", "httpx", "aiohttp", "urllib3", "websockets", "websocket", "grpc",
    "zmq", "paramiko", "boto3", "google.cloud", "huggingface_hub", "sentry_sdk", "posthog", "analytics",
    "multiprocessing.managers", "multiprocessing.connection", "logging.handlers",
}  # fmt: skip
CALLS = {"open_connection", "start_server", "create_connection", "create_server", "open_unix_connection", "getaddrinfo"}
ALLOWED = {
    # a provider that breaks the rule, for the conformance kit to catch
    ("ronn-testkit/src/ronn_testkit/mutants.py", "socket"),
    ("ronn-testkit/src/ronn_testkit/mutants.py", "create_connection"),
}


def uses(path: Path) -> set[str]:
    """Network modules that a file imports (wherever in it), and network calls by their name."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [a.name for a in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            names = [str(node.module), *(f"{node.module}.{a.name}" for a in node.names)]
        elif isinstance(node, ast.Attribute) and node.attr in CALLS:
            found.add(node.attr)
        found |= {n for name in names for n in NETWORK if name == n or name.startswith(f"{n}.")}
    return found


SERVER = "ronn-serve"  # what it is for; nothing else imports it


@pytest.mark.parametrize("package", sorted({p.name for p in PACKAGES.iterdir() if (p / "src").is_dir()} - {SERVER}))
def test_no_package_has_network_code(package: str) -> None:
    files = list((PACKAGES / package / "src").rglob("*.py"))
    found = {(f.relative_to(PACKAGES).as_posix(), use) for f in files for use in uses(f)}
    assert files and found <= ALLOWED, sorted(found - ALLOWED)
    assert not any("ronn_serve" in f.read_text(encoding="utf-8") for f in files)


@pytest.mark.parametrize(
    "code",
    ["import http.client", "def f():\n from urllib import request", "import asyncio\nasyncio.open_connection('a', 1)"],
)
def test_the_scan_finds(code: str, tmp_path: Path) -> None:
    (tmp_path / "a.py").write_text(code)
    assert uses(tmp_path / "a.py")


def test_sockets_are_blocked_in_tests() -> None:
    for attempt in (
        lambda: socket.socket(),
        lambda: socket.create_connection(("127.0.0.1", 9), timeout=0.1),
        lambda: socket.getaddrinfo("localhost", 80),
        lambda: urllib.request.urlopen("http://127.0.0.1:9", timeout=0.1),
    ):
        with pytest.raises(AssertionError, match="opens no sockets"):
            attempt()


@pytest.mark.skipif(not hasattr(socket, "AF_UNIX"), reason="no local sockets here")
def test_local_sockets_may_be_pairs_only(tmp_path: Path) -> None:
    asyncio.run(asyncio.sleep(0))  # its loop wakes itself through a pair
    with socket.socket(socket.AF_UNIX) as one, pytest.raises(AssertionError, match=r"socket\.bind"):
        one.bind(str(tmp_path / "s"))


@pytest.mark.sockets("to see that the mark lets it")
def test_a_test_that_says_why_may_open_one() -> None:
    socket.socket().close()
