"""The plugin: adds ``ronn npu`` to the command line."""

from __future__ import annotations
