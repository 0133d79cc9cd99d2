"""Passes of the npu provider: what makes models fit accelerators."""
