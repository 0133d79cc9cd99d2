"""The ``ronn.cpu`` domain: operators on channels in blocks, which the layout pass makes and only this provider runs.

A *blocked* tensor is ``f32[N, ceil(C / L), H, W, L]``: channel c of ``f32[N, C, H, W]`` is lane ``c % L`` of block
``c // L``. L is the number of float32 lanes of a vector. Lanes beyond C hold zero, always.

| operator | does | attributes |
| --- | --- | --- |
| ``Block(x)`` | ``x[N, C, H, W]`` to blocked; with ``nhwc`` the input is ``x[N, H, W, C]`` | lanes, nhwc |
| ``Unblock(x)`` | the reverse | channels, nhwc, rank |
| ``BlockedConv(x, w, bias?, residual?)`` | ``activation(conv(x, w) + bias + residual)``, blocked | see below |

``Regroup(x...)`` puts ranges of channels behind each other: of input i, which has channels[i], sizes[i] from starts[i]
on. It is ``Concat``, ``Split`` and ``Slice`` where blocks do not come out whole; attributes: lanes, and those lists.

``BlockedConvTranspose(x, w, bias?)`` takes the weights of ``ConvTranspose`` (``w[C, K / group, R, S]``) and has its
attributes of two dims, but for the pads: begins (elements cut at the beginning of each axis) and output_size.

``BlockedConv`` takes the weights of ``Conv`` as they are (``w[K, C / group, R, S]``, ``bias[K]``); ``residual`` is
blocked and has the shape of the output. Attributes: kernel_shape, strides, pads (explicit), dilations, group,
activation and activation_params (as of ``ronn::FusedConv``), lanes, channels (C), out_channels (K), and plain_input:
``x`` is plain ``[N, C, H, W]``. With residual_last the residual is added behind the activation.

A plain tensor of rank 3, ``[N, C, W]`` or ``[N, W, C]``, counts as one of height 1; ``Unblock`` with rank 3 makes it.
So do the weights ``w[K, C / group, S]`` of a convolution in one dim, whose attributes are those of two dims all the
same.

Everything else that happens to blocked tensors is an ordinary operator on rank 5: pointwise ones, ``Concat`` of whole
blocks on axis 1, and pooling with a kernel of one lane.
"""

from __future__ import annotations

from ronn.ir.dims import Dim, Shape, ceildiv, floordiv
from ronn.ir.types import DType
from ronn.ops.infer import InferContext, rule
from ronn.ops.schema import Formal, OpSchema, register_schema

DOMAIN = "ronn.cpu"
_FLOAT = "tensor(float)"

BLOCK = OpSchema(
    DOMAIN, "Block", 1, (Formal("x", _FLOAT),), (Formal("y", _FLOAT),),
    defaults={"nhwc": 0}, attributes={"lanes": "INT", "nhwc": "INT"}, required=frozenset({"lanes"}),
    min_inputs=1, max_inputs=1,
)  # fmt: skip
UNBLOCK = OpSchema(
    DOMAIN, "Unblock", 1, (Formal("x", _FLOAT),), (Formal("y", _FLOAT),),
    defaults={"nhwc": 0, "rank": 4}, attributes={"channels": "INT", "nhwc": "INT", "rank": "INT"},
    required=frozenset({"channels"}), min_inputs=1, max_inputs=1,
)  # fmt: skip
BLOCKED_CONV = OpSchema(
    DOMAIN, "BlockedConv", 1,
    (
        Formal("x", _FLOAT), Formal("w", _FLOAT), Formal("bias", _FLOAT, optional=True),
        Formal("residual", _FLOAT, optional=True),
    ),
    (Formal("y", _FLOAT),),
    defaults={"group": 1, "activation": "", "activation_params": [], "plain_input": 0, "residual_last": 0},
    attributes={
        "kernel_shape": "INTS", "strides": "INTS", "pads": "INTS", "dilations": "INTS", "group": "INT",
        "activation": "STRING", "activation_params": "FLOATS", "lanes": "INT", "channels": "INT",
        "out_channels": "INT", "plain_input": "INT", "residual_last": "INT",
    },
    required=frozenset({"kernel_shape", "strides", "pads", "dilations", "lanes", "channels", "out_channels"}),
    min_inputs=2, max_inputs=4,
)  # fmt: skip
BLOCKED_CONV_TRANSPOSE = OpSchema(
    DOMAIN, "BlockedConvTranspose", 1,
    (Formal("x", _FLOAT), Formal("w", _FLOAT), Formal("bias", _FLOAT, optional=True)), (Formal("y", _FLOAT),),
    defaults={"group": 1},
    attributes={
        "kernel_shape": "INTS", "strides": "INTS", "begins": "INTS", "dilations": "INTS", "output_size": "INTS",
        "group": "INT", "lanes": "INT", "channels": "INT", "out_channels": "INT",
    },
    required=frozenset({
        "kernel_shape", "strides", "begins", "dilations", "output_size", "lanes", "channels", "out_channels"
    }),
    min_inputs=2, max_inputs=3,
)  # fmt: skip
REGROUP = OpSchema(
    DOMAIN, "Regroup", 1, (Formal("x", _FLOAT, variadic=True),), (Formal("y", _FLOAT),),
    attributes={"lanes": "INT", "channels": "INTS", "starts": "INTS", "sizes": "INTS"},
    required=frozenset({"lanes", "channels", "starts", "sizes"}), min_inputs=1,
)  # fmt: skip
SCHEMAS = (BLOCK, UNBLOCK, BLOCKED_CONV, BLOCKED_CONV_TRANSPOSE, REGROUP)

for _schema in SCHEMAS:
    register_schema(_schema)


@rule("Block", domain=DOMAIN)
def block(c: InferContext) -> None:
    """``[N, C, H, W]`` (or ``[N, H, W, C]``) to ``[N, ceil(C / lanes), H, W, lanes]``."""
    shape = c.shape(0)
    if shape is None:
        c.set(0, DType.FLOAT32, (None,) * 5)
        return
    if len(shape) not in (3, 4):
        raise c.fail(f"the input has rank {len(shape)}, not 3 or 4")
    (n, *spatial, channels) = shape if c.attr("nhwc") else (shape[0], *shape[2:], shape[1])
    h, w = spatial if len(spatial) == 2 else (1, spatial[0])
    lanes = int(c.attr("lanes"))
    c.set(0, DType.FLOAT32, (n, None if channels is None else ceildiv(channels, lanes), h, w, lanes))


@rule("Unblock", domain=DOMAIN)
def unblock(c: InferContext) -> None:
    """``[N, C / L, H, W, L]`` to ``[N, channels, H, W]`` (or ``[N, H, W, channels]``)."""
    shape = _blocked_shape(c, 0)
    channels = int(c.attr("channels"))
    n, _, h, w, _ = (None,) * 5 if shape is None else shape
    spatial = (h, w) if c.attr("rank") == 4 else (w,)
    if len(spatial) == 1 and h not in (1, None):
        raise c.fail(f"a height of {h}, but rank 3 is wanted")
    c.set(0, DType.FLOAT32, (n, *spatial, channels) if c.attr("nhwc") else (n, channels, *spatial))


@rule("BlockedConv", domain=DOMAIN)
def blocked_conv(c: InferContext) -> None:
    """The shape of the convolution, channels in blocks."""
    lanes, channels, out_channels = (int(c.attr(name)) for name in ("lanes", "channels", "out_channels"))
    x, w = c.shape(0), c.shape(1)
    if c.attr("plain_input"):
        if x is not None and (len(x) not in (3, 4) or x[1] not in (channels, None)):
            raise c.fail(f"the input is {x}, not {channels} channels of rank 3 or 4")
        spatial: Shape = (None, None) if x is None else x[2:] if len(x) == 4 else (1, x[2])
    else:
        x = _blocked_shape(c, 0)
        if x is not None and (x[4] not in (lanes, None) or x[1] not in (-(-channels // lanes), None)):
            raise c.fail(f"the input is {x}, not {channels} channels in blocks of {lanes}")
        spatial = (None, None) if x is None else x[2:4]
    kernel, strides, pads, dilations = (c.attr(name) for name in ("kernel_shape", "strides", "pads", "dilations"))
    if [len(kernel), len(strides), len(pads), len(dilations)] != [2, 2, 4, 2]:
        raise c.fail("kernel_shape, strides and dilations have two values, pads four")
    wanted = (out_channels, channels // int(c.attr("group")), *(kernel if w is None or len(w) == 4 else kernel[1:]))
    if w is not None and any(d != e for d, e in zip(w, wanted, strict=False) if isinstance(d, int)):
        raise c.fail(f"the weights are {w}, not {wanted}")
    out: list[Dim | None] = []
    for i, size in enumerate(spatial):
        extent = (kernel[i] - 1) * dilations[i] + 1
        out.append(None if size is None else floordiv(size + pads[i] + pads[i + 2] - extent, strides[i]) + 1)
    c.set(0, DType.FLOAT32, (None if x is None else x[0], -(-out_channels // lanes), *out, lanes))


@rule("BlockedConvTranspose", domain=DOMAIN)
def blocked_conv_transpose(c: InferContext) -> None:
    """The output size is an attribute."""
    lanes, channels, out_channels = (int(c.attr(name)) for name in ("lanes", "channels", "out_channels"))
    x = _blocked_shape(c, 0)
    if x is not None and (x[4] not in (lanes, None) or x[1] not in (-(-channels // lanes), None)):
        raise c.fail(f"the input is {x}, not {channels} channels in blocks of {lanes}")
    c.set(0, DType.FLOAT32, (None if x is None else x[0], -(-out_channels // lanes), *c.attr("output_size"), lanes))


@rule("Regroup", domain=DOMAIN)
def regroup(c: InferContext) -> None:
    """As many blocks as the ranges need."""
    lanes, x = int(c.attr("lanes")), _blocked_shape(c, 0)
    ranges = [list(c.attr(name)) for name in ("channels", "starts", "sizes")]
    if any(len(values) != len(c.node.inputs) for values in ranges):
        raise c.fail("channels, starts and sizes have one value for each input")
    if any(start < 0 or size < 1 or start + size > n for n, start, size in zip(*ranges, strict=True)):
        raise c.fail("a range is not within its channels")
    n, _, h, w, _ = (None,) * 5 if x is None else x
    c.set(0, DType.FLOAT32, (n, -(-sum(ranges[2]) // lanes), h, w, lanes))


def _blocked_shape(c: InferContext, index: int) -> Shape | None:
    shape = c.shape(index)
    if shape is not None and len(shape) != 5:
        raise c.fail(f"input {index} has rank {len(shape)}; a blocked tensor has 5")
    return shape
