"""The models of a server: how they are named, loaded, described and run."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

import ronn
from ronn.errors import OptionError, RonnError, nearest
from ronn.ir.types import TensorType
from ronn_serve.protocol import InferRequest, ProtocolError, datatype

VERSION = "1"


@dataclass(kw_only=True)
class Served:
    """One model of a server.

    name: in addresses. source: a file, or anything else that ``ronn.load`` takes. version: in addresses and answers.
    providers, options: of its session. batching: arguments of its ``ronn.Batcher``. warmup: inputs to run before it is
    ready. timeout: seconds that a request may take, waiting included.
    """

    name: str
    source: Any
    version: str = VERSION
    providers: Sequence[Any] | None = None
    options: Mapping[str, Any] | ronn.SessionOptions | None = None
    batching: Mapping[str, Any] = field(default_factory=dict)
    warmup: Sequence[Any] = ()
    timeout: float | None = 30.0
    session: ronn.Session | None = field(default=None, init=False)
    batcher: ronn.Batcher | None = field(default=None, init=False)
    reason: str = field(default="it is being loaded", init=False)

    def __post_init__(self) -> None:
        if not self.name or "/" in self.name:
            raise OptionError(f"{self.name!r} is no name for a model in an address")

    @property
    def ready(self) -> bool:
        return self.batcher is not None

    async def load(self) -> None:
        """Makes the model ready, without blocking the event loop. Raises what ``Session`` and ``Batcher`` raise."""
        try:
            self.session = await ronn.Session.create_async(
                self.source, self.providers, self.options, warmup=self.warmup
            )
            # Whether requests can be joined is found out once, which takes a while.
            batcher = await asyncio.to_thread(lambda: ronn.Batcher(self._open(), **self.batching))
        except RonnError as e:
            self.reason = f"it could not be loaded: {e.message}"
            raise
        self.batcher, self.reason = batcher, ""

    async def close(self) -> None:
        """Runs what waits, and gives everything back."""
        self.reason = "the server ends"
        batcher, self.batcher = self.batcher, None
        if batcher is not None:
            await batcher.aclose()
        if self.session is not None:
            self.session.close()

    def _open(self) -> ronn.Session:
        if self.session is None:
            raise ProtocolError(f"model {self.name!r} is not ready: {self.reason}", 503)
        return self.session

    async def run(self, request: InferRequest) -> dict[str, Any]:
        """The outputs by name that a request asks for; all that are tensors when it names none."""
        batcher = self.batcher
        if batcher is None:
            raise ProtocolError(f"model {self.name!r} is not ready: {self.reason}", 503)
        wanted = self.tensors() if request.outputs is None else list(request.outputs)
        limits = [t for t in (self.timeout, request.timeout) if t is not None]
        outputs = await batcher.run(request.inputs, outputs=wanted, timeout=min(limits, default=None))
        return dict(outputs.items())

    def tensors(self) -> list[str]:
        """Names of the outputs that the protocol can carry."""
        return [v.name for v in self._open().outputs if v.type is None or _datatype(v) is not None]

    def metadata(self) -> dict[str, Any]:
        """What the protocol tells of a model. Sizes that vary are -1."""
        session = self._open()
        return {
            "name": self.name,
            "versions": [self.version],
            "platform": "ronn_onnx",
            "inputs": [_described(v) for v in session.inputs],
            "outputs": [_described(v) for v in session.outputs if isinstance(v.type, TensorType)],
        }


def _datatype(value: ronn.ValueInfo) -> str | None:
    dtype = value.type.dtype if isinstance(value.type, TensorType) else None
    return None if dtype is None else datatype(np.dtype(object) if dtype.name == "STRING" else dtype.numpy)


def _described(value: ronn.ValueInfo) -> dict[str, Any]:
    known = _datatype(value)
    return {
        "name": value.name,
        "datatype": known if known is not None else str(value.dtype).upper(),
        "shape": [d if isinstance(d, int) else -1 for d in (value.shape if value.shape is not None else ())],
    }


class Models:
    """The models of a server by name."""

    def __init__(self, served: Sequence[Served]) -> None:
        self.by_name: dict[str, Served] = {}
        for model in served:
            if model.name in self.by_name:
                raise OptionError(
                    f"two models are called {model.name!r}", hint="give one another name: NAME=FILE on the command line"
                )
            self.by_name[model.name] = model

    def find(self, name: str, version: str | None) -> Served:
        """ProtocolError (404) for a name or version that is not there."""
        model = self.by_name.get(name)
        if model is None:
            near = nearest(name, list(self.by_name))
            hint = (
                f"; did you mean {near!r}?" if near else f"; there are {', '.join(map(repr, self.by_name)) or 'none'}"
            )
            raise ProtocolError(f"there is no model {name!r}{hint}", 404)
        if version not in (None, model.version):
            raise ProtocolError(f"model {name!r} has no version {version!r}, but {model.version!r}", 404)
        return model

    @property
    def ready(self) -> bool:
        return all(m.ready for m in self.by_name.values())


def from_paths(specs: Sequence[str], **shared: Any) -> list[Served]:
    """Models of ``FILE``, ``NAME=FILE`` or a folder of models, with options that all of them share.

    A folder holds ``NAME.onnx``, ``NAME/model.onnx`` or ``NAME/VERSION/model.onnx``, of which the highest version
    counts. OptionError for what is not there.
    """
    found: list[Served] = []
    for spec in specs:
        name, _, path = spec.rpartition("=")
        file = Path(path)
        if file.is_file():
            found.append(Served(name=name if name else file.stem, source=file, **shared))
            continue
        if not file.is_dir():
            raise OptionError(f"there is no file {os.fspath(file)!r}", hint="MODEL is FILE, NAME=FILE or a folder")
        inside = [Served(name=n, source=f, version=v, **shared) for n, f, v in _in_folder(file)]
        if not inside or (name and len(inside) > 1):
            raise OptionError(
                f"{os.fspath(file)!r} holds {len(inside) if inside else 'no'} models",
                hint="NAME.onnx, NAME/model.onnx or NAME/VERSION/model.onnx; NAME=FOLDER is for a folder of one",
            )
        if name:
            inside[0].name = name
        found += inside
    return found


def _in_folder(folder: Path) -> list[tuple[str, Path, str]]:
    """Name, file and version of each model in a folder."""
    found = [(f.stem, f, VERSION) for f in sorted(folder.glob("*.onnx")) if f.name != "model.onnx"]
    if (folder / "model.onnx").is_file():
        found.append((folder.name, folder / "model.onnx", VERSION))
    for inner in sorted(p for p in folder.iterdir() if p.is_dir()):
        versions = sorted((int(p.parent.name), p) for p in inner.glob("*/model.onnx") if p.parent.name.isdigit())
        if (inner / "model.onnx").is_file():
            found.append((inner.name, inner / "model.onnx", VERSION))
        elif versions:
            found.append((inner.name, versions[-1][1], str(versions[-1][0])))
    return found
