"""Block and Unblock: reordering, or nothing at all where both layouts are the same bytes."""

from __future__ import annotations

from ronn_codegen.templates.regroup_jobs import regroup_jobs
from ronn_provider_cpu.lowering import F32, Lowering, Operand, lower
from ronn_provider_cpu.ops import DOMAIN

_MODULE = "ronn_codegen.templates.reorder"
_BYTES_PER_NS = 20.0  # read and written, one core, out of the caches


@lower("Block", domain=DOMAIN)
def block(c: Lowering) -> None:
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    nhwc = bool(c.attr("nhwc"))
    channels = x.shape[-1] if nhwc else x.shape[1]
    _reorder(c, "block", x, y, channels, y.shape[2] * y.shape[3], y.shape[4], nhwc)


@lower("Unblock", domain=DOMAIN)
def unblock(c: Lowering) -> None:
    x, y = c.inputs[0], c.outputs[0]
    assert x is not None and y is not None
    c.require(x.dtype == F32, "only float32")
    nhwc = bool(c.attr("nhwc"))
    _reorder(c, "unblock", x, y, int(c.attr("channels")), x.shape[2] * x.shape[3], x.shape[4], nhwc)


def _reorder(
    c: Lowering, what: str, x: Operand, y: Operand, channels: int, pixels: int, lanes: int, nhwc: bool
) -> None:
    width = c.machine.target.lanes(32)
    c.require(lanes == width, f"blocks of {lanes} channels on a machine with {width} lanes")
    if (pixels == 1 and channels % lanes == 0) or (nhwc and channels == lanes) or lanes == 1:
        c.alias(0, 0)
        return
    n = x.shape[0]
    last = nhwc or pixels == 1
    tiles = n * -(-pixels // 128) * (1 if last else -(-channels // lanes))
    size = x.nbytes + y.nbytes
    c.call(
        _MODULE, f"{what}_last_f32" if last else f"{what}_f32", x=x, y=y, n=n, c=channels, pixels=pixels,
        chunks=tiles, cost=100 + size / _BYTES_PER_NS, bytes=size,
    )  # fmt: skip


@lower("Regroup", domain=DOMAIN)
def regroup(c: Lowering) -> None:
    y, lanes = c.outputs[0], int(c.attr("lanes"))
    assert y is not None
    width = c.machine.target.lanes(32)
    c.require(lanes == width, f"blocks of {lanes} channels on a machine with {width} lanes")
    done, sizes = 0, [int(s) for s in c.attr("sizes")]
    n, blocks, h, w, _ = y.shape
    for x, start, size in zip(c.inputs, c.attr("starts"), sizes, strict=True):
        assert x is not None
        c.require(x.dtype == F32, "only float32")
        jobs = regroup_jobs(int(start), size, done, lanes, last=done + size == sum(sizes))
        moved = 8 * n * size * h * w
        c.call(
            _MODULE, "regroup_f32", x=x, y=y, n=n, x_blocks=x.shape[1], y_blocks=blocks, pixels=h * w, jobs=jobs,
            count=len(jobs), chunks=n * len(jobs) * -(-h * w // 128), cost=100 + moved / _BYTES_PER_NS, bytes=moved,
        )  # fmt: skip
        done += size
