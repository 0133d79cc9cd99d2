"""The backend interface on sessions."""

from __future__ import annotations

import unittest
from typing import Any

from onnx import ModelProto, helper
from onnx.backend.base import Backend
from onnx.checker import check_model

from ronn.compat.onnxruntime.backend.backend_rep import OnnxRuntimeBackendRep, set_allowed
from ronn.compat.onnxruntime.options import SessionOptions
from ronn.compat.onnxruntime.providers import get_available_providers, get_device
from ronn.compat.onnxruntime.session import InferenceSession

ALLOWED = frozenset({
    "enable_cpu_mem_arena", "enable_mem_pattern", "enable_mem_reuse", "execution_mode", "execution_order",
    "graph_optimization_level", "inter_op_num_threads", "intra_op_num_threads", "log_severity_level",
    "log_verbosity_level", "logid", "use_deterministic_compute", "use_per_session_threads",
})  # fmt: skip


class OnnxRuntimeBackend(Backend):  # type: ignore[misc]
    """``onnx.backend.base.Backend`` as onnxruntime has it: the one device is "CPU"."""

    allowReleasedOpsetsOnly = True
    """Whether models of opsets that are not released are refused; a program may set it."""

    @classmethod
    def is_compatible(cls, model: Any, device: str | None = None, **kwargs: Any) -> bool:
        return cls.supports_device(get_device() if device is None else device)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        return device.partition(":")[0] == get_device()

    @classmethod
    def is_opset_supported(cls, model: ModelProto) -> tuple[bool, str]:
        """Whether all opsets of the model were released, and the reason why not."""
        for opset in model.opset_import if cls.allowReleasedOpsetsOnly else ():
            domain = opset.domain if opset.domain else "ai.onnx"
            if (domain, opset.version) not in helper.OP_SET_ID_VERSION_MAP:
                return False, (
                    "Skipping this test as only released onnx opsets are supported."
                    "To run this test set env variable ALLOW_RELEASED_ONNX_OPSET_ONLY to 0."
                    f" Got Domain '{domain}' version '{opset.version}'."
                )
        return True, ""

    @classmethod
    def prepare(cls, model: Any, device: str | None = None, **kwargs: Any) -> OnnxRuntimeBackendRep:
        """A session on a path, bytes, a ModelProto or a session, as something with ``run``."""
        if isinstance(model, OnnxRuntimeBackendRep):
            return model
        if isinstance(model, InferenceSession):
            return OnnxRuntimeBackendRep(model)
        if isinstance(model, (str, bytes)):
            options = SessionOptions()
            released = "1" if cls.allowReleasedOpsetsOnly else "0"
            options.add_session_config_entry("session.allow_released_opsets_only", released)
            set_allowed(options, ALLOWED, kwargs)
            session = InferenceSession(model, sess_options=options, providers=get_available_providers())
            if device is not None and not cls.supports_device(device):
                raise RuntimeError(f"Incompatible device expected '{device}', got '{get_device()}'")
            return cls.prepare(session, device, **kwargs)
        check_model(model)
        supported, reason = cls.is_opset_supported(model)
        if not supported:
            raise unittest.SkipTest(reason)
        return cls.prepare(model.SerializeToString(), device, **kwargs)

    @classmethod
    def run_model(cls, model: Any, inputs: Any, device: str | None = None, **kwargs: Any) -> list[Any]:
        """Prepares and runs a model once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: Any, inputs: Any, device: Any = None, outputs_info: Any = None, **kwargs: Any) -> Any:
        """onnxruntime does not run single nodes either."""
        raise NotImplementedError("It is much more efficient to run a whole model than every node independently.")


is_compatible = OnnxRuntimeBackend.is_compatible
prepare = OnnxRuntimeBackend.prepare
run = OnnxRuntimeBackend.run_model
supports_device = OnnxRuntimeBackend.supports_device
