"""The target that runs the functions: it stands behind the providers of every session once something is registered."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from ronn.errors import ExecutionError, nearest
from ronn.ir.types import DType, TensorType, Type
from ronn.ops.custom import find, find_for, registered
from ronn.partition import Target
from ronn.provider.contract import Call, CompiledPart, Device, No, Part, Provider, Support, Yes

if TYPE_CHECKING:
    from ronn.custom.registry import CustomOp
    from ronn.ir.graph import Node

NAME = "python"


class PythonOps(Provider):
    """Runs operators that are registered with ``ronn.op``, where no provider of the session takes them."""

    name: ClassVar[str] = NAME
    folds: ClassVar[bool] = True

    def devices(self) -> Sequence[Device]:
        return (Device(NAME, "functions registered with ronn.op"),)

    def supports(self, node: Node, device: Device) -> Support:
        found = find_for(node)
        if found is None:
            return No(_absent(node))
        if found.body is not None:
            return No(f"{found.op_id} has a body, which is put in its place")
        wrong = found.refusal(node)
        return No(wrong) if wrong else Yes(score=0.05, note=found.note)

    def compile(self, part: Part, device: Device, options: Mapping[str, Any]) -> CompiledPart:
        return CompiledPart([python_call(node) for node in part.nodes])


def _absent(node: Node) -> str:
    newest = find(node.domain, node.op)
    if newest is not None:
        least = min(o.since for o in registered() if (o.domain, o.name) == (node.domain, node.op))
        return f"registered for versions from {least} on; the model imports {node.version}"
    if node.domain in ("", "ronn") or node.domain.startswith("ai.onnx"):
        return ""
    known = [o.op_id for o in registered()]
    near = nearest(node.op_id, known)
    return f"nothing is registered with ronn.op for {node.op_id}" + (f" (there is {near})" if near else "")


_provider = PythonOps()


def target() -> Target:
    """What sessions put behind their providers."""
    return Target(_provider, _provider.devices()[0], {}, implied=True)


def python_call(node: Node) -> Call:
    """The call of the function that is registered for ``node``."""
    found = find_for(node)
    assert found is not None
    return Call(bound_function(found, node), node.inputs, node.outputs, (node,))


def bound_function(op: CustomOp, node: Node) -> Callable[..., Any]:
    """A function of the node's inputs that gives its outputs in RONN's conventions: of the inferred types, contiguous,
    nobody else's. ModelError for a node that the function cannot be called for."""
    op.signature.check(node)
    attributes = op.signature.bind(node)
    fn, count, single = op.fn, len(op.signature.outputs), len(op.signature.outputs) == 1 and not op.signature.variadic
    wanted = [(v.type, n) for v, n in zip(node.outputs, _names(op, len(node.outputs)), strict=True)]
    say = f"the function {fn.__qualname__}"

    def run(*inputs: Any) -> Any:
        result = fn(*[_read_only(a) for a in inputs], **attributes)
        if single:
            return _finished(result, *wanted[0], say)
        if not isinstance(result, (tuple, list)):
            raise ExecutionError(f"{say} returned {type(result).__name__}, not a tuple of {count} outputs")
        if len(result) < len(wanted) or (len(result) != count and not op.signature.variadic):
            raise ExecutionError(f"{say} returned {len(result)} outputs instead of {max(count, len(wanted))}")
        made = tuple([_finished(r, t, n, say) for r, (t, n) in zip(result, wanted, strict=False)])
        return made[0] if len(made) == 1 else made

    return run


def _names(op: CustomOp, count: int) -> list[str]:
    names = list(op.signature.outputs)
    return [*names, *(f"{names[-1]}[{i}]" for i in range(len(names), count))][:count]


def _read_only(given: Any) -> Any:
    """Inputs may be memory of the session, or of other nodes."""
    if not isinstance(given, np.ndarray):
        return given
    view = given.view()
    view.flags.writeable = False
    return view


def _finished(result: Any, type: Type | None, name: str, say: str) -> Any:
    if result is None:
        raise ExecutionError(f"{say} returned None for output {name!r}", hint="does it end with a return?")
    if type is not None and not isinstance(type, TensorType):
        return result  # sequences, optionals and maps are what the function makes of them
    dtype, shape = (None, None) if type is None else (type.dtype, type.shape)
    array = _as_array(result, dtype, name, say)
    if shape is not None and (
        len(shape) != array.ndim or any(isinstance(d, int) and d != n for d, n in zip(shape, array.shape, strict=True))
    ):
        raise ExecutionError(
            f"{say} returned shape {list(array.shape)} for output {name!r}; its shape rule says {type}",
            hint="mend the rule (shape=), or what the function returns",
        )
    if not array.flags.c_contiguous or not array.flags.writeable or not _fresh(array):
        array = array.copy(order="C")
    return array


def _as_array(result: Any, dtype: DType | None, name: str, say: str) -> np.ndarray:
    array = result if isinstance(result, np.ndarray) else np.asarray(result)
    if array.dtype.kind in "USOT":
        array = array.astype(object)
    if dtype is None or array.dtype == dtype.numpy:
        return array
    known = array.dtype == object or dtype is DType.STRING
    plain = not isinstance(result, (np.ndarray, np.generic))  # Python numbers have no width of their own
    if known or not np.can_cast(array.dtype, dtype.numpy, "unsafe" if plain else "same_kind"):
        raise ExecutionError(
            f"{say} returned {array.dtype} for output {name!r}, which is {dtype.numpy_name}",
            hint=f"return x.astype({dtype.numpy_name!r}), or say another type in shape=",
        )
    return array.astype(dtype.numpy)


def _fresh(array: np.ndarray) -> bool:
    """Whether nobody else can hold the array's memory: plans write over what nodes made."""
    if array.base is None:
        return sys.getrefcount(array) <= _REFERENCES
    return isinstance(array.base, np.ndarray) and array.base.base is None and sys.getrefcount(array.base) <= 2


def _count_references() -> int:
    """References to an array that only ``run`` above knows, as ``_fresh`` sees it."""
    seen: list[int] = []

    def look(array: np.ndarray) -> None:
        seen.append(sys.getrefcount(array))

    def finish(result: Any) -> None:
        array = result
        look(array)

    def run() -> None:
        result = np.empty(1)
        finish(result)

    run()
    return seen[0]


_REFERENCES = _count_references()
