"""Einsum of any number of operands runs natively, and gives what NumPy's gives."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import numpy_nodes, one_node

import ronn

SIZES = {"a": 2, "b": 3, "c": 4, "d": 5, "e": 1}


def compared(
    equation: str, shapes: list[tuple[int, ...]], dtype: type = np.float32, native: bool | None = True
) -> None:
    """``native``: whether all of it runs natively; None for either."""
    rng = np.random.default_rng(0)
    feed = {f"x{i}": rng.standard_normal(s).astype(dtype) for i, s in enumerate(shapes)}
    session = ronn.Session(one_node("Einsum", feed, equation=equation, opset=18), providers=["cpu"])
    got = session.run(feed)["y0"]
    want = np.einsum(equation, *feed.values())
    assert got.shape == want.shape and got.dtype == want.dtype
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)
    assert native is None or (numpy_nodes(session) == []) == native


@settings(max_examples=60, deadline=None)
@given(data=st.data(), dtype=st.sampled_from([np.float32, np.float64]), count=st.integers(1, 3))
def test_any_equation(data: st.DataObject, dtype: type, count: int) -> None:
    letters = st.lists(st.sampled_from(sorted(SIZES)), min_size=1, max_size=4, unique=True)
    given_ = ["".join(data.draw(letters)) for _ in range(count)]
    used = sorted(set("".join(given_)))
    result = "".join(data.draw(st.lists(st.sampled_from(used), max_size=4, unique=True)))
    compared(
        f"{','.join(given_)}->{result}",
        [tuple(SIZES[i] for i in t) for t in given_],
        dtype,
        None if dtype == np.float64 else True,
    )


@pytest.mark.parametrize(
    "equation, shapes",
    [
        ("...ij,...jk->...ik", [(2, 3, 4, 5), (2, 3, 5, 6)]),
        ("ij...->...", [(2, 3, 4)]),
        ("...ij->...ji", [(2, 3, 4)]),
        ("bij, bjk", [(2, 3, 4), (2, 4, 5)]),
        ("ji", [(3, 4)]),
        ("i,j->ij", [(3,), (4,)]),
        ("i,i", [(5,), (5,)]),
        ("bthd,bshd->bhts", [(2, 5, 3, 16), (2, 7, 3, 16)]),
        ("ij,jk->i", [(9, 30), (30, 20)]),
        ("...ij,jk->...ik", [(2, 9, 30), (30, 20)]),
        ("bhwc,hkc->bhwk", [(2, 3, 4, 5), (3, 6, 5)]),
    ],
)
def test_forms(equation: str, shapes: list[tuple[int, ...]]) -> None:
    compared(equation, shapes)


def test_diagonals_stay() -> None:
    compared("ii->i", [(4, 4)], native=False)
    compared("...ij,...jk->...ik", [(2, 3, 4), (1, 4, 5)], native=False)
