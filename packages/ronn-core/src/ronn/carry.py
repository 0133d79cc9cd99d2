"""What pickles of models and sessions carry: a reference to the model's files, or the model itself.

Plans, arenas and kernels stay behind: whoever unpickles makes them anew.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from ronn.errors import ModelError, RonnError
from ronn.frontend.limits import DEFAULTS, Limits
from ronn.frontend.onnx import load
from ronn.frontend.pins import Pins
from ronn.frontend.proto import model_to_proto
from ronn.ir.graph import IRModel
from ronn.mapped import FileState, state_of
from ronn.ops import custom
from ronn.records import dataclass

if TYPE_CHECKING:
    from ronn.model import Model
    from ronn.options import SessionOptions
    from ronn.session import Session


@dataclass(frozen=True, slots=True)
class File:
    """A file, in the state that it was read in, and the sha256 of its bytes once somebody has asked."""

    path: str
    state: FileState
    sha256: str = ""

    def hashed(self) -> File:
        """With its sha256. ModelError when the file is not the one that was read any more."""
        try:
            same = state_of(self.path) == self.state
        except OSError:
            same = False
        if not same:
            raise ModelError(
                f"{self.path}: was replaced, written or removed after it was loaded, so a pickle cannot refer to it",
                hint="load the model anew and pickle that, or load it from bytes: pickles of such models carry them",
            )
        return File(self.path, self.state, _sha256(self.path, self.state))

    def check(self) -> None:
        """Raises ModelError when the file is there but holds other bytes. An absent one is for the loader to name."""
        try:
            found = state_of(self.path)
        except OSError:
            return
        if found != self.state and (found[2] != self.state[2] or _sha256(self.path, found) != self.sha256):
            raise ModelError(
                f"{self.path}: is not the file that was pickled: {self.state[2]} bytes of sha256 {self.sha256[:12]}... "
                f"then, {found[2]} bytes of another one now",
                hint="put the file back, or make the session from the new one and pickle that",
            )


@dataclass(frozen=True, slots=True)
class Reference:
    """The files that a model was read from: its own first, then its external data."""

    files: tuple[File, ...]

    def path(self) -> str:
        """The model's path. ModelError when one of the files holds other bytes than it did."""
        for file in self.files:
            file.check()
        return self.files[0].path


_hashes: dict[tuple[str, FileState], str] = {}


def _sha256(path: str, state: FileState) -> str:
    found = _hashes.get((path, state))
    if found is None:
        try:
            with open(path, "rb") as file:
                found = hashlib.file_digest(file, "sha256").hexdigest()
        except OSError as e:
            raise ModelError(f"{path}: cannot be read: {e.strerror}") from e
        if len(_hashes) >= 256:
            _hashes.clear()
        _hashes[path, state] = found
    return found


def carried(model: Model) -> Reference | bytes:
    """What a pickle has of a model: the files that it was read from, else its bytes, as ONNX.

    Raises ModelError when the files have been changed since, or when the model is larger than ONNX bytes may be.
    """
    if model.ir.origin:
        return Reference(tuple(File(path, state).hashed() for path, state in model.ir.origin))
    return bytes(model_to_proto(model.ir).SerializeToString())


def reduce_model(model: Model) -> tuple[Any, ...]:
    """What ``Model.__reduce__`` returns. A graph that was edited goes as it is, not as in its file."""
    source = carried(model)
    if isinstance(source, Reference) and not same(load(source.path()), model.ir):
        source = bytes(model_to_proto(model.ir).SerializeToString())
    return _model, (type(model), source, model.ir.limits, model.ir.pins)


def reduce_session(session: Session) -> tuple[Any, ...]:
    """What ``Session.__reduce__`` returns: the model, providers with their options, options.

    Raises RonnError for a closed session, and what ``carried`` raises.
    """
    if session._closed:
        raise RonnError("the session is closed: there is no model left to pickle")
    source = carried(session.model) if session._owns_model else session.model
    own = custom.homes(session.model.graph)
    return _session, (type(session), source, _listed(session), session.options, session.model.ir.pins, own)


def _listed(session: Session) -> Sequence[Any]:
    """The providers as they were listed; where they were not, those that were chosen."""
    given = session._providers
    if given is None:
        return session.providers
    listed = [given] if isinstance(given, str) else given
    return [spec if isinstance(spec, str) else (spec[0], dict(spec[1])) for spec in listed]


def _model(cls: type[Model], source: Reference | bytes, limits: Limits | None, pins: Pins | None) -> Model:
    bounds = DEFAULTS if limits is None else limits
    if isinstance(source, Reference):
        return cls(load(source.path(), bounds, pins))
    made = load(source)  # what was within its bounds as a file
    made.limits = limits
    return cls(made)


def _session(
    cls: type[Session],
    source: Any,
    providers: Sequence[Any],
    options: SessionOptions,
    pins: Pins | None,
    own: Sequence[custom.Home] = (),
) -> Session:
    custom.bring_in(own)
    if isinstance(source, Reference):
        sha256 = None if pins is None else pins.sha256
        return cls(source.path(), providers=providers, options=options, sha256=sha256)
    if isinstance(source, bytes):
        options = options.replace(max_model_bytes=None)  # the bytes were written anew, and may be more
    return cls(source, providers=providers, options=options)


def same(a: IRModel, b: IRModel) -> bool:
    """Whether two models are equal: graphs (constants by their content), functions, imports and metadata."""
    plain = ("opset_imports", "overridable", "metadata")
    if any(getattr(a, n) != getattr(b, n) for n in plain) or a.functions.keys() != b.functions.keys():
        return False
    pairs = [(a.graph, b.graph), *((a.functions[k].body, b.functions[k].body) for k in a.functions)]
    return all(str(x) == str(y) for x, y in pairs)
