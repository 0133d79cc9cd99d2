"""The committed manifest is complete and agrees with itself."""

from __future__ import annotations

import importlib.util
import json
import re

import pytest

from benchmarks.tasks import parse_task
from benchmarks.zoo.manifest import COMPARE_RULES, MANIFEST_PATH, expand_name, load_manifest, parse_manifest

DIGEST = re.compile(r"[0-9a-f]{64}")
MANIFEST = load_manifest()
MODELS = list(MANIFEST.models.values())


def test_holds_the_whole_zoo() -> None:
    assert len(MODELS) == 54
    assert sum(model.made for model in MODELS) == 18
    assert sum(model.small for model in MODELS) >= 20


@pytest.mark.parametrize("archive", MANIFEST.archives.values(), ids=lambda archive: archive.key)
def test_archive_is_pinned(archive) -> None:
    assert archive.source in ("pypi", "npm")
    assert archive.version[0].isdigit() and archive.bytes > 0
    assert DIGEST.fullmatch(archive.sha256)
    assert "/" not in archive.file


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_model_can_be_had_and_judged(model) -> None:
    assert all(key in MANIFEST.archives for key in model.archives)
    assert model.compare in COMPARE_RULES
    assert model.precision in ("float32", "float16")
    assert (model.task is not None) == (model.compare == "task-level")
    if model.task is not None:
        assert parse_task(model.task)
    if model.made:
        assert importlib.util.find_spec(f"benchmarks.zoo.recipes.{model.recipe}") is not None
    else:
        assert model.member and model.archives and DIGEST.fullmatch(model.sha256)
    assert model.license


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_dynamic_dims_get_a_second_size(model) -> None:
    dynamic = any(not isinstance(dim, int) or dim < 0 for dims in model.declared.values() for dim in dims)
    labels = [size.label for size in model.sizes]
    assert len(set(labels)) == len(labels) >= (2 if dynamic else 1)


@pytest.mark.parametrize("model", MODELS, ids=lambda model: model.name)
def test_sizes_fit_the_declared_dims(model) -> None:
    for size in model.sizes:
        shapes = {item.name: item.shape for item in size.inputs}
        for name, dims in model.declared.items():
            for expanded in expand_name(name):
                assert len(shapes[expanded]) == len(dims)
                for given, declared in zip(shapes[expanded], dims):
                    assert not isinstance(declared, int) or declared < 0 or given == declared


def test_expand_name() -> None:
    assert expand_name("plain") == ["plain"]
    assert expand_name("past.{0..1}.{key,value}") == ["past.0.key", "past.0.value", "past.1.key", "past.1.value"]


def test_a_size_that_changes_an_unknown_input_is_refused() -> None:
    data = json.loads(MANIFEST_PATH.read_text(encoding="utf-8"))
    data["models"][0]["sizes"].append({"label": "broken", "inputs": {"no such input": {"shape": [1]}}})
    with pytest.raises(ValueError, match="no such input"):
        parse_manifest(data)


def test_a_model_named_twice_is_refused() -> None:
    data = json.loads(MANIFEST_PATH.read_text(encoding="utf-8"))
    data["models"].append(data["models"][0])
    with pytest.raises(ValueError, match="twice"):
        parse_manifest(data)


def test_select() -> None:
    assert [model.name for model in MANIFEST.select(["magika-v3"])] == ["magika-v3"]
    assert all(model.small for model in MANIFEST.select(small=True))
    with pytest.raises(KeyError, match="nothing-like-it"):
        MANIFEST.select(["nothing-like-it"])
