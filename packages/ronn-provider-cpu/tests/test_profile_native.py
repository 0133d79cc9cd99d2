"""Profiles of native kernels: times from inside the executor, and ceilings to hold them against."""

from __future__ import annotations

import pytest
from test_engine import feed, network

import ronn
from ronn_provider_cpu.compiling import unusable

pytestmark = pytest.mark.skipif(bool(unusable()), reason=unusable())


def test_a_native_profile_adds_up():
    session = ronn.Session(network(layers=3), providers=["cpu"], options={"threads": 2})
    found = session.profile(feed(0), runs=10)
    assert found.threads == 2
    assert found.native > 0.3 * found.accounted and found.functions < found.native
    products = [k for k in found.kernels if "MatMul" in k.ops]
    assert len(products) == 3 and all(k.shares > 1 for k in products)
    assert all(k.flops >= 2 * 200 * 96 * 96 and k.nbytes >= 96 * 96 * 4 for k in products)
    assert found.ceilings is not None and found.ceilings.threads == 2
    assert all(0 < found.of_peak(k) < 3 for k in products)
    # One launch: kernels follow one another without a gap that Python could fit into.
    ends = [s.start + s.seconds for s in found.spans]
    assert all(abs(s.start - end) < 5e-6 for s, end in zip(found.spans[1:], ends, strict=False))


def test_results_under_the_clock_are_the_same():
    session = ronn.Session(network(), providers=["cpu"], options={"threads": 2})
    before = session.run(feed(1))["y"]
    session.profile(feed(1), runs=2)
    assert (session.run(feed(1))["y"] == before).all()
