"""What operators ask of the shapes of their inputs, where their shape rules do not: a misfit is told, with names,
before anything is compiled, and no kernel meets shapes that contradict one another.

Inputs are separated by ``|``. ``*`` is any shape, ``=`` that of input 0, ``2+`` a rank of 2 or more, ``1-`` of 1 or
less (numbers that may be given as a list of one, and lists as a number). Otherwise dims: a name that must mean the same
size everywhere, a multiple of one (``4H``), a number, ``.`` for any size, ``...`` for any further dims.
"""

from __future__ import annotations

import math
import re
from functools import cache

from ronn.errors import ModelError
from ronn.ir.dims import Shape
from ronn.ir.graph import Node
from ronn.ir.types import TensorType
from ronn.ops.schema import OpSchema

_FITS = {
    "AffineGrid": "N . . | .",
    "ArrayFeatureExtractor": "1+",
    "BatchNormalization": "* | C | C | C | C",
    "BlackmanWindow": "1-",
    "CenterCropPad": "* | .",
    "Col2Im": "3+ | D | D",
    "Compress": "* | .",
    "ConstantOfShape": "1-",
    "Conv": "N . ... | M ... | M",
    "CumProd": "1+ | 1-",
    "CumSum": "1+ | 1-",
    "DFT": "2+ | 1- | 1-",
    "DeformConv": "N . . . | M . . . | N . OH OW | M | N . OH OW",
    "DepthToSpace": "4+",
    "Det": "2+",
    "Expand": "* | 1-",
    "GatherElements": "1+ | 1+",
    "GatherND": "1+ | 1+",
    "GlobalAveragePool": "2+",
    "GlobalMaxPool": "2+",
    "GridSample": "N . ... | N ...",
    "GroupNormalization": "2+ | . | .",
    "HammingWindow": "1-",
    "HannWindow": "1-",
    "InstanceNormalization": "N C ... | C | C",
    "LinearAttention": "3+ | 3+ | 3+",
    "LinearClassifier": "1+",
    "LinearRegressor": "1+",
    "MaxRoiPool": "N . H W | R 5",
    "MaxUnpool": "N . ... | = | .",
    "MelWeightMatrix": "1- | 1- | 1- | 1- | 1-",
    "NonMaxSuppression": "B S 4 | B . S | 1- | 1- | 1-",
    "OneHot": "* | 1- | 2",
    "Pad": "* | * | 1- | 1-",
    "QLinearConv": "N . ... | 1- | 1- | M ... | 1- | 1- | 1- | 1- | M",
    "Range": "1- | 1- | 1-",
    "Reshape": "* | 1-",
    "Resize": "* | . | . | .",
    "ReverseSequence": "2+ | .",
    "RoiAlign": "N . H W | R 4 | R",
    "RotaryEmbedding": "3+ | R D ... | R D ...",
    "STFT": "2+ | 1- | W | 1-",
    "Scatter": "1+ | I ... | I ...",
    "ScatterElements": "1+ | I ... | I ...",
    "ScatterND": "1+ | 1+",
    "Slice": "* | 1- | 1- | 1- | 1-",
    "SpaceToDepth": "4+",
    "Split": "* | 1-",
    "Squeeze": "* | 1-",
    "TopK": "1+ | 1-",
    "Trilu": "2+ | 1-",
    "Unsqueeze": "* | 1-",
    "Upsample": "* | .",
    "com.microsoft::CDist": "M D | N D",
    "com.microsoft::DynamicQuantizeLSTM": "L N I | D I . | D H . | D 8H | N | D N H | D N H | D 3H",
    "com.microsoft::FusedConv": "N . ... | M ... | M",
    "com.microsoft::RotaryEmbedding": "3+ | 2- | R D | R D",
}
_RECURRENT = {"LSTM": (4, 3), "GRU": (3, 0), "RNN": (1, 0)}
_DIM = re.compile(r"(\d*)([A-Za-z]*)")

Pattern = tuple[str, tuple[tuple[int, str], ...], bool]
"""As it is written; for one of dims, (factor, name) of each, a plain number without a name; whether more follow."""


@cache
def _patterns(text: str) -> tuple[Pattern, ...]:
    return tuple(_pattern(part.strip()) for part in text.split("|"))


def _pattern(text: str) -> Pattern:
    if text in "*=" or text[-1] in "+-":
        return text, (), False
    words = text.split()
    more = words[-1] == "..."
    dims = []
    for word in words[:-1] if more else words:
        found = _DIM.fullmatch(word)
        dims.append((0, "") if found is None else (int(found[1] or 1), found[2]))
    return text, tuple(dims), more


def check_fit(node: Node, schema: OpSchema | None) -> None:
    """ModelError where shapes of inputs contradict the operator or one another, as far as they are known."""
    own = None if node.domain else _OWN.get(node.op)
    text = _FITS.get(node.op_id if node.domain == "com.microsoft" else node.op)
    if text is None:
        if node.op in _RECURRENT:
            text = _recurrent(node)
        elif own is None:
            return
        else:
            text = "*"
    sizes: dict[str, tuple[int, int]] = {}
    for i, (value, pattern) in enumerate(zip(node.inputs, _patterns(text), strict=False)):
        t = None if value is None else value.type
        if isinstance(t, TensorType) and t.shape is not None and pattern[0] != "*":
            wrong = _misfit(node, i, t.shape, pattern, sizes)
            if wrong is not None:
                raise ModelError(f"{_name(schema, i)} of {node.op_id} {wrong}", node=node)
    wrong = None if own is None else own(node)
    if wrong is not None:
        raise ModelError(f"{node.op_id}: {wrong}", node=node)


def _misfit(node: Node, i: int, shape: Shape, pattern: Pattern, sizes: dict[str, tuple[int, int]]) -> str | None:
    text, dims, more = pattern
    rank = len(shape)
    if text == "=":
        first = node.inputs[0]
        other = None if first is None else first.tensor.shape
        if other is None or (rank == len(other) and all(map(_may_equal, shape, other))):
            return None
        return f"has shape {list(shape)}, and must have that of input 0, {list(other)}"
    if text[-1] == "+":
        return None if rank >= int(text[:-1]) else f"has rank {rank}, and takes {text[:-1]} or more"
    if text[-1] == "-":
        return None if rank <= int(text[:-1]) else f"has rank {rank}, and takes {text[:-1]} or less"
    if rank < len(dims) or (rank > len(dims) and not more):
        return f"has rank {rank}, and takes {len(dims)}{' or more' if more else ''}"
    for axis, (factor, name) in enumerate(dims):
        size = shape[axis]
        if not isinstance(size, int) or not factor:
            continue
        if not name:
            if size != factor:
                return f"has size {size} at axis {axis}, and takes {factor}"
            continue
        known, where = sizes.setdefault(name, (-1 if size % factor else size // factor, i))
        if known * factor != size:
            return f"has size {size} at axis {axis}, which does not fit input {where}: {known * factor} would"
    return None


def _may_equal(a: object, b: object) -> bool:
    return a == b or not (isinstance(a, int) and isinstance(b, int))


def _name(schema: OpSchema | None, i: int) -> str:
    formal = None if schema is None else schema.formal_input(i)
    return f"input {i}" + ("" if formal is None else f" ({formal.name})")


def _recurrent(node: Node) -> str:
    gates, peepholes = _RECURRENT[node.op]
    rows = "H" if gates == 1 else f"{gates}H"
    x, state = ("N L I", "N D H") if node.attributes.get("layout", 0) else ("L N I", "D N H")
    cell = f" | {state} | D {peepholes}H" if peepholes else ""
    return f"{x} | D {rows} I | D {rows} H | D {2 * gates}H | N | {state}{cell}"


# --- what patterns do not say


def _shapes(node: Node, *wanted: int) -> list[tuple[int, ...]] | None:
    """The shapes of these inputs; None where one of them is not known to the last size."""
    found = []
    for i in wanted:
        value = node.input(i)
        t = None if value is None else value.type
        if not isinstance(t, TensorType) or not t.is_static:
            return None
        found.append(t.static_shape)
    return found


def _elements(node: Node) -> str | None:
    """Indices of elements: of the data's rank, and not larger than it but along the axis."""
    known = _shapes(node, 0, 1)
    if known is None:
        return None
    data, indices = known
    if len(data) != len(indices):
        return f"data of rank {len(data)} and indices of rank {len(indices)}"
    axis = node.attributes.get("axis", 0)
    axis = axis + len(data) if isinstance(axis, int) and axis < 0 else axis
    if any(n > size for i, (n, size) in enumerate(zip(indices, data, strict=True)) if i != axis):
        return f"indices of shape {list(indices)} are larger than data of shape {list(data)} off axis {axis}"
    updates = _shapes(node, 2) if node.op != "GatherElements" else None
    if updates is not None and updates[0] != indices:
        return f"updates of shape {list(updates[0])} for indices of shape {list(indices)}"
    return None


def _scatter_nd(node: Node) -> str | None:
    known = _shapes(node, 0, 1)
    if known is None:
        return None
    data, indices = known
    depth = indices[-1]
    if depth > len(data):
        return f"indices of {depth} coordinates for data of rank {len(data)}"
    updates = _shapes(node, 2)
    expected = (*indices[:-1], *data[depth:])
    if updates is not None and updates[0] != expected:
        return f"updates have shape {list(updates[0])}, and indices of shape {list(indices)} ask for {list(expected)}"
    return None


def _reverse(node: Node) -> str | None:
    known = _shapes(node, 0, 1)
    batch, time = node.attributes.get("batch_axis", 1), node.attributes.get("time_axis", 0)
    if known is None or not isinstance(batch, int) or not isinstance(time, int):
        return None
    data, lengths = known
    if {batch % len(data), time % len(data)} != {0, 1} or not -2 <= min(batch, time) <= max(batch, time) <= 1:
        return f"batch_axis {batch} and time_axis {time} are not 0 and 1"
    return None if lengths[0] == data[batch] else f"{lengths[0]} lengths for {data[batch]} sequences"


def _grid(node: Node) -> str | None:
    known = _shapes(node, 0, 1)
    if known is None:
        return None
    data, grid = known
    if len(data) != len(grid) or grid[-1] != len(data) - 2:
        return f"a grid of shape {list(grid)} for data of shape {list(data)}"
    return None


def _channels(node: Node) -> str | None:
    """A channel is axis 1; what has no such axis has one channel."""
    known = _shapes(node, 0, 1)
    if known is None:
        return None
    data, scale = known
    channels = data[1] if len(data) > 1 else 1
    return None if scale[0] == channels else f"{scale[0]} scales for {channels} channels"


def _scales(node: Node) -> str | None:
    """One scale, one for each place along an axis, or one for each block of the data; zero points like them."""
    known = _shapes(node, 0, 1)
    if known is None:
        return None
    data, scale = known
    points = _shapes(node, 2)
    if points is not None and math.prod(points[0]) != math.prod(scale):
        return f"zero points of shape {list(points[0])} for scales of shape {list(scale)}"
    axis, block = node.attributes.get("axis", 1), node.attributes.get("block_size", 0)
    if math.prod(scale) == 1 or not isinstance(axis, int) or not isinstance(block, int):
        return None
    if not -len(data) <= axis < len(data):
        return f"axis {axis} lies outside of rank {len(data)}"
    wanted: tuple[int, ...] = (data[axis],)
    if block > 0:
        at = axis % len(data)
        wanted = (*data[:at], -(-data[at] // block), *data[at + 1 :])
    return None if scale == wanted else f"scales of shape {list(scale)}, and the data asks for {list(wanted)}"


def _kernel(node: Node) -> str | None:
    known, kernel = _shapes(node, 1), node.attributes.get("kernel_shape")
    if known is None or not isinstance(kernel, list) or tuple(kernel) == known[0][2:]:
        return None
    return f"kernel_shape {kernel} for weights of shape {list(known[0])}"


_OWN = {
    "BatchNormalization": _channels,
    "Conv": _kernel,
    "DeformConv": _kernel,
    "DequantizeLinear": _scales,
    "GatherElements": _elements,
    "GridSample": _grid,
    "QuantizeLinear": _scales,
    "ReverseSequence": _reverse,
    "Scatter": _elements,
    "ScatterElements": _elements,
    "ScatterND": _scatter_nd,
}
