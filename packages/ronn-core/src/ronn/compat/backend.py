"""RONN as an ``onnx.backend.base.Backend``: ``prepare``, ``run_model`` and ``run_node`` as ONNX's own tests call them.

import ronn.compat.backend as backend

outputs = backend.prepare(model, "CPU").run([x])
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

import numpy as np
import onnx
from onnx.backend.base import Backend as _Backend
from onnx.backend.base import BackendRep as _BackendRep
from onnx.backend.base import Device, DeviceType

from ronn.errors import RonnError
from ronn.session import Session
from ronn.targets import ProviderSpec


class BackendRep(_BackendRep):  # type: ignore[misc]
    """A prepared model. ``run`` feeds the inputs that are not initializers, in order."""

    def __init__(self, session: Session) -> None:
        self.session = session

    def run(self, inputs: Any, **kwargs: Any) -> tuple[Any, ...]:
        """Outputs in order. ``inputs``: a sequence, a mapping by name, or one array for a one-input model."""
        return tuple(self.session.run(inputs))


class Backend(_Backend):  # type: ignore[misc]
    """The backend interface. A subclass may set ``providers``; the default is the default of ``ronn.Session``."""

    providers: ClassVar[Sequence[ProviderSpec] | None] = None

    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether a session can be made of ``model``."""
        if not cls.supports_device(device):
            return False
        try:
            Session(model, providers=cls.providers).close()
        except RonnError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> BackendRep:
        """A session on ``model`` (a ModelProto, bytes or a path). ``providers`` and ``options`` as for ``Session``."""
        if not cls.supports_device(device):
            raise RonnError(f"device {device!r} is not supported", hint="the backend interface runs on CPU")
        providers = kwargs.get("providers")
        return BackendRep(
            Session(model, providers=cls.providers if providers is None else providers, options=kwargs.get("options"))
        )

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[Any, ...]:
        """Prepares and runs ``model`` once."""
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(
        cls,
        node: onnx.NodeProto,
        inputs: Any,
        device: str = "CPU",
        outputs_info: Sequence[tuple[np.dtype, tuple[int, ...]]] | None = None,
        **kwargs: Any,
    ) -> tuple[Any, ...]:
        """Runs one node on arrays: one for each of its inputs that is not omitted.

        ``opset_version`` (keyword) is the opset of the node's domain; the newest one by default.
        """
        given = list(inputs.values()) if isinstance(inputs, dict) else list(inputs)
        names = list(dict.fromkeys(n for n in node.input if n))
        if len(given) != len(names):
            raise RonnError(f"node {node.op_type!r} takes {len(names)} inputs, got {len(given)}")
        model = _one_node_model(node, dict(zip(names, given, strict=True)), kwargs.pop("opset_version", None))
        return cls.run_model(model, given, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether ``device`` ("CPU", "CPU:0") is the host."""
        return bool(Device(device).type == DeviceType.CPU)


def _one_node_model(node: onnx.NodeProto, inputs: dict[str, Any], version: int | None) -> onnx.ModelProto:
    infos = [_value_info(name, value) for name, value in inputs.items()]
    outputs = [onnx.ValueInfoProto(name=n) for n in node.output if n]
    graph = onnx.helper.make_graph([node], node.op_type, infos, outputs)
    newest = onnx.defs.onnx_opset_version()
    imports = {"": newest, node.domain: version if version is not None else newest if node.domain == "" else 1}
    opsets = [onnx.helper.make_opsetid(domain, v) for domain, v in imports.items()]
    return onnx.helper.make_model(graph, opset_imports=opsets, ir_version=onnx.IR_VERSION)


def _value_info(name: str, value: Any) -> onnx.ValueInfoProto:
    return onnx.helper.make_value_info(name, _type_proto(value))


def _type_proto(value: Any) -> onnx.TypeProto:
    if isinstance(value, list):
        element = _type_proto(value[0]) if value else onnx.helper.make_tensor_type_proto(onnx.TensorProto.FLOAT, None)
        return onnx.helper.make_sequence_type_proto(element)
    array = np.asarray(value)
    return onnx.helper.make_tensor_type_proto(onnx.helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)


is_compatible = Backend.is_compatible
prepare = Backend.prepare
run_model = Backend.run_model
run_node = Backend.run_node
supports_device = Backend.supports_device
