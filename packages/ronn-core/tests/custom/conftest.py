"""Operators registered by a test are taken out behind it."""

import pytest

import ronn
from ronn.custom import registered


@pytest.fixture(autouse=True)
def clean():
    yield
    for o in registered():
        ronn.remove_op(o.domain, o.name, o.since)
