"""Conformance kit for RONN execution providers."""
