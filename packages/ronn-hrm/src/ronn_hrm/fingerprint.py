"""Fingerprints: what a certificate and remembered answers hold for, as a text that differs when it does."""

from __future__ import annotations

import hashlib
import json
from typing import Any

from ronn_hrm._version import __version__
from ronn_hrm.errors import RoutingError

CHANGES_NUMBERS = ("optimization", "disabled_passes", "dimensions", "precision", "deterministic")
"""Options of a session that may change what comes out. Threads are none: they move the last bits at most."""
_ALSO_FREE = ("threads",)  # options of providers that change no more than these bits


def fingerprint(session: Any) -> str:
    """32 hex digits that stand for what a model answers: its content (graph, weights, functions; not the file's name),
    the providers with their options and versions, the session's options that change numbers, and the versions of
    ronn-core and ronn-hrm.

    session: a ``ronn.Session``, or another model that runs, which says what it is by an attribute or method
    ``fingerprint`` (text). Weights are read once, at about a second for a gigabyte.

    Raises RoutingError for something that does not say what it is; ModelError where the file that a session's
    weights are still read from was written since.
    """
    from ronn.session import Session

    if isinstance(session, Session):
        seen = hashlib.blake2b(digest_size=16)
        seen.update(json.dumps({"model": model_digest(session.model), **_around(session)}, sort_keys=True).encode())
        return seen.hexdigest()
    own = getattr(session, "fingerprint", None)
    found = own() if callable(own) else own
    if not isinstance(found, str) or not found:
        raise RoutingError(
            f"{type(session).__name__} does not say what model it is, so nothing can be certified for it",
            hint="give it an attribute `fingerprint`: text that changes whenever its answers may",
        )
    return found


def model_digest(model: Any) -> str:
    """32 hex digits of what a ``ronn.Model`` computes: equal for equal content, from whatever file or bytes it came."""
    ir = model.ir
    ir.check_files()
    seen = hashlib.blake2b(digest_size=16)
    imports = sorted(ir.opset_imports.items())
    parts = [repr(imports), repr(ir.overridable), str(ir.graph), repr(ir.graph.output_names)]
    for key in sorted(ir.functions):
        function = ir.functions[key]
        parts += [repr(key), repr(sorted(function.opset_imports.items())), str(function.body)]
        parts += [repr(sorted((n, str(v)) for n, v in function.attributes.items()))]
    for part in parts:
        encoded = part.encode("utf-8", "surrogatepass")
        seen.update(len(encoded).to_bytes(8, "little") + encoded)
    return seen.hexdigest()


def _around(session: Any) -> dict[str, Any]:
    """What is around the model: providers, options, versions."""
    import ronn
    from ronn.plugins import registry

    origins = {r.name: f"{r.distribution} {r.version}" for r in registry().records}
    providers = [
        [t.name, origins.get(t.name, ""), {k: repr(v) for k, v in t.options.items() if k not in _ALSO_FREE}]
        for t in session._targets
    ]
    options = {name: getattr(session.options, name) for name in CHANGES_NUMBERS}
    options["disabled_passes"] = sorted(options["disabled_passes"])
    options["dimensions"] = dict(options["dimensions"])
    return {"providers": providers, "options": options, "ronn": ronn.__version__, "ronn-hrm": __version__}
