"""The committed list of models: read, typed and checked."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any

MANIFEST_PATH = Path(__file__).with_name("manifest.json")
COMPARE_RULES = ("allclose", "task-level")


@dataclass(frozen=True)
class Archive:
    """One package file: fetched by name and version, accepted by sha256."""

    key: str
    source: str
    package: str
    version: str
    file: str
    sha256: str
    bytes: int
    pip_arguments: tuple[str, ...] = ()


@dataclass(frozen=True)
class InputSpec:
    name: str
    dtype: str
    shape: tuple[int, ...]
    fill: str


@dataclass(frozen=True)
class Size:
    """One set of inputs; `inputs` is complete and in the order in which the generator is drawn from."""

    label: str
    inputs: tuple[InputSpec, ...]


@dataclass(frozen=True)
class ZooModel:
    name: str
    kind: str
    group: str
    license: str
    archives: tuple[str, ...]
    member: str | None
    assemble: str | None
    installed_package: str | None
    sha256: str | None
    recipe: str | None
    compare: str
    task: str | None
    precision: str
    small: bool
    sizes: tuple[Size, ...]
    declared: dict[str, list[Any]] = field(default_factory=dict)
    note: str | None = None

    @property
    def made(self) -> bool:
        """True when a recipe builds the model instead of a package carrying it."""
        return self.recipe is not None


@dataclass(frozen=True)
class Manifest:
    archives: dict[str, Archive]
    models: dict[str, ZooModel]

    def select(self, names: list[str] | None = None, small: bool = False) -> list[ZooModel]:
        """Models in manifest order; raises KeyError naming each unknown name."""
        if names:
            unknown = sorted(set(names) - set(self.models))
            if unknown:
                raise KeyError(f"not in the zoo: {', '.join(unknown)}; `--list` shows what is")
        chosen = [model for model in self.models.values() if not names or model.name in names]
        return [model for model in chosen if model.small or not small]


def _sizes(entry: dict[str, Any]) -> tuple[Size, ...]:
    base = {item["name"]: item for item in entry["inputs"]}
    sizes = []
    for size in entry["sizes"]:
        changes = size.get("inputs", {})
        unknown = set(changes) - set(base)
        if unknown:
            raise ValueError(f"{entry['name']}: size {size['label']} changes unknown inputs {sorted(unknown)}")
        merged = [{**item, **changes.get(name, {})} for name, item in base.items()]
        sizes.append(
            Size(
                label=size["label"],
                inputs=tuple(
                    InputSpec(expanded, item["dtype"], tuple(item["shape"]), item["fill"])
                    for item in merged
                    for expanded in expand_name(item["name"])
                ),
            )
        )
    return tuple(sizes)


def expand_name(name: str) -> list[str]:
    """`past.{0..2}.{key,value}` -> the six names, the first braces varying slowest."""
    start = name.find("{")
    if start < 0:
        return [name]
    end = name.index("}", start)
    body = name[start + 1 : end]
    if ".." in body:
        low, high = body.split("..")
        choices = [str(number) for number in range(int(low), int(high) + 1)]
    else:
        choices = body.split(",")
    return [name[:start] + choice + tail for choice in choices for tail in expand_name(name[end + 1 :])]


def parse_manifest(data: dict[str, Any]) -> Manifest:
    archives = {
        key: Archive(
            key=key,
            source=item["source"],
            package=item["package"],
            version=item["version"],
            file=item["file"],
            sha256=item["sha256"],
            bytes=item["bytes"],
            pip_arguments=tuple(item.get("pip_arguments", ())),
        )
        for key, item in data["archives"].items()
    }
    models = {
        entry["name"]: ZooModel(
            name=entry["name"],
            kind=entry["kind"],
            group=entry["group"],
            license=entry["license"],
            archives=tuple(entry["archives"]),
            member=entry.get("member"),
            assemble=entry.get("assemble"),
            installed_package=entry.get("installed_package"),
            sha256=entry.get("sha256"),
            recipe=entry.get("recipe"),
            compare=entry["compare"],
            task=entry.get("task"),
            precision=entry.get("precision", "float32"),
            small=entry["small_enough_for_ci"],
            sizes=_sizes(entry),
            declared=entry.get("declared_inputs", {}),
            note=entry.get("note"),
        )
        for entry in data["models"]
    }
    if len(models) != len(data["models"]):
        raise ValueError("the manifest names a model twice")
    return Manifest(archives, models)


@lru_cache(maxsize=1)
def load_manifest() -> Manifest:
    return parse_manifest(json.loads(MANIFEST_PATH.read_text(encoding="utf-8")))
