"""Model: a loaded model, and what it says about itself."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from time import monotonic
from typing import IO, TYPE_CHECKING, Any, overload

from ronn.debug import say
from ronn.errors import ModelError, OptionError
from ronn.frontend.limits import LimitError
from ronn.frontend.onnx import load as load_onnx
from ronn.frontend.pins import Pins, Sha256
from ronn.ir.graph import Graph, IRModel, Metadata
from ronn.listeners import emit
from ronn.options import OptionValues, RouterSpec, SessionOptions
from ronn.values import ValueInfo

if TYPE_CHECKING:
    from ronn.session import Session
    from ronn.targets import ProviderSpec

Source = Any
"""A path, bytes, a binary file object, or an ``onnx.ModelProto``."""

Options = SessionOptions | OptionValues | Mapping[str, Any] | str | os.PathLike[str]
"""Options as people give them; text is the path of a TOML file."""


class Model:
    """A loaded model: what it takes, gives and says about itself. Make sessions of it to run it."""

    def __init__(self, ir: IRModel) -> None:
        self._ir = ir

    def __reduce__(self) -> tuple[Any, ...]:
        from ronn.carry import reduce_model

        return reduce_model(self)

    @classmethod
    def load(
        cls,
        source: str | os.PathLike[str] | bytes | IO[bytes] | Any,
        options: Options | None = None,
        *,
        sha256: Sha256 | None = None,
    ) -> Model:
        """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``.

        options: of these count those that say what a file may ask for: ``max_model_bytes``, ``max_tensor_bytes``,
            ``max_nodes``, ``max_depth``.
        sha256: the hash that the model must have, in hex; or one for each file by its name in the model's folder, which
            a model with external data needs. What was hashed is what is used: files are read whole, not mapped.

        Raises ModelError, naming the file and what is wrong with it.
        """
        began = monotonic()
        ir = load_onnx(source, SessionOptions.of(options).limits, Pins.of(sha256))
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

    @overload
    def create_session(
        self,
        options: Options | None = None,
        *,
        providers: str | Sequence[ProviderSpec] | None = None,
        router: None = None,
    ) -> Session: ...

    @overload
    def create_session(
        self,
        options: Options | None = None,
        *,
        providers: str | Sequence[ProviderSpec] | None = None,
        router: RouterSpec,
    ) -> Any: ...

    def create_session(
        self,
        options: Options | None = None,
        *,
        providers: str | Sequence[ProviderSpec] | None = None,
        router: RouterSpec | None = None,
    ) -> Any:
        """A session on this model; arguments as for ``Session``.

        router: what answers requests in the session's place, as the option of that name, before which it goes: a name,
            or (name, configuration). Where there is one, here or in the options, what comes back is what it makes,
            which has ``run``, ``inputs``, ``outputs`` and ``close`` of a session.

        Raises OptionError for a router that there is not, RonnError naming the plugin of one that cannot be made.
        """
        from ronn.session import Session

        chosen = SessionOptions.of(options)
        if router is not None:
            chosen = chosen.replace(router=router)
        if chosen.router is None:
            return Session(self, providers=providers, options=chosen)
        from ronn.routers import create

        return create(self, chosen if providers is None else chosen.replace(providers=providers))

    def __repr__(self) -> str:
        return f"Model({self._ir.source!r}, {len(self._ir.graph)} nodes)"


def load(
    source: str | os.PathLike[str] | bytes | IO[bytes] | Any,
    options: Options | None = None,
    *,
    sha256: Sha256 | None = None,
) -> Model:
    """Reads a model from a path, bytes, a binary file object or an ``onnx.ModelProto``; arguments as for
    ``Model.load``. Raises ModelError.
    """
    return Model.load(source, options, sha256=sha256)


def open_model(source: Source, options: SessionOptions, sha256: Sha256 | None) -> Model:
    """The model that a session is made of: loaded, or the one that is given, if it was loaded within these options."""
    if not isinstance(source, Model):
        return Model.load(source, options, sha256=sha256)
    if sha256 is not None:
        raise OptionError("sha256 is of a file, and this model is loaded", hint="give it to ronn.load")
    within, wanted = source.ir.limits, options.limits
    for name in ("max_model_bytes", "max_nodes", "max_depth"):
        bound, was = getattr(wanted, name), getattr(within, name, None)
        if within is not None and bound is not None and (was is None or bound < was):
            raise OptionError(
                f"{name}={bound} bounds loading, and the model was loaded within {was}",
                hint="give the options to ronn.load(path, options=...)",
            )
    for value in source.graph.values() if wanted.max_tensor_bytes is not None else ():
        if value.data is not None:
            try:
                wanted.check_tensor(value.data.nbytes)
            except LimitError as e:
                raise ModelError(f"{source.ir.source}: constant {value.name!r} {e}", hint=e.hint) from e
    return source
