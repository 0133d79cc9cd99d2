"""What holds for every test of the repository: RONN opens no socket, so no test does unless it says why; and where CI
is set, property tests draw the same examples each time."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import settings

settings.register_profile("ci", derandomize=True, deadline=None, print_blob=True)
if os.environ.get("CI"):
    settings.load_profile("ci")

_LOCAL_PAIRS = getattr(socket, "AF_UNIX", None)
_watching = False


class SocketOpened(AssertionError):
    """Something opened a socket, asked for an address, or connected."""


def _audit(event: str, args: tuple[Any, ...]) -> None:
    if not _watching or not event.startswith(("socket.", "urllib.", "http.client.", "ftplib.", "smtplib.")):
        return
    if event == "socket.__new__" and args[1] == _LOCAL_PAIRS:
        return  # a pair of pipes, as event loops have to wake themselves; to bind or connect one is another event
    raise SocketOpened(f"{event}{args[1:]!r}: RONN opens no sockets; a test that must says @pytest.mark.sockets(why)")


sys.addaudithook(_audit)


@pytest.fixture(autouse=True)
def _no_sockets(request: pytest.FixtureRequest) -> Iterator[None]:
    global _watching
    marker = request.node.get_closest_marker("sockets")
    assert marker is None or marker.args, "@pytest.mark.sockets says why"
    _watching = marker is None
    yield
    _watching = False
