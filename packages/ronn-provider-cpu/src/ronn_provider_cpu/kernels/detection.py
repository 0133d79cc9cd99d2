"""NonMaxSuppression."""

from __future__ import annotations

from typing import Any

import numpy as np

from ronn.provider.kernels import KernelContext, kernel
from ronn_codegen.windows import is_set

Array = np.ndarray


def _corners(boxes: Array, centred: bool) -> Array:
    """(N, 4) boxes as (y1, x1, y2, x2) with y1 <= y2 and x1 <= x2."""
    if centred:
        x, y, w, h = boxes.T
        half_w, half_h = w / 2, h / 2
        return np.stack([y - half_h, x - half_w, y + half_h, x + half_w], axis=1)
    a, b = boxes[:, :2], boxes[:, 2:]
    return np.concatenate([np.minimum(a, b), np.maximum(a, b)], axis=1)


def _overlaps(box: Array, area: np.floating, others: Array, areas: Array) -> Array:
    """Intersection over union of one box with others; 0 where either is empty."""
    low = np.maximum(box[:2], others[:, :2])
    high = np.minimum(box[2:], others[:, 2:])
    size = np.maximum(high - low, 0)
    shared = size[:, 0] * size[:, 1]
    union = area + areas - shared
    fine = (area > 0) & (areas > 0) & (union > 0)
    return np.where(fine, shared / np.where(fine, union, 1), 0)


def _suppress(boxes: Array, areas: Array, scores: Array, limit: int, iou: float, least: float | None) -> list[int]:
    """Indices of the kept boxes, best first."""
    order = np.arange(len(scores)) if least is None else np.flatnonzero(scores > least)
    order = order[np.argsort(-scores[order], kind="stable")]
    kept: list[int] = []
    while order.size and len(kept) < limit:
        best, order = int(order[0]), order[1:]
        kept.append(best)
        if order.size:
            order = order[_overlaps(boxes[best], areas[best], boxes[order], areas[order]) <= iou]
    return kept


@kernel("NonMaxSuppression")
def non_max_suppression(
    ctx: KernelContext,
    boxes: Array,
    scores: Array,
    max_output_boxes_per_class: Array | None = None,
    iou_threshold: Array | None = None,
    score_threshold: Array | None = None,
    *,
    center_point_box: Any,
) -> Array:
    """boxes (N, B, 4), scores (N, C, B) -> (kept, 3) of (batch, class, box)."""
    limit = 0 if max_output_boxes_per_class is None else int(max_output_boxes_per_class.reshape(-1)[0])
    iou = 0.0 if iou_threshold is None else float(iou_threshold.reshape(-1)[0])
    least = None if score_threshold is None else float(score_threshold.reshape(-1)[0])
    found: list[tuple[int, int, int]] = []
    if limit > 0:
        for n in range(scores.shape[0]):
            corners = _corners(boxes[n], is_set(center_point_box))
            areas = (corners[:, 2] - corners[:, 0]) * (corners[:, 3] - corners[:, 1])
            for c in range(scores.shape[1]):
                kept = _suppress(corners, areas, scores[n, c], limit, iou, least)
                found.extend((n, c, b) for b in kept)
    return np.array(found, np.int64).reshape(-1, 3)
