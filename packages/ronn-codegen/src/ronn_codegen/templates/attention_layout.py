"""Blocks and scratch of ``ronn_codegen.templates.attention``."""

from __future__ import annotations

import math

from ronn.records import dataclass
from ronn_codegen.simd.target import Target

MASK_NONE, MASK_ADDED, MASK_BOOLEAN = 0, 1, 2
KEYS = 256  # keys whose products with a block of queries are in scratch at a time
VALUES = 64  # rows of values that one pass over the queries takes
QUERIES = 96  # most queries of a block


@dataclass(frozen=True)
class Blocks:
    """Register tiles: ``rows`` queries by ``vectors`` vectors of keys, or by so many vectors of values or half."""

    lanes: int
    rows: int
    vectors: int

    @property
    def columns(self) -> int:
        return self.lanes * self.vectors

    def padded_values(self, size: int) -> int:
        """Elements of a row of values as the products see them: whole tiles of the narrower kind."""
        narrow = self.lanes * 2
        return -(-size // narrow) * narrow


def blocks_of(target: Target) -> Blocks:
    return Blocks(target.lanes(32), 6, 4 if target.registers >= 32 else 2)


def queries_of(queries: int) -> int:
    """Queries of a block: about equal blocks of at most ``QUERIES``, whole tiles of 6."""
    count = math.ceil(queries / QUERIES)
    return math.ceil(queries / count / 6) * 6


def scratch_bytes(blocks: Blocks, block: int, size: int, v_size: int) -> int:
    """Scratch for one worker and ``block`` queries: packed keys, packed values, scores, sums, three numbers a query."""
    lanes = blocks.lanes
    padded = blocks.padded_values(v_size)
    keys = KEYS * (-(-size // lanes) * lanes)
    return 4 * (keys + KEYS * padded + block * (KEYS + padded + 3) + 4 * lanes)
