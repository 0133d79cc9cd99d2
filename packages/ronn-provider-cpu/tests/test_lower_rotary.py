"""RotaryEmbedding natively against the NumPy kernels."""

from __future__ import annotations

import numpy as np
import pytest
from native_support import native_nodes, one_node, run_one

import ronn
from ronn.errors import ExecutionError

MS = "com.microsoft"


def compare(feeds: dict[str, np.ndarray], order: list[str], **options: object) -> None:
    model = one_node("RotaryEmbedding", feeds, order=order, **options)
    got, session = run_one(model, feeds)
    assert native_nodes(session) == ["RotaryEmbedding"]
    want = ronn.Session(model, providers=[("cpu", {"kernels": "numpy"})], options={"optimization": "none"}).run(feeds)
    np.testing.assert_allclose(got[0], want[0], rtol=1e-6, atol=1e-6)


def draw(*shape: int) -> np.ndarray:
    return np.random.default_rng(len(shape)).normal(size=shape).astype(np.float32)


@pytest.mark.parametrize("level", ["native", "avx2", "baseline"])
@pytest.mark.parametrize("interleaved", [0, 1])
@pytest.mark.parametrize("positions", [False, True])
@pytest.mark.parametrize("packed", [False, True])
@pytest.mark.parametrize("size, width", [(8, 0), (70, 40), (6, 2)])
def test_ai_onnx(
    size: int, width: int, packed: bool, positions: bool, interleaved: int, level: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RONN_CPU_LEVEL", level)
    b, heads, steps = 2, 3, 4
    half = (width if width else size) // 2
    feeds = {"x": draw(b, steps, heads * size) if packed else draw(b, heads, steps, size)}
    feeds |= {name: draw(9, half) if positions else draw(b, steps, half) for name in ("cos", "sin")}
    if positions:
        feeds["p"] = np.random.default_rng(1).integers(0, 9, (b, steps))
    compare(
        feeds, list(feeds), opset=23, interleaved=interleaved, rotary_embedding_dim=width, num_heads=heads
    )  # fmt: skip


@pytest.mark.parametrize("offset", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_com_microsoft(packed: bool, offset: bool) -> None:
    b, heads, steps, size = 2, 3, 4, 10
    feeds = {"x": draw(b, steps, heads * size) if packed else draw(b, heads, steps, size)}
    feeds["p"] = np.array([3]) if offset else np.random.default_rng(1).integers(0, 9, (b, steps))
    feeds |= {name: draw(9, size // 2) for name in ("cos", "sin")}
    compare(feeds, list(feeds), domain=MS, domains={MS: 1})


def test_a_position_beyond_the_angles_is_an_error() -> None:
    feeds = {"x": draw(1, 2, 3, 4), "cos": draw(5, 2), "sin": draw(5, 2), "p": np.array([[0, 5, 1]])}
    model = one_node("RotaryEmbedding", feeds, opset=23)
    with pytest.raises(ExecutionError, match="a position has no row of angles"):
        run_one(model, feeds)
