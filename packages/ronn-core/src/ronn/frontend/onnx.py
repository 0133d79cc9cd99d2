"""ONNX files to the IR: ``load`` takes a path, bytes, a file object or a ``ModelProto``."""

from __future__ import annotations

import os
import warnings
import weakref
from typing import TYPE_CHECKING

from ronn.errors import ModelError, ModelWarning
from ronn.frontend.check import is_newer
from ronn.frontend.external import ExternalData
from ronn.frontend.graphs import CallKey, GraphReader
from ronn.frontend.limits import DEFAULTS, LimitError, Limits
from ronn.frontend.messages import messages
from ronn.frontend.names import text
from ronn.frontend.opset import canonical_domain, read_imports
from ronn.frontend.pins import Pins
from ronn.frontend.source import Source, read_source
from ronn.frontend.tensors import TensorReader
from ronn.frontend.weights import Weights
from ronn.ir.graph import Function, Graph, IRModel, Metadata
from ronn.mapped import MappedFile, files_of, state_of
from ronn.ops.schema import max_opset

if TYPE_CHECKING:
    import onnx


def load(source: Source, limits: Limits = DEFAULTS, pins: Pins | None = None) -> IRModel:
    """Reads an ONNX model into the IR.

    ``source`` is a path (external data beside it is memory-mapped; ``.json``, ``.textproto`` and ``.onnxtxt`` files are
    read as text), the bytes of a model, a binary file object, or an ``onnx.ModelProto``. Constants are read-only
    arrays. A model of an IR version or opset newer than the installed ``onnx`` knows loads with a ``ModelWarning`` as
    long as each node fits the newest schema of its operator. ``limits`` bound what the file may ask for. ``pins`` are
    hashes that it and its external data must have: such files are read whole, hashed, and not looked at again.

    Raises ``ModelError``, naming the file and where possible the node, for anything that is not a well-formed model.
    """
    parsed = read_source(source, limits, pins)
    name = parsed.name
    external = ExternalData(parsed.path, limits, pins, parsed.size)
    tensors = TensorReader(external, limits)
    reader = GraphReader(name, tensors, parsed.model.ir_version, parsed.weights, limits)
    try:
        model = _read(parsed.model, name, reader)
        model.limits, model.pins = limits, pins
        model.files = tuple(weakref.ref(f) for f in _mapped(parsed.weights, external))
        if parsed.path is not None:
            paths = (os.path.abspath(parsed.path), *external.paths)
            model.origin = tuple((path, state_of(path)) for path in paths)
        return model
    except LimitError as e:
        raise ModelError(f"{name}: {e}", hint=e.hint) from e
    except RecursionError as e:
        raise ModelError(f"{name}: is nested too deeply") from e
    except MemoryError as e:
        raise ModelError(f"{name}: does not fit into memory") from e
    except OSError as e:
        raise ModelError(f"{name}: cannot be read: {e}") from e
    finally:
        if parsed.weights is not None:
            parsed.weights.close()


def _mapped(weights: Weights | None, external: ExternalData) -> list[MappedFile]:
    own = None if weights is None else weights.mapped
    return [*files_of(external.maps.values()), *([] if own is None else [own])]


def _read(proto: onnx.ModelProto, name: str, reader: GraphReader) -> IRModel:
    if proto.ir_version < 1:
        raise ModelError(f"{name}: is not an ONNX model: it says IR version {proto.ir_version}")
    with reader.about("the model"):
        imports = read_imports(proto.opset_import, proto.ir_version)
    keys = [_key(f) for f in proto.functions]
    reader.functions = frozenset(keys)
    if len(reader.functions) != len(keys):
        twice = next(k for i, k in enumerate(keys) if k in keys[:i])
        raise ModelError(f"{name}: function {twice[0]}::{twice[1]} is defined more than once")
    functions: dict[CallKey, Function] = {}
    for key, function in zip(keys, proto.functions, strict=True):
        with reader.about(f"function {function.name!r}"):
            own = read_imports(function.opset_import, proto.ir_version)
        functions[key] = reader.function(function, {**imports, **own})
    graph = reader.model_graph(proto.graph, imports)
    model = IRModel(graph, imports, functions, _metadata(proto), name, tuple(reader.overridable))
    _check_calls(model, reader.bounds)
    newest = messages().IR_VERSION
    if proto.ir_version > newest:
        _warn(f"{name}: IR version {proto.ir_version} is newer than the newest that is known, {newest}")
    _warn_newer(model)
    return model


def _key(function: onnx.FunctionProto) -> CallKey:
    return canonical_domain(text(function.domain)), text(function.name), text(function.overload)


def _metadata(proto: onnx.ModelProto) -> Metadata:
    return Metadata(
        producer_name=text(proto.producer_name),
        producer_version=text(proto.producer_version),
        domain=text(proto.domain),
        description=text(proto.doc_string),
        graph_name=text(proto.graph.name),
        graph_description=text(proto.graph.doc_string),
        version=proto.model_version,
        ir_version=proto.ir_version,
        custom={text(p.key): text(p.value) for p in proto.metadata_props},
    )


def _warn_newer(model: IRModel) -> None:
    graphs = [model.graph, *(f.body for f in model.functions.values())]
    newer = {n.domain: n.version for g in graphs for n in g.all_nodes() if is_newer(n)}
    for domain, version in newer.items():
        _warn(
            f"{model.source}: opset {version} of {domain or 'ai.onnx'} is newer than the newest that is known, "
            f"{max_opset(domain)}: its operators are taken to mean what they did there"
        )


def _warn(message: str) -> None:
    warnings.warn(message, ModelWarning, stacklevel=4)


def _check_calls(model: IRModel, bounds: Limits) -> None:
    """No function may reach itself, and the model with every call expanded must stay within bounds."""
    known: dict[CallKey, tuple[int, int]] = {}
    open_calls: list[CallKey] = []

    def measure(graph: Graph) -> tuple[int, int]:
        """How many nodes it is with every call expanded, and how deep calls go in it."""
        total = depth = 0
        for node in graph.all_nodes():
            key = (node.domain, node.op, node.overload)
            size, below = expanded(key) if key in model.functions else (1, 0)
            total, depth = total + size, max(depth, below)
        return total, depth

    def expanded(key: CallKey) -> tuple[int, int]:
        if key in known:
            return known[key]
        if key in open_calls:
            circle = " -> ".join(f"{k[0]}::{k[1]}" for k in [*open_calls[open_calls.index(key) :], key])
            raise ModelError(f"{model.source}: functions call one another in a circle: {circle}")
        bounds.check_depth(len(open_calls) + 1, "functions call one another")
        open_calls.append(key)
        size, below = measure(model.functions[key].body)
        known[key] = size, below + 1
        open_calls.pop()
        return known[key]

    for key in model.functions:
        bounds.check_depth(expanded(key)[1], "functions call one another")
    bounds.check_nodes(measure(model.graph)[0], " once its functions are expanded")
