"""``ronn bisect`` finds a wrong rewrite that was planted in a pass: in every pass of the core and of this provider."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import ronn
from ronn.passes.pipelines import all_passes
from ronn.plugins import registry
from ronn_provider_cpu.lower import conv
from ronn_provider_cpu.passes import CLASSICAL, LATE, QUANTISED
from ronn_testkit.planted import plant, planted_in, spoil
from ronn_testkit.planted_models import MODELS, NoHardSwish, beside_mobilenet

ALL = [*all_passes(), *(p.name for p in (*QUANTISED, *CLASSICAL, *LATE)), "widen-half"]
PROVIDERS = {"lower-fused": ["reference"], "expand-functions": ["no-hard-swish"]}


@pytest.fixture(autouse=True)
def _small_provider() -> Iterator[None]:
    registry().add(NoHardSwish())
    yield
    registry().remove(NoHardSwish.name)


def test_there_is_a_model_for_each_pass() -> None:
    targets = [r.provider for r in registry().records if r.ok and r.provider is not None]
    passes = {p.name for provider in targets for p in provider.passes(provider.devices()[0])}
    assert set(ALL) == set(MODELS) == {*all_passes(), *passes}


@pytest.mark.parametrize("name", ALL)
def test_the_pass_the_rewrite_and_the_node_are_named(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded, providers = MODELS[name](), PROVIDERS.get(name)
    planted = planted_in(name, loaded, providers)
    with plant(planted, monkeypatch):
        found = ronn.bisect(loaded, "random", providers=providers)
    assert (found.verdict, found.pass_name, found.rewrite) == ("pass", name, planted.number), str(found)
    assert set(planted.hurt) & set(found.nodes), str(found)
    assert found.before or found.after
    if found.required:
        assert any("is required" in line for line in found.advice)
    else:
        assert any("without the pass the numbers are right" in line for line in found.advice), str(found)


@pytest.mark.parametrize("name", ["fuse-conv-bn", "fold-constants", "block-layout", "fuse-qdq"])
def test_nan(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = MODELS[name]()
    planted = planted_in(name, loaded, damage=spoil)
    with plant(planted, monkeypatch):
        found = ronn.bisect(loaded, "random")
    assert (found.verdict, found.pass_name, found.rewrite) == ("pass", name, planted.number), str(found)


def test_in_a_network(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = beside_mobilenet(MODELS["fuse-gelu"]())
    planted = planted_in("fuse-bias-activation", loaded)
    with plant(planted, monkeypatch):
        found = ronn.bisect(loaded, "random")
    assert (found.pass_name, found.rewrite, found.output) == ("fuse-bias-activation", planted.number, "mobilenet")
    assert set(planted.hurt) & set(found.nodes)
    assert len([t for t in found.trials if t.limit is not None]) <= 2 + found.rewrites.bit_length() + 2


def test_a_native_kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The pass that makes the fused node is right; its kernel, which forgets the activation, is not."""
    right = conv._convolve

    def forgets(c: Any, plan: Any, x: Any, w: Any, bias: Any, y: Any, *rest: Any, **more: Any) -> None:
        right(c, plan, x, w, bias, y, "", [], *rest[2:], **more)

    monkeypatch.setattr(conv, "_convolve", forgets)
    found = ronn.bisect(MODELS["fuse-bias-activation"](), "random", providers=["cpu", "reference"])
    assert found.verdict == "kernel" and found.suspects[0].provider == "cpu", str(found)
    assert found.suspects[0].native and found.suspects[0].operators == ("ronn::FusedConv",)
    assert any("of pass fuse-bias-activation" in line and "is right" in line for line in found.advice)
    found.save_repro(tmp_path / "small.onnx")
    assert [n.op for n in ronn.load(tmp_path / "small.onnx").graph] == ["Conv", "Relu"]
