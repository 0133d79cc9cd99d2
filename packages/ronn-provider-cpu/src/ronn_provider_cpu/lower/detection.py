"""GridSample, RoiAlign, MaxRoiPool, AffineGrid, Col2Im, DeformConv."""

from __future__ import annotations

import math

import numpy as np

from ronn_codegen.lower._copies import fill, item, known, wanted
from ronn_codegen.templates.jobs import REDUCTION_KINDS
from ronn_provider_cpu.lower._products import Epilogue, Matrix, Source, product
from ronn_provider_cpu.lowering import F32, I32, I64, Lowering, lower

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
    half = c.since >= 16 and c.attr("coordinate_transformation_mode", "half_pixel") == "half_pixel"
    samples = max(int(c.attr("sampling_ratio", 0)), 0)
    regions, channels, bins_high, bins_wide = y.shape
    c.call(
        _DETECTION, "roi_align", x=x, rois=rois, batch=batch, y=y, wide=int(batch.dtype == I64), batches=x.shape[0],
        status=c.status(f"{c.node.label}: a batch index lies outside 0..{x.shape[0] - 1}"), channels=channels,
        high=x.shape[2], wide_pixels=x.shape[3], regions=regions, bins_high=bins_high, bins_wide=bins_wide,
        samples=samples, scale=float(c.attr("spatial_scale", 1.0)), half=int(half),
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


@lower("DeformConv")
def deform_conv(c: Lowering) -> None:
    """DeformConv of two spatial dims: columns at moved positions, then a matrix product."""
    x, w, offset, y = (wanted(v) for v in (*c.inputs[:3], c.outputs[0]))
    bias, mask = c.input(3), c.input(4)
    c.require(x.dtype == F32, "only float32")
    c.require(x.rank == 4, f"{x.rank - 2} spatial dims")
    n, channels, h, wide = x.shape
    filters, per_group, kh, kw = w.shape
    groups, parts = int(c.attr("group", 1)), int(c.attr("offset_group", 1))
    c.require(bias is None or groups == 1, "a bias and several groups")
    down, across = y.shape[2:]
    strides, dilations = c.attr("strides", [1, 1]), c.attr("dilations", [1, 1])
    table = [h, wide, kh, kw, down, across, *strides, *dilations, *c.attr("pads", [0, 0])[:2]]
    taps, positions = kh * kw, down * across
    moved = (n, 2 * parts * taps, down, across)
    c.require(offset.shape == moved, f"offsets of shape {offset.shape} for {moved}")
    c.require(mask is None or mask.shape == (n, parts * taps, down, across), "a mask that does not fit")
    c.require(channels == per_group * groups and filters % groups == 0 and channels % parts == 0, "groups do not fit")
    c.require(bias is None or bias.shape == (filters,), "a bias that does not fit")
    shares = min(n * parts * taps * -(-positions // _PIXELS), _SHARES)
    columns = c.temp(4 * n * channels * taps * positions)
    c.call(
        "ronn_codegen.templates.deform", "deform_columns", x=x, offset=offset, mask=0 if mask is None else mask,
        y=columns, room=c.temp(1024 * shares), batches=n, channels=channels, parts=parts,
        table=np.array(table, np.int64), chunks=shares, cost=n * taps * positions * (30 * parts + 3.0 * channels),
        bytes=x.nbytes + columns.nbytes,
    )  # fmt: skip
    k = per_group * taps
    left = Matrix(w, filters // groups, k, k, 1, (groups,))
    right = Matrix(columns, k, positions, positions, 1, (n, groups))
    product(c, left, right, y, Epilogue(source=None if bias is None else Source(bias, 1, 0)))


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
