"""A prepared model of the backend interface."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx.backend.base import BackendRep

from ronn.compat.onnxruntime.options import RunOptions
from ronn.compat.onnxruntime.session import InferenceSession

ALLOWED = frozenset({"log_severity_level", "log_verbosity_level", "logid", "only_execute_path_to_fetches"})


class OnnxRuntimeBackendRep(BackendRep):  # type: ignore[misc]
    """Runs a session on a list of inputs, or on one array for a model of one input."""

    def __init__(self, session: InferenceSession) -> None:
        self._session = session

    def run(self, inputs: Any, **kwargs: Any) -> list[Any]:
        """Outputs in order. Keywords set attributes of ``RunOptions``; those that it does not have are ignored."""
        options = RunOptions()
        set_allowed(options, ALLOWED, kwargs)
        args = self._session.get_inputs()
        if not isinstance(inputs, list):
            if len(args) != 1:
                raise RuntimeError(f"Model expect {len(args)} inputs")
            inputs = [inputs]
        feed = {a.name: np.asarray(inputs[i]) if isinstance(inputs[i], np.generic) else inputs[i] for i, a in
                enumerate(args)}  # fmt: skip
        return self._session.run(None, feed, options)


def set_allowed(options: Any, allowed: frozenset[str], given: dict[str, Any]) -> None:
    """Sets attributes; RuntimeError for one that exists and may not be set from here."""
    for name, value in given.items():
        if name in allowed:
            setattr(options, name, value)
        elif hasattr(options, name):
            raise RuntimeError(
                f"{type(options).__name__} attribute '{name}' is not permitted via the backend API. "
                f"Allowed attributes: {', '.join(sorted(allowed))}"
            )
