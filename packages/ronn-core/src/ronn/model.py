"""Model: a loaded model, and what it says about itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import IO, TYPE_CHECKING, Any

from ronn.debug import say
from ronn.frontend.onnx import load as load_onnx
from ronn.ir.graph import Graph, IRModel, Metadata
from ronn.listeners import emit
from ronn.options import SessionOptions
from ronn.values import ValueInfo

if TYPE_CHECKING:
    from ronn.session import Session
    from ronn.targets import ProviderSpec

Source = Any
"""A path, bytes, a binary file object, or an ``onnx.ModelProto``."""


class Model:
    """A loaded model: what it takes, gives and says about itself. Make sessions of it to run it."""

    def __init__(self, ir: IRModel) -> None:
        self._ir = ir

    def __reduce__(self) -> tuple[Any, ...]:
        from ronn.carry import reduce_model

        return reduce_model(self)

    @classmethod
    def load(cls, source: str | os.PathLike[str] | bytes | IO[bytes] | Any) -> Model:
        """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``.

        Raises ModelError, naming the file and what is wrong with it.
        """
        began = monotonic()
        ir = load_onnx(source)
        seconds = monotonic() - began
        emit("ModelLoaded", model=ir.source, nodes=len(ir.graph), seconds=seconds)
        say(2, lambda: f"ronn: {ir.source}: {len(ir.graph)} nodes, read in {seconds * 1e3:.1f} ms")
        return cls(ir)

    @property
    def graph(self) -> Graph:
        """The imported graph. Sessions work on copies; editing it changes sessions made later."""
        return self._ir.graph

    @property
    def ir(self) -> IRModel:
        """The whole imported model: graph, opset imports, functions, metadata."""
        return self._ir

    @property
    def inputs(self) -> list[ValueInfo]:
        """What the model takes, in order, as the file declares it."""
        return [ValueInfo.of(v) for v in self._ir.graph.inputs]

    @property
    def outputs(self) -> list[ValueInfo]:
        """What the model gives, in order, as the file declares it."""
        g = self._ir.graph
        return [ValueInfo.of(v, n) for v, n in zip(g.outputs, g.output_names, strict=True)]

    @property
    def metadata(self) -> Metadata:
        """Who made the model, its versions, and the texts that its maker put into the file."""
        return self._ir.metadata

    def create_session(
        self,
        options: SessionOptions | Mapping[str, Any] | None = None,
        *,
        providers: Sequence[ProviderSpec] | None = None,
    ) -> Session:
        """A session on this model; arguments as for ``Session``."""
        from ronn.session import Session

        return Session(self, providers=providers, options=options)

    def __repr__(self) -> str:
        return f"Model({self._ir.source!r}, {len(self._ir.graph)} nodes)"


def load(source: str | os.PathLike[str] | bytes | IO[bytes] | Any) -> Model:
    """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``. Raises ModelError."""
    return Model.load(source)
