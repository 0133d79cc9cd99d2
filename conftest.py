"""What holds for every test of the repository: RONN opens no socket, so no test does unless it says why."""

from __future__ import annotations

import socket
import sys
from collections.abc import Iterator
from typing import Any

import pytest

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
