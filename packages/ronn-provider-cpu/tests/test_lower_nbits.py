"""MatMulNBits on native kernels, held against the NumPy kernel."""

from __future__ import annotations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st
from native_support import native_nodes, one_node, run_one

import ronn

MS = "com.microsoft"


def product(
    rng: np.random.Generator, rows: int, k: int, n: int, bits: int, block: int, zeros: str, bias: bool
) -> tuple[np.ndarray, np.ndarray, list[str]]:
    """The native result and the NumPy kernel's."""
    blocks, inputs = -(-k // block), {"a": rng.standard_normal((2, rows, k)).astype(np.float32)}
    constants = {
        "b": rng.integers(0, 256, (n, blocks, block * bits // 8)).astype(np.uint8),
        "scales": (rng.random(n * blocks) * 0.02).astype(np.float32),
    }
    order = ["a", "b", "scales", "", "", ""]
    if zeros == "bytes":
        constants["zeros"] = rng.integers(0, 256, n * -(-blocks * bits // 8)).astype(np.uint8)
    elif zeros == "floats":
        constants["zeros"] = (rng.random(n * blocks) * 9).astype(np.float32)
    if zeros:
        order[3] = "zeros"
    if bias:
        constants["bias"] = rng.standard_normal(n).astype(np.float32)
        order[5] = "bias"
    while not order[-1]:
        order.pop()
    model = one_node(
        "MatMulNBits", inputs, constants=constants, order=order, domain=MS, domains={MS: 1}, K=k, N=n, bits=bits,
        block_size=block,
    )  # fmt: skip
    got, session = run_one(model, inputs)
    plain = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"})
    return got[0], np.asarray(plain.run(inputs)[0]), native_nodes(session)


@settings(max_examples=20, deadline=None)
@given(
    rows=st.integers(1, 8), k=st.integers(1, 150), n=st.integers(1, 150), bits=st.sampled_from([4, 8]),
    block=st.sampled_from([16, 32, 64]), zeros=st.sampled_from(["", "bytes", "floats"]), bias=st.booleans(),
    seed=st.integers(0, 99),
)  # fmt: skip
def test_products(rows, k, n, bits, block, zeros, bias, seed):
    got, want, ops = product(np.random.default_rng(seed), rows, k, n, bits, block, zeros, bias)
    assert ops == ["MatMulNBits"] and got.shape == want.shape
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())


def test_a_row_of_its_own():
    """A wide product of one row: what a decoder does for each token."""
    got, want, _ = product(np.random.default_rng(1), 1, 576, 1536, 4, 32, "bytes", False)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-4 * np.abs(want).max())
