"""Mutations of ONNX models for fuzz.py: of the bytes, and of the fields of the proto."""

from __future__ import annotations

import random
from collections.abc import Callable

import onnx
from google.protobuf.message import EncodeError
from onnx import AttributeProto, TensorProto

NUMBERS = [
    0,
    1,
    -1,
    2,
    3,
    7,
    63,
    64,
    65,
    127,
    128,
    255,
    2**16,
    2**31 - 1,
    2**31,
    -(2**31),
    2**40,
    2**62,
    2**63 - 1,
    -(2**63),
]
NAMES = ["", "x", "y", "?", "-1", "a b", "\n%", "ü", "n" * 300]
OPS = [
    "Add", "Cast", "Concat", "Constant", "ConstantOfShape", "Conv", "ConvTranspose", "Expand", "Flatten", "Gather",
    "Gemm", "If", "LSTM", "Loop", "MatMul", "MaxPool", "NonZero", "OneHot", "Pad", "Range", "ReduceSum", "Reshape",
    "Resize", "Scan", "ScatterND", "SequenceAt", "Shape", "Slice", "Split", "Squeeze", "Tile", "TopK", "Transpose",
    "Unsqueeze", "Where", "Einsum", "NonMaxSuppression", "QuantizeLinear", "Softmax", "CumSum", "GridSample",
    "NoSuchOp",
]  # fmt: skip


def mutate(data: bytes, rng: random.Random) -> bytes:
    """A broken variant of a model."""
    if rng.random() < 0.15:
        return _bytes(data, rng)
    model = onnx.ModelProto.FromString(data)
    wanted = rng.choice([1, 1, 1, 1, 2, 3])
    for _ in range(20):
        try:
            rng.choice(FIELDS)(model, rng)
            wanted -= 1
            if wanted == 0:
                break
        except Exception:
            continue  # this mutation has nothing to act on in this model
    try:
        return model.SerializeToString()
    except (EncodeError, ValueError):
        return _bytes(data, rng)


def _bytes(data: bytes, rng: random.Random) -> bytes:
    out = bytearray(data)
    for _ in range(rng.choice([1, 1, 2, 4, 16])):
        if not out:
            break
        at, size = rng.randrange(len(out)), rng.choice([1, 2, 4, 8, 64])
        match rng.randrange(8):
            case 0:
                out[at] ^= 1 << rng.randrange(8)
            case 1:
                out[at] = rng.choice([0, 1, 0x7F, 0x80, 0xFF])
            case 2:
                del out[at:]
            case 3:
                del out[at : at + size]
            case 4:
                out[at:at] = rng.randbytes(size)
            case 5:
                other = rng.randrange(len(out))
                out[at : at + size], out[other : other + size] = out[other : other + size], out[at : at + size]
            case 6:
                out[at:at] = out[at : at + size]
            case 7:  # a varint that goes on and on, or says something huge
                out[at : at + 1] = b"\xff" * rng.choice([1, 4, 8, 9, 10, 11]) + b"\x01"
    return bytes(out)


def _graphs(model: onnx.ModelProto) -> list[onnx.GraphProto]:
    found = [model.graph]
    for graph in found:
        found.extend(a.g for n in graph.node for a in n.attribute if a.HasField("g"))
    return found


def _graph(model: onnx.ModelProto, rng: random.Random) -> onnx.GraphProto:
    return rng.choice(_graphs(model))


def _node(model: onnx.ModelProto, rng: random.Random) -> onnx.NodeProto:
    return rng.choice([n for g in _graphs(model) for n in g.node])


def _value_name(model: onnx.ModelProto, rng: random.Random) -> str:
    names = [n for g in _graphs(model) for node in g.node for n in (*node.input, *node.output)]
    return rng.choice(names) if names and rng.random() < 0.8 else rng.choice(NAMES)


def rewire_input(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    node.input[rng.randrange(len(node.input))] = _value_name(model, rng)


def rewire_output(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    node.output[rng.randrange(len(node.output))] = _value_name(model, rng)


def more_inputs(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if rng.random() < 0.5 and node.input:
        del node.input[rng.randrange(len(node.input))]
    else:
        node.input.append(_value_name(model, rng))


def more_outputs(model: onnx.ModelProto, rng: random.Random) -> None:
    node = _node(model, rng)
    if rng.random() < 0.5 and node.output:
        del node.output[rng.randrange(len(node.output))]
    else:
        node.output.append(rng.choice(["extra", *NAMES]))


def drop_node(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    del graph.node[rng.randrange(len(graph.node))]


def repeat_node(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    graph.node.append(rng.choice(graph.node))


def shuffle_nodes(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    nodes = [onnx.NodeProto.FromString(n.SerializeToString()) for n in graph.node]
    rng.shuffle(nodes)
    del graph.node[:]
    graph.node.extend(nodes)


def change_op(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).op_type = rng.choice(OPS)


def change_domain(model: onnx.ModelProto, rng: random.Random) -> None:
    _node(model, rng).domain = rng.choice(["", "ai.onnx", "ai.onnx.ml", "com.microsoft", "none", "ai.onnx.preview"])


def change_opset(model: onnx.ModelProto, rng: random.Random) -> None:
    rng.choice(model.opset_import).version = rng.choice([1, 6, 7, 9, 11, 13, 17, 21, 23, 28, 29, *NUMBERS])


def change_ir_version(model: onnx.ModelProto, rng: random.Random) -> None:
    model.ir_version = rng.choice([1, 2, 3, 4, 8, 13, 14, 15, *NUMBERS])


def change_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    attributes = [a for g in _graphs(model) for n in g.node for a in n.attribute]
    a = rng.choice(attributes)
    match rng.randrange(8):
        case 0:
            a.type = rng.choice(AttributeProto.AttributeType.values())
        case 1:
            a.name = rng.choice([*NAMES, "axis", "to", "perm", "value", "body"])
        case 2:
            a.i = rng.choice(NUMBERS)
        case 3 if a.ints:
            a.ints[rng.randrange(len(a.ints))] = rng.choice(NUMBERS)
        case 4:
            a.ints.extend(rng.choice(NUMBERS) for _ in range(rng.choice([1, 2, 70])))
        case 5 if a.ints:
            del a.ints[rng.randrange(len(a.ints)) :]
        case 6:
            a.s = rng.choice([b"", b"\xff", b"SAME_UPPER", b"ij,jk->ik", b"reflect", b"linear"])
        case _:
            a.f = rng.choice([0.0, -1.0, float("nan"), float("inf"), 1e30])


def add_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    name = rng.choice(
        ["axis", "axes", "group", "strides", "pads", "dilations", "kernel_shape", "keepdims", "perm", "to"]
    )
    value = rng.choice(NUMBERS) if rng.random() < 0.5 else [rng.choice(NUMBERS) for _ in range(rng.randrange(1, 4))]
    _node(model, rng).attribute.append(onnx.helper.make_attribute(name, value))


def drop_attribute(model: onnx.ModelProto, rng: random.Random) -> None:
    node = rng.choice([n for g in _graphs(model) for n in g.node if n.attribute])
    del node.attribute[rng.randrange(len(node.attribute))]


def _tensor(model: onnx.ModelProto, rng: random.Random) -> TensorProto:
    tensors = [t for g in _graphs(model) for t in g.initializer]
    tensors += [a.t for g in _graphs(model) for n in g.node for a in n.attribute if a.HasField("t")]
    return rng.choice(tensors)


def change_tensor(model: onnx.ModelProto, rng: random.Random) -> None:
    t = _tensor(model, rng)
    match rng.randrange(7):
        case 0 if t.dims:
            t.dims[rng.randrange(len(t.dims))] = rng.choice(NUMBERS)
        case 1:
            t.dims.append(rng.choice([1, 1, *NUMBERS]))
        case 2:
            t.data_type = rng.choice([*TensorProto.DataType.values(), 99])
        case 3:
            t.raw_data = rng.randbytes(rng.choice([0, 1, 3, 8, len(t.raw_data), len(t.raw_data) + 1]))
        case 4 if t.raw_data:
            t.raw_data = rng.choice([b"\xff", b"\0", b"\x7f", b"\x80"]) * len(t.raw_data)
        case 5 if t.int64_data:
            t.int64_data[rng.randrange(len(t.int64_data))] = rng.choice(NUMBERS)
        case _:
            t.data_location = TensorProto.EXTERNAL
            t.external_data.add(key="location", value=rng.choice(["/etc/passwd", "../x", "", "m.bin", "\0"]))


def change_constant_of_integers(model: onnx.ModelProto, rng: random.Random) -> None:
    """Shapes, axes, indices: what kernels trust most."""
    tensors = [t for g in _graphs(model) for t in g.initializer]
    tensors += [a.t for g in _graphs(model) for n in g.node for a in n.attribute if a.HasField("t")]
    t = rng.choice([t for t in tensors if t.data_type in (TensorProto.INT64, TensorProto.INT32)])
    array = onnx.numpy_helper.to_array(t).copy()
    flat = array.reshape(-1)
    bound = 2 ** (array.itemsize * 8 - 1)
    flat[rng.randrange(len(flat))] = max(-bound, min(bound - 1, rng.choice(NUMBERS)))
    t.CopyFrom(onnx.numpy_helper.from_array(array, t.name))


def change_type(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    info = rng.choice([*graph.input, *graph.output, *graph.value_info])
    tensor = info.type.tensor_type
    match rng.randrange(5):
        case 0:
            tensor.elem_type = rng.choice([*TensorProto.DataType.values(), 99])
        case 1 if tensor.shape.dim:
            rng.choice(tensor.shape.dim).dim_value = rng.choice(NUMBERS)
        case 2 if tensor.shape.dim:
            rng.choice(tensor.shape.dim).dim_param = rng.choice([*NAMES, "N", "N+1", "batch"])
        case 3:
            tensor.shape.dim.add(dim_value=rng.choice([1, 2, *NUMBERS]))
        case _:
            tensor.ClearField("shape")


def declare_value(model: onnx.ModelProto, rng: random.Random) -> None:
    shape = [rng.choice([1, 2, "N", None, *NUMBERS]) for _ in range(rng.randrange(4))]
    info = onnx.helper.make_tensor_value_info(_value_name(model, rng), rng.choice([1, 6, 7, 9, 10]), shape)
    rng.choice([model.graph.input, model.graph.output, model.graph.value_info]).append(info)


def drop_declared(model: onnx.ModelProto, rng: random.Random) -> None:
    graph = _graph(model, rng)
    values = rng.choice([v for v in (graph.input, graph.output, graph.initializer, graph.value_info) if v])
    del values[rng.randrange(len(values))]


def nest_in_if(model: onnx.ModelProto, rng: random.Random) -> None:
    """Puts a node into the branches of an If, some levels deep."""
    graph = model.graph
    at = rng.randrange(len(graph.node))
    node = onnx.NodeProto.FromString(graph.node[at].SerializeToString())
    for level in range(rng.choice([1, 1, 2, 5, 25])):
        outputs = [onnx.helper.make_empty_tensor_value_info(o) for o in node.output]
        body = onnx.helper.make_graph([node], f"b{level}", [], outputs)
        other = onnx.helper.make_graph([], f"e{level}", [], [onnx.helper.make_empty_tensor_value_info("cond")])
        branches = {"then_branch": body, "else_branch": other}
        node = onnx.helper.make_node("If", [rng.choice(["cond", "cond", "x"])], list(node.output), **branches)
    graph.node[at].CopyFrom(node)
    graph.initializer.append(onnx.helper.make_tensor("cond", TensorProto.BOOL, [], [rng.random() < 0.5]))


def make_function(model: onnx.ModelProto, rng: random.Random) -> None:
    """Moves a node into a function, which may call itself."""
    node = _node(model, rng)
    body = onnx.NodeProto.FromString(node.SerializeToString())
    if rng.random() < 0.2:
        body.domain, body.op_type = "fuzz", "F"
    imports = [onnx.helper.make_opsetid(i.domain, i.version) for i in model.opset_import]
    function = onnx.helper.make_function("fuzz", "F", [i for i in node.input if i], list(node.output), [body], imports)
    model.functions.append(function)
    node.domain, node.op_type = "fuzz", "F"
    model.opset_import.append(onnx.helper.make_opsetid("fuzz", 1))


# What leaves the model well formed comes more often: it gets further.
FIELDS: list[Callable[[onnx.ModelProto, random.Random], None]] = [
    rewire_input, rewire_output, more_inputs, more_outputs, drop_node, repeat_node, shuffle_nodes, change_op,
    change_domain, change_opset, change_ir_version, drop_attribute, declare_value, drop_declared, nest_in_if,
    make_function, *[add_attribute, change_attribute, change_tensor] * 3,
    *[change_constant_of_integers, change_type] * 6,
]  # fmt: skip
