"""GridSample, RoiAlign, MaxRoiPool, MaxUnpool, AffineGrid, Col2Im."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.lower._copies import fill, item, known, steps, wanted
from ronn_codegen.lowering import F32, I32, I64, Lowering
from ronn_codegen.table import lower
from ronn_codegen.templates.jobs import REDUCTION_KINDS
from ronn_codegen.windows import ints

_DETECTION = "ronn_codegen.templates.detection"
_TAPS = {"nearest": 1, "linear": 2, "bilinear": 2, "cubic": 4, "bicubic": 4}
_PADDING = {"zeros": 0, "border": 1, "reflection": 2}
_PIXELS = 32  # those of the kernel
_SHARES = 16


@lower("GridSample")
def grid_sample(c: Lowering) -> None:
    """GridSample of up to three spatial dims."""
    x, grid, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    c.require(x.dtype == grid.dtype == F32, "only float32")
    spatial = np.array(x.shape[2:], np.int64)
    rank, taps = len(spatial), _TAPS[c.attr("mode", "linear")]
    c.require(rank <= 3, f"{rank} spatial dims")
    c.require(math.prod(x.shape[2:]) < 2**31, "planes of 2**31 elements")
    points, count = math.prod(grid.shape[1:-1]), taps**rank
    shares = min(x.shape[0] * -(-points // _PIXELS), _SHARES)
    c.call(
        _DETECTION, "grid_sample", x=x, grid=grid, y=y, room=c.temp(shares * (160 + 8 * _PIXELS * count)),
        shape=spatial, rank=rank, batches=x.shape[0], channels=x.shape[1], plane=math.prod(x.shape[2:]), points=points,
        taps=taps, padding=_PADDING[c.attr("padding_mode", "zeros")], align=int(c.attr("align_corners", 0)),
        chunks=shares, cost=x.shape[0] * points * count * (10 + 1.0 * x.shape[1]), flops=2 * y.size * count,
        bytes=y.nbytes + grid.nbytes + x.nbytes,
    )  # fmt: skip


@lower("RoiAlign")
def roi_align(c: Lowering) -> None:
    """RoiAlign."""
    x, rois, batch, y = (wanted(v) for v in (*c.inputs[:3], c.outputs[0]))
    c.require(x.dtype == rois.dtype == F32, "only float32")
    c.require(batch.dtype in (I32, I64), f"indices are {batch.dtype}")
    shifted = c.since >= 16 and c.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    samples = max(int(c.attr("sampling_ratio", 0)), 0)
    regions, channels, bins_high, bins_wide = y.shape
    c.call(
        _DETECTION, "roi_align", x=x, rois=rois, batch=batch, y=y, wide=int(batch.dtype == I64), batches=x.shape[0],
        status=c.status(f"{c.node.label}: a batch index lies outside 0..{x.shape[0] - 1}"), channels=channels,
        high=x.shape[2], wide_pixels=x.shape[3], regions=regions, bins_high=bins_high, bins_wide=bins_wide,
        samples=samples, scale=float(c.attr("spatial_scale", 1.0)), shifted=int(shifted),
        largest=int(c.attr("mode", "avg") == "max"), chunks=regions * -(-channels // 32),
        cost=y.size * max(samples, 2) ** 2 * 2.5, flops=8 * y.size * max(samples, 2) ** 2, bytes=x.nbytes + y.nbytes,
    )  # fmt: skip


@lower("MaxRoiPool")
def max_roi_pool(c: Lowering) -> None:
    """MaxRoiPool."""
    x, rois, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    c.require(x.dtype == rois.dtype == F32, "only float32")
    regions, channels, down, across = y.shape
    c.call(
        "ronn_codegen.templates.windows", "max_roi_pool", x=x, rois=rois, y=y,
        status=c.status(f"{c.node.label}: an image's number lies outside 0..{x.shape[0] - 1}"), batches=x.shape[0],
        channels=channels, high=x.shape[2], wide=x.shape[3], regions=regions, down=down, across=across,
        scale=float(c.attr("spatial_scale", 1.0)), chunks=regions * channels,
        cost=y.size * 20 + regions * x.size / x.shape[0] * 0.5, bytes=x.nbytes + y.nbytes,
    )  # fmt: skip


@lower("AffineGrid")
def affine_grid(c: Lowering) -> None:
    """AffineGrid: the coordinates along each axis are known."""
    theta, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    c.require(theta.dtype == F32, "only float32")
    spatial = y.shape[1:-1]
    axes = []
    for n in spatial:
        if c.attr("align_corners", 0):
            axes.append(np.linspace(-1, 1, n) if n > 1 else np.zeros(n))
        else:
            axes.append((2 * np.arange(n) + 1) / n - 1)
    points, rank = math.prod(spatial), len(spatial)
    c.call(
        _DETECTION, "affine_grid", theta=theta, axes=np.concatenate(axes).astype(np.float32), y=y,
        shape=np.array(spatial, np.int64), rank=rank, batches=y.shape[0], points=points, chunks=y.shape[0] * points,
        cost=y.size * 8.0, bytes=y.nbytes,
    )  # fmt: skip


@lower("Col2Im")
def col2im(c: Lowering) -> None:
    """Col2Im of up to three spatial dims: each image is the share of one thread."""
    x, y = wanted(c.inputs[0]), wanted(c.outputs[0])
    kind = f"{x.dtype.kind}{8 * item(x)}"
    c.require(kind in REDUCTION_KINDS, f"sums of {x.dtype}")
    block = [int(n) for n in wanted(known(c, 2, "block_shape"))]
    image, rank = y.shape[2:], len(block)
    c.require(rank <= 3, f"{rank} spatial dims")
    dilations, strides = c.attr("dilations", [1] * rank), c.attr("strides", [1] * rank)
    pads = c.attr("pads", [0] * 2 * rank)
    dims = [(1, 1, 1, 1, 1, 0)] * (3 - rank)
    for i in range(rank):
        room = image[i] + pads[i] + pads[rank + i] - dilations[i] * (block[i] - 1) - 1
        dims.append((image[i], block[i], room // strides[i] + 1, strides[i], dilations[i], pads[i]))
    blocks = (y.shape[0], y.shape[1] * math.prod(block), math.prod(d[2] for d in dims))
    c.require(x.shape == blocks and len(image) == rank, f"columns of shape {x.shape} for {blocks}")
    fill(c, y, np.zeros(1, y.dtype))
    c.call(
        _DETECTION, "col2im", x=x, y=y, how=16 + REDUCTION_KINDS.index(kind), size=item(x),
        planes=y.shape[0] * y.shape[1], table=np.array(dims, np.int64), chunks=y.shape[0] * y.shape[1],
        cost=x.size * 1.5, bytes=x.nbytes + 2 * y.nbytes,
    )  # fmt: skip


@lower("MaxUnpool")
def max_unpool(c: Lowering) -> None:
    """MaxUnpool of up to three spatial dims: indices count in the shape that the windows imply."""
    x, indices, y = wanted(c.inputs[0]), wanted(c.inputs[1]), wanted(c.outputs[0])
    rank = x.rank - 2
    c.require(rank <= 3, f"{rank} spatial axes")
    c.require(indices.dtype == I64 and indices.size == x.size, "indices of another type or number")
    kernel, strides, pads = c.attr("kernel_shape"), ints(c.attr("strides"), rank, 1), ints(c.attr("pads"), 2 * rank, 0)
    implied = [(n - 1) * strides[i] - pads[i] - pads[rank + i] + int(kernel[i]) for i, n in enumerate(x.shape[2:])]
    before = [1] * (5 - x.rank)
    table = np.array(
        [[*before, *x.shape[:2], *implied], [*before, *y.shape], [*before, *(s // item(y) for s in steps(y))]]
    )
    fill(c, y, np.zeros(1, y.dtype))
    c.call(
        "ronn_codegen.templates.windows", "max_unpool", x=x, indices=indices, y=y,
        status=c.status(f"{c.node.label}: an index lies outside the output"), n=x.size, size=item(x),
        table=np.ascontiguousarray(table, np.int64), cost=x.size * 10.0, bytes=2 * x.nbytes + indices.nbytes,
    )  # fmt: skip
