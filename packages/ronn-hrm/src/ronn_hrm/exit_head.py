"""Heads of early exits: a linear map from the value at the exit to the logits of the whole model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from ronn.errors import OptionError

if TYPE_CHECKING:
    import onnx

KINDS, POOLS = ("linear", "ternary"), ("auto", "mean", "flat")
_FLAT = 2048  # elements of a value that all become features
_TERNARY = 0.7  # times the mean size of a class's weights: smaller ones become 0


def fit_head(
    value: str,
    output: str,
    seen: Sequence[tuple[Any, Any]],
    kind: str,
    pool: str,
    probabilities: bool,
    ridge: float,
) -> onnx.ModelProto:
    """A model from ``value`` to ``output`` (float32 [rows, classes]) and ``hidden`` (its features, [rows, dims]).

    seen: pairs of the value and of what the whole model gave. The weights match its logits by ridge regression
    (Ba and Caruana, arXiv 1312.6184); ternary ones, of features that are brought to one spread before, are rounded by
    class as in ternary weight networks (arXiv 1605.04711). Raises OptionError.
    """
    for name, given, known in (("kind", kind, KINDS), ("pool", pool, POOLS)):
        if given not in known:
            raise OptionError(f"{name}={given!r} of a head is not known", hint=f"one of {', '.join(known)}")
    if not seen:
        raise OptionError("there is nothing to fit the head to", hint="give inputs of real requests, some hundreds")
    like = np.asarray(seen[0][0])
    if like.ndim < 2 or like.dtype.kind != "f":
        raise OptionError(
            f"{value!r} is {like.dtype}{list(like.shape)}, and a head takes floats of [rows, ...]",
            hint="cut at another value, or give a head",
        )
    flat = pool == "flat" or (pool == "auto" and like[0].size <= _FLAT) or like.ndim == 2
    features = np.concatenate([_features(np.asarray(v), flat) for v, _ in seen])
    logits = np.concatenate([_logits(np.asarray(o), output, probabilities) for _, o in seen])
    if len(features) != len(logits):
        raise OptionError(f"{value!r} has {len(features)} rows where output {output!r} has {len(logits)}")
    if len(features) < 2 * logits.shape[1]:
        raise OptionError(
            f"{len(features)} rows are too few to fit a head of {logits.shape[1]} classes",
            hint=f"give {2 * logits.shape[1]} at least, better some hundreds",
        )
    scale, weight, bias = _ridge(features, logits, ridge)
    if kind == "ternary":
        weight = _ternary(weight)
        bias = (logits - (features * scale) @ weight).mean(axis=0)
        found = {"weight": weight, "bias": bias, "scale": scale}
    else:
        found = {"weight": weight * scale[:, None], "bias": bias}
    numbers = {f"head.{name}": a.astype(np.float32) for name, a in found.items()}
    return _model(value, output, like, flat, numbers, probabilities)


def _features(value: np.ndarray, flat: bool) -> np.ndarray:
    rows: np.ndarray = value.astype(np.float64)
    if flat:
        rows = rows.reshape(len(rows), -1)
        return rows
    mean: np.ndarray = rows.reshape(*rows.shape[:2], -1).mean(axis=2)
    return mean


def _logits(found: np.ndarray, output: str, probabilities: bool) -> np.ndarray:
    if found.ndim != 2 or found.shape[1] < 2:
        raise OptionError(
            f"output {output!r} is {list(found.shape)}, and a head is fitted to [rows, classes]", hint="give a head"
        )
    logits: np.ndarray = found.astype(np.float64)
    if probabilities:
        logits = np.log(np.maximum(logits, 1e-6))
    logits -= logits.mean(axis=1, keepdims=True)
    return logits


def _ridge(features: np.ndarray, targets: np.ndarray, ridge: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Least squares on features of one spread: scale [dims] of the features, weights [dims, classes] of scaled ones,
    bias [classes]. ``ridge``: a row."""
    centre, spread = features.mean(axis=0), features.std(axis=0)
    scale = np.where(spread > 1e-8, 1.0 / np.maximum(spread, 1e-8), 0.0)  # one that never changes says nothing
    x = (features - centre) * scale
    mean = targets.mean(axis=0)
    if x.shape[1] <= len(x):
        gram = x.T @ x
        gram[np.diag_indices_from(gram)] += ridge * len(x)
        weight = np.linalg.solve(gram, x.T @ (targets - mean))
    else:  # fewer rows than features: the same by the rows
        gram = x @ x.T
        gram[np.diag_indices_from(gram)] += ridge * len(x)
        weight = x.T @ np.linalg.solve(gram, targets - mean)
    return scale, weight, mean - (centre * scale) @ weight


def _ternary(weight: np.ndarray) -> np.ndarray:
    """-s, 0 and s, with one s a class (a column) that fits what is left best."""
    size = np.abs(weight)
    kept = size > _TERNARY * size.mean(axis=0)
    scale = (size * kept).sum(axis=0) / np.maximum(kept.sum(axis=0), 1)
    return np.asarray(np.sign(weight) * kept * scale)


def _model(
    value: str,
    output: str,
    like: np.ndarray,
    flat: bool,
    numbers: dict[str, np.ndarray],
    probabilities: bool,
) -> onnx.ModelProto:
    from onnx import TensorProto, helper, numpy_helper

    from ronn.ir.types import DType
    from ronn_hrm.early_exit import HIDDEN

    taken_names = (value, output)
    own = (HIDDEN, "logits", "as_float32", "scaled")
    hidden, logits, cast, scaled = (n if n not in taken_names else f"{n}.head" for n in own)
    node = helper.make_node
    floats = value if like.dtype == np.float32 else cast
    nodes = [] if floats == value else [node("Cast", [value], [floats], to=TensorProto.FLOAT)]
    if flat:
        nodes.append(node("Flatten", [floats], [hidden]))
    else:
        nodes.append(node("ReduceMean", [floats], [hidden], axes=list(range(2, like.ndim)), keepdims=0))
    logits = logits if probabilities else output
    if "head.scale" in numbers:
        nodes.append(node("Mul", [hidden, "head.scale"], [scaled]))
    features = scaled if "head.scale" in numbers else hidden
    nodes.append(node("Gemm", [features, "head.weight", "head.bias"], [logits]))
    if probabilities:
        nodes.append(node("Softmax", [logits], [output]))
    sizes = like.shape[1:] if flat else (like.shape[1], *(f"size{i}" for i in range(2, like.ndim)))
    taken = helper.make_tensor_value_info(value, DType.of(like.dtype).code, ["rows", *sizes])
    dims, classes = numbers["head.weight"].shape
    given = [
        helper.make_tensor_value_info(output, TensorProto.FLOAT, ["rows", classes]),
        helper.make_tensor_value_info(hidden, TensorProto.FLOAT, ["rows", dims]),
    ]
    constants = [numpy_helper.from_array(a, name) for name, a in numbers.items()]
    graph = helper.make_graph(nodes, "head", [taken], given, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8, producer_name="ronn-hrm")
